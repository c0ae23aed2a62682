"""A crowd on a square follows a bar that moves now and then: a mean-field game."""

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
    """A state: a cell of the square, counted from the north-west."""

    row: Tensor
    column: Tensor


ANY = torch.ones(len(Move), dtype=torch.float64)
SOUTHWARDS = torch.tensor([1, -1, 0, 0, 0])
EASTWARDS = torch.tensor([0, 0, 1, -1, 0])


@dataclass(frozen=True)
class CrowdMotion:
    """People want to be near a bar, which everybody knows will move, and away from each other.

    Everybody starts anywhere. Each moves to a cell beside its own, or stays; then the crowd pushes
    it on into one of the four directions, or not. The walls stop both together. The bar starts in
    the middle and moves to a cell diagonally beside its own after every ``every`` steps, in a
    direction that ``seed`` decides, unless a wall is there. A step pays ``pull`` times one minus
    the share that the way to the bar has in ``rows + columns``, minus the logarithm of the share of
    the crowd that is in the same cell.

    Equilibria: nobody's movements depend on the crowd, and company only costs, so the game is
    monotone (Lasry and Lions): all equilibria have the same law of the crowd at every time.

    Source: J. Pérolat, S. Perrin, R. Elie, M. Laurière, G. Piliouras, M. Geist, K. Tuyls and
    O. Pietquin, 2022, "Scaling mean field games by online mirror descent"; the size and the walls
    are those of X. Guo, A. Hu, M. Santamaria, M. Tajrobehkar and J. Zhang, 2023, "MFGLib: a library
    for mean-field games".

    Attributes:
        horizon: number of decisions.
        rows: cells from north to south.
        columns: cells from west to east.
        every: steps from one move of the bar to the next.
        pull: weight of the way to the bar.
        still: probability of not being pushed.
        floor: added to the share of the crowd before its logarithm is taken.
        seed: of the bar's moves.

    >>> import vsg_ppl as vsg
    >>> CrowdMotion().path().tolist()
    [[10, 10], [10, 10], [9, 11], [9, 11]]
    >>> vsg.mean_field_table(CrowdMotion())
    MeanFieldTable(CrowdMotion: 400 states, 5 actions, 4 decisions)
    """

    agents: ClassVar[tuple[str, ...]] = ("person",)
    horizon: int = 4
    rows: int = 20
    columns: int = 20
    every: int = 2
    pull: float = 10.0
    still: float = 0.5
    floor: float = 1e-10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "every"):
            if getattr(self, name) < 1:
                raise GameError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not (0 <= self.still <= 1 and self.floor > 0):
            raise GameError(f"still is {self.still:g} and floor {self.floor:g}; in [0, 1] and > 0")

    def path(self) -> Tensor:
        """Row and column of the bar at every time, (horizon, 2)."""
        generator = torch.Generator().manual_seed(self.seed)
        ways = 2 * torch.randint(2, (self.horizon, 2), generator=generator) - 1
        size = torch.tensor([self.rows, self.columns])
        path = [size // 2]
        for t in range(1, self.horizon):
            there = path[-1] + ways[t // self.every - 1] * (t % self.every == 0)
            inside = bool(((there >= 0) & (there < size)).all())
            path.append(there if inside else path[-1])
        return torch.stack(path)

    def initial(self) -> Cell:
        """Anywhere."""
        row, column = (dist.Categorical(torch.ones(n).double()) for n in (self.rows, self.columns))
        return Cell(pyro.sample("row", row), pyro.sample("column", column))

    def step(self, cell: Cell, t: int | Tensor, crowd: Crowd) -> Cell:
        """Be paid for where one is, move, and be pushed."""
        bar_row, bar_column = self.path()[t].unbind(-1)
        move = act("person", dist.Categorical(ANY), labels=Move)
        far = (cell.row - bar_row).abs() + (cell.column - bar_column).abs()
        optimality("person", self.pull * (1 - far.double() / (self.rows + self.columns)))
        optimality("person", -(crowd.at(cell) + self.floor).log(), name="crowd")
        law = torch.tensor([(1 - self.still) / 4] * 4 + [self.still], dtype=torch.float64)
        push = pyro.sample("push", dist.Categorical(law))
        return Cell(
            (cell.row + SOUTHWARDS[move] + SOUTHWARDS[push]).clamp(0, self.rows - 1),
            (cell.column + EASTWARDS[move] + EASTWARDS[push]).clamp(0, self.columns - 1),
        )
