"""Put the rounds of a tabulation together: one row for each state, one slice for each time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.layout import Outcomes
from vsg_ppl.states import States
from vsg_ppl.table import Actions, Table


@dataclass
class Piece:
    """A run of the step with its states and next states numbered; −1 is a state never reached."""

    rows: Tensor  # (n,)
    said: Outcomes
    successors: Tensor  # (n, Ω|1, A_1|1, ..., A_N|1, K)
    probabilities: Tensor  # (n|1, Ω|1, A_1|1, ..., A_N|1, K)


def join(
    pieces: list[list[Piece]],
    *,
    agents: tuple[str, ...],
    actions: list[Actions],
    states: States,
    initial: Tensor,
    discount: float,
    horizon: int | None,
    name: str,
) -> Table:
    """The table of all pieces, listed by time."""
    n = len(states)

    def gather(read: Any, fill: float = 0.0) -> Tensor:
        """(H, S, ...) of one entry of all pieces."""
        return _stack([_scatter([read(p) for p in ps], _rows(ps), n, fill) for ps in pieces])

    signals = pieces[0][0].said.signals.shape[1]
    log_priors = [
        gather(lambda p, a=agent, k=k: _log_prior(p, a, actions[k].size), -_log(actions[k].size))
        for k, agent in enumerate(agents)
    ]
    rewards = [gather(lambda p, a=agent: p.said.rewards[a]) for agent in agents]
    sigma = gather(lambda p: p.said.signals, 1.0 / signals)
    successors = gather(lambda p: p.successors.clamp_min(0))
    probabilities = gather(_reached)
    if pieces[0][0].said.signal_values:
        successors, probabilities = _with_signals(successors, probabilities, sigma)
        states = signal_states(states, pieces[0][0].said.signal_values)
        initial = (initial[:, None] * sigma[0]).reshape(-1)
        n *= signals

    def merge(x: Tensor) -> Tensor:
        """States and signals in one dimension."""
        return x.expand(*x.shape[:2], signals, *x.shape[3:]).flatten(1, 2)

    successors, probabilities = merge(successors), merge(probabilities)
    if 2 * successors.shape[-1] > n:
        dense = _dense(successors, probabilities, n)
        table_successors, probabilities = None, dense
    else:
        table_successors = successors
    table = Table(
        agents=agents,
        actions=tuple(actions),
        states=states,
        log_priors=tuple(merge(x)[None] for x in log_priors),
        rewards=tuple(merge(x)[None] for x in rewards),
        successors=table_successors,
        probabilities=probabilities[None],
        initial=initial[None],
        discount=discount,
        horizon=horizon,
        acting=_acting(pieces, agents),
        name=name,
        signals=tuple((site, len(drawn)) for site, drawn in pieces[0][0].said.signal_values),
        signal_law=sigma if pieces[0][0].said.signal_values else None,
    )
    if horizon is None:
        return table
    return with_reachable(table, horizon)


def _acting(pieces: list[list[Piece]], agents: tuple[str, ...]) -> Tensor | None:
    """Who acts when, (H, N), unless all always do."""
    acts = torch.tensor([[agent in ps[0].said.log_priors for agent in agents] for ps in pieces])
    return None if acts.all() else acts.to(pieces[0][0].rows.device)


def _log(size: int) -> float:
    return float(torch.tensor(float(size), dtype=torch.float64).log())


def _rows(pieces: list[Piece]) -> Tensor:
    return torch.cat([piece.rows for piece in pieces])


def _log_prior(piece: Piece, agent: str, size: int) -> Tensor:
    found = piece.said.log_priors.get(agent)
    if found is not None:
        return found
    # the agent does not act now: its first action stands for that
    idle = torch.full((*piece.said.signals.shape, size), -torch.inf, dtype=torch.float64)
    idle[..., 0] = 0.0
    return idle


def _reached(piece: Piece) -> Tensor:
    """Probabilities, 0 for next states that no play within the horizon reaches."""
    probabilities = piece.probabilities
    unknown = piece.successors < 0
    if unknown.any():
        probabilities = torch.where(unknown, 0.0, probabilities)
    return probabilities.expand(len(piece.rows), *probabilities.shape[1:])


def _scatter(parts: list[Tensor], rows: Tensor, n: int, fill: float) -> Tensor:
    """One row for each state; states without a row get ``fill``."""
    parts = _alike(parts, first=1)
    if len(rows) == n and len(parts) == 1 and bool((rows[1:] > rows[:-1]).all()):
        return parts[0]
    shape = (n, *parts[0].shape[1:])
    x = parts[0].new_empty(shape) if len(rows) == n else parts[0].new_full(shape, fill)
    for numbers, part in zip(rows.split([len(part) for part in parts]), parts, strict=True):
        x.index_copy_(0, numbers, part)
    return x


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(_alike(parts)) if len(parts) > 1 else parts[0][None]


def _alike(parts: list[Tensor], first: int = 0) -> list[Tensor]:
    """The parts, broadcast to one shape from dimension ``first`` on."""
    if all(part.shape[first:] == parts[0].shape[first:] for part in parts):
        return parts
    shape = np.broadcast_shapes(*(part.shape[first:] for part in parts))
    return [part.expand(*part.shape[:first], *shape) for part in parts]


def _with_signals(
    successors: Tensor, probabilities: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """P((s', ω') | (s, ω), a) = P(s'|s, a) σ(ω'|s'), over numbers s'·Ω + ω' (§5.3)."""
    signals = sigma.shape[-1]
    following = sigma if sigma.shape[0] == 1 else torch.cat([sigma[1:], sigma[-1:]])
    law = torch.stack(
        [following[t][successors[t]] for t in range(len(successors))]
    )  # (H, ..., K, Ω)
    numbers = successors[..., None] * signals + torch.arange(signals, device=successors.device)
    return numbers.flatten(-2), (probabilities[..., None] * law).flatten(-2)


def signal_states(states: States, values: list[tuple[str, list[int]]]) -> States:
    """States with a value of every signal each, given the values of the signals by name."""
    like = (states.like, {name: 0 for name, _ in values})
    drawn = torch.tensor(list(product(*(support for _, support in values))))
    rows = torch.cat(
        [
            states.values.repeat_interleave(len(drawn), 0),
            drawn.to(states.values.device).repeat(len(states), 1),
        ],
        1,
    )
    return States(like, rows)


def _dense(successors: Tensor, probabilities: Tensor, n: int) -> Tensor:
    shape = np.broadcast_shapes(successors.shape, probabilities.shape)
    zeros = probabilities.new_zeros(*shape[:-1], n)
    return zeros.scatter_add(-1, successors.expand(shape), probabilities.expand(shape))


def with_reachable(table: Table, horizon: int) -> Table:
    """Which states can occur at which time, if not all can."""
    from dataclasses import replace

    possible = table.probabilities[0] > 0  # (H|1, S, A..., K)
    for i, logs in enumerate(table.log_priors):
        shape = [*logs.shape[1:3]] + [1] * (possible.ndim - 2)
        shape[2 + i] = logs.shape[3]
        if not torch.isfinite(logs).all():
            possible = possible & torch.isfinite(logs[0]).reshape(shape)
    now = table.initial[0] > 0
    reached = [now]
    for t in range(horizon - 1):
        arrows = possible[min(t, len(possible) - 1)][now]
        following = torch.zeros_like(now)
        if table.successors is None:
            following |= arrows.reshape(-1, len(now)).any(0)
        else:
            numbers = table.successors[min(t, len(table.successors) - 1)][now]
            full = np.broadcast_shapes(arrows.shape, numbers.shape)
            following[numbers.expand(full)[arrows.expand(full)]] = True
        reached.append(following)
        if bool((following == now).all()) and table.times == 1:
            reached += [now] * (horizon - 2 - t)
            break
        now = following
    reachable = torch.stack(reached)
    return table if bool(reachable.all()) else replace(table, reachable=reachable)
