"""Three agents with two actions each, and nine equilibria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import act, optimality

EITHER = torch.ones(2, dtype=torch.float64)
# What each agent gets where anything is paid: PAYOFF[agent, action of a, of b, of c].
PAYOFF = torch.zeros(3, 2, 2, 2, dtype=torch.float64)
PAYOFF[:, 0, 0, 0] = torch.tensor([9, 8, 12])
PAYOFF[:, 1, 1, 0] = torch.tensor([9, 8, 2])
PAYOFF[:, 0, 1, 1] = PAYOFF[:, 1, 0, 1] = torch.tensor([3, 4, 6])


@dataclass(frozen=True)
class ThreeAgents:
    """Agents a and b want to do the same if c plays 0, and different things if c plays 1.

    Equilibria: nine. Four are pure, (0,0,0), (1,1,0), (0,1,1) and (1,0,1), and of the five mixed
    ones two are totally mixed. So many make the logit path from high temperatures hard to follow.

    Source: R. D. McKelvey and A. McLennan, 1996, "Computation of equilibria in finite games"; the
    payoffs are those of Gambit's file 2x2x2.nfg.

    >>> import vsg_ppl as vsg
    >>> [float(r[0, 0, 0, 1, 1, 0]) for r in vsg.tabulate(ThreeAgents()).rewards]
    [9.0, 8.0, 2.0]
    """

    agents: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    horizon: ClassVar[int] = 1

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """All three choose at once."""
        actions = tuple(act(agent, dist.Categorical(EITHER)) for agent in self.agents)
        for agent, payoff in zip(self.agents, PAYOFF, strict=True):
            optimality(agent, payoff[actions])
        return state
