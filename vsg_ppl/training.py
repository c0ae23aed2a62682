"""How independent learners are trained: what all methods have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.arena import Arena, Stage
from vsg_ppl.checkpoint import Checkpoint, patient
from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.game import discount, horizon, is_mean_field, title
from vsg_ppl.identity import identity
from vsg_ppl.learning import Learning
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.settings import UNIFORM_STEPS, Options, Schedule, Settings
from vsg_ppl.team import Learner, Team, alike

SPREAD = 0.2
"""σ before the tanh of policies that start near an action."""

Make = Callable[[Team, Settings], Learner]
"""Makes the learners of a team, whose sizes are known and whose memory is not there yet."""


def train(
    game: Any,
    method: str,
    make: Make,
    options: Options,
    *,
    temperature: Schedule | None = None,
    also: Mapping[str, Any] | None = None,
    finite: bool = False,
) -> Learning:
    """Let learners of one method play a game and learn after each step.

    Args:
        game: a program whose agents choose bounded numbers or shares, which must run on tensors of
            many plays; or an environment, see `make_stage`.
        method: its name.
        make: learners of agents whose actions have the same shapes.
        options: of `Settings`.
        temperature: shown with the progress.
        also: what else makes the run what it is; schedules are told apart by their numbers.
        finite: whether these learners are for finite actions.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: finite actions, actions without bounds, one agent only, no length of an episode,
            an option that is unknown or out of its range, or a checkpoint that cannot be used.

    Consider agents that sit still:

    >>> from vsg_ppl.models import Differential
    >>> class Still:
    ...     def __init__(self, team, settings):
    ...         self.actions = torch.full((team.groups, 1, 1), 0.5)
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
    settings, steps = _settings(game, method, options, also or {})
    told = _told(game, method, settings, also or {})
    torch.manual_seed(settings.seed)
    stage = make_stage(game, settings.plays)
    _check_spaces(stage, method, settings, finite=finite)
    stage.reset()
    teams = [
        Team(
            stage,
            agents,
            lambda team: make(team, settings),
            memory=settings.memory,
            device=settings.device,
        )
        for agents in alike(stage)
    ]
    if isinstance(settings.start, float):
        for team in teams:
            team.learner.start(settings.start, SPREAD)
    spaces = [
        f"{agent} {stage.spaces[agent].shape} {stage.sees(agent).shape[1]}"
        for agent in stage.agents
    ]
    kept = Checkpoint(settings.checkpoint, "\n".join([told, *spaces]), every=settings.every)
    run = _Run(stage, teams, settings, steps)
    if (found := kept.read()) is not None:
        run.load_state_dict(found)
    with (
        progress_bar(method, settings.episodes) if settings.progress else no_progress() as show,
        patient(kept.path is not None) as stopped,
        one_thread(),
    ):
        while run.episode < settings.episodes:
            run.play()
            if kept.path and (run.episode == settings.episodes or kept.due or stopped):
                kept.write(run.state_dict())
            if stopped and run.episode < settings.episodes:
                raise KeyboardInterrupt
            shown = {} if temperature is None else {"temperature": temperature(run.episode - 1)}
            show({"iteration": run.episode, **shown})
    names = run.watched[0] if run.watched else ()
    return Learning(
        game=game,
        method=method,
        agents=stage.agents,
        rewards=run.rewards,
        policies=run.policies,
        seconds=run.seconds,
        watched={name: torch.stack([look[name] for look in run.watched]) for name in names},
        watched_at=tuple(run.watched_at),
    )


class _Run:
    """A run between two episodes is: networks, memories, rewards, and where chance stands."""

    def __init__(self, stage: Stage, teams: list[Team], settings: Settings, steps: int) -> None:
        self.stage, self.teams, self.settings, self.steps = stage, teams, settings, steps
        self.rewards = torch.zeros(settings.episodes, settings.plays, len(stage.agents))
        self.policies = {agent: team.policy(agent) for team in teams for agent in team.agents}
        self.episode, self.seconds = 0, 0.0
        self.watched: list[dict[str, Tensor]] = []
        self.watched_at: list[int] = []

    def play(self) -> None:
        """One episode, and a step of learning after each of its own."""
        began, stage = time.process_time(), self.stage
        stage.reset()
        for k in range(self.steps):
            done = self.episode * self.steps + k
            random = self.settings.start == "uniform" and done < UNIFORM_STEPS
            now = [team.sees(stage) for team in self.teams]
            actions = {
                agent: action
                for team, seen in zip(self.teams, now, strict=True)
                for agent, action in team.act(seen, self.episode, random=random).items()
            }
            paid = self._paid(actions)
            self.rewards[self.episode] += paid / self.steps
            paid, goes_on = paid * self.settings.scale, stage.goes_on()
            for team, seen in zip(self.teams, now, strict=True):
                team.remember(seen, actions, paid, goes_on, stage, self.episode)
                team.learner.learn(team.memory, self.episode)
            stage.renew()
        self.episode += 1
        self.seconds += time.process_time() - began
        watch, every = self.settings.watch, self.settings.watch_every
        if watch and (self.episode % every == 0 or self.episode == self.settings.episodes):
            with torch.random.fork_rng():
                look = dict(watch(self.policies))
            if self.watched and look.keys() != self.watched[0].keys():
                before, after = (", ".join(names) for names in (self.watched[0], look))
                raise GameError(f"the looks before were at {before}, and this one is at {after}")
            self.watched.append(look)
            self.watched_at.append(self.episode)

    def _paid(self, actions: Mapping[str, Tensor]) -> Tensor:
        """What a step pays, (K, N)."""
        paid = self.stage.step(actions)
        if not paid.isfinite().all():
            play, agent = (~paid.isfinite()).nonzero()[0].tolist()
            raise GameError(
                f"'{self.stage.agents[agent]}' is paid {float(paid[play, agent])} in episode "
                f"{self.episode + 1} of {self.stage.name}"
            )
        return paid

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.device(self.settings.device).type == "cuda"
        return {
            "episode": self.episode,
            "rewards": self.rewards[: self.episode].clone(),
            "seconds": self.seconds,
            "watched": self.watched,
            "watched_at": self.watched_at,
            "chance": torch.get_rng_state(),
            "device_chance": torch.cuda.get_rng_state(self.settings.device) if cuda else None,
            "teams": [team.state_dict() for team in self.teams],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.episode, self.seconds = state["episode"], state["seconds"]
        self.rewards[: self.episode] = state["rewards"]
        self.watched, self.watched_at = state["watched"], state["watched_at"]
        for team, found in zip(self.teams, state["teams"], strict=True):
            team.load_state_dict(found)
        torch.set_rng_state(state["chance"])
        if state["device_chance"] is not None:
            torch.cuda.set_rng_state(state["device_chance"], self.settings.device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Products are small here: more threads take many times the CPU for the same numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _settings(
    game: Any, method: str, options: Options, also: Mapping[str, Any]
) -> tuple[Settings, int]:
    """Settings with the discount and no more memory than needed; and the steps of an episode."""
    names = [field.name for field in fields(Settings)]
    for name in options:
        if name not in names:
            raise GameError(
                f"`{method}` has no option '{name}'", hint=f"{', '.join([*also, *names])}."
            )
    _check_game(game)
    asked = Settings(**options)
    steps = _length(game, asked.steps)
    gamma = asked.gamma
    if gamma is None:
        if not hasattr(game, "initial"):
            raise GameError("an environment says no discount", hint="`gamma=0.95`.")
        gamma = float(getattr(game, "discount", None) or 0.0) % 1  # 1 is no discount at all
    return replace(asked, gamma=gamma, memory=min(asked.memory, asked.episodes * steps)), steps


def _check_game(game: Any) -> None:
    program = hasattr(game, "initial") and hasattr(game, "step")
    if not (program or hasattr(game, "possible_agents") or callable(game)):
        raise GameError(
            f"{title(game)} is not a game",
            hint="an object with `agents`, `initial` and `step`, or a parallel environment.",
        )
    if hasattr(game, "step") and is_mean_field(game):
        raise GameError(
            f"{title(game)} is a mean-field game, whose agents see a crowd",
            hint="`mean_field_nash`.",
        )


def _length(game: Any, steps: int | None) -> int:
    if steps is None and hasattr(game, "initial"):
        discount(game)
        steps = horizon(game)
    if steps is None or steps < 1:
        raise GameError(
            f"an episode of {title(game)} has {'no end' if steps is None else f'{steps} steps'}",
            hint="`steps=25`.",
        )
    end = horizon(game) if hasattr(game, "initial") else None
    if end is not None and steps > end:
        raise GameError(f"{steps} steps are asked for; an episode of {title(game)} has {end}")
    return steps


def _told(game: Any, method: str, settings: Settings, also: Mapping[str, Any]) -> str:
    """All that makes a run what it is, a line each."""
    told = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name in ("checkpoint", "every", "watch", "progress"):
        del told[name]
    for name, value in also.items():
        told[name] = [value(k) for k in range(settings.episodes)] if callable(value) else value
    lines = [f"method {method}", f"game {identity(game)}"]
    return "\n".join([*lines, *(f"{name} {value!r}" for name, value in told.items())])


def _check_spaces(stage: Stage, method: str, settings: Settings, *, finite: bool) -> None:
    if len(stage.spaces) < 2:
        raise GameError(
            f"{stage.name} has one agent, and `{method}` is for several", hint="`best_response`."
        )
    numbers = [name for name, space in stage.spaces.items() if space.shape.kind != "finite"]
    for agent, space in stage.spaces.items():
        if space.shape.kind == "finite" and not finite:
            raise GameError(
                f"'{agent}' of {stage.name} has finite actions",
                site=space.site,
                hint="`vsg.mai`, or `vsg.solve`.",
            )
        if space.shape.kind == "finite" and numbers:
            raise GameError(
                f"'{agent}' of {stage.name} has finite actions, and '{numbers[0]}' has not",
                site=space.site,
                hint="one kind of actions for all: a box in place of the finite set, or a grid of "
                "numbers in place of the others.",
            )
        if space.shape.kind == "finite" and isinstance(settings.start, float):
            raise GameError(
                f"'{agent}' of {stage.name} has finite actions, and the start is {settings.start}",
                site=space.site,
                hint='"networks", or "uniform" where all actions are always available.',
            )
        if space.shape.kind != "box" and isinstance(settings.start, float):
            raise GameError(
                f"'{agent}' of {stage.name} chooses shares, and the start is {settings.start}",
                site=space.site,
                hint='"uniform" or "networks".',
            )


def make_stage(game: Any, plays: int) -> Stage:
    """Where learners play K plays of what they are given.

    Args:
        game: a game program; a parallel environment of PettingZoo's, of which copies are made if
            there are several plays; a function that makes such environments; or what
            `from_pettingzoo` made of one.
        plays: K.

    >>> from vsg_ppl.models import Differential
    >>> make_stage(Differential(), 2).agents
    ('first', 'second')
    """
    _check_game(game)
    if hasattr(game, "initial") and not _simulated(game):
        return Arena(game, plays)
    try:
        from vsg_ppl.simulators import Simulators
    except ModuleNotFoundError:
        raise MissingExtra("pettingzoo", extra="rl") from None
    env = game.env if _simulated(game) else game
    if callable(env):
        return Simulators(env, plays)
    return Simulators(lambda: env if plays == 1 else deepcopy(env), plays)


def _simulated(game: Any) -> bool:
    """Whether `from_pettingzoo` made it; whoever has not called that may lack what it needs."""
    module = sys.modules.get("vsg_ppl.simulator")
    return module is not None and isinstance(game, module.SimulatorGame)
