"""Random game programs: every shape of game that the language allows, small enough to enumerate."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field
from math import prod
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from hypothesis import strategies as st

import vsg_ppl as vsg

NAMES = ("ann", "bob", "cy")
STRUCTURES = ("tensor", "tuple", "named", "dict")


@dataclass(frozen=True)
class Entry:
    """A table of random constants, looked up by the values of its parents."""

    name: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """What a random program does, in order; constants come from the seed."""

    seed: int
    sizes: tuple[int, ...]  # of the state's parts
    lows: tuple[int, ...]  # least value of each part
    structure: str
    drawn: tuple[bool, ...]  # parts of the first state that chance draws
    acts: dict[str, tuple[int, ...]]  # sizes of each agent's sites
    order: tuple[tuple[str, Entry, Any], ...]  # ("signal" | "act" | "chance", entry, detail)
    rewards: tuple[tuple[str, Entry], ...]  # (agent, entry)
    following: tuple[Entry, ...]  # the next state's parts
    zeros: bool  # whether laws and priors have zero probabilities
    idle: str | None  # an agent that does not act at odd times
    discount: float | None
    horizon: int | None
    variables: dict[str, int] = field(default_factory=dict)


class RandomProgram:
    """A game whose step follows a `Spec`. `TimedProgram` also takes the time."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.agents = tuple(spec.acts)
        self.name = f"random program {spec.seed}"
        if spec.discount is not None:
            self.discount = spec.discount
        if spec.horizon is not None:
            self.horizon = spec.horizon
        self._random = torch.Generator().manual_seed(spec.seed)
        self._constants: dict[str, torch.Tensor] = {}
        sizes = spec.variables
        for kind, entry, _ in spec.order:
            self._law(entry.name, [sizes[p] for p in entry.parents], sizes[entry.name], kind)
        for _, entry in spec.rewards:
            shape = [sizes[p] for p in entry.parents]
            self._constants[entry.name] = self._normal(shape)
        for entry, size in zip(spec.following, spec.sizes, strict=True):
            shape = [sizes[p] for p in entry.parents]
            self._constants[entry.name] = torch.randint(size, shape, generator=self._random)
        for k, size in enumerate(spec.sizes):
            self._law(f"first{k}", [], size, "chance")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec})"

    def initial(self) -> Any:
        parts = []
        for k, low in enumerate(self.spec.lows):
            if self.spec.drawn[k]:
                number = pyro.sample(f"x{k}", dist.Categorical(self._constants[f"first{k}"]))
            else:
                number = torch.tensor(self.spec.sizes[k] - 1)
            parts.append(number + low)
        return self._state(parts)

    def step(self, state: Any) -> Any:
        return self._step(state, 0)

    def _step(self, state: Any, t: int) -> Any:
        values: dict[str, Any] = {"t": t}
        for k, part in enumerate(self._parts(state)):
            values[f"x{k}"] = part - self.spec.lows[k]
        for kind, entry, detail in self.spec.order:
            law = self._look_up(entry, values)
            if kind == "act" and detail == self.spec.idle and t % 2 == 1:
                values[entry.name] = torch.tensor(0)
            elif kind == "act":
                values[entry.name] = vsg.act(detail, dist.Categorical(law), name=entry.name)
            elif kind == "signal":
                values[entry.name] = vsg.signal(entry.name, dist.Categorical(law))
            elif detail == "bernoulli":
                values[entry.name] = pyro.sample(entry.name, dist.Bernoulli(law[..., 1])).long()
            else:
                values[entry.name] = pyro.sample(entry.name, dist.Categorical(law))
        for agent, entry in self.spec.rewards:
            vsg.optimality(agent, self._look_up(entry, values))
        return self._state(
            [
                self._look_up(entry, values) + low
                for entry, low in zip(self.spec.following, self.spec.lows, strict=True)
            ]
        )

    def _look_up(self, entry: Entry, values: dict[str, Any]) -> torch.Tensor:
        return self._constants[entry.name][tuple(values[p] for p in entry.parents)]

    def _state(self, parts: list[Any]) -> Any:
        if self.spec.structure == "tensor":
            return parts[0]
        if self.spec.structure == "dict":
            return {f"x{k}": part for k, part in enumerate(parts)}
        if self.spec.structure == "named":
            return _NAMED[len(parts)](*parts)
        return tuple(parts)

    def _parts(self, state: Any) -> list[Any]:
        if self.spec.structure == "tensor":
            return [state]
        return list(state.values()) if isinstance(state, dict) else list(state)

    def _normal(self, shape: list[int]) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=self._random)

    def _law(self, name: str, shape: list[int], size: int, kind: str) -> None:
        """Probabilities over ``size`` values; some are zero if the spec says so."""
        weights = self._normal([*shape, size]).exp()
        if self.spec.zeros and kind != "signal":
            weights = weights * (self._normal([*shape, size]) > -0.7)
            sure = torch.randint(size, [*shape, 1], generator=self._random)
            weights = weights.scatter_add(-1, sure, torch.ones_like(weights[..., :1]))
        self._constants[name] = weights / weights.sum(-1, keepdim=True)


class TimedProgram(RandomProgram):
    """A random program whose step takes the time."""

    def step(self, state: Any, t: int) -> Any:  # type: ignore[override]
        return self._step(state, t)


_NAMED = {k: namedtuple("Place", [f"x{i}" for i in range(k)]) for k in (1, 2)}  # noqa: PYI024


@st.composite
def games(
    draw: Any,
    *,
    outcomes: int = 24,
    max_horizon: int = 3,
    max_agents: int = 3,
    states: int = 4,
    endless: bool = True,
    signals: bool = True,
    zeros: bool = True,
    idle: bool = True,
) -> RandomProgram:
    """A random game program.

    Args:
        outcomes: the most joint outcomes (actions, chance, signal) of one step.
        max_horizon: the longest horizon.
        max_agents: the most agents.
        states: the most states.
        endless: whether the horizon may be infinite (with a discount of 0.3 at most, so that sums
            over time can be cut off).
        signals: whether there may be a public signal.
        zeros: whether probabilities may be zero.
        idle: whether an agent may sit out.
    """
    budget = outcomes

    def size(most: int) -> int:
        nonlocal budget
        drawn: int = draw(st.integers(1, max(1, min(most, budget))))
        budget //= drawn
        return drawn

    parts = draw(st.integers(1, 2))
    first = draw(st.integers(1, states))
    sizes = (first, draw(st.integers(1, states // first)))[:parts]
    structure = draw(st.sampled_from(STRUCTURES if parts == 1 else STRUCTURES[1:]))
    steps = draw(st.sampled_from([*range(1, max_horizon + 1), *([None] if endless else [])]))
    discount = draw(st.sampled_from([0.3, 0.1] if steps is None else [None, 0.9, 0.0]))
    timed = steps is not None and draw(st.booleans())

    agents = NAMES[: draw(st.integers(1, max_agents))]
    acts = {agent: tuple(size(3) for _ in range(draw(st.integers(1, 2)))) for agent in agents}
    variables = {f"x{k}": n for k, n in enumerate(sizes)}
    if timed:
        variables["t"] = steps
    known = list(variables)

    def some(names: list[str]) -> tuple[str, ...]:
        return tuple(name for name in names if draw(st.booleans()))

    order: list[tuple[str, Entry, Any]] = []
    if signals and draw(st.integers(0, 3)) == 0:
        variables["omen"] = size(2)
        order.append(("signal", Entry("omen", some(known)), None))
        known.append("omen")
    public = list(known)
    todo = [agent for agent in agents for _ in acts[agent]] + ["chance"] * draw(st.integers(0, 2))
    own: dict[str, list[str]] = {agent: [] for agent in agents}
    chances = 0
    for who in draw(st.permutations(todo)):
        if who == "chance":
            name, kind = f"luck{chances}", draw(st.sampled_from(["categorical", "bernoulli"]))
            chances += 1
            number = size(2)
            if kind == "bernoulli" and number == 1:
                kind = "categorical"
            entry = ("chance", Entry(name, some(known)), kind)
        else:
            name = who if not own[who] else f"{who}_too"
            number = acts[who][len(own[who])]
            entry = ("act", Entry(name, some([*public, *own[who]])), who)
            own[who].append(name)
        order.append(entry)
        variables[name] = number
        known.append(name)
    rewards = tuple(
        (agent, Entry(f"pay_{agent}{k}", some(known)))
        for agent in agents
        for k in range(draw(st.integers(1, 2)))
    )
    spec = Spec(
        seed=draw(st.integers(0, 10**6)),
        sizes=sizes,
        lows=tuple(draw(st.sampled_from([0, -2, 5])) for _ in sizes),
        structure=structure,
        drawn=tuple(draw(st.booleans()) for _ in sizes),
        acts=acts,
        order=tuple(order),
        rewards=rewards,
        following=tuple(Entry(f"to{k}", some(known)) for k in range(parts)),
        zeros=zeros and draw(st.booleans()),
        idle=draw(st.sampled_from([None, agents[0]])) if idle and timed else None,
        discount=discount,
        horizon=steps,
        variables=variables,
    )
    assert prod(variables[entry.name] for _, entry, _ in order) <= outcomes
    return (TimedProgram if timed else RandomProgram)(spec)
