"""A crowd on a torus between two points of interest: a mean-field game of any size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Move(IntEnum):
    """Where somebody wants to go."""

    SOUTH = 0
    NORTH = 1
    EAST = 2
    WEST = 3
    STAY = 4


class Cell(NamedTuple):
    """A state: a cell of the torus."""

    row: Tensor
    column: Tensor


ANY = torch.ones(len(Move), dtype=torch.float64)
SOUTHWARDS = torch.tensor([1, -1, 0, 0, 0])
EASTWARDS = torch.tensor([0, 0, 1, -1, 0])


@dataclass(frozen=True)
class TorusCrowd:
    """People want to be near a point of interest, which moves once, and away from each other.

    The torus is a square of ``size`` × ``size`` cells in which who leaves on one side comes in on
    the other; everybody starts anywhere. Each moves to a cell beside its own, or stays, and with
    probability ``slip`` slips one cell further in one of the four directions. The point of interest
    is a quarter of the size from the origin in both directions during the first half of the time,
    three quarters in the second, which is as far away as can be. A step pays ``pull`` times one
    minus the way to it over ``size``, minus the logarithm of the share of the crowd that is in the
    same cell.

    Equilibria: nobody's movements depend on the crowd, and company only costs, so the game is
    monotone (Lasry and Lions): all equilibria have the same law of the crowd at every time. It
    leaves for the second point before that is one.

    Source: made for this library after the crowds of J. Pérolat, S. Perrin, R. Elie, M. Laurière,
    G. Piliouras, M. Geist, K. Tuyls and O. Pietquin, 2022, "Scaling mean field games by online
    mirror descent".

    Attributes:
        size: cells along each side; the game has size² states.
        horizon: number of decisions.
        slip: probability to slip.
        pull: weight of the way to the point of interest.
        floor: added to the share of the crowd before its logarithm is taken.

    >>> import vsg_ppl as vsg
    >>> table = vsg.mean_field_table(TorusCrowd())
    >>> even = torch.full((10, 100, 5), 1 / 500).double()
    >>> rewards = table.kernel(even).rewards[..., Move.STAY].unflatten(1, (10, 10))
    >>> rewards[[0, 9], 2, 2] - rewards[[0, 9], 7, 7]  # first near the one, then near the other
    tensor([ 10., -10.], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("person",)
    size: int = 10
    horizon: int = 10
    slip: float = 0.1
    pull: float = 10.0
    floor: float = 1e-10

    def __post_init__(self) -> None:
        if self.size < 1:
            raise GameError(f"the torus has {self.size} cells along each side; at least one")
        if not 0 <= self.slip <= 1:
            raise GameError(f"slip is {self.slip:g}; it is a probability, in [0, 1]")
        if not self.floor > 0:
            raise GameError(f"the floor is {self.floor:g}; it must be greater than 0")

    def initial(self) -> Cell:
        """Anywhere."""
        line = dist.Categorical(torch.ones(self.size, dtype=torch.float64))
        return Cell(pyro.sample("row", line), pyro.sample("column", line))

    def step(self, cell: Cell, t: int | Tensor, crowd: Crowd) -> Cell:
        """Be paid for where one is, move, and perhaps slip."""
        move = act("person", dist.Categorical(ANY), labels=Move)
        late = torch.as_tensor(2 * t >= self.horizon)
        goal = torch.where(late, 3 * self.size // 4, self.size // 4)
        far = self._apart(cell.row, goal) + self._apart(cell.column, goal)
        optimality("person", self.pull * (1 - far.double() / self.size), name="goal")
        optimality("person", -(crowd.at(cell) + self.floor).log(), name="crowd")
        law = torch.tensor([self.slip / 4] * 4 + [1 - self.slip], dtype=torch.float64)
        slip = pyro.sample("slip", dist.Categorical(law))
        return Cell(
            (cell.row + SOUTHWARDS[move] + SOUTHWARDS[slip]) % self.size,
            (cell.column + EASTWARDS[move] + EASTWARDS[slip]) % self.size,
        )

    def _apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The way around the torus in one direction."""
        way = (one - other).abs()
        return torch.minimum(way, self.size - way)
