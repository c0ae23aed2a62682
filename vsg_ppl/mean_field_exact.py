"""Newton's method on the equations of a mean-field equilibrium, and paths to where it starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from torch import Tensor

from vsg_ppl.mean_field_iterations import fictitious_play, mirror_descent
from vsg_ppl.mean_field_run import Run
from vsg_ppl.mean_field_system import Array, Indirect, Smooth, System, solve

LARGEST = 200_000
"""Unknowns up to which Newton's matrix is factorised."""

FIRST_ORDER = 1000
"""Steps of mirror descent, and of fictitious play, where the unknowns are more."""

MANY = 3000
"""Unknowns up to which several starts, and the path along the horizon, are tried."""


@dataclass
class Found:
    """Where Newton's method ended: the vector, the largest error left, and the steps taken."""

    x: Array
    off: float
    steps: int


def newton(
    system: System, x: Array, smooth: Smooth, tolerance: float, max_steps: int = 60
) -> Found:
    """Newton's method, each step as long as it brings the equations closer.

    Where no part of Newton's step does, it goes on by Levenberg and Marquardt's, whose steps lie
    between Newton's and the steepest descent of the squared error.
    """
    for k in range(max_steps):
        error, matrix, _ = system.linearised(x, smooth)
        off = float(np.abs(error).max())
        if off <= tolerance:
            return Found(x, off, k)
        move = solve(matrix, -error)
        better = None if move is None else _search(system, x, move, smooth, error)
        if better is None:
            if isinstance(matrix, Indirect):
                return Found(x, off, k)
            return _damped(system, x, smooth, tolerance, k, max_steps)
        x = better
    return Found(x, float(np.abs(system.equations(x, smooth)).max()), max_steps)


def _search(system: System, x: Array, move: Array, smooth: Smooth, error: Array) -> Array | None:
    """The first of ever shorter steps that lowers the error."""
    length, size = system.inside(x, move), float(np.linalg.norm(error))
    for _ in range(10):
        guess = system.mended(x + length * move)
        now = float(np.linalg.norm(system.equations(guess, smooth)))
        if now < (1 - 1e-4 * length) * size:
            return guess
        length /= 2
    return None


def _damped(
    system: System, x: Array, smooth: Smooth, tolerance: float, k: int, max_steps: int
) -> Found:
    """Levenberg and Marquardt's method, its damping set by how well a step was foreseen."""
    weight, slow = 1e-6, 0
    error, matrix, _ = system.linearised(x, smooth)
    assert not isinstance(matrix, Indirect)
    size = float(error @ error)
    normal, slope = matrix.T @ matrix, matrix.T @ error
    eye = sparse.identity(len(x))
    while k < max_steps and np.abs(error).max() > tolerance and weight < 1e6 and slow < 5:
        k += 1
        move = solve((normal + weight * eye).tocsc(), -slope)
        if move is None:
            weight *= 8
            continue
        guess = system.mended(x + move)
        now = system.equations(guess, smooth)
        left = float(now @ now)
        foreseen = size - float(np.sum((error + matrix @ move) ** 2))
        ratio = (size - left) / max(foreseen, 1e-300)
        if not ratio > 1e-3:
            weight *= 8
            continue
        slow = slow + 1 if size - left < 1e-2 * size else 0
        x, size = guess, left
        error, matrix, _ = system.linearised(x, smooth)
        assert not isinstance(matrix, Indirect)
        normal, slope = matrix.T @ matrix, matrix.T @ error
        weight = max(weight / (10 if ratio > 0.75 else 2 if ratio > 0.25 else 0.5), 1e-14)
    return Found(x, float(np.abs(error).max()), k)


class Exact:
    """The exact method: paths to a good start, and Newton's method from there.

    Args:
        run: where policies are noted; it stops the search when the tolerance is reached.
        start: the policy to start from, (H, S, A).
        max_steps: along the horizon's path.
        starts: random policies to start from.
        seed: of these.
    """

    def __init__(self, run: Run, start: Tensor, max_steps: int, starts: int, seed: int) -> None:
        self.run, self.start, self.max_steps = run, start, max_steps
        self.starts, self.seed = starts, seed
        self.system = System(run.table, run.log_prior)

    def solve(self, stages: list[float]) -> None:
        """The soft equilibria at these temperatures or, without any, the equilibrium itself."""
        run, system = self.run, self.system
        if system.size > LARGEST:  # what is left are first-order steps
            mirror_descent(run, self.start, stages, 1 / system.scale, FIRST_ORDER)
            if not stages:
                fictitious_play(run, run.best_policy(), stages, FIRST_ORDER)
            run.advice = (
                f"its {system.size:,} unknowns are too many for Newton's method, so mirror descent "
                "and fictitious play were used; raise `max_steps` of one of these methods"
            )
            return
        if stages:
            run.soft = True
            run.advice = "raise `temperature`, or leave it out for the equilibrium itself"
            self._soft(stages[-1])
            return
        run.advice = "raise `starts` or `max_steps`"
        self._narrow(self.start, 1e-2)
        warm = self._cool(0.0)
        if warm is not None:
            self._narrow(warm, 1e-4)
        self._narrow(run.best_policy(), 1e-5)
        few = self.starts if system.size <= MANY else 0
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(few):
            rows = -torch.rand(self.start.shape, generator=generator).double().log()
            rows = torch.where(system.free, rows, 0.0)
            self._narrow(rows / rows.sum(-1, keepdim=True), 1e-2)
        self._lengthen()

    def _narrow(self, policy: Tensor, width: float) -> None:
        """Follow the smoothed complementarity to no smoothing, from this policy."""
        system, factor = self.system, 0.1
        x = system.point(policy, Smooth(width=width))
        good: tuple[Array, float] | None = None
        while True:
            smooth = Smooth(width=width)
            found = newton(system, x, smooth, 1e-13)
            self.run.record(system.policy(found.x, smooth), 0.0, found.off)
            if found.off > 1e-9:
                if good is None or factor > 0.5:
                    self._slide(found.x, width)
                    return
                factor = factor**0.5
                x, width = good
            else:
                x, good = found.x, (found.x, width)
                factor = factor**0.5 if found.steps > 15 else max(factor**1.5, 1e-2)
            if width == 0.0:
                return
            width = 0.0 if width < 1e-15 else width * factor

    def _slide(self, x: Array, width: float) -> None:
        """Go on without solving each equation: the least error is often close to a solution."""
        while width > 0.0:
            width = 0.0 if width < 1e-9 else 0.1 * width
            smooth = Smooth(width=width)
            x = newton(self.system, x, smooth, 1e-13).x
            self.run.record(self.system.policy(x, smooth), 0.0, 1.0)

    def _cool(self, stop: float) -> Tensor | None:
        """Lower the temperature to ``stop``, or as far as the path goes; the last policy.

        Log odds are scaled as 1/τ from one temperature to the next.
        """
        system, factor = self.system, 0.5
        steps = self.run.table.horizon or 1 / (1 - self.run.table.discount)
        before = temperature = max(2 * system.scale * min(steps, 10.0), stop)
        x = system.point(self.start, Smooth(temperature=temperature))
        last: tuple[Array, float] | None = None
        while True:
            smooth = Smooth(temperature=temperature)
            found = newton(system, x, smooth, 1e-13 * (1 + system.scale))
            if found.off > 1e-9 * (1 + system.scale):
                if last is None:
                    return None
                factor = factor**0.5
                if factor > 0.95:
                    break
            else:
                last, before = (found.x, temperature), temperature
                policy = system.policy(found.x, smooth)
                done = temperature <= stop or (stop == 0.0 and temperature < 1e-4 * system.scale)
                soft = temperature if self.run.soft else 0.0
                self.run.record(policy, soft, found.off, last=temperature <= stop or stop == 0.0)
                if done:
                    break
                factor = max(factor**1.5, 0.1)
            x, before = last
            temperature = max(before * factor, stop)
            x = system.cooled(x, before, temperature)
        return system.policy(last[0], Smooth(temperature=last[1]))

    def _soft(self, temperature: float) -> None:
        self._cool(temperature)
        x = self._along(Smooth(temperature=temperature))
        if x is not None:
            policy = self.system.policy(x, Smooth(temperature=temperature))
            self.run.record(policy, temperature, 0.0)

    def _lengthen(self) -> None:
        """Follow the equilibrium as the agents' horizon grows, then smooth no more."""
        smooth = Smooth(width=1e-7)
        x = self._along(smooth)
        if x is not None:
            self._narrow(self.system.policy(x, smooth), 1e-7)
            self._narrow(self.run.best_policy(), 1e-12)

    def _along(self, smooth: Smooth) -> Array | None:
        from vsg_ppl.horizon_path import follow_horizon

        system = self.system
        if (self.run.table.horizon or 1) == 1 or system.size > MANY or not system.full:
            return None
        tau = smooth.temperature or 0.0

        def seen(horizon: float, x: Array) -> None:
            self.run.show(
                {
                    "iteration": self.run.iterations,
                    "temperature": tau,
                    "residual": horizon - (system.h - 1),
                }
            )

        return follow_horizon(system, smooth, max_steps=self.max_steps, seen=seen)
