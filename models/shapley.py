"""Shapley's game: one agent seeks the other, who wants to be one place ahead."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality


class Place(IntEnum):
    """Where an agent goes; the places lie in a circle."""

    LEFT = 0
    MIDDLE = 1
    RIGHT = 2


ANY = torch.ones(len(Place), dtype=torch.float64)
# By how many places the second agent is ahead in the circle: 0, 1, 2.
ROW = torch.tensor([1, 0, 0], dtype=torch.float64)
COL = torch.tensor([0, 1, 0], dtype=torch.float64)


@dataclass(frozen=True)
class Shapley:
    """One agent is paid for meeting the other, who is paid for being one place ahead.

    Equilibria: one, uniform play, worth 1/3 to each; so a public signal has nothing to choose from.
    A mediator who draws one of the six pairs of places at which somebody is paid, all alike, and
    tells each agent its own place only makes a correlated equilibrium worth 1/2 to each. Fictitious
    play circles through these six pairs, ever more slowly, and never settles.

    Source: L. S. Shapley, 1964, "Some topics in two-person games", in Advances in Game Theory,
    pp. 1-28.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(Shapley()).rewards
    >>> row.squeeze().tolist(), col.squeeze().tolist()  # doctest: +NORMALIZE_WHITESPACE
    ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
     [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both go somewhere at once."""
        row = act("row", dist.Categorical(ANY), labels=Place)
        col = act("col", dist.Categorical(ANY), labels=Place)
        optimality("row", ROW[(col - row) % 3])
        optimality("col", COL[(col - row) % 3])
        return state
