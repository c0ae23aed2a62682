"""The prisoners' dilemma: the best for both is not what either chooses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Move(IntEnum):
    """What a prisoner does."""

    COOPERATE = 0
    DEFECT = 1


EITHER = torch.ones(len(Move), dtype=torch.float64)


@dataclass(frozen=True)
class PrisonersDilemma:
    """Two prisoners, asked apart, each keep silent (cooperate) or betray the other (defect).

    Equilibria: defecting is better whatever the other does, so the only Nash equilibrium is that
    both defect, and the logit equilibrium goes there as the temperature falls.

    Source: A. W. Tucker's story of 1950; the payoffs are those of R. Axelrod, 1984, "The Evolution
    of Cooperation".

    Attributes:
        temptation: payoff of the only one to defect.
        reward: payoff of each when both cooperate.
        punishment: payoff of each when both defect.
        sucker: payoff of the only one to cooperate.

    >>> import vsg_ppl as vsg
    >>> row, col = vsg.tabulate(PrisonersDilemma()).rewards
    >>> row.flatten().tolist(), col.flatten().tolist()
    ([3.0, 0.0, 5.0, 1.0], [3.0, 5.0, 0.0, 1.0])
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1
    temptation: float = 5.0
    reward: float = 3.0
    punishment: float = 1.0
    sucker: float = 0.0

    def __post_init__(self) -> None:
        if not self.temptation > self.reward > self.punishment > self.sucker:
            raise GameError(
                f"temptation {self.temptation:g}, reward {self.reward:g}, punishment "
                f"{self.punishment:g} and sucker {self.sucker:g} make no prisoners' dilemma",
                hint="temptation > reward > punishment > sucker.",
            )

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both choose at once."""
        payoff = torch.tensor(
            [[self.reward, self.sucker], [self.temptation, self.punishment]], dtype=torch.float64
        )
        row = act("row", dist.Categorical(EITHER), labels=Move)
        col = act("col", dist.Categorical(EITHER), labels=Move)
        optimality("row", payoff[row, col])
        optimality("col", payoff[col, row])
        return state
