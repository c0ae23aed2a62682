"""How agents with finite actions learn, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vsg_ppl.settings import Schedule, Settings

STEADY = 0.4
"""Share of the episodes after which the learning rate begins to fall."""

SLOWEST = 0.02
"""What is left of it at the end; without the fall, policies jitter where they should mix."""

MEMORIES = (0.9, 0.9)
"""Adam's, of policies and opponent models: of gradients, and of their squares.

Gradients fade as a law grows sure. With the usual 0.999 Adam divides by sizes of 1,000 steps ago,
and laws stop short: the mass that a policy leaves on poor actions then halves in 1,400 steps.
"""


@dataclass(frozen=True)
class FinitePlan:
    """How learners learn.

    Attributes:
        settings: gamma, batch, follow, and the learning rate, which falls to `SLOWEST` of it.
        alpha: the policy's temperature by episode.
        beta: the opponent model's.
        exploration: the share of moves that everybody draws from its prior, by episode.
        soft_value: whether the value of the next step counts divergences (Eq. 9).
    """

    settings: Settings
    alpha: Schedule
    beta: Schedule
    exploration: Schedule
    soft_value: bool = True

    @cached_property
    def shares(self) -> Tensor:
        """The share of exploration in each of the episodes."""
        shares = [self.exploration(episode) for episode in range(self.settings.episodes)]
        return torch.tensor(shares, dtype=torch.float64)

    def rate(self, episode: int) -> float:
        """The learning rate."""
        done = (episode / self.settings.episodes - STEADY) / (1 - STEADY)
        return self.settings.learning_rate * (1 - (1 - SLOWEST) * max(0.0, done))
