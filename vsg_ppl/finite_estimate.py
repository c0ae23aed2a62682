"""What simulations of n real agents have in common: looks at their crowds, and estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.finite_step import Among

LOOKS = 50_000_000
"""Rewards that are looked at for each time to find a deviation, about."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The gain of a deviation among n agents.

    Attributes:
        gain: in each of M independent populations, without bias, (M,).
        value: what an agent gets by the policy, estimated.
        deviation: (H, S, A).
    """

    gain: Array
    value: float
    deviation: Tensor

    def interval(self, confidence: float) -> tuple[float, float, float]:
        """The mean gain and its confidence interval, by Student's t."""
        mean, m = float(self.gain.mean()), len(self.gain)
        wide = scipy.stats.t.ppf((1 + confidence) / 2, m - 1) * self.gain.std(ddof=1) / m**0.5
        return mean, mean - float(wide), mean + float(wide)


class Simulation:
    """Populations of n agents.

    Attributes:
        samples: M, how many populations each number comes from.
        own: states where the agent may be at each time.
        sees: whether the step sees the crowd's actions.
    """

    def __init__(self, among: Among, samples: int, random: np.random.Generator) -> None:
        self.among, self.table, self.samples, self.random = among, among.table, samples, random
        self.own, _ = among.support()
        self.sees = self.table.sees_actions

    def cells(self, t: int) -> Tensor:
        """Own cells at time t: states, with actions if the step sees the crowd's, (Z,)."""
        states, size = self.own[t], self.among.size
        if not self.sees:
            return states * size
        k, action = self.among.available[t][states].nonzero().unbind(1)
        return states[k] * size + action

    def looks(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """From which populations, and from which own cells, crowds are looked at, (k,) both.

        Every population is seen from so many cells as time allows, and every cell equally often or
        almost.
        """
        each = LOOKS // (self.samples * len(self.table.states) * self.among.size)
        each = min(len(cells), max(1, each, -(-4 * len(cells) // self.samples)))
        number = torch.arange(self.samples * each, device=cells.device)
        return number // max(1, each), cells[number % max(1, len(cells))]


class Averages:
    """Means over looks from each own cell, or from each state if the step sees no actions.

    Args:
        simulation: whose looks they are.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.states, self.size = len(simulation.table.states), simulation.among.size
        self.sees = simulation.sees
        self.count: Tensor | None = None

    def add(self, cells: Tensor, found: Tensor) -> None:
        """Add looks from cells (k,): what is found is (k, A, ...), or (k, 1, ...) of the cells."""
        rows = cells if self.sees else cells // self.size
        number = self.states * self.size // found.shape[1]
        if self.count is None:
            self.count = found.new_zeros(number)
            self.total = found.new_zeros(number, *found.shape[1:])
        self.count += torch.bincount(rows, minlength=number)
        self.total.index_add_(0, rows, found)

    def mean(self) -> Tensor:
        """The means, (S, A, ...); zero where nobody has looked."""
        assert self.count is not None
        mean = self.total / self.count.clamp_min(1).reshape(-1, *[1] * (self.total.ndim - 1))
        return mean.reshape(self.states, self.size, *self.total.shape[2:])


def simplex(law: Tensor) -> Array:
    """A law as NumPy draws from it: its sum is 1 once more."""
    array = np.asarray(law.cpu(), dtype=np.float64)
    return np.asarray(array / array.sum(-1, keepdims=True))
