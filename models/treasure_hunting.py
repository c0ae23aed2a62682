"""Hunters of treasure do best where the crowd is: a mean-field game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


@dataclass(frozen=True)
class TreasureHunting:
    """Hunters stay at a place and dig, the better the more of the crowd does so at the same place.

    Let D(s) be the squared distance of the crowd's law of place and action from that of a crowd of
    which everybody is at s and stays, the sum of (L(s', a') − 1[s' = a' = s])² over all s' and a'.
    Somebody who stays at s is paid ``value`` (1 − D(s)/2); to go elsewhere pays nothing. From s one
    comes to where one wants to be with probability 1 / (1 + ``places`` ``cost`` D(s)), and else to
    any place. In the first step nobody is paid, and all come to where they want to be. Hunters
    start anywhere.

    Equilibria: if ``value`` is positive, that all go to one place in the first step and stay is
    one, for each place, and pays ``value`` per later step, the most there is. To spread evenly and
    stay is another, worth less: D is then 1 − 1/``places`` everywhere.

    Source: the conservative treasure hunting of X. Guo, A. Hu and J. Zhang, 2022, "MF-OMO: an
    optimization formulation of mean-field games".

    Attributes:
        horizon: number of decisions.
        places: number of places.
        value: of the treasure dug in a step amid a crowd that is all at the same place.
        cost: how fast D(s) makes hunters lose their way.

    >>> import vsg_ppl as vsg
    >>> even = torch.full((6, 3, 3), 1 / 9).double()
    >>> kernel = vsg.mean_field_table(TreasureHunting()).kernel(even)
    >>> kernel.rewards[1, 0]
    tensor([0.5556, 0.0000, 0.0000], dtype=torch.float64)
    >>> kernel.probabilities[1, 0]
    tensor([[0.5152, 0.2424, 0.2424],
            [0.2424, 0.5152, 0.2424],
            [0.2424, 0.2424, 0.5152]], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("hunter",)
    horizon: int = 6
    places: int = 3
    value: float = 1.0
    cost: float = 1.0

    def __post_init__(self) -> None:
        if self.places < 1:
            raise GameError(f"there are {self.places} places; at least 1")
        if not self.cost >= 0:
            raise GameError(f"cost is {self.cost:g}; it must not be negative")

    def initial(self) -> Tensor:
        """Anywhere."""
        return pyro.sample("place", dist.Categorical(torch.ones(self.places).double()))

    def step(self, place: Tensor, t: int | Tensor, crowd: Crowd) -> Tensor:
        """Stay and dig, or go elsewhere; chance may lead astray."""
        to = act("hunter", dist.Categorical(torch.ones(self.places).double()))
        squares = crowd.mean(lambda other, move: crowd.at(other, move))
        apart = squares - 2 * crowd.at(place, place) + 1
        later = (torch.as_tensor(t) > 0).double()
        optimality("hunter", later * (to == place) * self.value * (1 - apart / 2))
        astray = later * self.cost * apart
        wanted = (torch.arange(self.places) == to[..., None]).double()
        return pyro.sample("place", dist.Categorical(astray[..., None] + wanted))
