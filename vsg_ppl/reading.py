"""Read policies as tables: whatever a person passes becomes log π over all times and states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import call, takes
from vsg_ppl.handlers.enumerate import EnumerateMessenger, enumerate_sites
from vsg_ppl.table import Table, check_simplex


def read_policies(table: Table, policies: Mapping[str, Any]) -> list[Tensor]:
    """Probabilities of every agent's policy, in the table's order, (B|1, H|1, S, A_i).

    Args:
        table: the game's table.
        policies: for each agent a tensor or a policy program. All agents must be there.

    Raises:
        GameError: an agent is missing or unknown, or a policy does not fit the game.
    """
    for agent in policies:
        table.number(agent)
    missing = [agent for agent in table.agents if agent not in policies]
    if missing:
        raise GameError(f"no policy is given for '{missing[0]}'")
    return [
        check_policy(table, agent, policies[agent])
        if isinstance(policies[agent], Tensor)
        else _played(table, agent, log_probabilities(table, agent, policies[agent]).exp())
        for agent in table.agents
    ]


def check_policy(table: Table, agent: str, policy: Tensor) -> Tensor:
    """A table of probabilities as (B|1, H|1, S, A); raises `GameError` unless it fits the game."""
    number = table.number(agent)
    n, size = len(table.states), table.sizes[number]
    policy = torch.as_tensor(policy, dtype=torch.float64, device=table.device)
    times = (1, table.horizon) if table.horizon is not None else (1,)
    shape = tuple(policy.shape)
    wanted = f"({n}, {size})"
    if table.horizon is not None:
        wanted += f" or ({table.horizon}, {n}, {size})"
    if table.batched:
        wanted += f", or {table.batch} of them"
    if policy.ndim == 2:
        policy = policy[None, None]
    elif policy.ndim == 3:
        if table.horizon is not None and not (table.batched and len(policy) == table.batch):
            policy = policy[None]
        else:
            policy = policy[:, None]
    fits = (
        policy.ndim == 4
        and policy.shape[2:] == (n, size)
        and policy.shape[1] in times
        and len(policy) in (1, table.batch)
    )
    if not fits:
        raise GameError(
            f"the policy of '{agent}' has shape {shape}; expected {wanted}: a probability for each "
            "state and action",
            hint="the `game` of the solution that they come from, if they answer a public signal."
            if not table.signals and len(shape) > 1 and n and shape[-2] % n == 0 and shape[-2] > n
            else None,
        )

    def where(place: tuple[int, ...]) -> str:
        time = f" at time {place[1]}" if policy.shape[1] > 1 else ""
        return f"in state {table.states[place[2]]}{time}"

    check_simplex(policy, f"the probabilities of the policy of '{agent}'", where)
    # given in float32, they sum to one within 1e-7 only
    policy = _sitting_out(table, number, policy / policy.sum(-1, keepdim=True), 0.0, 1.0)
    return _played(table, agent, policy)


def _played(table: Table, agent: str, policy: Tensor) -> Tensor:
    """The policy, if it plays available actions only."""
    number = table.number(agent)
    if policy.ndim > 4:  # conditional
        return policy
    unavailable = (table.log_priors[number] == -torch.inf) & (policy > 0)
    if unavailable.any():
        state, action = unavailable.nonzero()[0, -2:].tolist()
        raise GameError(
            f"the policy of '{agent}' plays {table.actions[number].names()[action]} in state "
            f"{table.states[state]}, where its prior says it is not available"
        )
    return policy


def log_probabilities(table: Table, agent: str, policy: Any) -> Tensor:
    """log π of a policy program, (1, H|1, S, A_i), or (1, H|1, S, A_1, ..., A_N) if conditional.

    A library policy of this table gives its own; any other program is run once over all states,
    times and, if it looks at them, actions of the others.
    """
    if isinstance(policy, Tensor):
        return check_policy(table, agent, policy).log()
    number = table.number(agent)
    check_callable(agent, policy)
    if hasattr(policy, "log_table"):
        log = _library(table, number, policy)
    else:
        log = _run(table, number, policy)
    return _sitting_out(table, number, log, -torch.inf, 0.0)


def check_callable(agent: str, policy: Any) -> None:
    """Raise `GameError` for what is neither a tensor nor a program."""
    if not callable(policy) and not isinstance(policy, Tensor):
        raise GameError(
            f"the policy of '{agent}' is a {type(policy).__name__}",
            hint="a torch.tensor of probabilities, or a program policy(state).",
        )


def _library(table: Table, number: int, policy: Any) -> Tensor:
    """The policy's own log π; where its rows are of more states or times, what it plays here."""
    agent = table.agents[number]
    if policy.agent != agent:
        raise GameError(f"the policy given for '{agent}' is one of '{policy.agent}'")
    log: Tensor = policy.log_table()
    mine, others = table.states.values, policy.states.values
    same = mine is others or (mine.shape == others.shape and bool((mine == others).all()))
    if same and len(log) in (1, table.horizon):
        return log[None]
    try:
        return _run(table, number, policy)
    except GameError as error:
        raise GameError(f"the policy of '{agent}' does not fit {table.name}: {error}") from error


def _sitting_out(table: Table, number: int, x: Tensor, never: float, always: float) -> Tensor:
    """A policy that takes the first action wherever its agent does not act."""
    if table.acting is None or bool(table.acting[:, number].all()):
        return x
    own = 3 if x.ndim == 4 else 3 + number
    first = torch.full_like(x[:1, :1, :1], never)
    first.select(own, 0).fill_(always)
    acts = table.acting[:, number].reshape(1, -1, *[1] * (x.ndim - 2))
    return torch.where(acts, x, first)


def _run(table: Table, number: int, policy: Any) -> Tensor:
    """log π of a program that is run once over all states and times."""
    seen = [k for k in range(len(table.agents)) if k != number] if takes(policy, "seen") else []
    given: dict[str, Tensor] = {}
    reserved = 2
    places: dict[int, list[int]] = {}
    for k in seen:
        actions = table.actions[k]
        places[k] = []
        for site, size in zip(actions.sites, actions.sizes, strict=True):
            reserved += 1
            given[site] = torch.arange(size, device=table.device).reshape(-1, *[1] * (reserved - 1))
            places[k].append(-reserved)
    times = torch.arange(table.horizon or 1, device=table.device)[:, None]
    state = table.states.tensors()
    agent = table.agents[number]
    with telling(f"the policy of '{agent}'"), enumerate_sites(reserved) as sites:
        call(policy, state, t=times, seen=given)
    return _joint(table, number, sites, places)


def _joint(
    table: Table, number: int, sites: EnumerateMessenger, places: dict[int, list[int]]
) -> Tensor:
    """The product over the agent's sites, as (1, H|1, S, ...)."""
    own: list[int] = []
    joint = torch.ones((), dtype=torch.float64, device=table.device)
    for site in table.actions[number].sites:
        if site not in sites.sites:
            raise GameError(
                f"the policy of '{table.agents[number]}' does not sample this action",
                site=site,
                hint=f"add pyro.sample('{site}', ...) to the policy.",
            )
        found = sites.sites[site]
        if found.size != table.actions[number].sizes[len(own)]:
            raise GameError(
                f"the policy of '{table.agents[number]}' has {found.size} actions, the game "
                f"{table.actions[number].sizes[len(own)]}",
                site=site,
            )
        joint = joint * found.probabilities
        own.append(found.dim)
    more = [site for site in sites.sites if site not in table.actions[number].sites]
    if more:
        raise GameError(
            f"the policy of '{table.agents[number]}' draws more than its own actions",
            site=more[0],
            hint="a policy samples its agent's action sites and nothing else.",
        )
    dims = sites.dims
    joint = joint.reshape((1,) * (dims - joint.ndim) + tuple(joint.shape))
    order = [dims - 2, dims - 1]
    shape = [joint.shape[-2], len(table.states)]
    groups = [own if k == number else places.get(k) for k in range(len(table.agents))]
    sizes = dict.fromkeys([dims - 2], joint.shape[-2]) | {dims - 1: len(table.states)}
    for k, group in enumerate(groups):
        if group is None:
            continue
        order += [dims + dim for dim in group]
        sizes |= dict(zip((dims + dim for dim in group), table.actions[k].sizes, strict=True))
        shape.append(table.sizes[k])
    joint = joint.permute(order).expand([sizes[d] for d in order])
    return joint.reshape(1, *shape).log()
