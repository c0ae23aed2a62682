"""What agents choose, read off their priors: the supports of actions, and the parts of states."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    TanhTransform,
    Transform,
)

from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Act, Game, Signal, agents, call, role, title
from vsg_ppl.structure import tensors

INSIDE = 1e-6
"""By this part of its length an interval is narrowed: rounding puts no action on a bound."""

LOG_SCALES = (-10.0, 3.0)
"""Between these log σ is clamped, in units of the prior's σ."""

LOG_CONCENTRATIONS = (-3.0, 15.0)
"""Between these the log of a Dirichlet's concentrations is."""


@dataclass(frozen=True)
class Support:
    """Where the values of an action site lie, read off its prior.

    Attributes:
        site: its name.
        kind: "finite", "simplex" or "numbers".
        shape: of one value.
        centre: of the prior: means of numbers (0 without a mean), logits or log concentrations.
        scale: the prior's standard deviations of numbers, 1 where it has none.
        low: bounds of numbers, −∞ where there is none.
        high: the same, ∞.
    """

    site: str
    kind: str
    shape: tuple[int, ...]
    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    @property
    def size(self) -> int:
        """How many numbers lie behind a value: D, or one for each share or finite action."""
        return len(self.centre)

    @property
    def outputs(self) -> int:
        """How many numbers say a law: two for each of numbers, else one."""
        return self.size * (2 if self.kind == "numbers" else 1)

    def transform(self) -> Transform:
        """From R^D into the support of numbers, elementwise.

        Results are kept, so that the density of a drawn value is that of the number behind it,
        even where rounding would lose that.
        """
        low, high = bool(self.low.isfinite().all()), bool(self.high.isfinite().all())
        if low and high:
            half = (self.high - self.low) / 2
            into = AffineTransform(self.low + half, half * (1 - INSIDE), cache_size=1)
            return ComposeTransform([TanhTransform(cache_size=1), into])
        if low or high:
            bound, scale = (self.low, self.scale) if low else (self.high, -self.scale)
            into = AffineTransform(bound, scale, cache_size=1)
            return ComposeTransform([ExpTransform(cache_size=1), into])
        return AffineTransform(self.centre, self.scale)

    def value(self, x: Tensor) -> Tensor:
        """The value at a point of R^D, (..., *shape); differentiable unless it is finite."""
        if self.kind == "finite":
            return x.argmax(-1)
        y = x.softmax(-1) if self.kind == "simplex" else self.transform()(x)
        return y.reshape((*x.shape[:-1], *self.shape))

    def law(self, outputs: Tensor) -> Any:
        """The law that a network's outputs (..., outputs) say; zeros say one near the prior."""
        if self.kind == "finite":
            return dist.Categorical(logits=self.centre + outputs)
        if self.kind == "simplex":
            return dist.Dirichlet((self.centre + outputs).clamp(*LOG_CONCENTRATIONS).exp())
        mean, log_scale = (
            part.reshape((*part.shape[:-1], *self.shape)) for part in outputs.chunk(2, -1)
        )
        normal = dist.Normal(mean, log_scale.clamp(*LOG_SCALES).exp())
        transform = self.reshaped().transform()
        if isinstance(transform, AffineTransform):  # a Normal that Pyro knows as one
            law: Any = dist.Normal(transform(normal.loc), transform.scale * normal.scale)
        else:
            law = dist.TransformedDistribution(normal, [transform])
        return law.to_event(len(self.shape))

    def reshaped(self) -> Support:
        """The same with bounds of the shape of one value."""
        parts = (
            part.reshape(self.shape) for part in (self.centre, self.scale, self.low, self.high)
        )
        return Support(self.site, self.kind, self.shape, *parts)

    def read(self, value: Tensor) -> Tensor:
        """A value as inputs of a network, (..., size)."""
        if self.kind == "finite":
            return nn.functional.one_hot(value.long(), self.size).double()
        flat = value.reshape((*value.shape[: value.ndim - len(self.shape)], self.size)).double()
        return flat if self.kind == "simplex" else (flat - self.centre) / self.scale


class FirstStep:
    """What one step of a game by the priors shows: the parts of its state, and who chooses what.

    Attributes:
        shapes: of the parts of the state, public signals among them.
        supports: by agent and site.

    Raises:
        GameError: an action whose support is of no known kind, or a step that fails.

    >>> from vsg_ppl.models import Differential
    >>> FirstStep(Differential()).supports["first"]["first"].high
    tensor([10.], dtype=torch.float64)
    """

    def __init__(self, game: Game) -> None:
        with (
            poutine.block(),
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
            telling(f"`step` of {title(game)}"),
        ):
            state = game.initial()
            trace = poutine.trace(lambda: call(game.step, state, t=0)).get_trace()
        signals: dict[str, Tensor] = {}
        self.name = title(game)
        self.supports: dict[str, dict[str, Support]] = {agent: {} for agent in agents(game)}
        for name, site in trace.nodes.items():
            part = role(site) if site["type"] == "sample" else None
            if isinstance(part, Act):
                self.supports[part.agent][name] = support(name, site["fn"])
            elif isinstance(part, Signal):
                signals[name] = torch.as_tensor(site["value"])
        self.shapes = [leaf.shape for leaf in tensors((state, signals))]

    def of(self, agent: str) -> dict[str, Support]:
        """What an agent chooses, by site. Raises `GameError` for one that is not there."""
        if agent not in self.supports:
            raise GameError(
                f"{self.name} has no agent '{agent}'", hint=f"one of {', '.join(self.supports)}."
            )
        if not self.supports[agent]:
            raise GameError(f"'{agent}' of {self.name} does not act in the first step")
        return self.supports[agent]

    def inputs(self, state: Any) -> Tensor:
        """The parts of states as numbers, (..., parts)."""
        flat = [
            leaf.double().reshape((*leaf.shape[: leaf.ndim - len(shape)], prod(shape)))
            for leaf, shape in zip(tensors(state), self.shapes, strict=True)
        ]
        return beside(flat) if flat else torch.zeros(0).double()

    @property
    def width(self) -> int:
        """How many numbers a state has."""
        return sum(prod(shape) for shape in self.shapes)


def support(site: str, prior: Any) -> Support:
    """The support of an action's prior.

    >>> support("bid", dist.Normal(0.0, 2.0).expand([3]).to_event(1)).scale
    tensor([2., 2., 2.], dtype=torch.float64)
    """
    if prior.batch_shape:
        raise GameError(
            f"the prior {type(prior).__name__} has the batch shape {tuple(prior.batch_shape)}",
            site=site,
            hint="`.to_event(1)` for a vector of numbers.",
        )
    shape, none = tuple(prior.event_shape), torch.empty(0)
    if isinstance(prior, torch.distributions.Categorical):
        return Support(site, "finite", (), prior.logits.detach().double(), none, none, none)
    law = prior
    while isinstance(law, torch.distributions.Independent):
        law = law.base_dist
    if law.support is constraints.simplex:
        centre = torch.zeros(shape[-1]).double()
        if isinstance(law, torch.distributions.Dirichlet):
            centre = law.concentration.detach().double().log()
        return Support(site, "simplex", shape, centre, none, none, none)
    low, high = (bound.double().expand(shape).reshape(-1) for bound in _bounds(site, law))
    centre, scale = _moments(law, shape)
    return Support(site, "numbers", shape, centre, scale, low, high)


def beside(flat: list[Tensor]) -> Tensor:
    """Numbers (..., a), (..., b), ... beside each other, their batches broadcast."""
    batch = torch.broadcast_shapes(*(part.shape[:-1] for part in flat))
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in flat], -1)


def _bounds(site: str, law: Any) -> tuple[Tensor, Tensor]:
    """Bounds of numbers; those of a transformed law are the transforms of the first law's."""
    if isinstance(law, torch.distributions.TransformedDistribution):
        low, high = _bounds(site, law.base_dist)
        for transform in law.transforms:
            low, high = transform(low), transform(high)
        return torch.minimum(low, high), torch.maximum(low, high)
    found = law.support
    while isinstance(found, constraints.independent):
        found = found.base_constraint
    infinite = torch.tensor(torch.inf).double()
    low = getattr(found, "lower_bound", -infinite)
    high = getattr(found, "upper_bound", infinite)
    bounded = hasattr(found, "lower_bound") or hasattr(found, "upper_bound")
    if law.support.is_discrete or not (bounded or found is constraints.real):
        raise GameError(
            f"no policy is known for actions of the prior {type(law).__name__}",
            site=site,
            hint="Normal, Uniform, Beta, Gamma, Dirichlet or Categorical.",
        )
    return torch.as_tensor(low), torch.as_tensor(high)


def _moments(law: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, 0 and 1 where there are none."""
    try:
        mean, spread = law.mean.double(), law.variance.double().sqrt()
    except NotImplementedError:  # a law without moments: any scale will do to begin with
        mean, spread = torch.tensor(0.0).double(), torch.tensor(1.0).double()
    mean = torch.where(mean.isfinite(), mean, 0.0).expand(shape).reshape(-1)
    spread = torch.where(spread.isfinite() & (spread > 0), spread, 1.0).expand(shape).reshape(-1)
    return mean.detach(), spread.detach()
