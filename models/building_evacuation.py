"""A crowd leaves a building by its stairs: a mean-field game."""

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
    WEST = 2
    EAST = 3
    DOWNSTAIRS = 4
    UPSTAIRS = 5


class Spot(NamedTuple):
    """A state: a floor, 0 is the ground, and a cell of it, counted from the north-west."""

    floor: Tensor
    row: Tensor
    column: Tensor


ANY = torch.ones(len(Move), dtype=torch.float64)
SOUTHWARDS = torch.tensor([1, -1, 0, 0, 0, 0])
EASTWARDS = torch.tensor([0, 0, -1, 1, 0, 0])


@dataclass(frozen=True)
class BuildingEvacuation:
    """Everybody wants to reach the ground floor, and to avoid the crowd on the way.

    Everybody starts anywhere in the building. Stairs lead down from each floor's north-west corner,
    to the same corner of the floor below, and up from its south-east corner; walls stop every other
    move, and nothing is left to chance. A step on the ground floor pays ``safe``; any step costs
    ``crowding`` times the logarithm of the share of the crowd that is in the same cell.

    Equilibria: nobody's movements depend on the crowd, and company only costs, so the game is
    monotone (Lasry and Lions): all equilibria have the same law of the crowd at every time.

    Source: J. Pérolat, S. Perrin, R. Elie, M. Laurière, G. Piliouras, M. Geist, K. Tuyls and
    O. Pietquin, 2022, "Scaling mean field games by online mirror descent"; the size is that of
    X. Guo, A. Hu, M. Santamaria, M. Tajrobehkar and J. Zhang, 2023, "MFGLib: a library for
    mean-field games".

    Attributes:
        horizon: number of decisions.
        floors: number of floors.
        rows: cells from north to south on each floor.
        columns: cells from west to east on each floor.
        crowding: weight of the crowd's cost.
        safe: reward of a step on the ground floor.
        floor: smallest share of the crowd whose logarithm is taken.

    >>> import vsg_ppl as vsg
    >>> vsg.mean_field_table(BuildingEvacuation())
    MeanFieldTable(BuildingEvacuation: 500 states, 6 actions, 4 decisions)
    """

    agents: ClassVar[tuple[str, ...]] = ("person",)
    horizon: int = 4
    floors: int = 5
    rows: int = 10
    columns: int = 10
    crowding: float = 1.0
    safe: float = 10.0
    floor: float = 1e-20

    def __post_init__(self) -> None:
        for name in ("floors", "rows", "columns"):
            if getattr(self, name) < 1:
                raise GameError(f"the building has {getattr(self, name)} {name}; at least one")
        if not self.floor > 0:
            raise GameError(f"the floor is {self.floor:g}; it must be greater than 0")

    def initial(self) -> Spot:
        """Anywhere."""
        sizes = {"floor": self.floors, "row": self.rows, "column": self.columns}
        laws = {part: torch.ones(size, dtype=torch.float64) for part, size in sizes.items()}
        return Spot(*(pyro.sample(part, dist.Categorical(law)) for part, law in laws.items()))

    def step(self, spot: Spot, crowd: Crowd) -> Spot:
        """Pay for company, and walk or take the stairs."""
        floor, row, column = spot
        move = act("person", dist.Categorical(ANY), labels=Move)
        company = crowd.at(spot).clamp_min(self.floor).log()
        optimality("person", -self.crowding * company, name="crowd")
        optimality("person", self.safe * (floor == 0).double(), name="safe")
        down = (move == Move.DOWNSTAIRS) & (row == 0) & (column == 0)
        up = (move == Move.UPSTAIRS) & (row == self.rows - 1) & (column == self.columns - 1)
        return Spot(
            (floor + up.long() - down.long()).clamp(0, self.floors - 1),
            (row + SOUTHWARDS[move]).clamp(0, self.rows - 1),
            (column + EASTWARDS[move]).clamp(0, self.columns - 1),
        )
