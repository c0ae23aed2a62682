"""Random policies of a game in both languages: the library's guides, and the oracle's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.brute_force import Action, BruteForce, LogPolicy, Seen, freeze
from vsg_ppl.guides import ConditionalPolicy, TabularPolicy
from vsg_ppl.table import Table


class Policies:
    """Makes policies with random logits for a table, and reads them for the oracle.

    The oracle finds rows by the states' labels, and actions by the documented count through an
    agent's sites, the last fastest. Both sides share the parameter, so that gradients compare.
    """

    def __init__(self, table: Table, brute: BruteForce, seed: int) -> None:
        self.table, self.brute = table, brute
        self.rows = {freeze(label): k for k, label in enumerate(table.states)}
        self.sizes = {
            a: actions.sizes for a, actions in zip(table.agents, table.actions, strict=True)
        }
        self.random = torch.Generator().manual_seed(seed)

    def marginal(self, agent: str, scale: float = 1.0) -> TabularPolicy:
        """A random π(a|s)."""
        shape = (self.table.horizon or 1, len(self.table.states), np.prod(self.sizes[agent]))
        return TabularPolicy(self.table, agent, scale * self._normal(shape))

    def conditional(self, agent: str, scale: float = 1.0) -> ConditionalPolicy:
        """A random π(a^i|s, a^{-i})."""
        shape = (self.table.horizon or 1, len(self.table.states), *self.table.sizes)
        return ConditionalPolicy(self.table, agent, scale * self._normal(shape))

    def read(self, policy: TabularPolicy | ConditionalPolicy) -> LogPolicy:
        """The policy as the oracle wants it."""
        if isinstance(policy, TabularPolicy):
            return self.function(policy.agent, policy.logits)

        def scores(row: Tensor, action: Action, seen: Seen) -> Tensor:
            everyone = {**seen, policy.agent: action}
            return row[tuple(self.number(j, everyone[j]) for j in self.table.agents)]

        return self._function(policy.agent, policy.logits, scores)

    def function(self, agent: str, logits: Tensor) -> LogPolicy:
        """log softmax(log u + logits) over the available actions."""
        return self._function(
            agent, logits, lambda row, action, seen: row[self.number(agent, action)]
        )

    def number(self, agent: str, action: Action) -> int:
        """An action's number; an agent that does not act takes its first."""
        return int(np.ravel_multi_index(action, self.sizes[agent])) if action else 0

    def _normal(self, shape: Any) -> Tensor:
        return torch.randn(*map(int, shape), dtype=torch.float64, generator=self.random)

    def _function(
        self, agent: str, logits: Tensor, score: Callable[[Tensor, Action, Seen], Tensor]
    ) -> LogPolicy:
        known: dict[Any, dict[Action, Tensor]] = {}

        def log_policy(place: Any, t: int, seen: Seen) -> dict[Action, Tensor]:
            key = (place, t, freeze(dict(seen)))
            if key not in known:
                prior = self.brute.prior(agent, place, t)
                row = logits[t if len(logits) > 1 else 0, self.rows[place]]
                scores = [score(row, a, seen) + np.log(p) for a, p in prior.items()]
                known[key] = dict(zip(prior, torch.stack(scores).log_softmax(0), strict=True))
            return known[key]

        return log_policy
