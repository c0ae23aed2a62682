"""Rock, paper, scissors against a whole crowd: a mean-field game whose best replies go round."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.game import act, optimality


class Hand(IntEnum):
    """What somebody shows, if anything yet."""

    NONE = 0
    ROCK = 1
    PAPER = 2
    SCISSORS = 3


class Throw(IntEnum):
    """What to show next."""

    ROCK = 0
    PAPER = 1
    SCISSORS = 2


ANY = torch.ones(len(Throw), dtype=torch.float64)
# PAYOFF[own, other] to a hand for each hand of the crowd.
PAYOFF = torch.tensor(
    [[0, 0, 0, 0], [0, 0, -1, 2], [0, 4, 0, -2], [0, -3, 6, 0]], dtype=torch.float64
)


@dataclass(frozen=True)
class RockPaperScissorsCrowd:
    """Everybody shows rock, paper or scissors to everybody else; wins and losses differ in size.

    At first nobody shows anything. In each step everybody chooses what to show in the next one. A
    hand wins from the crowd that shows what it beats, and loses to the crowd that shows what beats
    it: rock wins 2 and loses 1, paper wins 4 and loses 2, scissors win 6 and lose 3.

    Equilibria: at each time but the last, whose choice changes nothing, 26/77 show rock, 20/77
    paper and 31/77 scissors; each hand then pays 6/11. No other crowd is one. Best replies go round
    and round.

    Source: K. Cui and H. Koeppl, 2021, "Approximately solving mean field games via
    entropy-regularized deep reinforcement learning"; the payoffs are a variant of
    L. S. Shapley, 1964, "Some topics in two-person games".

    Attributes:
        horizon: number of decisions; the last one has no effect.

    >>> import vsg_ppl as vsg
    >>> crowd = torch.zeros(2, 4, 3).double()
    >>> crowd[0, Hand.NONE] = crowd[1, Hand.ROCK :, 0] = torch.tensor([26, 20, 31]) / 77
    >>> vsg.mean_field_table(RockPaperScissorsCrowd()).kernel(crowd).rewards[1, :, 0]
    tensor([0.0000, 0.5455, 0.5455, 0.5455], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("player",)
    horizon: int = 2

    def initial(self) -> Tensor:
        """Nobody shows anything."""
        return torch.tensor(int(Hand.NONE))

    def step(self, hand: Tensor, crowd: Crowd) -> Tensor:
        """Be paid for what one shows, and choose what to show next."""
        throw = act("player", dist.Categorical(ANY), labels=Throw)
        optimality("player", crowd.mean(lambda other: PAYOFF[hand, other]))
        return throw + 1
