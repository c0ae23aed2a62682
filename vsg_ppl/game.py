"""The language: what a game program says, and what any game must offer.

A game is an object with the names of its agents and two Pyro programs. ``initial`` draws the first
state; ``step`` takes a state, lets the agents act, pays them, and returns the next state. Any Pyro
code may stand between.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Protocol, SupportsFloat, runtime_checkable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError


@runtime_checkable
class Game(Protocol):
    """A stochastic game: who plays, how it starts, what one step does.

    Two more attributes are read where they exist, and at least one must: ``discount`` (γ in [0, 1),
    default 1) and ``horizon`` (the number of decisions, T + 1 in the paper; ``None`` is infinite).
    The step may also take the time, as an argument named ``t``: a number, or a tensor of the shape
    of the state's parts. A mean-field game's step also takes the ``crowd`` (see `Crowd`).

    >>> import pyro.distributions as dist, torch, vsg_ppl as vsg
    >>> class Coordination:
    ...     agents = ("row", "col")
    ...     horizon = 1
    ...     def initial(self):
    ...         return torch.tensor(0)
    ...     def step(self, state):
    ...         row = vsg.act("row", dist.Categorical(torch.ones(2)))
    ...         col = vsg.act("col", dist.Categorical(torch.ones(2)))
    ...         vsg.optimality("row", (row == col).double())
    ...         vsg.optimality("col", (row == col).double())
    ...         return state
    >>> isinstance(Coordination(), vsg.Game)
    True
    """

    @property
    def agents(self) -> Sequence[str]:
        """Names of the agents, in the order in which tables list them."""
        ...

    def initial(self) -> Any:
        """Draw the first state: integer tensors, one or a tuple, NamedTuple or dict of them."""
        ...

    @property
    def step(self) -> Callable[..., Any]:
        """One decision of every agent: ``step(state)`` or ``step(state, t)`` -> next state."""
        ...


@dataclass(frozen=True)
class Act:
    """Marks a sample site at which an agent acts."""

    agent: str
    site: str
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Optimality:
    """Marks the factor of an agent's optimality; the site's value is the reward."""

    agent: str


@dataclass(frozen=True)
class Signal:
    """Marks a public signal, drawn before anyone acts and seen by all."""

    site: str


def role(msg: Any) -> Act | Optimality | Signal | None:
    """What a sample site is in the game; ``None`` for a move of chance."""
    return (msg["infer"] or {}).get("vsg")


def act(
    agent: str,
    prior: Any,
    *,
    name: str | None = None,
    labels: Sequence[str] | type[Enum] | None = None,
) -> Tensor:
    """An agent acts: a sample site whose distribution is the action's prior u (Def. 4.1).

    Args:
        agent: who acts.
        prior: the prior of the action given the state, ``Categorical`` for a finite set. Actions of
            zero probability are not available. It may not read another agent's action of this step.
        name: the site's name, by default the agent's. An agent with several sites in one step
            chooses them jointly.
        labels: names of the actions, or an ``Enum`` class, for people to read.

    Returns:
        The action, an integer tensor for a ``Categorical`` prior.
    """
    site = agent if name is None else name
    names = _label_names(labels)
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GameError(
            f"two actions of '{agent}' are named '{twice}'", site=site, hint="a label for each."
        )
    return _sample(site, prior, Act(agent, site, names))


def optimality(agent: str, reward: Any, *, name: str | None = None) -> None:
    """The factor exp(reward / temperature) of an agent's optimality (Def. 4.1).

    Several calls for one agent in one step add up.

    Args:
        agent: whose reward it is.
        reward: the reward, a number or a tensor without event dimensions. Torch makes a tensor of
            whole numbers times a Python float single precision: write ``0.1 * place.double()``
            where seven digits are not enough.
        name: a name for this part of the reward, if it has several.
    """
    site = f"O_{agent}" if name is None else f"O_{agent}.{name}"
    if not isinstance(reward, Tensor):  # a Python number has double precision, torch's default not
        try:
            reward = torch.as_tensor(reward, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise GameError(
                f"the reward of '{agent}' is {reward!r}, not a number or a tensor", site=site
            ) from None
    if reward.dtype not in (torch.float32, torch.float64):
        reward = reward.double()
    # `pyro.factor` takes no `infer`, so the Unit is written out; handlers read the reward off it
    factor = dist.Unit(reward, validate_args=False)
    _sample(site, factor, Optimality(agent), obs=reward.new_empty(reward.shape + (0,)))


def signal(name: str, distribution: Any) -> Tensor:
    """A public signal: drawn before anyone acts, seen by all (§5.3, Fig. 3).

    Args:
        name: the site's name.
        distribution: its law σ, which may read the state and nothing else.

    Returns:
        The signal's value.
    """
    return _sample(name, distribution, Signal(name))


def discount(game: Game) -> float:
    """The game's discount γ, 1 when it names none. Raises `GameError` outside [0, 1]."""
    gamma = getattr(game, "discount", None)
    gamma = 1.0 if gamma is None else gamma
    if not isinstance(gamma, SupportsFloat) or not 0.0 <= float(gamma) <= 1.0:
        raise GameError(f"the discount of {title(game)} is {gamma!r}, not a number in [0, 1]")
    gamma = float(gamma)
    if gamma == 1.0 and getattr(game, "horizon", None) is None:
        raise GameError(
            f"{title(game)} never ends: it has neither a discount below 1 nor a horizon",
            hint="give it `discount = 0.9`, or `horizon = 10` (the number of decisions).",
        )
    return gamma


def horizon(game: Game) -> int | None:
    """The game's number of decisions, ``None`` when infinite. Raises `GameError` below 1."""
    steps = getattr(game, "horizon", None)
    if steps is None:
        discount(game)
        return None
    whole = isinstance(steps, SupportsFloat) and float(steps).is_integer()
    if isinstance(steps, bool) or not whole or steps < 1:
        raise GameError(
            f"the horizon of {title(game)} is {steps!r}; it counts decisions, so it must be 1 or "
            "a larger whole number"
        )
    return int(steps)


def agents(game: Game) -> tuple[str, ...]:
    """The game's agents. Raises `GameError` when there are none or a name stands twice."""
    lacking = [part for part in ("agents", "initial", "step") if not hasattr(game, part)]
    if isinstance(game, type):
        raise GameError(f"{game.__name__} is a class, not a game", hint=f"{game.__name__}().")
    if lacking:
        raise GameError(
            f"{title(game)} is not a game: it has no {', '.join(lacking)}",
            hint="see `vsg_ppl.Game`.",
        )
    names = game.agents
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise GameError(f"the agents of {title(game)} are {names!r}, not a tuple of names")
    if not names:
        raise GameError(f"{title(game)} has no agents", hint='agents = ("row", "col").')
    if len(set(names)) != len(names):
        raise GameError(f"the agents of {title(game)} repeat a name: {', '.join(names)}")
    return tuple(names)


def title(game: object) -> str:
    """A game's name for people: its ``name`` or its class's."""
    name = getattr(game, "name", None)
    return name if isinstance(name, str) else type(game).__name__


class Limited:
    """A game with another horizon.

    Raises:
        GameError: the horizon is not a whole number of decisions, 1 or more.
    """

    def __init__(self, game: Game, decisions: int) -> None:
        self.agents, self.initial, self.step = game.agents, game.initial, game.step
        self.discount, self.name = getattr(game, "discount", None), title(game)
        self.horizon: int | None = decisions
        self.horizon = horizon(self)


def call(program: Callable[..., Any], state: Any, **extras: Any) -> Any:
    """Run ``program(state)`` with those of the extras (``t``, ``seen``, ...) that it names."""
    accepted = _parameters(_function(program))
    return program(state, **{key: extras[key] for key in extras if key in accepted})


def takes(program: Callable[..., Any], name: str) -> bool:
    """Whether a program has a parameter of this name."""
    return name in _parameters(_function(program))


def is_mean_field(game: Game) -> bool:
    """Whether a game is of the mean-field kind: its step takes the ``crowd``."""
    return takes(game.step, "crowd")


def _sample(name: str, law: Any, part: Act | Optimality | Signal, **given: Any) -> Tensor:
    infer: Any = {"vsg": part}  # Pyro hands on keys that it does not know
    return pyro.sample(name, law, infer=infer, **given)


def _function(program: Any) -> Callable[..., Any]:
    """The function behind a program, so that the cache below keeps no object alive."""
    if isinstance(program, torch.nn.Module):
        return type(program).forward
    if not inspect.isfunction(program) and hasattr(program, "__wrapped__"):
        return _function(program.__wrapped__)
    found = getattr(program, "__func__", program)
    if inspect.isfunction(found) or isinstance(found, partial):
        return found
    return type(found).__call__


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _label_names(labels: Sequence[str] | type[Enum] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, type):
        return tuple(member.name for member in labels)
    return tuple(str(label) for label in labels)
