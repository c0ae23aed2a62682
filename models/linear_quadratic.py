"""Everybody steers towards the average of all, on a line: a mean-field game."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality

NOISE = torch.arange(-3, 4, dtype=torch.float64)


@dataclass(frozen=True)
class LinearQuadratic:
    """Everybody is drawn to the average position m of the crowd, steers, and is shaken.

    The state is a position x, −``reach`` to ``reach``, drawn uniformly at first. Somebody who
    steers with u, −``steer`` to ``steer``, comes to x + (``pull`` (m − x) + u) ``delta``
    + ``sigma`` ε √``delta``, rounded (halves to even numbers) and kept within reach; ε is −3, …, 3
    times ``sigma`` with the weights of a normal law's density there (so sigma comes in twice, as in
    the source). A step pays ``delta`` times −u²/2 + ``reward_steer`` u (m − x)
    − ``cost_apart`` (m − x)²/2; the last step −``cost_end`` (m − x)²/2 alone.

    Equilibria: in continuous time and space one, in closed form, in which everybody steers in
    proportion to m − x. Here all is symmetric about 0, so there is one in which m stays 0: the best
    control of a single agent who takes m for 0, in which −x does the opposite of what x does.

    Source: R. Carmona, J.-P. Fouque and L.-H. Sun, 2015, "Mean field games and systemic risk", in
    steps of time as in S. Perrin, J. Pérolat, M. Laurière, M. Geist, R. Elie and O. Pietquin, 2020,
    "Fictitious play for mean field games: continuous time analysis and applications".

    Attributes:
        horizon: number of decisions; the last one has no effect.
        reach: greatest distance from 0.
        steer: greatest control.
        sigma: size of the noise.
        delta: length of a step in time.
        pull: pull of the average.
        reward_steer: reward of steering towards the average.
        cost_apart: cost of the squared distance from the average.
        cost_end: cost of the squared distance at the end.

    >>> import vsg_ppl as vsg
    >>> even = torch.full((4, 11, 5), 1 / 55).double()
    >>> vsg.mean_field_table(LinearQuadratic()).kernel(even).rewards[3, :, 0]  # m is 0
    tensor([-12.5000,  -8.0000,  -4.5000,  -2.0000,  -0.5000,   0.0000,  -0.5000,
             -2.0000,  -4.5000,  -8.0000, -12.5000], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("driver",)
    horizon: int = 4
    reach: int = 5
    steer: int = 2
    sigma: float = 3.0
    delta: float = 0.1
    pull: float = 1.0
    reward_steer: float = 0.01
    cost_apart: float = 0.5
    cost_end: float = 1.0

    def __post_init__(self) -> None:
        for name in ("reach", "steer", "sigma", "delta"):
            if not getattr(self, name) >= 0:
                raise GameError(f"{name} is {getattr(self, name):g}; it must not be negative")

    def initial(self) -> Tensor:
        """Anywhere."""
        law = torch.ones(2 * self.reach + 1, dtype=torch.float64)
        return pyro.sample("x", dist.Categorical(law)) - self.reach

    def step(self, x: Tensor, t: int | Tensor, crowd: Crowd) -> Tensor:
        """Steer, be drawn to the average, and be shaken."""
        controls = [str(u) for u in range(-self.steer, self.steer + 1)]
        law = torch.ones(len(controls), dtype=torch.float64)
        u = act("driver", dist.Categorical(law), labels=controls).double() - self.steer
        apart = crowd.mean(lambda other: other) - x
        running = -(u**2) / 2 + self.reward_steer * u * apart - self.cost_apart / 2 * apart**2
        last = torch.as_tensor(t) == self.horizon - 1
        reward = torch.where(last, -self.cost_end / 2 * apart**2, self.delta * running)
        optimality("driver", reward)
        noise = self.sigma * NOISE
        shock = noise[pyro.sample("shock", dist.Categorical(logits=-(noise**2) / 2))]
        drift = (self.pull * apart + u) * self.delta
        there = (x + drift + self.sigma * shock * sqrt(self.delta)).round()
        return there.clamp(-self.reach, self.reach).long()
