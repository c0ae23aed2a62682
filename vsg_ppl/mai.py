"""Multi-agent inference (MAI, Algorithm 2): actors, critics and opponent models by networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from typing import Any, Literal, Unpack

from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.mai_finite_opponents import FINITE, executed
from vsg_ppl.mai_finite_plan import FinitePlan
from vsg_ppl.mai_learner import Learner as ActorCritic
from vsg_ppl.mai_learner import Plan
from vsg_ppl.mai_opponents import Guessing, Knowing, Watching
from vsg_ppl.mai_weighing import Weighing
from vsg_ppl.settings import Options, Schedule, Settings, schedule
from vsg_ppl.team import Learner, Team
from vsg_ppl.training import make_stage, train

Opponents = Literal["own", "known", "inferred", "observed", "none"]

Divergence = Literal["inclusive", "exclusive"]

AGENTS: dict[str, type[ActorCritic]] = {
    "own": ActorCritic,
    "known": Knowing,
    "inferred": Guessing,
    "observed": Watching,
    "none": ActorCritic,
}
"""Learners by what they take the others' aims to be."""

FEW = 4
"""Numbers that the others may choose in all for weighted draws from all over to be of use."""


@dataclass(frozen=True)
class Cooling:
    """A temperature by episode: last + first · exp(−rate · episode), in units of reward.

    Large at first, so that everybody tries everything while the critics learn.

    >>> Cooling()(0), round(Cooling()(200), 3)
    (500.1, 0.123)
    """

    first: float = 500.0
    last: float = 0.1
    rate: float = 0.05

    def __call__(self, episode: int) -> float:
        """α in this episode."""
        return self.last + self.first * exp(-self.rate * episode)


def finite_cooling(episodes: int) -> Cooling:
    """The temperature where actions are finite: for rewards of size 1, and at rest halfway.

    Opponent models look back on half of what was done, and should see it done as it is at the end.
    """
    return Cooling(first=2.0, last=0.1, rate=20 / max(episodes, 1))


EXPLORATION = 0.2
"""Share of moves, where actions are finite."""

FINITE_OPTIONS: Options = {"start": "networks", "learning_rate": 3e-3, "follow": 0.05}
"""Settings that differ where actions are finite."""


def mai(
    game: Any,
    *,
    temperature: Schedule | float | None = None,
    model_temperature: Schedule | float | None = None,
    opponents: Opponents | None = None,
    conditional: bool | None = None,
    divergence: Divergence | None = None,
    soft_value: bool | None = None,
    exploration: Schedule | float = EXPLORATION,
    **options: Unpack[Options],
) -> Learning:
    """Let independent agents learn a game by Algorithm 2, with networks.

    Every agent has its own networks, rewards and memory, and sees the others' past actions. Its
    opponent model ρ says what the others would best do, tied to a prior (Eq. 5); its policy
    π(x | s, o) answers ρ (Eq. 8, 10). Both temperatures fall.

    There are two recipes, one for actions that are numbers or shares, one for finite actions. The
    first finds high hills that all want to be on; what it owes to the falling temperature is told
    in the tutorial, and nothing is proved of it. The second comes to rest at the equilibria of
    `nash` at its last temperature; `Learning.certify` says how good they are.

    Args:
        game: a program that runs on tensors of many plays, or what else `make_stage` takes. The
            actions of all are finite, or those of none. Of priors over numbers only the bounds
            count: there policies are tied to even play.
        temperature: α, of the policy's entropy, by episode; `Cooling` by default, of finite actions
            `finite_cooling`.
        model_temperature: α', of the opponent model's divergence from its prior. By default α where
            actions are finite, else max(1, α), which is little where rewards are of size 10 or
            more, and too much where they are of size 1: in units of reward.
        opponents: what the others are taken to want. "own": what the agent itself wants, by its own
            critic (interests taken for aligned), near what they did; the default for numbers.
            "known": what they are paid, which the agent sees. "inferred": rewards that explain
            their play (Eq. 6 and 7, Algorithm 3). "observed": nothing, they go on as they did; the
            default for finite actions. "none": policy and critic see the agent's own actions only,
            and with gamma 0 and numbers this is `sac`.
        conditional: whether the policy knows what the opponent model says; by default where actions
            are numbers. Of finite actions, what is then executed may be far from an equilibrium.
        divergence: by which ρ is fitted to ρ* where opponents are "own", actions are numbers and
            the policy is conditional. "inclusive": KL(ρ* ‖ ρ), by weighted draws from all over, the
            default where the others choose at most `FEW` numbers in all; among many such draws hit
            nothing. "exclusive": KL(ρ ‖ ρ*), by the ELBO as the paper has it; what ρ has once
            turned away from it does not find again.
        soft_value: whether the critic's target counts divergences of the next step, as Eq. 9 has
            it; by default where actions are finite. Of numbers, the reward alone finds more.
        exploration: of finite actions, the share of moves that everybody draws from its prior, by
            episode. Opponent models allow for it.
        options: `Settings`; where actions are finite, by default ``start="networks"`` and what
            `FINITE_OPTIONS` says.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: some actions finite and others not, more than 4,096 joint actions, actions
            without bounds, one agent only, no length of an episode, or an argument out of its
            range.

    >>> from vsg_ppl.models import Differential, StagHunt
    >>> mai(Differential(), episodes=2, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    >>> found = mai(StagHunt(), episodes=2, steps=10)
    >>> found.certify().nash_gap > 0
    True
    """
    finite = any(space.shape.kind == "finite" for space in make_stage(game, 1).spaces.values())
    usual = finite_cooling(options.get("episodes", Settings.episodes)) if finite else Cooling()
    alpha = schedule("temperature", usual if temperature is None else temperature)
    if model_temperature is None:
        beta: Schedule = alpha if finite else lambda k: max(1.0, alpha(k))
    else:
        beta = schedule("model temperature", model_temperature)
    explore = schedule("exploration", exploration, zero=True, most=1)
    kind: Opponents = ("observed" if finite else "own") if opponents is None else opponents
    if kind not in AGENTS:
        raise GameError(f"opponents are {kind!r}", hint=f"one of {', '.join(AGENTS)}.")
    answers = not finite if conditional is None else conditional
    soft = finite if soft_value is None else soft_value
    weighs = kind == "own" and answers and not finite
    if divergence not in (None, "inclusive", "exclusive"):
        raise GameError(f"the divergence is {divergence!r}", hint='"inclusive" or "exclusive".')
    if divergence and not weighs:
        raise GameError(
            'a divergence is for opponents "own", a conditional policy and actions not finite',
            hint="leave `divergence` out.",
        )
    teams: list[Team] = []

    def make(team: Team, settings: Settings) -> Learner:
        teams.append(team)
        if finite:
            return FINITE[kind](
                team.groups,
                team.seen,
                team.own,
                team.others,
                alone=kind == "none",
                plan=FinitePlan(settings, alpha, beta, explore, soft_value=soft),
                hidden=settings.hidden,
                learning_rate=settings.learning_rate,
                leak=settings.leak,
                conditional=answers,
                device=team.device,
            )
        few = sum(shape.free for shape in team.others) <= FEW
        inclusive = weighs and (few if divergence is None else divergence == "inclusive")
        agents = Weighing if inclusive else AGENTS[kind]
        return agents(
            team.groups,
            team.seen,
            team.own,
            () if kind == "none" else team.others,
            plan=Plan(settings, alpha, beta, entropy=soft, model_entropy=soft),
            hidden=settings.hidden,
            learning_rate=settings.learning_rate,
            leak=settings.leak,
            conditional=answers,
            device=team.device,
        )

    also = {
        "temperature": alpha,
        "model_temperature": beta,
        "opponents": kind,
        "conditional": answers,
        "divergence": divergence,
        "soft_value": soft,
    }
    if not finite:
        return train(game, "mai", make, options, temperature=alpha, also=also)
    also["exploration"] = explore
    options = {**FINITE_OPTIONS, **options}
    found = train(game, "mai", make, options, temperature=alpha, also=also, finite=True)
    return replace(
        found,
        probabilities={agent: executed(team, agent) for team in teams for agent in team.agents},
    )
