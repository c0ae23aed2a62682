"""How independent learners are trained: the plays, memories and networks that all methods share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol, TypedDict

import torch
from torch import Tensor

from vsg_ppl.arena import Arena
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, discount, horizon, title
from vsg_ppl.learning import Learning
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.replay import Replay

Start = Literal["networks", "uniform"]

Schedule = Callable[[int], float]
"""A number by episode."""

UNIFORM_STEPS = 100
"""Steps of even random actions with which ``start="uniform"`` begins."""

SPREAD = 0.2
"""σ before the tanh of policies that start near an action."""


class Options(TypedDict, total=False):
    """The options that all methods have; `Settings` says what they are."""

    episodes: int
    steps: int | None
    plays: int
    seed: int
    start: Start | float
    gamma: float
    hidden: tuple[int, ...]
    learning_rate: float
    batch: int
    memory: int
    follow: float
    progress: bool


@dataclass(frozen=True)
class Settings:
    """What all methods of learning are told.

    Attributes:
        episodes: to play.
        steps: of an episode; the game's horizon by default.
        plays: K experiments at once, each with learners of its own; they share nothing but the
            stream of random numbers.
        seed: of that stream.
        start: "uniform" lets all play `UNIFORM_STEPS` even random steps first; "networks" begins
            with the networks as they are drawn; a number in (−1, 1) with policies near that action,
            of the range from −1 to 1.
        gamma: the learners' discount; with 0 each step is an experiment of its own.
        hidden: sizes of hidden layers.
        learning_rate: of Adam.
        batch: draws for each step of learning.
        memory: steps remembered.
        follow: how fast target networks follow.
        progress: show a progress bar.

    Raises:
        GameError: a number out of its range.

    >>> Settings(gamma=0.9).plays
    1
    """

    episodes: int = 200
    steps: int | None = None
    plays: int = 1
    seed: int = 0
    start: Start | float = "uniform"
    gamma: float = 0.0
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 1e-2
    batch: int = 64
    memory: int = 100_000
    follow: float = 0.01
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("episodes", "plays", "batch", "memory"):
            if getattr(self, name) < 1:
                raise GameError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if not 0 <= self.gamma < 1:
            raise GameError(f"gamma is {self.gamma}, not in [0, 1)")
        near = isinstance(self.start, float) and -1 < self.start < 1
        if not near and self.start not in ("networks", "uniform"):
            hint = '"uniform", "networks", or a number in (−1, 1).'
            raise GameError(f"the start is {self.start!r}", hint=hint)


class Learner(Protocol):
    """G agents that learn side by side, those of `Team.groups`."""

    def start(self, mean: float, scale: float) -> None:
        """Let policies begin near one action, in (−1, 1), with this σ before the tanh."""

    def act(self, seen: Tensor) -> Tensor:
        """What the agents do, (G, D), where they see (G, parts)."""

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """What they do while they learn, (G, D)."""

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of every network."""


class Team:
    """Agents whose actions have the same sizes. They share the computation, and nothing else.

    Attributes:
        agents: names; learner g is that of agent g // K in play g % K.
        everyone: names of all agents of the game.
        plays: K.
        sizes: how many numbers an action has, of everyone.
        seen: how many numbers they observe.
    """

    def __init__(self, arena: Arena, agents: list[str], make: Make, settings: Settings) -> None:
        self.agents, self.everyone, self.plays = agents, arena.agents, arena.plays
        self.sizes = {agent: arena.spaces[agent].size for agent in arena.agents}
        self.seen = arena.observe().shape[1]
        self.learner = make(self, settings)
        seen = self.seen
        widths = {"seen": seen, "own": self.own, "other": self.others, "reward": 1, "next": seen}
        self.memory = Replay(self.groups, settings.memory, widths)

    @property
    def groups(self) -> int:
        """G, one learner for each agent and play."""
        return len(self.agents) * self.plays

    @property
    def own(self) -> int:
        """How many numbers an agent's action has."""
        return self.sizes[self.agents[0]]

    @property
    def others(self) -> int:
        """How many numbers the others' actions have, all together, in the order of everyone."""
        return sum(self.sizes.values()) - self.own

    def act(self, seen: Tensor, episode: int, *, random: bool) -> dict[str, Tensor]:
        """An action of each agent, (K, D)."""
        if random:
            action = torch.rand(self.groups, self.own) * 2 - 1
        else:
            action = self.learner.explore(seen.repeat(len(self.agents), 1), episode)
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

    def policy(self, agent: str) -> Callable[[Tensor], Tensor]:
        """What the agent does, (K, D) in (−1, 1), where it sees (K, parts)."""
        first = self.agents.index(agent) * self.plays

        def play(seen: Tensor) -> Tensor:
            action = self.learner.act(seen.repeat(len(self.agents), 1))
            return action[first : first + self.plays]

        return play


Make = Callable[[Team, Settings], Learner]
"""Makes the learners of a team, whose sizes are known and whose memory is not there yet."""


def train(
    game: Game,
    method: str,
    make: Make,
    options: Options,
    *,
    temperature: Schedule | None = None,
) -> Learning:
    """Let learners of one method play a game and learn after each step.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
        method: its name.
        make: learners of agents whose actions have the same sizes.
        options: of `Settings`.
        temperature: shown with the progress.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: finite actions, actions without bounds, one agent only, no length of an episode,
            or an option that is unknown or out of its range.

    Consider agents that sit still:

    >>> from vsg_ppl.models import Differential
    >>> class Still:
    ...     def __init__(self, team, settings):
    ...         self.actions = torch.full((team.groups, team.own), 0.5)
    ...     def act(self, seen):
    ...         return self.actions
    ...     def explore(self, seen, episode):
    ...         return self.actions
    ...     def learn(self, memory, episode):
    ...         pass
    >>> options = {"episodes": 1, "plays": 2, "start": "networks"}
    >>> train(Differential(), "still", Still, options).rewards.round()
    tensor([[[10., 10.],
             [10., 10.]]])
    """
    began = time.process_time()
    settings, steps = _settings(game, method, options)
    episodes = settings.episodes
    torch.manual_seed(settings.seed)
    arena = Arena(game, settings.plays)
    _check_spaces(arena, title(game), method)
    arena.reset()
    teams = [Team(arena, agents, make, settings) for agents in _alike(arena)]
    if isinstance(settings.start, float):
        for team in teams:
            team.learner.start(settings.start, SPREAD)
    rewards = torch.zeros(episodes, settings.plays, len(arena.agents))
    done = 0
    with progress_bar(method) if settings.progress else no_progress() as show:
        for episode in range(episodes):
            arena.reset()
            for _ in range(steps):
                now = arena.observe()
                random = settings.start == "uniform" and done < UNIFORM_STEPS
                actions = {
                    agent: action
                    for team in teams
                    for agent, action in team.act(now, episode, random=random).items()
                }
                paid = arena.step(actions)
                rewards[episode] += paid / steps
                done += 1
                for team in teams:
                    team.remember(now, actions, paid, arena.observe())
                    team.learner.learn(team.memory, episode)
            shown = {} if temperature is None else {"temperature": temperature(episode)}
            show({"iteration": episode + 1, **shown})
    return Learning(
        game=game,
        method=method,
        agents=arena.agents,
        rewards=rewards,
        policies={agent: team.policy(agent) for team in teams for agent in team.agents},
        seconds=time.process_time() - began,
    )


def schedule(name: str, given: Schedule | float, *, zero: bool = False) -> Schedule:
    """A number by episode, or the same number always.

    Raises:
        GameError: it is not positive, or negative where ``zero`` is allowed.

    >>> schedule("temperature", 0.1)(7)
    0.1
    """
    if callable(given):
        return given
    if not (given > 0 or (zero and given == 0)):
        raise GameError(
            f"the {name} is {given}; it must {'not be negative' if zero else 'be positive'}"
        )
    return lambda episode: float(given)


def _settings(game: Game, method: str, options: Options) -> tuple[Settings, int]:
    """Settings with no more memory than there will be steps, and the steps of an episode."""
    names = [field.name for field in fields(Settings)]
    for name in options:
        if name not in names:
            raise GameError(f"`{method}` has no option '{name}'", hint=f"{', '.join(names)}.")
    asked = Settings(**options)
    steps = _length(game, asked.steps)
    return replace(asked, memory=min(asked.memory, asked.episodes * steps)), steps


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


def _alike(arena: Arena) -> list[list[str]]:
    """Agents by the size of their actions."""
    found: dict[int, list[str]] = {}
    for agent in arena.agents:
        found.setdefault(arena.spaces[agent].size, []).append(agent)
    return list(found.values())


def _check_spaces(arena: Arena, name: str, method: str) -> None:
    if len(arena.spaces) < 2:
        raise GameError(
            f"{name} has one agent, and `{method}` is for several", hint="`best_response`."
        )
    for agent, space in arena.spaces.items():
        if space.low is None:
            raise GameError(
                f"'{agent}' of {name} has finite actions",
                site=space.site,
                hint="`vsg.solve`, or `vsg.nash_decentralised` for agents that learn.",
            )
