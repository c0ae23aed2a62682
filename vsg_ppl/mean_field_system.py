"""The equations of a mean-field equilibrium, all times at once, and their derivative.

The unknowns at time t are the policy π_t, the values V_t and the crowd's law μ_t over states. The
crowd enters rewards and kernel as L = μπ, so every equation reads two neighbouring times at most,
and Newton's matrix is sparse:

    policy      τ log(π/u) + V − Q = 0, or the smoothed complementarity 0 ≤ π ⟂ V − Q ≥ 0
    values      Σ_a π(a|s) = 1
    crowd       μ_{t+1} = Σ P(·|s, a, L_t) L_t(s, a), μ_0 given

Substituting the crowd's flow instead (the policy as the only unknown) makes one long composition
of all times, whose folds are many more and whose matrix is full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.crowd_flow import ahead, backup, flow
from vsg_ppl.mean_field_table import Kernel, MeanFieldTable

Array = NDArray[np.float64]

FULL = 800
"""States times actions up to which the crowd's influence is taken as a full matrix."""

PROBES = 12
"""Passes with random signs that tell the blocks of a crowd that is not read locally."""

COPIES = 1 << 21
"""Entries of the kernel, over all copies, up to which one pass may differentiate."""


@dataclass(frozen=True)
class Smooth:
    """What stands for optimality: a temperature, or a smoothing of the complementarity.

    Attributes:
        temperature: τ > 0 of the soft equilibrium; ``None`` for the complementarity.
        width: ε: the smoothed equations say π (V − Q) = ε; 0 is the equilibrium itself.
    """

    temperature: float | None = None
    width: float = 0.0


@dataclass
class Point:
    """A guess: the policy, or its logarithm in the soft equations; values; the crowd's law."""

    policy: Tensor  # (H, S, A)
    values: Tensor  # (H, S)
    law: Tensor  # (H, S)


class System:
    """The equations of a table, at any smoothing.

    Args:
        table: the game.
        log_prior: log π̄ of the soft equations, (H|1, S, A); the game's prior by default.
    """

    def __init__(self, table: MeanFieldTable, log_prior: Tensor | None = None) -> None:
        self.table = table
        self.h, self.n, self.a = table.times, len(table.states), table.actions.size
        self.block = self.n * (self.a + 2)
        self.size = self.h * self.block
        prior = table.log_prior if log_prior is None else log_prior
        self.log_prior = prior.expand(self.h, self.n, self.a)
        self.free = self.log_prior > -torch.inf
        self.full = self.n * self.a <= FULL
        rewards = table.kernel(table.even()).rewards
        self.scale = float((rewards.amax() - rewards.amin()).clamp_min(1e-6))  # of V − Q
        self.weights = torch.ones(self.h, dtype=torch.float64)
        if table.horizon is not None:
            self.weights[-1] = 0.0  # nothing follows
        self._pattern: tuple[Any, ...] | None = None

    @cached_property
    def local(self) -> bool:
        """Whether rewards read the crowd of the own state only, and nothing else does."""
        if self.table.moving:
            return False
        joint = self.table._random(0)
        with torch.enable_grad():
            x = joint.clone().requires_grad_()
            rewards = self.table.kernel(x).rewards
            if not rewards.requires_grad:
                return True
            generator = torch.Generator().manual_seed(0)
            u = torch.rand(rewards.shape, generator=generator, dtype=torch.float64)
            (true,) = torch.autograd.grad(rewards, x, u)
        guess = (u[..., None] * self._blocks(joint, None)).sum(2)
        return torch.allclose(true, guess, rtol=1e-9, atol=1e-9 * float(true.abs().max()))

    # --- Points and vectors ---

    def pack(self, point: Point) -> Array:
        """A point as one vector, time by time."""
        parts = [point.policy.reshape(self.h, -1), point.values, point.law]
        return torch.cat(parts, 1).reshape(-1).numpy().copy()

    def unpack(self, x: Array) -> Point:
        """The point of a vector."""
        rows = torch.from_numpy(x).reshape(self.h, self.block)
        k = self.n * self.a
        policy = rows[:, :k].reshape(self.h, self.n, self.a)
        return Point(policy, rows[:, k : k + self.n], rows[:, k + self.n :])

    def point(self, policy: Tensor, smooth: Smooth) -> Array:
        """The vector of a policy (H, S, A), with the crowd it makes and best responses' values."""
        joint = flow(self.table, policy)
        kernel = self._weighted(joint)
        _, _, values = backup(self.table, kernel, smooth.temperature or 0.0, self.log_prior)
        if smooth.temperature is not None:
            policy = torch.where(self.free, policy.clamp_min(1e-300).log(), -torch.inf)
            policy = policy.nan_to_num(neginf=0.0)
        return self.pack(Point(policy, values, joint.sum(-1)))

    def policy(self, x: Array, smooth: Smooth) -> Tensor:
        """The policy (H, S, A) of a vector, on the simplex."""
        rows = self.unpack(x).policy
        if smooth.temperature is not None:
            return torch.where(self.free, rows, -torch.inf).softmax(-1)
        rows = torch.where(self.free, rows.clamp_min(0.0), 0.0)
        total = rows.sum(-1, keepdim=True)
        even = self.log_prior.exp()
        return torch.where(total > 1e-12, rows / total.clamp_min(1e-12), even)

    def cooled(self, x: Array, before: float, after: float) -> Array:
        """The vector of a soft equilibrium, its log odds scaled to a lower temperature."""
        point = self.unpack(x)
        prior = torch.where(self.free, self.log_prior, 0.0)
        logs = prior + (point.policy - prior) * (before / after)
        logs = torch.where(self.free, logs, -torch.inf).log_softmax(-1).nan_to_num(neginf=0.0)
        return self.pack(Point(logs, point.values, point.law))

    # --- Equations ---

    def equations(self, x: Array, smooth: Smooth) -> Array:
        """How far a vector is from solving them, (n,)."""
        point = self.unpack(x)
        pi = self._executed(point, smooth)
        joint = point.law[..., None] * pi
        kernel = self.table.kernel(joint)
        return self._errors(point, pi, joint, kernel, smooth).numpy()

    def linearised(
        self, x: Array, smooth: Smooth, rates: Tensor | None = None
    ) -> tuple[Array, Matrix, Array]:
        """The equations' errors at a vector and their derivatives.

        Args:
            x: the vector.
            smooth: what stands for optimality.
            rates: how fast the weight of the future changes at each time with some parameter, (H,).

        Returns:
            The errors, their derivative by the vector, and their derivative by that parameter.
        """
        point = self.unpack(x)
        pi = self._executed(point, smooth)
        joint = point.law[..., None] * pi
        kernel = self.table.kernel(joint)
        errors = self._errors(point, pi, joint, kernel, smooth).numpy()
        by_policy, by_gap, change = self._optimality(point, pi, kernel, smooth)[1:]
        following = self._following(point.values)
        matrix: Matrix
        if self.full:
            slopes = self._slopes(joint, following)
            matrix = self._dense_matrix(point.law, pi, kernel, slopes, by_policy, by_gap, change)
        else:
            blocks = self._blocks(joint, None if self.local else following)
            near = self._sparse_matrix(point.law, pi, kernel, blocks, by_policy, by_gap, change)
            matrix = near
            if not self.local:
                forward = self._forward(joint, following)
                product = partial(
                    self._product, forward, point.law, pi, joint, by_policy, by_gap, change
                )
                matrix = Indirect(near, product)
        side = torch.zeros(self.h, self.block, dtype=torch.float64)
        if rates is not None:
            after = torch.cat([point.values[1:], torch.zeros_like(point.values[:1])])
            future = self.table.discount * ahead(kernel, after)
            slope = -by_gap * rates[:, None, None] * future.expand_as(by_gap)
            side[:, : self.n * self.a] = slope.reshape(self.h, -1)
        return errors, matrix, side.reshape(-1).numpy()

    def inside(self, x: Array, move: Array) -> float:
        """The largest step, at most 1, after which no share of the crowd is negative."""
        law = self.unpack(x).law
        step = self.unpack(move).law
        falls = (step < 0) & (law > 1e-12)
        if not bool(falls.any()):
            return 1.0
        return min(1.0, 0.995 * float((-law[falls] / step[falls]).min()))

    def mended(self, x: Array) -> Array:
        """The vector with shares that are not negative."""
        point = self.unpack(x)
        return self.pack(Point(point.policy, point.values, point.law.clamp_min(0.0)))

    def _executed(self, point: Point, smooth: Smooth) -> Tensor:
        if smooth.temperature is not None:
            return torch.where(self.free, point.policy.clamp_max(1.0).exp(), 0.0)
        return torch.where(self.free, point.policy, 0.0)

    def _following(self, values: Tensor) -> Tensor:
        """V at the next time, weighted, (H, S)."""
        if self.table.horizon is None:
            return values
        after = torch.cat([values[1:], torch.zeros_like(values[:1])])
        return self.weights[:, None] * after

    def _weighted(self, joint: Tensor) -> Kernel:
        """The kernel, its law scaled by how much the future counts."""
        kernel = self.table.kernel(joint)
        if bool((self.weights[:-1] == 1).all()):
            return kernel
        law = kernel.probabilities * self.weights.reshape(-1, 1, 1, 1)
        return Kernel(kernel.rewards, kernel.successors, law)

    def _errors(
        self, point: Point, pi: Tensor, joint: Tensor, kernel: Kernel, smooth: Smooth
    ) -> Tensor:
        out = torch.empty(self.h, self.block, dtype=torch.float64)
        k = self.n * self.a
        out[:, :k] = self._optimality(point, pi, kernel, smooth)[0].reshape(self.h, -1)
        out[:, k : k + self.n] = pi.sum(-1) - 1
        moved = self._moved(joint, kernel)
        if self.table.horizon is None:
            # the flow's equations add up to nothing; that all shares add up to one fills the gap
            more = (point.law.sum() - 1) * self.table.initial
            out[:, k + self.n :] = point.law - moved + more
        else:
            out[0, k + self.n :] = point.law[0] - self.table.initial
            out[1:, k + self.n :] = point.law[1:] - moved[:-1]
        return out.reshape(-1)

    def _optimality(
        self, point: Point, pi: Tensor, kernel: Kernel, smooth: Smooth
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The policy's equations, their slopes by the unknown and by V − Q, and dπ."""
        q = kernel.rewards + self.table.discount * ahead(kernel, self._following(point.values))
        lack = point.values[..., None] - q
        one, none = torch.ones_like(lack), torch.zeros_like(lack)
        if smooth.temperature is not None:
            tau = smooth.temperature
            prior = torch.where(self.free, self.log_prior, 0.0)
            error, by_policy, by_gap = tau * (point.policy - prior) + lack, tau * one, one
            change = pi
        else:
            lack = lack / self.scale
            root = (pi**2 + lack**2 + 2 * smooth.width).sqrt().clamp_min(1e-150)
            error = pi + lack - root
            by_policy, by_gap = 1 - pi / root, (1 - lack / root) / self.scale
            change = one
        return (
            torch.where(self.free, error, point.policy),
            torch.where(self.free, by_policy, one),
            torch.where(self.free, by_gap, none),
            torch.where(self.free, change, none),
        )

    def _moved(self, joint: Tensor, kernel: Kernel) -> Tensor:
        """Where the crowd of each time is at the next, (H, S)."""
        h, n = joint.shape[:2]
        mass = joint[..., None] * kernel.probabilities
        start = n * torch.arange(h).reshape(-1, 1, 1, 1)
        numbers = (kernel.successors + start).expand(mass.shape)
        moved = mass.new_zeros(h * n).index_add(0, numbers.reshape(-1), mass.reshape(-1))
        return moved.reshape(h, n)

    # --- Derivatives ---

    def _blocks(self, joint: Tensor, values: Tensor | None) -> Tensor:
        """∂Q(s,a)/∂L(s,a'), within a state, (H, S, A, A).

        Without values the crowd is read locally, and one pass for each action tells all. With them
        it is not, and passes with random signs tell it about: what other states add averages out.
        """
        if values is None:
            signs = torch.ones(1, self.n, dtype=torch.float64)
            values = torch.zeros(self.h, self.n, dtype=torch.float64)
        else:
            generator = torch.Generator().manual_seed(0)
            signs = torch.randint(2, (PROBES, self.n), generator=generator).double() * 2 - 1
        found = torch.zeros(self.h, self.n, self.a, self.a, dtype=torch.float64)
        for sign in signs:
            rows = torch.eye(self.a, dtype=torch.float64)[:, None, None] * sign[:, None]
            pulled = self._pulled(joint, values, rows.expand(-1, self.h, -1, -1), None)
            found += (pulled * sign[:, None]).permute(1, 2, 0, 3)
        found /= len(signs)
        if len(signs) > 1:  # where the crowd is read as a whole, all that was found is noise
            u = torch.rand(1, self.h, self.n, self.a, generator=generator, dtype=torch.float64)
            true = self._pulled(joint, values, u - 0.5, None)[0]
            guess = ((u[0] - 0.5)[..., None] * found).sum(2)
            if float((true - guess).norm()) > float(true.norm()):
                return torch.zeros_like(found)
        return found

    def _forward(
        self, joint: Tensor, following: Tensor
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """How Q (H, S, A) and the crowd's move (H, S) change as the crowd changes.

        A pullback is linear in what it pulls back, and its own pullback is the derivative forwards.
        """
        with torch.enable_grad():
            x = joint.detach().clone().requires_grad_()
            kernel = self.table.kernel(x)
            q = kernel.rewards + self.table.discount * ahead(kernel, following)
            outputs = (q.expand(joint.shape) + 0 * x, self._moved(x, kernel))
            pulled = [torch.zeros_like(y, requires_grad=True) for y in outputs]
            (back,) = torch.autograd.grad(outputs, x, pulled, create_graph=True)

        def forward(change: Tensor) -> tuple[Tensor, Tensor]:
            q, moved = torch.autograd.grad(back, pulled, change, retain_graph=True)
            return q, moved

        return forward

    def _product(
        self,
        forward: Callable[[Tensor], tuple[Tensor, Tensor]],
        law: Tensor,
        pi: Tensor,
        joint: Tensor,
        by_policy: Tensor,
        by_gap: Tensor,
        change: Tensor,
        vector: Array,
    ) -> Array:
        """Newton's matrix times a vector."""
        move = self.unpack(vector)
        along = move.law[..., None] * pi + law[..., None] * change * move.policy

        q, moved = forward(along)
        after = self._following(move.values)
        q = q + self.table.discount * ahead(self.table.kernel(joint), after)
        out = torch.empty(self.h, self.block, dtype=torch.float64)
        k = self.n * self.a
        policy = by_policy * move.policy + by_gap * (move.values[..., None] - q)
        out[:, :k] = policy.reshape(self.h, -1)
        out[:, k : k + self.n] = (change * move.policy).sum(-1)
        if self.table.horizon is None:
            more = move.law.sum() * self.table.initial
            out[:, k + self.n :] = move.law - moved + more
        else:
            out[0, k + self.n :] = move.law[0]
            out[1:, k + self.n :] = move.law[1:] - moved[:-1]
        return out.reshape(-1).numpy()

    def _slopes(self, joint: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """How Q and the crowd's move change with the crowd's law, V being fixed.

        ∂Q(s,a)/∂L(s',a'), (H, S·A, S·A), and ∂μ⁺(s')/∂L(s,a), (H, S, S·A).
        """
        size = self.n * self.a
        eye = torch.eye(size, dtype=torch.float64).reshape(size, 1, self.n, self.a)
        ends = torch.eye(self.n, dtype=torch.float64)[:, None].expand(-1, self.h, -1)
        rows = eye.expand(-1, self.h, -1, -1)
        if self.table.moving:
            by_q, by_move = self._pulled(joint, values, rows, ends).split([size, self.n])
        else:  # a kernel that no crowd moves is its own slope
            by_q = self._pulled(joint, values, rows, None)
            arrows = self._arrows(self.table.kernel(joint))
            by_move = arrows.reshape(self.h, size, self.n).movedim(2, 0)
        return (
            by_q.reshape(size, self.h, size).transpose(0, 1),
            by_move.reshape(self.n, self.h, size).transpose(0, 1),
        )

    def _pulled(
        self, joint: Tensor, values: Tensor, by_q: Tensor, by_move: Tensor | None
    ) -> Tensor:
        """Gradients by L of m combinations of Q, (m, H, S, A), then of the crowd's move, (m, H, S).

        Every combination gets a copy of the times, and one backward pass serves all copies.
        """
        m = len(by_q) + (0 if by_move is None else len(by_move))
        each = max(1, COPIES // (self.h * self.n * self.a * 8))
        parts = []
        for start in range(0, m, each):
            few = by_q[start : start + each]
            ends = None if by_move is None else by_move[max(0, start - len(by_q)) :]
            ends = None if ends is None else ends[: min(m - start, each) - len(few)]
            k, q_copies = len(few) + (0 if ends is None else len(ends)), len(few) * self.h
            with torch.enable_grad():
                x = joint.detach().repeat(k, 1, 1).requires_grad_()
                kernel = self.table.kernel(x, tuple(range(self.h)) * k)
                q = kernel.rewards
                if self.table.moving:
                    q = q + self.table.discount * ahead(kernel, values.repeat(k, 1))
                total = (q[:q_copies] * few.reshape(q_copies, self.n, self.a)).sum()
                if ends is not None and len(ends):
                    moved = self._moved(x, kernel)[q_copies:]
                    total = total + (moved * ends.reshape(-1, self.n)).sum()
                if total.requires_grad:
                    (slope,) = torch.autograd.grad(total, x)
                else:
                    slope = torch.zeros_like(joint).repeat(k, 1, 1)
            parts.append(slope.reshape(k, self.h, self.n, self.a))
        return torch.cat(parts)

    def _arrows(self, kernel: Kernel) -> Tensor:
        """P(s'|s, a) as a full tensor, (H, S·A, S)."""
        shape = (
            self.h,
            self.n,
            self.a,
            max(kernel.successors.shape[3], kernel.probabilities.shape[3]),
        )
        law, numbers = kernel.probabilities.expand(shape), kernel.successors.expand(shape)
        full = torch.zeros(*shape[:3], self.n, dtype=torch.float64)
        return full.scatter_add(-1, numbers, law).reshape(self.h, -1, self.n)

    def _dense_matrix(
        self,
        law: Tensor,
        pi: Tensor,
        kernel: Kernel,
        slopes: tuple[Tensor, Tensor],
        by_policy: Tensor,
        by_gap: Tensor,
        change: Tensor,
    ) -> sparse.csc_array:
        """Newton's matrix from full blocks: the own time, the next values, the last crowd."""
        h, n, k, b = self.h, self.n, self.n * self.a, self.block
        by_q, by_move = slopes
        stationary = self.table.horizon is None
        # L = μ π: what a change of the unknown policy, or of the law, changes in it
        by_unknown = (law[..., None] * change).reshape(h, 1, k)
        spread = torch.zeros(h, k, n, dtype=torch.float64)
        states = torch.arange(n).repeat_interleave(self.a)
        spread[:, torch.arange(k), states] = pi.reshape(h, k)
        own = torch.zeros(h, b, b, dtype=torch.float64)
        gap = by_gap.reshape(h, k, 1)
        own[:, :k, :k] = -gap * by_q * by_unknown
        own[:, torch.arange(k), torch.arange(k)] += by_policy.reshape(h, k)
        own[:, torch.arange(k), k + states] = by_gap.reshape(h, k)
        own[:, :k, k + n :] = -gap * (by_q @ spread)
        own[:, k + states, torch.arange(k)] = change.reshape(h, k)
        own[:, k + n + torch.arange(n), k + n + torch.arange(n)] = 1.0
        future = -self.table.discount * gap * self.weights[:, None, None] * self._arrows(kernel)
        past = torch.cat([-by_move * by_unknown, -(by_move @ spread)], 2)  # (h, n, k + n)
        if stationary:
            own[:, :k, k : k + n] += future
            own[:, k + n :, :k] += past[..., :k]
            own[:, k + n :, k + n :] += past[..., k:] + self.table.initial[None, :, None]
            return sparse.csc_array(own[0].numpy())
        if self._pattern is None:
            self._pattern = self._places()
        rows, order, columns, size = self._pattern
        data = torch.cat([own.reshape(-1), future[:-1].reshape(-1), past[:-1].reshape(-1)])
        matrix = sparse.csc_array(
            (data.numpy()[order], rows, columns), shape=(size, size), copy=False
        )
        return matrix

    def _places(self) -> tuple[Any, ...]:
        """Rows, order and column starts of the entries of the block matrix, in compressed form."""
        h, n, k, b = self.h, self.n, self.n * self.a, self.block

        def block(down: Any, across: Any, times: int, shift: int, side: int) -> tuple[Any, Any]:
            t = np.arange(times)[:, None, None]
            rows = (t + shift) * b + down[None, :, None] + 0 * across[None, None, :]
            columns = (t + side) * b + across[None, None, :] + 0 * down[None, :, None]
            return rows.reshape(-1), columns.reshape(-1)

        everything, acts = np.arange(b), np.arange(k)
        values, laws = k + np.arange(n), k + n + np.arange(n)
        parts = [
            block(everything, everything, h, 0, 0),
            block(acts, values, h - 1, 0, 1),
            block(laws, np.concatenate([acts, laws]), h - 1, 1, 0),
        ]
        rows = np.concatenate([part[0] for part in parts])
        columns = np.concatenate([part[1] for part in parts])
        order = np.lexsort((rows, columns))
        starts = np.searchsorted(columns[order], np.arange(h * b + 1))
        return rows[order].astype(np.int32), order, starts.astype(np.int32), h * b

    def _sparse_matrix(
        self,
        law: Tensor,
        pi: Tensor,
        kernel: Kernel,
        by_q: Tensor,
        by_policy: Tensor,
        by_gap: Tensor,
        change: Tensor,
    ) -> sparse.csc_array:
        """Newton's matrix where rewards read the crowd of the own state only."""
        h, n, a, k, b = self.h, self.n, self.a, self.n * self.a, self.block
        t = torch.arange(h).reshape(-1, 1, 1)
        s = torch.arange(n).reshape(1, -1, 1)
        act = t * b + s * a + torch.arange(a)  # (h, n, a)
        value = t * b + k + s  # (h, n, 1)
        crowd = t * b + k + n + s
        rows: list[Tensor] = []
        columns: list[Tensor] = []
        data: list[Tensor] = []

        def put(down: Tensor, across: Tensor, entries: Tensor) -> None:
            down, across, entries = torch.broadcast_tensors(down, across, entries)
            rows.append(down.reshape(-1))
            columns.append(across.reshape(-1))
            data.append(entries.reshape(-1))

        by_unknown = law[..., None] * change
        put(act[..., None], act[:, :, None], -by_gap[..., None] * by_q * by_unknown[:, :, None])
        put(act, act, by_policy)
        put(act, value, by_gap)
        put(act, crowd, -by_gap * (by_q * pi[:, :, None]).sum(-1))
        put(value, act, change)
        put(crowd, crowd, torch.ones(1, 1, 1, dtype=torch.float64))
        shape = (h, n, a, max(kernel.successors.shape[3], kernel.probabilities.shape[3]))
        p, numbers = kernel.probabilities.expand(shape), kernel.successors.expand(shape)
        stationary = self.table.horizon is None
        used = slice(None) if stationary else slice(None, h - 1)
        after = (torch.arange(h) + (0 if stationary else 1)).reshape(-1, 1, 1, 1) * b + numbers
        weight = -self.table.discount * self.weights.reshape(-1, 1, 1, 1)
        put(act[used][..., None], (after + k)[used], (weight * by_gap[..., None] * p)[used])
        put((after + k + n)[used], act[used][..., None], (-p * by_unknown[..., None])[used])
        put((after + k + n)[used], crowd[used][..., None], (-p * pi[..., None])[used])
        if stationary:
            put(crowd, crowd.reshape(1, 1, -1), self.table.initial.reshape(1, -1, 1))
        entries = (torch.cat(data).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy()))
        return sparse.csc_array(sparse.coo_array(entries, shape=(self.size, self.size)))


@dataclass(frozen=True)
class Indirect:
    """A matrix known by its products, and one near it."""

    near: sparse.csc_array
    product: Callable[[Array], Array]


Matrix: TypeAlias = sparse.csc_array | Indirect


def solve(matrix: Matrix, right: Array) -> Array | None:
    """The solution of a system, or ``None`` where none is found.

    Pivots stay on the diagonal as far as they can, which keeps the factors sparse; a step of
    refinement mends the rounding. Where it does not, the pivots are chosen for exactness. A matrix
    that is known by its products only is solved by GMRES, the one near it going before.
    """
    near = matrix.near if isinstance(matrix, Indirect) else matrix
    for ordering, threshold in (("MMD_AT_PLUS_A", 1e-5), ("COLAMD", 1.0)):
        try:
            factors = scipy.sparse.linalg.splu(
                near, permc_spec=ordering, diag_pivot_thresh=threshold
            )
        except RuntimeError:
            continue
        found: Array = factors.solve(right)
        found = found + factors.solve(right - near @ found)
        off = np.abs(right - near @ found).max(initial=0.0)
        if np.isfinite(found).all() and off <= 1e-8 * np.abs(right).max(initial=0.0):
            return found if near is matrix else _iterate(matrix, factors.solve, right, found)
    return None


def _iterate(
    matrix: Indirect, before: Callable[[Array], Array], right: Array, start: Array
) -> Array | None:
    shape = matrix.near.shape
    found, failed = scipy.sparse.linalg.gmres(
        scipy.sparse.linalg.LinearOperator(shape, matvec=matrix.product, dtype=np.float64),
        right,
        x0=start,
        M=scipy.sparse.linalg.LinearOperator(shape, matvec=before, dtype=np.float64),
        rtol=1e-10,
        restart=60,
        maxiter=5,
    )
    solution: Array = found
    return solution if np.isfinite(solution).all() and failed >= 0 else None
