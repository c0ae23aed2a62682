"""Reward models r_ψ of an agent: Pyro programs ``reward(table) -> r(s, a)`` that sample ψ.

Any callable of that kind is one. What it returns has the shape (S, A_1|1, ..., A_N|1) of the
table's rewards, with a leading (H|1) if time matters.
"""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.table import Table

Over = Literal["action", "joint", "state"]


class TabularReward:
    """A reward for every cell, each Normal(0, scale) a priori: nothing is known of their pattern.

    From behaviour a reward is identified up to constants and potential shaping (Ng, Harada and
    Russell 1999), and only relative to the temperature: judge it by the policy.

    Args:
        table: the game's table.
        agent: whose reward it is.
        over: the cells: "action", the state and the agent's own action; "joint", the state and
            everybody's; "state", the state alone, in which few numbers must explain much.
        scale: standard deviation of each cell, in units of reward.
        name: of the sample site, by default ``reward.<agent>``.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> TabularReward(table, "col")(table).shape
    torch.Size([2, 1, 2])
    """

    def __init__(
        self,
        table: Table,
        agent: str,
        *,
        over: Over = "action",
        scale: float = 1.0,
        name: str | None = None,
    ) -> None:
        n, number = len(table.states), table.number(agent)
        own = [size if i == number else 1 for i, size in enumerate(table.sizes)]
        shapes = {
            "action": (n, *own),
            "joint": (n, *table.sizes),
            "state": (n, *[1] * len(table.sizes)),
        }
        if over not in shapes:
            raise GameError(f"a reward over {over!r}: it is over one of {', '.join(shapes)}")
        if not scale > 0:
            raise GameError(f"the scale of the reward is {scale}; it must be positive")
        self.agent, self.over, self.shape = agent, over, shapes[over]
        self.scale, self.name = float(scale), name or f"reward.{agent}"

    def __call__(self, table: Table) -> Tensor:
        """Sample r, of the shape of the cells."""
        zero = table.initial.new_zeros(self.shape)
        prior = dist.Normal(zero, self.scale).to_event(zero.ndim)
        r: Tensor = pyro.sample(self.name, prior)
        return r


class LinearReward:
    """r = Σ_k w_k φ_k(s, a): known features, unknown weights, each Normal(0, scale) a priori.

    Args:
        table: the game's table.
        agent: whose reward it is.
        features: φ, (S, A_i, F) over the agent's own actions, (S, A_1|1, ..., A_N|1, F) over
            everybody's, or (S, F) over states.
        scale: standard deviation of each weight, in units of reward per unit of feature.
        name: of the sample site, by default ``weights.<agent>``.

    >>> import torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> LinearReward(table, "col", torch.rand(2, 2, 3))(table).shape
    torch.Size([2, 1, 2])
    """

    def __init__(
        self,
        table: Table,
        agent: str,
        features: Tensor,
        *,
        scale: float = 1.0,
        name: str | None = None,
    ) -> None:
        n, number, sizes = len(table.states), table.number(agent), table.sizes
        features = torch.as_tensor(features, dtype=torch.float64, device=table.device)
        shape = tuple(features.shape)
        if not torch.isfinite(features).all():
            raise GameError("a feature is not finite")
        own = tuple(size if i == number else 1 for i, size in enumerate(sizes))
        if len(shape) == 2 and shape[0] == n:
            features = features.reshape(n, *[1] * len(sizes), -1)
        elif len(shape) == 3 and shape[:2] == (n, sizes[number]):
            features = features.reshape(n, *own, -1)
        elif len(shape) != 2 + len(sizes) or any(
            a not in (1, b) for a, b in zip(shape[:-1], (n, *sizes), strict=True)
        ):
            raise GameError(
                f"the features have shape {shape}; expected ({n}, F), ({n}, {sizes[number]}, F) or "
                f"({', '.join(map(str, (n, *sizes)))}, F)"
            )
        if not scale > 0:
            raise GameError(f"the scale of the weights is {scale}; it must be positive")
        self.agent, self.features = agent, features
        self.scale, self.name = float(scale), name or f"weights.{agent}"

    def __call__(self, table: Table) -> Tensor:
        """Sample w, (F,), and return r."""
        zero = self.features.new_zeros(self.features.shape[-1])
        weights = pyro.sample(self.name, dist.Normal(zero, self.scale).to_event(1))
        return self.features @ weights


class OwnReward:
    """What the game's program pays the agent: the unknowns are the program's own, or none."""

    def __init__(self, table: Table, agent: str) -> None:
        self.agent, self.number = agent, table.number(agent)

    def __call__(self, table: Table) -> Tensor:
        """r^j of the program, (H|1, S, A_1|1, ..., A_N|1)."""
        return table.rewards[self.number][0]


class WelfareReward:
    """What the program pays everybody, summed: the hypothesis of an agent that serves them all."""

    def __init__(self, table: Table, agent: str) -> None:
        table.number(agent)
        self.agent = agent

    def __call__(self, table: Table) -> Tensor:
        """Σ_i r^i of the program."""
        total = table.rewards[0][0]
        for reward in table.rewards[1:]:
            total = total + reward[0]
        return total


class NoReward:
    """Nothing: the hypothesis of an agent that acts by its prior, at random."""

    def __init__(self, table: Table, agent: str) -> None:
        table.number(agent)
        self.agent = agent

    def __call__(self, table: Table) -> Tensor:
        """Zero."""
        return table.initial.new_zeros((1,) * (1 + len(table.agents)))
