"""Sums over plays, and what they are read from: shared by all that is of Eq. 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.reading import read_policies
from vsg_ppl.simulate import Plays
from vsg_ppl.table import Table

Reference = Literal["printed", "game"]
"""What chance and the others count in the density of a trajectory; see `trajectory_objective`."""


def timed_reward(table: Table, reward: Tensor) -> Tensor:
    """The reward with its times in front, (H|1, S, A_1|1, ..., A_N|1), float64."""
    if table.batched:
        raise GameError(f"plays are of one game, and this table holds {table.batch}")
    sizes, n = table.sizes, len(table.states)
    timed = reward[None] if reward.ndim == 1 + len(sizes) else reward
    fits = (
        timed.ndim == 2 + len(sizes)
        and timed.shape[0] in (1, table.horizon)
        and timed.shape[1] == n
        and all(a in (1, size) for a, size in zip(timed.shape[2:], sizes, strict=True))
    )
    if not fits:
        raise GameError(
            f"the reward has shape {tuple(reward.shape)}; expected {(n, *sizes)}, where an agent's "
            "dimension may be 1, or the horizon or 1 in front"
        )
    return timed.double()


def places(table: Table, plays: Plays, x: Tensor) -> tuple[Tensor, ...]:
    """The index, (n, T) each, at which plays find (H|1, S, A_1|1, ..., A_N|1) entries."""
    times = torch.arange(plays.states.shape[1], device=plays.states.device)
    index = [times.expand_as(plays.states), plays.states]
    index += [plays.actions[agent] for agent in table.agents]
    return tuple(
        at if size > 1 else torch.zeros_like(at) for at, size in zip(index, x.shape, strict=True)
    )


def discounts(table: Table, plays: Plays) -> Tensor:
    """γ^t, (T,)."""
    steps = torch.arange(plays.states.shape[1], device=table.device, dtype=torch.float64)
    return table.discount**steps


def returns(table: Table, plays: Plays, reward: Tensor) -> Tensor:
    """Σ_t γ^t r of each play, (n,)."""
    found: Tensor = reward[places(table, plays, reward)]
    return found @ discounts(table, plays)


def visits(table: Table, plays: Plays, reward: Tensor, weights: Tensor) -> Tensor:
    """Σ_k weight_k Σ_t γ^t over the entries that play k visits, in the reward's shape."""
    amounts = weights[:, None] * discounts(table, plays)
    where = places(table, plays, reward)
    return torch.zeros_like(reward).index_put(where, amounts, accumulate=True)


def own_sum(table: Table, plays: Plays, i: int, log_policy: Tensor) -> Tensor:
    """Σ_t of (1, H|1, S, A_i) entries at agent i's actions, (n,)."""
    log = log_policy[0]
    times = torch.arange(plays.states.shape[1], device=plays.states.device)
    times = times if len(log) > 1 else torch.zeros_like(times)
    found: Tensor = log[times, plays.states, plays.actions[table.agents[i]]]
    return found.sum(-1)


def entries_at(x: Tensor, t: int, states: Tensor, chosen: list[Tensor]) -> Tensor:
    """(H|1, S, A_1|1, ..., A_N|1, K) at n states and joint actions at time t, (n, K)."""
    now = at_time(x, t)
    index = [a if now.shape[1 + i] > 1 else torch.zeros_like(a) for i, a in enumerate(chosen)]
    found: Tensor = now[(states, *index)]
    return found


def at_time(x: Tensor, t: int) -> Tensor:
    """The slice at time t of a tensor with all times or one."""
    return x[t if len(x) > 1 else 0]


def log_sum(x: Tensor) -> Tensor:
    """logsumexp over the last dimension; −inf without a NaN gradient where nothing is possible."""
    possible = (x > -torch.inf).any(-1)
    total = torch.where(possible[..., None], x, 0.0).logsumexp(-1)
    return torch.where(possible, total, -torch.inf)


def log_weights(table: Table, law: list[Tensor], number: int, reference: Reference) -> list[Tensor]:
    """What each agent's actions count in b, in logs."""
    weights = [log_count(policy, reference) for policy in law]
    weights[number] = table.log_priors[number]
    return weights


def log_count(p: Tensor, reference: Reference) -> Tensor:
    """What chance or another agent counts: log p, or 0 for whatever is possible."""
    return torch.log(p if reference == "game" else (p > 0).to(p.dtype))


def read_marginal(table: Table, policies: Mapping[str, Any]) -> list[Tensor]:
    """All agents' policies, (1, H|1, S, A_i), without gradients."""
    with torch.no_grad():
        tables = [policy.to(table.device) for policy in read_policies(table, policies)]
    for agent, policy in zip(table.agents, tables, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="its average over the opponent model.",
            )
    return tables


def positive(temperature: float) -> float:
    """The temperature, if it is one; else raise `GameError`."""
    if not temperature > 0:
        raise GameError(f"the temperature is {temperature:g}; it must be positive")
    return temperature


def check_reference(reference: str) -> None:
    """Raise `GameError` unless it is a `Reference`."""
    if reference not in ("printed", "game"):
        raise GameError(f"reference '{reference}'", hint="one of printed, game.")


def check_plays(table: Table, agent: str, plays: Plays) -> None:
    """Raise `GameError` unless the plays are of this game, and the agent's actions available."""
    number, other = table.number(agent), plays.table
    same = (table.agents, table.sizes, table.horizon, len(table.states)) == (
        other.agents,
        other.sizes,
        other.horizon,
        len(other.states),
    )
    if not same:
        raise GameError(f"the plays are of another game than {table.name}: {other.name}")
    if min(int(actions.min()) for actions in plays.actions.values()) < 0:
        raise GameError("trajectories need every agent's action, and some were not seen")
    bad = own_sum(table, plays, number, table.log_priors[number]) == -torch.inf
    if bad.any():
        raise GameError(
            f"in play {int(bad.nonzero()[0])} '{agent}' does what its prior says is not available"
        )
