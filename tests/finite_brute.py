"""Games of a few real agents by brute force: every agent by name, every outcome, plain loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.stats import multinomial

from tests.models.told_again import TOLD, arrays, initial
from tests.random_crowds import RandomCrowd

Step = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Real:
    """n agents in a mean-field game, over the states of its table.

    Agent 0 may deviate; the others play the policy (H, S, A), or (1, S, A) without a horizon.
    """

    def __init__(self, game, table, policy, n, start=None):
        self.n, self.policy, self.horizon = n, np.asarray(policy), table.horizon
        self.gamma = 1.0 if table.discount is None else table.discount
        self.open = np.asarray(table.prior) > 0
        step, known, law = told_step(game, table)
        self.start = law[known] if start is None else np.asarray(start)
        self.size = len(known)
        self.kinds = range(table.actions.size)

        @cache
        def amid(t, people):
            crowd = np.zeros((len(law), table.actions.size))
            for s, a in people:
                crowd[known[s], a] += 1 / n
            rewards, moves = step(t, crowd)
            return rewards[known], moves[known][:, :, known]

        self.amid = amid

    def worth(self, t, states, action, later):
        """What agent 0 gets by an action, the others acting at random; ``later`` values states."""
        total = 0.0
        policy = self.policy[t if self.horizon else 0]
        for acts in product(*(np.flatnonzero(policy[s]) for s in states[1:])):
            chance = np.prod([policy[s, a] for s, a in zip(states[1:], acts, strict=True)])
            people = tuple(zip(states, (action, *map(int, acts)), strict=True))
            rewards, moves = self.amid(t, tuple(sorted(people)))
            total += chance * rewards[people[0]]
            if later is not None:
                total += chance * self.gamma * self.expect(moves, people, later)
        return total

    def expect(self, moves, people, later):
        laws = [moves[s, a] for s, a in people]
        return sum(
            np.prod([law[s] for law, s in zip(laws, there, strict=True)]) * later(there)
            for there in product(*(map(int, np.flatnonzero(law)) for law in laws))
        )

    def value(self, choose):
        """Of agent 0 who values its actions' worths by ``choose(t, own state, worths)``."""

        @cache
        def at(t, states):
            later = None if t + 1 == self.horizon else lambda there: at(t + 1, there)
            row = [
                self.worth(t, states, a, later) if self.open[t, states[0], a] else -np.inf
                for a in self.kinds
            ]
            return choose(t, states[0], np.array(row))

        where = map(int, np.flatnonzero(self.start))
        return sum(
            np.prod(self.start[list(states)]) * at(0, states)
            for states in product(where, repeat=self.n)
        )

    def best(self):
        """By the best response that sees where everybody is."""
        return self.value(lambda t, s, row: row.max())

    def plays(self, policy=None):
        """By a policy that sees its own state and the time."""
        policy = self.policy if policy is None else np.asarray(policy)

        def mean(t, s, row):
            some = policy[t, s] > 0
            return policy[t, s][some] @ row[some]

        return self.value(mean)

    def sure(self):
        """All deviations that see their own state and the time, and toss no coins."""
        rows = [
            [np.eye(len(self.kinds))[a] for a in self.kinds if self.open[t, s, a]]
            for t in range(self.horizon)
            for s in range(self.size)
        ]
        for chosen in product(*rows):
            yield np.array(chosen).reshape(self.horizon, self.size, -1)

    def endless(self, choose, sweeps=3000):
        """`value` without a horizon, by value iteration over arrays."""
        everywhere = list(product(range(self.size), repeat=self.n))
        number = {states: k for k, states in enumerate(everywhere)}
        rewards = np.zeros((len(everywhere), len(self.kinds)))
        moves = np.zeros((len(everywhere), len(self.kinds), len(everywhere)))
        for k, states in enumerate(everywhere):
            for a in self.kinds:
                for acts in product(self.kinds, repeat=self.n - 1):
                    chance = np.prod(
                        [self.policy[0, s, b] for s, b in zip(states[1:], acts, strict=True)]
                    )
                    people = tuple(zip(states, (a, *acts), strict=True))
                    pay, law = self.amid(0, tuple(sorted(people)))
                    rewards[k, a] += chance * pay[people[0]]
                    for there in everywhere:
                        odds = [law[s, b, x] for (s, b), x in zip(people, there, strict=True)]
                        moves[k, a, number[there]] += chance * np.prod(odds)
        value = np.zeros(len(everywhere))
        for _ in range(sweeps):
            q = rewards + self.gamma * moves @ value
            value = np.array([choose(0, s[0], row) for s, row in zip(everywhere, q, strict=True)])
        odds = [np.prod(self.start[list(states)]) for states in everywhere]
        return float(np.array(odds) @ value)


def tell(game):
    """A bundled game told again, or one that differs from it in its discount."""
    return TOLD[next(kind.__name__ for kind in type(game).__mro__ if kind.__name__ in TOLD)](game)


def told_step(game, table):
    """A step amid (S, A) crowds in plain numbers, which of its states the table knows, and μ_0."""
    if isinstance(game, RandomCrowd):
        states, size = game.shape.states, int(np.prod(game.shape.sites))

        def step(t, crowd):
            pairs = [(s, a) for s in range(states) for a in range(size)]
            rewards = np.reshape([game.reward(t, s, a, crowd) for s, a in pairs], (states, size))
            moves = np.reshape(
                [game.following(s, a, crowd) for s, a in pairs], (states, size, states)
            )
            return rewards, moves

        return step, [int(label) for label in table.states], game.start
    tale = tell(game)
    numbers = {label: k for k, label in enumerate(tale.states)}
    known = [numbers[label] for label in table.states]
    return lambda t, crowd: arrays(tale, t, crowd), known, initial(tale)


def blind_gap(game, table, policy, n, *, acts):
    """The gap of those who see their own state and the time, where the crowd moves nobody.

    The others at any time are n − 1 independent draws from the mean field's law; ``acts`` says
    whether their actions matter.
    """
    step, known, first = told_step(game, table)
    policy, (h, size, kinds) = np.asarray(policy), policy.shape
    gamma = 1.0 if table.discount is None else table.discount
    law, pays, moves = first[known], [], []
    for t in range(h):
        joint = law[:, None] * policy[t]
        if not acts:
            joint = np.eye(kinds)[0] * joint.sum(1, keepdims=True)
        cells = list(zip(*np.nonzero(joint), strict=True))
        pay = np.zeros((size, kinds))
        for others in combinations_with_replacement(range(len(cells)), n - 1):
            counts = np.bincount(np.array(others, dtype=int), minlength=len(cells))
            chance = multinomial.pmf(counts, n - 1, [joint[cell] for cell in cells])
            crowd = np.zeros((len(first), kinds))
            for (s, a), many in zip(cells, counts, strict=True):
                crowd[known[s], a] = many / n
            for s, a in product(range(size), range(kinds if acts else 1)):
                crowd[known[s], a] += 1 / n
                rewards, transitions = step(t, crowd)
                crowd[known[s], a] -= 1 / n
                some = a if acts else slice(None)
                pay[s, some] += chance * rewards[known[s], some]
        pays.append(pay)
        moves.append(transitions[known][:, :, known])
        law = np.einsum("sa,sak->k", law[:, None] * policy[t], moves[-1])
    best = own = np.zeros(size)
    for t in reversed(range(h)):
        q = pays[t] + gamma * moves[t] @ best
        best = np.where(np.asarray(table.prior)[t] > 0, q, -np.inf).max(1)
        own = (policy[t] * (pays[t] + gamma * moves[t] @ own)).sum(1)
    return float(first[known] @ (best - own))
