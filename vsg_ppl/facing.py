"""A mean-field game from the inside: one agent against a crowd that is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.game import call
from vsg_ppl.table import Table, check_simplex

if TYPE_CHECKING:
    from vsg_ppl.mean_field_table import MeanFieldTable


class Facing:
    """The game of one agent whose crowd does as it is told; made by `facing`.

    It is an ordinary game: `agent_model`, `agent_guide`, `best_response`, `certify` take it.

    Attributes:
        population: the mean-field game's table.
        crowd: L_t(s, a), (H, S, A), or (1, S, A) without a horizon.
    """

    def __init__(self, population: MeanFieldTable, crowd: Tensor) -> None:
        self.population, self.crowd = population, crowd
        game = population.game
        self.agents, self.initial = game.agents, game.initial
        self.horizon, self.discount = population.horizon, population.discount
        self.name = population.name
        self.step: Callable[..., Any] = self._timed
        if self.horizon is None:  # a step that takes the time needs a horizon
            self.step = self._always

    def table(self) -> Table:
        """The table, over the states of the mean-field game."""
        return self.population.at(self.crowd)

    def _timed(self, state: Any, t: Any) -> Any:
        now = self.crowd[t] if isinstance(t, Tensor) and t.ndim else self.crowd[[int(t)]]
        return self._step(state, now, t)

    def _always(self, state: Any) -> Any:
        return self._step(state, self.crowd, 0)

    def _step(self, state: Any, now: Tensor, t: Any) -> Any:
        crowd = Crowd(self.population.states, self.population.actions, now)
        return call(self.population.game.step, state, t=t, crowd=crowd)


def facing(game: Any, crowd: Tensor) -> Facing:
    """The game of one agent against a crowd that is given: a control problem, as in §5.2.

    Args:
        game: a mean-field game or its table.
        crowd: its law L_t(s, a), (H, S, A); without a horizon (S, A).

    Raises:
        GameError: the crowd is not a law over the states and actions of the game.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import BeachBar
    >>> even = torch.full((3, 4, 3), 1 / 12)
    >>> reply = vsg.best_response(facing(BeachBar(), even), "bather", temperature=0.1)
    >>> reply.policy.shape
    torch.Size([3, 4, 3])
    """
    from vsg_ppl.mean_field_table import MeanFieldTable, mean_field_table

    population = game if isinstance(game, MeanFieldTable) else mean_field_table(game)
    crowd = torch.as_tensor(crowd, dtype=torch.float64, device=population.device)
    wanted = (population.times, len(population.states), population.actions.size)
    given = crowd[None] if population.horizon is None and crowd.ndim == 2 else crowd
    if tuple(given.shape) != wanted:
        shown = wanted if population.horizon is not None else wanted[1:]
        raise GameError(
            f"the crowd has shape {tuple(crowd.shape)}; expected {shown}: a share for each "
            + ("time, " if population.horizon is not None else "")
            + "state and action"
        )
    check_simplex(given.flatten(1), "the shares of the crowd", lambda at: f"at time {at[0]}")
    return Facing(population, given / given.sum((1, 2), keepdim=True))
