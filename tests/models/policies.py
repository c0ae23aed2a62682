"""Values of stationary policies by plain linear algebra, for the tests."""

import numpy as np

from tests.models.readings import look_up


def dense(table):
    """Rewards (N, S, A_1, ..., A_N) and transitions (S, A_1, ..., A_N, S), entry by entry."""
    shape = (len(table.states), *table.sizes)
    numbers = {label: k for k, label in enumerate(table.states)}
    rewards = np.zeros((len(table.agents), *shape))
    transitions = np.zeros((*shape, len(numbers)))
    for index in np.ndindex(*shape):
        law, paid = look_up(table, index[0], index[1:])
        rewards[(slice(None), *index)] = paid
        for label, probability in law.items():
            transitions[(*index, numbers[label])] += probability
    return rewards, transitions


def values(rewards, transitions, discount, policies):
    """V^i(s) of every agent under policies of shape (S, A_i): shape (N, S)."""
    states = rewards.shape[1]
    law, pay = transitions, rewards
    for policy in policies:
        ones = (1,) * (law.ndim - 3)
        law = (law * policy.reshape(*policy.shape, *ones, 1)).sum(1)
        ones = (1,) * (pay.ndim - 3)
        pay = (pay * policy.reshape(*policy.shape, *ones)).sum(2)
    return np.linalg.solve(np.eye(states) - discount * law, pay.T).T


def worst_cycle(table, seed, trials=50):
    """How far agents 0 and 1's gains around a square of policy changes are from summing to zero.

    In a Markov potential game (Def. 5.4) each gain is a difference of the potential, so they sum
    to zero (D. Monderer and L. S. Shapley, 1996, "Potential games", for one state).
    """
    rng = np.random.default_rng(seed)
    rewards, transitions = dense(table)

    def draw(i):
        weights = np.exp(3 * rng.standard_normal((len(table.states), table.sizes[i])))
        return weights / weights.sum(1, keepdims=True)

    worst = 0.0
    for _ in range(trials):
        rest = [draw(i) for i in range(2, len(table.agents))]
        x, x_new, y, y_new = draw(0), draw(0), draw(1), draw(1)

        def v(i, a, b, rest=rest):
            return values(rewards, transitions, table.discount, [a, b, *rest])[i]

        cycle = v(0, x_new, y) - v(0, x, y) + v(1, x_new, y_new) - v(1, x_new, y)
        cycle += v(0, x, y_new) - v(0, x_new, y_new) + v(1, x, y) - v(1, x, y_new)
        worst = max(worst, abs(cycle).max())
    return worst
