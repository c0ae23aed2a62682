"""Firms store material and make a good whose price their supply decides: a mean-field game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


@dataclass(frozen=True)
class EquilibriumPrice:
    """Firms make a good of a material that they store, and sell it at the price that clears.

    The state is a firm's stock s of material, 0 to ``store``, any of these at first. It makes q,
    0 to ``most_made``, and orders h, 0 to ``most_ordered``: its next stock is s − min(q, s) + h, or
    ``store`` if that is less. The price is (``demand`` / (mean of the crowd's q + ``others``)) to
    the power 1 / ``elasticity``. A step pays (price − ``cost_made``) q − ``cost_squared`` q²
    − ``cost_ordered`` h − (``cost_ordered`` + ``cost_lacking``) max(q − s, 0) − ``cost_stored`` s.

    Equilibria: nobody's movements depend on the crowd, and the price falls with the supply, so the
    game is monotone (Lasry and Lions): all equilibria have the same prices. By default no price
    pays for the costs: no firm orders, each makes one a step to be rid of its stock, and the prices
    are 4/7, 2/3, 4/5, 1 and 1.

    Source: X. Guo, A. Hu and J. Zhang, 2022, "MF-OMO: an optimization formulation of mean-field
    games".

    Attributes:
        horizon: number of decisions.
        store: the greatest stock.
        most_made: the most that a firm can make in a step.
        most_ordered: the most that it can order in a step.
        demand: for the good, at price 1.
        others: supply of the good from elsewhere.
        elasticity: of the demand.
        cost_made: of making one.
        cost_squared: of the square of what is made.
        cost_ordered: of ordering one unit of material.
        cost_lacking: of a unit that is made without stock, besides the order's.
        cost_stored: of a unit in stock.

    >>> import vsg_ppl as vsg
    >>> table = vsg.mean_field_table(EquilibriumPrice())
    >>> table.actions.names()[:4]
    ['0,0', '0,1', '0,2', '1,0']
    >>> even = torch.full((5, 4, 9), 1 / 36).double()  # a mean of 1 made: the price is 1/2
    >>> table.kernel(even).rewards[0, 1, 3:6]
    tensor([-2.5000, -3.5000, -4.5000], dtype=torch.float64)
    """

    agents: ClassVar[tuple[str, ...]] = ("firm",)
    horizon: int = 5
    store: int = 3
    most_made: int = 2
    most_ordered: int = 2
    demand: float = 1.0
    others: float = 1.0
    elasticity: float = 1.0
    cost_made: float = 1.0
    cost_squared: float = 1.0
    cost_ordered: float = 1.0
    cost_lacking: float = 1.0
    cost_stored: float = 1.0

    def __post_init__(self) -> None:
        for name in ("store", "most_made", "most_ordered"):
            if not getattr(self, name) >= 0:
                raise GameError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("demand", "others", "elasticity"):
            if not getattr(self, name) > 0:
                raise GameError(f"{name} is {getattr(self, name):g}; it must be greater than 0")

    def initial(self) -> Tensor:
        """Any stock."""
        return pyro.sample("stock", dist.Categorical(torch.ones(self.store + 1).double()))

    def step(self, stock: Tensor, crowd: Crowd) -> Tensor:
        """Make some and order some."""
        made, ordered = (
            act("firm", dist.Categorical(torch.ones(most + 1).double()), name=name)
            for name, most in (("produce", self.most_made), ("order", self.most_ordered))
        )
        supply = crowd.mean(lambda stock, moves: moves["produce"]) + self.others
        price = (self.demand / supply) ** (1 / self.elasticity)
        q, h, lacking = made.double(), ordered.double(), (made - stock).clamp_min(0).double()
        optimality("firm", (price - self.cost_made) * q - self.cost_squared * q**2, name="sales")
        optimality("firm", -self.cost_ordered * (h + lacking), name="orders")
        optimality("firm", -self.cost_lacking * lacking, name="rush")
        optimality("firm", -self.cost_stored * stock.double(), name="storage")
        return ((stock - made).clamp_min(0) + ordered).clamp_max(self.store)
