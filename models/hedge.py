"""Matching pennies with a way out: where the two factorisations of the policy part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality


class Bet(IntEnum):
    """What the row agent does."""

    HEADS = 0
    TAILS = 1
    HEDGE = 2


class Coin(IntEnum):
    """What the column agent shows."""

    HEADS = 0
    TAILS = 1


BETS = torch.ones(len(Bet), dtype=torch.float64)
COINS = torch.ones(len(Coin), dtype=torch.float64)
ROW = torch.tensor([[1, -1], [-1, 1], [0.5, 0.5]], dtype=torch.float64)
COL = torch.tensor([[-1, 1], [1, -1], [0, 0]], dtype=torch.float64)


@dataclass(frozen=True)
class Hedge:
    """The row agent guesses the column agent's coin for ±1, or takes 0.5 for sure.

    The column agent gets the opposite of a guess, and 0 if the row agent hedges.

    Equilibria: the row agent hedges and the column agent shows heads with any probability from 1/4
    to 3/4; there are no others. An agent that conditions on the other's action (π(a^i|s, a^{-i}))
    believes it can always guess right, so it does not hedge: what it then executes has a Nash gap
    near 0.5 at every small temperature, whereas the marginal policy's gap vanishes.

    Source: made for this library, as the counterexample to Theorem 4.2 of Zhao and Zhang, 2024,
    "Variational Stochastic Games", for executed conditional policies.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(Hedge()).rewards
    >>> row.squeeze().tolist(), col.squeeze().tolist()
    ([[1.0, -1.0], [-1.0, 1.0], [0.5, 0.5]], [[-1.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both choose at once."""
        row = act("row", dist.Categorical(BETS), labels=Bet)
        col = act("col", dist.Categorical(COINS), labels=Coin)
        optimality("row", ROW[row, col])
        optimality("col", COL[row, col])
        return state
