"""A Markov congestion game: everyone follows the crowd until the crowd is too large."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import reduce

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


class Phase(IntEnum):
    """The state of the game."""

    SAFE = 0
    DISTANCING = 1


FIRST = torch.tensor([0.5, 0.5], dtype=torch.float64)


@dataclass(frozen=True)
class Congestion:
    """Agents pick a facility each; company pays, but too large a crowd closes the good times.

    An agent at facility k gets w_k times the number of agents there (itself included), the weights
    being 1, 2, 4, 6, ...; in the distancing phase everyone gets ``penalty`` less. Safe turns into
    distancing if more than half of the agents are at one facility; distancing lasts while more than
    a quarter are. The way back therefore exists only if facilities · ⌊n_agents / 4⌋ ≥ n_agents, as
    it does with 4 or 8 agents and 4 facilities.

    Equilibria: in each phase taken alone the game has the exact potential Σ_k w_k n_k (n_k + 1) / 2
    with n_k agents at facility k: a move from one facility to another changes the mover's reward
    and the potential alike. The stochastic game as a whole is *not* an exact Markov potential game,
    because the agents move the phase: gains around a cycle of two agents' changes of policy do not
    sum to zero. In the source, independent policy gradients still find deterministic equilibria.

    Source: S. Leonardos, W. Overman, I. Panageas and G. Piliouras, 2021 (ICLR 2022), "Global
    Convergence of Multi-Agent Policy Gradient in Markov Potential Games", section 5; there 8 agents
    and 4 facilities.

    Attributes:
        n_agents: number of agents; a step has facilities ** n_agents joint actions.
        facilities: number of facilities.
        penalty: what distancing costs each agent in each step.
        discount: γ, per step.

    >>> import vsg_ppl as vsg
    >>> table = vsg.tabulate(Congestion())
    >>> float(table.rewards[0][0, 0, Phase.SAFE, 3, 3, 3, 0])  # three at the best facility
    18.0
    """

    n_agents: int = 4
    facilities: int = 4
    penalty: float = 100.0
    discount: float = 0.99

    def __post_init__(self) -> None:
        if self.n_agents < 1 or self.facilities < 1:
            raise GameError(
                f"{self.n_agents} agents and {self.facilities} facilities; at least one of each"
            )

    @property
    def agents(self) -> tuple[str, ...]:
        """Their names, ``agent1`` and so on."""
        return tuple(f"agent{i + 1}" for i in range(self.n_agents))

    def initial(self) -> Tensor:
        """Either phase."""
        return pyro.sample("phase", dist.Categorical(FIRST))

    def step(self, phase: Tensor) -> Tensor:
        """All pick a facility at once."""
        weight = torch.arange(self.facilities, dtype=torch.float64).mul(2).clamp(min=1)
        prior = dist.Categorical(torch.ones(self.facilities, dtype=torch.float64))
        picks = [act(agent, prior) for agent in self.agents]
        # How many stand where agent i stands; the largest of these is the largest crowd.
        company = [reduce(torch.add, [(mine == pick).long() for pick in picks]) for mine in picks]
        for agent, mine, together in zip(self.agents, picks, company, strict=True):
            optimality(agent, weight[mine] * together - self.penalty * phase.double())
        crowd = reduce(torch.maximum, company)
        crowded = torch.where(
            phase == Phase.SAFE, 2 * crowd > self.n_agents, 4 * crowd > self.n_agents
        )
        return crowded.long()  # Phase.DISTANCING is 1
