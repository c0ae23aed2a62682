"""How agents with finite actions learn, and from what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vsg_ppl.mai_learner import RECENT
from vsg_ppl.replay import Replay
from vsg_ppl.training import Schedule, Settings

LATELY = 0.5
"""Share of what is remembered that counts as what the others did lately, but for the first steps.

Of the last `RECENT` steps alone, a state has too few to say how its agents mix.
"""

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

    def rate(self, episode: int) -> float:
        """The learning rate."""
        done = (episode / self.settings.episodes - STEADY) / (1 - STEADY)
        return self.settings.learning_rate * (1 - (1 - SLOWEST) * max(0.0, done))


def lately(memory: Replay, size: int = RECENT // 2) -> dict[str, Tensor]:
    """Draws from the later part of what is remembered, each part (G, size, width)."""
    there = len(memory)
    first = memory.steps - max(min(there, RECENT), int(LATELY * there))
    at = torch.randint(first, memory.steps, (size,)) % memory.capacity
    return {name: part[:, at] for name, part in memory.parts.items()}
