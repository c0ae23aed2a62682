"""Many plays of a game program at once, step by step, with actions from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.errors import GameError, telling
from vsg_ppl.finite_view import StepView, TableView, view
from vsg_ppl.game import Act, Game, agents, call, role, title
from vsg_ppl.guides.actions import Shape
from vsg_ppl.handlers.steer import steer


@dataclass(frozen=True)
class ActionSpace:
    """What an agent chooses.

    Attributes:
        site: name of its action site.
        shape: of the vector that says an action to learners.
        low: the least each number of a box may be, (D,).
        high: the most.
        event: shape of a box at the site; D numbers in all.
    """

    site: str
    shape: Shape
    low: Tensor | None = None
    high: Tensor | None = None
    event: tuple[int, ...] = ()

    def value(self, action: Tensor) -> Tensor:
        """What the site is given for the vectors (K, width) of learners."""
        if self.shape.kind == "finite":
            return action.argmax(-1)
        if self.low is None or self.high is None:
            return action
        value = self.low + (action + 1) / 2 * (self.high - self.low)
        return value.reshape(*action.shape[:-1], *self.event)


class Stage(Protocol):
    """Where learners play: K plays of a game, side by side.

    Attributes:
        name: of the game.
        agents: names.
        spaces: what each agent chooses.
        plays: K.
    """

    name: str
    agents: tuple[str, ...]
    spaces: dict[str, ActionSpace]
    plays: int

    def reset(self) -> None:
        """Begin all plays anew."""

    def sees(self, agent: str) -> Tensor:
        """What an agent observes, (K, parts), as `with_available` ends it."""

    def available(self, agent: str) -> Tensor:
        """Weights of the prior of finite actions, 0 where there is none now, (K, A); else (K, 0).

        What they sum to is of no account.
        """

    def step(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Let all act, by vectors (K, width); the rewards, (K, N)."""

    def goes_on(self) -> Tensor:
        """1 where the play goes on for the agent after the last step, else 0, (K, N)."""

    def renew(self) -> None:
        """Begin anew what is over."""


def with_available(stage: Stage, agent: str, seen: Tensor) -> Tensor:
    """What an agent observes, and after it which finite actions there are: its own, the others'.

    So learners that remember what they saw remember that too.

    Args:
        stage: at the moment.
        agent: who observes.
        seen: what else it observes, (K, parts).
    """
    names = [agent, *(other for other in stage.agents if other != agent)]
    finite = [name for name in names if stage.spaces[name].shape.kind == "finite"]
    return torch.cat([seen, *(stage.available(name) for name in finite)], -1) if finite else seen


class Arena:
    """K plays of a game program, side by side.

    The step runs once for all plays: its operations must work on tensors with a leading dimension,
    as `tabulate` asks of them too. Every agent has one action site, with a finite prior
    (`Categorical`), one of bounded numbers (`Uniform`, `Beta`), or of shares (`Dirichlet`).

    In a game that has a table, agents see a vector with a single 1 for each part of the state, and
    for the time if it has a horizon; in others, the parts as numbers.

    Args:
        game: the program.
        plays: K.

    Raises:
        GameError: actions without bounds, several sites of one agent, a step that is none.

    >>> from vsg_ppl.models import Differential
    >>> arena = Arena(Differential(), plays=3)
    >>> arena.reset()
    >>> arena.step({"first": torch.full((3, 1), 0.5), "second": torch.full((3, 1), 0.5)})
    tensor([[10., 10.],
            [10., 10.],
            [10., 10.]])
    """

    def __init__(self, game: Game, plays: int) -> None:
        self.game, self.plays, self.name = game, plays, title(game)
        self.agents = agents(game)
        self.spaces = action_spaces(game)
        for agent in self.agents:
            if agent not in self.spaces:
                raise GameError(f"'{agent}' of {self.name} does not act in the first step")
        self.state: Any = None
        self.time = 0

    @cached_property
    def view(self) -> TableView | StepView | None:
        """Of a game with finite actions, what there is to see."""
        finite = any(space.shape.kind == "finite" for space in self.spaces.values())
        return view(self.game, self.agents) if finite else None

    def reset(self) -> None:
        """Begin all plays anew."""
        with torch.no_grad(), steer(self.plays):
            state = self.game.initial()
        leaves = [self._wide(leaf) for leaf in structure.tensors(state)]
        self.state, self.time = structure.rebuild(state, leaves), 0

    def observe(self) -> Tensor:
        """The parts of the states as numbers, (K, parts)."""
        parts = [leaf.reshape(self.plays, -1).float() for leaf in structure.tensors(self.state)]
        return torch.cat(parts, -1) if parts else torch.zeros(self.plays, 0)

    def sees(self, agent: str) -> Tensor:
        """The same for all, for everybody sees the state; then `with_available`."""
        if isinstance(self.view, TableView):
            return with_available(self, agent, self.view.sees(self.state, self.time, self.plays))
        return with_available(self, agent, self.observe())

    def available(self, agent: str) -> Tensor:
        """Probabilities of the prior, (K, A); (K, 0) where actions are not finite."""
        if self.view is None or self.spaces[agent].shape.kind != "finite":
            return torch.zeros(self.plays, 0)
        return self.view.available(agent, self.state, self.time, self.plays)

    def goes_on(self) -> Tensor:
        """1 for all but at the horizon of a game that has a table: others do not see the time."""
        over = isinstance(self.view, TableView) and self.time == self.view.horizon
        return torch.full((self.plays, len(self.agents)), 0.0 if over else 1.0)

    def renew(self) -> None:
        """Nothing: no play is over before the others."""

    def step(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Let all act.

        Args:
            actions: of each agent, (K, width): numbers in [−1, 1] that are stretched to its bounds;
                shares; or for each of a finite set a number, of which the largest is chosen.

        Returns:
            The rewards, (K, N).
        """
        values = {space.site: space.value(actions[agent]) for agent, space in self.spaces.items()}
        if self.view is not None:
            self._check(values)
        with (
            torch.no_grad(),
            telling(f"`step` of {self.name}"),
            steer(self.plays, values) as steered,
        ):
            after = call(self.game.step, self.state, t=self.time)
        leaves = [self._wide(leaf) for leaf in structure.tensors(after)]
        self.state = structure.rebuild(after, leaves)
        self.time += 1
        zero = torch.zeros(self.plays)
        paid = [steered.rewards.get(agent, zero).float() for agent in self.agents]
        return torch.stack([reward.expand(self.plays) for reward in paid], -1)

    def _check(self, values: Mapping[str, Tensor]) -> None:
        for agent, space in self.spaces.items():
            if space.shape.kind == "finite":
                chosen = values[space.site][:, None]
                if not bool((self.available(agent).gather(1, chosen) > 0).all()):
                    raise GameError(
                        f"'{agent}' takes an action that its prior says is not available",
                        site=space.site,
                        hint='start="networks" for learners; even play knows no prior.',
                    )

    def _wide(self, leaf: Tensor) -> Tensor:
        return leaf if leaf.ndim and leaf.shape[0] == self.plays else leaf.expand(self.plays)


def action_spaces(game: Game) -> dict[str, ActionSpace]:
    """What each agent chooses, read off one sampled step."""
    with (
        poutine.block(),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        telling(f"`step` of {title(game)}"),
    ):
        first = game.initial()
        trace = poutine.trace(lambda: call(game.step, first, t=0)).get_trace()
    found: dict[str, ActionSpace] = {}
    for name, site in trace.nodes.items():
        part = role(site) if site["type"] == "sample" else None
        if not isinstance(part, Act):
            continue
        if part.agent in found:
            raise GameError(
                f"'{part.agent}' acts at two sites of a step",
                site=name,
                hint="one site with a vector, or a finite set of pairs.",
            )
        found[part.agent] = _space(name, site["fn"])
    return found


def _space(name: str, law: Any) -> ActionSpace:
    if isinstance(law, torch.distributions.Categorical):
        return ActionSpace(name, Shape("finite", law.probs.shape[-1]))
    support = law.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is constraints.simplex:
        return ActionSpace(name, Shape("simplex", law.event_shape[-1]))
    if not hasattr(support, "lower_bound") or not hasattr(support, "upper_bound"):
        raise GameError(
            f"the prior {type(law).__name__} sets no bounds to the action",
            site=name,
            hint="dist.Uniform(low, high), with `.to_event(1)` for a vector; dist.Dirichlet; "
            "dist.Categorical.",
        )
    size = prod(law.event_shape)
    low, high = (
        torch.as_tensor(bound, dtype=torch.float32).expand(law.event_shape).reshape(size)
        for bound in (support.lower_bound, support.upper_bound)
    )
    return ActionSpace(name, Shape("box", size), low, high, tuple(law.event_shape))
