"""A game as that of one agent who chooses for all."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from torch import Tensor

from vsg_ppl.table import Actions, Table


def as_one(table: Table, reward: Tensor | None = None) -> Table:
    """The table of one agent, "everyone", whose actions are the joint actions, in their order.

    Args:
        table: the game.
        reward: what everyone is paid, (B|1, H|1, S, A_1|1, ..., A_N|1); nothing by default.

    >>> from vsg_ppl.models import Chicken
    >>> from vsg_ppl.tabulate import tabulate
    >>> as_one(tabulate(Chicken())).sizes
    (4,)
    """
    size, sizes, n = prod(table.sizes), table.sizes, len(table.agents)
    wide = (*table.probabilities.shape[:3], *sizes, table.probabilities.shape[-1])
    successors = table.successors
    if successors is not None:
        full = (*successors.shape[:2], *sizes, successors.shape[-1])
        successors = successors.expand(full).flatten(2, -2)
    reward = (
        table.initial.new_zeros(1, 1, len(table.states), *[1] * n) if reward is None else reward
    )
    prior = table.initial.new_zeros(())
    for i, own in enumerate(table.log_priors):
        prior = prior + own.reshape(*own.shape[:3], *[1] * i, -1, *[1] * (n - i - 1))
    return replace(
        table,
        agents=("everyone",),
        actions=(Actions(("everyone",), (size,), (tuple(map(str, range(size))),)),),
        log_priors=(prior.flatten(3),),
        rewards=(reward.expand(*reward.shape[:3], *sizes).flatten(3),),
        probabilities=table.probabilities.expand(wide).flatten(3, -2),
        successors=successors,
        acting=None,
    )
