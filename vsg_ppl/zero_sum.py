"""Zero-sum stochastic games (Section 5.4): equilibria to a duality gap, exact at a temperature.

One agent's loss is the other's gain, so no reward of the opponent's is estimated: its model is
ρ* ∝ u exp(−Q/τ), the other half of every step. At a temperature the single states are strictly
convex-concave, and Newton's method finds their one saddle point; between the states, values follow
Shapley's equation by Newton steps, each taken only if it beats what Shapley's iteration is sure of.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.bellman import divergence, evaluate, following, policy_rewards
from vsg_ppl.certificate import Certificate, certify_tables
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.progress import Progress, no_progress, progress_bar
from vsg_ppl.saddle import ROUNDING, matrix_programs, saddle_points
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

FACTOR = 0.2
"""From one temperature to the next."""

COLDEST = 1e-11
"""The last temperature, relative to the spread of the rewards; then rounding stops Newton."""

ROUGH = 1e-3
"""How exact policies are on the way, in temperatures."""

EXACT = 1e-11
"""The same at a temperature that was asked for."""

STUCK = 100.0
"""How many tolerances a state may be off before values are followed no further."""

SAME = 1e-9
"""Up to this, relative to the largest reward, two sums of rewards are one."""


def zero_sum(
    game: Game | Table,
    *,
    target_gap: float = 1e-6,
    temperature: float | None = None,
    max_steps: int = 500,
    progress: bool = False,
) -> Solution:
    """The equilibrium of a two-agent game whose rewards sum to a constant (Section 5.4).

    The temperature falls until the duality gap, the sum of what both agents could gain by
    deviating, is at most ``target_gap``, and from every state too if possible. Of several
    equilibria that leads to the one nearest to the priors. Where Newton's method gets stuck first,
    linear programs finish.

    At a temperature the solution is the one saddle point of E Σ γ^t (r − τ KL(π‖u) + τ KL(ρ‖v)),
    π ∝ u exp(Q/τ) against ρ ∝ v exp(−Q/τ). The entropy of both is in V, which keeps the game
    zero-sum; `nash` and `logit_path` pay each agent for its own, and agree in one-shot games only.

    Sources: the regularised game is that of Cen, Wei and Chi (2021, "Fast policy extragradient
    methods for competitive games with entropy regularization") and Cen, Chi, Du and Xiao (2022,
    "Faster last-iterate convergence of policy optimization in zero-sum Markov games"); values
    after Shapley (1953, "Stochastic games") and, as Newton steps, Pollatschek and Avi-Itzhak (1969,
    "Algorithms for stochastic games with geometrical interpretation").

    Args:
        game: a game program, or a table, which may hold a batch of games.
        target_gap: in units of reward; of a batch, for every game.
        temperature: τ > 0 to stay at, for the regularised game instead, which is then solved to
            1e-9 of its policies, or as far as rounding allows.
        max_steps: of Shapley's equation, at each temperature.
        progress: show a progress bar.

    Returns:
        The solution, its policies (S, A), or (H, S, A) with a horizon. Its history has
        ``duality_gap``, and ``residual``: how far Shapley's equation is from holding, in units of
        reward. Its temperature is 0 if linear programs had the last word. Ctrl-C returns the best
        certified policies so far.

    Raises:
        GameError: not two agents, rewards that do not sum to a constant, or bad arguments.

    >>> from vsg_ppl.models import MatchingPennies
    >>> solution = zero_sum(MatchingPennies(bias=9))
    >>> solution.policies["row"], round(solution.certificate.values["row"], 6)
    (tensor([[[0.1667, 0.8333]]], dtype=torch.float64), 0.074074)
    """
    table = game if isinstance(game, Table) else tabulate(game)
    _check(table, target_gap, temperature, max_steps)
    with torch.no_grad():
        run = _Run(table, target_gap, max_steps)
        with progress_bar("zero sum") if progress else no_progress() as run.progress:
            try:
                solved = run.anneal() if temperature is None else run.stay(temperature)
                status = "solved" if solved else "not converged"
            except KeyboardInterrupt:
                status = "interrupted"
        _, logs, certificate, at = run.best or run.certified(0.0)
    return solution_of(
        game,
        table,
        logs,
        certificate=certificate,
        temperature=at,
        factorisation="marginal",
        iterations=len(run.history),
        seconds=time.perf_counter() - run.began,
        status=status,
        message=_message(table, certificate, at, status, target_gap, temperature),
        history=run.history,
    )


def duality_gap(certificate: Certificate) -> float:
    """What both agents could gain by deviating, together; of a batch the largest.

    >>> from vsg_ppl.models import RockPaperScissors
    >>> duality_gap(zero_sum(RockPaperScissors()).certificate) <= 1e-6
    True
    """
    gains = [torch.as_tensor(gain) for gain in certificate.per_agent.values()]
    return float(torch.stack(gains).sum(0).max())


Found = tuple[float, list[Tensor], Certificate, float]
"""The worst state's gap, log policies, their certificate and the temperature."""


class _Run:
    """Values V of the first agent, (B, H, S), and log policies of both, (B, H, S, A_i)."""

    progress: Progress
    best: Found | None = None
    residual = float("inf")

    def __init__(self, table: Table, target: float, max_steps: int) -> None:
        self.given, self.target, self.max_steps = table, target, max_steps
        reward = table.rewards[0]
        # the second agent wants the opposite, whatever constant its own reward has on top
        self.table = replace(table, rewards=(reward, -reward))
        shape = (table.batch, table.horizon or 1, len(table.states))
        self.logs = [prior.expand(*shape, prior.shape[-1]) for prior in table.log_priors]
        self.values = reward.new_zeros(shape)
        self.spread = float(reward.amax() - reward.amin()) or 1.0
        self.history: list[dict[str, Any]] = []
        self.began = time.perf_counter()

    def anneal(self) -> bool:
        """Lower the temperature to the target gap, or as far as it goes, and then to 0 at once."""
        temperature = self.spread
        while temperature > COLDEST * self.spread:
            if not self._solve(temperature, ROUGH * temperature):
                break
            if self._record(temperature) <= self.target:
                return True
            temperature *= FACTOR
        with suppress(GameError):  # of linear programs that fail: what was found so far stays
            self._solve(0.0, self.target * (1 - self.table.discount) / 8)
            self._record(0.0)
        return self.best is not None and duality_gap(self.best[2]) <= self.target

    def stay(self, temperature: float) -> bool:
        """The saddle point at one temperature; warmer ones lead to it."""
        warmer = max(self.spread, temperature)
        while warmer > temperature:
            self._solve(warmer, ROUGH * warmer)
            self._record(warmer)
            warmer = max(FACTOR * warmer, temperature)
        self._solve(temperature, EXACT * temperature)
        self.best = None  # warmer policies may be closer to Nash, but were not asked for
        self._record(temperature)
        # rounding in Q is divided by the temperature; a policy must be left of it
        rounding = min(ROUNDING * self._size(), 1e-6 * temperature)
        return self.residual <= max(1e-9 * temperature, rounding)

    def _size(self) -> float:
        return float(self.values.abs().max()) + self.spread

    def certified(self, temperature: float) -> Found:
        """The current policies with their certificate; Theorem 4.2 bounds one-shot games only."""
        exact = temperature > 0 and self.residual <= 1e-9 * temperature
        bound = temperature if exact and self.table.horizon == 1 else None
        certificate = certify_tables(self.given, [log.exp() for log in self.logs], bound)
        worst = 2 * float(torch.as_tensor(certificate.nash_gap_worst_state).max())
        return worst, self.logs, certificate, temperature

    def _record(self, temperature: float) -> float:
        """An entry of the history; the gap from the worst state."""
        found = self.certified(temperature)
        if self.best is None or found[0] < self.best[0]:
            self.best = found
        entry: dict[str, Any] = {
            "iteration": len(self.history) + 1,
            "temperature": temperature,
            "residual": self.residual,
            "elbo": {},
            "nash_gap": found[2].largest_gap,
            "duality_gap": duality_gap(found[2]),
        }
        self.history.append(entry)
        self.progress(entry)
        return found[0]

    def _solve(self, temperature: float, tolerance: float) -> bool:
        """Shapley's equation at a temperature; whether its residual fell to the tolerance."""
        horizon = self.table.horizon
        if horizon is None:
            self._stationary(temperature, tolerance)
        else:
            self._backward(temperature, tolerance, horizon)
        return self.residual <= tolerance + ROUNDING * self._size()

    def _backward(self, temperature: float, tolerance: float, horizon: int) -> None:
        """A finite horizon: the stages from the last to the first."""
        ahead: Tensor | None = None
        logs, values, self.residual = [], [], 0.0
        for t in reversed(range(horizon)):
            now = [log[:, t] for log in self.logs]
            now, ahead, off = self._stage(ahead, now, t, temperature, tolerance)
            self.residual = max(self.residual, off)
            logs.append(now)
            values.append(ahead)
        self.logs = [torch.stack(parts, 1) for parts in zip(*logs[::-1], strict=True)]
        self.values = torch.stack(values[::-1], 1)

    def _stationary(self, temperature: float, tolerance: float) -> None:
        """An infinite horizon: Newton steps, or Shapley's where those bring less.

        A Newton step on V = T V is the value of the policies that attain T V (policy iteration). It
        may cycle, while V → T V brings the residual down by γ for sure.
        """
        values, discount = self.values[:, 0], self.table.discount
        logs, ahead, off = self._at(values, self.logs, temperature, tolerance)
        for _ in range(self.max_steps):
            least = (ahead - values).abs().amax(1)
            floor = tolerance + ROUNDING * (float(values.abs().max()) + self.spread)
            self.residual = max(float(least.max()), off)
            if float(least.max()) <= floor or off > STUCK * floor:
                break
            trial = self._evaluate(logs, temperature)
            found = self._at(trial, logs, temperature, tolerance)
            poor = ~((found[1] - trial).abs().amax(1) <= discount * least)
            if bool(poor.any()):
                trial = torch.where(poor[:, None], ahead, trial)
                found = self._at(trial, logs, temperature, tolerance)
            values, (logs, ahead, off) = trial, found
        self.values, self.logs = values[:, None], logs

    def _at(
        self, values: Tensor, logs: list[Tensor], temperature: float, tolerance: float
    ) -> tuple[list[Tensor], Tensor, float]:
        """Saddle points of all states, T V, and their error, where V is what comes after."""
        now = [log[:, 0] for log in logs]
        now, ahead, off = self._stage(values, now, 0, temperature, tolerance)
        return [log[:, None] for log in now], ahead, off

    def _evaluate(self, logs: list[Tensor], temperature: float) -> Tensor:
        """V of policies, (B, S), with the entropies of both."""
        policies = [log.exp() for log in logs]
        rewards = policy_rewards(self.table, policies, [0])
        if temperature > 0:
            costs = [
                divergence(policy, log, prior)
                for policy, log, prior in zip(policies, logs, self.table.log_priors, strict=True)
            ]
            rewards = rewards - temperature * (costs[0] - costs[1])[..., None]
        return evaluate(self.table, policies, rewards)[:, 0, :, 0]

    def _stage(
        self,
        ahead: Tensor | None,
        logs: list[Tensor],
        t: int,
        temperature: float,
        tolerance: float,
    ) -> tuple[list[Tensor], Tensor, float]:
        """All states at one time: log policies (B, S, A_i), values (B, S), the largest error."""
        payoff = _at_time(self.table.rewards[0], t)
        if ahead is not None:
            payoff = (
                payoff + self.table.discount * following(self.table, ahead[..., None], t)[..., 0]
            )
        shape = logs[0].shape[:2]
        matrix = payoff[:, 0].expand(*shape, *self.table.sizes).flatten(0, 1)
        priors = [
            _at_time(prior, t)[:, 0].expand(*shape, -1).flatten(0, 1)
            for prior in self.table.log_priors
        ]
        starts = [log.flatten(0, 1) for log in logs]
        if temperature > 0:
            starts, off = saddle_points(matrix, priors, starts, temperature, tolerance)
        else:
            starts, off = matrix_programs(matrix, [prior > -torch.inf for prior in priors]), 0.0
        x, y = (log.exp() for log in starts)
        value = (x[:, None] @ matrix @ y[..., None])[:, 0, 0]
        if temperature > 0:
            costs = [divergence(p, s, u) for p, s, u in zip((x, y), starts, priors, strict=True)]
            value = value - temperature * (costs[0] - costs[1])
        return [log.reshape(*shape, -1) for log in starts], value.reshape(shape), off


def _message(
    table: Table,
    certificate: Certificate,
    at: float,
    status: str,
    target: float,
    temperature: float | None,
) -> str:
    """The value, the gap, and what to do next."""
    gap = f"duality gap {duality_gap(certificate):.3g}"
    if not table.batched:
        gap = f"value {certificate.values[table.agents[0]]:.6g} to '{table.agents[0]}', {gap}"
    if temperature is not None:
        gap += f" at temperature {at:g}"
    if status == "solved":
        return gap
    if status == "interrupted":
        return f"stopped by hand at {gap}; the best policies so far are returned"
    if temperature is not None:
        return f"{gap}: the policies are not exact; raise `max_steps` or `temperature`"
    return f"{gap} (wanted {target:g}); raise `max_steps`, or `target_gap` if rounding allows less"


def _check(table: Table, target: float, temperature: float | None, max_steps: int) -> None:
    """Raise `GameError` unless the game is zero-sum up to a constant, and the arguments fit."""
    if len(table.agents) != 2:
        raise GameError(
            f"a zero-sum game has two agents, and {table.name} has {len(table.agents)}",
            hint="`nash`.",
        )
    if temperature is not None and not 0 < temperature < torch.inf:
        raise GameError(f"the temperature is {temperature}; it must be positive")
    if not 0 < target < torch.inf:
        raise GameError(f"the target gap is {target}; it must be positive")
    if max_steps < 1:
        raise GameError(f"max_steps is {max_steps}; at least 1 is needed")
    first, second = table.log_priors
    possible = (first[..., :, None] > -torch.inf) & (second[..., None, :] > -torch.inf)
    if table.reachable is not None:
        possible = possible & table.reachable[None, :, :, None, None]
    whole = torch.broadcast_tensors(*table.rewards, possible)
    r, s, possible = (part.flatten(1) for part in whole)
    total, largest = r + s, torch.maximum(r.abs(), s.abs()).amax(1, keepdim=True)
    place = possible.int().argmax(1, keepdim=True)
    constant = total.gather(1, place)
    off = torch.where(possible, (total - constant).abs(), 0.0)
    wrong = off > SAME * largest
    if bool(wrong.any()):
        k = int(wrong.any(1).int().argmax())
        places = (int(place[k, 0]), int(off[k].argmax()))
        one, other = (_sum_at(table, whole, k, at) for at in places)
        raise GameError(
            f"the rewards of {table.name} do not sum to a constant: {one}, but {other}",
            hint="`nash`.",
        )


def _sum_at(table: Table, whole: tuple[Tensor, ...], game: int, place: int) -> str:
    """Where in the game two rewards are, and their sum."""
    index = [int(number) for number in np.unravel_index(place, tuple(whole[0].shape[1:]))]
    t, state, *joint = index
    names = [actions.names()[j] for actions, j in zip(table.actions, joint, strict=True)]
    played = " and ".join(
        f"{agent} {name}" for agent, name in zip(table.agents, names, strict=True)
    )
    r, s = (float(reward[(game, *index)]) for reward in whole[:2])
    when = f" at time {t}" if whole[0].shape[1] > 1 else ""
    which = f" of game {game}" if table.batched else ""
    label = table.states[state]
    return f"{r:g} + {s:g} = {r + s:g} in state {label}{when}{which} when they play {played}"


def _at_time(x: Tensor, t: int) -> Tensor:
    return x[:, [t if x.shape[1] > 1 else 0]]
