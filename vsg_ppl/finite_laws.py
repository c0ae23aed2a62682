"""Laws of finite actions, as logarithms over a prior whose zeros they keep."""

from __future__ import annotations

from math import log, log1p
from typing import NamedTuple

import torch
from torch import Tensor


class Law(NamedTuple):
    """A law of finite actions, (..., A).

    Attributes:
        p: probabilities.
        ratio: log of them over the prior's; finite even where both are 0.
    """

    p: Tensor
    ratio: Tensor


def law(outputs: Tensor, prior: Tensor) -> Law:
    """The law ∝ u exp(outputs).

    Args:
        outputs: of a network, (..., A).
        prior: u, (..., A); it need not sum to 1.

    >>> law(torch.zeros(3), torch.tensor([1.0, 1.0, 0.0])).p
    tensor([0.5000, 0.5000, 0.0000])
    """
    logs = (prior / prior.sum(-1, keepdim=True)).log()
    ratio = outputs - (outputs + logs).logsumexp(-1, keepdim=True)
    return Law((ratio + logs).exp(), ratio)


def explored(ratio: Tensor, exploration: float) -> Tensor:
    """log of (1 − ε) p + ε u over u, of log p / u."""
    if not exploration:
        return ratio
    even = torch.full_like(ratio, log(exploration))
    return even if exploration == 1 else torch.logaddexp(ratio + log1p(-exploration), even)


def at_action(table: Tensor, at: Tensor) -> Tensor:
    """Entries of a table (G, B, ..., O, X) at joint actions (G, B), (G, B, ...)."""
    flat = table.flatten(-2)
    places = at.reshape(*at.shape, *[1] * (flat.dim() - at.dim()))
    return flat.gather(-1, places.expand(*flat.shape[:-1], 1))[..., 0]
