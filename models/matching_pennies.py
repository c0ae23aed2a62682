"""Matching pennies, fair or biased: the smallest zero-sum game."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Coin(IntEnum):
    """The side that is shown."""

    HEADS = 0
    TAILS = 1


EITHER = torch.ones(len(Coin), dtype=torch.float64)


@dataclass(frozen=True)
class MatchingPennies:
    """Each shows a side of a coin; the row agent wins if they match, the column agent if not.

    A match of heads pays ``bias`` times as much. All payoffs are divided by ``bias``, so they stay
    in [-1, 1]; ``bias=9`` is [[9, -1], [-1, 1]] / 9.

    Equilibria: one. Both show heads with probability 2 / (bias + 3); the row agent's value is
    (bias - 1) / (bias + 3), divided by bias.

    Source: J. von Neumann, 1928, "Zur Theorie der Gesellschaftsspiele". J. Ochs, 1995, "Games with
    unique, mixed strategy equilibria: an experimental study", had biased pennies played for money;
    his were not zero-sum.

    Attributes:
        bias: what a match of heads pays, in units of the other payoffs; at least 1.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(MatchingPennies(bias=4)).rewards
    >>> row.flatten().tolist(), bool((row == -col).all())
    ([1.0, -0.25, -0.25, 0.25], True)
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1
    bias: float = 1.0

    def __post_init__(self) -> None:
        if not self.bias >= 1:
            raise GameError(f"the bias is {self.bias:g}; it must be 1 or more")

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both show a side at once."""
        payoff = torch.tensor([[self.bias, -1], [-1, 1]], dtype=torch.float64) / self.bias
        row = act("row", dist.Categorical(EITHER), labels=Coin)
        col = act("col", dist.Categorical(EITHER), labels=Coin)
        optimality("row", payoff[row, col])
        optimality("col", -payoff[row, col])
        return state
