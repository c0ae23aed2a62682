"""What learners remember: the last so many steps of K plays."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """A ring of steps; every play has its own, and is drawn from alone.

    Args:
        plays: K.
        capacity: steps kept of each.
        widths: how many numbers each part of a step has, by name.

    >>> memory = Replay(2, 100, {"reward": 1})
    >>> memory.add({"reward": torch.tensor([[1.0], [2.0]])})
    >>> memory.sample(3)["reward"][..., 0]
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """

    def __init__(self, plays: int, capacity: int, widths: dict[str, int]) -> None:
        self.capacity, self.steps = capacity, 0
        self.parts = {name: torch.zeros(plays, capacity, width) for name, width in widths.items()}
        self._rows = torch.arange(plays)[:, None]

    def __len__(self) -> int:
        return min(self.steps, self.capacity)

    def add(self, step: dict[str, Tensor]) -> None:
        """Remember a step of every play; each part (K, width)."""
        for name, part in step.items():
            self.parts[name][:, self.steps % self.capacity] = part
        self.steps += 1

    def sample(self, size: int) -> dict[str, Tensor]:
        """Steps drawn evenly from all that is remembered, each part (K, size, width)."""
        plays = len(self._rows)
        at = torch.randint(len(self), (plays, size))
        return {name: part[self._rows, at] for name, part in self.parts.items()}

    def last(self, name: str, size: int) -> Tensor:
        """A part of the last steps, (K, up to ``size``, width), the oldest first."""
        size = min(size, len(self))
        at = torch.arange(self.steps - size, self.steps) % self.capacity
        return self.parts[name][:, at]
