"""Shapes of actions, and laws over them that normal numbers are mapped onto."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import lgamma, log
from typing import Any, Literal, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform
from torch.nn.functional import logsigmoid, softplus

LOG_SCALES = (-20.0, 2.0)
"""Between these log σ is clamped; LEAST is added to σ."""

LEAST = 0.01

EDGE = 1e-6
"""How near to the edge observed actions are let come: their density has no bound there."""


class Shape(NamedTuple):
    """What says one agent's action.

    Attributes:
        kind: "box", numbers in (−1, 1); "simplex", shares that sum to 1; "finite", one of a set,
            as a vector with a single 1.
        width: how many numbers.

    >>> Shape("simplex", 3).free, round(Shape("simplex", 3).log_density, 3)
    (2, 0.693)
    """

    kind: Literal["box", "simplex", "finite"]
    width: int

    @property
    def free(self) -> int:
        """How many of the numbers are free."""
        return self.width - (self.kind == "simplex")

    @property
    def log_density(self) -> float:
        """Log density (of a finite set, probability) of even play."""
        if self.kind == "simplex":
            return lgamma(self.width)
        return -self.width * log(2) if self.kind == "box" else -log(self.width)

    def even(self, *batch: int) -> Tensor:
        """Even random actions, (*batch, width)."""
        if self.kind == "box":
            return torch.rand(*batch, self.width) * 2 - 1
        if self.kind == "simplex":
            drawn = torch.empty(*batch, self.width).exponential_()
            return drawn / drawn.sum(-1, keepdim=True)
        drawn = torch.randint(self.width, batch)
        return torch.nn.functional.one_hot(drawn, self.width).float()

    def nearby(self, action: Tensor) -> Tensor:
        """An action (..., width) made of numbers that may lie outside: cut off, and shares scaled.

        >>> Shape("simplex", 2).nearby(torch.tensor([-0.5, 3.0]))
        tensor([0., 1.])
        """
        if self.kind == "box":
            return action.clamp(-1, 1)
        action = action.clamp(min=0)
        total = action.sum(-1, keepdim=True)
        return torch.where(total > 0, action / total, 1 / self.width)


class Squash(Transform):
    """Free numbers of several agents, (..., free), to actions one after another, (..., width).

    Numbers of a box go through tanh; of a simplex through a stick that is broken again and again,
    so that zeros become even shares.

    >>> Squash([Shape("box", 1), Shape("simplex", 2)])(torch.zeros(2))
    tensor([0.0000, 0.5000, 0.5000])
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, shapes: Sequence[Shape], cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        runs = [(shape, len(list(run))) for shape, run in groupby(shapes)]
        # boxes beside each other are one box
        boxes = groupby(runs, lambda run: run[0].kind == "box")
        self.runs = [
            run
            for box, found in boxes
            for run in (
                [(Shape("box", sum(shape.width * n for shape, n in found)), 1)] if box else found
            )
        ]
        self.free = [shape.free * n for shape, n in self.runs]
        self.widths = [shape.width * n for shape, n in self.runs]

    def _call(self, x: Tensor) -> Tensor:
        parts = [
            part.tanh() if shape.kind == "box" else _shares(_split(part, n)).flatten(-2)
            for (shape, n), part in zip(self.runs, x.split(self.free, -1), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        parts = [
            part.clamp(-1 + EDGE, 1 - EDGE).atanh()
            if shape.kind == "box"
            else _unshared(_split(part, n)).flatten(-2)
            for (shape, n), part in zip(self.runs, y.split(self.widths, -1), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log volume, (...); for a simplex that of all shares but the last."""
        total: Any = 0.0
        for (shape, n), part in zip(self.runs, x.split(self.free, -1), strict=True):
            if shape.kind == "box":  # log (1 − tanh²), without cancellation
                total = total + (2 * (log(2) - part - softplus(-2 * part))).sum(-1)
            else:
                z = _offset(_split(part, n))
                # of share k: what is left of the stick, times the slope of the logistic function
                rest = logsigmoid(-z)
                left = rest.cumsum(-1) - rest
                total = total + (left + rest + logsigmoid(z)).sum((-2, -1))
        return total  # type: ignore[no-any-return]

    def forward_shape(self, shape: Any) -> Any:
        """Of values, by that of free numbers."""
        return torch.Size([*shape[:-1], sum(self.widths)])

    def inverse_shape(self, shape: Any) -> Any:
        """The other way round."""
        return torch.Size([*shape[:-1], sum(self.free)])

    def with_cache(self, cache_size: int = 1) -> Squash:
        """The same; results are kept, so that a drawn value need not be inverted."""
        if self._cache_size == cache_size:
            return self
        found = Squash([], cache_size)
        found.runs, found.free, found.widths = self.runs, self.free, self.widths
        return found


def spread(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log σ of free numbers, of outputs (..., 2 free)."""
    mean, log_scale = outputs.chunk(2, -1)
    return mean, log_scale.clamp(*LOG_SCALES)


def squashed_normal(outputs: Tensor, shapes: Sequence[Shape]) -> Any:
    """The law of squashed normal numbers, over actions (..., width), of outputs (..., 2 free).

    >>> law = squashed_normal(torch.zeros(5, 8), [Shape("box", 2), Shape("simplex", 3)])
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([5]))
    """
    mean, log_scale = spread(outputs)
    normal = dist.Normal(mean, log_scale.exp() + LEAST, validate_args=False).to_event(1)
    return dist.TransformedDistribution(normal, [Squash(shapes, 1)], validate_args=False)


def even_law(shape: Shape, device: Any = "cpu") -> Any:
    """Even play, as a law over the vectors that say actions.

    >>> even_law(Shape("simplex", 3)).log_prob(torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.6931)
    """
    one = torch.ones(shape.width, device=device)
    if shape.kind == "box":
        return dist.Uniform(-one, one, validate_args=False).to_event(1)
    if shape.kind == "simplex":
        return dist.Dirichlet(one, validate_args=False)
    return dist.OneHotCategorical(one, validate_args=False)


def _split(part: Tensor, n: int) -> Tensor:
    pieces: Tensor = part.unflatten(-1, (n, -1))
    return pieces


def _offset(x: Tensor) -> Tensor:
    """So that at zero every piece broken off is as long as what each of the others will get."""
    left = torch.arange(x.shape[-1], 0, -1, device=x.device, dtype=x.dtype)
    return x - left.log()


def _shares(x: Tensor) -> Tensor:
    z = _offset(x)
    rest = logsigmoid(-z).cumsum(-1)
    first = torch.zeros_like(rest[..., :1])
    shares: Tensor = (torch.cat([first, rest], -1) + torch.cat([logsigmoid(z), first], -1)).exp()
    return shares


def _unshared(shares: Tensor) -> Tensor:
    shares = shares.clamp(min=EDGE)
    left = shares.flip(-1).cumsum(-1).flip(-1)  # of the stick, this share included
    z = shares[..., :-1].log() - left[..., 1:].log()
    return z - _offset(torch.zeros_like(z))
