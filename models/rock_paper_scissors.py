"""Rock, paper, scissors: zero-sum and cyclic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality


class Hand(IntEnum):
    """The sign that is shown; each beats the one before it, in a circle."""

    ROCK = 0
    PAPER = 1
    SCISSORS = 2


ANY = torch.ones(len(Hand), dtype=torch.float64)
# By how much one's hand is ahead of the other's in the circle: equal, one ahead, two ahead.
PAYOFF = torch.tensor([0, 1, -1], dtype=torch.float64)


@dataclass(frozen=True)
class RockPaperScissors:
    """Paper beats rock, scissors beat paper, rock beats scissors; a win takes 1 from the loser.

    Equilibria: one, uniform play, of value 0; it is also the logit equilibrium at every
    temperature. Best responses chase each other around it, so undamped iterations cycle.

    Source: a folk game. L. S. Shapley, 1964, "Some topics in two-person games", has the relative
    that is not zero-sum, in which even fictitious play cycles.

    >>> import vsg_ppl as vsg
    >>> vsg.tabulate(RockPaperScissors()).rewards[0].squeeze().tolist()
    [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both show a hand at once."""
        row = act("row", dist.Categorical(ANY), labels=Hand)
        col = act("col", dist.Categorical(ANY), labels=Hand)
        optimality("row", PAYOFF[(row - col) % 3])
        optimality("col", PAYOFF[(col - row) % 3])
        return state
