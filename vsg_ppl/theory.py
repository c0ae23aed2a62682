"""Constants of the paper's theorems, with their sources."""

from __future__ import annotations

from math import log

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
