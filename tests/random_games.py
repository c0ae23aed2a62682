"""Random game programs: every shape of game that the language allows, small enough to enumerate."""

from __future__ import annotations

from collections import defaultdict, namedtuple
from dataclasses import dataclass
from math import prod
from random import Random
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
    agents: tuple[str, ...]
    order: tuple[tuple[str, Entry, Any], ...]  # ("signal" | "act" | "chance", entry, detail)
    rewards: tuple[tuple[str, Entry], ...]  # (agent, entry)
    following: tuple[Entry, ...]  # the next state's parts
    zeros: bool  # whether laws and priors have zero probabilities
    idle: str | None  # an agent that does not act at odd times
    discount: float | None
    horizon: int | None
    variables: dict[str, int]  # how many values each has


class RandomProgram:
    """A game whose step follows a `Spec`. `TimedProgram` also takes the time."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.agents = spec.agents
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
        endless = self.spec.horizon is None  # a table lists all signals, possible or not
        if self.spec.zeros and not (kind == "signal" and endless):
            weights = weights * (self._normal([*shape, size]) > -0.7)
            sure = torch.randint(size, [*shape, 1], generator=self._random)
            weights = weights.scatter_add(-1, sure, torch.ones_like(weights[..., :1]))
        self._constants[name] = weights / weights.sum(-1, keepdim=True)


class TimedProgram(RandomProgram):
    """A random program whose step takes the time."""

    def step(self, state: Any, t: int) -> Any:  # type: ignore[override]
        return self._step(state, t)


_NAMED = {k: namedtuple("Place", [f"x{i}" for i in range(k)]) for k in (1, 2)}  # noqa: PYI024


def games(
    *,
    outcomes: int = 24,
    horizons: tuple[int | None, ...] = (1, 2, 3, None),
    states: int = 4,
) -> st.SearchStrategy[RandomProgram]:
    """Random game programs.

    Each comes from one integer: choices drawn by hypothesis one by one would mostly be the least
    ones, and few programs would have two of the rarer features at once.

    Args:
        outcomes: the most joint outcomes (actions, chance, signal) of one step.
        horizons: to choose from. An endless game has a discount of 0.3 at most, so that sums over
            time can be cut off.
        states: the most states.
    """
    seeds = st.integers(0, 2**40)
    return seeds.map(lambda seed: random_program(seed, outcomes, horizons, states))


def random_program(
    seed: int, outcomes: int, horizons: tuple[int | None, ...], states: int
) -> RandomProgram:
    """The program of a seed; see `games`."""
    random = Random(seed)

    def some(names: list[str]) -> tuple[str, ...]:
        return tuple(name for name in names if random.random() < 0.5)

    first = random.randint(1, states)
    sizes = (first, random.randint(1, states // first))[: random.randint(1, 2)]
    steps = random.choice(horizons)
    timed = steps is not None and random.random() < 0.5
    agents = NAMES[: random.randint(1, 3)]
    sites = [f"{agent}{more}" for agent in agents for more in random.choice([("",), ("", "_too")])]
    chances = [f"luck{k}" for k in range(random.randint(0, 2))]
    signals = ["omen"] if random.random() < 0.25 else []

    variables = {f"x{k}": n for k, n in enumerate(sizes)}
    if timed:
        variables["t"] = steps  # type: ignore[assignment]
    known = list(variables)
    budget, every = outcomes, [*sites, *chances, *signals]
    for name in random.sample(every, len(every)):
        most = 3 if name in sites else 2
        variables[name] = min(random.choice([1, most, most, most]), budget)
        budget //= variables[name]

    order: list[tuple[str, Entry, Any]] = []
    for name in signals:
        order.append(("signal", Entry(name, some(known)), None))
        known.append(name)
    public, own = list(known), defaultdict[str, list[str]](list)
    for name in random.sample([*sites, *chances], len(sites) + len(chances)):
        if name in chances:
            detail = random.choice(["categorical", "bernoulli"])
            detail = detail if variables[name] == 2 else "categorical"
            order.append(("chance", Entry(name, some(known)), detail))
        else:
            agent = name.removesuffix("_too")
            name = f"{agent}_too" if own[agent] else agent  # its first site has its own name
            order.append(("act", Entry(name, some([*public, *own[agent]])), agent))
            own[agent].append(name)
        known.append(name)
    spec = Spec(
        seed=seed,
        sizes=sizes,
        lows=tuple(random.choice([0, -2, 5]) for _ in sizes),
        structure=random.choice(STRUCTURES if len(sizes) == 1 else STRUCTURES[1:]),
        drawn=tuple(random.random() < 0.5 for _ in sizes),
        order=tuple(order),
        rewards=tuple(
            (agent, Entry(f"pay_{agent}{k}", some(known)))
            for agent in agents
            for k in range(random.randint(1, 2))
        ),
        following=tuple(Entry(f"to{k}", some(known)) for k in range(len(sizes))),
        agents=agents,
        zeros=random.random() < 0.5,
        idle=agents[0] if timed and random.random() < 0.3 else None,
        discount=random.choice([0.3, 0.1] if steps is None else [None, 0.9, 0.0]),
        horizon=steps,
        variables=variables,
    )
    assert prod(variables[name] for name in every) <= outcomes
    return (TimedProgram if timed else RandomProgram)(spec)
