"""Matching pennies as people played them, once: three treatments that differ in one payoff."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Row(IntEnum):
    """What the row agent may choose."""

    TOP = 0
    BOTTOM = 1


class Column(IntEnum):
    """What the column agent may choose."""

    LEFT = 0
    RIGHT = 1


EITHER = torch.ones(2, dtype=torch.float64)
EACH = torch.ones(3, dtype=torch.float64)
# ROW[treatment, row, col] and COLUMN[row, col] in cents
ROW = torch.tensor([[[x, 40], [40, 80]] for x in (80, 320, 44)], dtype=torch.float64)
COLUMN = torch.tensor([[40, 80], [80, 40]], dtype=torch.float64)
STAKE = 80.0
# CHOICES[agent][treatment], of 25 people each: TOP and BOTTOM, LEFT and RIGHT
CHOICES = {"row": ((12, 13), (24, 1), (2, 23)), "col": ((12, 13), (4, 21), (20, 5))}


@dataclass(frozen=True)
class AsymmetricPennies:
    """The row agent wants to match, the column agent not to; what Top-Left pays row is the state.

    Treatment 0 is symmetric: the winner gets 80 cents, the other 40. In treatment 1 the row agent
    gets 320 for Top-Left, in treatment 2 it gets 44. Each is drawn with probability 1/3, and all
    end after one choice. Rewards are in cents, so a temperature is too: 1/λ, with gambit's λ.

    Tastes of both agents may be added. With ``risk_aversion`` r the utility of x cents is CRRA,
    u(x) = 80 + 80 ((x/80)^{1−r} − 1)/(1 − r), which leaves 80 cents and the worth of a cent more
    there as they are; with ``altruism`` α an agent's reward is u(own) + α u(other's).

    Equilibria: one for each treatment. With neither taste row plays Top with probability 1/2
    whatever it is paid, for it keeps column indifferent; column plays Left with 1/2, 1/8, 10/11.

    Source: J. K. Goeree and C. A. Holt, 2001, "Ten little treasures of game theory and ten
    intuitive contradictions", American Economic Review 91(5), 1402–1422; utility as in Goeree, Holt
    and Palfrey, 2003, "Risk averse behavior in generalized matching pennies games".

    Attributes:
        risk_aversion: r, in [0, 1).
        altruism: α, below 0 for spite.

    >>> import vsg_ppl as vsg
    >>> found = vsg.nash(AsymmetricPennies())
    >>> [round(found.policy("col", state)["LEFT"], 3) for state in range(3)]
    [0.5, 0.125, 0.909]
    """

    agents: ClassVar[tuple[str, ...]] = ("row", "col")
    horizon: ClassVar[int] = 1
    risk_aversion: float = 0.0
    altruism: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.risk_aversion < 1:
            raise GameError(f"risk aversion is {self.risk_aversion:g}; it is in [0, 1)")
        if not abs(self.altruism) <= 1:
            raise GameError(f"altruism is {self.altruism:g}; it is in [-1, 1]")

    def initial(self) -> Tensor:
        """Some treatment."""
        return pyro.sample("treatment", dist.Categorical(EACH))

    def step(self, treatment: Tensor) -> Tensor:
        """Both choose at once."""
        risk_aversion, altruism = self.tastes()
        row = act("row", dist.Categorical(EITHER), labels=Row)
        col = act("col", dist.Categorical(EITHER), labels=Column)
        of_row = utility(ROW[treatment, row, col], risk_aversion)
        of_col = utility(COLUMN[row, col], risk_aversion)
        optimality("row", of_row + altruism * of_col)
        optimality("col", of_col + altruism * of_row)
        return treatment

    def tastes(self) -> tuple[Any, Any]:
        """Risk aversion and altruism; numbers here, unknowns where they are sampled."""
        return self.risk_aversion, self.altruism

    @staticmethod
    def human_play() -> list[list[tuple[int, dict[str, int]]]]:
        """What Goeree and Holt's subjects chose: 75 plays of one step, as `infer_opponent` reads.

        Published are percentages: Top 48, 96 and 8, Left 48, 16 and 80 in treatments 0, 1, 2, of 50
        subjects, or 25 pairs; all of them are whole numbers of 25. They were checked against
        secondary sources that agree with each other (two transcriptions of payoffs and choices, one
        of which leaves out treatment 2, and a summary with the number of pairs), not against the
        paper's own table. Who met whom is not known, and the pairs here are made up.

        >>> len(AsymmetricPennies.human_play())
        75
        """
        return [
            [(treatment, {"row": int(k >= tops), "col": int(k >= lefts)})]
            for treatment, ((tops, _), (lefts, _)) in enumerate(
                zip(CHOICES["row"], CHOICES["col"], strict=True)
            )
            for k in range(25)
        ]


@dataclass(frozen=True)
class PenniesOfUnknownTaste(AsymmetricPennies):
    """`AsymmetricPennies` with tastes that an observer does not know: two unknowns.

    A priori r is uniform on [0, 1], and α Normal(0, 0.5). For another prior, or one of the two
    alone, override ``tastes``.

    >>> import vsg_ppl as vsg
    >>> game = vsg.given(PenniesOfUnknownTaste(), {"risk_aversion": 0.5, "altruism": 0.0})
    >>> round(float(vsg.tabulate(game).rewards[0][0, 0, 1, 0, 0]), 3)  # of 320 cents
    240.0
    """

    def tastes(self) -> tuple[Any, Any]:
        """Both are sampled, once for everybody."""
        zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        r = pyro.sample("risk_aversion", dist.Uniform(zero, one))
        return r, pyro.sample("altruism", dist.Normal(zero, one / 2))


def utility(cents: Tensor, risk_aversion: Any) -> Tensor:
    """CRRA, with u(80) = 80 and u'(80) = 1 at all risk aversions in [0, 1).

    >>> utility(torch.tensor([40.0, 80.0, 320.0]), 0.5)
    tensor([ 33.1371,  80.0000, 240.0000])
    """
    power = 1 - risk_aversion
    worth: Tensor = STAKE + STAKE * ((cents / STAKE) ** power - 1) / power
    return worth
