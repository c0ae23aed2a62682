"""An agent's action sites as a gymnasium space, and actions of the space as the sites' values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.distributions import constraints

from vsg_ppl.errors import GameError

MOST = 1 << 20
"""Joint actions of one agent; a mask lists them all."""


@dataclass(frozen=True)
class Choice:
    """A site with finitely many values: ``lower``, ``lower`` + 1, and so on."""

    name: str
    size: int
    lower: int = 0
    labels: tuple[str, ...] | None = None
    dtype: torch.dtype = torch.long

    @property
    def space(self) -> spaces.Discrete:
        """Its values, counted from 0."""
        return spaces.Discrete(self.size)

    def value(self, action: Any) -> Tensor:
        """The site's value for an action of the space."""
        number = np.asarray(action)
        if number.size != 1 or number.dtype.kind not in "biuf" or not 0 <= number < self.size:
            raise _strange(action, self.name, self.space)
        if int(number.item()) != number.item():
            raise _strange(action, self.name, self.space)
        return torch.tensor(int(number.item()) + self.lower, dtype=self.dtype)

    def words(self, value: Tensor) -> str:
        """A value for people."""
        number = int(value)
        return str(number) if self.labels is None else self.labels[number - self.lower]


@dataclass(frozen=True)
class Amount:
    """A continuous site, by the bounds of its support when it was first seen."""

    name: str
    low: Tensor
    high: Tensor
    open: tuple[bool, bool] = (False, False)  # whether the bounds themselves are outside
    simplex: bool = False

    @property
    def space(self) -> spaces.Box:
        """A box of single precision; a number alone is a vector of length 1."""
        low, high = (bound.reshape(self._shape).numpy() for bound in (self.low, self.high))
        low, high = low.astype(np.float32), high.astype(np.float32)
        if self.open[0]:
            low = np.nextafter(low, np.float32(np.inf))
        if self.open[1]:
            high = np.nextafter(high, np.float32(-np.inf))
        return spaces.Box(low, high, dtype=np.float32)

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.low.shape) or (1,)

    def value(self, action: Any) -> Tensor:
        """The site's value for an action of the space."""
        try:
            given = np.asarray(action, dtype=np.float64).reshape(self._shape)
        except (TypeError, ValueError):
            raise _strange(action, self.name, self.space) from None
        if not self.space.contains(given.astype(np.float32)):
            raise _strange(action, self.name, self.space)
        value = torch.as_tensor(given).reshape(self.low.shape).to(self.low.dtype)
        if self.simplex:
            total = value.sum(-1, keepdim=True)
            even = torch.full_like(value, 1 / value.shape[-1])
            return torch.where(total > 0, value / total, even)
        # single precision may have rounded the bounds outwards
        return value.clamp(self.low, self.high)

    def words(self, value: Tensor) -> str:
        """A value for people."""
        flat = [f"{x:.4g}" for x in value.reshape(-1).tolist()]
        return flat[0] if value.ndim == 0 else f"[{', '.join(flat)}]"


Site = Choice | Amount


class ActionSpace:
    """An agent's sites and the space they make.

    One site is a `Discrete` or a `Box`. Several finite ones are a `Discrete` of the joint action,
    numbered as in tables: the last site counts fastest. So every set of available actions has a
    mask, which no product of spaces has. Otherwise it is a `Dict` by the sites' names.

    >>> both = ActionSpace("row", [Choice("row", 2), Choice("bid", 3)])
    >>> both.space, {name: int(value) for name, value in both.values(4).items()}
    (Discrete(6), {'row': 1, 'bid': 1})
    """

    def __init__(self, agent: str, sites: list[Site]) -> None:
        self.agent, self.sites = agent, sites
        self.sizes = tuple(site.size for site in sites if isinstance(site, Choice))
        self.finite = len(self.sizes) == len(sites)
        self.space: spaces.Space[Any]
        if self.finite:
            if prod(self.sizes) > MOST:
                raise GameError(
                    f"'{agent}' has {prod(self.sizes):,} joint actions, and {MOST:,} are allowed",
                    site=sites[0].name,
                )
            self.space = spaces.Discrete(prod(self.sizes))
        elif len(sites) == 1:
            self.space = sites[0].space
        else:
            self.space = spaces.Dict({site.name: site.space for site in sites})

    def values(self, action: Any) -> dict[str, Tensor]:
        """The value of each site for an action. Raises `GameError` if it is not in the space."""
        if self.finite:
            number = int(Choice(self.sites[0].name, prod(self.sizes)).value(action))
            parts: Any = np.unravel_index(number, self.sizes)
        elif len(self.sites) == 1:
            parts = [action]
        else:
            names = [site.name for site in self.sites]
            if not isinstance(action, Mapping) or set(action) != set(names):
                raise _strange(action, self.agent, self.space)
            parts = [action[name] for name in names]
        return {site.name: site.value(part) for site, part in zip(self.sites, parts, strict=True)}


def read_site(name: str, fn: Any, labels: tuple[str, ...] | None, dtype: torch.dtype) -> Site:
    """What an action site's prior says of its values.

    Args:
        name: the site's.
        fn: the prior.
        labels: names of the actions.
        dtype: of the site's values.

    Raises:
        GameError: the prior has a batch shape, or a support that no space describes.

    >>> import pyro.distributions as dist
    >>> read_site("bid", dist.Uniform(0.0, 2.0), None, torch.float32).space
    Box(0.0, 2.0, (1,), float32)
    """
    if fn.batch_shape:
        raise GameError(
            f"the action's prior has batch shape {tuple(fn.batch_shape)}; one play is stepped",
            site=name,
            hint="`.to_event(1)` for a vector of continuous actions, one site for each finite one.",
        )
    support, event = fn.support, fn.event_shape
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support.is_discrete:
        known = support is constraints.boolean or hasattr(support, "upper_bound")
        if not known or event:
            raise GameError(
                f"the action's prior is a {type(fn).__name__}, not over a finite set of numbers",
                site=name,
                hint="dist.Categorical, one site for each number.",
            )
        lower = int(getattr(support, "lower_bound", 0))
        upper = int(getattr(support, "upper_bound", 1))
        return Choice(name, upper - lower + 1, lower, labels, dtype)
    if support is constraints.simplex:
        low = torch.zeros(event, dtype=dtype)
        return Amount(name, low, torch.ones_like(low), simplex=True)
    # names: the classes of torch's constraints have no common attribute for this
    kind = type(support).__name__.lstrip("_")
    if kind not in KINDS:
        raise GameError(
            f"the support of the action's prior, a {type(fn).__name__}, is {support}, which no "
            "space of gymnasium's is",
            site=name,
            hint="a prior over numbers, or intervals, or a simplex; a function of it in the step.",
        )
    low, high = (
        torch.as_tensor(getattr(support, bound, end)).detach().cpu().to(dtype).expand(event).clone()
        for bound, end in (("lower_bound", -torch.inf), ("upper_bound", torch.inf))
    )
    return Amount(name, low, high, KINDS[kind])


KINDS = {
    "Real": (False, False),
    "Interval": (False, False),
    "HalfOpenInterval": (False, True),
    "GreaterThan": (True, False),
    "GreaterThanEq": (False, False),
    "LessThan": (False, True),
}
"""Torch's constraints that are boxes, and whether the bounds themselves are outside."""


def available(fn: Any) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Which values of a finite site have positive probability: 1 or 0 for each."""
    if isinstance(fn, torch.distributions.Categorical):
        positive = fn.probs > 0
    elif isinstance(fn, torch.distributions.Bernoulli):  # its log_prob is clamped
        positive = torch.stack([fn.probs < 1, fn.probs > 0])
    else:
        positive = fn.log_prob(fn.enumerate_support()) > -torch.inf
    return positive.cpu().numpy().astype(np.int8)


def _strange(action: Any, name: str, space: Any) -> GameError:
    shown = repr(action) if len(repr(action)) < 60 else f"{repr(action)[:56]} ..."
    return GameError(f"the action {shown} is not in {space}", site=name)
