"""Constants of the paper's theorems, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

from torch import Tensor

from vsg_ppl.bellman import contract, divergence, evaluate, following
from vsg_ppl.elbo import total_weight
from vsg_ppl.table import Table


def smoothness(table: Table, temperature: float = 1.0) -> float:
    """L of Lemma 5.7: how smooth the potential plus joint entropy is in the softmax parameters.

    L = 2 (n+1)² R / (1−γ)³ + τ [ 2 (n²+n+1) (1 + log max|A|) / (1−γ)² + (3n+2) / (1−γ) ], for n
    agents and rewards of size at most R (the paper has R = τ = 1). With a horizon, Σ_t γ^t stands
    for 1 / (1−γ).

    Args:
        table: the game.
        temperature: τ.
    """
    n, steps = len(table.agents), total_weight(table.discount, table.horizon)
    size = max(float(reward.abs().amax()) for reward in table.rewards)
    entropy = 2 * (n * n + n + 1) * (1 + log(max(table.sizes))) * steps**2 + (3 * n + 2) * steps
    return 2 * (n + 1) ** 2 * size * steps**3 + temperature * entropy


def safe_step(table: Table, temperature: float) -> float:
    """β = τ / (L (1−γ)), Eq. 4's weight at the learning rate 1/L that Theorem 5.8 asks for."""
    steps = total_weight(table.discount, table.horizon)
    return temperature * steps / smoothness(table, temperature)


def opponent_error_bound(table: Table, agent: int, divergence: float, temperature: float) -> float:
    """δ of Prop. 5.5: how far a model of the others can put an agent's action values off.

    δ = 2 (R + τ L) / (1−γ)² √(ε/2) + τ ε / (1−γ), for rewards of size at most R and
    KL(ρ(·|s) ‖ π^{-i}(·|s)) ≤ ε in all states; L = log|A^i|, or for priors that are not uniform
    the most that KL(π^i ‖ u^i) can be (the paper has R = τ = 1 and a uniform prior). With a
    horizon, Σ_t γ^t stands for 1 / (1−γ).

    Args:
        table: the game.
        agent: its number.
        divergence: ε.
        temperature: τ.
    """
    steps = total_weight(table.discount, table.horizon)
    size = float(table.rewards[agent].abs().amax())
    prior = table.log_priors[agent]
    most = -float(prior[prior > -float("inf")].min())
    entropy = temperature * max(most, log(table.sizes[agent]))
    return 2 * (size + entropy) * steps**2 * sqrt(divergence / 2) + temperature * divergence * steps


def opponent_error(
    table: Table,
    agent: int,
    log_policies: Sequence[Tensor],
    log_models: Sequence[Tensor],
    temperature: float,
) -> tuple[float, float]:
    """max |Q^i − Q̂^i| over states and joint actions, and max KL(ρ ‖ π^{-i}) over states.

    Q̂ is what the agent works out from its models ρ, which pays τ KL(ρ ‖ π^{-i}) after the first
    step (Eq. 3); Q is what is true.

    Args:
        table: the game.
        agent: its number.
        log_policies: log π of all agents, (1, H|1, S, A_j).
        log_models: the same with its models of the others in place of their policies.
        temperature: τ.
    """
    prior = table.log_priors[agent]
    own = log_policies[agent]
    cost = divergence(own.exp(), own, prior)
    between = sum(
        divergence(rho.exp(), rho, pi)
        for j, (rho, pi) in enumerate(zip(log_models, log_policies, strict=True))
        if j != agent
    )
    values = []
    for logs, off in ((log_policies, 0.0), (log_models, between)):
        laws = [log.exp() for log in logs]
        reward = contract(table.rewards[agent], laws) - temperature * (cost + off)
        values.append(evaluate(table, laws, reward[..., None])[..., 0])
    change = (values[0] - values[1])[..., None]
    ahead = range(1, change.shape[1]) if table.horizon is not None else range(1)
    worst = max(
        (
            table.discount * float(following(table, change[:, t], max(0, t - 1)).abs().max())
            for t in ahead
        ),
        default=0.0,
    )
    worst_divergence = float(between.max()) if isinstance(between, Tensor) else 0.0
    return worst, worst_divergence
