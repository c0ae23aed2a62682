"""A stag hunt in changing weather: trust pays, and only in fair weather."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality


class Hunt(IntEnum):
    """What a hunter goes after."""

    STAG = 0
    HARE = 1


EITHER = torch.ones(len(Hunt), dtype=torch.float64)
# PAYOFF[weather, own, other]: weather 0 is fair, 1 is a storm, which halves what a stag is worth.
PAYOFF = torch.tensor([[[4, 0], [3, 2]], [[2, 0], [3, 2]]], dtype=torch.float64)
SEASON = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=torch.float64)
FIRST_DAY = torch.tensor([0.5, 0.5], dtype=torch.float64)


@dataclass(frozen=True)
class StagHunt:
    """Two hunters go after a stag, which takes both, or after a hare, which takes one.

    The state is the weather, 0 fair or 1 storm; it changes by itself, by the rows of ``SEASON``. A
    storm halves the stag.

    Equilibria: play does not move the weather, so a stationary profile is a Nash equilibrium if
    and only if it is one of the one-shot game of each weather. In a storm hare is dominant. In fair
    weather both hunt stag, or both hare, or each hunts stag with probability 2/3: three stationary
    equilibria, of which both-stag-when-fair pays most. Weather moves by itself and each weather's
    game is symmetric 2×2, so this is a Markov potential game.

    Source: B. Skyrms, 2004, "The Stag Hunt and the Evolution of Social Structure", after Rousseau;
    the weather is added here.

    Attributes:
        discount: γ, per day.

    >>> import vsg_ppl as vsg
    >>> vsg.tabulate(StagHunt()).rewards[0][0, 0].tolist()  # [weather, row, col]
    [[[4.0, 0.0], [3.0, 2.0]], [[2.0, 0.0], [3.0, 2.0]]]
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    discount: float = 0.9

    def initial(self) -> Tensor:
        """The first day's weather."""
        return pyro.sample("weather", dist.Categorical(FIRST_DAY))

    def step(self, weather: Tensor) -> Tensor:
        """Both see the weather and choose; then it changes."""
        row = act("row", dist.Categorical(EITHER), labels=Hunt)
        col = act("col", dist.Categorical(EITHER), labels=Hunt)
        optimality("row", PAYOFF[weather, row, col])
        optimality("col", PAYOFF[weather, col, row])
        return pyro.sample("weather", dist.Categorical(SEASON[weather]))
