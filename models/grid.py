"""Two agents on a grid, each in the other's way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Move(IntEnum):
    """Where an agent wants to go."""

    NORTH = 0
    SOUTH = 1
    EAST = 2
    WEST = 3
    STAY = 4


class Cells(NamedTuple):
    """A state: the cells of both agents, counted row by row from the north-west."""

    a: Tensor
    b: Tensor


DOWN = torch.tensor([-1, 1, 0, 0, 0])
RIGHT = torch.tensor([0, 0, 1, -1, 0])
ANY = torch.ones(len(Move), dtype=torch.float64)


@dataclass(frozen=True)
class GridGame:
    """Two agents walk to opposite corners of a square grid, and their ways cross.

    Both choose a move at once. With probability ``slip`` the ground is slippery and neither moves;
    walls stop a move. Else, if both would be on one cell or change places, they collide: neither
    moves and each pays ``crash``. A step that begins on one's own goal pays 1; A's goal is the
    north-east corner, B's the north-west.

    From the corners (A south-west, B south-east) they never share a cell. From ``anywhere``, the
    default, both start on a uniformly drawn cell, perhaps the same, so that all size**4 pairs of
    cells are states: 81 for size 3, 160,000 for size 20.

    Equilibria: several. Where the ways cross one agent must wait, and which one is for them to
    settle, as in Hu and Wellman's grid games.

    Source: J. Hu and M. P. Wellman, 2003, "Nash Q-learning for general-sum stochastic games", grid
    game 1, which ends when an agent arrives; here play goes on, and chance is added.

    Attributes:
        size: cells along each side, at least 2.
        slip: probability that nobody moves in a step.
        crash: cost of a collision to each.
        start: ``anywhere`` or ``corners``.
        discount: γ, per step.

    >>> import vsg_ppl as vsg
    >>> len(vsg.tabulate(GridGame()).states), len(vsg.tabulate(GridGame(start="corners")).states)
    (81, 72)
    """

    agents: ClassVar[tuple[str, ...]] = ("a", "b")
    size: int = 3
    slip: float = 0.1
    crash: float = 0.0
    start: str = "anywhere"
    discount: float = 0.9

    def __post_init__(self) -> None:
        if self.size < 2:
            raise GameError(f"the grid has {self.size} cells along each side; it needs at least 2")
        if not 0 <= self.slip <= 1:
            raise GameError(f"slip is {self.slip:g}; it is a probability, in [0, 1]")
        if self.start not in ("anywhere", "corners"):
            raise GameError(f"start is {self.start!r}", hint="'anywhere' or 'corners'.")

    def initial(self) -> Cells:
        """Anywhere, or in the southern corners."""
        cells = self.size**2
        if self.start == "corners":
            return Cells(torch.tensor(cells - self.size), torch.tensor(cells - 1))
        cell = dist.Categorical(torch.ones(cells, dtype=torch.float64))
        return Cells(pyro.sample("a_start", cell), pyro.sample("b_start", cell))

    def step(self, cells: Cells) -> Cells:
        """Both choose; chance says whether the ground holds; they move or collide."""
        a, b = cells
        move_a = act("a", dist.Categorical(ANY), labels=Move)
        move_b = act("b", dist.Categorical(ANY), labels=Move)
        law = torch.tensor([1 - self.slip, self.slip], dtype=torch.float64)
        slips = pyro.sample("slips", dist.Categorical(law)) == 1

        # Run over all states at once, a target spans one agent's moves and a collision spans both
        # agents'; only what follows spans the slip as well.
        to_a, to_b = self._target(a, move_a), self._target(b, move_b)
        collide = (to_a == to_b) | ((to_a == b) & (to_b == a))
        stuck = collide | slips

        optimality("a", a == self.size - 1)
        optimality("b", b == 0)
        if self.crash:
            for agent in self.agents:
                optimality(agent, -self.crash * (collide & ~slips).double(), name="crash")
        return Cells(torch.where(stuck, a, to_a), torch.where(stuck, b, to_b))

    def _target(self, cell: Tensor, move: Tensor) -> Tensor:
        """The cell that a move leads to; walls stop it."""
        row = (cell // self.size + DOWN[move]).clamp(0, self.size - 1)
        column = (cell % self.size + RIGHT[move]).clamp(0, self.size - 1)
        return row * self.size + column
