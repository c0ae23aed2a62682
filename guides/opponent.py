"""Models ρ of another agent: a table to learn by SVI, a neural network, or counted actions."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from vsg_ppl.guides.policy import TabularPolicy, fresh_name, sample_sites
from vsg_ppl.table import Table


class TabularOpponent(TabularPolicy):
    """ρ(a^j | s) ∝ u(a^j | s) exp(θ): a softmax table, like `TabularPolicy`, for another agent.

    Args:
        table: the game's table.
        agent: whose behaviour it models.
        logits: the first θ; zero, which is the prior, by default.
        name: of the parameter ``<name>.logits``; a new one, ``opponent.<agent>.<k>``, by default.
    """

    def __init__(
        self, table: Table, agent: str, logits: Tensor | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(table, agent, logits, name=name or fresh_name(f"opponent.{agent}"))


class NeuralOpponent(PyroModule):
    """ρ(a^j | s) ∝ u(a^j | s) exp(network): for state spaces too large for a table's rows.

    The network reads the parts of the state, each scaled to [−1, 1], and with a horizon the time.

    Args:
        table: the game's table.
        agent: whose behaviour it models.
        hidden: widths of the hidden layers.
        name: of the parameters in Pyro's store; a new one by default.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> NeuralOpponent(vsg.tabulate(StagHunt()), "col").log_table().shape
    torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        table: Table,
        agent: str,
        *,
        hidden: tuple[int, ...] = (64, 64),
        name: str | None = None,
    ) -> None:
        super().__init__(name or fresh_name(f"opponent.{agent}"))
        self.agent, self.number = agent, table.number(agent)
        self.states, self.actions = table.states, table.actions[self.number]
        self.times = table.horizon or 1
        self.prior: Tensor
        self.register_buffer("prior", table.log_priors[self.number][0])
        widths = [table.states.values.shape[1] + 1, *hidden, self.actions.size]
        layers: list[nn.Module] = []
        linear: Any = PyroModule[nn.Linear]
        sequential: Any = PyroModule[nn.Sequential]
        for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [nn.Tanh()] if k else []
            layers += [linear(inputs, outputs, dtype=torch.float64)]
        self.network = sequential(*layers)

    @pyro_method
    def log_table(self) -> Tensor:
        """log ρ, (H|1, S, A)."""
        times = torch.arange(self.times, device=self.prior.device)
        numbers = torch.arange(len(self.states), device=self.prior.device)
        return self._scores(times[:, None], numbers).log_softmax(-1)

    def forward(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and the time."""
        now = torch.as_tensor(0 if t is None else t)
        sample_sites(self.actions, self._scores(now, self.states.index(state)))

    def _scores(self, t: Tensor, number: Tensor) -> Tensor:
        values = self.states.values.double().to(number.device)
        low, high = values.amin(0), values.amax(0)
        parts = 2 * (values - low) / (high - low).clamp_min(1) - 1
        clock = 2 * t.double() / max(1, self.times - 1) - 1
        t, number = torch.broadcast_tensors(t, number)
        inputs = torch.cat([parts[number], clock.expand(number.shape)[..., None]], -1)
        row = self.prior[t if len(self.prior) > 1 else torch.zeros_like(t), number]
        scores: Tensor = row + self.network(inputs)
        return scores


class CountedOpponent:
    """ρ from observed actions alone: counts over a replay buffer, on top of the prior.

    The buffer keeps the later half of all that was observed, so that what an agent did while it
    was still learning is forgotten in time.

    Args:
        table: the game's table.
        agent: whose behaviour it models.
        weight: how many observations the prior counts for in each state.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> model = CountedOpponent(vsg.tabulate(PrisonersDilemma()), "col", weight=2.0)
    >>> model.observe(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([1, 1]))
    >>> model.log_table().exp()
    tensor([[[0.2500, 0.7500]]], dtype=torch.float64)
    """

    def __init__(self, table: Table, agent: str, *, weight: float = 1.0) -> None:
        self.agent, self.number = agent, table.number(agent)
        self.states, self.actions = table.states, table.actions[self.number]
        prior = table.log_priors[self.number][0].exp()
        self.base = weight * prior.expand(table.horizon or 1, *prior.shape[1:])
        self.counts = self.base.clone()
        self.buffer: deque[Tensor] = deque()
        self.batches = 0

    def observe(self, times: Tensor, states: Tensor, actions: Tensor) -> None:
        """Put observed actions into the buffer: times, state numbers, action numbers, all (n,)."""
        size, n = self.actions.size, len(self.states)
        times = times if len(self.counts) > 1 else torch.zeros_like(times)
        cells = ((times * n + states) * size + actions).reshape(-1)
        self.buffer.append(cells)
        self.batches += 1
        self._add(cells, 1.0)
        if len(self.buffer) > max(1, self.batches // 2) and self.batches > 20:
            self._add(self.buffer.popleft(), -1.0)

    def observed(self) -> Tensor:
        """How often each action was seen, without the prior, (H|1, S, A)."""
        return (self.counts - self.base).clamp_min(0.0).round()

    def log_table(self) -> Tensor:
        """log ρ, (H|1, S, A)."""
        return (self.counts / self.counts.sum(-1, keepdim=True)).log()

    def __call__(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and the time."""
        now = torch.as_tensor(0 if t is None or len(self.counts) == 1 else t)
        sample_sites(self.actions, self.log_table()[now, self.states.index(state)])

    def _add(self, cells: Tensor, sign: float) -> None:
        ones = torch.full(cells.shape, sign, dtype=self.counts.dtype, device=self.counts.device)
        self.counts.view(-1).index_add_(0, cells, ones)
