"""n real agents whom no crowd moves: what a deviation gains is linear in the rewards' means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.crowd_flow import backup, push, worth
from vsg_ppl.finite_estimate import Averages, Estimate, Simulation, simplex
from vsg_ppl.finite_step import at, dense, seen
from vsg_ppl.mean_field_table import Kernel


@dataclass(frozen=True)
class _Others:
    """The others at some time.

    Attributes:
        t: the time.
        cells: where they may be; in states without actions if the step sees none, (C,).
        law: of each one's cell, (C,).
    """

    t: int
    cells: Tensor
    law: Tensor


class Unmoved(Simulation):
    """Simulates where the crowd moves the rewards only.

    Then the others are independent of the agent, and at every time their states and actions are
    n − 1 independent draws from the mean field's law L. So to an agent that sees its own state and
    the time (or its past: it tells nothing about the others) only the means of the rewards over
    these draws matter, r_t(s, a). Its best response is a best response to them. What that gains is
    the sum of r_t(s, a) times how much more often it is there.

    Where many are, one crowd of all n tells about every cell at once: the mean of a reward in a
    cell amid n − 1 others and oneself is its mean amid n agents weighted with the number c of those
    in the cell, c / (n L(s, a)). Where hardly anybody is, the agent is put.

    What is linear in the crowd has a known mean. So from each reward its linear part amid the
    expected crowd is taken, and little is left to chance if there are many agents.
    """

    def estimate(self) -> Estimate:
        """A deviation from some populations, and its gain in others."""
        among, table = self.among, self.table
        assert among.fixed is not None
        rewards = torch.stack([self._rewards(self._others(t)) for t in range(table.times)])
        model = Kernel(rewards, among.fixed.successors, among.fixed.probabilities)
        deviation = backup(table, model, 0.0)[0].exp()
        _, own = worth(table, model, among.policy)
        more = self._visits(model, deviation) - self._visits(model, among.policy)
        gain = (more * rewards).sum().repeat(self.samples)
        for t in range(table.times):
            if float(more[t].abs().sum()) > 0:
                gain += self._residuals(self._others(t), more[t], rewards[t])
        return Estimate(np.asarray(gain.cpu()), float(among.initial @ own[0]), deviation)

    def _others(self, t: int) -> _Others:
        law = self.among.crowd[t] if self.sees else self.among.crowd[t].sum(-1)
        law = (law / law.sum()).reshape(-1)
        cells = (law > 0).nonzero()[:, 0]
        return _Others(t, cells if self.sees else cells * self.among.size, law[cells])

    def _draw(self, others: _Others, agents: int) -> Tensor:
        """Numbers of agents in each cell, (M, C)."""
        drawn = self.random.multinomial(agents, simplex(others.law), self.samples)
        return torch.tensor(drawn, dtype=torch.float64, device=others.law.device)

    def _entries(self, others: _Others) -> tuple[Tensor, Tensor]:
        """States and actions in whose cells many are; and own cells in which hardly anybody is."""
        among, size = self.among, self.among.size
        crowded = torch.zeros(len(self.table.states) * size, dtype=torch.bool)
        crowded = crowded.to(others.cells.device)
        crowded[others.cells[among.n * others.law >= 1]] = True
        cells = self.cells(others.t)
        many = cells[crowded[cells]]
        if not self.sees:
            many = (many[:, None] + torch.arange(size, device=many.device)).flatten()
            many = many[among.available[others.t].flatten()[many]]
        return many, cells[~crowded[cells]]

    def _rewards(self, others: _Others) -> Tensor:
        """The means of r_t(s, a), (S, A)."""
        size = self.among.size
        many, lonely = self._entries(others)
        means = torch.zeros(len(self.table.states), size).to(others.law)
        if len(lonely):
            means = self._lonely(others, lonely)
        if len(many):
            values, slopes = self._tangents(others, many)
            apart = self._weighted(others, many, values, slopes)
            total = torch.stack([some.sum(0) for some in apart]).sum(0)
            means.view(-1)[many] = values + total / self.samples
        return means

    def _lonely(self, others: _Others, cells: Tensor) -> Tensor:
        """The means of rewards in cells where hardly anybody is, (S, A)."""
        among, size = self.among, self.among.size
        rows, own = self.looks(cells)
        crowds = self._draw(others, among.n - 1)
        apart = crowds - (among.n - 1) * others.law
        places, back = own.unique(return_inverse=True)
        wide = 1 if self.sees else size
        slopes = torch.stack([self._tangents(others, places + a)[1] for a in range(wide)], 1)
        found = Averages(self)
        for few, kernel in among.kernels(others.t, crowds, others.cells, rows, own):
            pays = seen(kernel, own[few] // size)[0]
            pays = pays.gather(1, own[few, None] % size) if self.sees else pays
            linear = (slopes[back[few]] @ apart[rows[few], :, None])[..., 0]
            found.add(own[few], pays - linear)
        return found.mean()

    def _residuals(self, others: _Others, more: Tensor, rewards: Tensor) -> Tensor:
        """Estimates of Σ more(s, a) (r_t(s, a) − rewards(s, a)) without bias, (M,)."""
        among, size = self.among, self.among.size
        many, _ = self._entries(others)
        many = many[more.flatten()[many] != 0]
        gain = torch.zeros(self.samples).to(more)
        if len(many):
            slopes = self._tangents(others, many)[1]
            found = self._weighted(others, many, rewards.flatten()[many], slopes)
            gain = torch.cat([some @ more.flatten()[many] for some in found])
        lonely = more.flatten().clone()
        lonely[many] = 0.0
        edges = lonely.abs().cumsum(0)
        if float(edges[-1]) == 0:
            return gain
        # each population is seen from one lonely cell, drawn in proportion to |more|
        levels = torch.tensor(self.random.random(self.samples)).to(edges) * edges[-1]
        chosen = torch.searchsorted(edges, levels, right=True).minimum(lonely.nonzero()[-1])
        crowds, rows = self._draw(others, among.n - 1), torch.arange(self.samples).to(chosen)
        pays = []
        for few, kernel in among.kernels(others.t, crowds, others.cells, rows, chosen):
            pay = seen(kernel, chosen[few] // size)[0]
            pays.append(pay.gather(1, chosen[few, None] % size)[:, 0])
        places, back = chosen.unique(return_inverse=True)
        slopes = self._tangents(others, places)[1][back]
        linear = (slopes * (crowds - (among.n - 1) * others.law)).sum(1)
        apart = torch.cat(pays) - linear - rewards.flatten()[chosen]
        return gain + edges[-1] * lonely[chosen].sign() * apart

    def _weighted(
        self, others: _Others, entries: Tensor, values: Tensor, slopes: Tensor
    ) -> Iterator[Tensor]:
        """How far rewards r(s, a) are above given values in crowds of n agents.

        Weighted so that the mean over crowds is the mean to an agent that is in that cell.

        Args:
            others: at some time.
            entries: numbers of states and actions (s, a), (m,).
            values: (m,).
            slopes: of the linear part that is left out, (m, C).

        Yields:
            (·, m), M rows together.
        """
        among, size = self.among, self.among.size
        rows = entries if self.sees else entries // size * size
        column = torch.searchsorted(others.cells, rows)
        # amid the crowd that is expected by somebody in the cell
        expected = (among.n - 1) * (slopes @ others.law) + slopes.gather(1, column[:, None])[:, 0]
        for crowds in self._draw(others, among.n).split(among.chunk):
            kernel = among.amid(others.t, among.joint(crowds, others.cells))
            apart = kernel.rewards.flatten(1)[:, entries] - values - (crowds @ slopes.T - expected)
            yield apart * crowds[:, column] / (among.n * others.law[column])

    def _tangents(self, others: _Others, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards r(s, a), and how they change with one more agent in a cell.

        It is amid the crowd expected by somebody in that cell. Whatever slopes are left out, they
        bias nothing, so those that are not finite count as 0.

        Args:
            others: at some time.
            entries: numbers of states and actions, (m,).

        Returns:
            (m,) and (m, C).
        """
        among, size = self.among, self.among.size
        values, slopes = [], []
        for few in entries.split(among.chunk):
            mean = ((among.n - 1) * others.law).expand(len(few), -1)
            own = few if self.sees else few // size * size
            with torch.enable_grad():
                joint = among.joint(mean, others.cells, own).requires_grad_()
                kernel = among.amid(others.t, joint)
                k = torch.arange(len(few), device=few.device)
                value = kernel.rewards[k, few // size, few % size]
                slope = torch.zeros_like(joint)
                if value.requires_grad:
                    slope = torch.autograd.grad(value.sum(), joint)[0]
            values.append(value.detach())
            slope = slope.flatten(1)[:, others.cells] / among.n
            slopes.append(slope.nan_to_num(0.0, 0.0, 0.0))
        return torch.cat(values), torch.cat(slopes)

    def _visits(self, model: Kernel, policy: Tensor) -> Tensor:
        """Expected discounted visits of the agent to states and actions, (H, S, A)."""
        table, law = self.table, self.among.initial
        if table.horizon is None:
            ahead = dense(*at(model, 0), len(law))[0].expand(-1, self.among.size, -1)
            matrix = (ahead * policy[0][..., None]).sum(1)
            eye = torch.eye(len(law), dtype=law.dtype, device=law.device)
            often: Tensor = torch.linalg.solve((eye - table.discount * matrix).T, law)
            return often[None, :, None] * policy
        visits = []
        for t in range(table.times):
            joint = law[:, None] * policy[t]
            visits.append(table.discount**t * joint)
            law = push(Kernel(model.rewards, *at(model, t)), 0, joint)
        return torch.stack(visits)
