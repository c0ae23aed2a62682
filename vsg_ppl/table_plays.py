"""What the table of a finite game says of single plays: actions, and where play is over."""

from __future__ import annotations

import torch
from torch import Tensor

from vsg_ppl.action_spaces import ActionSpace, Choice
from vsg_ppl.errors import GameError
from vsg_ppl.facing import Facing
from vsg_ppl.game import Game, Limited
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

TABLE_BYTES = 2.0**28
"""The largest table to make."""


def table_of_plays(game: Game, max_steps: int) -> Table | None:
    """The table of a finite game, as far as plays of so many steps go, if it is not too large."""
    if horizon_of(game) is None and not isinstance(game, Facing):
        # a step more than is played, which tells what follows the last state
        game = Limited(game, max_steps + 2)
    try:
        return tabulate(game, max_bytes=TABLE_BYTES)
    except GameError:
        return None


def actions_of(table: Table) -> dict[str, ActionSpace]:
    """The action space of each agent."""
    return {
        agent: ActionSpace(
            agent,
            [
                Choice(name, size, labels=labels)
                for name, size, labels in zip(
                    actions.sites, actions.sizes, actions.labels, strict=True
                )
            ],
        )
        for agent, actions in zip(table.agents, table.actions, strict=True)
    }


def ends(table: Table) -> set[tuple[int, ...]]:
    """The states where play is over: whatever the agents do, it stays there and pays nothing.

    Returns:
        The integers of each such state, without signals.

    >>> from vsg_ppl.models import Soccer
    >>> ends(tabulate(Soccer(rows=2, columns=3)))  # the ball is out of play
    {(0, 0, 2)}
    """
    count = len(table.states)
    signals = 1
    for _, size in table.signals:
        signals *= size
    home = torch.arange(count) // signals  # of the state alone; signals count fastest
    allowed: Tensor = torch.ones((1, count) + (1,) * len(table.agents), dtype=torch.bool)
    for i, log_prior in enumerate(table.log_priors):
        shape = [*log_prior.shape[1:3]] + [1] * len(table.agents)
        shape[2 + i] = log_prior.shape[3]
        allowed = allowed & (log_prior[0].cpu() > -torch.inf).reshape(shape)
    law = table.probabilities[0].cpu()
    where = torch.arange(count) if table.successors is None else table.successors.cpu()
    here = home.reshape((1, count) + (1,) * (law.ndim - 2))
    back = (law * (home[where] == here)).sum(-1) > 1 - 1e-9
    over = back | ~allowed
    for reward in table.rewards:
        over = over & ((reward[0].cpu() == 0) | ~allowed)
    flat = over.reshape(*over.shape[:2], -1).all(-1)
    if table.reachable is not None and len(flat) == len(table.reachable):
        flat = flat | ~table.reachable.cpu()
    ended = flat.all(0).reshape(-1, signals).all(-1)
    parts = table.states.values.cpu()[:, : table.states.values.shape[1] - len(table.signals)]
    return {tuple(row) for row in parts[::signals][ended].tolist()}
