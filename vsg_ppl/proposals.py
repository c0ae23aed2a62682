"""Plays drawn from known policies, and what they weigh: the Z of Eq. 6 by importance sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.simulate import Plays, simulate
from vsg_ppl.table import Table
from vsg_ppl.trajectory_sums import (
    Reference,
    check_plays,
    check_reference,
    entries_at,
    log_weights,
    own_sum,
    positive,
    read_marginal,
    returns,
    timed_reward,
)


@dataclass(frozen=True, eq=False)
class Proposals:
    """Plays drawn from known policies, to estimate Z; made by `propose`.

    Attributes:
        plays: n plays of T steps.
        policies: by which all agents play in them, ρ.
    """

    plays: Plays
    policies: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.plays)

    @cached_property
    def tables(self) -> list[Tensor]:
        """ρ of every agent, (1, H|1, S, A_i)."""
        return read_marginal(self.plays.table, self.policies)

    @cached_property
    def log_policies(self) -> list[Tensor]:
        """Σ_t log ρ_i(a^i_t | s_t) of every agent, (n,) each."""
        table = self.plays.table
        return [own_sum(table, self.plays, i, rho.log()) for i, rho in enumerate(self.tables)]

    @cached_property
    def log_chance(self) -> Tensor:
        """log P(s_0) Π_t P(s_{t+1} | s_t, a_t), (n,)."""
        table, states = self.plays.table, self.plays.states
        total = table.initial[0, states[:, 0]].log()
        chosen = [self.plays.actions[agent] for agent in table.agents]
        for t in range(states.shape[1] - 1):
            now = [action[:, t] for action in chosen]
            law = entries_at(table.probabilities[0], t, states[:, t], now)  # (n, K)
            if table.successors is None:
                found = law.gather(1, states[:, [t + 1]])[:, 0]
            else:
                numbers = entries_at(table.successors, t, states[:, t], now)
                found = (law * (numbers == states[:, [t + 1]])).sum(-1)
            total = total + found.log()
        return total

    @cached_property
    def log_probability(self) -> Tensor:
        """log ρ(τ), (n,).

        Raises:
            GameError: a play is impossible by the policies.
        """
        log_rho = self.log_chance + sum(self.log_policies)
        if not torch.isfinite(log_rho).all():
            k = int((~torch.isfinite(log_rho)).nonzero()[0])
            raise GameError(
                f"play {k} of the proposals has probability 0 by their policies",
                hint="the policies from which the plays were drawn.",
            )
        return log_rho


def propose(
    table: Table,
    policies: Mapping[str, Any],
    n: int = 1000,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Proposals:
    """Draw n plays and keep the policies; the arguments are those of `simulate`.

    Z is estimated well by policies that play like p_ψ, and agents must play with positive
    probability whatever p_ψ allows.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> even = torch.full((2, 2), 0.5)
    >>> drawn = propose(table, {"row": even, "col": even}, 100, steps=3)
    >>> drawn.plays.states.shape, drawn.log_probability.shape
    (torch.Size([100, 3]), torch.Size([100]))
    """
    return Proposals(simulate(table, policies, n, steps=steps, seed=seed), dict(policies))


@dataclass(frozen=True, eq=False)
class ImportanceWeights:
    """w = b exp(Σ γ^t r / τ) / ρ(τ) of n proposals, in proportion.

    Attributes:
        log_z: log of the mean of w, a scalar. The mean is unbiased for Z, so its log is too low on
            average; the difference vanishes like 1 / n.
        weights: w / Σ w, (n,).
        effective: 1 / Σ weights², the effective number of proposals, from 1 to n. Where it is small
            draw more proposals, or from policies nearer to p_ψ.
    """

    log_z: Tensor
    weights: Tensor
    effective: float


def importance_weights(
    table: Table,
    agent: str,
    reward: Tensor,
    proposals: Proposals,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    others: Mapping[str, Any] | None = None,
) -> ImportanceWeights:
    """The weights of Eq. 7, computed in log space and differentiable in the reward.

    Amid chance those of "printed" degenerate with the steps, for they divide by its probability: of
    10,000 proposals by the priors in `RandomGame`, 150 are effective after 5 steps and 76 after 10,
    with "game" 8,189 and 7,585. Prefer the exact Z there.

    Args:
        table: of one game.
        agent: whose reward it is.
        reward: r_ψ, (S, A_1|1, ..., A_N|1), or with the times in front, (H|1, S, ...).
        proposals: from `propose`.
        temperature: τ > 0, in units of reward.
        reference: what chance and the others count, "printed" or "game".
        others: policies of the others in p_ψ; those of the proposals by default. For "printed" all
            that counts is what they play at all.

    Raises:
        GameError: tensors that do not fit the game, or proposals that never play what p_ψ allows.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> table = vsg.tabulate(PrisonersDilemma())
    >>> even = torch.tensor([[0.5, 0.5]])
    >>> drawn = propose(table, {"row": even, "col": even}, 100)
    >>> weights = importance_weights(table, "row", torch.zeros(1, 2, 2), drawn)
    >>> round(weights.effective), weights.log_z.exp()  # both actions of the column count 1
    (100, tensor(2., dtype=torch.float64))
    """
    log_w = returns(table, proposals.plays, timed_reward(table, reward)) / positive(temperature)
    log_w = log_w + _log_ratio(table, agent, proposals, reference, others)
    log_sum = log_w.logsumexp(0)
    weights = (log_w - log_sum).exp()
    effective = float(1 / weights.detach().square().sum())
    return ImportanceWeights(log_sum - math.log(len(log_w)), weights, effective)


def _log_ratio(
    table: Table,
    agent: str,
    proposals: Proposals,
    reference: Reference,
    others: Mapping[str, Any] | None,
) -> Tensor:
    """log b(τ) − log ρ(τ) of the proposals, (n,)."""
    check_reference(reference)
    check_plays(table, agent, proposals.plays)
    number = table.number(agent)
    law = list(proposals.tables)
    law[number] = table.log_priors[number].exp()
    if others is not None:
        law = read_marginal(table, {**others, agent: law[number]})
    for j, (wanted, rho) in enumerate(zip(law, proposals.tables, strict=True)):
        _check_cover(table, j, wanted, rho)
    log_b = proposals.log_chance if reference == "game" else 0.0
    for j, weight in enumerate(log_weights(table, law, number, reference)):
        log_b = log_b + own_sum(table, proposals.plays, j, weight)
    return torch.as_tensor(log_b - proposals.log_probability)


def _check_cover(table: Table, j: int, wanted: Tensor, rho: Tensor) -> None:
    """Raise `GameError` where the proposals never play what has weight: Z would miss it."""
    missed = ((wanted > 0) & (rho == 0))[0]
    if table.reachable is not None:
        missed = missed & table.reachable[..., None]
    if missed.any():
        _, state, action = missed.nonzero()[0].tolist()
        agent = table.agents[j]
        raise GameError(
            f"the proposals of '{agent}' never play {table.actions[j].names()[action]} in state "
            f"{table.states[state]}, which counts in Z",
            hint="proposals with positive probability wherever the prior has it.",
        )
