"""Agents that all respond softly to each other, as a differentiable function of the game.

The fixed point is found without a graph: by Newton's method from the last one found, else along
the principal branch (`logit_path`). One more Newton step with a graph carries the exact first
derivatives: implicit differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.logit_path import logit_path
from vsg_ppl.table import Table
from vsg_ppl.vpg import soft_scores, soft_values

NEAR = 0.2
"""How far Newton's method may move a probability before the result is looked up on the branch."""


class SoftEquilibrium:
    """(game, temperatures) → log policies that are soft best responses to each other (Eq. 5).

    It is Prop. 5.9 for all agents at once, the logit quantal response equilibrium; each agent has
    its own temperature. Called again for a game nearby it starts from where it was.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import MatchingPennies
    >>> table = vsg.tabulate(MatchingPennies())
    >>> row, col = SoftEquilibrium()(table, [0.5, 0.1])
    >>> row.exp()
    tensor([[[[0.5000, 0.5000]]]], dtype=torch.float64)
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def __call__(self, table: Table, temperatures: Sequence[float | Tensor]) -> list[Tensor]:
        """log π of every agent, (1, H|1, S, A_i), with first derivatives in the game and in τ.

        Raises:
            GameError: the principal branch stalls, or the game is too large for its Jacobian.
        """
        scaled = replace(
            table,
            rewards=tuple(r / tau for r, tau in zip(table.rewards, temperatures, strict=True)),
        )
        priors = [
            prior.expand(1, table.horizon or 1, *prior.shape[2:]) for prior in table.log_priors
        ]
        free = torch.cat([prior.detach().reshape(-1) for prior in priors]) > -torch.inf

        def error(x: Tensor) -> Tensor:
            logs = _unpack(x, free, priors)
            scores = soft_scores(scaled, logs, soft_values(scaled, logs, 1.0, "own"), 1.0)
            aims = torch.cat([score.log_softmax(-1).reshape(-1) for score in scores])
            return x - aims[free]

        x, slope = self._find(_detached(scaled), error)
        self._last = x
        # x solves the equations whatever moves, so dx = −(dF/dx)^{-1} dF
        off = error(x)
        x = x - torch.linalg.solve(slope, off[:, None])[:, 0]
        return _unpack(x, free, priors)

    def _find(self, table: Table, error: Any) -> tuple[Tensor, Tensor]:
        """The fixed point and the Jacobian there, without a graph."""
        if self._last is not None:
            x, off, slope = _newton(self._last, error)
            if off < 1e-9 and float((x.exp() - self._last.exp()).abs().max()) < NEAR:
                return x, slope
        found = logit_path(table, 1.0)
        if not found.solved:
            raise GameError(
                f"no equilibrium of {table.name} was found at these temperatures: {found.message}",
                hint="higher temperatures, or `others` other than 'equilibrium'.",
            )
        policies = [found.policies[agent].reshape(-1) for agent in table.agents]
        flat = torch.cat(policies)
        prior = torch.cat(
            [
                log.expand(1, table.horizon or 1, *log.shape[2:]).reshape(-1)
                for log in table.log_priors
            ]
        )
        x, _, slope = _newton(flat[prior > -torch.inf].clamp_min(1e-300).log(), error)
        return x, slope


def _newton(x: Tensor, error: Any, steps: int = 20) -> tuple[Tensor, float, Tensor]:
    """Newton's method: the point, how far from a solution it is, and the Jacobian there."""
    x = x.detach()
    slope = torch.eye(len(x), dtype=x.dtype)
    off = float("inf")
    for _ in range(steps):
        slope = torch.autograd.functional.jacobian(error, x)
        with torch.no_grad():
            now = error(x)
            off = float(now.abs().max())
            if off < 1e-13 or not off < float("inf"):
                break
            move, failed = torch.linalg.solve_ex(slope, now[:, None])
            if failed or not bool(torch.isfinite(move).all()):
                return x, float("inf"), slope
            x = x - move[:, 0].clamp(-4.0, 4.0)
    return x, off, slope.detach()


def _unpack(x: Tensor, free: Tensor, priors: list[Tensor]) -> list[Tensor]:
    flat = torch.full(free.shape, -torch.inf, dtype=x.dtype)
    flat = flat.index_copy(0, free.nonzero()[:, 0], x)
    parts = flat.split([prior.numel() for prior in priors])
    return [part.reshape(prior.shape) for part, prior in zip(parts, priors, strict=True)]


def _detached(table: Table) -> Table:
    return replace(
        table,
        log_priors=tuple(prior.detach() for prior in table.log_priors),
        rewards=tuple(reward.detach() for reward in table.rewards),
        probabilities=table.probabilities.detach(),
        initial=table.initial.detach(),
        discount=float(table.discount),
    )
