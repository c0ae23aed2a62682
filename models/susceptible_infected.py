"""An epidemic in which everybody decides how careful to be: a mean-field game."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Health(IntEnum):
    """The state of somebody's health."""

    SUSCEPTIBLE = 0
    INFECTED = 1


class Care(IntEnum):
    """How to spend the day."""

    GO_OUT = 0
    KEEP_DISTANCE = 1


EITHER = torch.ones(len(Care), dtype=torch.float64)


@dataclass(frozen=True)
class SusceptibleInfected:
    """People go out, and may be infected by the crowd, or keep their distance, which is dull.

    A susceptible person who goes out is infected with probability ``contagion`` times the share of
    the crowd that is infected; one who keeps a distance is not. An infected person recovers with
    probability ``recovery`` and can then be infected again. A step costs 1 to the infected, and 1/2
    to all who keep a distance.

    Equilibria: if few are infected everybody goes out, and more fall ill; if many are, the
    susceptible keep their distance, and the illness fades. A crowd that stays the same, far from
    the first and the last step, has a share ``recovery`` / ``contagion`` infected, 10/27: there
    going out is just worth its risk, and 10/17 of the susceptible do. The crowd moves the next
    states here, so the game is not of the monotone kind; plain best replies and plain mirror
    descent go round and round.

    Source: K. Cui and H. Koeppl, 2021, "Approximately solving mean field games via
    entropy-regularized deep reinforcement learning".

    Attributes:
        horizon: number of decisions.
        infected: share of the crowd that is infected at first.
        contagion: probability to be infected when out amid a crowd that is infected.
        recovery: probability to recover in a step.

    >>> import vsg_ppl as vsg
    >>> even = torch.full((51, 2, 2), 1 / 4).double()
    >>> kernel = vsg.mean_field_table(SusceptibleInfected()).kernel(even)
    >>> kernel.probabilities[0, Health.SUSCEPTIBLE]
    tensor([[0.5950, 0.4050],
            [1.0000, 0.0000]], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("person",)
    horizon: int = 51
    infected: float = 0.6
    contagion: float = 0.81
    recovery: float = 0.3

    def __post_init__(self) -> None:
        for name in ("infected", "contagion", "recovery"):
            if not 0 <= getattr(self, name) <= 1:
                raise GameError(f"{name} is {getattr(self, name):g}; it must be in [0, 1]")

    def initial(self) -> Tensor:
        """Some are infected."""
        law = torch.tensor([1 - self.infected, self.infected], dtype=torch.float64)
        return pyro.sample("health", dist.Categorical(law))

    def step(self, health: Tensor, crowd: Crowd) -> Tensor:
        """Choose how careful to be; then chance says who is ill."""
        care = act("person", dist.Categorical(EITHER), labels=Care)
        optimality("person", -(health == Health.INFECTED).double(), name="illness")
        optimality("person", -0.5 * (care == Care.KEEP_DISTANCE).double(), name="boredom")
        caught = self.contagion * crowd.at(Health.INFECTED) * (care == Care.GO_OUT)
        ill = torch.where(health == Health.INFECTED, 1 - self.recovery, caught)
        return pyro.sample("health", dist.Categorical(torch.stack([1 - ill, ill], -1)))
