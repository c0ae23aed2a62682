"""The equations of logit equilibria of a whole game, with their analytic derivative.

Unknown are log π of every agent in every state, every V^i(s), and λ = 1/τ:

    log π^i = log softmax(log u^i + λ Q^i(V, π)),    V^i = E_π[r^i + γ V^i(s')].

With the values among the unknowns the policies of different states meet only through them: they are
eliminated state by state, and one linear system in the values alone is left. The same elimination
serves the equations of a Nash equilibrium with a given support.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray

from vsg_ppl.errors import GameError
from vsg_ppl.table import Table

Array = NDArray[Any]

DENSE_VALUES = 1200
"""Up to this many values, states times agents, the linear system is dense; beyond, by GMRES."""

LARGEST = 8000
"""Values (in one-shot games actions) beyond which a game is refused: they must fit in a matrix."""

ROUGH_RATE = 100.0
"""λ up to which the linear solutions are exact enough for steps without refinement."""

LARGEST_MIXED = 6000
"""Actions in mixed policies beyond which `LogitSystem.purify` gives up: its matrix is dense."""


Place = tuple[Array, Array, float]
"""log π (Z, n), V (Z, N) and λ, or a direction there."""


@dataclass(frozen=True, eq=False)
class Factored:
    """Linear equations that are ready to be solved.

    Attributes:
        solve: the solution of a right side, both a `Place`.
        sign: of the determinant; 0 where it is unknown.
    """

    solve: Callable[[Place], Place]
    sign: float


@dataclass(frozen=True, eq=False)
class Point:
    """What the equations are at a point: Z states, N agents, n = Σ A_i actions.

    Attributes:
        error: of the policies, (Z, n); 0 where an action is not available.
        error_values: of the values, (Z, N).
        by_rate: derivative of ``error`` by λ, (Z, n).
        block: derivative of ``error`` by log π of the same state, (Z, n, n).
        by_policy: derivative of ``error_values`` by it, (Z, N, n).
        ahead: (N, Z, A_1, ..., A_N), the chances of the others' actions, for each agent.
        policies: π, (Z, n).
        aims: softmax(log u + λ Q), (Z, n).
        q: Q^i(s, a^i), (Z, n).
        rate: λ.
    """

    error: Array
    error_values: Array
    by_rate: Array
    block: Array
    by_policy: Array
    ahead: list[Array]
    policies: Array
    aims: Array
    q: Array
    rate: float


def path_unknowns(table: Table) -> int:
    """How many values, in one-shot games actions, a path has."""
    each = sum(table.sizes) if table.horizon == 1 or not table.discount else len(table.agents)
    return len(table.states) * (table.horizon or 1) * each


def fits_path(table: Table) -> bool:
    """Whether a path is not too large for `LogitSystem`."""
    return path_unknowns(table) <= LARGEST


class LogitSystem:
    """A game without a batch as arrays, and its equations.

    Times of a finite horizon are states of their own, in order of time. Rewards are divided by
    ``scale``, their largest range, so that λ has no unit.

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
        self.nearby: tuple[Array, Any] | None = None
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

    def at(self, logs: Array, values: Array, rate: float) -> Point:
        """The equations at log π (Z, n), V (Z, N) and λ."""
        # on the way exp(logs) need not sum to one; what it is short of, times V and λ, would leave
        # little of Newton's method
        policies = np.where(self.free, np.exp(logs), 0.0)
        for part in self.of:
            policies[:, part] /= policies[:, part].sum(-1, keepdims=True)
        others, _ = self._chances(policies)
        payoffs = self.payoffs(values)
        slopes = self._slopes(payoffs, policies)
        given = self._given(payoffs, policies, slopes)
        q = np.concatenate([given[i][:, self.of[i]] for i in range(self.agents)], -1)
        scores = self.log_priors + rate * q
        error, aims = np.zeros_like(q), np.zeros_like(q)
        for part in self.of:
            top = scores[:, part].max(-1, keepdims=True)
            weight = np.exp(scores[:, part] - top)
            total = weight.sum(-1, keepdims=True)
            aims[:, part] = weight / total
            off = logs[:, part] - (scores[:, part] - top - np.log(total))
            error[:, part] = np.where(self.free[:, part], off, 0.0)
        block = -rate * (slopes - q[..., None] * self.others) * policies[:, None, :]
        by_rate = -q
        for part in self.of:
            aim = aims[:, part]
            block[:, part] -= np.einsum("sa,sab->sb", aim, block[:, part])[:, None]
            by_rate[:, part] += (aim * q[:, part]).sum(-1, keepdims=True)
        block *= self.free[..., None]
        by_rate *= self.free
        place = np.arange(self.actions)
        block[:, place, place] += 1.0
        means = np.stack([(policies[:, part] * q[:, part]).sum(-1) for part in self.of], -1)
        return Point(
            error=error,
            error_values=values - means,
            by_rate=by_rate,
            block=block,
            by_policy=-((given - means.T[..., None]) * policies).transpose(1, 0, 2),
            ahead=others,
            policies=policies,
            aims=aims,
            q=q,
            rate=rate,
        )

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

    def factored(self, point: Point, border: Place) -> Factored:
        """The linear equations with a last row, the border, by which they are square.

        Args:
            point: where.
            border: a row by log π, V and λ, (Z, n), (Z, N) and a number.
        """
        if not self.discount:
            return self._one_shot(point, border)
        solver, sign = self._eliminated(point, border)

        def solve(right: Place) -> Place:
            p, v, rate = solver(right)
            if point.rate < ROUGH_RATE:
                return p, v, rate
            # λ multiplies rounding in the elimination; refinement takes that back
            got = self._product(point, border, (p, v, rate))
            more = solver((right[0] - got[0], right[1] - got[1], right[2] - got[2]))
            return p + more[0], v + more[1], rate + more[2]

        return Factored(solve, sign)

    def _product(self, point: Point, border: Place, x: Place) -> Place:
        """The derivative and the border, applied to a direction."""
        p, v, rate = x
        off = np.einsum("sab,sb->sa", point.block, p) + self._by_values(point, v)
        joint = point.ahead[0] * self._wide(point.policies[:, self.of[0]], 0)
        moved = np.einsum("sa,sam->sm", joint.reshape(self.states, -1), self.expected(v))
        values = v - self.discount * moved + np.einsum("sxa,sa->sx", point.by_policy, p)
        last = (border[0] * p).sum() + (border[1] * v).sum() + border[2] * rate
        return off + point.by_rate * rate, values, float(last)

    def _eliminated(self, point: Point, border: Place) -> tuple[Any, float]:
        """A function that solves for a right side, and the determinant's sign."""
        row, row_values, row_rate = border
        inverse = np.linalg.inv(point.block)
        sides = np.concatenate([point.by_policy, row[:, None]], 1) @ inverse  # (Z, N + 1, n)
        centred = sides * self.free[:, None]
        for part in self.of:
            total = centred[..., part].sum(-1, keepdims=True)
            centred[..., part] -= point.aims[:, None, part] * total
        joint = self._joint(point, self.discount * point.rate * centred)
        tail = np.einsum("sxa,sa->sx", sides, point.by_rate)
        m = self.states * self.agents
        corner = row_rate - tail[:, -1].sum()

        def factors() -> tuple[Array, Any]:
            matrix = np.empty((m + 1, m + 1))
            full = self._full(joint)  # (Z, N + 1, Z, N)
            matrix[:m, :m] = full[:, :-1].reshape(m, m)
            matrix[np.arange(m), np.arange(m)] += 1.0
            matrix[m, :m] = row_values.ravel() + full[:, -1].sum(0).ravel()
            matrix[:m, m] = -tail[:, :-1].ravel()
            matrix[m, m] = corner
            return _factors(matrix)

        def apply(x: Array) -> Array:
            v = x[:-1].reshape(self.states, self.agents)
            out = np.einsum("sxma,sam->sx", joint, self.expected(v), optimize=True)
            last = out[:, -1].sum() + (row_values * v).sum() + corner * x[-1]
            body = v + out[:, :-1] - tail[:, :-1] * x[-1]
            return np.append(body.ravel(), last)

        sign = 0.0
        if m <= DENSE_VALUES:
            here = factors()
            sign = _sign(here) * float(np.sign(np.linalg.det(point.block)).prod())

        def solve(target: Array) -> Array:
            if m <= DENSE_VALUES:
                return _substituted(here, target)
            x = _gmres(apply, target, self.nearby)
            if x is None:
                self.nearby = factors()
                x = _substituted(self.nearby, target)
            return x

        def solver(right: Place) -> Place:
            first = np.einsum("sxa,sa->sx", sides, right[0])
            target = np.append((right[1] - first[:, :-1]).ravel(), right[2] - first[:, -1].sum())
            x = solve(target)
            v, rate = x[:-1].reshape(self.states, self.agents), float(x[-1])
            off = right[0] - self._by_values(point, v) - point.by_rate * rate
            return np.einsum("sab,sb->sa", inverse, off), v, rate

        return solver, sign

    def _one_shot(self, point: Point, border: Place) -> Factored:
        """Values follow from policies, so that folds are where a state's block is singular."""
        z, n = self.states, self.actions
        row = border[0] - np.einsum("sx,sxa->sa", border[1], point.by_policy)
        matrix = np.zeros((z * n + 1, z * n + 1))
        for s in range(z):
            matrix[s * n : (s + 1) * n, s * n : (s + 1) * n] = point.block[s]
        matrix[:-1, -1], matrix[-1, :-1] = point.by_rate.ravel(), row.ravel()
        matrix[-1, -1] = border[2]
        factors = _factors(matrix)

        def solve(right: Place) -> Place:
            target = np.append(right[0].ravel(), right[2] - (border[1] * right[1]).sum())
            x = _substituted(factors, target)
            p = x[:-1].reshape(z, n)
            v = right[1] - np.einsum("sxa,sa->sx", point.by_policy, p)
            return p, v, float(x[-1])

        return Factored(solve, _sign(factors))

    def _by_values(self, point: Point, values: Array) -> Array:
        """The derivative of the policies' equations by V, applied to a change of V: (Z, n)."""
        ahead = self.expected(values).transpose(2, 0, 1).reshape(self.rewards.shape)
        out = np.empty_like(point.q)
        for i, part in enumerate(self.of):
            change = (ahead[i] * point.ahead[i]).sum(self.beside[i])
            out[:, part] = change - (point.aims[:, part] * change).sum(-1, keepdims=True)
        return -self.discount * point.rate * np.where(self.free, out, 0.0)

    def _joint(self, point: Point, sides: Array) -> Array:
        """Coefficients of E[V^j | s, a] in row x, (Z, x, N, A_1 ⋯ A_N), of sides (Z, x, n)."""
        out = np.empty((self.states, sides.shape[1], self.agents, prod(self.sizes)))
        for j, part in enumerate(self.of):
            side = sides[..., part].copy()
            side[:, j] -= self.discount * point.policies[:, part]
            shape = [1] * self.agents
            shape[j] = self.sizes[j]
            wide = side.reshape(*side.shape[:2], *shape) * point.ahead[j][:, None]
            out[:, :, j] = wide.reshape(*side.shape[:2], -1)
        return out

    def _full(self, joint: Array) -> Array:
        """The coefficients (Z, x, N, A) as a matrix on V, (Z, x, Z, N)."""
        z, x, n, a = joint.shape
        if self.successors is None:
            flat = joint.reshape(z, x * n, a) @ self.probabilities.reshape(z, a, z)
            return flat.reshape(z, x, n, z).transpose(0, 1, 3, 2)
        entries = joint[..., None] * self.probabilities[:, None, None]  # (Z, x, N, A, K)
        rows = np.arange(z * x * n).reshape(z, x, n, 1, 1) * z
        places = rows + self.successors[:, None, None]
        flat = np.bincount(places.ravel(), entries.ravel(), minlength=z * x * n * z)
        return flat.reshape(z, x, n, z).transpose(0, 1, 3, 2)

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


def _factors(matrix: Array) -> tuple[Array, Any]:
    upper, swaps, singular = scipy.linalg.lapack.dgetrf(matrix)
    if singular or not np.isfinite(upper).all():
        raise np.linalg.LinAlgError("singular")
    return upper, swaps


def _sign(factors: tuple[Array, Any]) -> float:
    """The determinant's sign, of LU factors."""
    upper, swaps = factors
    odd = int((swaps != np.arange(len(upper))).sum()) % 2
    return float(np.sign(np.diag(upper)).prod()) * (-1.0 if odd else 1.0)


def _substituted(factors: tuple[Array, Any], target: Array) -> Array:
    return np.asarray(scipy.linalg.lu_solve(factors, target, check_finite=False))


def _gmres(apply: Any, right: Array, nearby: tuple[Array, Any] | None) -> Array | None:
    """The solution, preconditioned by the factors of a nearby matrix; ``None`` if it is slow."""
    shape = (len(right), len(right))
    near = scipy.sparse.linalg.LinearOperator(
        shape, matvec=lambda x: x if nearby is None else _substituted(nearby, x), dtype=np.float64
    )
    operator = scipy.sparse.linalg.LinearOperator(shape, matvec=apply, dtype=np.float64)
    x, failed = scipy.sparse.linalg.gmres(
        operator, right, rtol=1e-9, restart=60, maxiter=1 if nearby else 3, M=near
    )
    return None if failed else np.asarray(x)
