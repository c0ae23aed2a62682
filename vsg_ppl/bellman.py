"""Expectations, backups and values on a table: the arithmetic below every exact solver.

Policies are lists with one tensor of probabilities for each agent: (B|1, H|1, S, A_i), or, for at
most one agent, the conditional π^i(a^i | s, a^{-i}) of shape (B|1, H|1, S, A_1, ..., A_N), which
sums to one over the agent's own dimension. Values are (B, H, S, n) for n agents asked for, with H =
1 in infinite-horizon games. All of it is differentiable in policies, rewards and probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vsg_ppl.table import Table

SMALL_STATES = 64
"""Up to this many states, values over a finite horizon go through dense matrices."""

DENSE_STATES = 2000
"""Up to this many states, discounted values come from one dense linear solve; up to a quarter of it
where the successors are few, for then an iterative solve is faster (four times at 1,300 states)."""

Policies = Sequence[Tensor]


def contract(x: Tensor, policies: Policies, keep: int | tuple[int, ...] | None = None) -> Tensor:
    """Average over the actions of all agents but those to ``keep``.

    Args:
        x: (B|1, H|1, S, A_1|1, ..., A_N|1, ...); dimensions behind the agents' are left as they
            are.
        policies: one tensor for each agent.
        keep: the agent or agents whose actions stay.

    Returns:
        (B, H, S, ...), with A_k|1 behind S for every agent k kept.
    """
    n = len(policies)
    kept = keep if isinstance(keep, tuple) else (keep,)
    trailing = x.ndim - 3 - n
    # a conditional policy reads the others' actions, so its agent is averaged over first
    for j in sorted(range(n), key=lambda j: (not _conditional(policies, j), -j)):
        # an x that does not depend on j needs no average: j's policy sums to one
        if j not in kept and x.shape[3 + j] > 1:
            x = _average(x, policies, j, trailing)
    return x.squeeze([3 + j for j in range(n) if j not in kept])


def following(table: Table, values: Tensor, t: int = 0) -> Tensor:
    """E[ values(s') | s, a ] at time t.

    Args:
        table: the game.
        values: (B, S, n).
        t: the time.

    Returns:
        (B, 1, S, A_1|1, ..., A_N|1, n).
    """
    probabilities = table.probabilities[:, _at(table.probabilities, t)]
    if table.successors is None:
        b = max(len(probabilities), len(values))
        flat = probabilities.flatten(1, -2).expand(b, -1, -1)
        out = flat @ values.expand(b, *values.shape[1:])
        return out.reshape(b, 1, *probabilities.shape[1:-1], values.shape[-1])
    numbers = table.successors[_at(table.successors[None], t)]
    picked = values[:, numbers]  # (B, S, A..., K, n)
    return (picked * probabilities[..., None]).sum(-2)[:, None]


def transition(table: Table, policies: Policies) -> Tensor:
    """P_π(s'|s), dense, for all times at once: (B, H|1, S, S)."""
    if table.successors is None:
        return contract(table.probabilities, policies)
    n = len(table.states)
    times = max(table.probabilities.shape[1], *(policy.shape[1] for policy in policies))
    out = []
    for t in range(times):
        rows, columns, weights = _entries(table, policies, t)
        flat = weights.new_zeros(len(weights), n * n)
        out.append(flat.index_add(1, rows * n + columns, weights).reshape(-1, n, n))
    return torch.stack(out, 1)


def evaluate(table: Table, policies: Policies, rewards: Tensor) -> Tensor:
    """Values of a stream of rewards under the policies: V = R + γ P_π V.

    Args:
        table: the game.
        policies: all agents'.
        rewards: expected reward of each state under the policies, (B, H|1, S, n).

    Returns:
        (B, H, S, n); H = 1 in infinite-horizon games.
    """
    if table.horizon is None:
        return solve(table, policies, rewards)
    if len(table.states) <= SMALL_STATES:
        matrix = table.discount * transition(table, policies)
        b = max(len(matrix), len(rewards))
        matrix = matrix.expand(b, table.horizon, -1, -1)[:, :-1]
        stream = rewards.expand(b, table.horizon, -1, -1)
        values: Tensor = _Recursion.apply(  # type: ignore[no-untyped-call]
            matrix.movedim(1, 0), stream.movedim(1, 0)
        )
        return values.movedim(0, 1)
    value = rewards[:, -1]
    steps = [value]
    for t in reversed(range(table.horizon - 1)):
        now = [policy[:, [_at(policy, t)]] for policy in policies]
        ahead = table.discount * contract(following(table, value, t), now)[:, 0]
        value = rewards[:, _at(rewards, t)] + ahead
        steps.append(value)
    return torch.stack(steps[::-1], 1)


def solve(table: Table, policies: Policies, rewards: Tensor) -> Tensor:
    """(I − γ P_π)^{-1} R for an infinite horizon, (B, 1, S, n)."""
    if _is_dense(table):
        matrix = transition(table, policies)[:, 0]
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        b = max(len(matrix), len(rewards))
        system = (eye - table.discount * matrix).expand(b, -1, -1)
        solution: Tensor = torch.linalg.solve(system, rewards[:, 0].expand(b, -1, -1))
        return solution[:, None]
    rows, columns, weights = _entries(table, policies, 0)
    out = [
        _SparseSolve.apply(  # type: ignore[no-untyped-call]
            rows, columns, table.discount * weights[k % len(weights)], rewards[k % len(rewards), 0]
        )
        for k in range(max(len(weights), len(rewards)))
    ]
    return torch.stack(out)[:, None]


def action_values(
    table: Table, policies: Policies, values: Tensor, agent: int, column: int | None = None
) -> Tensor:
    """Q^i(s, a^i) = E_{a^{-i}}[ r^i + γ E V^i(s') ], (B, H, S, A_i).

    Args:
        table: the game.
        policies: all agents'; the agent's own is not used.
        values: (B, H, S, n).
        agent: the agent's number.
        column: which of the n values is the agent's, by default its number.
    """
    k = agent if column is None else column
    reward = contract(table.rewards[agent], policies, keep=agent)
    size = table.sizes[agent]
    if table.horizon is None:
        ahead = contract(following(table, values[:, 0, :, [k]])[..., 0], policies, keep=agent)
        q = reward + table.discount * ahead
        return q.expand(*q.shape[:3], size)
    steps = []
    for t in range(table.horizon):
        now = [policy[:, [_at(policy, t)]] for policy in policies]
        q = reward[:, [_at(reward, t)]]
        if t + 1 < table.horizon:
            ahead = following(table, values[:, t + 1, :, [k]], t)[..., 0]
            q = q + table.discount * contract(ahead, now, keep=agent)
        steps.append(q.expand(max(table.batch, len(q)), 1, len(table.states), size))
    return torch.cat(steps, 1)


def policy_rewards(table: Table, policies: Policies, agents: Sequence[int]) -> Tensor:
    """E_π[ r^i | s ] of each agent asked for, (B, H|1, S, n)."""
    means = [contract(table.rewards[i], policies) for i in agents]
    return torch.stack(torch.broadcast_tensors(*means), -1)


def divergence(policy: Tensor, log_policy: Tensor, log_prior: Tensor) -> Tensor:
    """KL(π ‖ u) over the last dimension, with 0 log 0 = 0, values and gradients."""
    played = policy > 0
    ratio = torch.where(played, log_policy, 0.0) - torch.where(played, log_prior, 0.0)
    return (policy * ratio).sum(-1)


def occupancy(table: Table, policies: Policies) -> Tensor:
    """Discounted visits Σ_t γ^t P(s_t = s) from the initial law, (B, S)."""
    if table.horizon is None:
        matrix = transition(table, policies)[:, 0]
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        system = (eye - table.discount * matrix).mT
        b = max(len(system), len(table.initial))
        start = table.initial.expand(b, -1)[..., None]
        visits: Tensor = torch.linalg.solve(system.expand(b, -1, -1), start)[..., 0]
        return visits
    matrix = transition(table, policies)
    now, total = table.initial, torch.zeros_like(table.initial)
    for t in range(table.horizon):
        total = total + table.discount**t * now
        now = (now[:, None] @ matrix[:, _at(matrix, t)])[:, 0]
    return total


def _at(x: Tensor, t: int) -> int:
    """Index of time t in a tensor whose dimension 1 has all times or one."""
    return t if x.shape[1] > 1 else 0


def precision(table: Table) -> float:
    """How exact `evaluate` is, relative to the values: rounding, or where iteration stops."""
    return 1e-13 if table.horizon is not None or _is_dense(table) else 1e-11


def _is_dense(table: Table) -> bool:
    few = table.successors is not None
    return len(table.states) <= (DENSE_STATES // 4 if few else DENSE_STATES)


def _conditional(policies: Policies, j: int) -> bool:
    return policies[j].ndim > 4


def _average(x: Tensor, policies: Policies, j: int, trailing: int) -> Tensor:
    """E over agent j's actions, whose dimension stays with size 1."""
    if trailing and not _conditional(policies, j):
        # a matrix product: over many successors it is faster, and needs no memory for each of them
        dims = list(range(x.ndim))
        rest = [dim for dim in dims if dim != 3 + j]
        return torch.einsum(x, dims, policies[j], [0, 1, 2, 3 + j], rest).unsqueeze(3 + j)
    return (x * _weight(policies, j, trailing)).sum(3 + j, keepdim=True)


def _weight(policies: Policies, j: int, trailing: int) -> Tensor:
    """A policy with the dimensions of a table entry that has ``trailing`` more at the end."""
    policy, n = policies[j], len(policies)
    if _conditional(policies, j):
        return policy.reshape(*policy.shape, *[1] * trailing)
    return policy.reshape(*policy.shape[:3], *[1] * j, -1, *[1] * (n - j - 1 + trailing))


def _entries(table: Table, policies: Policies, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """P_π as (row, column, weight (B, n)); a pair may stand several times."""
    probabilities = table.probabilities[:, _at(table.probabilities, t)]
    n = len(table.states)
    joint = torch.ones((), dtype=probabilities.dtype, device=probabilities.device)
    for j, policy in enumerate(policies):
        joint = joint * _weight(policies, j, 1)[:, _at(policy, t)]
    weights = joint * probabilities  # (B, S, A_1, ..., A_N, K)
    if table.successors is None:
        columns = torch.arange(n, device=weights.device).expand(weights.shape[1:])
    else:
        columns = table.successors[_at(table.successors[None], t)].expand(weights.shape[1:])
    rows = torch.arange(n, device=weights.device).reshape(-1, *[1] * (weights.ndim - 2))
    return rows.expand(columns.shape).reshape(-1), columns.reshape(-1), weights.flatten(1)


class _Recursion(torch.autograd.Function):
    """V_t = R_t + M_t V_{t+1} from the last time to the first, without a graph of the steps.

    The gradient is the same recursion in the other direction, so it can itself be differentiated.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, rewards: Tensor) -> Tensor:
        steps = [rewards[-1]]
        for matrix, reward in zip(
            matrices.unbind()[::-1], rewards[:-1].unbind()[::-1], strict=True
        ):
            steps.append(torch.baddbmm(reward, matrix, steps[-1]))
        values = torch.stack(steps[::-1])
        ctx.save_for_backward(matrices, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        matrices, values = ctx.saved_tensors
        adjoint: Tensor = _Recursion.apply(  # type: ignore[no-untyped-call]
            matrices.flip(0).mT, grad.flip(0)
        ).flip(0)
        return adjoint[:-1] @ values[1:].mT, adjoint


class _SparseSolve(torch.autograd.Function):
    """x = (I − W)^{-1} r for a sparse W, with its gradients by the transposed system."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, weights: Tensor, rewards: Tensor
    ) -> Tensor:
        n = len(rewards)
        entries = (weights.detach().cpu().numpy(), (rows.cpu().numpy(), columns.cpu().numpy()))
        matrix = scipy.sparse.identity(n, format="csr") - scipy.sparse.csr_array(
            scipy.sparse.coo_array(entries, shape=(n, n))
        )
        solution = _iterate(matrix, rewards).to(rewards)
        ctx.matrix = matrix
        ctx.save_for_backward(rows, columns, solution)
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, solution = ctx.saved_tensors
        adjoint = _iterate(ctx.matrix.T.tocsr(), grad).to(grad)
        return None, None, (adjoint[rows] * solution[columns]).sum(-1), adjoint


def _iterate(matrix: Any, right: Tensor) -> Tensor:
    columns = right.detach().cpu().numpy()
    out = np.empty_like(columns)
    for k in range(columns.shape[1]):
        out[:, k] = _gmres(matrix, columns[:, k])
    return torch.from_numpy(out)


def _gmres(matrix: Any, right: Any) -> Any:
    """The solution by restarted GMRES, as exact as rounding allows, or by factors if it stalls.

    Where the discount is close to 1 the solution is much larger than the right side, and the
    residual cannot fall below its rounding.
    """
    x, norm = np.zeros_like(right), np.linalg.norm(right)
    for _ in range(200):
        target = 1e-13 * norm + 2e-15 * np.linalg.norm(x)
        x, failed = scipy.sparse.linalg.gmres(
            matrix, right, x0=x, rtol=0.0, atol=target, restart=60, maxiter=1
        )
        if not failed or np.linalg.norm(right - matrix @ x) <= target:
            return x
    return scipy.sparse.linalg.spsolve(matrix.tocsc(), right)
