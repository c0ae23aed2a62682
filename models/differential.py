"""The differential game: two agents, one action each, a wide basin and a narrow peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality

REACH = 10.0


@dataclass(frozen=True)
class Differential:
    """Both are paid the larger of two hills: max(f_1, f_2), at actions (a_1, a_2) in [−10, 10]².

    f_1 = 0.8 [ −((a_1 − b)/w)² − ((a_2 − b)/w)² ] is wide and pays 0 at its top, b = −5, w = 3;
    f_2 = −(a_1 − p)² − (a_2 − p)² + 10 is narrow and pays 10 at its top, p = 5. f_2 is the
    larger on a fifth of the square. Who climbs alone ends on the wide hill.

    Equilibria: both tops; the narrow one is best for both.

    Source: E. Wei, D. Wicke, D. Freelan and S. Luke, 2018, "Multiagent soft Q-learning", after the
    max of two quadratics of L. Panait, S. Luke and R. P. Wiegand. Zhao and Zhang (Fig. 2a) print w
    inside the square, as here; the public code has (a − b)² / 3, which is ``width=3**0.5``.

    Attributes:
        peak: p, where the narrow hill is.
        basin: b, where the wide hill is.
        width: w.
        horizon: steps of an episode.

    >>> import torch
    >>> Differential().reward(torch.tensor([5.0, -4.0]), torch.tensor([5.0, -5.0]))
    tensor([10.0000, -0.0889])
    """

    agents: ClassVar[tuple[str, ...]] = ("first", "second")
    peak: float = 5.0
    basin: float = -5.0
    width: float = 3.0
    horizon: int = 25

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise GameError(f"the width is {self.width:g}; it must be positive")
        if max(abs(self.peak), abs(self.basin)) > REACH:
            raise GameError(f"the hills lie at {self.basin:g} and {self.peak:g}, beyond ±{REACH:g}")

    def reward(self, first: Tensor, second: Tensor) -> Tensor:
        """What both are paid."""
        wide = ((first - self.basin) / self.width) ** 2 + ((second - self.basin) / self.width) ** 2
        narrow = (first - self.peak) ** 2 + (second - self.peak) ** 2
        return torch.maximum(-0.8 * wide, 10.0 - narrow)

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """Both choose a number."""
        first = act("first", dist.Uniform(-REACH, REACH))
        second = act("second", dist.Uniform(-REACH, REACH))
        reward = self.reward(first, second)
        optimality("first", reward)
        optimality("second", reward)
        return state
