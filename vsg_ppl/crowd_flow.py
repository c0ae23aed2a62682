"""How a crowd moves and what it is worth to be in it: the forward and the backward equation."""

from __future__ import annotations

import torch
from torch import Tensor

from vsg_ppl.bellman import divergence, transition
from vsg_ppl.best_response import respond
from vsg_ppl.errors import GameError
from vsg_ppl.mean_field_table import Kernel, MeanFieldTable
from vsg_ppl.table import Table

LAZY = 20_000
"""Steps of a stationary crowd's flow after which it is taken not to settle."""


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

    Half of the crowd waits in every step: that has the same crowds at rest, and no periods.
    """
    law = table.initial
    for k in range(LAZY):
        joint = (law[:, None] * policy[0])[None]
        kernel = _step(table, joint[0], 0)
        if k % 50 == 0:  # where the kernel stays as it is, the crowd ends here
            law = _limit(table, kernel, policy, law)
            joint = (law[:, None] * policy[0])[None]
            kernel = _step(table, joint[0], 0)
        moved = push(kernel, 0, joint[0])
        if float((moved - law).abs().sum()) <= 1e-14:
            return (moved / moved.sum())[None, :, None] * policy
        law = 0.5 * (law + moved)
        law = law / law.sum()
    raise GameError(
        f"the crowd of {table.name} does not come to rest within {LAZY:,} steps",
        hint="a horizon, or a softer policy (a higher temperature).",
    )


def _limit(table: MeanFieldTable, kernel: Kernel, policy: Tensor, law: Tensor) -> Tensor:
    """Where a law ends if the kernel stays: (1 − c) μ (I − c P)^{-1} with c near 1."""
    frozen = _frozen(table, kernel, table.log_prior)
    matrix = transition(frozen, [policy[None]])[0, 0]
    keep = 1.0 - 1e-8
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    limit: Tensor = torch.linalg.solve((eye - keep * matrix).T, (1 - keep) * law).clamp_min(0.0)
    return limit / limit.sum()
