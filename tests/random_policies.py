"""Random policies of a game in both languages: the library's guides, and the oracle's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vsg_ppl as vsg
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
            t = t if len(logits) > 1 else 0
            key = (place, t, freeze(dict(seen)))
            if key not in known:
                prior = self.brute.prior(agent, place, t)
                row = logits[t, self.rows[place]]
                scores = [score(row, a, seen) + np.log(p) for a, p in prior.items()]
                known[key] = dict(zip(prior, torch.stack(scores).log_softmax(0), strict=True))
            return known[key]

        return log_policy


class Case:
    """A random instance of Eq. 3: an agent of a game, and everybody's policies.

    Args:
        game: the game program.
        seed: of the logits; it also picks the agent.
        conditional: whether the agent's policy is π(a^i|s, a^{-i}).
    """

    def __init__(self, game: Any, seed: int, *, conditional: bool = False) -> None:
        self.game = game
        self.table, self.brute = vsg.tabulate(game), BruteForce(game)
        self.reader = policies = Policies(self.table, self.brute, seed)
        self.agent = game.agents[seed % len(game.agents)]
        rest = [j for j in game.agents if j != self.agent]
        make = policies.conditional if conditional else policies.marginal
        self.policy = make(self.agent)
        self.opponents = {j: policies.marginal(j) for j in rest}
        self.others = {j: policies.marginal(j) for j in rest}
        self.learnt = [self.policy, *self.opponents.values()]
        self.parameters = [p for module in self.learnt for p in module.parameters()]
        # the oracle's names for the same
        self.functions = (
            policies.read(self.policy),
            {j: policies.read(rho) for j, rho in self.opponents.items()},
            {j: policies.read(pi) for j, pi in self.others.items()},
        )

    def pair(self, temperature: float) -> tuple[vsg.AgentModel, vsg.AgentGuide]:
        """The agent's model and guide."""
        return (
            vsg.agent_model(self.game, self.agent, self.others, temperature=temperature),
            vsg.agent_guide(self.game, self.agent, self.policy, self.opponents),
        )

    def gradients(self, value: Tensor) -> list[Tensor]:
        """Of a value, with respect to all logits; zero where it does not depend on them."""
        if not value.requires_grad:
            return [torch.zeros_like(p) for p in self.parameters]
        found = torch.autograd.grad(value, self.parameters, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.parameters, found, strict=True)
        ]
