"""Multi-agent inference (MAI, Algorithm 2): actors, critics and opponent models by networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Literal

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.learning import Learning
from vsg_ppl.mai_learner import Learner as ActorCritic
from vsg_ppl.replay import Replay
from vsg_ppl.training import Learner, Options, Schedule, Settings, Start, Team, schedule, train

Opponents = Literal["own", "none"]


@dataclass(frozen=True)
class Cooling:
    """A temperature by episode: last + first · exp(−rate · episode), in units of reward.

    Large at first, so that everybody tries everything while the critics learn.

    >>> Cooling()(0), round(Cooling()(200), 3)
    (500.1, 0.1)
    """

    first: float = 500.0
    last: float = 0.1
    rate: float = 0.1

    def __call__(self, episode: int) -> float:
        """α in this episode."""
        return self.last + self.first * exp(-self.rate * episode)


def mai(
    game: Game,
    *,
    episodes: int = 200,
    steps: int | None = None,
    plays: int = 1,
    seed: int = 0,
    start: Start | float = "uniform",
    temperature: Callable[[int], float] | float | None = None,
    model_temperature: Callable[[int], float] | float | None = None,
    opponents: Opponents = "own",
    gamma: float = 0.0,
    hidden: tuple[int, ...] = (64, 64),
    learning_rate: float = 1e-2,
    batch: int = 64,
    memory: int = 100_000,
    follow: float = 0.01,
    progress: bool = False,
) -> Learning:
    """Let independent agents learn a game with continuous actions by Algorithm 2.

    Every agent has its own networks, rewards and memory, and sees the others' past actions. Its
    opponent model ρ answers for the others by its own critic (Eq. 5 with Q^j := Q^i, interests
    taken for aligned), tied to a prior that is fitted to what they did; its policy π(x | s, o)
    answers ρ. Both temperatures fall. What this recipe finds, and what it owes to the falling
    temperature, is told in the tutorial; nothing is proved of it.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
        episodes: to play.
        steps: of an episode; the game's horizon by default.
        plays: K experiments at once, each with learners of its own; they share nothing but the
            stream of random numbers.
        seed: of that stream.
        start: "uniform" lets all play `UNIFORM_STEPS` even random steps first; "networks" begins
            with the networks as they are drawn; a number in (−1, 1) with policies and models near
            that action, of the range from −1 to 1.
        temperature: α, of the policy's entropy, by episode; `Cooling` by default.
        model_temperature: of the opponent model's divergence from its prior; max(1, α) by default,
            which is little where rewards are of size 10 or more, and too much where they are of
            size 1: in units of reward.
        opponents: "own" models the others by the agent's own critic; "none" not at all: policy and
            critic then see the agent's own actions only, and with gamma 0 this is `sac`.
        gamma: the learners' discount. With 0 each step is an experiment of its own, as in the
            public code of the differential game; else the critic's target has γ Q̄(s', x', o'),
            without entropy.
        hidden: sizes of hidden layers.
        learning_rate: of Adam.
        batch: draws for each step of learning.
        memory: steps remembered.
        follow: how fast the target network follows the critic.
        progress: show a progress bar.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: finite actions, actions without bounds, one agent only, no length of an episode,
            or an argument out of its range.

    >>> from vsg_ppl.models import Differential
    >>> mai(Differential(), episodes=2, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    """
    alpha = schedule("temperature", Cooling() if temperature is None else temperature)
    beta = schedule(
        "model temperature",
        (lambda k: max(1.0, alpha(k))) if model_temperature is None else model_temperature,
    )
    if opponents not in ("own", "none"):
        raise GameError(f"opponents are {opponents!r}", hint='"own" or "none".')

    def make(team: Team, settings: Settings) -> Learner:
        return _Agents(team, settings, alpha, beta, blind=opponents == "none")

    options: Options = {
        "episodes": episodes,
        "steps": steps,
        "plays": plays,
        "seed": seed,
        "start": start,
        "gamma": gamma,
        "hidden": hidden,
        "learning_rate": learning_rate,
        "batch": batch,
        "memory": memory,
        "follow": follow,
        "progress": progress,
    }
    return train(game, "mai", make, options, temperature=alpha)


class _Agents(ActorCritic):
    """Learners of MAI with their schedules."""

    def __init__(
        self, team: Team, settings: Settings, alpha: Schedule, beta: Schedule, *, blind: bool
    ) -> None:
        super().__init__(
            team.groups,
            team.seen,
            team.own,
            0 if blind else team.others,
            hidden=settings.hidden,
            learning_rate=settings.learning_rate,
        )
        self.settings, self.alpha, self.beta = settings, alpha, beta

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of every network."""
        self.step(memory, self.settings, self.alpha(episode), self.beta(episode))
