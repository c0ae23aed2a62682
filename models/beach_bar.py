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
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Move(IntEnum):
    """A step along the beach, plus one."""

    LEFT = 0
    STAY = 1
    RIGHT = 2


ANY = torch.ones(len(Move), dtype=torch.float64)


@dataclass(frozen=True)
class BeachBar:
    """Bathers want to lie near the bar, but not in a crowd, and not to walk.

    The state is a place on the beach, drawn uniformly at first. A bather moves left or right or
    stays; the wind then blows one further left or right, or not. The ends of the beach stop both
    together. A step costs the distance to the bar, counted around a beach that closes to a circle
    (as in the source, although nobody can walk across its ends), 1/``places`` for a move, and the
    logarithm of the share of the crowd that is at the same place.

    Equilibria: nobody's movements depend on the crowd, and company only costs, so the game is
    monotone (Lasry and Lions): all equilibria have the same law of the crowd at every time. It
    gathers around the bar, and thins out before it would be too dense.

    Source: S. Perrin, J. Pérolat, M. Laurière, M. Geist, R. Elie and O. Pietquin, 2020, "Fictitious
    play for mean field games: continuous time analysis and applications"; the size and the ends are
    those of X. Guo, A. Hu, M. Santamaria, M. Tajrobehkar and J. Zhang, 2023, "MFGLib: a library for
    mean-field games".

    Attributes:
        horizon: number of decisions.
        places: places along the beach.
        bar: the bar's place, counted from 0.
        still: probability that no wind blows.
        floor: added to the share of the crowd before its logarithm is taken.

    >>> import vsg_ppl as vsg
    >>> even = torch.full((3, 4, 3), 1 / 12).double()
    >>> kernel = vsg.mean_field_table(BeachBar()).kernel(even)
    >>> kernel.rewards[0, :, Move.STAY]  # distances 2, 1, 0, 1 and log 4
    tensor([-0.6137,  0.3863,  1.3863,  0.3863], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("bather",)
    horizon: int = 3
    places: int = 4
    bar: int = 2
    still: float = 0.5
    floor: float = 1e-20

    def __post_init__(self) -> None:
        if not 0 <= self.bar < self.places:
            raise GameError(f"the bar is at {self.bar}, not at one of the {self.places} places")
        if not 0 <= self.still <= 1:
            raise GameError(f"still is {self.still:g}; it is a probability, in [0, 1]")
        if not self.floor > 0:
            raise GameError(f"the floor is {self.floor:g}; it must be greater than 0")

    def initial(self) -> Tensor:
        """Anywhere."""
        return pyro.sample("place", dist.Categorical(torch.ones(self.places, dtype=torch.float64)))

    def step(self, place: Tensor, crowd: Crowd) -> Tensor:
        """Pay for where one is, move, and be blown about."""
        move = act("bather", dist.Categorical(ANY), labels=Move) - 1
        apart = (place - self.bar).abs()
        optimality("bather", -torch.minimum(apart, self.places - apart).double(), name="bar")
        optimality("bather", -move.abs().double() / self.places, name="move")
        optimality("bather", -(crowd.at(place) + self.floor).log(), name="crowd")
        law = [(1 - self.still) / 2, self.still, (1 - self.still) / 2]
        wind = pyro.sample("wind", dist.Categorical(torch.tensor(law, dtype=torch.float64))) - 1
        return (place + move + wind).clamp(0, self.places - 1)
