"""Nash equilibria of small one-shot games of any number of agents, support by support.

Of every support Newton's method solves "all used actions pay the same" from several starts, which
may miss some equilibria. Supports with an action that another beats whatever the others do within
theirs are left out (R. Porter, E. Nudelman and Y. Shoham, 2008, "Simple search methods for finding
a Nash equilibrium").
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]

STARTS = 12
"""Starts of Newton's method in each support."""

STEPS = 25
"""Of Newton's method."""

FAR = 30.0
"""Numbers that are no probabilities any more: Newton's method does not come back from there."""

SLACK = 1e-9
"""What rounding may make of a zero, of payoffs scaled to 1."""


def by_support(payoffs: Array, seed: int = 0) -> list[Array]:
    """Policies (E, Σ A_i) of each of Z games, some several times.

    Args:
        payoffs: (N, Z, A_1, ..., A_N), of size 1.
        seed: of the starts.
    """
    games, sizes = payoffs.shape[1], payoffs.shape[2:]
    found: list[list[Array]] = [[] for _ in range(games)]
    supports = [
        [part for size in range(1, a + 1) for part in combinations(range(a), size)] for a in sizes
    ]
    random = np.random.default_rng(seed)
    for support in product(*supports):
        numbers, policies = _in_support(payoffs, support, random)
        for number, policy in zip(numbers, policies, strict=True):
            found[number].append(policy)
    n = sum(sizes)
    return [np.array(policies).reshape(-1, n) for policies in found]


def _in_support(
    payoffs: Array, support: tuple[tuple[int, ...], ...], random: np.random.Generator
) -> tuple[Array, Array]:
    """Equilibria with this support: the numbers of their games, (E,), and policies, (E, n)."""
    n_agents, sizes = len(payoffs), payoffs.shape[2:]
    counts = [len(part) for part in support]
    starts = STARTS if sum(counts) > n_agents else 1
    laws = [random.dirichlet(np.ones(count), starts) for count in counts]
    laws = [law / law.sum(1, keepdims=True) for law in laws]
    possible = np.flatnonzero(_undominated(payoffs, support))
    some = payoffs[np.ix_(np.arange(n_agents), possible, *map(np.array, support))]
    x = np.tile(np.concatenate(laws, 1), (len(possible), 1))
    numbers = np.repeat(possible, starts)
    if starts > 1:
        x = _newton(some.repeat(starts, 1), x)
    # a support that is not all used belongs to another
    good = np.isfinite(x).all(1) & (x > SLACK).all(1)
    numbers, x = numbers[good], x[good]
    full = np.zeros((len(x), sum(sizes)))
    where = np.concatenate(
        [np.array(part) + start for part, start in zip(support, _starts(sizes), strict=True)]
    )
    full[:, where] = x
    q = _action_values(payoffs[:, numbers], full)
    mean = np.stack([(q[:, part] * full[:, part]).sum(1) for part in slices(sizes)], 1)
    best = np.stack([q[:, part].max(1) for part in slices(sizes)], 1)
    exact = (best - mean <= SLACK).all(1)
    return numbers[exact], full[exact]


def _undominated(payoffs: Array, support: tuple[tuple[int, ...], ...]) -> NDArray[np.bool_]:
    """In which games no used action is worse than another against all that the others use."""
    games, sizes = payoffs.shape[1], payoffs.shape[2:]
    good = np.ones(games, dtype=bool)
    for i, (u, own) in enumerate(zip(payoffs, support, strict=True)):
        used = [range(sizes[i]) if j == i else part for j, part in enumerate(support)]
        some = np.moveaxis(u[np.ix_(range(games), *used)], 1 + i, 1).reshape(games, sizes[i], -1)
        gains = some[:, :, None] - some[:, None, list(own)]
        good &= ~(gains > SLACK).all(-1).any((1, 2))
    return good


def _newton(payoffs: Array, x: Array) -> Array:
    """Policies (M, n) at which all actions of each agent pay the same; NaN where it fails."""
    parts, n = slices(payoffs.shape[2:]), x.shape[1]
    found, going = np.full_like(x, np.nan), np.arange(len(x))
    for _ in range(STEPS):
        q, slopes = _action_values(payoffs, x), _slopes(payoffs, x)
        error, matrix = np.empty_like(x), np.empty((len(x), n, n))
        for part in parts:
            first = part.start
            error[:, part] = q[:, part] - q[:, [first]]
            matrix[:, part] = slopes[:, part] - slopes[:, [first]]
            error[:, first] = x[:, part].sum(1) - 1.0
            matrix[:, first] = 0.0
            matrix[:, first, part] = 1.0
        move, failed = torch.linalg.solve_ex(torch.from_numpy(matrix), torch.from_numpy(error))
        step = move.numpy()
        step[failed.numpy() != 0] = np.nan
        size = np.abs(step).max(1, initial=0.0)
        x = x - step / np.maximum(size / 0.5, 1.0)[:, None]
        done = size <= 1e-10  # it converges quadratically
        found[going[done]] = x[done]
        on = ~done & (np.abs(x).max(1, initial=0.0) < FAR)  # not where it is NaN either
        if not on.any():
            break
        going, x, payoffs = going[on], x[on], payoffs[:, on]
    return found


def _action_values(payoffs: Array, x: Array) -> Array:
    """E[u^i | a^i], (M, n), of policies (M, n) in games (N, M, A_1, ..., A_N)."""
    parts = slices(payoffs.shape[2:])
    return np.concatenate([_mean(u, x, parts, (i,)) for i, u in enumerate(payoffs)], 1)


def _slopes(payoffs: Array, x: Array) -> Array:
    """∂ E[u^i | a^i] / ∂ x^j, (M, n, n)."""
    parts, n = slices(payoffs.shape[2:]), x.shape[1]
    out = np.zeros((len(x), n, n))
    for i, u in enumerate(payoffs):
        for j in range(len(parts)):
            if i < j:
                out[:, parts[i], parts[j]] = _mean(u, x, parts, (i, j))
            elif i > j:
                out[:, parts[i], parts[j]] = _mean(u, x, parts, (j, i)).swapaxes(1, 2)
    return out


def _mean(u: Array, x: Array, parts: list[slice], keep: tuple[int, ...]) -> Array:
    """Average over the actions of all agents but those to keep, in their order."""
    for k in reversed(range(len(parts))):
        if k not in keep:
            behind = [j for j in keep if j > k]
            chance = x[:, parts[k]]
            weight = chance.reshape(len(x), *[1] * k, chance.shape[1], *[1] * len(behind))
            u = (u * weight).sum(1 + k)
    return u


def slices(sizes: tuple[int, ...]) -> list[slice]:
    """Where each agent's actions are among those of all agents, one after another."""
    return [slice(a, a + size) for a, size in zip(_starts(sizes), sizes, strict=True)]


def _starts(sizes: tuple[int, ...]) -> list[int]:
    return [0, *np.cumsum(sizes)[:-1].tolist()]
