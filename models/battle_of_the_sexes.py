"""The battle of the sexes: both want to meet, each at another place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Place(IntEnum):
    """Where to go in the evening."""

    BALLET = 0
    FIGHT = 1


EITHER = torch.ones(len(Place), dtype=torch.float64)


@dataclass(frozen=True)
class BattleOfTheSexes:
    """Two people go out; the row agent prefers the ballet, the column agent the fight.

    Apart, both get 0.

    Equilibria: both at the ballet, both at the fight, and a mixed one in which each goes to its
    own favourite with probability favourite / (favourite + other), 2/3 here, and expects
    favourite · other / (favourite + other), 2/3 here: less than in either pure one. A public signal
    between the two pure ones is a fair correlated equilibrium.

    Source: R. D. Luce and H. Raiffa, 1957, "Games and Decisions", section 5.3.

    Attributes:
        favourite: payoff of meeting at one's favourite place.
        other: payoff of meeting at the other place.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(BattleOfTheSexes()).rewards
    >>> row.flatten().tolist(), col.flatten().tolist()
    ([2.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0])
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1
    favourite: float = 2.0
    other: float = 1.0

    def __post_init__(self) -> None:
        if not self.favourite > self.other > 0:
            raise GameError(
                f"favourite is {self.favourite:g} and other {self.other:g}",
                hint="favourite > other > 0.",
            )

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both choose a place at once."""
        payoff = torch.tensor([[self.favourite, 0], [0, self.other]], dtype=torch.float64)
        row = act("row", dist.Categorical(EITHER), labels=Place)
        col = act("col", dist.Categorical(EITHER), labels=Place)
        optimality("row", payoff[row, col])
        optimality("col", payoff[1 - row, 1 - col])
        return state
