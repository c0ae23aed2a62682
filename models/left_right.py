"""Everybody goes left or right and wants to be alone there: the smallest mean-field game."""

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
    """Where somebody is."""

    START = 0
    LEFT = 1
    RIGHT = 2


class Go(IntEnum):
    """Where to go next."""

    LEFT = 0
    RIGHT = 1


EITHER = torch.ones(len(Go), dtype=torch.float64)
CROWDING = torch.tensor([0, 1, 2], dtype=torch.float64)


@dataclass(frozen=True)
class LeftRight:
    """Everybody goes left or right and pays for company; on the right twice as much.

    All begin at the start, which costs nothing. In each step everybody chooses where to be in the
    next one. A step on the left costs the share of the crowd that is there, a step on the right
    twice the share there.

    Equilibria: at each time but the last, whose choice changes nothing, two thirds go left and one
    third right, so that both sides cost 2/3. No other split is one. A best reply to any other crowd
    sends everybody to one side, so to reply again and again never settles.

    Source: K. Cui and H. Koeppl, 2021, "Approximately solving mean field games via
    entropy-regularized deep reinforcement learning".

    Attributes:
        horizon: number of decisions; the last one has no effect.

    >>> import vsg_ppl as vsg
    >>> table = vsg.mean_field_table(LeftRight())
    >>> crowd = torch.zeros(2, 3, 2).double()
    >>> crowd[0, Place.START] = crowd[1, Place.LEFT :, 0] = torch.tensor([2, 1]) / 3.0
    >>> table.kernel(crowd).rewards[1, :, 0]
    tensor([ 0.0000, -0.6667, -0.6667], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("walker",)
    horizon: int = 2

    def initial(self) -> Tensor:
        """All at the start."""
        return torch.tensor(int(Place.START))

    def step(self, place: Tensor, crowd: Crowd) -> Tensor:
        """Pay for company, choose a side, and be there."""
        go = act("walker", dist.Categorical(EITHER), labels=Go)
        optimality("walker", -CROWDING[place] * crowd.at(place))
        return go + 1
