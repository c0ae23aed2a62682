"""The step of a mean-field game as one of n real agents sees it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vsg_ppl.mean_field_table import Kernel, MeanFieldTable

ROOM = 1 << 20
"""Entries of a kernel that are computed at once, at most."""

LONG = 1024
"""Crowds that are looked at in one run, at most."""


class Among:
    """n agents who play a policy in a mean-field game; one of them may play another.

    The crowd that everybody sees is the empirical law of the states and actions of all n agents,
    the own included. A cell is the number of a state and an action, s A + a.

    Args:
        table: the game.
        policy: π_t(a|s), (H, S, A).
        crowd: the crowd of the mean field that the policy makes, L_t(s, a), (H, S, A).
        n: number of agents.

    Attributes:
        initial: the law of each agent's first state, (S,): μ_0, or the crowd at rest.
        available: whether an action is, (H, S, A).
        chunk: crowds in one run; always the same, for every length makes a tape of its own.
    """

    def __init__(self, table: MeanFieldTable, policy: Tensor, crowd: Tensor, n: int) -> None:
        self.table, self.policy, self.crowd, self.n = table, policy, crowd, n
        self.size = table.actions.size
        self.initial = crowd[0].sum(-1)
        self.available = (table.log_prior > -torch.inf).expand(table.times, -1, -1)
        kernel = table.kernel(crowd)
        self.fixed = None if table.moving else kernel
        alike = len(kernel.successors) == len(kernel.probabilities) == 1
        wide = 1 if alike else kernel.probabilities.shape[-1]
        self.chunk = 1
        if table.batched:
            self.chunk = max(1, min(LONG, ROOM // (len(table.states) * self.size * wide)))

    def joint(self, others: Tensor, cells: Tensor, own: Tensor | None = None) -> Tensor:
        """Empirical laws.

        Args:
            others: how many of the other agents are in each cell, (m, C).
            cells: which cells these are, (C,).
            own: the agent's own cell, (m,); ``None`` if it is among the others.

        Returns:
            (m, S, A).
        """
        m = len(others)
        law = others.new_zeros(m, len(self.table.states) * self.size)
        law[:, cells] = others / self.n
        if own is not None:
            law[torch.arange(m, device=law.device), own] += 1 / self.n
        return law.reshape(m, -1, self.size)

    def kernels(
        self, t: int, others: Tensor, cells: Tensor, rows: Tensor, own: Tensor
    ) -> Iterator[tuple[slice, Kernel]]:
        """The step at time t amid many empirical laws, some of them at a time.

        Args:
            t: the time.
            others: as in `joint`, (r, C).
            cells: as in `joint`.
            rows: which of these rows the others of each law are, (m,).
            own: the agent's own cell in each, (m,).

        Yields:
            which laws, and the kernel amid them.
        """
        for k in range(0, len(rows), self.chunk):
            few = slice(k, min(k + self.chunk, len(rows)))
            joint = self.joint(others[rows[few]], cells, own[few])
            yield few, self.amid(t, joint)

    def amid(self, t: int, joint: Tensor) -> Kernel:
        """The step at time t amid (m, S, A) laws."""
        parts = [self._amid(t, part) for part in joint.split(self.chunk)]
        if self.fixed is not None:
            return Kernel(torch.cat([part.rewards for part in parts]), *at(self.fixed, t))
        return Kernel(
            torch.cat([part.rewards for part in parts]),
            torch.cat([_whole(part, part.successors) for part in parts]),
            torch.cat([_whole(part, part.probabilities) for part in parts]),
        )

    def _amid(self, t: int, joint: Tensor) -> Kernel:
        m = len(joint)
        if m < self.chunk:
            joint = torch.cat([joint, joint[-1:].expand(self.chunk - m, -1, -1)])
        kernel = self.table.kernel(joint, (t,) * self.chunk)
        return Kernel(kernel.rewards[:m], kernel.successors[:m], kernel.probabilities[:m])

    def support(self) -> tuple[list[Tensor], list[Tensor]]:
        """Where the agent may be at each time whatever it does, and where the others may be.

        Returns:
            numbers of states, H of them each; where the crowd moves the next states all but at
            first, and the agent's own all without a horizon.
        """
        everything = torch.ones(len(self.table.states), dtype=torch.bool, device=self.table.device)
        first = self.initial > (0 if self.table.horizon is not None else 1e-12)
        own, others = [first], [first]
        if self.table.horizon is None:
            own, others = [everything], [everything]
            if self.fixed is not None:
                others = [self._closure(first)]
        for t in range(self.table.times - 1):
            own.append(self._after(t, own[-1], self.available[t]))
            others.append(self._after(t, others[-1], self.policy[t] > 0))
        return [x.nonzero()[:, 0] for x in own], [x.nonzero()[:, 0] for x in others]

    def _closure(self, where: Tensor) -> Tensor:
        while True:
            more = where | self._after(0, where, self.policy[0] > 0)
            if bool((more == where).all()):
                return where
            where = more

    def _after(self, t: int, where: Tensor, acts: Tensor) -> Tensor:
        """Where one may be after a step at time t."""
        if self.fixed is None:
            return torch.ones_like(where)
        numbers, law = at(self.fixed, t)
        law = law[0].expand(len(where), self.size, -1)
        may = (law > 0) & (acts & where[:, None])[..., None]
        after = torch.zeros_like(where)
        after[numbers[0].expand_as(law)[may]] = True
        return after


def _whole(kernel: Kernel, x: Tensor) -> Tensor:
    """Successors or probabilities for each of the crowds."""
    return x.expand(len(kernel.rewards), *x.shape[1:])


def at(kernel: Kernel, t: int) -> tuple[Tensor, Tensor]:
    """Successors and probabilities at one time of a kernel, (1, S, A|1, K)."""
    numbers, law = kernel.successors, kernel.probabilities
    return numbers[[t if len(numbers) > 1 else 0]], law[[t if len(law) > 1 else 0]]


def seen(kernel: Kernel, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards and next states of an agent that is in a state amid each of m crowds.

    Returns:
        rewards (m, A), successors and probabilities, both (m, A, K).
    """
    m = torch.arange(len(state), device=state.device)
    rewards = kernel.rewards[m, state]
    numbers, law = kernel.successors, kernel.probabilities
    # those that no crowd changes are there once
    numbers = numbers[m if len(numbers) > 1 else m * 0, state]
    law = law[m if len(law) > 1 else m * 0, state]
    shape = (*rewards.shape, max(numbers.shape[-1], law.shape[-1]))
    return rewards, numbers.expand(shape), law.expand(shape)


def dense(numbers: Tensor, law: Tensor, n: int) -> Tensor:
    """Laws over all n states, (..., n), of laws over successors, (..., K)."""
    shape = torch.broadcast_shapes(numbers.shape, law.shape)
    out = law.new_zeros(*shape[:-1], n)
    return out.scatter_add(-1, numbers.expand(shape), law.expand(shape))
