"""The principal branch of logit equilibria, followed from the prior down to a temperature.

At infinite temperature the priors are the one equilibrium; its continuation is the *principal
branch*, the selection of McKelvey and Palfrey (1995). The branch may fold back in temperature, so
it is followed by arclength (Turocy 2005, "A dynamic homotopy interpretation of the logistic
quantal response equilibrium correspondence"), not by lowering the temperature.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.certificate import certify_tables
from vsg_ppl.elbo import total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.vpg import Entropy, Stage, soft_scores, soft_values

LARGEST = 2000
"""Unknowns beyond which the dense Jacobian of the path is refused."""


def logit_path(
    game: Game | Table,
    temperature: float,
    *,
    entropy: Entropy = "own",
    tolerance: float = 1e-10,
    max_steps: int = 2000,
) -> Solution:
    """The logit equilibrium at a temperature that the principal branch reaches first.

    It is a fixed point of `nash` (a joint maximiser of the ELBOs), selected by continuation rather
    than by where natural-gradient steps settle; unstable equilibria are reached too.

    Args:
        game: a small finite game program or its table.
        temperature: τ > 0 to reach.
        entropy: as in `nash`.
        tolerance: on max |log π − log softmax(log u + Q/τ)|.
        max_steps: of the path.

    Returns:
        The solution; its history holds the temperatures along the path and ``nash_gap`` at the end.
        A path that stalls is reported as "not converged", with the last point reached.

    Raises:
        GameError: a batch of games, or a game too large for a dense Jacobian.

    >>> from vsg_ppl.models import Chicken
    >>> logit_path(Chicken(), temperature=0.5).solved
    True
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError("a path is of one game, and this table holds a batch of them")
    if not temperature > 0:
        raise GameError(f"the temperature is {temperature}; it must be positive")
    with torch.no_grad():
        began = time.perf_counter()
        path = _Path(table, entropy, tolerance)
        reached = path.follow(1.0 / temperature, max_steps)
        logs = path.logs()
        at = temperature if reached else 1.0 / float(path.x[-1].clamp_min(1e-12))
        certificate = certify_tables(
            table, [log.exp() for log in logs], at, joint_entropy=entropy == "joint"
        )
    gap = float(certificate.nash_gap)
    path.history.append(
        {
            "iteration": len(path.history) + 1,
            "temperature": at,
            "residual": path.off,
            "elbo": {},
            "nash_gap": gap,
        }
    )
    return solution_of(
        game,
        table,
        logs,
        certificate=certificate,
        temperature=at,
        factorisation="marginal",
        iterations=len(path.history),
        seconds=time.perf_counter() - began,
        status="solved" if reached else "not converged",
        message=f"Nash gap {gap:.3g} at temperature {at:g}, on the principal branch"
        if reached
        else f"the principal branch stalled at temperature {at:g}; raise `max_steps`, or use "
        "`nash`",
        history=path.history,
    )


class _Path:
    """Points (log π of available actions, λ = 1/τ) where log π = log softmax(log u + λ Q)."""

    def __init__(self, table: Table, entropy: Entropy, tolerance: float) -> None:
        self.table, self.entropy, self.tolerance = table, entropy, tolerance
        times = table.horizon or 1
        self.start = [prior.expand(1, times, *prior.shape[2:]) for prior in table.log_priors]
        flat = torch.cat([log.reshape(-1) for log in self.start])
        self.free = flat > -torch.inf
        n = int(self.free.sum())
        if n > LARGEST:
            raise GameError(
                f"the path has {n:,} unknowns, and its dense Jacobian takes at most {LARGEST:,}",
                hint="`nash`, whose cost is linear in the states.",
            )
        self.places = self.free.nonzero().squeeze(-1)
        self.x = torch.cat([flat[self.free], flat.new_zeros(1)])
        one_shot = table.horizon == 1 and len(table.states) == 1
        self.stage = Stage(table, None) if one_shot else None
        self.history: list[dict[str, Any]] = []
        self.off = 0.0

    def logs(self) -> list[Tensor]:
        """log π of every agent at the current point, (1, H, S, A_i)."""
        return self._unpack(self.x[:-1])

    def follow(self, goal: float, max_steps: int) -> bool:
        """Go along the branch until λ reaches ``goal``; whether it did."""
        n = len(self.x)
        size, tangent = 0.05, None
        self._leave(goal)
        while len(self.history) < max_steps and size > 1e-10:
            _, jacobian = self._system(self.x)
            tangent = self._tangent(jacobian, tangent)
            guess = self.x + size * tangent
            point = guess.clone()
            rounds = 0
            for rounds in range(1, 9):  # noqa: B007 - read after the loop
                error, jacobian = self._system(point)
                bordered = torch.cat([jacobian, tangent[None]])
                right = torch.cat([error, (tangent @ (point - guess))[None]])
                move, failed = torch.linalg.solve_ex(bordered, right[:, None])
                point = point - move[:, 0]
                if failed or not torch.isfinite(point).all():
                    rounds = 9
                    break
                if move.abs().amax() < 1e-9 * (1 + point.abs().amax()):
                    break
            else:
                rounds = 9
            _, after = self._system(point) if rounds < 9 else (None, jacobian)
            turned = rounds < 9 and float(self._tangent(after, tangent) @ tangent) < 0.8
            if rounds == 9 or turned or self._leaps(guess, point) or not float(point[-1]) >= 0:
                size /= 2
                continue
            before, self.x = float(self.x[-1]), point
            self.history.append(
                {
                    "iteration": len(self.history) + 1,
                    "temperature": 1 / max(1e-12, float(point[-1])),
                    "residual": float(self._system(point)[0].abs().amax()),
                    "elbo": {},
                }
            )
            if before < goal <= float(point[-1]):
                return self._settle(goal)
            size = min(size * (2.0 if rounds <= 3 else 1.0 if rounds <= 5 else 0.5), 1e3 * n)
        return False

    def _leave(self, goal: float) -> None:
        """A first point, so near the priors that the fixed point contracts; V needs λ > 0."""
        spread = max(float(reward.abs().amax()) for reward in self.table.rewards)
        steps = total_weight(self.table.discount, self.table.horizon)
        self.x[-1] = min(goal / 2, 1e-2 / max(spread * steps, 1e-9))
        for _ in range(30):
            self.x[:-1] = self.x[:-1] - self._system(self.x)[0]

    def _leaps(self, guess: Tensor, point: Tensor) -> bool:
        """Whether a step is so long, or so badly foreseen, that it may land on another branch."""
        old, foreseen, new = (x[:-1].exp() for x in (self.x, guess, point))
        off, moved = (new - foreseen).abs().amax(), (new - old).abs().amax()
        return not (float(off) <= 0.02 and float(moved) <= 0.1)

    def _settle(self, goal: float) -> bool:
        """Newton's method at λ = goal, from the crossing."""
        point = self.x.clone()
        point[-1] = goal
        for _ in range(50):
            error, jacobian = self._system(point)
            self.off = float(error.abs().amax())
            if self.off <= self.tolerance:
                break
            move, failed = torch.linalg.solve_ex(jacobian[:, :-1], error[:, None])
            if failed:
                break
            point[:-1] -= move[:, 0]
        # rounding in Q is multiplied by λ
        if not self.off <= self.tolerance * (1 + goal) or self._leaps(point, point):
            return False
        self.x = point
        return True

    def _tangent(self, jacobian: Tensor, before: Tensor | None) -> Tensor:
        """The unit null vector of the Jacobian, along the last tangent; λ rises at the start."""
        along = before if before is not None else torch.eye(len(self.x), dtype=torch.float64)[-1]
        bordered = torch.cat([jacobian, along[None]])
        right = torch.zeros(len(self.x), 1, dtype=torch.float64)
        right[-1] = 1.0
        null: Tensor = torch.linalg.lstsq(bordered, right).solution[:, 0]
        unit: Tensor = null / null.norm()
        return unit

    def _system(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """F and its derivative by (log π, λ), (n,) and (n, n + 1)."""
        if self.stage is not None:
            return self._one_shot(self.stage, point)
        with torch.enable_grad():
            slope: Any = torch.autograd.functional.jacobian(self._error, point)
        return self._error(point), slope

    def _one_shot(self, stage: Stage, point: Tensor) -> tuple[Tensor, Tensor]:
        logs, rate = self._unpack(point[:-1]), point[-1].clamp_min(1e-12)
        error, slope = stage.system(logs, float(1 / rate))
        q = [
            torch.where(prior > -torch.inf, score - prior, 0.0) / rate
            for prior, score in zip(stage.priors, stage.scores(logs, float(1 / rate)), strict=True)
        ]
        aims = stage.aims(logs, float(1 / rate))
        by_rate = torch.cat(
            [(aim * x).sum(-1, keepdim=True) - x for aim, x in zip(aims, q, strict=True)], -1
        )
        full = torch.cat([slope, by_rate[..., None]], -1)[0, 0, 0]
        keep = torch.cat([self.free, torch.tensor([True])])
        return error[0, 0, 0][self.free], full[self.free][:, keep]

    def _error(self, point: Tensor) -> Tensor:
        logs, temperature = self._unpack(point[:-1]), 1 / point[-1].clamp_min(1e-12)
        values = soft_values(self.table, logs, temperature, self.entropy)  # type: ignore[arg-type]
        scores = soft_scores(self.table, logs, values, temperature)  # type: ignore[arg-type]
        aims = torch.cat([score.log_softmax(-1).reshape(-1) for score in scores])
        return point[:-1] - aims[self.free]

    def _unpack(self, free: Tensor) -> list[Tensor]:
        flat = torch.full(self.free.shape, -torch.inf, dtype=torch.float64)
        flat = flat.index_copy(0, self.places, free)
        parts = flat.split([log.numel() for log in self.start])
        return [part.reshape(log.shape) for part, log in zip(parts, self.start, strict=True)]
