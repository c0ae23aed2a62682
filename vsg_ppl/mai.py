"""Multi-agent inference (MAI, Algorithm 2): actors, critics and opponent models by networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Literal

import torch
from torch import Tensor

from vsg_ppl.arena import Arena
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, discount, horizon, title
from vsg_ppl.learning import Learning
from vsg_ppl.mai_learner import RECENT, Learner
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.replay import Replay

Start = Literal["networks", "uniform"]

UNIFORM_STEPS = 100
"""Steps of even random actions with which ``start="uniform"`` begins."""

SPREAD = 0.2
"""σ before the tanh of policies that start near an action."""


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
    began = time.process_time()
    steps = _length(game, steps)
    _check(episodes, plays, gamma, batch, start)
    torch.manual_seed(seed)
    arena = Arena(game, plays)
    _check_spaces(arena, title(game))
    arena.reset()
    seen = arena.observe().shape[1]
    teams = [
        _Team(arena, agents, seen, hidden, learning_rate, min(memory, episodes * steps))
        for agents in _alike(arena)
    ]
    if isinstance(start, float):
        for team in teams:
            team.learner.start(start, SPREAD)
    alpha = _schedule(Cooling() if temperature is None else temperature)
    beta = _schedule(
        (lambda k: max(1.0, alpha(k))) if model_temperature is None else model_temperature
    )
    rewards = torch.zeros(episodes, plays, len(arena.agents))
    done = 0
    with progress_bar("mai") if progress else no_progress() as show:
        for episode in range(episodes):
            arena.reset()
            for _ in range(steps):
                now = arena.observe()
                random = start == "uniform" and done < UNIFORM_STEPS
                actions = {
                    agent: action
                    for team in teams
                    for agent, action in team.act(now, random=random).items()
                }
                paid = arena.step(actions)
                rewards[episode] += paid / steps
                done += 1
                for team in teams:
                    team.remember(now, actions, paid, arena.observe())
                    team.learn(alpha(episode), beta(episode), gamma, batch, follow)
            show({"iteration": episode + 1, "temperature": alpha(episode)})
    return Learning(
        game=game,
        method="mai",
        agents=arena.agents,
        rewards=rewards,
        policies={agent: team.policy(agent) for team in teams for agent in team.agents},
        seconds=time.process_time() - began,
    )


class _Team:
    """Agents whose actions have the same sizes. They share the computation, and nothing else."""

    def __init__(
        self,
        arena: Arena,
        agents: list[str],
        seen: int,
        hidden: tuple[int, ...],
        learning_rate: float,
        memory: int,
    ) -> None:
        self.agents, self.everyone, self.plays = agents, arena.agents, arena.plays
        self.own = arena.spaces[agents[0]].size
        others = sum(space.size for space in arena.spaces.values()) - self.own
        groups = len(agents) * arena.plays
        self.learner = Learner(
            groups, seen, self.own, others, hidden=hidden, learning_rate=learning_rate
        )
        widths = {"seen": seen, "own": self.own, "other": others, "reward": 1, "next": seen}
        self.memory = Replay(groups, memory, widths)

    def act(self, seen: Tensor, *, random: bool) -> dict[str, Tensor]:
        """An action of each agent, (K, D)."""
        if random:
            action = torch.rand(len(self.agents) * self.plays, self.own) * 2 - 1
        else:
            action = self.learner.act(seen.repeat(len(self.agents), 1))
        return dict(zip(self.agents, action.split(self.plays), strict=True))

    def remember(
        self, seen: Tensor, actions: dict[str, Tensor], paid: Tensor, after: Tensor
    ) -> None:
        """What each agent saw, did, and was paid."""
        n = len(self.agents)
        others = [
            torch.cat([actions[other] for other in self.everyone if other != agent], -1)
            for agent in self.agents
        ]
        mine = [self.everyone.index(agent) for agent in self.agents]
        self.memory.add(
            {
                "seen": seen.repeat(n, 1),
                "own": torch.cat([actions[agent] for agent in self.agents]),
                "other": torch.cat(others),
                "reward": torch.cat([paid[:, [i]] for i in mine]),
                "next": after.repeat(n, 1),
            }
        )

    def learn(self, alpha: float, beta: float, gamma: float, batch: int, follow: float) -> None:
        """One step of every network."""
        learner, memory = self.learner, self.memory
        lately = memory.last("seen", RECENT), memory.last("other", RECENT)
        learner.improve("prior", lambda: learner.prior_loss(*lately))
        drawn = memory.sample(batch)
        seen = drawn["seen"]
        learner.improve("model", lambda: learner.model_loss(seen, alpha, beta))
        wanted = drawn["reward"][..., 0]
        if gamma > 0:
            wanted = wanted + gamma * learner.expected(drawn["next"])
        step = drawn["own"], drawn["other"], wanted
        learner.improve("critic", lambda: learner.critic_loss(seen, *step))
        learner.improve("policy", lambda: learner.policy_loss(seen, alpha))
        if gamma > 0:
            learner.follow(follow)

    def policy(self, agent: str) -> Callable[[Tensor], Tensor]:
        """What the agent does, (K, D) in (−1, 1), where it sees (K, parts)."""
        first = self.agents.index(agent) * self.plays

        def play(seen: Tensor) -> Tensor:
            action = self.learner.act(seen.repeat(len(self.agents), 1))
            return action[first : first + self.plays]

        return play


def _alike(arena: Arena) -> list[list[str]]:
    """Agents by the size of their actions."""
    found: dict[int, list[str]] = {}
    for agent in arena.agents:
        found.setdefault(arena.spaces[agent].size, []).append(agent)
    return list(found.values())


def _schedule(given: Callable[[int], float] | float) -> Callable[[int], float]:
    if callable(given):
        return given
    if not given > 0:
        raise GameError(f"the temperature is {given}; it must be positive")
    return lambda episode: float(given)


def _at_least_one(alpha: Callable[[int], float]) -> Callable[[int], float]:
    return lambda episode: max(1.0, alpha(episode))


def _length(game: Game, steps: int | None) -> int:
    if steps is None:
        discount(game)
        steps = horizon(game)
    if steps is None or steps < 1:
        raise GameError(
            f"an episode of {title(game)} has {'no end' if steps is None else f'{steps} steps'}",
            hint="`steps=25`.",
        )
    return steps


def _check(episodes: int, plays: int, gamma: float, batch: int, start: Start | float) -> None:
    for name, value in (("episodes", episodes), ("plays", plays), ("batch", batch)):
        if value < 1:
            raise GameError(f"{name} is {value}; at least 1 is needed")
    if not 0 <= gamma < 1:
        raise GameError(f"gamma is {gamma}, not in [0, 1)")
    if start not in ("networks", "uniform") and not (isinstance(start, float) and -1 < start < 1):
        raise GameError(
            f"the start is {start!r}", hint='"uniform", "networks", or a number in (−1, 1).'
        )


def _check_spaces(arena: Arena, name: str) -> None:
    if len(arena.spaces) < 2:
        raise GameError(f"{name} has one agent, and MAI models the others", hint="`best_response`.")
    for agent, space in arena.spaces.items():
        if space.low is None:
            raise GameError(
                f"'{agent}' of {name} has finite actions",
                site=space.site,
                hint="`vsg.solve`, or `vsg.nash_decentralised` for agents that learn.",
            )
