"""Nash equilibria of general-sum stochastic games by variational policy gradient (Algorithm 1)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from vsg_ppl.certificate import Certificate, certify_tables
from vsg_ppl.conditional import Conditional
from vsg_ppl.elbo import total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.progress import Progress, no_progress, progress_bar
from vsg_ppl.reading import read_policies
from vsg_ppl.schedule import Annealing
from vsg_ppl.solution import Solution, shown, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.theory import safe_step
from vsg_ppl.vpg import PATIENCE, Entropy, Stage, natural_step, residual, soft_scores, soft_values

LEAST = -700.0
"""log π below which steps of Eq. 4, which multiply, would never bring an action back."""

PATIENT_STAGES = 2
"""Temperatures in a row that may fail before annealing towards a target gap is given up."""

STALE = 200
"""Iterations without a better residual after which a temperature is given up."""

Step = float | Literal["adaptive", "monotone", "safe"]
Factorisation = Literal["marginal", "conditional"]


def nash(
    game: Game | Table,
    *,
    temperature: float | Annealing | Sequence[float] | None = None,
    factorisation: Factorisation = "marginal",
    entropy: Entropy = "own",
    step: Step = "adaptive",
    initial: Mapping[str, Any] | None = None,
    tolerance: float = 1e-9,
    max_steps: int = 2000,
    certify_every: int = 10,
    progress: bool = False,
) -> Solution:
    """Policies ELBO-optimal against each other, with their Nash gap (Algorithm 1, Thm 4.2).

    Every agent takes natural-gradient steps on its own ELBO (Eq. 4), all at once, with exact
    opponent models ρ = π^{-i}. A fixed point is a joint maximiser of the ELBOs: the logit quantal
    response equilibrium at this temperature, and an ε-Nash equilibrium with ε proportional to it.
    Convergence is proved for Markov potential games (Thm 5.8) and known for zero-sum games; other
    games may cycle, and the status then says so.

    Args:
        game: a game program, or a table, which may hold a batch of games.
        temperature: τ in units of reward; or a schedule, `Annealing` or a falling sequence. By
            default the temperature falls until the Nash gap is at most 1e-3.
        factorisation: "marginal" policies π(a^i|s), or the paper's "conditional" π(a^i|s, a^{-i}),
            of which the average over ρ is executed (and certified).
        entropy: what τ is paid for in V: each agent's "own" divergence from its prior (the paper),
            the "joint" one (what makes Prop. 5.6 hold when actions move the state), or "none" (the
            agent quantal response equilibrium of other libraries). One-shot games agree.
        step: "adaptive"; the weight β in (0, 1] of Eq. 4; "safe", the step 1/L of Lemma 5.7; or
            "monotone", halved until the potential, if the game has one, does not fall.
        initial: policies to start from; the priors by default.
        tolerance: on max |π − softmax(log u + Q/τ)|, at the last temperature.
        max_steps: iterations at each temperature; each evaluates all policies exactly once.
        certify_every: iterations between two certificates in the history.
        progress: show a progress bar.

    Returns:
        The solution: policies, values, certificate, history, and a status that says what to do
        next. Ctrl-C returns the best certified policies so far.

    Raises:
        GameError: a game that cannot be tabulated, or bad arguments.

    >>> from vsg_ppl.models import PrisonersDilemma
    >>> solution = nash(PrisonersDilemma())
    >>> solution.status, solution.policies["row"].argmax().item()
    ('solved', 1)
    """
    table = game if isinstance(game, Table) else tabulate(game)
    _check(table, factorisation, entropy, step, max_steps)
    with torch.no_grad():
        run = _Run(table, entropy, step, tolerance, max_steps, certify_every)
        if factorisation == "conditional":
            run.conditional = Conditional(table, entropy)
        if initial is not None:
            if factorisation == "conditional":
                raise GameError(
                    "conditional policies start from the priors, and `initial` gives marginal ones",
                    hint='leave `initial` out, or factorisation="marginal".',
                )
            run.start(read_policies(table, initial))
        bar = progress_bar("nash") if progress else no_progress()
        with bar as run.progress:
            run.anneal(_schedule(temperature))
    return solution_of(
        game,
        table,
        run.logs,
        certificate=run.certificate,
        temperature=run.temperature,
        factorisation=factorisation,
        iterations=run.iterations,
        seconds=run.seconds,
        status=run.status,
        message=run.message,
        history=run.history,
        answers=run.answers(),
    )


class _Run:
    """One run of VPG: the policies as logs, (B, H, S, A_i), and what has been seen on the way."""

    conditional: Conditional | None = None
    cycles = False  # whether natural-gradient steps have failed to settle in some state
    progress: Progress

    def __init__(
        self,
        table: Table,
        entropy: Entropy,
        step: Step,
        tolerance: float,
        max_steps: int,
        certify_every: int,
    ) -> None:
        self.table, self.entropy, self.step = table, entropy, step
        self.tolerance, self.max_steps, self.every = tolerance, max_steps, certify_every
        times = table.horizon or 1
        self.logs = [
            prior.expand(table.batch, times, *prior.shape[2:]).clone() for prior in table.log_priors
        ]
        self.history: list[dict[str, Any]] = []
        self.iterations, self.began = 0, time.perf_counter()
        self.temperature = float("nan")
        self.best: tuple[float, list[Tensor], Certificate, float] | None = None

    def start(self, policies: list[Tensor]) -> None:
        """Start from these probabilities; zeros become so small that steps can still leave them."""
        self.logs = [
            torch.where(log > -torch.inf, policy.log().clamp_min(LEAST), log)
            for policy, log in zip(policies, self.logs, strict=True)
        ]

    def anneal(self, schedule: Annealing | list[float]) -> None:
        """Go through the temperatures, then say how it went: status, message, certificate."""
        target = schedule.target_gap if isinstance(schedule, Annealing) else None
        stages = (
            list(schedule.stages(self._spread())) if isinstance(schedule, Annealing) else schedule
        )
        self.status, reached, failed = "not converged", False, 0
        try:
            for k, temperature in enumerate(stages):
                self.temperature = temperature
                last = k == len(stages) - 1
                reached = self._stage(temperature, self.tolerance if last else 1e-4)
                if target is not None:
                    gap = self._certify().largest_gap
                    if gap <= target:
                        self.status = "solved"
                        break
                    failed = 0 if reached else failed + 1
                    if failed == PATIENT_STAGES:  # what cycles here cycles the more when colder
                        break
            else:
                self.status = "solved" if reached and target is None else "not converged"
        except KeyboardInterrupt:
            self.status = "interrupted"
        self._finish(target)

    def answers(self) -> dict[str, Tensor]:
        """Conditional policies by name; none for the marginal factorisation."""
        if self.conditional is None:
            return {}
        return {
            agent: shown(self.table, policy)
            for agent, policy in zip(self.table.agents, self.conditional.policies(), strict=True)
        }

    def _finish(self, target: float | None) -> None:
        certificate = self._certify()
        if self.status != "solved" and self.best is not None:
            gap, logs, best, temperature = self.best
            if gap < certificate.largest_gap:
                self.logs, self.temperature, certificate = logs, temperature, best
        self.certificate = certificate
        gap = certificate.largest_gap
        wanted = f" (wanted {target:g})" if target is not None else ""
        self.message = {
            "solved": f"Nash gap {gap:.3g} at temperature {self.temperature:g}",
            "interrupted": f"stopped by hand at Nash gap {gap:.3g}{wanted}; the best policies so "
            "far are returned",
            "not converged": f"Nash gap {gap:.3g}{wanted} at temperature {self.temperature:g}: "
            "the policies did not settle; raise `max_steps` or `temperature`, start elsewhere "
            "(`initial`), or follow the branch of a small game with `logit_path`",
        }[self.status]
        self.seconds = time.perf_counter() - self.began

    def _stage(self, temperature: float, tolerance: float) -> bool:
        """Steps at one temperature; whether the fixed point was reached."""
        if self.conditional is not None:
            return self._conditional(self.conditional, temperature, tolerance)
        if self.step != "adaptive":
            return self._plain(temperature, tolerance)
        if self.table.horizon is not None:
            return self._backward(temperature, tolerance, self.table.horizon)
        return self._alternate(temperature, tolerance)

    def _backward(self, temperature: float, tolerance: float, horizon: int) -> bool:
        """A finite horizon: solve the stages from the last to the first."""
        ahead: Tensor | None = None
        parts: list[list[Tensor]] = []
        for t in reversed(range(horizon)):
            stage = Stage(self.table, ahead, t)
            now = [log[:, [t]] for log in self.logs]
            now, steps, cycled = stage.settle(
                now, temperature, tolerance, self.max_steps, follow=self.cycles
            )
            self.cycles |= cycled
            self.iterations = max(self.iterations, steps)
            ahead = stage.values(now, temperature, self.entropy)
            parts.append(now)
        self.logs = [torch.cat(logs, 1) for logs in zip(*parts[::-1], strict=True)]
        values = soft_values(self.table, self.logs, temperature, self.entropy)
        off = residual(
            self.logs, soft_scores(self.table, self.logs, values, temperature), self.table
        )
        self._record(temperature, off, values)
        return bool((off <= tolerance).all())

    def _alternate(self, temperature: float, tolerance: float) -> bool:
        """An infinite horizon: solve all stages, evaluate, again."""
        used: Tensor | None = None
        pace, before, least, stale = 1.0, float("inf"), float("inf"), 0
        for _ in range(self.max_steps):
            values = soft_values(self.table, self.logs, temperature, self.entropy)
            scores = soft_scores(self.table, self.logs, values, temperature)
            off = residual(self.logs, scores, self.table)
            self._record(temperature, off, values)
            worst = float(off.max())
            if worst <= tolerance:
                return True
            least, stale = (worst, 0) if worst < 0.9 * least else (least, stale + 1)
            if stale == STALE:
                return False
            # values that overshoot are followed more slowly than the policies move
            pace = max(0.7 * pace, 1e-3) if worst > before else min(1.05 * pace, 1.0)
            before = worst
            used = values if used is None else used + pace * (values - used)
            stage, aim = Stage(self.table, used[:, 0]), min(0.1 * tolerance, 1e-3 * worst)
            self.logs, _, cycled = stage.settle(
                self.logs, temperature, aim, PATIENCE, follow=self.cycles
            )
            self.cycles |= cycled
        return False

    def _plain(self, temperature: float, tolerance: float) -> bool:
        """Steps of Eq. 4 as printed: one evaluation, one step of all agents."""
        weight = safe_step(self.table, temperature) if self.step == "safe" else 1.0
        weight = self.step if isinstance(self.step, float | int) else weight
        for _ in range(self.max_steps):
            values = soft_values(self.table, self.logs, temperature, self.entropy)
            scores = soft_scores(self.table, self.logs, values, temperature)
            off = residual(self.logs, scores, self.table)
            self._record(temperature, off, values)
            if float(off.max()) <= tolerance:
                return True
            moved = self._moved(scores, weight)
            if self.step == "monotone":
                while weight > 1e-12 and not self._rises(moved, temperature):
                    weight /= 2
                    moved = self._moved(scores, weight)
            self.logs = moved
            weight = min(1.0, 1.5 * weight) if self.step == "monotone" else weight
        return False

    def _conditional(self, model: Conditional, temperature: float, tolerance: float) -> bool:
        weight = self.step if isinstance(self.step, float | int) else 1.0
        weight = safe_step(self.table, temperature) if self.step == "safe" else weight
        for _ in range(self.max_steps):
            values, off = model.iterate(temperature, weight)
            self.logs = model.executed_logs()
            self._record(temperature, off, values)
            if float(off.max()) <= tolerance:
                return True
        return False

    def _moved(self, scores: list[Tensor], weight: float) -> list[Tensor]:
        return [
            natural_step(log, score, weight) for log, score in zip(self.logs, scores, strict=True)
        ]

    def _rises(self, moved: list[Tensor], temperature: float) -> bool:
        change = potential_change(self.table, self.logs, moved, temperature, self.entropy)
        # it is a difference of values, and no more exact than they are
        steps = total_weight(self.table.discount, self.table.horizon)
        size = max(float(reward.abs().amax()) for reward in self.table.rewards)
        return bool((change >= -1e-14 * (1 + steps * size)).all())

    def _record(self, temperature: float, off: Tensor, values: Tensor) -> None:
        elbo = (self.table.initial[..., None] * values[:, 0]).sum(1)
        self.iterations += 1
        entry: dict[str, Any] = {
            "iteration": self.iterations,
            "temperature": temperature,
            "residual": float(off.max()),
            "elbo": {agent: float(elbo[:, i].mean()) for i, agent in enumerate(self.table.agents)},
        }
        if self.iterations % self.every == 0:
            entry["nash_gap"] = self._certify().largest_gap
        self.history.append(entry)
        self.progress(entry)

    def _certify(self) -> Certificate:
        policies = [log.exp() for log in self.logs]
        certificate = certify_tables(
            self.table, policies, self.temperature, joint_entropy=self.entropy == "joint"
        )
        gap = certificate.largest_gap
        if self.best is None or gap < self.best[0]:
            self.best = gap, [log.clone() for log in self.logs], certificate, self.temperature
        return certificate

    def _spread(self) -> float:
        return max(float((reward.amax() - reward.amin()).abs()) for reward in self.table.rewards)


def random_policies(table: Table, seed: int = 0) -> dict[str, Tensor]:
    """Policies drawn uniformly from the simplex of available actions, to start `nash` from.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> solution = vsg.nash(table, initial=random_policies(table, seed=3))
    >>> solution.solved
    True
    """
    generator = torch.Generator().manual_seed(seed)
    policies = {}
    for agent, prior in zip(table.agents, table.log_priors, strict=True):
        shape = (table.batch, table.horizon or 1, *prior.shape[2:])
        draw = -torch.rand(shape, generator=generator, dtype=torch.float64).clamp_min(1e-12).log()
        draw = draw.to(prior.device) * (prior > -torch.inf)
        policies[agent] = draw / draw.sum(-1, keepdim=True)
    return policies


def potential_change(
    table: Table,
    before: list[Tensor],
    after: list[Tensor],
    temperature: float,
    entropy: Entropy = "joint",
) -> Tensor:
    """How much the potential (plus entropy) rises from one joint policy to another, (B,).

    The agents switch one after another, each counting its own value: in a potential game
    (Def. 5.4) the sum is Φ(after) − Φ(before), whatever Φ is.

    Args:
        table: the game.
        before: log π of every agent.
        after: log π of every agent.
        temperature: τ.
        entropy: as in `nash`.
    """
    logs, total = list(before), torch.zeros(table.batch, dtype=torch.float64, device=table.device)
    for i, log in enumerate(after):
        left = soft_values(table, logs, temperature, entropy)[:, 0, :, i]
        logs[i] = log
        right = soft_values(table, logs, temperature, entropy)[:, 0, :, i]
        total = total + (table.initial * (right - left)).sum(-1)
    return total


def _schedule(temperature: float | Annealing | Sequence[float] | None) -> Annealing | list[float]:
    if temperature is None:
        return Annealing()
    if isinstance(temperature, Annealing):
        return temperature
    stages = (
        [float(t) for t in temperature]
        if isinstance(temperature, Sequence)
        else [float(temperature)]
    )
    if not stages or not all(stage > 0 for stage in stages):
        raise GameError(f"the temperature is {temperature}; it must be positive")
    if any(after > before for before, after in pairwise(stages)):
        raise GameError(f"the temperatures {temperature} do not fall")
    return stages


def _check(table: Table, factorisation: str, entropy: str, step: Step, max_steps: int) -> None:
    for what, value, known in (
        ("factorisation", factorisation, ("marginal", "conditional")),
        ("entropy", entropy, ("own", "joint", "none")),
    ):
        if value not in known:
            raise GameError(f"{what} '{value}'", hint=f"one of {', '.join(known)}.")
    if isinstance(step, str):
        if step not in ("adaptive", "monotone", "safe"):
            raise GameError(f"step '{step}'", hint="adaptive, monotone, safe, or a number.")
        if step == "monotone" and factorisation == "conditional":
            raise GameError("conditional policies have no monotone steps", hint="step=0.5, say.")
    elif not 0 < step <= 1:
        raise GameError(f"the step β is {step}; it lies in (0, 1]")
    if max_steps < 1:
        raise GameError(f"max_steps is {max_steps}; at least 1 is needed")
