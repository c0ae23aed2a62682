"""How many agents are in which place: all ways to spread them, and where chance takes them."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import torch
from scipy.special import binom
from torch import Tensor


def ways(agents: int, places: int) -> int:
    """In how many ways agents that are alike spread over places.

    >>> ways(2, 3)
    6
    """
    return comb(agents + places - 1, places - 1) if places else int(agents == 0)


class Counts:
    """All ways to spread agents that are alike over places.

    They are in order of their `rank`, which is such that those with at most k agents outside the
    last place come first: the ways to spread k agents and the rest there.

    Attributes:
        agents: how many they are.
        places: how many there are, at least one.
        rows: the number of agents in each place, (C, places).

    >>> Counts(2, 2).rows
    tensor([[0, 2],
            [1, 1],
            [2, 0]])
    """

    def __init__(self, agents: int, places: int, device: torch.device | None = None) -> None:
        self.agents, self.places = agents, places
        bars = list(combinations(range(agents + places - 1), places - 1))
        array = np.array(bars, dtype=np.int64).reshape(len(bars), places - 1)
        edges = np.concatenate(
            [np.full((len(bars), 1), -1), array, np.full((len(bars), 1), agents + places - 1)], 1
        )
        rows = torch.tensor(np.diff(edges, axis=1) - 1, device=device)
        self.rows = rows[rank(rows).argsort()]

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, law: Tensor) -> Tensor:
        """The law of the counts of agents that choose places independently.

        Args:
            law: of each agent's place, (B, agents, places) for B cases.

        Returns:
            (C, B).

        >>> Counts(2, 2).spread(torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]))[:, 0]
        tensor([0.2500, 0.5000, 0.2500])
        """
        total = len(self.rows)
        found = law.new_zeros(total + 1, len(law))  # the last row stands for what cannot be
        found[0] = 1.0
        for k in range(self.agents):
            top = ways(k + 1, self.places)
            now = law[:, k].T
            after = found[:top] * now[-1]
            for j in range(self.places - 1):
                after += found[self._without[j, :top]] * now[j]
            found[:top] = after
        return found[:total]

    @cached_property
    def _without(self) -> Tensor:
        """The ranks with one agent less in each place but the last, (places − 1, C)."""
        less = self.rows.new_full((self.places - 1, len(self.rows)), len(self.rows))
        for j in range(self.places - 1):
            some = self.rows[:, j] > 0
            rows = self.rows[some]
            rows[:, j] -= 1
            less[j, some] = rank(rows)
        return less


def rank(rows: Tensor) -> Tensor:
    """The number of each way to spread agents over places, (..., places) to (...).

    It is the combinatorial number system: Σ_i C(c_1 + … + c_i + i − 1, i) over all places i but the
    last, so it does not depend on the agents in the last.
    """
    i = np.arange(1, rows.shape[-1])
    before = rows[..., :-1].cumsum(-1).cpu().numpy() + i - 1
    return torch.tensor(np.rint(binom(before, i)).sum(-1).astype(np.int64), device=rows.device)
