"""The differential game: a wide basin and a narrow peak, climbed by agents of one number each."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality

REACH = 10.0


@dataclass(frozen=True)
class Differential:
    """All are paid the larger of two hills: f = max(f_1, f_2), at actions a_i in [−10, 10].

    f_1 = −0.8 Σ_i ((a_i − b_i) / w)² is wide and pays 0 at its top, b = −5, w = 3;
    f_2 = 10 − Σ_i (a_i − p_i)² is narrow and pays 10 at its top, p = 5. Who climbs alone ends on
    the wide hill: f_2 is the larger on a fifth of the square; on .11, .056 and .030 of the cube
    where agents choose 3, 4 and 5 numbers in all.

    Rewards may differ: the first is paid f, any other r_i = share · f − cost · |a_i|².

    Equilibria: the narrow top, best for all; the wide top, if nobody leaves it alone: if
    dims Σ_{j ≠ i} (p_j − b_j)² ≥ 10 for every i. A small cost moves all but the first towards 0:
    `tops` says where to.

    Source: E. Wei, D. Wicke, D. Freelan and S. Luke, 2018, "Multiagent soft Q-learning", after the
    max of two quadratics of L. Panait, S. Luke and R. P. Wiegand. Zhao and Zhang (Fig. 2a) print w
    inside the square, as here; the public code has (a − b)² / 3, which is ``width=3**0.5``. More
    agents, vectors and unequal rewards are this library's.

    Attributes:
        peak: p, where the narrow hill is; or p_i of each agent, as ``(5, -3)``.
        basin: b, where the wide hill is; or b_i of each.
        width: w.
        horizon: steps of an episode.
        n_agents: two are "first" and "second", more are ``agent1`` and so on.
        dims: numbers in an action; each of them has its square in the sums.
        share: of f that is paid to all but the first.
        cost: of the squares of their own actions, to all but the first.

    >>> import torch
    >>> Differential().reward(torch.tensor([5.0, -4.0]), torch.tensor([5.0, -5.0]))
    tensor([10.0000, -0.0889])
    """

    peak: float | tuple[float, ...] = 5.0
    basin: float | tuple[float, ...] = -5.0
    width: float = 3.0
    horizon: int = 25
    n_agents: int = 2
    dims: int = 1
    share: float = 1.0
    cost: float = 0.0

    def __post_init__(self) -> None:
        if self.n_agents < 2 or self.dims < 1:
            raise GameError(
                f"{self.n_agents} agents with {self.dims} numbers each; at least 2 agents with 1"
            )
        for name in ("width", "share"):
            if not getattr(self, name) > 0:
                raise GameError(f"the {name} is {getattr(self, name):g}; it must be positive")
        if not self.cost >= 0:
            raise GameError(f"the cost is {self.cost:g}; it must not be negative")
        for name in ("basin", "peak"):
            places = self._each(getattr(self, name))
            if len(places) != self.n_agents:
                raise GameError(
                    f"the {name} has {len(places)} numbers for {self.n_agents} agents",
                    hint="one for all, or one for each.",
                )
            if not all(abs(place) <= REACH for place in places):
                raise GameError(f"the {name} is {getattr(self, name)}, beyond ±{REACH:g}")

    @property
    def agents(self) -> tuple[str, ...]:
        """Their names."""
        if self.n_agents == 2:
            return ("first", "second")
        return tuple(f"agent{i + 1}" for i in range(self.n_agents))

    @property
    def tops(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The wide top and the narrow one: what each agent does where none climbs higher alone.

        Of steepness k, .8 / w² and 1, they lie at p_i or b_i for the first, and at
        share k p_i / (share k + cost) for the others.

        >>> Differential(share=0.5, cost=0.125).tops[1]
        (5.0, 4.0)
        """
        wide, narrow = (
            tuple(
                place if i == 0 else place * self.share * steep / (self.share * steep + self.cost)
                for i, place in enumerate(self._each(places))
            )
            for places, steep in ((self.basin, 0.8 / self.width**2), (self.peak, 1.0))
        )
        return wide, narrow

    def reward(self, *actions: Tensor) -> Tensor:
        """The larger hill f, which is what the first is paid.

        Args:
            actions: one of each agent, (...), or (..., dims) with several numbers in an action.
        """
        wide = self._away(actions, self.basin, self.width)
        return torch.maximum(-0.8 * wide, 10.0 - self._away(actions, self.peak))

    def rewards(self, *actions: Tensor) -> list[Tensor]:
        """What each agent is paid."""
        hill = self.reward(*actions)
        others = [self.share * hill - self.cost * self._total(a**2) for a in actions[1:]]
        return [hill, *others]

    def initial(self) -> Tensor:
        """The only state."""
        return torch.tensor(0)

    def step(self, state: Tensor) -> Tensor:
        """All choose a number, or a vector."""
        prior = dist.Uniform(-REACH, REACH)
        if self.dims > 1:
            prior = prior.expand([self.dims]).to_event(1)
        actions = [act(agent, prior) for agent in self.agents]
        for agent, reward in zip(self.agents, self.rewards(*actions), strict=True):
            optimality(agent, reward)
        return state

    def _each(self, places: float | tuple[float, ...]) -> tuple[float, ...]:
        """One place for each agent."""
        if isinstance(places, int | float):
            return (places,) * self.n_agents
        return tuple(places)

    def _away(
        self, actions: tuple[Tensor, ...], places: float | tuple[float, ...], unit: float = 1.0
    ) -> Tensor:
        """Squared distance of all actions from a place."""
        pairs = zip(actions, self._each(places), strict=True)
        squares = (self._total(((a - place) / unit) ** 2) for a, place in pairs)
        return sum(squares, torch.zeros(()))

    def _total(self, squares: Tensor) -> Tensor:
        """Over the numbers of an action."""
        return squares.sum(-1) if self.dims > 1 else squares
