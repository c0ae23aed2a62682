"""Exact Nash equilibria of general-sum games: the branch of logit equilibria followed to τ = 0.

From the priors, the one equilibrium at infinite temperature, the branch is followed by arclength
through its folds. Where it leads to a regular equilibrium, that equilibrium is found from its
support by Newton's method and certified. Sources: P. J. J. Herings and R. J. A. P. Peeters, 2004,
"Stationary equilibria in stochastic games: structure, selection, and computation"; T. L. Turocy,
2005, "A dynamic homotopy interpretation of the logistic quantal response equilibrium
correspondence"; S. Eibelshäuser and D. Poensgen, 2019, "Markov quantal response equilibrium and a
homotopy method for computing and selecting Markov perfect equilibria of dynamic stochastic games".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.certificate import Certificate, certify_tables
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.logit_system import Array, LogitSystem, Point
from vsg_ppl.nash import random_policies
from vsg_ppl.progress import Progress, no_progress, progress_bar
from vsg_ppl.reading import read_policies
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

FORESEEN = 0.05
"""How far a probability may end from where a step foresaw it."""

MOVED = 0.5
"""How far a step may move a probability."""

NEAR = 1e-3
"""How near the branch must be to an equilibrium that is taken for its limit, in probability."""

SHORTEST = 1e-9
"""The step, in arclength, at which a path counts as stalled."""


def exact_nash(
    game: Game | Table,
    *,
    tolerance: float = 1e-8,
    initial: Mapping[str, Any] | None = None,
    seed: int | None = None,
    max_steps: int = 5000,
    progress: bool = False,
) -> Solution:
    """A Nash equilibrium of any finite game, to rounding: of one shot, stochastic, N agents.

    No solver finds one for sure in reasonable time. This one says so when it does not: only the
    certificate makes a solution "solved". With many states and few successors of each the branch
    may fold hundreds of times, which takes thousands of steps.

    Args:
        game: a finite game program or its table.
        tolerance: on the Nash gap from the worst state, in units of reward.
        initial: policies to start the path from in place of the priors; actions that they do not
            play get a little probability.
        seed: start from random policies, which may lead to another equilibrium.
        max_steps: of the path.
        progress: show a progress bar.

    Returns:
        The solution, of temperature 0. Its message says whether the equilibrium is the limit of
        the principal branch, which is so only from the priors. A path that stalls is "not
        converged", with the best policies certified. The history holds temperature and residual
        along the path; the temperature rises where the branch folds.

    Raises:
        GameError: a batch of games, more than `logit_system.LARGEST` values (states
            times agents), both ``initial`` and
            ``seed``, a tolerance that is not positive.

    >>> from vsg_ppl.models import RandomGame
    >>> solution = exact_nash(RandomGame(states=4, n_agents=2, actions=3))
    >>> solution.certificate.nash_gap_worst_state < 1e-8
    True
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError("a path is of one game, and this table holds a batch of them")
    if not tolerance > 0:
        raise GameError(f"the tolerance is {tolerance}; it must be positive")
    if initial is not None and seed is not None:
        raise GameError(
            "the path starts either from `initial` or from random policies",
            hint="leave out `seed` or `initial`.",
        )
    began = time.perf_counter()
    with torch.no_grad():
        path = _Path(table, _start(table, initial, seed), tolerance)
        bar = progress_bar("exact_nash") if progress else no_progress()
        with bar as show:
            path.follow(max_steps, show)
        assert path.certificate is not None
        if path.history:
            path.history[-1]["nash_gap"] = float(path.certificate.nash_gap)
        return solution_of(
            game,
            table,
            path.best,
            certificate=path.certificate,
            temperature=0.0,
            factorisation="marginal",
            iterations=len(path.history),
            seconds=time.perf_counter() - began,
            status=path.status,
            message=path.message(principal=initial is None and seed is None),
            history=path.history,
        )


def _start(
    table: Table, initial: Mapping[str, Any] | None, seed: int | None
) -> list[Tensor] | None:
    """Policies that play all available actions, as priors of the path; ``None``: the game's."""
    if initial is not None:
        given = read_policies(table, initial)
        return [
            (0.99 * policy + 0.01 * prior.exp()).log()
            for policy, prior in zip(given, table.log_priors, strict=True)
        ]
    if seed is None:
        return None
    return [policy.log() for policy in random_policies(table, seed).values()]


Place = tuple[Array, Array, float]
"""log π (Z, n), V (Z, N) and λ, or a direction there."""


class _Path:
    """The branch, point by point, and the best policies certified so far."""

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
        tangent, sign = self._tangent(self.system.at(*self.x), up)
        size, length, before = 0.1, 0.0, tangent
        milestone = 5.0
        while len(self.history) < max_steps:
            bend = size**2 / (2 * length) if length else 0.0
            guess = _add(_add(self.x, size + bend, tangent), -bend, before)
            found = self._correct(guess, _times(self._metric(self.x), tangent))
            if found is None:
                size = self._shorter(size)
                continue
            point, rounds = found
            old, foreseen, new = (self._policies(x) for x in (self.x, guess, point))
            off, moved = np.abs(new - foreseen).max(), np.abs(new - old).max()
            if not (off <= FORESEEN and moved <= MOVED and point[2] >= 0):
                size = self._shorter(size)
                continue
            equations = self.system.at(*point)
            after, turned = self._tangent(equations, tangent)
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

    def _correct(self, guess: Place, across: Place) -> tuple[Place, int] | None:
        """Newton's method in the hyperplane ``across`` · (x − guess) = 0, if it contracts."""
        point, last = guess, np.inf
        for rounds in range(1, 8):
            if not point[0].max() <= 3.0:
                return None
            equations = self.system.at(*point)
            ahead = _dot(across, _add(point, -1.0, guess))
            right = (equations.error, equations.error_values, ahead)
            try:
                (move,), _ = self.system.solve(equations, across, [right])
            except np.linalg.LinAlgError:
                return None
            point = _add(point, -1.0, move)
            step = _size(move, point)
            # rounding in Q is multiplied by λ
            enough = 1e-5 + 1e-14 * abs(point[2]) * (1 + np.abs(point[1]).max())
            if step < enough:
                return point, rounds
            if not (step < 0.5 * last or step < 1e-3):
                return None
            last = step
        return None

    def _tangent(self, equations: Point, along: Place) -> tuple[Place, float]:
        """The unit tangent at a point, not against ``along``, and its orientation."""
        metric = self._metric((along[0], self.x[1], equations.rate), equations.policies)
        right = (np.zeros_like(self.x[0]), np.zeros_like(self.x[1]), 1.0)
        (null,), sign = self.system.solve(equations, _times(metric, along), [right])
        return _scaled(null, _dot(_times(metric, null), null) ** -0.5), sign

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
