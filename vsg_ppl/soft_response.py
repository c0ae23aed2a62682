"""The optimal opponent model ρ* of Eq. 5 as a differentiable function of the game.

`respond` finds the soft best response without a graph. At a maximum the value does not change with
the policy (the envelope theorem), so one more evaluation and one more backup, with a graph, carry
the exact gradients: implicit differentiation of the soft Bellman equation without its Jacobian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vsg_ppl.bellman import action_values, contract, divergence, evaluate
from vsg_ppl.best_response import respond
from vsg_ppl.table import Table


def soft_response(
    table: Table, policies: Sequence[Tensor], agent: int, temperature: float | Tensor
) -> Tensor:
    """log ρ*_j(a|s), the soft best response of an agent to the others (Prop. 5.9, Eq. 5).

    ρ* ∝ u exp(E_{a^{-j}} Q/τ), where V pays τ KL(ρ* ‖ u) from the next step on. It has exact first
    derivatives in the rewards, transitions, priors and discount of the table, in the others'
    policies and in the temperature; for infinite horizons too.

    Args:
        table: of one game.
        policies: all agents', (1, H|1, S, A_i); the agent's own is not used.
        agent: its number.
        temperature: τ > 0, a number or a scalar tensor.

    Returns:
        (1, H, S, A), −inf where an action is not available; H = 1 for infinite horizons.

    >>> import torch, vsg_ppl as vsg
    >>> payoff = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64, requires_grad=True)
    >>> table = vsg.from_arrays(torch.zeros(1, 1, 2), agents=("rat",))
    >>> from dataclasses import replace
    >>> log = soft_response(replace(table, rewards=(payoff,)), [torch.ones(1, 1, 1, 2) / 2], 0, 0.5)
    >>> log.exp()[0, 0, 0, 0].backward()  # p (1 − p) / τ
    >>> payoff.grad[0, 0, 0]
    tensor([ 0.2100, -0.2100], dtype=torch.float64)
    """
    with torch.no_grad():
        tau = float(torch.as_tensor(temperature).detach())
        # in units of τ: where it is high, values in units of reward are lost in rounding
        scaled = replace(table, rewards=tuple(reward / tau for reward in table.rewards))
        found, _ = respond(scaled, policies, agent, 1.0)
    laws = [found if j == agent else policy for j, policy in enumerate(policies)]
    prior = table.log_priors[agent]
    cost = divergence(found, torch.where(found > 0, found, 1.0).log(), prior)
    reward = contract(table.rewards[agent], laws) - temperature * cost
    values = evaluate(table, laws, reward[..., None])
    q = action_values(table, laws, values, agent, column=0)
    return (prior + q / temperature).log_softmax(-1)


def log_likelihood(counts: Tensor, log_policy: Tensor) -> Tensor:
    """Σ n(s, a) log ρ(a|s), a scalar; −inf where what was seen is not available.

    Args:
        counts: (H|1, S, A).
        log_policy: (1, H|1, S, A).
    """
    return torch.where(counts > 0, counts * log_policy.masked_fill(counts == 0, 0.0), 0.0).sum()
