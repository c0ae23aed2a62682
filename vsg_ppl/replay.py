"""What learners remember: the last so many steps of K plays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError

RECENT = 512
"""Steps that count as lately at least."""

LATELY = 0.5
"""Share of what is remembered that does.

Of the last `RECENT` steps alone, a state has too few to say how its agents mix.
"""


class Replay:
    """A ring of steps; every play has its own, and is drawn from alone.

    Args:
        plays: K.
        capacity: steps kept of each.
        widths: how many numbers each part of a step has, by name.
        device: where they are kept.

    >>> memory = Replay(2, 100, {"reward": 1})
    >>> memory.add({"reward": torch.tensor([[1.0], [2.0]])})
    >>> memory.sample(3)["reward"][..., 0]
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """

    def __init__(
        self, plays: int, capacity: int, widths: dict[str, int], *, device: str = "cpu"
    ) -> None:
        self.capacity, self.steps = capacity, 0
        self.parts = {
            name: torch.zeros(plays, capacity, width, device=device)
            for name, width in widths.items()
        }
        self._rows = torch.arange(plays, device=device)[:, None]

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
        at = torch.randint(len(self), (plays, size), device=self._rows.device)
        return {name: part[self._rows, at] for name, part in self.parts.items()}

    def sample_lately(self, size: int) -> dict[str, Tensor]:
        """The same, drawn from the later part."""
        return self.sample_last(size, max(RECENT, int(LATELY * len(self))))

    def sample_last(self, size: int, among: int) -> dict[str, Tensor]:
        """The same, drawn from the last ``among`` steps, or all if they are fewer."""
        shape, rows = (len(self._rows), size), self._rows
        back = torch.randint(min(among, len(self)), shape, device=rows.device)
        at = (self.steps - 1 - back) % self.capacity
        return {name: part[rows, at] for name, part in self.parts.items()}

    def last(self, name: str, size: int) -> Tensor:
        """A part of the last steps, (K, up to ``size``, width), the oldest first."""
        size = min(size, len(self))
        at = torch.arange(self.steps - size, self.steps) % self.capacity
        return self.parts[name][:, at]

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, without room for what will be."""
        parts = {name: part[:, : len(self)].clone() for name, part in self.parts.items()}
        return {"steps": self.steps, "parts": parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember that instead.

        Raises:
            GameError: other parts of a step were remembered.
        """
        if state["parts"].keys() != self.parts.keys():
            raise GameError(
                f"a step was remembered as {', '.join(state['parts'])}, and is as "
                f"{', '.join(self.parts)}",
                hint="another checkpoint, or none: this one is an older version's.",
            )
        self.steps = state["steps"]
        for name, part in state["parts"].items():
            self.parts[name][:, : len(self)] = part
