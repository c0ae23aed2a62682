"""A whole game as NumPy arrays, all times and states in one dimension, for exact equilibria."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsg_ppl.errors import GameError
from vsg_ppl.table import Table

Array = NDArray[Any]

LARGEST = 8000
"""Values (in one-shot games actions) beyond which a game is refused: they must fit in a matrix."""

LARGEST_MIXED = 6000
"""Actions in mixed policies beyond which `GameArrays.purify` gives up: its matrix is dense."""


def path_unknowns(table: Table) -> int:
    """How many values, in one-shot games actions, a path has."""
    each = sum(table.sizes) if table.horizon == 1 or not table.discount else len(table.agents)
    return len(table.states) * (table.horizon or 1) * each


def fits_path(table: Table) -> bool:
    """Whether a path is not too large for `GameArrays`."""
    return path_unknowns(table) <= LARGEST


class GameArrays:
    """A game without a batch: Z states, N agents, n = Σ A_i actions.

    Times of a finite horizon are states of their own, in order of time. Rewards are divided by
    ``scale``, their largest range, so that values have no unit.

    Args:
        table: the game.
        log_priors: log u of every agent, (1, H|1, S, A_i), where not the table's.

    Raises:
        GameError: more than `LARGEST` values.
    """

    def __init__(self, table: Table, log_priors: list[Any] | None = None) -> None:
        self.sizes, self.agents = table.sizes, len(table.agents)
        self.times, here = table.horizon or 1, len(table.states)
        self.states = self.times * here
        self.actions = sum(self.sizes)
        self.discount = 0.0 if table.horizon == 1 else float(table.discount)
        if not fits_path(table):
            what = "values" if self.discount else "actions"
            raise GameError(
                f"the path has {path_unknowns(table):,} {what} in {self.states:,} states, "
                f"and takes at most {LARGEST:,}",
                hint="`nash`, whose cost is linear in the states.",
            )
        ends = np.cumsum(self.sizes)
        self.of = [
            slice(int(end - size), int(end)) for end, size in zip(ends, self.sizes, strict=True)
        ]
        owner = np.repeat(np.arange(self.agents), self.sizes)
        self.others = owner[:, None] != owner
        # the axes of the others' actions in (Z, A_1, ..., A_N)
        self.beside = [
            tuple(1 + k for k in range(self.agents) if k != i) for i in range(self.agents)
        ]
        spread = max(float(reward.max() - reward.min()) for reward in table.rewards)
        self.scale = spread or 1.0
        self.rewards = np.stack([self._every(r) / self.scale for r in table.rewards])
        priors = table.log_priors if log_priors is None else log_priors
        logs = [np.broadcast_to(_array(p), (self.times, here, p.shape[-1])) for p in priors]
        self.log_priors = np.concatenate([log.reshape(self.states, -1) for log in logs], -1)
        self.free = self.log_priors > -np.inf
        self.successors: Any = None
        self.probabilities: Array = np.zeros((0,))
        if self.discount:
            self._transitions(table, here)

    def _every(self, x: Any) -> Array:
        """A table entry (1, H|1, S, A_1|1, ...) for all times and actions, (Z, A_1, ..., A_N)."""
        full = (self.times, self.states // self.times, *self.sizes)
        return np.broadcast_to(_array(x), full).reshape(self.states, *self.sizes)

    def _transitions(self, table: Table, here: int) -> None:
        k = table.probabilities.shape[-1]
        full = (self.times, here, *self.sizes, k)
        found = np.broadcast_to(_array(table.probabilities), full)
        if table.horizon is None and table.successors is None:
            self.probabilities = found.reshape(-1, k)
            return
        if table.successors is None:
            numbers = np.broadcast_to(np.arange(here), full)
        else:
            numbers = np.broadcast_to(table.successors.cpu().numpy(), full)
        if table.horizon is not None:
            found, numbers = found.copy(), numbers.copy()
            found[-1] = 0.0  # nothing follows the last decision
            numbers += here * np.arange(1, self.times + 1).reshape(-1, *[1] * (numbers.ndim - 1))
            numbers[-1] = 0
        self.probabilities = found.reshape(self.states, prod(self.sizes), k)
        self.successors = numbers.reshape(self.states, prod(self.sizes), k)

    def expected(self, values: Array) -> Array:
        """E[ values(s') | s, a ] for values (Z, m): (Z, A_1 ⋯ A_N, m)."""
        if self.successors is None:
            out: Array = self.probabilities @ values
            return out.reshape(self.states, -1, values.shape[-1])
        picked = values[self.successors]
        mean: Array = np.einsum("sakm,sak->sam", picked, self.probabilities)
        return mean

    def payoffs(self, values: Array) -> Array:
        """r + γ E V of every agent, (N, Z, A_1, ..., A_N)."""
        if not self.discount:
            return self.rewards
        ahead = self.expected(values).transpose(2, 0, 1)
        return self.rewards + self.discount * ahead.reshape(self.rewards.shape)

    def values_of(self, policies: Array) -> Array:
        """V of policies (Z, n), (Z, N)."""
        _, joint = self._chances(policies)
        means: Array = (self.rewards * joint).sum(tuple(range(2, 2 + self.agents))).T
        if not self.discount:
            return means
        matrix = np.eye(self.states) - self.discount * self._moves(joint)
        return np.asarray(np.linalg.solve(matrix, means))

    def _moves(self, chances: Array, states: Array | None = None) -> Array:
        """P(s' | s) for chances (m, A_1, ..., A_N) of joint actions in m states, (m, Z)."""
        places = range(self.states) if states is None else states
        flat = chances.reshape(len(chances), -1)
        if self.successors is None:
            chance = self.probabilities.reshape(self.states, -1, self.states)
            return np.stack([w @ chance[s] for w, s in zip(flat, places, strict=True)])
        rows = [
            np.bincount(
                self.successors[s].ravel(),
                (w[:, None] * self.probabilities[s]).ravel(),
                minlength=self.states,
            )
            for w, s in zip(flat, places, strict=True)
        ]
        return np.stack(rows)

    def _chances(self, policies: Array) -> tuple[list[Array], Array]:
        """The chances of all but one agent's actions, for each, and of all, (Z, A_1, ..., A_N)."""
        wide = [self._wide(policies[:, part], i) for i, part in enumerate(self.of)]
        others = []
        for i in range(self.agents):
            chance = np.ones((self.states, *self.sizes))
            for k, w in enumerate(wide):
                if k != i:
                    chance = chance * w
            others.append(chance)
        return others, others[0] * wide[0]

    def _wide(self, x: Array, i: int) -> Array:
        shape = [1] * self.agents
        shape[i] = self.sizes[i]
        return x.reshape(self.states, *shape)

    def _given(self, payoffs: Array, policies: Array, slopes: Array) -> Array:
        """E[ payoff^i | a^j ], (N, Z, n), of the means given two agents' actions."""
        if self.agents == 1:
            return payoffs
        out = np.empty((self.agents, self.states, self.actions))
        for i, own in enumerate(self.of):
            for j, part in enumerate(self.of):
                if i != j:
                    out[i, :, part] = np.einsum(
                        "sab,sa->sb", slopes[:, own, part], policies[:, own]
                    )
            other = self.of[1 if i == 0 else 0]
            out[i, :, own] = np.einsum("sab,sb->sa", slopes[:, own, other], policies[:, other])
        return out

    def _slopes(self, payoffs: Array, policies: Array) -> Array:
        """dQ^i(a) / dπ^j(b), (Z, n, n); 0 where i = j."""
        out = np.zeros((self.states, self.actions, self.actions))
        for i in range(self.agents):
            for j in range(self.agents):
                if i == j:
                    continue
                mean = payoffs[i]
                for k in reversed(range(self.agents)):
                    if k not in (i, j):
                        mean = (mean * self._axis(policies, k, mean.ndim)).sum(1 + k)
                mean = mean if i < j else mean.swapaxes(1, 2)
                out[:, self.of[i], self.of[j]] = mean
        return out

    def _axis(self, policies: Array, k: int, ndim: int) -> Array:
        """π^k beside what is already averaged over agents behind it (all but at most two)."""
        shape = [1] * (ndim - 1)
        shape[k] = self.sizes[k]
        return policies[:, self.of[k]].reshape(self.states, *shape)

    def purify(self, policies: Array, used: Array, max_steps: int = 12) -> Array | None:
        """Newton's method for a Nash equilibrium: in each state the actions used pay the same.

        Here the values are eliminated. The policies cannot be, state by state: what makes an agent
        indifferent in one state may be how others mix in another.

        Args:
            policies: π to start from, (Z, n).
            used: the support, (Z, n), of which each agent has an action in each state.
            max_steps: of Newton's method.

        Returns:
            π, or ``None`` where the equations are singular or the steps do not settle. It need not
            be an equilibrium: π may be negative, and an unused action pay more.
        """
        policies = np.where(used, policies, 0.0)
        mixed, leads = np.zeros_like(used), np.zeros_like(used)
        for part in self.of:
            policies[:, part] /= policies[:, part].sum(-1, keepdims=True)
            mixed[:, part] = used[:, part] & (used[:, part].sum(-1, keepdims=True) > 1)
            first = np.argmax(mixed[:, part], -1)
            leads[:, part][np.arange(self.states), first] = True
        leads &= mixed
        where, what = mixed.nonzero()
        if not len(where):
            return policies
        if len(where) > LARGEST_MIXED:
            return None
        agent = np.repeat(np.arange(self.agents), self.sizes)
        owner = agent[what]
        group = where * self.agents + owner
        lead = leads[where, what]
        # the entry of the same agent and state with which an entry is compared
        head = np.searchsorted(group, group)
        for _ in range(max_steps):
            others, joint = self._chances(policies)
            values = self.values_of(policies)
            payoffs = self.payoffs(values)
            slopes = self._slopes(payoffs, policies)
            given = self._given(payoffs, policies, slopes)
            q = given[owner, where, what]
            slope = slopes[where[:, None], what[:, None], what]
            slope = slope * (where[:, None] == where)
            if self.discount:
                eye = np.eye(self.states)
                chances = np.empty((len(where), *self.sizes))
                for i, part in enumerate(self.of):
                    mine = owner == i
                    shape = [size if k == i else 1 for k, size in enumerate(self.sizes)]
                    alone = np.eye(self.sizes[i])[what[mine] - part.start]
                    chances[mine] = others[i][where[mine]] * alone.reshape(len(alone), *shape)
                moves = self.discount * self._moves(chances, where)
                system = eye - self.discount * self._moves(joint)
                visits = np.linalg.solve(system.T, moves.T).T  # γ P_a (I − γ P_π)^{-1}
                slope = slope + visits[:, where] * given[owner[:, None], where, what]
            off = q - q[head]
            slope = slope - slope[head]
            off[lead] = np.bincount(group, policies[where, what])[group[lead]] - 1
            slope[lead] = group[lead][:, None] == group
            try:
                move = np.linalg.solve(slope, off)
            except np.linalg.LinAlgError:
                return None
            size = float(np.abs(move).max())
            if not size < 1.0:
                return None
            policies[where, what] -= move
            if size < 1e-9:  # the step after it has squared that
                return policies
        return None


def _array(x: Any) -> Array:
    """A table's tensor without its batch dimension."""
    return np.asarray(x[0].detach().cpu().numpy())
