"""Chicken: the textbook case for correlated equilibrium."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality


class Nerve(IntEnum):
    """What a driver does."""

    SWERVE = 0
    DARE = 1


EITHER = torch.ones(len(Nerve), dtype=torch.float64)
PAYOFF = torch.tensor([[6, 2], [7, 0]], dtype=torch.float64)  # PAYOFF[own, other]


@dataclass(frozen=True)
class Chicken:
    """Two drivers head for each other; to dare is best if the other swerves, worst if it dares.

    Equilibria: one swerves and the other dares (2 and 7, two of these); or each swerves with
    probability 2/3 and expects 14/3. A mediator who draws (swerve, swerve), (swerve, dare) and
    (dare, swerve) with probability 1/3 each and tells each its own part only makes a correlated
    equilibrium that pays 5 to each. A *public* signal cannot: it mixes Nash equilibria, so the two
    payoffs sum to 28/3 at most.

    Source: R. J. Aumann, 1974, "Subjectivity and correlation in randomized strategies", and 1987,
    "Correlated equilibrium as an expression of Bayesian rationality", for these payoffs.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(Chicken()).rewards
    >>> row.squeeze().tolist(), col.squeeze().tolist()
    ([[6.0, 2.0], [7.0, 0.0]], [[6.0, 7.0], [2.0, 0.0]])
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both decide at once."""
        row = act("row", dist.Categorical(EITHER), labels=Nerve)
        col = act("col", dist.Categorical(EITHER), labels=Nerve)
        optimality("row", PAYOFF[row, col])
        optimality("col", PAYOFF[col, row])
        return state
