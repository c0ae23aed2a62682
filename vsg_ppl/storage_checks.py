"""What is read from a file must fit together: tables, and what is said of agents on them."""

from __future__ import annotations

from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.reading import check_policy
from vsg_ppl.table import Table, check_simplex

METHODS = ("laplace", "map", "svi", "nuts")
"""Of inference."""

CONCEPTS = ("nash", "correlated", "mean_field")
"""Of equilibrium."""

STATUSES = ("solved", "not converged", "interrupted")
"""Of what is inferred."""


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
    if bool(table.signals) != (table.signal_law is not None):
        raise GameError("there are signals without a law, or a law without signals")
    if table.signal_law is not None:
        omega = prod(size for _, size in table.signals)
        if omega < 1 or n % omega:
            raise GameError(f"{n} states are not those of some with {omega} values of the signals")
        _fits("the law of the signals", table.signal_law, (times,), (n // omega, omega))
        check_simplex(table.signal_law, "the probabilities of the signals")


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
    if tree["concept"] not in CONCEPTS:
        raise GameError(f"the concept is {tree['concept']!r}, not one of {', '.join(CONCEPTS)}")
    if (tree["concept"] == "mean_field") != (tree.get("crowd") is not None):
        raise GameError(f"a crowd belongs to mean-field games, and this is {tree['concept']}")
    if tree["concept"] == "mean_field":
        _check_crowd(table, tree)
    if (tree["concept"] == "correlated") != (tree.get("signal") is not None):
        raise GameError(f"a law of signals belongs to correlated equilibria, not {tree['concept']}")
    if tree["concept"] == "correlated":
        _check_signal(table, tree)


def check_inference(table: Table, tree: dict[str, Any]) -> None:
    """Raise `GameError` unless policies, rewards, draws and counts are of this table."""
    if table.batched:
        raise GameError("what is inferred is of one game, and the table holds a batch")
    if not tree["agents"] or len(set(tree["agents"])) < len(tree["agents"]):
        raise GameError(f"the agents explained are {tree['agents']!r}")
    for what, known in (("method", METHODS), ("status", STATUSES)):
        if tree[what] not in known:
            raise GameError(f"the {what} is {tree[what]!r}, not one of {', '.join(known)}")
    for what in ("policies", "rewards", "temperatures", "policy_draws", "counts"):
        if list(tree[what]) != list(tree["agents"]):
            raise GameError(f"the {what.replace('_', ' ')} are those of {', '.join(tree[what])}")
    n, h = len(table.states), table.horizon or 1
    times = () if table.horizon is None else (h,)
    for agent in tree["agents"]:
        size = table.sizes[table.number(agent)]
        policy, drawn = tree["policies"][agent], tree["policy_draws"][agent]
        _fits(f"the policy of '{agent}'", policy, (), (*times, n, size))
        _fits(f"the policy draws of '{agent}'", drawn, (), (len(drawn), h, n, size))
        for laws in (policy, drawn):
            check_simplex(laws, f"the probabilities of the policy of '{agent}'")
        if not len(drawn):
            raise GameError(f"there are no draws of the policy of '{agent}'")
        reward, counts = tree["rewards"][agent], tree["counts"][agent]
        _fits(f"the reward of '{agent}'", reward, (h,), (n,), table.sizes)
        _fits(f"the counts of '{agent}'", counts, (), (h, n, size))
        if not torch.isfinite(reward).all():
            raise GameError(f"the rewards of '{agent}' are not finite")
        if not torch.isfinite(counts).all() or (counts < 0).any() or not counts.any():
            raise GameError(f"the counts of '{agent}' are not of actions that were seen")
        temperature = tree["temperatures"][agent]
        if not (_is_number(temperature) and temperature > 0):
            raise GameError(f"the temperature of '{agent}' is {temperature!r}, not positive")
    _check_draws(tree["posterior"])
    if not isinstance(tree["log_evidence"], float):
        raise GameError(f"the log evidence is {tree['log_evidence']!r}, not a number")
    if not isinstance(tree["diagnostics"], dict):
        raise GameError(f"the diagnostics are {tree['diagnostics']!r}, not by name")


def _check_draws(posterior: dict[str, Tensor]) -> None:
    """Raise `GameError` unless there are as many finite draws of every unknown."""
    counts = {len(draws) for draws in posterior.values()}
    if len(counts) > 1 or 0 in counts:
        raise GameError("there are not as many draws of every unknown, or none")
    for site, draws in posterior.items():
        if not draws.is_floating_point() or not torch.isfinite(draws).all():
            raise GameError(f"the draws of '{site}' are not finite numbers")


def _is_number(x: Any) -> bool:
    return isinstance(x, float) and isfinite(x)


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
        if not _is_number(number):
            if key != "regularised" or number is not None:
                raise GameError(f"the certificate's {key} is {number!r}, not a number")


def _check_signal(table: Table, tree: dict[str, Any]) -> None:
    """Raise `GameError` unless the law of the signal is that of the table."""
    signal, law, certificate = tree["signal"], table.signal_law, tree["certificate"]
    if table.batched or law is None:
        raise GameError("a correlated equilibrium is that of one game with a public signal")
    shape = (len(law[0]), law.shape[-1])
    _fits("the signal", signal, (), shape if table.horizon is None else (table.horizon, *shape))
    if not ((signal - (law[0] if table.horizon is None else law)).abs() <= 1e-9).all():
        raise GameError("the law of the signal is not that of the game")
    for key, number in certificate.items():
        several = number.values() if isinstance(number, dict) else [number]
        if not all(_is_number(x) for x in several if key != "best_welfare" or x is not None):
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
