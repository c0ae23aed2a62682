"""Littman's soccer: the game that made minimax-Q known."""

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
    """Where a player wants to go."""

    NORTH = 0
    SOUTH = 1
    EAST = 2
    WEST = 3
    STAND = 4


class Ball(IntEnum):
    """Who has the ball, if the game is still on."""

    A = 0
    B = 1
    OVER = 2


class Pitch(NamedTuple):
    """A state: the cells of both players, counted row by row from the north-west, and the ball."""

    a: Tensor
    b: Tensor
    ball: Tensor


DOWN = torch.tensor([-1, 1, 0, 0, 0])
RIGHT = torch.tensor([0, 0, 1, -1, 0])
COIN = torch.tensor([0.5, 0.5], dtype=torch.float64)
# PRIOR[is the game over?]: any move while it is on; when it is over, standing is all there is.
PRIOR = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.float64)


@dataclass(frozen=True)
class Soccer:
    """Two players on a pitch; whoever carries the ball into the other's goal wins.

    Both choose a move at once; the two moves are carried out one after the other, in random order.
    A move onto the other player's cell does not take place, and the ball is then (or stays) with
    the other. A move off the pitch does not take place either, except into a goal: the goals lie
    just outside the middle rows (two rows if ``rows`` is even, one if it is odd), A's to shoot at
    in the east, B's in the west, and only the carrier may enter. A goal pays the scorer 1 and the
    other −1.

    Littman starts a new game after each goal. Here a goal ends the game: the state ``Pitch(0, 0,
    Ball.OVER)`` is absorbing and pays nothing, so that all values lie in [-1, 1] and a value is the
    discounted chance to win less that to lose. The two players start opposite each other and the
    ball goes to either.

    Equilibria: zero-sum, so every state has a value (Shapley, 1953). The start is symmetric, so the
    game's value is 0. Any deterministic policy can be blocked for ever; near a defender the carrier
    must mix. The 4×5 game has 761 states: 20 · 19 places, two carriers, and the end.

    Source: M. L. Littman, 1994, "Markov games as a framework for multi-agent reinforcement
    learning"; there γ = 0.9, here too.

    Attributes:
        rows: rows of the pitch, at least 2.
        columns: columns of the pitch, at least 2.
        discount: γ, per move of both.

    >>> import vsg_ppl as vsg
    >>> len(vsg.tabulate(Soccer(rows=2, columns=3)).states)
    61
    """

    agents: ClassVar[tuple[str, ...]] = ("a", "b")
    rows: int = 4
    columns: int = 5
    discount: float = 0.9

    def __post_init__(self) -> None:
        if self.rows < 2 or self.columns < 2:  # on one row nobody could pass
            raise GameError(
                f"a pitch of {self.rows} × {self.columns} cells is too small",
                hint="at least 2 rows and 2 columns.",
            )

    def initial(self) -> Pitch:
        """A in the west, B opposite (the pitch turned by 180°), the ball with either."""
        start = self.rows // 2 * self.columns + (self.columns - 1) // 4
        ball = pyro.sample("ball", dist.Categorical(COIN))
        return Pitch(torch.tensor(start), torch.tensor(self.rows * self.columns - 1 - start), ball)

    def step(self, pitch: Pitch) -> Pitch:
        """Both choose; chance says who moves first; the moves are carried out."""
        a, b, ball = pitch
        was_over = ball == Ball.OVER
        prior = PRIOR[was_over.long()]
        move_a = act("a", dist.Categorical(prior), labels=Move)
        move_b = act("b", dist.Categorical(prior), labels=Move)
        first = pyro.sample("first", dist.Categorical(COIN))  # 0 is A, 1 is B, as for the ball

        a_first = first == Ball.A
        one, two = torch.where(a_first, a, b), torch.where(a_first, b, a)
        move_one = torch.where(a_first, move_a, move_b)
        move_two = torch.where(a_first, move_b, move_a)
        one, carrier, goal_one = self._move(first, move_one, one, two, ball)
        # After a goal of the first, the second's move can change nothing that is used.
        two, carrier, goal_two = self._move(1 - first, move_two, two, one, carrier)
        goal = (goal_one | goal_two) & ~was_over

        score = torch.where(goal, 1 - 2 * carrier, 0).double()  # only the carrier can score
        optimality("a", score)
        optimality("b", -score)
        over = goal | was_over
        return Pitch(
            torch.where(over, 0, torch.where(a_first, one, two)),
            torch.where(over, 0, torch.where(a_first, two, one)),
            torch.where(over, Ball.OVER, carrier),
        )

    def _move(
        self, who: Tensor, move: Tensor, cell: Tensor, other: Tensor, ball: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Carry out one player's move: its new cell, who has the ball, whether it scored."""
        row, column = cell // self.columns + DOWN[move], cell % self.columns + RIGHT[move]
        at_goal = (2 * row - self.rows + 1).abs() <= 1  # a middle row
        goal_column = torch.where(who == Ball.A, self.columns, -1)
        goal = at_goal & (column == goal_column) & (ball == who)
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        target = torch.where(inside, row * self.columns + column, cell)
        blocked = target == other
        return torch.where(blocked, cell, target), torch.where(blocked, 1 - who, ball), goal
