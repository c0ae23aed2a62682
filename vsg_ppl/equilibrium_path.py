"""The branch of logit equilibria of a whole game, followed to temperature 0.

From the priors, the one equilibrium at infinite temperature, the branch is followed by arclength
through its folds. Where it leads to a regular equilibrium, that equilibrium is found from its
support by Newton's method and certified. Sources: P. J. J. Herings and R. J. A. P. Peeters, 2004,
"Stationary equilibria in stochastic games: structure, selection, and computation"; T. L. Turocy,
2005, "A dynamic homotopy interpretation of the logistic quantal response equilibrium
correspondence"; S. Eibelshäuser and D. Poensgen, 2019, "Markov quantal response equilibrium and a
homotopy method for computing and selecting Markov perfect equilibria of dynamic stochastic games".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.certificate import Certificate, certify_tables
from vsg_ppl.game_arrays import Array
from vsg_ppl.logit_system import ROUGH_RATE, Factored, LogitSystem, Place, Point
from vsg_ppl.progress import Progress
from vsg_ppl.table import Table

FORESEEN = 0.1
"""How far a probability may end from where a step foresaw it."""

MOVED = 0.5
"""How far a step may move a probability."""

NEAR = 1e-3
"""How near the branch must be to an equilibrium that is taken for its limit, in probability."""

SHORTEST = 1e-9
"""The step, in arclength, at which a path counts as stalled."""


class EquilibriumPath:
    """The branch, point by point, and the best policies certified so far.

    Args:
        table: of one game.
        priors: log policies to start from, where not the game's priors.
        tolerance: on the Nash gap from the worst state, in units of reward.
    """

    def __init__(self, table: Table, priors: list[Tensor] | None, tolerance: float) -> None:
        self.table, self.tolerance = table, tolerance
        self.system = LogitSystem(table, priors)
        logs = np.where(self.system.free, self.system.log_priors, 0.0)
        start = np.where(self.system.free, np.exp(logs), 0.0)
        self.x: Place = (logs, self.system.values_of(start), 0.0)
        self.history: list[dict[str, Any]] = []
        self.gap = np.inf
        self.best: list[Tensor] = []
        self.certificate: Certificate | None = None
        self.stopped = "raise `max_steps`"
        self.place = "at a stop of"

    @property
    def status(self) -> str:
        """Of the solution."""
        if self.gap <= self.tolerance:
            return "solved"
        return "interrupted" if self.stopped == "interrupted" else "not converged"

    def follow(self, max_steps: int, show: Progress) -> None:
        """Go along the branch until a Nash equilibrium is certified, or the path stalls."""
        try:
            self._follow(max_steps, show)
        except np.linalg.LinAlgError:
            self.stopped = "try `seed=0` and others"
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        if self.gap > self.tolerance:
            policies = self._policies(self.x)
            self._certify(policies)
            if self.stopped != "interrupted":
                self._look_around(policies)

    def _look_around(self, policies: Array) -> None:
        """Certify equilibria with the supports that the last point suggests."""
        for least in (0.1, 1e-2, 1e-3):
            used = np.zeros_like(self.system.free)
            for part in self.system.of:
                top = policies[:, part].max(-1, keepdims=True)
                used[:, part] = policies[:, part] >= least * top
            pure = self._purified(policies, used)
            if pure is not None:
                self._certify(pure.clip(0.0))

    def _follow(self, max_steps: int, show: Progress) -> None:
        up = (np.zeros_like(self.x[0]), np.zeros_like(self.x[1]), 1.0)
        equations = self.system.at(*self.x)
        factored = self.system.factored(equations, _times(self._metric(self.x), up))
        tangent, sign = self._tangent(equations, factored), factored.sign
        size, length, before = 0.1, 0.0, tangent
        milestone = 5.0
        while len(self.history) < max_steps:
            bend = size**2 / (2 * length) if length else 0.0
            guess = _add(_add(self.x, size + bend, tangent), -bend, before)
            found = self._correct(guess, _times(self._metric(self.x), tangent))
            if found is None:
                size = self._shorter(size)
                continue
            point, rounds, equations, factored = found
            old, foreseen, new = (self._policies(x) for x in (self.x, guess, point))
            off, moved = np.abs(new - foreseen).max(), np.abs(new - old).max()
            if not (off <= FORESEEN and moved <= MOVED and point[2] >= 0):
                size = self._shorter(size)
                continue
            after, turned = self._tangent(equations, factored), factored.sign
            if turned != sign and size > 1e-6:
                # on another branch, or past a crossing of branches, which short steps go through
                size = self._shorter(size)
                continue
            sign = turned
            self.x, before, tangent, length = point, tangent, after, size
            self._record(equations, show)
            rate = point[2]
            if rate > milestone and tangent[2] > 0:
                milestone = 1.3 * rate
                if self._finish(equations, tangent):
                    return
            growth = (0.3 * FORESEEN / max(off, 1e-12)) ** (1 / 3)
            size *= min(2.0 if rounds <= 4 else 1.0, max(0.5, growth))

    def _shorter(self, size: float) -> float:
        if size < SHORTEST:
            raise np.linalg.LinAlgError("no step is short enough")
        return size / 2

    def _correct(self, guess: Place, across: Place) -> tuple[Place, int, Point, Factored] | None:
        """Newton's method in the hyperplane ``across`` · (x − guess) = 0, if it contracts.

        Returns:
            The point, the rounds, and the equations of the last of them, next to the point.
        """
        point, last = guess, np.inf
        for rounds in range(1, 8):
            if not point[0].max() <= 3.0:
                return None
            equations = self.system.at(*point)
            ahead = _dot(across, _add(point, -1.0, guess))
            right = (equations.error, equations.error_values, ahead)
            try:
                factored = self.system.factored(equations, across)
                move = factored.solve(right)
            except np.linalg.LinAlgError:
                return None
            point = _add(point, -1.0, move)
            step = _size(move, point)
            # the step after it squares that; rounding in Q is multiplied by λ
            enough = 1e-5 if point[2] > ROUGH_RATE else 1e-3
            enough += 1e-14 * abs(point[2]) * (1 + np.abs(point[1]).max())
            if step < enough:
                return point, rounds, equations, factored
            if not (step < 0.5 * last or step < 1e-3):
                return None
            last = step
        return None

    def _tangent(self, equations: Point, factored: Factored) -> Place:
        """The unit tangent at a point, along the border of its equations."""
        null = factored.solve((np.zeros_like(self.x[0]), np.zeros_like(self.x[1]), 1.0))
        metric = self._metric((null[0], self.x[1], equations.rate), equations.policies)
        return _scaled(null, _dot(_times(metric, null), null) ** -0.5)

    def _metric(self, x: Place, policies: Array | None = None) -> Place:
        """What a direction is weighted by: probabilities, values and λ relative to what they are.

        In log π alone unused actions, whose logarithms are as large as λ, would hide all others.
        """
        policies = self._policies(x) if policies is None else policies
        value = 1 / (1 + np.abs(x[1]).max()) ** 2
        return policies**2, np.full_like(x[1], value), 1 / (1 + x[2]) ** 2

    def _policies(self, x: Place) -> Array:
        return np.where(self.system.free, np.exp(np.minimum(x[0], 3.0)), 0.0)

    def _record(self, equations: Point, show: Progress) -> None:
        entry = {
            "iteration": len(self.history) + 1,
            "temperature": self.system.scale / max(self.x[2], 1e-300),
            "residual": float(np.abs(equations.error).max()),
            "elbo": {},
        }
        self.history.append(entry)
        show(entry)

    def _finish(self, equations: Point, tangent: Place) -> bool:
        """Whether the branch is at a Nash equilibrium, or next to one that can be certified."""
        policies, values, rate = equations.policies, self.x[1], self.x[2]
        # log π of an unused action falls in proportion to λ; that of a used one has a limit
        used = self.system.free & ((tangent[0] * rate > -0.3 * tangent[2]) | (policies > 0.5))
        if float(np.where(used, 0.0, policies).max()) <= NEAR:
            pure = self._purified(policies, used)
            if pure is not None and np.abs(pure - policies).max() <= NEAR:
                self._certify(pure.clip(0.0))
                if self.gap <= self.tolerance:
                    self.place = "the limit of"
                    return True
        # without a regular limit the gap falls with 1/λ
        gains = [
            np.where(self.system.free[:, part], equations.q[:, part], -np.inf).max(-1)
            - values[:, i]
            for i, part in enumerate(self.system.of)
        ]
        if self.system.scale * float(np.max(gains)) <= self.tolerance:
            self._certify(policies)
            self.place = "on"
            return self.gap <= self.tolerance
        return False

    def _purified(self, policies: Array, used: Array) -> Array | None:
        """The policies (Z, n) with this support that make all used actions pay the same."""
        if not all(used[:, part].any(-1).all() for part in self.system.of):
            return None
        pure = self.system.purify(policies, used)
        return pure if pure is not None and pure.min() >= -1e-13 else None

    def _certify(self, policies: Array) -> None:
        """Certify policies (Z, n), and keep them if they are the best."""
        here = (1, self.system.times, len(self.table.states), -1)
        tables = []
        for part in self.system.of:
            probabilities = policies[:, part] / policies[:, part].sum(-1, keepdims=True)
            tables.append(torch.from_numpy(probabilities).reshape(here).to(self.table.device))
        certificate = certify_tables(self.table, tables)
        gap = float(certificate.nash_gap_worst_state)
        if gap < self.gap or self.certificate is None:
            self.gap, self.certificate = gap, certificate
            self.best = [policy.log() for policy in tables]

    def message(self, *, principal: bool) -> str:
        """What was found, or where the path stalled and what to do next."""
        branch = "the principal branch" if principal else "a branch from other policies"
        if self.gap <= self.tolerance:
            return f"Nash gap {self.gap:.3g} from the worst state, {self.place} {branch}"
        at = self.system.scale / max(self.x[2], 1e-300)
        return (
            f"{branch} ended at temperature {at:.3g}, with Nash gap {self.gap:.3g} from the worst "
            f"state; {self.stopped}"
        )


def _add(x: Place, factor: float, y: Place) -> Place:
    return x[0] + factor * y[0], x[1] + factor * y[1], float(x[2] + factor * y[2])


def _times(x: Place, y: Place) -> Place:
    return x[0] * y[0], x[1] * y[1], x[2] * y[2]


def _scaled(x: Place, factor: float) -> Place:
    return x[0] * factor, x[1] * factor, x[2] * factor


def _dot(x: Place, y: Place) -> float:
    return float((x[0] * y[0]).sum() + (x[1] * y[1]).sum() + x[2] * y[2])


def _size(move: Place, x: Place) -> float:
    """How large a move is, each unknown relative to what it is."""
    return float(
        max(
            (np.abs(move[0]) / (1 + np.abs(x[0]))).max(),
            np.abs(move[1]).max() / (1 + np.abs(x[1]).max()),
            abs(move[2]) / (1 + abs(x[2])),
        )
    )
