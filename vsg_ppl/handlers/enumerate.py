"""Run a program once over all outcomes of its finite sites."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Optimality, Signal, role


@dataclass(frozen=True)
class Site:
    """One enumerated site: its tensor dimension, its probabilities and its values.

    ``probabilities`` is aligned to the right like every enumerated tensor: its own dimension is
    ``dim`` (negative), and it spans those dimensions to the right that its law reads.
    """

    name: str
    role: Act | Signal | None
    dim: int
    size: int
    probabilities: Tensor
    values: Tensor


class EnumerateMessenger(Messenger):
    """Gives every finite site a tensor dimension of its own, with all its values along it.

    The first ``reserved`` dimensions from the right belong to the caller (states, times). The
    values a program computes then come out as tensors that span just the sites they depend on.

    Args:
        reserved: number of dimensions at the right that are taken.
        limit: the largest number of joint outcomes to allow; more raises before allocating.

    Raises:
        GameError: a continuous site, a site in a plate, a name used twice, an observation that is
            not an optimality, too many outcomes.

    >>> import pyro, pyro.distributions as dist, torch
    >>> with EnumerateMessenger() as tables:
    ...     x = pyro.sample("x", dist.Categorical(torch.ones(2)))
    ...     y = pyro.sample("y", dist.Bernoulli(0.3))
    >>> (x + y).shape
    torch.Size([2, 2, 1])
    """

    def __init__(self, reserved: int = 1, limit: float = float("inf")) -> None:
        super().__init__()
        self.reserved, self.limit = reserved, limit

    def __enter__(self) -> EnumerateMessenger:
        self.sites: dict[str, Site] = {}
        self.rewards: dict[str, list[tuple[str, Tensor]]] = {}
        self.last: str | None = None
        super().__enter__()
        return self

    def _pyro_sample(self, msg: Any) -> None:
        part, name, fn = role(msg), msg["name"], msg["fn"]
        if site_is_subsample(msg) or msg["cond_indep_stack"]:
            raise GameError(
                "a plate, and what is inside, has no table",
                site=name,
                hint="write one site for each element: `for k in range(n): "
                "pyro.sample(f'x_{k}', ...)`.",
            )
        self.last = name
        if isinstance(part, Optimality):
            self.rewards.setdefault(part.agent, []).append((name, _counted(msg)))
            return
        if (msg["infer"] or {}).get("_deterministic") or type(fn).__name__ == "Delta":
            return
        if msg["is_observed"]:
            raise GameError(
                "a step observes data, and a game is not conditioned on any",
                site=name,
                hint="vsg.optimality(agent, reward) for a reward.",
            )
        if isinstance(part, Act) and not _is_plain(msg):
            raise GameError(
                "an action stands under `poutine.mask` or `poutine.scale`",
                site=name,
                hint="mask the reward; an action that is not available has prior probability zero.",
            )
        if name in self.sites:
            raise GameError(
                "this name is used for two sites of one step",
                site=name,
                hint="another name; for a second action of an agent, `vsg.act(..., name=...)`.",
            )
        values = _support(name, part, fn)
        dim = -1 - self.reserved - len(self.sites)
        outcomes = prod(site.size for site in self.sites.values()) * len(values)
        if outcomes > self.limit or -dim > 60:
            raise GameError(
                f"with this site a step has {outcomes:,} joint outcomes for each state, "
                f"{64 * outcomes:,} bytes or so, more than the memory allowed holds",
                site=name,
                hint="fewer actions or chance outcomes, or sampled SVI (`Trace_ELBO`).",
            )
        values = values.reshape((len(values),) + (1,) * (-dim - 1) + fn.event_shape)
        probabilities = _probabilities(fn, values, dim)
        self.sites[name] = Site(name, _kind(part), dim, len(values), probabilities, values)
        msg["value"], msg["done"] = values, True

    @property
    def dims(self) -> int:
        """How many dimensions the enumerated tensors have at most."""
        return self.reserved + len(self.sites)


enumerate_sites = EnumerateMessenger


def _counted(msg: Any) -> Tensor:
    """The reward of an optimality, as `poutine.mask` and `poutine.scale` let it count."""
    reward: Tensor = msg["fn"].log_factor
    if _is_plain(msg):
        return reward
    mask = True if msg["mask"] is None else msg["mask"]
    return torch.where(torch.as_tensor(mask, device=reward.device), reward * msg["scale"], 0.0)


def _is_plain(msg: Any) -> bool:
    """Whether a site counts once, everywhere."""
    whole = msg["mask"] is None or msg["mask"] is True
    return whole and isinstance(msg["scale"], float | int) and msg["scale"] == 1


def _kind(part: Any) -> Act | Signal | None:
    return part if isinstance(part, Act | Signal) else None


def _support(name: str, part: Any, fn: Any) -> Tensor:
    """The values of a finite site, along dimension 0."""
    kind = type(fn).__name__
    if isinstance(part, Act) and not _is_categorical(fn):
        raise GameError(
            f"the action of '{part.agent}' has the prior {kind}, and a table needs a Categorical",
            site=name,
            hint="dist.Categorical for a finite set of actions; continuous actions have no table, "
            "only sampled SVI (`Trace_ELBO`).",
        )
    if not getattr(fn, "has_enumerate_support", False):
        raise GameError(
            f"a {kind} cannot be enumerated, and a table needs finite sites",
            site=name,
            hint="for a move of chance, dist.Categorical over a grid of values, or sampled SVI "
            "(`Trace_ELBO`); an unknown is fixed by `vsg.given` and inferred by `infer_opponent`.",
        )
    try:
        values: Tensor = fn.enumerate_support(expand=False)
    except NotImplementedError as error:  # a law without a list of its values
        raise GameError(f"a {kind} cannot be enumerated: {error}", site=name) from None
    return values.reshape((len(values),) + fn.event_shape)


def _probabilities(fn: Any, values: Tensor, dim: int) -> Tensor:
    """Probabilities of all values, float64, normalised, its own dimension leftmost."""
    # not log_prob where torch clamps it: what has probability zero must stay impossible
    kind = torch.distributions
    if isinstance(fn, kind.Categorical | kind.OneHotCategorical):
        probs = fn.probs.double().movedim(-1, 0)
    elif isinstance(fn, kind.Bernoulli):
        probs = torch.stack([1 - fn.probs.double(), fn.probs.double()])
    elif isinstance(fn, kind.Binomial):
        count, p = fn.total_count.double(), fn.probs.double()
        k = values.double()
        ways = (count + 1).lgamma() - (k + 1).lgamma() - (count - k + 1).lgamma()
        probs = (ways + torch.xlogy(k, p) + torch.xlogy(count - k, 1 - p)).exp()
    else:
        probs = fn.log_prob(values).double().exp()
    batch = probs.shape[1:]
    if len(batch) > -dim - 1:
        raise GameError(f"a site's law has batch shape {tuple(fn.batch_shape)}, which is too wide")
    probs = probs.reshape((probs.shape[0],) + (1,) * (-dim - 1 - len(batch)) + tuple(batch))
    # a law given in float32 sums to one within 1e-7 only
    return probs / probs.sum(0, keepdim=True)


def _is_categorical(fn: Any) -> bool:
    return isinstance(fn, torch.distributions.Categorical)
