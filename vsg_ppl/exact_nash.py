"""Exact Nash equilibria of general-sum games, by a path in temperature or stage by stage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from vsg_ppl.certificate import Certificate, certify_tables
from vsg_ppl.equilibrium_path import EquilibriumPath
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.nash import random_policies
from vsg_ppl.progress import Progress, no_progress, progress_bar
from vsg_ppl.reading import read_policies
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.stage_equilibria import systems
from vsg_ppl.stagewise import fits, stagewise
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

SMALL = 200
"""Values, states times agents, up to which the path comes first; beyond, its branch may fold so
often that stage by stage is the better start."""

QUICK = 20_000
"""Starts of Newton's method in all stage games together up to which, with more than two agents,
"stages" is tried where a path stalls: a round takes a second or two."""

Method = Literal["path", "stages"]


def exact_nash(
    game: Game | Table,
    *,
    method: Method | None = None,
    tolerance: float = 1e-8,
    initial: Mapping[str, Any] | None = None,
    seed: int | None = None,
    max_steps: int = 5000,
    progress: bool = False,
) -> Solution:
    """A Nash equilibrium of any finite game, to rounding: of one shot, stochastic, N agents.

    * ``"path"`` follows the branch of logit equilibria from the priors to temperature 0. Its limit
      is the equilibrium that McKelvey and Palfrey's principal branch selects.
    * ``"stages"`` lists all equilibria of the one-shot game that every state is, given what comes
      after: from the last step to the first where there is a horizon, and otherwise values and
      stage equilibria in turns. It is fast with two agents, and takes thousands of states. It
      selects what pays all agents most at first, and then what is nearest.

    No solver finds an equilibrium for sure in reasonable time. This one says so when it does not:
    only the certificate makes a solution "solved".

    Args:
        game: a finite game program or its table.
        method: by default "stages" for horizons beyond one step and for two agents with more than
            `SMALL` values, if the stages are small enough, and "path" otherwise; where it fails,
            the other one goes on from its end.
        tolerance: on the Nash gap from the worst state, in units of reward.
        initial: policies to start from in place of the priors; on a path, actions that they do not
            play get a little probability. Finite horizons solved by stages have no use for them.
        seed: start from random policies, which may lead to another equilibrium.
        max_steps: of the path, or rounds.
        progress: show a progress bar.

    Returns:
        The solution, of temperature 0. Its message says how it was found, and whether it is the
        limit of the principal branch, which is so only from the priors. A path that stalls is "not
        converged", with the best policies certified. The history holds temperature and residual;
        along a path the temperature rises where the branch folds.

    Raises:
        GameError: a batch of games, a game too large for the method, both ``initial`` and ``seed``,
            a tolerance that is not positive, another method.

    >>> from vsg_ppl.models import RandomGame
    >>> solution = exact_nash(RandomGame(states=4, n_agents=2, actions=3))
    >>> solution.certificate.nash_gap_worst_state < 1e-8
    True
    """
    table = game if isinstance(game, Table) else tabulate(game)
    methods = _methods(table, method)
    if not tolerance > 0:
        raise GameError(f"the tolerance is {tolerance}; it must be positive")
    if initial is not None and seed is not None:
        raise GameError(
            "the search starts either from `initial` or from random policies",
            hint="leave out `seed` or `initial`.",
        )
    began = time.perf_counter()
    with torch.no_grad():
        start = _start(table, initial, seed)
        search = _Search(table, tolerance, max_steps, start)
        with progress_bar("exact_nash") if progress else no_progress() as search.show:
            for how in methods:
                search.by_path() if how == "path" else search.by_stages()
                if search.ended:
                    break
        assert search.certificate is not None
        if search.history:
            search.history[-1]["nash_gap"] = float(search.certificate.nash_gap)
        return solution_of(
            game,
            table,
            search.best,
            certificate=search.certificate,
            temperature=0.0,
            factorisation="marginal",
            iterations=len(search.history),
            seconds=time.perf_counter() - began,
            status=search.status,
            message=search.message,
            history=search.history,
        )


def _methods(table: Table, method: Method | None) -> list[Method]:
    """What to try, in order."""
    if table.batched:
        raise GameError("an exact equilibrium is of one game, and this table holds a batch of them")
    if method not in (None, "path", "stages"):
        raise GameError(f"the method is {method!r}", hint='"path" or "stages".')
    if method == "stages" and not fits(table):
        raise GameError(
            f"the equilibria of all stage games of {table.name} are too many to list",
            hint='method="path".',
        )
    if method is not None:
        return [method]
    if not fits(table):
        return ["path"]
    values = len(table.states) * (table.horizon or 1) * len(table.agents)
    many = len(table.agents) > 2
    if table.horizon not in (None, 1) or (table.horizon is None and values > SMALL and not many):
        return ["stages", "path"]
    if many and systems(table.sizes) * len(table.states) > QUICK:
        return ["path"]
    return ["path", "stages"]


def _start(
    table: Table, initial: Mapping[str, Any] | None, seed: int | None
) -> list[Tensor] | None:
    """Policies to start from, (1, H, S, A_i); ``None``: the game's priors."""
    if initial is not None:
        return [policy.expand(1, *policy.shape[1:]) for policy in read_policies(table, initial)]
    if seed is None:
        return None
    return list(random_policies(table, seed).values())


@dataclass
class _Search:
    """The best policies so far, and how they were found."""

    table: Table
    tolerance: float
    max_steps: int
    start: list[Tensor] | None
    show: Progress = lambda entry: None
    gap: float = float("inf")
    best: list[Tensor] = field(default_factory=list)
    certificate: Certificate | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def solved(self) -> bool:
        """Whether the certificate says so."""
        return self.gap <= self.tolerance

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to try."""
        return self.solved or self.interrupted

    @property
    def status(self) -> str:
        """Of the solution."""
        return "solved" if self.solved else "interrupted" if self.interrupted else "not converged"

    @property
    def message(self) -> str:
        """What was found, or where the search stalled and what to do next."""
        return self.said[-1] if self.solved else "; ".join(self.said)

    def by_path(self) -> None:
        """Along the branch of logit equilibria, from the best policies so far."""
        start = self.best_policies() or self.start
        path = EquilibriumPath(self.table, start and _softened(self.table, start), self.tolerance)
        path.follow(self.max_steps, self.show)
        self.interrupted |= path.status == "interrupted"
        assert path.certificate is not None
        self._keep(path.best, path.certificate)
        self._record(path.history)
        self.said.append(path.message(principal=start is None))

    def by_stages(self) -> None:
        """By equilibria of the stage games, from the best policies so far."""
        start = self.best_policies() or self.start
        try:
            found = stagewise(self.table, initial=start, max_steps=self.max_steps, show=self.show)
        except KeyboardInterrupt:
            self.interrupted = True
            self._keep_priors()
            self.said.append("interrupted")
            return
        certificate = certify_tables(self.table, found.policies)
        self._keep([policy.log() for policy in found.policies], certificate)
        self._record(found.history)
        gap = f"Nash gap {float(certificate.nash_gap_worst_state):.3g} from the worst state"
        self.said.append(
            f"{gap}, put together from equilibria of the stage games"
            if found.settled
            else f"values and stage equilibria did not settle: {gap}; raise `max_steps`, or try "
            "`seed=0` and others"
        )

    def best_policies(self) -> list[Tensor] | None:
        """What to go on from; ``None`` at the start."""
        return [log.exp() for log in self.best] or None

    def _keep(self, logs: list[Tensor], certificate: Certificate) -> None:
        gap = float(certificate.nash_gap_worst_state)
        if gap < self.gap or self.certificate is None:
            self.gap, self.certificate, self.best = gap, certificate, logs

    def _keep_priors(self) -> None:
        shape = (1, self.table.horizon or 1, len(self.table.states))
        logs = [prior.expand(*shape, prior.shape[-1]) for prior in self.table.log_priors]
        self._keep(logs, certify_tables(self.table, [log.exp() for log in logs]))

    def _record(self, history: list[dict[str, Any]]) -> None:
        before = len(self.history)
        self.history += [{**entry, "iteration": before + k + 1} for k, entry in enumerate(history)]


def _softened(table: Table, policies: list[Tensor]) -> list[Tensor]:
    """Log policies that play all available actions, as priors of a path."""
    return [
        (0.99 * policy + 0.01 * prior.exp()).log()
        for policy, prior in zip(policies, table.log_priors, strict=True)
    ]
