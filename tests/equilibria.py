"""Equilibria of one-shot games by Gambit and by plain NumPy, for the tests."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pygambit
import scipy.optimize


def gain(payoffs, profile):
    """What each agent has, and what it could have by another action: two arrays (N,)."""
    own, best = [], []
    for i, values in enumerate(np.asarray(payoffs, float)):
        for j in reversed(range(len(profile))):
            if j != i:
                values = np.tensordot(values, profile[j], axes=(j, 0))
        own.append(values @ profile[i])
        best.append(values.max())
    return np.array(own), np.array(best)


def gambit_equilibria(payoffs):
    """All that Gambit finds, as rows (E, n), exactly of two agents."""
    game = pygambit.Game.from_arrays(*payoffs)
    if len(payoffs) == 2:
        found = pygambit.nash.enummixed_solve(game, rational=True).equilibria
    else:
        found = pygambit.nash.enumpoly_solve(game).equilibria
    return np.array(
        [[float(p[s]) for player in game.players for s in player.strategies] for p in found]
    )


def values_of(payoffs, policies):
    """Each agent's payoff, (E, N), of policies (E, n)."""
    cuts = np.cumsum(payoffs.shape[1:])[:-1]
    return np.array([gain(payoffs, np.split(row, cuts))[0] for row in policies])


def most_in_hull(points, weights):
    """The largest weighted sum over the convex hull: at a corner."""
    return (points @ weights).max()


def fairest_in_hull(points):
    """The largest least value over the convex hull, edge by edge, without a linear program.

    With two agents the best point lies on a corner, or on an edge where both have the same.
    """
    assert points.shape[1] == 2
    best = points.min(1).max()
    for one, other in combinations(points, 2):
        a, b = one[0] - one[1], other[0] - other[1]
        if a * b < 0:
            mix = b / (b - a)
            best = max(best, (mix * one + (1 - mix) * other).min())
    return best


def fairest_by_dual(points):
    """The same for any number of agents: min over weights of the largest weighted sum."""
    count, agents = points.shape
    result = scipy.optimize.linprog(
        np.append(np.zeros(agents), 1.0),
        A_ub=np.hstack([points, -np.ones((count, 1))]),
        b_ub=np.zeros(count),
        A_eq=np.append(np.ones(agents), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * agents + [(None, None)],
        method="highs-ipm",
    )
    return result.fun
