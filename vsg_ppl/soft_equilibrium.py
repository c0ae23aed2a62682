"""Agents that all respond softly to each other, as a differentiable function of the game.

The fixed point is found without a graph: by Newton's method from the last one found, else along
the principal branch (`logit_path`). One more Newton step with a graph carries the exact first
derivatives: implicit differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.logit_path import logit_path
from vsg_ppl.table import Table
from vsg_ppl.vpg import Stage, soft_scores, soft_values

NEAR = 0.2
"""How far a step may move a probability; shorter steps are tried first."""

EXACT = 1e-11
"""On |log π − log softmax(log u + Q/τ)|."""

LARGEST = 1e12
"""Reward over temperature beyond which rounding leaves nothing of a policy."""


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
        self._last: tuple[Table, Tensor] | None = None

    def __call__(self, table: Table, temperatures: Sequence[float | Tensor]) -> list[Tensor]:
        """log π of every agent, (1, H|1, S, A_i), with first derivatives in the game and in τ.

        Raises:
            GameError: the principal branch stalls, or the game is too large for its Jacobian.
        """
        scaled = replace(
            table,
            rewards=tuple(r / tau for r, tau in zip(table.rewards, temperatures, strict=True)),
        )
        x, slope = self._find(_detached(scaled))
        equations = _Equations(scaled)
        # x solves the equations whatever moves, so dx = −(dF/dx)^{-1} dF
        return equations.logs(x - torch.linalg.solve(slope, equations(x)[:, None])[:, 0])

    def _find(self, table: Table) -> tuple[Tensor, Tensor]:
        """The fixed point and the Jacobian there, without a graph."""
        if not all(bool((reward.abs() < LARGEST).all()) for reward in table.rewards):
            raise GameError(
                f"the rewards of {table.name} are more than {LARGEST:g} temperatures",
                hint="a narrower prior of the temperature, or others='observed'.",
            )
        found = self._follow(table) if self._last is not None else None
        if found is None:
            path = logit_path(table, 1.0)
            if not path.solved:
                raise GameError(
                    f"no equilibrium of {table.name} was found at this temperature: {path.message}",
                    hint="a narrower prior of the temperature, or others='observed'.",
                )
            equations = _Equations(table)
            start = equations.point(path.policies)
            # the response to them has the logarithms of what is too small for a probability
            found = _newton(start - equations(start), equations)
            if found is None:
                raise GameError(
                    f"an equilibrium of {table.name} was found only roughly: too low a temperature",
                    hint="a narrower prior of the temperature, or others='observed'.",
                )
        self._last = table, found[0]
        return found

    def _follow(self, table: Table) -> tuple[Tensor, Tensor] | None:
        """The fixed point reached by moving the last game into this one; ``None`` if that fails."""
        assert self._last is not None
        before, x = self._last
        if [r.shape for r in before.rewards] != [r.shape for r in table.rewards]:
            return None
        if not bool((_Equations(before).free == _Equations(table).free).all()):
            return None  # other actions are available
        done, step = 0.0, 1.0
        while step > 1e-3:
            goal = min(1.0, done + step)
            found = _newton(x, _Equations(_between(before, table, goal)))
            if found is None or float((found[0].exp() - x.exp()).abs().max()) > NEAR:
                step /= 2
                continue
            done, x = goal, found[0]
            if done == 1.0:
                return found
            step *= 2
        return None


class _Equations:
    """F(x) = x − log softmax(log u + Q) over the log probabilities of available actions."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.priors = [
            prior.expand(1, table.horizon or 1, *prior.shape[2:]) for prior in table.log_priors
        ]
        self.free = torch.cat([prior.detach().reshape(-1) for prior in self.priors]) > -torch.inf
        self.stage = Stage(table, None) if table.horizon == 1 else None

    def __call__(self, x: Tensor) -> Tensor:
        logs = self.logs(x)
        values = soft_values(self.table, logs, 1.0, "own")
        scores = soft_scores(self.table, logs, values, 1.0)
        aims = torch.cat([score.log_softmax(-1).reshape(-1) for score in scores])
        return x - aims[self.free]

    def slope(self, x: Tensor) -> Tensor:
        """dF/dx; in one-shot games without automatic differentiation."""
        if self.stage is None:
            slope: Tensor = torch.autograd.functional.jacobian(self, x)
            return slope
        blocks = self.stage.system(self.logs(x), 1.0)[1][0, 0]  # (S, n, n)
        full = x.new_zeros(len(self.free), len(self.free))
        numbers = torch.arange(len(self.free))
        parts = numbers.split([prior.numel() for prior in self.priors])
        rows = torch.cat(
            [p.reshape(q.shape[2:]) for p, q in zip(parts, self.priors, strict=True)], 1
        )
        full[rows[:, :, None], rows[:, None, :]] = blocks
        return full[self.free][:, self.free]

    def logs(self, x: Tensor) -> list[Tensor]:
        """log π of every agent at a point."""
        flat = torch.full(self.free.shape, -torch.inf, dtype=x.dtype)
        flat = flat.index_copy(0, self.free.nonzero()[:, 0], x)
        parts = flat.split([prior.numel() for prior in self.priors])
        return [part.reshape(prior.shape) for part, prior in zip(parts, self.priors, strict=True)]

    def point(self, policies: Mapping[str, Tensor]) -> Tensor:
        """The point at which these policies are played."""
        flat = torch.cat([policies[agent].reshape(-1) for agent in self.table.agents])
        return flat[self.free].clamp_min(1e-300).log()


def _newton(x: Tensor, equations: _Equations, steps: int = 20) -> tuple[Tensor, Tensor] | None:
    """Newton's method: the solution and the Jacobian there; ``None`` if it gets nowhere."""
    for _ in range(steps):
        slope = equations.slope(x)
        off = equations(x)
        if float(off.abs().max()) < EXACT:
            return x, slope
        move, failed = torch.linalg.solve_ex(slope, off[:, None])
        if failed or not bool(torch.isfinite(move).all()):
            return None
        x = x - move[:, 0].clamp(-4.0, 4.0)
    return None


def _between(one: Table, other: Table, share: float) -> Table:
    """A table between two of the same shape."""

    def mix(a: Tensor, b: Tensor) -> Tensor:
        return b if share == 1.0 else torch.where(a == b, b, (1 - share) * a + share * b)

    return replace(
        other,
        log_priors=tuple(map(mix, one.log_priors, other.log_priors)),
        rewards=tuple(map(mix, one.rewards, other.rewards)),
        probabilities=mix(one.probabilities, other.probabilities),
        discount=(1 - share) * one.discount + share * other.discount,
    )


def _detached(table: Table) -> Table:
    return replace(
        table,
        log_priors=tuple(prior.detach() for prior in table.log_priors),
        rewards=tuple(reward.detach() for reward in table.rewards),
        probabilities=table.probabilities.detach(),
        initial=table.initial.detach(),
        discount=float(torch.as_tensor(table.discount).detach()),
    )
