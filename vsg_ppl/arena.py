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
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.errors import GameError, telling
from vsg_ppl.finite_view import StepView, TableView, view
from vsg_ppl.game import Act, Game, agents, call, role, takes, title
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

    def bounds(self, law: Any) -> bool:
        """Whether a prior has the bounds of this box, up to rounding, in every play."""
        if self.low is None or self.high is None:
            return True
        if law.event_shape != self.event:
            return False
        for bound, own in zip(_bounds(law), (self.low, self.high), strict=True):
            if bound is None:
                return False
            if isinstance(bound, Tensor):
                room = 1e-5 * (self.high - self.low) + 1e-6 * own.abs()
                off = (bound - own.reshape(self.event)).abs()
                if not bool((off <= room.reshape(self.event)).all()):
                    return False
        return True


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
    (`Categorical`), one of bounded numbers (`Uniform`, `Beta`), or of shares (`Dirichlet`). Bounds
    are the same in all states.

    In a game that has a table, agents see a vector with a single 1 for each part of the state, and
    for the time if it has a horizon; in others, the parts as numbers.

    Args:
        game: the program.
        plays: K.

    Raises:
        GameError: actions without bounds or with bounds that change, several sites of one agent, an
            agent without an optimality, a step that is none.

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
        self.spaces, self._like = _first_step(game)
        for agent in self.agents:
            if agent not in self.spaces:
                raise GameError(f"'{agent}' of {self.name} does not act in the first step")
        self.state: Any = None
        self.time = 0
        self._paid: set[str] = set()

    @cached_property
    def view(self) -> TableView | StepView | None:
        """Of a game with finite actions, what there is to see."""
        finite = any(space.shape.kind == "finite" for space in self.spaces.values())
        return view(self.game, self.agents) if finite else None

    def reset(self) -> None:
        """Begin all plays anew."""
        with torch.no_grad(), telling(f"`initial` of {self.name}"), steer(self.plays):
            state = self.game.initial()
        self.state, self.time = self._wide(state), 0

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
            steer(self.plays, values, self._look) as steered,
        ):
            after = call(self.game.step, self.state, t=self.time)
        if after is None and getattr(self.game, "horizon", None) == 1:
            after = self.state  # what the last step returns is not used
        self.state = self._wide(after)
        self.time += 1
        self._check_paid(steered.rewards)
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

    def _look(self, part: Act, law: Any) -> None:
        space = self.spaces[part.agent]
        if not space.bounds(law):
            raise GameError(
                f"the bounds of the actions of '{part.agent}' depend on the state or the time",
                site=space.site,
                hint="choose in (0, 1), dist.Uniform(0.0, 1.0), and scale it by what the state "
                "says.",
            )

    def _check_paid(self, rewards: Mapping[str, Tensor]) -> None:
        """Everybody is paid in some step; a step that knows the time may pay in the last one."""
        self._paid |= rewards.keys()
        if self._paid.issuperset(self.agents):
            return
        timed = takes(self.game.step, "t") and self.time != getattr(self.game, "horizon", None)
        for agent in self.agents:
            if agent not in self._paid and not timed:
                raise GameError(
                    f"agent '{agent}' of {self.name} has no optimality",
                    hint=f'vsg.optimality("{agent}", reward) in the step.',
                )

    def _wide(self, state: Any) -> Any:
        """A state of K plays."""
        leaves = structure.tensors(state)
        if not structure.same_structure(self._like, structure.rebuild(state, leaves)):
            raise GameError(
                f"the step of {self.name} returns {structure.describe(state)} as the next state, "
                f"but the initial state is {structure.describe(self._like)}",
                hint="return the next state in the structure that `initial` returns.",
            )
        wide = []
        for leaf, one in zip(leaves, structure.tensors(self._like), strict=True):
            shape = (self.plays, *one.shape)
            if leaf.shape not in (one.shape, (1, *one.shape), shape):
                raise GameError(
                    f"a part of the state has the shape {tuple(leaf.shape)} where {self.plays} "
                    f"plays run side by side, not {shape}"
                )
            wide.append(leaf.expand(shape))
        return structure.rebuild(state, wide)


def action_spaces(game: Game) -> dict[str, ActionSpace]:
    """What each agent chooses, read off one sampled step."""
    return _first_step(game)[0]


def _first_step(game: Game) -> tuple[dict[str, ActionSpace], Any]:
    """What each agent chooses, and a state of one play, made of tensors."""
    with (
        poutine.block(),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        telling(f"`step` of {title(game)}"),
    ):
        drawn = poutine.trace(game.initial).get_trace()
        first = drawn.nodes["_RETURN"]["value"]
        trace = poutine.trace(lambda: call(game.step, first, t=0)).get_trace()
    for name, site in drawn.nodes.items():
        chance = site["type"] == "sample" and not site["is_observed"]
        if chance and not site_is_subsample(site):
            _check_single("law", name, site["fn"])  # it would be drawn once for all plays
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
    return found, structure.rebuild(first, structure.tensors(first))


def _space(name: str, law: Any) -> ActionSpace:
    if isinstance(law, torch.distributions.Categorical):
        return ActionSpace(name, Shape("finite", law.probs.shape[-1]))
    _check_single("prior", name, law)
    hint = (
        "dist.Uniform(low, high), with `.to_event(1)` for a vector; dist.Dirichlet; "
        "dist.Categorical."
    )
    if law.support.is_discrete:
        raise GameError(
            f"no policy is known for actions of the prior {_named(law)}", site=name, hint=hint
        )
    if _support(law) is constraints.simplex:
        if law.event_shape[-1] == 1:
            raise GameError(
                f"the prior {_named(law)} has one share, always 1, and leaves nothing to choose",
                site=name,
                hint="two shares or more, or a game without this agent.",
            )
        return ActionSpace(name, Shape("simplex", law.event_shape[-1]))
    bounds = _bounds(law)
    if any(bound is None for bound in bounds):
        raise GameError(
            f"the prior {_named(law)} sets no bounds to the action", site=name, hint=hint
        )
    size = prod(law.event_shape)
    low, high = (
        torch.as_tensor(bound, dtype=torch.float32).expand(law.event_shape).reshape(size)
        for bound in bounds
    )
    return ActionSpace(name, Shape("box", size), low, high, tuple(law.event_shape))


def _check_single(what: str, name: str, law: Any) -> None:
    if law.batch_shape:
        raise GameError(
            f"the {what} {_named(law)} has the batch shape {tuple(law.batch_shape)}",
            site=name,
            hint="`.to_event(1)` for a vector of numbers.",
        )


def _support(law: Any) -> Any:
    found = law.support
    while isinstance(found, constraints.independent):
        found = found.base_constraint
    return found


def _bounds(law: Any) -> tuple[Any, Any]:
    """Numbers or tensors, None where there is none."""
    found = _support(law)
    return getattr(found, "lower_bound", None), getattr(found, "upper_bound", None)


def _named(law: Any) -> str:
    while isinstance(law, torch.distributions.Independent):
        law = law.base_dist
    return type(law).__name__
