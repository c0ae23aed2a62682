"""Lengthen the agents' horizon and follow the equilibrium.

Where agents see no future, every time is a small game of its own, solved one after the other. As
they look h decisions ahead, h growing from 0 to the end, the equilibria form a curve. It folds, and
is followed by arclength. A path in temperature folds too, and worse: over a long horizon it must
settle all times at once, and snakes through the ways to combine what each of them may do; here a
new decision unsettles only those just before it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse.linalg
import torch

from vsg_ppl.mean_field_exact import newton
from vsg_ppl.mean_field_system import Array, Smooth, System

CLOSE = 1e-9
"""Largest error of the equations at a point of the path."""

STRAIGHT = 0.9
"""Cosine of the largest turn in one step."""


def follow_horizon(
    system: System,
    smooth: Smooth,
    *,
    max_steps: int = 200_000,
    seen: Callable[[float, Array], None] | None = None,
) -> Array | None:
    """The equilibrium at full horizon that the path from no future leads to.

    Args:
        system: of a game with a horizon.
        smooth: a temperature, or a width > 0 of the complementarity. The narrower, the closer the
            end is to an equilibrium; the number of steps hardly depends on it.
        max_steps: along the path.
        seen: told of the horizon and the point, every hundred steps.

    Returns:
        The vector of the system, or ``None`` where the path was lost.
    """
    end = float(system.h - 1)
    try:
        x = _without_future(system, smooth)
        if x is None or end == 0:
            return x
        path = _Path(system, smooth, x)
        for k in range(max_steps):
            if path.horizon >= end:
                _set(system, end)
                return newton(system, path.x, smooth, 1e-11).x
            if not path.step():
                return None
            if seen is not None and k % 100 == 0:
                seen(path.horizon, path.x)
        return None
    finally:
        _set(system, end)


def _without_future(system: System, smooth: Smooth) -> Array | None:
    """The equilibrium of agents who see no future, found from much smoothing to little."""
    _set(system, 0.0)
    wanted = smooth.width if smooth.temperature is None else smooth.temperature
    width = max(1.0 if smooth.temperature is None else 10 * system.scale, wanted)

    def at(width: float) -> Smooth:
        return Smooth(width=width) if smooth.temperature is None else Smooth(temperature=width)

    x = system.point(system.table.prior, at(width))
    while True:
        found = newton(system, x, at(width), 1e-11)
        if found.off > 1e-8:
            return None
        x = found.x
        if width <= wanted:
            return x
        before, width = width, max(0.3 * width, wanted)
        if smooth.temperature is not None:
            x = system.cooled(x, before, width)


def _set(system: System, horizon: float) -> None:
    """How much of the future counts at each time, for agents who look so far."""
    u = (horizon - torch.arange(system.h, dtype=torch.float64)).clamp(0.0, 1.0)
    system.weights = 3 * u**2 - 2 * u**3
    system.weights[-1] = 0.0


def _rates(system: System, horizon: float) -> torch.Tensor:
    """The derivative of these weights by the horizon."""
    u = (horizon - torch.arange(system.h, dtype=torch.float64)).clamp(0.0, 1.0)
    rates = 6 * u - 6 * u**2
    rates[-1] = 0.0
    return rates


class _Path:
    """A point of the path and the way on."""

    def __init__(self, system: System, smooth: Smooth, x: Array) -> None:
        self.system, self.smooth = system, smooth
        self.horizon, self.length = 0.25, 0.01
        _set(system, self.horizon)
        self.x = newton(system, x, smooth, CLOSE).x
        _, matrix, side = system.linearised(self.x, smooth, _rates(system, self.horizon))
        self.tangent = _unit(scipy.sparse.linalg.splu(matrix).solve(-side))

    def step(self) -> bool:
        """One step along the path; false where even the shortest fails."""
        while self.length > 1e-10:
            made = self._try()
            if made is None:
                self.length /= 2
                continue
            x, horizon, tangent, rounds = made
            turn = float(tangent @ self.tangent)
            if turn < 0:
                tangent, turn = -tangent, -turn
            if turn < STRAIGHT and self.length > 1e-7:
                self.length /= 2
                continue
            self.x, self.horizon, self.tangent = x, horizon, tangent
            if rounds <= 3 and turn > 0.99:
                self.length = min(1.5 * self.length, 0.5)
            elif rounds >= 6:
                self.length *= 0.7
            return True
        return False

    def _try(self) -> tuple[Array, float, Array, int] | None:
        """A step of this length, corrected back onto the path; the matrix is made once for it."""
        x = self.x + self.length * self.tangent[:-1]
        horizon = self.horizon + self.length * float(self.tangent[-1])
        _set(self.system, horizon)
        rates = _rates(self.system, horizon)
        error, matrix, side = self.system.linearised(x, self.smooth, rates)
        try:
            factors = scipy.sparse.linalg.splu(matrix)
        except RuntimeError:
            return None
        side = factors.solve(-side)
        bend = float(self.tangent[-1] + self.tangent[:-1] @ side)
        before = np.inf
        for k in range(1, 9):
            size = float(np.abs(error).max())
            if size <= CLOSE:
                return x, horizon, _unit(side), k
            if not size < 0.7 * before:
                return None
            before = size
            straight = factors.solve(-error)
            shift = -float(self.tangent[:-1] @ straight) / bend
            x, horizon = x + straight + shift * side, horizon + shift
            if not np.isfinite(x).all():
                return None
            _set(self.system, horizon)
            error = self.system.equations(x, self.smooth)
        return None


def _unit(side: Array) -> Array:
    """The unit direction along which the point moves by ``side`` while the horizon moves by one."""
    tangent: Array = np.append(side, 1.0)
    return tangent / np.linalg.norm(tangent)
