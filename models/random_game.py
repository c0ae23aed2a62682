"""Random stochastic games, for tests and measurements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.models.arrays import ArrayGame


@dataclass(frozen=True)
class RandomGame:
    """A dense random game: every state can follow every other.

    Rewards are uniform in [0, 1], each row of transition probabilities is uniform on the simplex,
    the first state is uniform. All are drawn once from ``seed`` by a generator of their own: the
    same parameters are the same game, whatever else draws random numbers.

    Equilibria: at least one stationary one (A. M. Fink, 1964), and generically an odd number.

    Source: the usual test bed of numerical studies, such as P. J. J. Herings and R. J. A. P.
    Peeters, 2004, "Stationary equilibria in stochastic games: structure, selection, and
    computation".

    Attributes:
        states: number of states.
        n_agents: number of agents.
        actions: number of actions of each agent in each state.
        seed: of the generator.
        discount: γ, per step.

    >>> import vsg_ppl as vsg
    >>> table = vsg.tabulate(RandomGame(states=4, n_agents=2, actions=3))
    >>> tuple(table.rewards[0].shape)
    (1, 1, 4, 3, 3)
    """

    states: int = 4
    n_agents: int = 2
    actions: int = 3
    seed: int = 0
    discount: float = 0.9

    def __post_init__(self) -> None:
        if min(self.states, self.n_agents, self.actions) < 1:
            raise GameError(
                f"{self.states} states, {self.n_agents} agents and {self.actions} actions; at "
                "least one of each"
            )

    @cached_property
    def arrays(self) -> ArrayGame:
        """The game as arrays."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.states, *[self.actions] * self.n_agents)
        rewards = torch.rand(self.n_agents, *shape, dtype=torch.float64, generator=generator)
        # Exponential variables over their sum are uniform on the simplex.
        weights = torch.empty(*shape, self.states, dtype=torch.float64)
        weights.exponential_(generator=generator)
        transitions = weights / weights.sum(-1, keepdim=True)
        return ArrayGame(rewards, transitions, discount=self.discount)

    @property
    def agents(self) -> tuple[str, ...]:
        """Their names, ``agent1`` and so on."""
        return tuple(f"agent{i + 1}" for i in range(self.n_agents))

    def initial(self) -> Tensor:
        """Any state."""
        return self.arrays.initial()

    def step(self, state: Tensor) -> Tensor:
        """All choose at once; the next state is drawn."""
        return self.arrays.step(state)
