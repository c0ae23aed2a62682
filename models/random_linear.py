"""Random mean-field games in which the crowd decides rewards and moves, for measurements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


@dataclass(frozen=True)
class RandomLinear:
    """Rewards, and the logarithms of transition probabilities, are linear in the crowd's law.

    A step pays Σ_j R(s, j) L(j, a) + r(s, a): what matters is who takes the same action. The next
    state is s' with a probability in proportion to exp(Σ_j P(s', s, j) L(j, a) + p(s', s, a)). The
    first state is any. The numbers in R, r, P and p are uniform in [−``scale``, ``scale``] and
    drawn once, in this order and in single precision, from ``seed`` by a generator of their own:
    the same parameters are the same game, whatever else draws random numbers.

    Equilibria: at least one, since all is continuous in the law of the crowd, and sometimes more:
    with 2 states, ``seed`` 2 and ``horizon`` 1 there are two in pure actions.

    Source: X. Guo, A. Hu, M. Santamaria, M. Tajrobehkar and J. Zhang, 2023, "MFGLib: a library for
    mean-field games".

    Attributes:
        horizon: number of decisions.
        size: number of states, and of actions.
        scale: the greatest number that is drawn.
        seed: of the generator.

    >>> import vsg_ppl as vsg
    >>> vsg.mean_field_table(RandomLinear())
    MeanFieldTable(RandomLinear: 5 states, 5 actions, 4 decisions)
    """

    agents: ClassVar[tuple[str, ...]] = ("one",)
    horizon: int = 4
    size: int = 5
    scale: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise GameError(f"there are {self.size} states; at least 1")
        if not self.scale >= 0:
            raise GameError(f"scale is {self.scale:g}; it must not be negative")

    @cached_property
    def numbers(self) -> tuple[Tensor, ...]:
        """R(s, j), r(s, a), P(s', s, j) and p(s', s, a)."""
        generator = torch.Generator().manual_seed(self.seed)
        shapes = [(self.size,) * dimensions for dimensions in (2, 2, 3, 3)]
        draws = [torch.rand(s, generator=generator, dtype=torch.float32) for s in shapes]
        return tuple((2 * self.scale * u - self.scale).double() for u in draws)

    def initial(self) -> Tensor:
        """Any state."""
        return pyro.sample("state", dist.Categorical(torch.ones(self.size).double()))

    def step(self, state: Tensor, crowd: Crowd) -> Tensor:
        """Be paid and moved by those who take the same action."""
        action = act("one", dist.Categorical(torch.ones(self.size).double()))
        same = torch.stack([crowd.at(other, action) for other in range(self.size)], -1)
        pay, pay_alone, move, move_alone = self.numbers
        optimality("one", (pay[state] * same).sum(-1) + pay_alone[state, action])
        drawn = (move.movedim(0, 1)[state] * same[..., None, :]).sum(-1)
        logits = drawn + move_alone.movedim(0, -1)[state, action]
        return pyro.sample("state", dist.Categorical(logits=logits))
