"""The Z of Eq. 6 exactly, by dynamic programming over trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.table import Table
from vsg_ppl.trajectory_sums import (
    Reference,
    at_time,
    check_reference,
    log_count,
    log_sum,
    log_weights,
    positive,
    read_marginal,
    timed_reward,
)


def exact_log_partition(
    table: Table,
    agent: str,
    others: Mapping[str, Any],
    reward: Tensor,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    steps: int | None = None,
) -> Tensor:
    """log Z of Eq. 6 exactly: the sum over all trajectories, backward in time and in log space.

    Its gradient is the expected number of discounted visits under p_ψ, over τ.

    Args:
        table: of one game.
        agent: whose reward it is.
        others: policies of all others; the agent's own, if there, is not used. For "printed" all
            that counts is what they play at all.
        reward: r_ψ, (S, A_1|1, ..., A_N|1), or with the times in front, (H|1, S, ...).
        temperature: τ > 0, in units of reward.
        reference: what chance and the others count, "printed" or "game".
        steps: T; by default the horizon.

    Returns:
        A scalar, differentiable in the reward.

    Raises:
        GameError: what does not fit the game, or neither steps nor a horizon.

    >>> import vsg_ppl as vsg
    >>> sure, lottery = [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]  # the second action leads to 0 or to 1
    >>> moves = torch.tensor([[sure, lottery]] * 3)
    >>> start = torch.tensor([0.0, 0.0, 1.0])
    >>> table = vsg.from_arrays(torch.zeros(1, 3, 2), moves, horizon=2, initial=start)
    >>> reward = torch.zeros(3, 2, dtype=torch.float64)
    >>> log_z = exact_log_partition(table, "agent1", {}, reward)
    >>> round(log_z.exp().item(), 6)  # half of it for sure; the lottery counts twice
    1.5
    >>> log_z = exact_log_partition(table, "agent1", {}, reward, reference="game")
    >>> round(log_z.exp().item(), 6)
    1.0
    """
    check_reference(reference)
    timed, number = timed_reward(table, reward), table.number(agent)
    length = table.horizon if steps is None else steps
    if length is None:
        raise GameError(f"{table.name} never ends", hint="steps=10: trajectories are cut there.")
    if length < 1 or (table.horizon is not None and length > table.horizon):
        raise GameError(f"{length} steps are asked for, and the horizon is {table.horizon}")
    laws = read_marginal(table, {**others, agent: table.log_priors[number].exp()})
    base = log_weights(table, laws, number, reference)
    times = 1 if table.successors is None else len(table.successors)
    moves = [_moves(table, t, reference) for t in range(max(times, table.probabilities.shape[1]))]
    ahead: Tensor | None = None
    for t in reversed(range(length)):
        scores = at_time(timed, t) * (table.discount**t / positive(temperature))
        for i, law in enumerate(base):
            row = at_time(law[0], t)
            scores = scores + row.reshape(len(row), *[1] * i, -1, *[1] * (len(base) - 1 - i))
        if ahead is not None:
            following = ahead
            if table.successors is not None:
                following = ahead[at_time(table.successors, t)]
            scores = scores + log_sum(moves[t if len(moves) > 1 else 0] + following)
        ahead = log_sum(scores.flatten(1))
    assert ahead is not None
    return log_sum(log_count(table.initial[0], reference) + ahead)


def _moves(table: Table, t: int, reference: Reference) -> Tensor:
    """What each successor counts at time t, in logs, (S, A_1|1, ..., A_N|1, K)."""
    probabilities = at_time(table.probabilities[0], t)
    log_chance = log_count(probabilities, reference)
    if table.successors is None or reference == "game":
        return log_chance
    # a state that is listed several times is one next state: its entries share its count
    numbers, possible = torch.broadcast_tensors(at_time(table.successors, t), probabilities > 0)
    same = (numbers[..., :, None] == numbers[..., None, :]) & possible[..., None, :]
    shared: Tensor = log_chance - same.sum(-1).clamp_min(1).log()
    return shared
