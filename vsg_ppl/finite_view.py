"""What agents see of a finite game: its states as vectors, and which actions there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from pyro import distributions as dist
from pyro import poutine
from torch import Tensor
from torch.nn.functional import one_hot

from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Act, Game, call, role, title
from vsg_ppl.handlers.steer import SteerMessenger
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

BYTES = 1 << 28
"""A game whose table would take more is seen without one."""

WIDEST = 1024
"""Numbers that say a state, all parts together, beyond which they are left as they are."""


class TableView:
    """Of a game that has a table.

    Args:
        table: of one game.

    >>> from vsg_ppl.models import StagHunt
    >>> TableView(tabulate(StagHunt())).parts
    tensor([[1., 0.],
            [0., 1.]])
    """

    def __init__(self, table: Table) -> None:
        self.table, self.horizon = table, table.horizon
        self.parts = _one_hots(table.states.values)
        self.priors = _prior_tables(table)
        self._last: tuple[Any, int, Tensor] | None = None

    def sees(self, state: Any, time: int, plays: int) -> Tensor:
        """A vector with a single 1 for each part of the state, and for the time, (K, parts)."""
        seen = self.parts[self._numbers(state, time, plays)]
        if self.horizon is None or self.horizon == 1:
            return seen
        now = torch.tensor(min(time, self.horizon - 1))
        return torch.cat([seen, one_hot(now, self.horizon).float().expand(plays, -1)], -1)

    def available(self, agent: str, state: Any, time: int, plays: int) -> Tensor:
        """Probabilities of its prior, (K, A)."""
        prior = self.priors[agent]
        return prior[min(time, len(prior) - 1)][self._numbers(state, time, plays)]

    def everywhere(self, agent: str) -> Tensor:
        """What the agent would see, `with_available`, at every time and state, (H, S, parts)."""
        times, n = self.horizon or 1, len(self.parts)
        names = [agent, *(other for other in self.table.agents if other != agent)]
        state = self.table.states.tensors()
        seen = []
        for t in range(times):
            there = [self.available(name, state, t, n) for name in names]
            seen.append(torch.cat([self.sees(state, t, n), *there], -1))
        return torch.stack(seen)

    def _numbers(self, state: Any, time: int, plays: int) -> Tensor:
        if self._last is None or self._last[0] is not state or self._last[1] != time:
            states = self.table.states
            if self.horizon is not None and time >= self.horizon:
                found = states.locate(state).clamp_min(0)  # tables know no states after the horizon
            else:
                found = states.index(state)
            self._last = state, time, found
        return self._last[2].expand(plays)


class StepView:
    """Of a game without a table: priors are read off a run of the step that is thrown away."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self._last: tuple[Any, int, dict[str, Tensor]] | None = None

    @cached_property
    def table(self) -> Table:
        """Of a game whose table is only too large to learn with. Raises `GameError` for others."""
        return _checked(self.game, tabulate(self.game))

    def everywhere(self, agent: str) -> Tensor:
        """What the agent would see at every time and state of the table, (H, S, parts)."""
        table, priors = self.table, _prior_tables(self.table)
        names = [agent, *(other for other in table.agents if other != agent)]
        seen = []
        for t in range(table.horizon or 1):
            there = [priors[name][min(t, len(priors[name]) - 1)] for name in names]
            seen.append(torch.cat([table.states.values.float(), *there], -1))
        return torch.stack(seen)

    def available(self, agent: str, state: Any, time: int, plays: int) -> Tensor:
        """Probabilities of its prior, (K, A)."""
        if self._last is None or self._last[0] is not state or self._last[1] != time:
            priors = _Priors(plays)
            with (
                torch.no_grad(),
                torch.random.fork_rng(devices=[]),
                telling(f"`step` of {title(self.game)}"),
                priors,
            ):
                call(self.game.step, state, t=time)
            self._last = state, time, priors.found
        if agent not in self._last[2]:
            raise GameError(f"'{agent}' of {title(self.game)} does not act at time {time}")
        return self._last[2][agent].expand(plays, -1)


class _Priors(SteerMessenger):
    """Everybody does what its prior says, and finite priors are noted."""

    def __init__(self, plays: int) -> None:
        super().__init__(plays)
        self.found: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        part = role(msg)
        if isinstance(part, Act):
            if isinstance(msg["fn"], dist.Categorical):
                self.found[part.agent] = msg["fn"].probs.float()
            shape = msg["fn"].batch_shape
            law = msg["fn"] if shape else msg["fn"].expand([self.plays])
            self.actions = {**self.actions, msg["name"]: law.sample()}
        super()._pyro_sample(msg)


def view(game: Game, agents: Sequence[str]) -> TableView | StepView:
    """By its table, if there is one.

    Raises:
        GameError: a public signal, which nobody would see before it acts.
    """
    try:
        with poutine.block():
            table = tabulate(game, max_bytes=BYTES)
    except GameError:
        return StepView(game)
    _checked(game, table)
    if set(table.agents) != set(agents):
        return StepView(game)
    found = TableView(table)
    return found if found.parts.shape[1] <= WIDEST else StepView(game)


def _checked(game: Game, table: Table) -> Table:
    if table.signals:
        raise GameError(
            f"{title(game)} has a public signal, which learners do not see",
            hint="draw it at the end of the step before, as a part of the state; `vsg.correlated`.",
        )
    return table


def _prior_tables(table: Table) -> dict[str, Tensor]:
    """Probabilities of each agent's prior, (1|H, S, A)."""
    return {
        agent: log[0].exp().float()
        for agent, log in zip(table.agents, table.log_priors, strict=True)
    }


def _one_hots(values: Tensor) -> Tensor:
    """Whole numbers (S, parts) as vectors with a single 1 for each part, (S, sum of sizes)."""
    columns = [torch.zeros(len(values), 0)]
    for part in values.unbind(1):
        known, number = part.unique(return_inverse=True)
        columns.append(one_hot(number, len(known)).float())
    return torch.cat(columns, -1)
