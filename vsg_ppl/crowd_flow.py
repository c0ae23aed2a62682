"""How a crowd moves and what it is worth to be in it: the forward and the backward equation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vsg_ppl.bellman import divergence, transition
from vsg_ppl.best_response import respond
from vsg_ppl.errors import GameError
from vsg_ppl.mean_field_table import Kernel, MeanFieldTable
from vsg_ppl.table import Table

PATIENCE = 500
"""Steps towards a crowd at rest after which it is taken not to settle."""


def flow(table: MeanFieldTable, policy: Tensor) -> Tensor:
    """The crowd that a policy makes: L_{t+1}(s', a') = π(a'|s') Σ P(s'|s, a, L_t) L_t(s, a) (§5.2).

    Args:
        table: the game.
        policy: π_t(a|s), (H, S, A), or (1, S, A) for a stationary crowd.

    Returns:
        L_t(s, a), (H, S, A). Without a horizon the crowd that stays as it is, (1, S, A): of
        several, the one that the initial law flows into.

    Raises:
        GameError: a crowd without a horizon that does not come to rest.
    """
    if table.horizon is None:
        return _stationary(table, policy)
    law, crowds = table.initial, []
    for t in range(table.horizon):
        joint = law[:, None] * policy[t]
        crowds.append(joint)
        if t + 1 < table.horizon:
            law = push(_step(table, joint, t), 0, joint)
    return torch.stack(crowds)


def push(kernel: Kernel, k: int, joint: Tensor) -> Tensor:
    """Where a crowd L(s, a) is after the step at the k-th time of a kernel, (S,)."""
    numbers, law = _now(kernel.successors, k), _now(kernel.probabilities, k)
    moved = joint[..., None] * law  # (S, A, K)
    numbers = numbers.expand(moved.shape)
    return joint.new_zeros(len(joint)).index_add(0, numbers.reshape(-1), moved.reshape(-1))


def ahead(kernel: Kernel, values: Tensor) -> Tensor:
    """E[ V(s') | s, a ] at all times of a kernel.

    Args:
        kernel: of h times.
        values: V at the h times that follow, (h, S).

    Returns:
        (h, S, A|1).
    """
    h, n = values.shape
    numbers, law = kernel.successors, kernel.probabilities
    if len(numbers) == 1:
        found = values[:, numbers[0]]
    else:
        start = n * torch.arange(h, device=values.device).reshape(-1, 1, 1, 1)
        found = values.reshape(-1)[numbers + start]
    return (found * law).sum(-1)


def backup(
    table: MeanFieldTable, kernel: Kernel, temperature: float, log_prior: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The best response to a frozen crowd, (11) and (12): π ∝ π̄ exp(Q/τ); at τ = 0 the maximum.

    Args:
        table: the game.
        kernel: its step amid the crowd, at all times.
        temperature: τ ≥ 0.
        log_prior: log π̄, (H|1, S, A); the game's own prior by default.

    Returns:
        log π, Q and V, (H, S, A), (H, S, A) and (H, S).
    """
    prior = table.log_prior if log_prior is None else log_prior
    if table.horizon is None:
        policy, value = respond(_frozen(table, kernel, prior), [prior.exp()[None]], 0, temperature)
        q = kernel.rewards + table.discount * ahead(kernel, value[0])
        log = policy[0].log() if temperature == 0 else _soft(prior, q, temperature)[0]
        return log, q, value[0]
    logs: list[Tensor] = []
    worths: list[Tensor] = []
    values: list[Tensor] = []
    for t in reversed(range(table.horizon)):
        q = kernel.rewards[t]
        if values:
            q = q + table.discount * ahead(_at(kernel, t), values[-1][None])[0]
        now = _now(prior, t)
        if temperature > 0:
            log, value = _soft(now, q, temperature)
        else:
            scores = torch.where(now > -torch.inf, q, -torch.inf)
            value, best = scores.max(-1)
            log = torch.full_like(scores, -torch.inf).scatter(-1, best[:, None], 0.0)
        logs.append(log)
        worths.append(q)
        values.append(value)
    return torch.stack(logs[::-1]), torch.stack(worths[::-1]), torch.stack(values[::-1])


def worth(
    table: MeanFieldTable,
    kernel: Kernel,
    policy: Tensor,
    temperature: float = 0.0,
    log_prior: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Q and V of a policy amid a frozen crowd, less τ KL(π ‖ π̄) at every step.

    Returns:
        (H, S, A) and (H, S).
    """
    cost: Tensor | None = None
    if temperature > 0:
        prior = table.log_prior if log_prior is None else log_prior
        cost = temperature * divergence(policy, policy.log(), prior.expand(policy.shape))
    if table.horizon is None:
        frozen = _frozen(table, kernel, table.log_prior)
        matrix = transition(frozen, [policy[None]])[0, 0]
        reward = (policy[0] * kernel.rewards[0]).sum(-1) - (0.0 if cost is None else cost[0])
        eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        value = torch.linalg.solve(eye - table.discount * matrix, reward)
        return kernel.rewards + table.discount * ahead(kernel, value[None]), value[None]
    worths: list[Tensor] = []
    values: list[Tensor] = []
    for t in reversed(range(table.horizon)):
        q = kernel.rewards[t]
        if values:
            q = q + table.discount * ahead(_at(kernel, t), values[-1][None])[0]
        value = (policy[t] * q).sum(-1)
        values.append(value if cost is None else value - cost[t])
        worths.append(q)
    return torch.stack(worths[::-1]), torch.stack(values[::-1])


def gap(table: MeanFieldTable, joint: Tensor, kernel: Kernel, policy: Tensor) -> float:
    """The exploitability of a policy that makes this crowd: Σ μ_0 (V* − V^π), crowd frozen."""
    _, _, best = backup(table, kernel, 0.0)
    _, own = worth(table, kernel, policy)
    return float((joint[0].sum(-1) * (best[0] - own[0])).sum().clamp_min(0.0))


def _soft(prior: Tensor, q: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scores = prior + q / temperature
    total = scores.logsumexp(-1, keepdim=True)
    return scores - total, temperature * total[..., 0]


def _now(x: Tensor, t: int) -> Tensor:
    return x[t if len(x) > 1 else 0]


def _at(kernel: Kernel, t: int) -> Kernel:
    """A kernel at one of its times."""
    few = slice(t, t + 1)
    numbers, law = kernel.successors, kernel.probabilities
    return Kernel(
        kernel.rewards[few],
        numbers[few] if len(numbers) > 1 else numbers,
        law[few] if len(law) > 1 else law,
    )


def _step(table: MeanFieldTable, joint: Tensor, t: int) -> Kernel:
    """The kernel at time t, where only the crowd's move is wanted."""
    if table.moving:
        return table.kernel(joint[None], (t,))
    numbers, law = table.fixed
    return Kernel(
        joint[None], numbers[[t if len(numbers) > 1 else 0]], law[[t if len(law) > 1 else 0]]
    )


def _frozen(table: MeanFieldTable, kernel: Kernel, prior: Tensor) -> Table:
    return Table(
        agents=(table.agent,),
        actions=(table.actions,),
        states=table.states,
        log_priors=(prior[None],),
        rewards=(kernel.rewards[None],),
        successors=kernel.successors,
        probabilities=kernel.probabilities[None],
        initial=table.initial[None],
        discount=table.discount,
        horizon=table.horizon,
        name=table.name,
    )


def _stationary(table: MeanFieldTable, policy: Tensor) -> Tensor:
    """The crowd at rest into which the initial law flows.

    Where the crowd moves the kernel, that is a fixed point of "where the kernel that this crowd
    makes would lead": approached half-way each time.
    """
    law = table.initial
    for k in range(PATIENCE):
        kernel = _step(table, law[:, None] * policy[0], 0)
        limit = _limit(table, kernel, policy)
        off = float((limit - law).abs().sum())
        if off <= 1e-13 or (k > 0 and not table.moving):
            return limit[None, :, None] * policy
        law = 0.5 * (law + limit) if k > 0 else limit
    raise GameError(
        f"the crowd of {table.name} does not come to rest within {PATIENCE} steps",
        hint="a horizon, or a softer policy (a higher temperature).",
    )


def _limit(table: MeanFieldTable, kernel: Kernel, policy: Tensor) -> Tensor:
    """Where the initial law ends under a kernel that stays, on average over a long time, (S,).

    It is the law at rest of each set of states that nobody leaves, times the chance to end there.
    """
    frozen = _frozen(table, kernel, table.log_prior)
    matrix = transition(frozen, [policy[None]])[0, 0].detach().cpu().numpy()
    start = table.initial.cpu().numpy()
    count, of = connected_components(matrix > 0, directed=True, connection="strong")
    closed = np.ones(count, dtype=bool)
    rows, columns = (matrix > 0).nonzero()
    closed[of[rows][of[rows] != of[columns]]] = False
    passing = ~closed[of]
    visits = np.zeros(0)
    if passing.any():
        inner = matrix[np.ix_(passing, passing)]
        visits = np.linalg.solve((np.eye(len(inner)) - inner).T, start[passing])
    law = np.zeros_like(start)
    for group in closed.nonzero()[0]:
        members = of == group
        chance = start[members].sum() + (visits @ matrix[np.ix_(passing, members)]).sum()
        law[members] = chance * _at_rest(matrix[np.ix_(members, members)])
    return torch.from_numpy(law / law.sum()).to(table.device)


def _at_rest(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The law that an irreducible chain keeps, by Grassmann, Taksar and Heyman's elimination.

    It subtracts nothing, so it is exact in every entry even where the chain hardly mixes.
    """
    matrix = matrix.copy()
    for k in range(len(matrix) - 1, 0, -1):
        matrix[:k, k] /= matrix[k, :k].sum()
        matrix[:k, :k] += np.outer(matrix[:k, k], matrix[k, :k])
    law = np.zeros(len(matrix))
    law[0] = 1.0
    for k in range(1, len(matrix)):
        law[k] = law[:k] @ matrix[:k, k]
    rest: NDArray[np.float64] = law / law.sum()
    return rest
