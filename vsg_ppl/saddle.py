"""Many matrix games at once: saddle points at a temperature, and by linear programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse
import torch
from torch import Tensor

from vsg_ppl.errors import GameError

ROUNDING = 1e-14
"""What is left of residuals, relative to the values."""

LONG = 30
"""Newton steps in a state before only those are taken that lower its error."""

REACH = 2.0
"""How far a long step may change a logarithm."""

RARE = -7.0
"""The logarithm below which an action is rare, and its own may change as far as it likes."""

SOLVERS: tuple[dict[str, float], ...] = (
    {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    {},
)
"""Options of linear programs, tried in turn: near ties of 1e-9 can be too much for the first."""

BLOCKS = 200
"""States whose linear programs go to the solver together."""


def saddle_points(
    matrix: Tensor,
    priors: list[Tensor],
    logs: list[Tensor],
    temperature: float,
    tolerance: float,
    max_steps: int = 100,
) -> tuple[list[Tensor], float]:
    """Saddle points of x'My − τ KL(x‖u) + τ KL(y‖v) of many matrices, by Newton's method.

    The error of log x is log x − log u − My/τ up to a constant, that of log y its mirror image. The
    derivative is a positive diagonal plus a skew part, so it is never singular, and short steps
    always lower the error's range. Long ones are faster as a rule, so they are tried first, with
    what is and stays rare moving freely: that part of the equations is linear in log x.

    Args:
        matrix: M, what the row agent is paid, (R, A, B).
        priors: log u and log v, (R, A) and (R, B); −inf where not available.
        logs: log x and log y to start from.
        temperature: τ.
        tolerance: on τ times the error, in units of reward.
        max_steps: of Newton's method.

    Returns:
        log x and log y, and the largest τ times the error.

    >>> matrix = torch.eye(2, dtype=torch.float64)[None]
    >>> priors = 2 * [torch.tensor([[0.9, 0.1]]).double().log()]
    >>> logs, off = saddle_points(matrix, priors, priors, 1.0, 1e-12)
    >>> logs[0].exp()
    tensor([[0.9412, 0.0588]], dtype=torch.float64)
    """
    target = tolerance + ROUNDING * matrix.abs().flatten(1).amax(1)
    best = [log.clone() for log in logs]
    off = temperature * _range(_errors(matrix, priors, logs, temperature), priors)
    rows = (off > target).nonzero()[:, 0]
    now = [log[rows] for log in logs]
    for k in range(max_steps):
        if not len(rows):
            break
        if k == LONG:
            now = [log[rows] for log in best]
        m, u = matrix[rows], [prior[rows] for prior in priors]
        step = _direction(m, _errors(m, u, now, temperature), now, temperature)
        if k < LONG:
            now = [_clipped(log, move) for log, move in zip(now, step, strict=True)]
            after = temperature * _range(_errors(m, u, now, temperature), u)
        else:
            now, after = _descent(m, u, now, step, off[rows], temperature)
        better = after < off[rows]
        for log, new in zip(best, now, strict=True):
            log[rows[better]] = new[better]
        off[rows[better]] = after[better]
        # where no short step helps either, rounding is all that is left
        left = (after > target[rows]) & (better | (k < LONG))
        rows, now = rows[left], [log[left] for log in now]
    return best, float(off.max())


def _clipped(log: Tensor, move: Tensor) -> Tensor:
    """A whole step, but of at most `REACH` where an action is or becomes common."""
    common = log + move.clamp_min(0.0) > RARE
    moved = log + torch.where(common, move.clamp(-REACH, REACH), move)
    return moved.log_softmax(-1)


def _descent(
    matrix: Tensor,
    priors: list[Tensor],
    logs: list[Tensor],
    step: list[Tensor],
    before: Tensor,
    temperature: float,
) -> tuple[list[Tensor], Tensor]:
    """The longest of halved steps that lowers the error, of each matrix; or none."""
    best, least, length = logs, before, torch.ones_like(before)[:, None]
    for _ in range(20):
        trial = [
            (log + length * move).log_softmax(-1) for log, move in zip(logs, step, strict=True)
        ]
        after = temperature * _range(_errors(matrix, priors, trial, temperature), priors)
        better = (after <= (1 - 0.1 * length[:, 0]) * before) & (least == before)
        best = [torch.where(better[:, None], a, b) for a, b in zip(trial, best, strict=True)]
        least = torch.where(better, after, least)
        if bool((least < before).all()):
            break
        length = length / 2
    return best, least


def _errors(
    matrix: Tensor, priors: list[Tensor], logs: list[Tensor], temperature: float
) -> list[Tensor]:
    """log π − log u ∓ Q/τ of both agents; 0 where not available."""
    x, y = (log.exp() for log in logs)
    q = ((matrix @ y[..., None])[..., 0], -(x[:, None] @ matrix)[:, 0])
    return [
        torch.where(prior > -torch.inf, log - prior - scores / temperature, 0.0)
        for log, prior, scores in zip(logs, priors, q, strict=True)
    ]


def _range(errors: list[Tensor], priors: list[Tensor]) -> Tensor:
    """The larger range of the two agents' errors over available actions, (R,)."""
    ranges = []
    for error, prior in zip(errors, priors, strict=True):
        there = prior > -torch.inf
        high = torch.where(there, error, -torch.inf).amax(-1)
        ranges.append(high - torch.where(there, error, torch.inf).amin(-1))
    return torch.maximum(*ranges)


def _direction(
    matrix: Tensor, errors: list[Tensor], logs: list[Tensor], temperature: float
) -> list[Tensor]:
    """Newton's step of log x and log y, which keeps the sums of x and y."""
    x, y = (log.exp() for log in logs)
    a, b = matrix.shape[1:]
    slope = torch.eye(a + b, dtype=matrix.dtype, device=matrix.device).repeat(len(matrix), 1, 1)
    slope[:, :a, a:] = -_centred(matrix * (y[:, None] / temperature), x)
    slope[:, a:, :a] = _centred(matrix.mT * (x[:, None] / temperature), y)
    # twice, for the errors' common constant is so large that its rounding would move x and y
    parts = [
        _centred(_centred(error[..., None], weight), weight)
        for error, weight in zip(errors, (x, y), strict=True)
    ]
    right = torch.cat(parts, 1)
    step: Tensor = -torch.linalg.solve_ex(slope, right)[0][..., 0]
    return list(torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0).split([a, b], -1))


def _centred(columns: Tensor, weight: Tensor) -> Tensor:
    return columns - weight[:, None] @ columns


def matrix_programs(matrix: Tensor, available: list[Tensor]) -> list[Tensor]:
    """Optimal mixtures of many matrix games by linear programs, solved by SciPy's HiGHS.

    max Σ v_k such that v_k <= x_k' M_k for every column, x_k a law: y_k are the dual variables.

    Args:
        matrix: M, what the row agent is paid, (R, A, B).
        available: which rows and columns are, (R, A) and (R, B).

    Returns:
        log x and log y, (R, A) and (R, B).

    Raises:
        GameError: the solver fails.

    >>> yes = torch.ones(1, 2, dtype=torch.bool)
    >>> x, y = matrix_programs(torch.tensor([[[9.0, -1.0], [-1.0, 1.0]]]).double(), [yes, yes])
    >>> x.exp()
    tensor([[0.1667, 0.8333]], dtype=torch.float64)
    """
    solved = [
        _programs(*(part.cpu().numpy() for part in parts))
        for parts in zip(*(whole.split(BLOCKS) for whole in (matrix, *available)), strict=True)
    ]
    mixtures = [torch.from_numpy(np.concatenate(part)) for part in zip(*solved, strict=True)]
    return [mixture.to(matrix.device).log() for mixture in mixtures]


def _programs(matrix: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """Mixtures x (R, A) and y (R, B) of one call of the solver."""
    n, a, b = matrix.shape
    pairs = rows[:, :, None] & columns[:, None, :]
    low = np.where(pairs, matrix, np.inf).min((1, 2), keepdims=True)
    high = np.where(pairs, matrix, -np.inf).max((1, 2), keepdims=True)
    scaled = np.where(pairs, matrix - low, 0.0) / np.where(high > low, high - low, 1.0)
    # variables: all x, then all v; one constraint for every column
    game, row, column = (index.ravel() for index in np.indices((n, a, b)))
    every = np.arange(n * b)
    weights = np.concatenate([-scaled.ravel(), np.ones(n * b)])
    places = (
        np.concatenate([game * b + column, every]),
        np.concatenate([game * a + row, n * a + every // b]),
    )
    below = scipy.sparse.csr_array((weights, places), shape=(n * b, n * a + n))
    total = scipy.sparse.hstack(
        [
            scipy.sparse.kron(scipy.sparse.eye_array(n), np.ones((1, a))),
            scipy.sparse.csr_array((n, n)),
        ]
    )
    bounds = np.zeros((n * a + n, 2))
    bounds[: n * a, 1] = rows.ravel()
    bounds[n * a :] = -np.inf, np.inf
    kept = columns.ravel()
    for options in SOLVERS:
        found = scipy.optimize.linprog(
            np.repeat([0.0, -1.0], [n * a, n]),
            A_ub=below[kept],
            b_ub=np.zeros(int(kept.sum())),
            A_eq=total,
            b_eq=np.ones(n),
            bounds=bounds,
            options=options,
        )
        if found.status == 0:
            break
    else:
        raise GameError(f"the linear programs of {n} states were not solved: {found.message}")
    y = np.zeros(n * b)
    y[kept] = -found.ineqlin.marginals
    laws = [found.x[: n * a].reshape(n, a), y.reshape(n, b)]
    laws = [np.clip(law, 0.0, None) for law in laws]
    x, y = (law / law.sum(1, keepdims=True) for law in laws)
    return x, y
