"""People move along a beach towards a bar, and away from each other: a mean-field game."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.game import act, optimality


class Move(IntEnum):
    """A step along the beach, plus one."""

    LEFT = 0
    STAY = 1
    RIGHT = 2


@dataclass(frozen=True)
class BeachBar:
    """TODO."""

    agents: ClassVar[tuple[str, ...]] = ("bather",)
    horizon: int = 3
    places: int = 4
    bar: int = 2
    still: float = 0.5

    def initial(self) -> Tensor:
        """Anywhere."""
        return pyro.sample("place", dist.Categorical(torch.ones(self.places)))

    def step(self, place: Tensor, crowd: Crowd) -> Tensor:
        """Move, and be moved."""
        move = act("bather", dist.Categorical(torch.ones(3)), labels=Move) - 1
        apart = (place - self.bar).abs()
        far = torch.minimum(apart, self.places - apart).double()
        optimality("bather", -far, name="bar")
        optimality("bather", -move.abs().double() / self.places, name="move")
        optimality("bather", -(crowd.at(place) + 1e-20).log(), name="crowd")
        drift = (1 - self.still) / 2
        law = torch.tensor([drift, self.still, drift], dtype=torch.float64)
        slip = pyro.sample("slip", dist.Categorical(law)) - 1
        return (place + move + slip).clamp(0, self.places - 1)
