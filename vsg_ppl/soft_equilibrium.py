"""Agents that all respond softly to each other, as a differentiable function of the game.

The fixed point is found without a graph, on the principal branch: from the priors, by Newton's
method while the rewards grow from nothing, and by arclength (`logit_path`) where the branch folds.
One more Newton step with a graph carries the exact first derivatives: implicit differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vsg_ppl.elbo import total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.logit_path import logit_path
from vsg_ppl.table import Table
from vsg_ppl.vpg import Stage, soft_scores, soft_values

MOVED = 0.2
"""How far a step along the branch may move a probability."""

FORESEEN = 0.05
"""How far a probability may end from where the last two steps foresaw it."""

LEAST = 1e-4
"""The shortest step, relative to what has been covered, before the branch counts as folding."""

EXACT = 1e-11
"""On |log π − log softmax(log u + Q/τ)|, times 1 + the largest reward over temperature / 1000."""

ROUGH = 1e-4
"""The same, of points on the way."""

LARGEST = 1e12
"""Reward over temperature beyond which rounding leaves nothing of a policy."""


def soft_equilibrium(table: Table, temperatures: Sequence[float | Tensor]) -> list[Tensor]:
    """log policies that are soft best responses to each other (Eq. 5 for all agents at once).

    It is the logit quantal response equilibrium on the principal branch, a function of the game
    alone; each agent has its own temperature. It has exact first derivatives in rewards,
    transitions, priors, discount and temperatures, but jumps where the branch folds.

    Args:
        table: of one game, small enough for a dense Jacobian.
        temperatures: τ_i > 0 of every agent, numbers or scalar tensors.

    Returns:
        log π of every agent, (1, H|1, S, A_i).

    Raises:
        GameError: the branch stalls, or the game is too large.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import MatchingPennies
    >>> row, col = soft_equilibrium(vsg.tabulate(MatchingPennies()), [0.5, 0.1])
    >>> row.exp()
    tensor([[[[0.5000, 0.5000]]]], dtype=torch.float64)
    """
    scaled = replace(
        table,
        rewards=tuple(r / tau for r, tau in zip(table.rewards, temperatures, strict=True)),
    )
    x, slope = _found(_detached(scaled))
    equations = _Equations(scaled)
    # x solves the equations whatever moves, so dx = −(dF/dx)^{-1} dF
    change, failed = torch.linalg.solve_ex(slope, equations(x)[:, None])
    if failed:
        raise GameError(
            f"equilibria of {table.name} meet at just this temperature: no derivative exists there"
        )
    return equations.logs(x - change[:, 0])


def _found(table: Table) -> tuple[Tensor, Tensor]:
    """The fixed point and the Jacobian there, without a graph."""
    if not all(bool((reward.abs() < LARGEST).all()) for reward in table.rewards):
        raise GameError(
            f"the rewards of {table.name} are more than {LARGEST:g} temperatures",
            hint="a narrower prior of the temperature, or others='observed'.",
        )
    with torch.no_grad():
        found = _along(table)
    if found is not None:
        return found
    path = logit_path(table, 1.0)
    if not path.solved:
        raise GameError(
            f"no equilibrium of {table.name} was found at this temperature: {path.message}",
            hint="a narrower prior of the temperature, or others='observed'.",
        )
    equations = _Equations(table)
    start = equations.point(path.policies)
    # the response to them has the logarithms of what is too small for a probability
    found = _newton(start - equations(start), equations, folded=True)
    if found is None:
        raise GameError(
            f"an equilibrium of {table.name} was found only roughly: too low a temperature",
            hint="a narrower prior of the temperature, or others='observed'.",
        )
    return found


def _along(table: Table) -> tuple[Tensor, Tensor] | None:
    """Follow the branch while the rewards grow from 0 to what they are; ``None`` at a fold."""
    spread = max(float(reward.max() - reward.min()) for reward in table.rewards)
    spread = spread * total_weight(table.discount, table.horizon)
    nothing = _Equations(_share(table, 0.0))
    x = torch.cat([prior.reshape(-1) for prior in nothing.priors])[nothing.free]
    done, before, first = 0.0, x, min(1.0, 0.5 / max(spread, 1e-12))
    last = step = first
    while True:
        goal = min(1.0, done + step)
        guess = x + (x - before) * ((goal - done) / last if done else 0.0)
        found = _newton(guess, _Equations(_share(table, goal)), exact=goal == 1.0)
        if found is not None and not _leaps(x, guess, found[0], first=done == 0.0):
            before, x, last, done = x, found[0], goal - done, goal
            if done == 1.0:
                return found
            step = 2 * last
            continue
        step = (goal - done) / 2
        if step < LEAST * max(done, first):
            return None


def _leaps(x: Tensor, guess: Tensor, new: Tensor, *, first: bool) -> bool:
    """Whether a step is so long, or so badly foreseen, that it may land on another branch."""
    moved, off = (new.exp() - x.exp()).abs().max(), (new.exp() - guess.exp()).abs().max()
    return not (float(moved) <= MOVED and (first or float(off) <= FORESEEN))


def _share(table: Table, share: float) -> Table:
    return replace(table, rewards=tuple(share * reward for reward in table.rewards))


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


def _newton(
    x: Tensor, equations: _Equations, steps: int = 12, *, exact: bool = True, folded: bool = False
) -> tuple[Tensor, Tensor] | None:
    """The solution near x and the Jacobian there; ``None`` if Newton's method gets nowhere.

    Roughly is enough for a point on the way. On the branch from the priors the determinant stays
    positive until it folds.
    """
    size = max(float(reward.abs().max()) for reward in equations.table.rewards)
    target = EXACT * (1 + size / 1000) if exact else ROUGH
    before = float("inf")
    for _ in range(steps):
        off, slope = equations(x), equations.slope(x)
        worst = float(off.abs().max())
        if worst < target:
            return (x, slope) if folded or float(torch.linalg.slogdet(slope)[0]) > 0 else None
        move, failed = torch.linalg.solve_ex(slope, off[:, None])
        if failed or not bool(torch.isfinite(move).all()) or (not exact and worst > before / 2):
            return None  # a shorter step along the branch costs less than going on
        before = worst
        x = x - move[:, 0].clamp(-4.0, 4.0)
    return None


def _detached(table: Table) -> Table:
    return replace(
        table,
        log_priors=tuple(prior.detach() for prior in table.log_priors),
        rewards=tuple(reward.detach() for reward in table.rewards),
        probabilities=table.probabilities.detach(),
        initial=table.initial.detach(),
        discount=float(torch.as_tensor(table.discount).detach()),
    )
