"""What is read from a file must fit together: tables, and policies and crowds on them."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.reading import check_policy
from vsg_ppl.table import Table


def check_table(table: Table) -> None:
    """Raise `GameError` unless the tensors fit each other."""
    n, count, times = len(table.states), len(table.agents), table.horizon or 1
    joint = table.sizes
    if not (count == len(joint) == len(table.log_priors) == len(table.rewards)):
        raise GameError("there are not as many actions, priors and rewards as agents")
    k = table.probabilities.shape[-1]
    if table.successors is None and k != n:
        raise GameError(f"{k} probabilities stand for {n} next states")
    batch = table.batch if table.batched else 1
    for agent, actions, prior, reward in zip(
        table.agents, table.actions, table.log_priors, table.rewards, strict=True
    ):
        if [len(labels) for labels in actions.labels] != list(actions.sizes):
            raise GameError(f"the actions of '{agent}' have other names than there are actions")
        _fits(f"the prior of '{agent}'", prior, (batch, times), (n, actions.size))
        _fits(f"the reward of '{agent}'", reward, (batch, times), (n,), joint)
        if not torch.isfinite(reward).all() or prior.isnan().any() or (prior > 1e-9).any():
            raise GameError(f"the rewards or priors of '{agent}' are not numbers they can be")
    _fits("the law of the next state", table.probabilities, (batch, times), (n,), joint, (k,))
    _fits("the initial law", table.initial, (batch,), (n,))
    for law in (table.probabilities, table.initial):
        total = law.sum(-1)
        if (law < 0).any() or not (total <= 1 + 1e-6).all():
            raise GameError("a law has negative probabilities, or they sum to more than 1")
    if table.successors is not None:
        _fits("the next states", table.successors, (times,), (n,), joint, (k,), of=torch.long)
        if (table.successors < 0).any() or (table.successors >= n).any():
            raise GameError(f"a next state is not among the {n}")
    if table.reachable is not None:
        _fits("what is reachable", table.reachable, (), (times, n), of=torch.bool)
    if table.acting is not None:
        _fits("who acts when", table.acting, (times,), (count,), of=torch.bool)


def check_results(table: Table, tree: dict[str, Any]) -> None:
    """Raise `GameError` unless policies, values, answers and the crowd are of this table."""
    batch = (table.batch,) if table.batched else ()
    times = () if table.horizon is None else (table.horizon,)
    n = len(table.states)
    for what in ("policies", "values"):
        if list(tree[what]) != list(table.agents):
            raise GameError(f"the {what} are those of {', '.join(tree[what])}")
    for agent, size in zip(table.agents, table.sizes, strict=True):
        policy = tree["policies"][agent]
        _fits(f"the policy of '{agent}'", policy, (), (*batch, *times, n, size))
        check_policy(table, agent, policy)
        _fits(f"the values of '{agent}'", tree["values"][agent], (), (*batch, *times, n))
    for agent, answer in tree["answers"].items():
        table.number(agent)
        _fits(f"the answers of '{agent}'", answer, (), (*batch, *times, n, *table.sizes))
    if (tree["concept"] == "mean_field") != (tree.get("crowd") is not None):
        raise GameError(f"a crowd belongs to mean-field games, and this is {tree['concept']}")
    if tree["concept"] == "mean_field":
        _check_crowd(table, tree)


def _check_crowd(table: Table, tree: dict[str, Any]) -> None:
    """Raise `GameError` unless the crowd is a law, and acts by the policy."""
    if table.batched or len(table.agents) != 1:
        raise GameError("a crowd is that of one game with one agent")
    agent, crowd, certificate = table.agents[0], tree["crowd"], tree["certificate"]
    policy = tree["policies"][agent]
    _fits("the crowd", crowd, (), tuple(policy.shape))
    if not (crowd >= 0).all() or not ((crowd.sum((-2, -1)) - 1).abs() <= 1e-6).all():
        raise GameError("the shares of the crowd are negative, or do not sum to 1")
    if not ((crowd - crowd.sum(-1, keepdim=True) * policy).abs() <= 1e-6).all():
        raise GameError(f"the crowd does not act by the policy of '{agent}'")
    for key, number in certificate.items():
        if not (isinstance(number, float) and isfinite(number)):
            if key != "regularised" or number is not None:
                raise GameError(f"the certificate's {key} is {number!r}, not a number")


def _fits(
    what: str,
    x: Tensor,
    loose: tuple[int, ...],
    exact: tuple[int, ...],
    joint: tuple[int, ...] = (),
    last: tuple[int, ...] = (),
    of: torch.dtype = torch.float64,
) -> None:
    """Raise `GameError` unless x is (loose|1, exact, joint|1, last)."""
    wanted = (*loose, *exact, *joint, *last)
    free = [*range(len(loose)), *range(len(loose) + len(exact), len(wanted) - len(last))]
    shape = tuple(x.shape)
    fits = len(shape) == len(wanted) and all(
        size == full or (size == 1 and d in free)
        for d, (size, full) in enumerate(zip(shape, wanted, strict=True))
    )
    if not fits or x.dtype != of:
        raise GameError(f"{what} has shape {shape} and {x.dtype}; expected {wanted} and {of}")
