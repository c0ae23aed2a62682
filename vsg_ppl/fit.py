"""Posteriors of Pyro models whose unknowns are continuous: Laplace, SVI with an AutoGuide, NUTS."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import log, pi
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, init_to_median
from pyro.infer.mcmc.util import initialize_model
from pyro.optim import ClippedAdam
from scipy.optimize import minimize
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.progress import Progress

STEP = 1e-5
"""Of the finite differences of gradients that make a Hessian, in unconstrained units."""

FULL_RANK = 100
"""Up to this many unknowns, the default guide of SVI has a full covariance."""

LARGEST = 3000
"""Unknowns up to which Laplace's approximation is taken."""

FEW = 20
"""Steps of SVI, or draws of NUTS, too few to tell whether they have settled."""

GENTLE = 1e-8
"""A gradient, relative to the potential, at which a mode counts as found."""

CLOSE = 1e-3
"""Of a standard deviation: how far off a mode may be; in single precision one gets no nearer."""


@dataclass(frozen=True)
class Fit:
    """What inference says of a model's unknowns.

    Attributes:
        draws: from the posterior, by site, (n, ...).
        mode: the most probable values in unconstrained coordinates, where it was sought.
        log_evidence: log p(data): Laplace's estimate, or the ELBO, which is below it; NaN for NUTS.
        status: "solved", "not converged" or "interrupted".
        message: what happened, in a sentence.
        diagnostics: ``n_eff`` and ``r_hat`` by site (NUTS), ``losses`` (SVI), ``gradient`` and
            ``flat``, how many directions the data and the prior leave free (Laplace).
    """

    draws: dict[str, Tensor]
    mode: dict[str, Tensor]
    log_evidence: float
    status: str
    message: str
    diagnostics: dict[str, Any] = field(default_factory=dict)


class Unconstrained:
    """A model's latents as one real vector, and its negative log joint density there.

    Args:
        model: a Pyro model without plates to subsample.
    """

    def __init__(self, model: Callable[[], Any]) -> None:
        self.model = model
        with _quiet():
            found = initialize_model(model, init_strategy=init_to_median)
        self.start, self.potential, self.transforms, _ = found
        self.names = list(self.start)
        self.shapes = [self.start[name].shape for name in self.names]
        self.sizes = [shape.numel() for shape in self.shapes]

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(self.sizes)

    def pack(self, values: dict[str, Tensor]) -> Tensor:
        """One vector, (d,)."""
        return torch.cat([values[name].detach().double().reshape(-1) for name in self.names])

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """Unconstrained values by site, (..., shape)."""
        parts = x.split(self.sizes, -1)
        return {
            name: part.reshape(x.shape[:-1] + shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def constrained(self, x: Tensor) -> dict[str, Tensor]:
        """Values as the model samples them, (..., shape)."""
        return {
            name: self.transforms[name].inv(value).detach()
            for name, value in self.unpack(x).items()
        }

    def __call__(self, x: Tensor) -> tuple[float, Tensor]:
        """−log p(x, data) and its gradient, (d,)."""
        x = x.detach().requires_grad_()
        value = self.potential(self.unpack(x))
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient

    def random(self) -> Tensor:
        """A start drawn from the priors."""
        trace = poutine.trace(self.model).get_trace()
        return self.pack(
            {name: self.transforms[name](trace.nodes[name]["value"]) for name in self.names}
        )


def find_mode(
    model: Callable[[], Any],
    *,
    restarts: int = 2,
    max_steps: int = 500,
    largest: int | None = None,
) -> tuple[Unconstrained, Tensor, float, float]:
    """The most probable unknowns, by L-BFGS from the prior's median and from draws of the prior.

    Returns:
        The latents' coordinates, the mode in them, −log p there, and the largest entry of the
        gradient.
    """
    space = Unconstrained(model)
    if largest is not None and space.size > largest:
        raise GameError(
            f"Laplace's approximation of {space.size:,} unknowns needs a matrix of all of them by "
            f"all of them; up to {largest:,} are taken",
            hint="method='map' for the mode alone, or 'svi'.",
        )
    if not space.size:
        with torch.no_grad():
            trace = poutine.trace(model).get_trace()
        return space, torch.zeros(0, dtype=torch.float64), -float(trace.log_prob_sum()), 0.0

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            value, gradient = space(torch.from_numpy(x))
        except GameError:  # no equilibrium was found there
            return 1e100, np.zeros_like(x)
        if not np.isfinite(value) or not bool(torch.isfinite(gradient).all()):
            return 1e100, np.zeros_like(x)  # the line search comes back from there
        return value, gradient.numpy()

    best, least = None, float("inf")
    for k in range(restarts + 1):
        start = space.pack(space.start) if k == 0 else space.random()
        found = minimize(
            loss,
            start.numpy(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_steps, "ftol": 1e-14, "gtol": 1e-8, "maxcor": 20},
        )
        if found.fun < least and found.fun < 1e99:
            best, least = found, float(found.fun)
    if best is None:
        raise GameError(
            "the actions that were seen have probability zero wherever inference started",
            hint="wider priors, or a `lapse` above 0.",
        )
    x = torch.from_numpy(best.x)
    return space, x, least, float(space(x)[1].abs().max())


def most_probable(model: Callable[[], Any], *, restarts: int = 2) -> Fit:
    """The mode alone: cheap, however many unknowns there are."""
    space, x, least, steep = find_mode(model, restarts=restarts)
    if not space.size:
        return Fit({}, {}, -least, "solved", "there was nothing to infer")
    message, settled = _about_mode(space.size, least, steep)
    mode = space.constrained(x)
    return Fit(
        {name: value[None] for name, value in mode.items()},
        mode,
        float("nan"),
        "solved" if settled else "not converged",
        message,
        {"gradient": steep},
    )


def laplace(model: Callable[[], Any], draws: int, *, restarts: int = 2) -> Fit:
    """A normal posterior at the mode, in unconstrained coordinates (Laplace's approximation)."""
    space, x, least, steep = find_mode(model, restarts=restarts, largest=LARGEST)
    d = space.size
    if not d:
        return Fit({}, {}, -least, "solved", "there was nothing to infer")
    hessian = _hessian(space, x)
    values, vectors = torch.linalg.eigh(hessian)
    floor = 1e-8 * max(1.0, float(values.max()))
    flat = int((values < floor).sum())
    values = values.clamp_min(floor)
    away = float(((space(x)[1] @ vectors) / values.sqrt()).norm())
    noise = torch.randn(draws, d, dtype=torch.float64)
    points = x + (noise / values.sqrt()) @ vectors.mT
    evidence = -least + 0.5 * d * log(2 * pi) - 0.5 * float(values.log().sum())
    evidence = float("nan") if flat else evidence  # an integral that does not end
    message, settled = _about_mode(d, least, steep, close=not flat and away < CLOSE)
    if flat:
        message += (
            f"; {flat} direction{'s are' if flat > 1 else ' is'} left free: a prior would help"
        )
    return Fit(
        space.constrained(points),
        space.constrained(x),
        evidence,
        "solved" if settled and not flat else "not converged",
        message,
        {"gradient": steep, "flat": flat},
    )


def svi(
    model: Callable[[], Any],
    draws: int,
    *,
    guide: Any = None,
    steps: int = 2000,
    learning_rate: float = 0.02,
    show: Progress | None = None,
) -> Fit:
    """A guide fitted by SVI; by default AutoMultivariateNormal, or AutoNormal for many unknowns."""
    losses: list[float] = []
    status = "solved"
    with pyro.get_param_store().scope(), _quiet():
        space = Unconstrained(model)
        if not space.size:
            return laplace(model, draws)
        made = guide or (AutoMultivariateNormal if space.size <= FULL_RANK else AutoNormal)
        fitted = _guide(made, model)
        fall = 0.05 ** (1 / max(1, steps))
        optim = ClippedAdam({"lr": learning_rate, "lrd": fall})
        engine = SVI(model, fitted, optim, Trace_ELBO())
        try:
            for k in range(steps):
                losses.append(float(engine.step()))
                if show is not None and k % 20 == 0:
                    show({"iteration": k, "loss": losses[-1]})
        except KeyboardInterrupt:
            status = "interrupted"
        with torch.no_grad():
            elbo = level = -float(np.mean([engine.evaluate_loss() for _ in range(100)]))
            found = [poutine.trace(fitted).get_trace() for _ in range(draws)]
    if not any(_random(found[0].nodes[name]["fn"]) for name in found[0].stochastic_nodes):
        elbo = float("nan")  # all mass in one point: the loss bounds nothing
    posterior = {
        name: torch.stack([trace.nodes[name]["value"] for trace in found]).detach()
        for name in space.names
    }
    rising = len(losses) < FEW or _rising(losses)
    if status == "solved" and (rising or not np.isfinite(level)):
        status = "not converged"
    what = "ELBO" if elbo == level else "the log joint density of one point is"
    message = f"{what} {level:.6g} after {len(losses)} steps of SVI" + (
        "; it was still rising: raise `steps`" if status == "not converged" else ""
    )
    return Fit(posterior, {}, elbo, status, message, {"losses": losses})


def _rising(losses: list[float]) -> bool:
    """Whether the last quarter's loss is below that before it, by more than noise and a nat."""
    quarter = len(losses) // 4
    before, last = np.array(losses[-2 * quarter : -quarter]), np.array(losses[-quarter:])
    error = np.sqrt((before.var() + last.var()) / quarter)
    return bool(before.mean() - last.mean() > max(1.0, 1.5 * error))


def nuts(model: Callable[[], Any], draws: int, *, warmup: int = 300, progress: bool = False) -> Fit:
    """Draws by the No-U-Turn sampler (Hoffman and Gelman 2014), one chain."""
    with _quiet():
        if not Unconstrained(model).size:
            return laplace(model, draws)
        if draws < 4:
            raise GameError(f"samples is {draws}; NUTS needs 4 to tell how good they are")
        sampler = MCMC(
            NUTS(model, init_strategy=init_to_median),
            num_samples=draws,
            warmup_steps=warmup,
            disable_progbar=not progress,
        )
        sampler.run()
        posterior = {name: x.detach() for name, x in sampler.get_samples().items()}
        found = sampler.diagnostics()
    sites = {name: found[name] for name in posterior}
    few = min(float(torch.as_tensor(site["n_eff"]).min()) for site in sites.values())
    worst = max(float(torch.as_tensor(site["r_hat"]).max()) for site in sites.values())
    divergent = sum(len(places) for places in found["divergences"].values())
    settled = worst < 1.05 and divergent <= draws // 100 and few >= min(50, draws / 4)
    message = f"{draws} draws, {divergent} divergences"
    if draws >= FEW:
        message += f", at least {few:.0f} count as independent, r_hat at most {worst:.3f}"
    return Fit(
        posterior,
        {},
        float("nan"),
        "solved" if settled else "not converged",
        message + ("" if settled else "; raise `samples` and `warmup`"),
        {"n_eff": few, "r_hat": worst, "divergences": divergent},
    )


def _guide(made: Any, model: Callable[[], Any]) -> Any:
    """The guide of a class, or of one partly applied; or the program itself."""
    if not isinstance(made, type | partial):
        return made
    takes = inspect.signature(made).parameters
    wide = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    start = {"init_loc_fn": init_to_median} if wide or "init_loc_fn" in takes else {}
    if isinstance(made, partial):
        start = {name: value for name, value in start.items() if name not in made.keywords}
    return made(model, **start)


def _random(law: Any) -> bool:
    """Whether a law is more than one point."""
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return type(law).__name__ != "Delta"


def _about_mode(count: int, least: float, steep: float, *, close: bool = False) -> tuple[str, bool]:
    """What to say of a mode, and whether it is one."""
    settled = close or steep <= GENTLE * (1 + abs(least)) or steep < 1e-4
    message = f"the mode of {count} unknown{'s' if count > 1 else ''}"
    if not settled:
        message += f" was not reached: the gradient there is {steep:.2g}; try method='svi'"
    return message, settled


def _hessian(space: Unconstrained, x: Tensor) -> Tensor:
    """By central differences of the exact gradient: no second derivatives of solvers are needed."""
    rows = []
    for k in range(len(x)):
        step = torch.zeros_like(x)
        step[k] = STEP * max(1.0, abs(float(x[k])))
        rows.append((space(x + step)[1] - space(x - step)[1]) / (2 * step[k]))
    hessian = torch.stack(rows)
    return (hessian + hessian.mT) / 2


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that Pyro's samplers give of torch's own functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        yield
