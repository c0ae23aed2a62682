"""Equilibria of stochastic games put together from those of their stage games.

In an equilibrium every state is a one-shot game whose payoffs are r + γ E V(s'), and is played by
an equilibrium of it (A. M. Fink, 1964, "Equilibrium in a stochastic n-person game"). With a horizon
one pass from the last step to the first finds one. Without, values and stage equilibria are taken
in turns, as M. A. Pollatschek and B. Avi-Itzhak do in zero-sum games (1969, "Algorithms for
stochastic games with geometrical interpretation"); beyond those nothing says that this comes to an
end, so only a certificate makes an equilibrium of what it ends with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.bellman import evaluate, following, policy_rewards
from vsg_ppl.progress import Progress
from vsg_ppl.signal_table import folded, signal_size, with_law
from vsg_ppl.stage_equilibria import LARGEST, Equilibria, means, stage_equilibria, systems
from vsg_ppl.table import Table

Array = NDArray[np.float64]

Choose = Callable[[list[Equilibria], Array], tuple[Array, Array]]
"""(equilibria of each of the S·Ω stages, σ (S, Ω)) to policies (S·Ω, n) and σ."""

AFFORDABLE = 2_000_000
"""Linear systems of all stages together beyond which `fits` says no."""

BOLD = 40
"""Rounds in which what is chosen is taken for good at once, which is fast where it settles."""

CHOSEN = 120
"""Rounds in which ``choose`` picks for every state; then only those change that must."""

PHASES = ((0.3, 0.0, 1.0), (0.3, 0.1, 1.0), (0.5, 0.1, 0.5))
"""What then breaks cycles, in turns: how far values go, how often a state that has lost its
equilibrium takes any other instead of the nearest, and how many of those states move."""

ROUNDS = 150
"""Of each phase."""

NEAR = 0.1
"""How far, in probability, policies may move if they are to be taken for good; σ may not."""

SAME = 1e-7
"""How far, in probability, a choice may be from the one before to count as the same."""


@dataclass(frozen=True, eq=False)
class Stagewise:
    """Where it ended.

    Attributes:
        policies: of each agent, (1, H|1, S·Ω, A_i).
        law: of the public signal, (H|1, S, Ω).
        settled: whether every state plays an equilibrium of its stage, the one that ``choose``
            picks if it is given.
        history: residuals by round.
    """

    policies: list[Tensor]
    law: Tensor
    settled: bool
    history: list[dict[str, Any]]


def fits(table: Table) -> bool:
    """Whether all equilibria of all stage games can be had in reasonable time."""
    each = systems(table.sizes)
    return each <= LARGEST and each * len(table.states) * table.times <= AFFORDABLE


def stagewise(
    table: Table,
    choose: Choose | None = None,
    *,
    initial: list[Tensor] | None = None,
    max_steps: int = 3000,
    seed: int = 0,
    show: Progress = lambda entry: None,
) -> Stagewise:
    """Policies that play an equilibrium of the stage game in every state.

    Args:
        table: of one game.
        choose: picks an equilibrium for every state and the law of the signal; by default those
            nearest to the policies before, at first those that pay most in all.
        initial: policies to start from, in place of the priors; without a horizon only.
        max_steps: rounds.
        seed: of what breaks cycles.
        show: is told of every round.
    """
    run = _Run(table, choose, show)
    if table.horizon is not None:
        run.backward()
    else:
        run.rounds(initial, max_steps, np.random.default_rng(seed))
    return Stagewise(run.split(run.policies), run.law, run.settled, run.history)


class _Run:
    """Policies (H, S·Ω, n), the law σ (H|1, S, Ω) and values (S, N) before the signal is drawn."""

    policies: Array
    values: Tensor | None = None
    settled = False

    def __init__(self, table: Table, choose: Choose | None, show: Progress) -> None:
        self.table, self.choose, self.show = table, choose, show
        self.base, self.omega = folded(table), signal_size(table)
        n = len(table.states) // self.omega
        law = table.signal_law
        self.law = law if law is not None else table.initial.new_ones(1, n, 1)
        self.agents = range(len(table.agents))
        self.parts = np.cumsum(table.sizes)[:-1]
        spread = max(float(reward.max() - reward.min()) for reward in table.rewards)
        self.least = 1e-9 * (1 - (table.discount if table.horizon is None else 0)) * (spread or 1.0)
        self.history: list[dict[str, Any]] = []

    def backward(self) -> None:
        """From the last decision to the first."""
        policies, laws = [], []
        self.settled = True
        for t in reversed(range(self.table.horizon or 1)):
            payoffs, free = self._payoffs(t), self._free(t)
            law = self.law[min(t, len(self.law) - 1)].cpu().numpy()
            parts = np.split(free, self.parts, axis=1)
            alike = np.concatenate([part / part.sum(1, keepdims=True) for part in parts], 1)
            now, law = self._chosen(payoffs, free, alike, law)
            self.values = self._backed_up(payoffs, now, torch.from_numpy(law))
            policies.append(now)
            laws.append(law)
            self._record(0.0)
        self.policies = np.stack(policies[::-1])
        law = np.stack(laws[::-1])
        self.law = torch.from_numpy(law[:1] if (law == law[:1]).all() else law).to(self.law.device)

    def rounds(
        self, initial: list[Tensor] | None, max_steps: int, random: np.random.Generator
    ) -> None:
        """Values and stage equilibria in turns."""
        free = self._free(0)
        start = [prior.exp() for prior in self.table.log_priors] if initial is None else initial
        wide = (len(self.table.states), -1)
        self.policies = np.concatenate([p[0, 0].expand(*wide).cpu().numpy() for p in start], -1)[
            None
        ]
        values = self.values = self._values()
        for k in range(max_steps):
            self.values = values
            payoffs = self._payoffs(0)
            lost = self._gains(payoffs) > self.least
            after = self._values()
            self._record(float((after - values).abs().max()))
            choosing = k < CHOSEN and (self.choose is not None or (k == 0 and initial is None))
            changed = self._choose(payoffs, free, lost) if choosing else 0.0
            if changed > NEAR and k >= BOLD:
                # what is chosen to make up for what comes is meant for now, not for ever
                values = self._backed_up(payoffs, self.policies[0], self.law[0])
                continue
            if k > 0 and not lost.any() and not changed:
                if torch.equal(values, after):
                    self.settled = choosing or self.choose is None
                    return
                values = after  # judged by what they are worth, not by where values were going
                continue
            part, noise, share = (1.0, 0.0, 1.0)
            if k >= CHOSEN:
                part, noise, share = PHASES[(k - CHOSEN) // ROUNDS % len(PHASES)]
                lost &= random.random(len(lost)) < share
            if not choosing and lost.any():
                where = np.flatnonzero(lost)
                found = stage_equilibria(payoffs[:, where], free[where])
                for s, stage in zip(where, found, strict=True):
                    if len(stage):
                        off = np.abs(stage.policies - self.policies[0, s]).sum(1)
                        near = random.random() >= noise
                        pick = off.argmin() if near else random.integers(len(stage))
                        self.policies[0, s] = stage.policies[pick]
            after = self._values()
            values = values + part * (after - values)

    def _choose(self, payoffs: Array, free: NDArray[np.bool_], lost: NDArray[np.bool_]) -> float:
        """Play what is best everywhere; how far that is, in probability, from before."""
        before = self.law[0].cpu().numpy()
        now, law = self._chosen(payoffs, free, self.policies[0], before)
        moved = float(np.abs(now - self.policies[0]).max())
        if (drawn := float(np.abs(law - before).max())) > SAME:
            moved = 1.0 + drawn
        if moved <= SAME and not lost.any():
            return 0.0
        self.policies = now[None]
        self.law = torch.from_numpy(law)[None].to(self.law.device)
        return moved

    def _chosen(
        self, payoffs: Array, free: NDArray[np.bool_], otherwise: Array, law: Array
    ) -> tuple[Array, Array]:
        """An equilibrium of every stage, or what is given where none was found, and σ."""
        found = stage_equilibria(payoffs, free)
        for s, stage in enumerate(found):
            if not len(stage):
                self.settled = False
                worth = means(payoffs[:, [s]], otherwise[[s]])
                found[s] = Equilibria(otherwise[[s]], worth)
        if self.choose is not None:
            return self.choose(found, law)
        return np.stack([stage.policies[stage.payoffs.sum(1).argmax()] for stage in found]), law

    def _payoffs(self, t: int) -> Array:
        """r + γ E V at a time, (N, S·Ω, A_1, ..., A_N)."""
        table, parts = self.table, []
        shape = (len(table.states), *table.sizes)
        for i in self.agents:
            reward = table.rewards[i][0, min(t, table.rewards[i].shape[1] - 1)]
            if self.values is not None:
                mean = following(self.base, self.values[None, :, [i]], t)[0, 0, ..., 0]
                reward = reward + table.discount * mean
            parts.append(np.broadcast_to(reward.cpu().numpy(), shape))
        return np.stack(parts)

    def _free(self, t: int) -> NDArray[np.bool_]:
        priors = [prior[0, min(t, prior.shape[1] - 1)] for prior in self.table.log_priors]
        return np.concatenate([(prior > -torch.inf).cpu().numpy() for prior in priors], -1)

    def _gains(self, payoffs: Array) -> Array:
        """The most that an agent gains in each stage game by another action, (S·Ω,)."""
        free, policies = self._free(0), self.policies[0]
        played, worst = means(payoffs, policies), np.zeros(len(policies))
        for i, own in enumerate(np.split(free, self.parts, axis=1)):
            laws = np.split(policies, self.parts, axis=1)
            values = payoffs[i]
            for j in reversed(self.agents):
                if j != i:
                    behind = values.ndim - 2 - j
                    weight = laws[j].reshape(len(values), *[1] * j, -1, *[1] * behind)
                    values = (values * weight).sum(1 + j)
            worst = np.maximum(worst, np.where(own, values, -np.inf).max(1) - played[:, i])
        return worst

    def _backed_up(self, payoffs: Array, policies: Array, law: Tensor) -> Tensor:
        """What stages are worth before the signal is drawn, (S, N)."""
        by_signal = torch.from_numpy(means(payoffs, policies)).to(self.law.device)
        weights = law.to(self.law.device)[..., None]
        return (by_signal.reshape(-1, self.omega, len(self.agents)) * weights).sum(1)

    def _values(self) -> Tensor:
        """V of the stationary policies before the signal is drawn, (S, N)."""
        table = self.table if self.omega == 1 else with_law(self.table, self.law)
        parts = self.split(self.policies)
        values = evaluate(table, parts, policy_rewards(table, parts, self.agents))[0, 0]
        return (values.reshape(-1, self.omega, len(self.agents)) * self.law[0][..., None]).sum(1)

    def split(self, policies: Array) -> list[Tensor]:
        """(H, S·Ω, n) as one tensor for each agent."""
        whole = torch.from_numpy(policies).to(self.table.device)
        return [part[None] for part in whole.split(list(self.table.sizes), -1)]

    def _record(self, residual: float) -> None:
        entry: dict[str, Any] = {
            "iteration": len(self.history) + 1,
            "temperature": 0.0,
            "residual": residual,
            "elbo": {},
        }
        self.history.append(entry)
        self.show(entry)
