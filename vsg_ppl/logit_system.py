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

from vsg_ppl.game_arrays import Array, GameArrays
from vsg_ppl.table import Table

DENSE_VALUES = 1200
"""Up to this many values, states times agents, the linear system is dense; beyond, by GMRES."""

ROUGH_RATE = 100.0
"""λ up to which the linear solutions are exact enough for steps without refinement."""

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


class LogitSystem(GameArrays):
    """The equations of a game, and their derivative; see `GameArrays` for its arguments."""

    def __init__(self, table: Table, log_priors: list[Any] | None = None) -> None:
        super().__init__(table, log_priors)
        self.nearby: tuple[Array, Any] | None = None

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
