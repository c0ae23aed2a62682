"""Laws of finite actions, as logarithms over a prior whose zeros they keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vsg_ppl.errors import GameError


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


def soft_best(scores: Tensor, prior: Tensor, temperature: float) -> Law:
    """The law ∝ u exp(scores / temperature), the best there is at this temperature.

    Args:
        scores: what actions are worth, (..., A).
        prior: u, (..., A).
        temperature: in the units of the scores.

    Raises:
        GameError: the temperature is not positive.

    >>> soft_best(torch.tensor([0.0, 2.0]), torch.ones(2), 0.5).p
    tensor([0.0180, 0.9820])
    """
    if not temperature > 0:
        raise GameError(f"the temperature is {temperature}; it must be positive")
    return law(scores / temperature, prior)


def surprise(laws: Sequence[Law], best: Sequence[Law]) -> Tensor:
    """−Σ_j E[ log p_j / u_j ] under the best laws: the cross-entropy, and a constant.

    Fitted to it, a law ends at the best one, as it would by KL(p ‖ best); but the gradient of that
    has a factor p: what a law has once ruled out would stay so, whatever the scores then say.
    """
    pairs = zip(laws, best, strict=True)
    return -torch.stack([(wanted.p * each.ratio).sum() for each, wanted in pairs]).sum()


def explored(ratio: Tensor, exploration: float | Tensor) -> Tensor:
    """log of (1 − ε) p + ε u over u, of log p / u; it has a slope, if of 0, where ε is 1.

    Args:
        ratio: log p / u, of any shape.
        exploration: ε, a number, or (...) as the last dimensions of the ratio.

    >>> explored(torch.zeros(2) - 3, torch.tensor([0.0, 1.0]))
    tensor([-3.,  0.])
    """
    share = torch.as_tensor(exploration, dtype=torch.float64, device=ratio.device)
    # laid out as the ratio is: one share for all gives the same bits as a share for each
    meant, even = (
        logs.to(ratio.dtype).expand_as(ratio).contiguous()
        for logs in (torch.log1p(-share), torch.log(share))
    )
    return torch.logaddexp(ratio + meant, even)


def but_for(dim: int, p: Tensor, table: Tensor) -> Tensor:
    """What every action in one dimension is worth, where p says what is in the others, (G, B, A).

    Args:
        dim: that of the action.
        p: law of all the actions, independent of each other or not, (G, B, ...).
        table: what they are worth together, (G, B, ...).

    >>> p, table = torch.tensor([[0.1, 0.9], [0.0, 0.0]]), torch.eye(2)
    >>> but_for(2, p[None, None], table[None, None])
    tensor([[[0.1000, 0.9000]]])
    """
    away = [k for k in range(2, table.dim()) if k != dim]
    worth = p.sum(dim, keepdim=True) * table
    return worth.sum(away) if away else worth


def at_action(table: Tensor, at: Tensor) -> Tensor:
    """Entries of a table (G, B, ..., O, X) at joint actions (G, B), (G, B, ...)."""
    flat = table.flatten(-2)
    places = at.reshape(*at.shape, *[1] * (flat.dim() - at.dim()))
    return flat.gather(-1, places.expand(*flat.shape[:-1], 1))[..., 0]
