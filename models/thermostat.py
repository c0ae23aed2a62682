"""One agent heats a house for a day: control as inference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Heat(IntEnum):
    """The heater's setting: degrees that it adds in an hour."""

    OFF = 0
    LOW = 1
    HIGH = 2


ANY = torch.ones(len(Heat), dtype=torch.float64)
COLDEST, WARMEST = 15, 25
HOUR = torch.arange(24)
# PRICE[hour] of one degree: dear from 17 to 21 o'clock. LEAK[hour]: the chance to lose one degree,
# greater by night.
PRICE = torch.where((HOUR >= 17) & (HOUR < 21), 1.5, 0.5).double()
LEAK = torch.where((HOUR >= 8) & (HOUR < 20), 0.5, 0.9).double()


@dataclass(frozen=True)
class Thermostat:
    """A heater keeps a house near a target, at prices and losses that depend on the hour.

    The state is the temperature indoors, 15 to 25 °C, 18 at first. The hour starts at midnight and
    is the time ``t`` modulo 24. A step costs ``comfort`` for each degree away from the target, and
    the hour's price for each degree of heat; then the heat comes in, and a degree may leak out.

    Equilibria: with one agent the Nash equilibrium is the optimal control. At a temperature τ > 0
    it is the soft optimum, the posterior over actions given optimality; as τ falls it becomes the
    dynamic program's. It heats before the evening's price rises.

    Source: the house is made for this library; the view is that of E. Todorov, 2006, "Linearly-
    solvable Markov decision problems", and S. Levine, 2018, "Reinforcement learning and control as
    probabilistic inference".

    Attributes:
        horizon: number of hours.
        target: °C wanted indoors, in 15 to 25.
        comfort: cost of one degree away from the target for one hour.

    >>> import vsg_ppl as vsg
    >>> len(vsg.tabulate(Thermostat()).states)
    11
    """

    agents: ClassVar[tuple[str, ...]] = ("heater",)
    horizon: int = 24
    target: int = 21
    comfort: float = 1.0

    def __post_init__(self) -> None:
        if not COLDEST <= self.target <= WARMEST:
            raise GameError(f"the target is {self.target} °C, not in {COLDEST} to {WARMEST}")

    def initial(self) -> Tensor:
        """A cool house."""
        return torch.tensor(18)

    def step(self, celsius: Tensor, t: int | Tensor) -> Tensor:
        """Heat for an hour."""
        heat = act("heater", dist.Categorical(ANY), labels=Heat)
        optimality("heater", -self.comfort * (celsius - self.target).abs().double(), name="comfort")
        optimality("heater", -PRICE[t % 24] * heat, name="bill")
        leak = LEAK[t % 24]
        law = torch.stack([1 - leak, leak], dim=-1)
        lost = pyro.sample("lost", dist.Categorical(law))
        return (celsius + heat - lost).clamp(COLDEST, WARMEST)
