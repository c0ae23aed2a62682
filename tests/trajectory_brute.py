"""Eq. 6 by listing every trajectory, one by one, without logarithms or recursion over values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import torch


@dataclass(frozen=True)
class Trajectory:
    """States and joint actions of T steps, and the probability of chance alone."""

    states: tuple[int, ...]
    actions: tuple[tuple[int, ...], ...]
    chance: float

    def counts(self, table):
        """Discounted visits to (t, s, a_1, ..., a_N)."""
        visits = torch.zeros(len(self.states), len(table.states), *table.sizes).double()
        for t, (state, joint) in enumerate(zip(self.states, self.actions, strict=True)):
            visits[(t, state, *joint)] += table.discount**t
        return visits


def moves(table, t, state, joint):
    """P(s'|s, a) of the next states that are possible."""
    chances = table.probabilities[0]
    chances = chances[t if len(chances) > 1 else 0]
    place = tuple(a if k > 1 else 0 for a, k in zip(joint, chances.shape[1:-1], strict=True))
    found = defaultdict(float)
    numbers = range(len(table.states))
    if table.successors is not None:
        numbers = table.successors[t if len(table.successors) > 1 else 0]
        at = tuple(a if k > 1 else 0 for a, k in zip(joint, numbers.shape[1:-1], strict=True))
        numbers = numbers[(state, *at)].tolist()
    for number, p in zip(numbers, chances[(state, *place)].tolist(), strict=True):
        if p > 0:
            found[number] += p
    return found


def trajectories(table, steps):
    """All trajectories that chance and the priors allow."""
    partial = [((s,), (), p) for s, p in enumerate(table.initial[0].tolist()) if p > 0]
    for t in range(steps):
        longer = []
        for states, actions, chance in partial:
            for joint in product(*(range(size) for size in table.sizes)):
                if any(
                    row(prior, t, states[-1])[a] == -torch.inf
                    for prior, a in zip(table.log_priors, joint, strict=True)
                ):
                    continue
                if t + 1 == steps:
                    longer.append((states, (*actions, joint), chance))
                    continue
                for number, p in moves(table, t, states[-1], joint).items():
                    longer.append(((*states, number), (*actions, joint), chance * p))
        partial = longer
    return [Trajectory(*parts) for parts in partial]


def row(policy, t, state):
    """π(· | s) at time t of (1, H|1, S, A)."""
    return policy[0, t if policy.shape[1] > 1 else 0, state]


def base(table, agent, others, trajectory, reference):
    """b(τ): the agent's prior, and what chance and the others count."""
    number = table.agents.index(agent)
    b = trajectory.chance if reference == "game" else 1.0
    for t, (state, joint) in enumerate(zip(trajectory.states, trajectory.actions, strict=True)):
        for j, name in enumerate(table.agents):
            if j == number:
                b *= float(row(table.log_priors[j], t, state)[joint[j]].exp())
                continue
            p = float(row(others[name], t, state)[joint[j]])
            b *= p if reference == "game" else float(p > 0)
    return b


def density(table, agent, others, reward, temperature, reference, steps):
    """The trajectories, b exp(Σ γ^t r / τ) of each, and its discounted visits."""
    found = trajectories(table, steps)
    full = reward.expand(steps, len(table.states), *table.sizes)
    visits = torch.stack([trajectory.counts(table) for trajectory in found])
    returns = (visits * full).flatten(1).sum(-1)
    bases = [base(table, agent, others, trajectory, reference) for trajectory in found]
    bases = torch.tensor(bases, dtype=torch.float64)
    return found, bases * (returns / temperature).exp(), visits
