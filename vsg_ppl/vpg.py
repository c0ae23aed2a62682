"""Variational policy gradient (Algorithm 1, Eq. 4) on a table: independent natural-gradient steps.

All agents step at once, each from its own Q. The inner game of one state, with what comes after it
held fixed, is a *stage*; `Stage` takes steps there, and `nash` alternates stages with values.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vsg_ppl.bellman import (
    action_values,
    contract,
    divergence,
    evaluate,
    following,
    policy_rewards,
)
from vsg_ppl.table import Table

PATIENCE = 50
"""Steps of Eq. 4 in a stage before Newton's method looks at the states that still move."""

Entropy = Literal["own", "joint", "none"]


def natural_step(log_policy: Tensor, scores: Tensor, weight: Tensor | float) -> Tensor:
    """Eq. 4: log π' = (1 − β) log π + β (log u + Q/τ), normalised.

    Args:
        log_policy: log π, (..., A).
        scores: log u + Q/τ, (..., A); −inf where an action is not available.
        weight: β in (0, 1], broadcast to (..., 1).
    """
    # a whole step (β = 1) forgets π, and may leave where π is zero: 0 · −∞ is 0
    kept = (scores > -torch.inf) & (torch.as_tensor(weight) < 1)
    out = (1 - weight) * torch.where(kept, log_policy, 0.0) + weight * scores
    return out.log_softmax(-1)


def soft_values(
    table: Table, log_policies: list[Tensor], temperature: float, entropy: Entropy
) -> Tensor:
    """V^i of Def. 5.1 for all agents under exact opponent models, (B, H, S, N).

    ``entropy`` says what τ is paid for: each agent's own divergence from its prior (the paper),
    the sum over all agents (what makes Prop. 5.6 true in general), or none (the agent QRE of other
    libraries).
    """
    policies = [log_policy.exp() for log_policy in log_policies]
    everyone = range(len(table.agents))
    rewards = policy_rewards(table, policies, everyone)
    if entropy != "none":
        costs = [divergence(policies[i], log_policies[i], table.log_priors[i]) for i in everyone]
        cost = torch.stack(torch.broadcast_tensors(*costs), -1)
        if entropy == "joint":
            cost = cost.sum(-1, keepdim=True)
        rewards = rewards - temperature * cost
    return evaluate(table, policies, rewards)


def soft_scores(
    table: Table, log_policies: list[Tensor], values: Tensor, temperature: float
) -> list[Tensor]:
    """log u^i + Q^i/τ, the logits of each agent's best response (Prop. 5.2): (B, H, S, A_i)."""
    policies = [log_policy.exp() for log_policy in log_policies]
    return [
        table.log_priors[i] + action_values(table, policies, values, i) / temperature
        for i in range(len(table.agents))
    ]


def residual(log_policies: list[Tensor], scores: list[Tensor], table: Table) -> Tensor:
    """max |π − softmax(log u + Q/τ)| over agents, times, states and actions: (B,)."""
    worst = None
    for log_policy, score in zip(log_policies, scores, strict=True):
        off = (log_policy.exp() - score.softmax(-1)).abs().amax(-1)
        if table.reachable is not None and off.shape[1] == len(table.reachable):
            off = off * table.reachable
        off = off.flatten(1).amax(1)
        worst = off if worst is None else torch.maximum(worst, off)
    assert worst is not None
    return worst


class Stage:
    """The games that single states are once the future's values are fixed; one time or all alike.

    Args:
        table: the game.
        values: V at the next time, (B, S, N); ``None`` after the last decision.
        t: the time.
    """

    def __init__(self, table: Table, values: Tensor | None, t: int = 0) -> None:
        self.priors = [_at(prior, t) for prior in table.log_priors]
        self.payoffs = []
        ahead = None if values is None else table.discount * following(table, values, t)
        for i, reward in enumerate(table.rewards):
            payoff = _at(reward, t)
            self.payoffs.append(payoff if ahead is None else payoff + ahead[..., i])

    def scores(self, log_policies: list[Tensor], temperature: float) -> list[Tensor]:
        """log u^i + E_{a^{-i}}[payoff] / τ for every agent."""
        policies = [log_policy.exp() for log_policy in log_policies]
        return [
            self.priors[i] + contract(payoff, policies, keep=i) / temperature
            for i, payoff in enumerate(self.payoffs)
        ]

    def values(self, log_policies: list[Tensor], temperature: float, entropy: Entropy) -> Tensor:
        """Each agent's value of its state, (B, S, N)."""
        policies = [log_policy.exp() for log_policy in log_policies]
        means = [contract(payoff, policies)[:, 0] for payoff in self.payoffs]
        out = torch.stack(torch.broadcast_tensors(*means), -1)
        if entropy == "none":
            return out
        costs = [
            divergence(policy, log_policy, prior)[:, 0]
            for policy, log_policy, prior in zip(policies, log_policies, self.priors, strict=True)
        ]
        cost = torch.stack(torch.broadcast_tensors(*costs), -1)
        if entropy == "joint":
            cost = cost.sum(-1, keepdim=True)
        return out - temperature * cost

    def solve(
        self, log_policies: list[Tensor], temperature: float, tolerance: float, max_steps: int
    ) -> tuple[list[Tensor], int]:
        """Adaptive steps of Eq. 4 until every state's residual is at most ``tolerance``.

        Every state has its own step β, from the measured change of Q with the policies: L with
        |Q(π') − Q(π)| <= L |π' − π|_1. Where τ > 2 L, whole steps (β = 1) contract. Elsewhere plain
        steps may cycle (in zero-sum games they do), so Q is looked up at a trial point first and
        the step is taken from where it started, with β = τ / 2L: the policy extragradient of Cen,
        Wei and Chi (2021, "Fast policy extragradient methods for competitive games with entropy
        regularization").

        Returns:
            The policies and the number of steps taken.
        """
        scores = self.scores(log_policies, temperature)
        weight = torch.ones_like(scores[0][..., :1])
        for step in range(1, max_steps + 1):
            off = torch.zeros_like(weight)
            for log_policy, score in zip(log_policies, scores, strict=True):
                gap = (log_policy.exp() - score.softmax(-1)).abs().amax(-1, keepdim=True)
                off = torch.maximum(off, gap)
            if not bool((off > tolerance).any()):
                return log_policies, step - 1
            trial = [
                natural_step(log_policy, score, weight)
                for log_policy, score in zip(log_policies, scores, strict=True)
            ]
            ahead = self.scores(trial, temperature)
            bend = self._bend(log_policies, trial, scores, ahead)
            plain = (bend <= 0.5) & (weight == 1)
            if bool(plain.all()):
                log_policies, scores = trial, ahead
                continue
            # a trial too long for its bend is thrown away: the state stays, its step shrinks
            fine = (weight * bend <= 1.0) & ~plain
            moved = [
                natural_step(log_policy, score, weight)
                for log_policy, score in zip(log_policies, ahead, strict=True)
            ]
            log_policies = [
                torch.where(plain, a, torch.where(fine, b, c))
                for a, b, c in zip(trial, moved, log_policies, strict=True)
            ]
            scores = self.scores(log_policies, temperature)
            weight = torch.minimum(0.5 / bend.clamp_min(1e-300), 2 * weight).clamp_max(1.0)
        return log_policies, max_steps

    def settle(
        self,
        log_policies: list[Tensor],
        temperature: float,
        tolerance: float,
        max_steps: int,
        *,
        follow: bool = False,
    ) -> tuple[list[Tensor], int, bool]:
        """`solve`, with `polish` whenever states have not settled within `PATIENCE` steps.

        Args:
            log_policies: log π of every agent.
            temperature: τ.
            tolerance: on each state's residual.
            max_steps: of Eq. 4.
            follow: polish first, to stay on the branch of equilibria where the policies are; steps
                then move only the states that have lost it.

        Returns:
            The policies, the steps of Eq. 4 taken, and whether steps alone did not settle.
        """
        if follow:
            log_policies = self.polish(log_policies, temperature, tolerance)
        taken, cycled = 0, False
        while taken < max_steps:
            patience = min(PATIENCE, max_steps - taken)
            log_policies, steps = self.solve(log_policies, temperature, tolerance, patience)
            taken += steps
            if steps < patience:
                break
            cycled = True
            log_policies = self.polish(log_policies, temperature, tolerance)
            if not bool((self._off(log_policies, temperature) > tolerance).any()):
                break
        return log_policies, taken, cycled

    def polish(
        self, log_policies: list[Tensor], temperature: float, tolerance: float, max_steps: int = 30
    ) -> list[Tensor]:
        """Newton's method on the same fixed point, for states in which the steps of Eq. 4 cycle.

        The unknowns are the log policies of one state, all agents'; every state has its own system
        and its own step length. A state that Newton's method does not bring closer stays as it was.
        """
        best, least = log_policies, self._off(log_policies, temperature)
        logs, sizes = log_policies, [log.shape[-1] for log in log_policies]
        for _ in range(max_steps):
            if not bool((least > tolerance).any()):
                break
            error, slope = self.system(logs, temperature)
            norm = error.abs().amax(-1, keepdim=True)
            direction = -torch.linalg.solve_ex(slope, error[..., None])[0][..., 0]
            direction = torch.nan_to_num(direction, nan=0.0, posinf=0.0, neginf=0.0)
            done = norm <= 1e-14
            direction = direction * (4.0 / direction.abs().amax(-1, keepdim=True)).clamp_max(1.0)
            for length in (1.0, 0.5, 0.25, 0.1, 0.02):
                moved = [
                    (log + length * step).log_softmax(-1)
                    for log, step in zip(logs, direction.split(sizes, -1), strict=True)
                ]
                after = self._error(moved, temperature)[0].abs().amax(-1, keepdim=True)
                better = (after < norm) & ~done
                logs = [torch.where(better, a, b) for a, b in zip(moved, logs, strict=True)]
                done = done | better
                if bool(done.all()):
                    break
            off = self._off(logs, temperature)
            closer = off < least
            best = [torch.where(closer, a, b) for a, b in zip(logs, best, strict=True)]
            least = torch.where(closer, off, least)
        return best

    def aims(self, log_policies: list[Tensor], temperature: float) -> list[Tensor]:
        """softmax(scores) of every agent: its best response."""
        return [score.softmax(-1) for score in self.scores(log_policies, temperature)]

    def _off(self, log_policies: list[Tensor], temperature: float) -> Tensor:
        """max |π − softmax(scores)| of each state, (B, 1, S, 1)."""
        scores = self.scores(log_policies, temperature)
        offs = [
            (log.exp() - score.softmax(-1)).abs().amax(-1, keepdim=True)
            for log, score in zip(log_policies, scores, strict=True)
        ]
        return torch.stack(offs).amax(0)

    def _error(self, log_policies: list[Tensor], temperature: float) -> tuple[Tensor, list[Tensor]]:
        """log π − log softmax(scores) of all agents side by side, and the softmaxes."""
        aims = [score.log_softmax(-1) for score in self.scores(log_policies, temperature)]
        errors = [
            torch.where(aim > -torch.inf, log - aim, 0.0)
            for log, aim in zip(log_policies, aims, strict=True)
        ]
        return torch.cat(errors, -1), [aim.exp() for aim in aims]

    def system(self, log_policies: list[Tensor], temperature: float) -> tuple[Tensor, Tensor]:
        """The error and its derivative by the log policies, (B, 1, S, n) and (B, 1, S, n, n)."""
        error, aims = self._error(log_policies, temperature)
        policies = [log.exp() for log in log_policies]
        rows = []
        for i, payoff in enumerate(self.payoffs):
            row = []
            for j, policy in enumerate(policies):
                size = (policies[i].shape[-1], policy.shape[-1])
                if i == j:
                    eye = torch.eye(size[0], dtype=error.dtype, device=error.device)
                    row.append(eye.expand(*error.shape[:-1], *size))
                    continue
                pair = contract(payoff, policies, keep=(i, j))
                pair = pair if i < j else pair.mT
                pair = pair.expand(*error.shape[:-1], *size) * policy[..., None, :] / temperature
                row.append((aims[i][..., None] * pair).sum(-2, keepdim=True) - pair)
            rows.append(torch.cat(row, -1))
        return error, torch.cat(rows, -2)

    @staticmethod
    def _bend(
        before: list[Tensor], after: list[Tensor], scores: list[Tensor], ahead: list[Tensor]
    ) -> Tensor:
        """L/τ of each state, measured between two points; 0 where they are the same."""
        change = torch.zeros_like(scores[0][..., :1])
        moved = torch.zeros_like(change)
        for a, b, x, y in zip(before, after, scores, ahead, strict=True):
            shift = torch.where(x > -torch.inf, y - x, 0.0)
            change = torch.maximum(change, shift.abs().amax(-1, keepdim=True))
            moved = moved + (b.exp() - a.exp()).abs().sum(-1, keepdim=True)
        return torch.where(moved > 1e-14, change / moved.clamp_min(1e-14), 0.0)


def _at(x: Tensor, t: int) -> Tensor:
    return x[:, [t if x.shape[1] > 1 else 0]]
