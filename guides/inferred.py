"""A model ρ of another agent by what it seems to want: Algorithm 3 on a replay buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.guides.opponent import CountedOpponent
from vsg_ppl.guides.policy import sample_sites
from vsg_ppl.guides.reward import Over, TabularReward
from vsg_ppl.soft_response import log_likelihood, soft_response
from vsg_ppl.table import Table


class InferredOpponent:
    """ρ*_ψ (Eq. 5) for a reward table r_ψ that is fitted to the agent's actions (Algorithm 3).

    Each `refit` takes some steps of L-BFGS on the exact likelihood of the actions in the replay
    buffer, with a Normal(0, scale) prior of every cell, and then ρ by Eq. 5. The agent's world are
    the others as they were seen to act over the same stretch of play. What is fitted is carried
    from one refit to the next. In states seldom seen, ρ follows from what is wanted elsewhere,
    where counting knows nothing.

    Args:
        table: the game's table; the agent's own reward in it is not read.
        agent: whose behaviour it models.
        temperature: τ, at which the agent is taken to respond.
        over: the cells of the reward, see `TabularReward`.
        scale: standard deviation of each cell, by default 3 τ.
        steps: of L-BFGS in a refit.

    >>> import torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> model = InferredOpponent(vsg.tabulate(StagHunt()), "col", temperature=0.5)
    >>> nil = torch.zeros(20, dtype=torch.long)
    >>> model.observe(nil, nil, {0: nil, 1: nil + 1})
    >>> model.refit()
    >>> model.log_table().exp()[0, 0, 1] > 0.85
    tensor(True)
    """

    def __init__(
        self,
        table: Table,
        agent: str,
        *,
        temperature: float,
        over: Over = "action",
        scale: float | None = None,
        steps: int = 5,
    ) -> None:
        self.agent, self.number, self.temperature = agent, table.number(agent), temperature
        self.states, self.actions, self.steps = table.states, table.actions[self.number], steps
        self.scale = 3 * temperature if scale is None else scale
        self.seen = [CountedOpponent(table, name) for name in table.agents]
        shape = TabularReward(table, agent, over=over).shape
        self.reward = torch.zeros(shape, dtype=torch.float64, device=table.device)
        self.world = table
        self._log = table.log_priors[self.number][0].expand(table.horizon or 1, -1, -1)

    def observe(self, times: Tensor, states: Tensor, actions: Mapping[int, Tensor]) -> None:
        """Put observed actions of all agents, by number, into the buffer: all (n,)."""
        for k, done in actions.items():
            self.seen[k].observe(times, states, done)

    def refit(self) -> None:
        """Algorithm 3: steps on ψ, then ρ by Eq. 5."""
        policies = [counted.log_table().exp()[None] for counted in self.seen]
        counts = self.seen[self.number].observed()
        reward = self.reward.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [reward], max_iter=self.steps, history_size=10, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            log = self._respond(reward, policies)
            off = -log_likelihood(counts, log) + (reward / self.scale).square().sum() / 2
            off.backward()
            return off

        with torch.enable_grad():
            optimiser.step(loss)
        self.reward = reward.detach()
        with torch.no_grad():
            self._log = self._respond(self.reward, policies)[0]

    def log_table(self) -> Tensor:
        """log ρ, (H|1, S, A)."""
        return self._log

    def __call__(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and the time."""
        now = torch.as_tensor(0 if t is None or len(self._log) == 1 else t)
        sample_sites(self.actions, self._log[now, self.states.index(state)])

    def _respond(self, reward: Tensor, policies: list[Tensor]) -> Tensor:
        rewards = list(self.world.rewards)
        n = len(self.states)
        rewards[self.number] = reward.expand(n, *reward.shape[1:])[None, None]
        return soft_response(
            replace(self.world, rewards=tuple(rewards)), policies, self.number, self.temperature
        )
