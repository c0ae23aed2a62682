"""Best responses to given policies, exactly: soft (Prop. 5.2) and hard, by dynamic programming."""

from __future__ import annotations

import torch
from torch import Tensor

from vsg_ppl.bellman import (
    Policies,
    contract,
    divergence,
    evaluate,
    following,
)
from vsg_ppl.errors import GameError
from vsg_ppl.table import Table


def respond(
    table: Table,
    policies: Policies,
    agent: int,
    temperature: float = 0.0,
    *,
    conditional: bool = False,
    penalty: Tensor | None = None,
    max_steps: int = 500,
) -> tuple[Tensor, Tensor]:
    """The best response of one agent to the others' policies, in every state.

    It maximises E Σ γ^t [ r^i − τ KL(π^i ‖ u^i) ]: at τ > 0 by the soft backup π ∝ u exp(Q/τ)
    (Prop. 5.2), at τ = 0 by the maximum over the actions that are available. Finite horizons by
    backward induction, infinite ones by policy iteration.

    Args:
        table: the game.
        policies: all agents', (B|1, H|1, S, A_j); the agent's own is not used.
        agent: its number.
        temperature: τ ≥ 0.
        conditional: respond to the others' actions, π^i(a^i | s, a^{-i}), rather than to their law.
        penalty: a cost of each visit to a state, (B|1, H|1, S): τ KL(ρ ‖ π^{-i}) in Eq. 3.
        max_steps: of policy iteration.

    Returns:
        The policy, (B, H, S, A_i) or (B, H, S, A_1, ..., A_N), and its value V^i, (B, H, S). H = 1
        for infinite horizons.

    Raises:
        GameError: policy iteration does not end within ``max_steps``.
    """
    step = _Backup(table, policies, agent, temperature, conditional, penalty)
    if table.horizon is not None:
        chosen, worth, ahead = [], [], None
        for t in reversed(range(table.horizon)):
            policy, value = step(ahead, t)
            ahead = value[:, 0, :, None]
            chosen.append(policy)
            worth.append(value)
        return torch.cat(chosen[::-1], 1), torch.cat(worth[::-1], 1)
    policy, value = step(None, 0)
    for _ in range(max_steps):
        current = step.value(policy)
        policy, improved = step(current[:, 0, :, None], 0)
        change = (improved - current).abs().amax()
        if not change > 1e-13 * (1 + current.abs().amax()):
            return policy, step.value(policy)
    raise GameError(
        f"the best response of '{table.agents[agent]}' did not settle within {max_steps} steps of "
        "policy iteration",
        hint="raise `max_steps`.",
    )


class _Backup:
    """One step of dynamic programming for an agent whose world is fixed."""

    def __init__(
        self,
        table: Table,
        policies: Policies,
        agent: int,
        temperature: float,
        conditional: bool,
        penalty: Tensor | None,
    ) -> None:
        self.table, self.agent, self.temperature = table, agent, temperature
        self.policies, self.conditional, self.penalty = list(policies), conditional, penalty
        self.reward = self._average(table.rewards[agent], self.policies)
        prior = table.log_priors[agent]
        if conditional:
            n = len(table.agents)
            prior = prior.reshape(*prior.shape[:3], *[1] * agent, -1, *[1] * (n - 1 - agent))
        self.prior = prior
        self.dim = 3 + agent if conditional else 3

    def __call__(self, ahead: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        """Policy and value at time t, given V at t + 1, (B, S, 1)."""
        policies = [_now(policy, t) for policy in self.policies]
        q = _now(self.reward, t)
        if ahead is not None:
            nxt = following(self.table, ahead, t)[..., 0]
            q = q + self.table.discount * self._average(nxt, policies)
        prior = _now(self.prior, t)
        if self.temperature > 0:
            scores = prior + q / self.temperature
            value = self.temperature * scores.logsumexp(self.dim, keepdim=True)
            policy = scores.softmax(self.dim)
        else:
            scores = torch.where(prior > -torch.inf, q, -torch.inf)
            value, best = scores.max(self.dim, keepdim=True)
            policy = torch.zeros_like(scores).scatter(self.dim, best, 1.0)
        if self.conditional:
            value = contract(value, policies)
        value = value.reshape(*value.shape[:3])
        if self.penalty is not None:
            value = value - _now(self.penalty, t)
        return policy.expand(self.table.batch, *policy.shape[1:]), value

    def value(self, policy: Tensor) -> Tensor:
        """The value of a stationary policy, (B, 1, S)."""
        policies = list(self.policies)
        policies[self.agent] = policy
        reward = contract(self.table.rewards[self.agent], policies)
        if self.temperature > 0:
            cost = divergence(
                policy.movedim(self.dim, -1),
                policy.log().movedim(self.dim, -1),
                self.prior.movedim(self.dim, -1),
            )
            if self.conditional:
                cost = contract(cost.unsqueeze(self.dim), policies)
            reward = reward - self.temperature * cost
        if self.penalty is not None:
            reward = reward - self.penalty
        return evaluate(self.table, policies, reward[..., None])[..., 0]

    def _average(self, x: Tensor, policies: Policies) -> Tensor:
        if not self.conditional:
            size = self.table.sizes[self.agent]
            kept = contract(x, policies, keep=self.agent)
            return kept.expand(*kept.shape[:3], size)
        return x.expand(*x.shape[:3], *self.table.sizes)


def _now(x: Tensor, t: int) -> Tensor:
    """Time t of a tensor whose dimension 1 has all times or one."""
    return x[:, [t if x.shape[1] > 1 else 0]]
