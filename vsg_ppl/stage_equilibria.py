"""All Nash equilibria of small one-shot games, many games at once.

Two agents: the vertices of both best-response polytopes are enumerated and paired where every
action is unused or a best response, which finds all extreme equilibria, also of degenerate games
(O. L. Mangasarian, 1964, "Equilibrium points of bimatrix games"). More agents: see
`support_equilibria`, which may miss some; if it misses all, the path of logit equilibria leads to
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb, prod

import numpy as np
import torch
from numpy.typing import NDArray

from vsg_ppl.errors import GameError
from vsg_ppl.support_equilibria import SLACK, STARTS, by_support, slices

Array = NDArray[np.float64]

LARGEST = 1_000_000
"""Linear systems of one game beyond which it is refused (two agents with 11 actions each)."""

CHUNK = 1 << 22
"""Numbers in the linear systems that are solved at a time."""

TRIES = 4
"""How often equilibria of more than two agents are sought if their number is even."""

SAME = 1e-7
"""Equilibria nearer than this, in probability, are taken for one."""


@dataclass(frozen=True, eq=False)
class Equilibria:
    """Equilibria of one game.

    Attributes:
        policies: (E, n), the probabilities of all agents' actions one after another, n = Σ A_i.
        payoffs: (E, N).
    """

    policies: Array
    payoffs: Array

    def __len__(self) -> int:
        return len(self.policies)


def systems(sizes: tuple[int, ...]) -> int:
    """How many linear systems, or starts of Newton's method, the equilibria of one game take.

    >>> systems((3, 3)), systems((2, 2, 2))
    (40, 324)
    """
    sizes = tuple(size for size in sizes if size > 1)
    if len(sizes) < 2:
        return 1
    if len(sizes) == 2:
        return 2 * comb(sum(sizes), sizes[0])
    return STARTS * prod((1 << size) - 1 for size in sizes)


def stage_equilibria(payoffs: Array, free: NDArray[np.bool_] | None = None) -> list[Equilibria]:
    """All equilibria (of one or two agents: all extreme ones) of each of Z games.

    Of more than two agents some may be missing, in a degenerate game all of them.

    Args:
        payoffs: (N, Z, A_1, ..., A_N).
        free: which actions are available, (Z, n); by default all.

    Raises:
        GameError: more than `LARGEST` linear systems for a game.

    >>> chicken = np.array([[[[6.0, 2.0], [7.0, 0.0]]], [[[6.0, 7.0], [2.0, 0.0]]]])
    >>> (found,) = stage_equilibria(chicken)
    >>> found.payoffs.round(3)
    array([[7.   , 2.   ],
           [2.   , 7.   ],
           [4.667, 4.667]])
    """
    n_agents, games, *sizes = payoffs.shape
    if systems(tuple(sizes)) > LARGEST:
        raise GameError(
            f"all equilibria of a game with {' × '.join(map(str, sizes))} actions would take "
            f"{systems(tuple(sizes)):,} linear systems; {LARGEST:,} are allowed",
            hint="`exact_nash`, which finds one.",
        )
    ends = np.cumsum(sizes)
    if free is None:
        free = np.ones((games, ends[-1]), dtype=bool)
    out: list[Equilibria | None] = [None] * games
    patterns, which = np.unique(free, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        numbers = np.flatnonzero(which.reshape(-1) == k)
        kept = [np.flatnonzero(part) for part in np.split(pattern, ends[:-1])]
        some = payoffs[np.ix_(np.arange(n_agents), numbers, *kept)]
        for number, policies in zip(numbers, _all(some), strict=True):
            full = np.zeros((len(policies), ends[-1]))
            full[:, pattern] = policies
            out[number] = Equilibria(full, _payoffs(payoffs[:, number], full))
    return [found for found in out if found is not None]


def _all(payoffs: Array) -> list[Array]:
    """Policies (E, n) of each game, all actions available."""
    sizes = payoffs.shape[2:]
    if 1 in sizes:
        return _with_who_has_no_choice(payoffs)
    # scaled and shifted by agent and game, which changes no equilibrium, to lie in [1, 2]
    axes = tuple(range(2, payoffs.ndim))
    low, high = payoffs.min(axes, keepdims=True), payoffs.max(axes, keepdims=True)
    scaled = 1.0 + (payoffs - low) / np.where(high > low, high - low, 1.0)
    if len(sizes) == 1:
        return [np.eye(sizes[0])[game >= game.max() - SLACK] for game in scaled[0]]
    each = (systems(sizes) if len(sizes) == 2 else STARTS) * sum(sizes) ** 2
    parts = max(1, -(-payoffs.shape[1] * each // CHUNK))
    solve = _bimatrix if len(sizes) == 2 else _more
    return [
        found
        for part in np.array_split(scaled, parts, axis=1)
        if part.size
        for found in solve(part)
    ]


def _with_who_has_no_choice(payoffs: Array) -> list[Array]:
    """Policies (E, n) of each game, some agents having one action only."""
    (games, *sizes), free = payoffs.shape[1:], [size > 1 for size in payoffs.shape[2:]]
    those = [size for size in sizes if size > 1]
    others = payoffs[free].reshape(len(those), games, *those)
    found = _all(others) if those else [np.ones((1, 0))] * games
    out = [np.ones((len(policies), sum(sizes))) for policies in found]
    for full, policies in zip(out, found, strict=True):
        full[:, np.repeat(free, sizes)] = policies
    return out


def _more(payoffs: Array) -> list[Array]:
    """Of games of more than two agents."""
    found = [_distinct(policies) for policies in by_support(payoffs)]
    for seed in range(1, TRIES):
        # almost all games have an odd number of them (R. Wilson, 1971)
        even = [z for z, policies in enumerate(found) if len(policies) % 2 == 0]
        if even:
            for z, more in zip(even, by_support(payoffs[:, even], seed), strict=True):
                found[z] = _distinct(np.concatenate([found[z], more]))
    return [
        policies if len(policies) else _at_the_end_of_a_path(payoffs[:, z])
        for z, policies in enumerate(found)
    ]


def _at_the_end_of_a_path(payoffs: Array) -> Array:
    """The equilibrium, (1, n), that logit equilibria of a game lead to; (0, n) if they stall."""
    from vsg_ppl.dense import from_arrays
    from vsg_ppl.equilibrium_path import EquilibriumPath

    table = from_arrays(torch.from_numpy(payoffs[:, None]), horizon=1)
    path = EquilibriumPath(table, None, SLACK)
    with torch.no_grad():
        path.follow(2000, lambda entry: None)
    found = torch.cat([log[0, 0].exp() for log in path.best], -1).numpy()
    return found if path.gap <= SLACK else found[:0]


def _payoffs(payoffs: Array, policies: Array) -> Array:
    """(E, N) of policies (E, n) in one game (N, A_1, ..., A_N)."""
    return means(
        np.broadcast_to(payoffs[:, None], (len(payoffs), len(policies), *payoffs.shape[1:])),
        policies,
    )


def means(payoffs: Array, policies: Array) -> Array:
    """E_π[payoffs], (Z, N), of games (N, Z, A_1, ..., A_N) and policies (Z, n)."""
    mean = payoffs
    for part in reversed(slices(payoffs.shape[2:])):
        chance = policies[:, part]
        mean = (mean * chance.reshape(1, len(chance), *[1] * (mean.ndim - 3), -1)).sum(-1)
    return mean.T


# --- Two agents ---


def _bimatrix(payoffs: Array) -> list[Array]:
    """Of games (2, Z, m, n) with positive payoffs."""
    m, n = payoffs.shape[2:]
    x, tight_x = _vertices(payoffs[1].transpose(0, 2, 1))  # tight: own m, then the other's n
    y, tight_y = _vertices(payoffs[0])
    out = []
    for row, tight_row, column, tight_column in zip(x, tight_x, y, tight_y, strict=True):
        turned = np.concatenate([tight_column[:, n:], tight_column[:, :n]], 1)
        i, j = (tight_row[:, None] | turned[None]).all(-1).nonzero()
        found = np.concatenate([row[i], column[j]], 1)
        found[:, :m] /= found[:, :m].sum(1, keepdims=True)
        found[:, m:] /= found[:, m:].sum(1, keepdims=True)
        out.append(_distinct(found))
    return out


def _vertices(payoffs: Array) -> tuple[list[Array], list[NDArray[np.bool_]]]:
    """Vertices but 0 of {x ≥ 0, B x ≤ 1} for each B (Z, k, d), and which inequalities are tight."""
    games, k, d = payoffs.shape
    rows = np.concatenate([np.broadcast_to(np.eye(d), (games, d, d)), payoffs], 1)
    right = np.concatenate([np.zeros(d), np.ones(k)])
    bases = np.array([basis for basis in combinations(range(d + k), d) if basis[-1] >= d])
    x, failed = torch.linalg.solve_ex(
        torch.from_numpy(rows[:, bases]), torch.from_numpy(right[bases]).expand(games, -1, -1)
    )
    points = x.numpy()
    points[failed.numpy() != 0] = -np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        slack = np.concatenate([points, 1.0 - points @ payoffs.transpose(0, 2, 1)], -1)
        inside = np.asarray((slack >= -SLACK).all(-1))
    tight = np.asarray(np.abs(slack) <= SLACK)
    vertices, which = [], []
    for point, t, here in zip(points, tight, inside, strict=True):
        # many bases make one vertex of a degenerate game, and what is tight tells vertices apart
        kept = np.unique(np.packbits(t[here], axis=1), axis=0, return_index=True)[1]
        vertices.append(point[here][kept].clip(0.0))
        which.append(t[here][kept])
    return vertices, which


def _distinct(policies: Array) -> Array:
    """Each policy once, in the order of their numbers; the purest first."""
    kept: list[Array] = []
    for policy in policies[np.lexsort((*policies.T, (policies > SLACK).sum(1)))]:
        if not kept or np.abs(policy - np.stack(kept)).max(1).min() > SAME:
            kept.append(policy)
    return np.array(kept).reshape(-1, policies.shape[1])
