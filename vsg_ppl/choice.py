"""Which equilibrium for which value of a public signal: the best for everybody, or for one."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from vsg_ppl.errors import GameError

Array = NDArray[np.float64]

LISTED = 10_000
"""Assignments up to which all are tried."""

LEXICOGRAPHIC = 1e-9
"""How much of the first aim, relative to the payoffs, may be lost to the second."""

EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
"""Options of linear programs."""

SAME = 1e-9
"""How far apart payoffs are, relative to their size, that differ by rounding."""

RARE = 1e-6
"""A probability of a signal that is too small to be meant: what is lost to a later aim makes it."""


class Aim:
    """What is to be maximised over equilibria: ``"welfare"``, ``"fairness"`` or one agent's value.

    Welfare is the sum of the agents' values, fairness the least of them. What an aim leaves open
    fairness decides, and what is still open welfare.

    Raises:
        GameError: another word.
    """

    def __init__(self, objective: str, agents: tuple[str, ...]) -> None:
        if objective not in ("welfare", "fairness", *agents):
            raise GameError(
                f"the objective is {objective!r}",
                hint=f"welfare, fairness, or an agent: {', '.join(agents)}.",
            )
        self.weights = np.ones(len(agents))
        self.fair = objective == "fairness"
        if objective in agents:
            self.weights = np.array([float(agent == objective) for agent in agents])

    def in_turn(self) -> list[Aim]:
        """This aim, and those that decide what it leaves open."""
        nobody = ("",) * len(self.weights)
        fairness, welfare = Aim("fairness", nobody), Aim("welfare", nobody)
        if self.fair:
            return [self, welfare]
        return [self, fairness] if self.weights.all() else [self, fairness, welfare]

    def all(self, values: Array) -> Array:
        """What values of the agents, (M, N), are worth, (M,)."""
        worth: Array = values.min(1) if self.fair else values @ self.weights
        return worth


def assign(aim: Aim, payoffs: list[Array], law: Array | None) -> tuple[list[int], Array]:
    """An equilibrium for each value of the signal, and the law of the signal.

    A mixed-integer program, as a signal's value can stand for one equilibrium only.

    Args:
        aim: what to maximise.
        payoffs: for each of the Ω values of the signal its equilibria's payoffs, (E, N).
        law: σ, (Ω,), where it is given; ``None`` to choose it too, of a signal that nothing
            depends on, so that all its values have the same equilibria.

    Returns:
        The number of an equilibrium for each value, and σ.

    >>> heads_or_tails = [np.array([[2.0, 1.0], [1.0, 2.0]])] * 2
    >>> chosen, law = assign(Aim("fairness", ("row", "col")), heads_or_tails, None)
    >>> sorted(chosen), law
    ([0, 1], array([0.5, 0.5]))
    """
    payoffs = _scaled(payoffs)
    even = np.full(len(payoffs), 1 / len(payoffs)) if law is None else law
    clear = [_clear(aim, part) for part in payoffs]
    if all(k >= 0 for k in clear):
        return clear, even
    if law is None:
        mixed = _mixture(aim, payoffs[0])
        used = np.flatnonzero(mixed)
        if len(used) == 1:  # one equilibrium is best, and the signal has nothing to say
            return [int(used[0])] * len(payoffs), even
        if len(used) <= len(payoffs):
            rest = len(payoffs) - len(used)
            return [*used.tolist(), *[int(used[0])] * rest], np.append(mixed[used], [0.0] * rest)
    elif prod(map(len, payoffs)) <= LISTED:
        return _listed(aim, payoffs, law), law
    program = _Program(payoffs, law)
    for which in aim.in_turn():
        program.maximise(which)
    chosen = program.chosen()
    return chosen, program.law(chosen) if law is None else law


def _scaled(payoffs: list[Array]) -> list[Array]:
    """All payoffs shifted and scaled alike, to lie in [0, 1]; what is best stays so."""
    values = np.concatenate(payoffs)
    low, spread = values.min(), float(np.ptp(values))
    scale = spread if spread > SAME * np.abs(values).max() else 1.0
    return [(part - low) / scale for part in payoffs]


def _mixture(aim: Aim, payoffs: Array) -> Array:
    """The best mixture of equilibria, (E,), of as few as a linear program needs."""
    k, n = payoffs.shape
    one = np.append(np.ones(k), 0.0)[None]
    rows, right = np.hstack([-payoffs.T, np.ones((n, 1))]), np.zeros(n)  # z: at most every value
    found: Array | None = None
    for which in aim.in_turn():
        goal = np.append(np.zeros(k), 1.0) if which.fair else np.append(payoffs @ which.weights, 0)
        result = scipy.optimize.linprog(
            -goal, rows, right, one, [1.0], method="highs-ds", options=EXACT
        )
        # by rounding a later program may have no point, or one that is better by no more
        if result.x is not None and (
            found is None or goal @ result.x > goal @ found + 100 * LEXICOGRAPHIC
        ):
            found = result.x
        if found is not None:
            rows = np.vstack([rows, -goal])
            right = np.append(right, LEXICOGRAPHIC - goal @ found)
    if found is None:
        raise GameError(f"the linear program of the best lottery failed: {result.message}")
    w = np.where(found[:k] > RARE, found[:k], 0.0)
    mixed: Array = w / w.sum()
    return mixed


def _listed(aim: Aim, payoffs: list[Array], law: Array) -> list[int]:
    """The best assignment of all."""
    which = np.array(list(product(*(range(len(part)) for part in payoffs))))
    values = sum(
        weight * part[which[:, k]]
        for k, (weight, part) in enumerate(zip(law, payoffs, strict=True))
    )
    best = np.arange(len(which))
    for now in aim.in_turn():
        worth = now.all(np.asarray(values)[best])
        best = best[worth >= worth.max() - LEXICOGRAPHIC]
    return [int(k) for k in which[best[0]]]


def _clear(aim: Aim, payoffs: Array) -> int:
    """The equilibrium that is best without a doubt, if one is; else −1."""
    if len(payoffs) == 1:
        return 0
    if aim.fair:
        return -1
    worth = payoffs @ aim.weights
    second, best = np.sort(worth)[-2:]
    return int(worth.argmax()) if best - second > 1e-7 * (1 + abs(best)) else -1


class _Program:
    """Unknown are w(ω, e), how likely both are, y(ω, e), whether e stands for ω, and z."""

    def __init__(self, payoffs: list[Array], given: Array | None) -> None:
        self.owner = np.repeat(np.arange(len(payoffs)), [len(part) for part in payoffs])
        self.starts = np.searchsorted(self.owner, np.arange(len(payoffs)))
        self.values = np.concatenate(payoffs)
        self.given = given
        k = len(self.owner)
        self.size = 2 * k + 1
        each = (self.owner == np.arange(len(payoffs))[:, None]).astype(float)  # (Ω, k)
        eye, none = np.eye(k), np.zeros((k, 1))
        rows: list[tuple[Any, Any, Any]] = [
            (self._row(y=each), 1.0, 1.0),
            (np.hstack([eye, -eye, none]), -np.inf, 0.0),
        ]
        if given is None:
            rows.append((self._row(w=np.ones((1, k))), 1.0, 1.0))
        else:
            rows.append((self._row(w=each), given, given))
        least = self._row(w=self.values.T)
        least[:, -1] = -1.0  # z is at most every agent's value
        rows.append((least, 0.0, np.inf))
        self.rows = rows
        self.found: Array = np.zeros(self.size)

    def _row(self, w: Array | None = None, y: Array | None = None) -> Array:
        k = len(self.owner)
        count = len(w) if w is not None else len(y) if y is not None else 1
        row = np.zeros((count, 2 * k + 1))
        if w is not None:
            row[:, :k] = w
        if y is not None:
            row[:, k : 2 * k] = y
        return row

    def maximise(self, aim: Aim) -> None:
        """Find the best point, and let no later one be worse."""
        goal = np.zeros(self.size)
        k = len(self.owner)
        if aim.fair:
            goal[-1] = 1.0
        else:
            goal[:k] = self.values @ aim.weights
        kinds = np.concatenate([np.zeros(k), np.ones(k), np.zeros(1)])
        result = scipy.optimize.milp(
            -goal,
            constraints=[scipy.optimize.LinearConstraint(*row) for row in self.rows],
            integrality=kinds,
            bounds=scipy.optimize.Bounds(np.zeros(self.size), np.ones(self.size)),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            return  # of the second goal, by rounding: the first one's point stays
        self.found = result.x
        self.rows = [*self.rows, (goal[None], float(goal @ result.x) - LEXICOGRAPHIC, np.inf)]

    def chosen(self) -> list[int]:
        """The equilibrium that each value stands for."""
        k = len(self.owner)
        y = np.split(self.found[k : 2 * k], self.starts[1:])
        return [int(part.argmax()) for part in y]

    def law(self, chosen: list[int]) -> Array:
        """σ, of the equilibria chosen."""
        w = self.found[: len(self.owner)][self.starts + np.array(chosen)].clip(0.0)
        law: Array = np.where(w > RARE, w, 0.0)
        return np.asarray(law / law.sum())
