"""Travellers choose roads that fill up, and a shortcut makes all of them late: Braess's paradox."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.game import act, optimality


class Place(IntEnum):
    """Where a traveller is; the long road is on the way from the start to the bottom."""

    START = 0
    TOP = 1
    LONG_ROAD = 2
    BOTTOM = 3
    END = 4


class To(IntEnum):
    """Where a traveller goes next."""

    TOP = 0
    BOTTOM = 1
    END = 2


# By place and action. WAYS: where roads lead. A road's delay is FIXED, plus FILLS times the share
# of the crowd that is on it. NEXT: where one is a step later; the long road takes two.
WAYS = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=torch.float64)
SHORTCUT = torch.zeros(5, 3, dtype=torch.float64)
SHORTCUT[Place.TOP, To.BOTTOM] = 1
FIXED, FILLS = torch.zeros(2, 5, 3, dtype=torch.float64)
FIXED[Place.START, To.BOTTOM] = FIXED[Place.TOP, To.END] = 1
FILLS[Place.START, To.TOP] = FILLS[Place.BOTTOM, To.END] = 1
NEXT = torch.tensor([Place.TOP, Place.BOTTOM, Place.END]).repeat(5, 1)
NEXT[Place.START, To.BOTTOM] = Place.LONG_ROAD


@dataclass(frozen=True)
class Braess:
    """Everybody travels from the start to the end, through the top or the bottom.

    The roads from the start to the top and from the bottom to the end fill up: their delay is the
    share of the crowd that is on them, read off the crowd's joint law of place and action. Those
    from the start to the bottom and from the top to the end have delay 1. A shortcut from the top
    to the bottom, if it is open, has none. A step costs its delay. The long road to the bottom
    takes two steps, so that everybody who is to leave the bottom does so at the same time.

    Equilibria: without the shortcut half goes each way, and each traveller's delay is 1/2 + 1 =
    1.5. With the shortcut everybody takes it, and each traveller's delay is 1 + 0 + 1 = 2, although
    all could still travel as before: Braess's paradox. Either flow is the only equilibrium.

    Source: D. Braess, 1968, "Über ein Paradoxon aus der Verkehrsplanung", with the delays of
    T. Roughgarden and É. Tardos, 2002, "How bad is selfish routing?".

    Attributes:
        shortcut: whether it is open.

    >>> import vsg_ppl as vsg
    >>> table = vsg.mean_field_table(Braess())
    >>> crowd = torch.zeros(3, 5, 3).double()
    >>> crowd[0, Place.START, To.TOP] = crowd[1, Place.TOP, To.BOTTOM] = 1
    >>> crowd[2, Place.BOTTOM, To.END] = 1
    >>> -(table.kernel(crowd).rewards * crowd).sum()
    tensor(2., dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("traveller",)
    horizon: ClassVar[int] = 3
    shortcut: bool = True

    def initial(self) -> Tensor:
        """All at the start."""
        return torch.tensor(int(Place.START))

    def step(self, place: Tensor, crowd: Crowd) -> Tensor:
        """Choose a road and take the time that it takes."""
        ways = WAYS + SHORTCUT if self.shortcut else WAYS
        to = act("traveller", dist.Categorical(ways[place]), labels=To)
        optimality("traveller", -FIXED[place, to] - FILLS[place, to] * crowd.at(place, to))
        return NEXT[place, to]
