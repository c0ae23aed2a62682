"""The game of n real agents, exactly: over an agent's own state and how many others are in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from vsg_ppl.counts import Counts, rank, ways
from vsg_ppl.errors import GameError
from vsg_ppl.finite_step import Among, at, dense, seen

SPREADS = 1 << 23
"""Probabilities of counts that are computed at once, at most."""

SETTLED = 1e-12
"""Error of the values of a game without a horizon, relative."""

SWEEPS = 200_000
"""Sweeps of value iteration after which it is taken not to settle."""


@dataclass(frozen=True)
class Values:
    """What an agent gets among n − 1 others who play the policy.

    Attributes:
        best: by the best response that sees its own state and how many others are in each state.
        own: by the policy.
        blind: by ``deviation``.
        deviation: a response that sees its own state and the time only, (H, S, A).
    """

    best: float
    own: float
    blind: float
    deviation: Tensor


@dataclass(frozen=True)
class _Part:
    """Some pairs of the others' counts and the agent's own cell, at one time.

    Attributes:
        counts: number of the others' counts by state, (m,).
        state: the agent's own state, counted among those where it may be, (m,).
        action: its own action, (m,); ``None`` where one row is for all actions.
        weight: probability of the others' actions given their states, (m,).
        rewards: (m, A) or (m, 1).
        own: law of the own next state, (m, A|1, R'); ``None`` where the crowd moves nobody.
        spread: law of the others' next counts, (C', m); ``None`` likewise.
    """

    counts: Tensor
    state: Tensor
    action: Tensor | None
    weight: Tensor
    rewards: Tensor
    own: Tensor | None = None
    spread: Tensor | None = None


class Exact:
    """The exact game of n agents.

    Attributes:
        configurations: the most ways, at any time, in which the others are in states, or in states
            and actions if the step sees actions.
        work: about how many numbers are computed.
    """

    def __init__(self, among: Among) -> None:
        self.among, self.table = among, among.table
        self.own, self.others = among.support()
        self.cells = [self._cells(t) for t in range(self.table.times)]
        self.mine = [self._mine(t) for t in range(self.table.times)]
        self._estimate()

    def solve(self) -> Values:
        """The values of both responses and of the policy."""
        self.counts = [Counts(self.among.n - 1, len(s), s.device) for s in self.others]
        self.weights = self._weights()
        return self._endless() if self.table.horizon is None else self._backwards()

    def _estimate(self) -> None:
        n, table = self.among.n, self.table
        spread = [ways(n - 1, len(states)) for states in self.others]
        acting = [ways(n - 1, len(cells)) for cells in self.cells]
        self.configurations = max(*spread, *acting)
        self.work, wide = 0, len(table.states) * self.among.size
        moved = self.among.fixed is None
        for t in range(table.times):
            pairs = acting[t] * len(self.mine[t])
            many = pairs if moved else spread[t]
            self.work += pairs * wide
            if table.horizon is None:  # 20 products of a matrix cost as much as one other number
                sweeps = log(SETTLED * (1 - table.discount)) / log(max(table.discount, 1e-3))
                self.work += many * spread[t] * (n + int(sweeps) * len(self.own[t]) * 3 // 20)
            elif t + 1 < table.times:
                own = len(self.own[t + 1]) * 3 // 20
                self.work += many * spread[t + 1] * (1 + moved) * (n + own)

    def _cells(self, t: int) -> Tensor:
        """Where the others may be, as cells; with what they may do there, if the step sees it."""
        states, size = self.others[t], self.among.size
        if not self.table.sees_actions:
            return states * size
        k, action = (self.among.policy[t][states] > 0).nonzero().unbind(1)
        return states[k] * size + action

    def _mine(self, t: int) -> Tensor:
        """The same for the agent itself, which may do whatever is available."""
        states, size = self.own[t], self.among.size
        if not self.table.sees_actions:
            return states * size
        k, action = self.among.available[t][states].nonzero().unbind(1)
        return states[k] * size + action

    def _weights(self) -> list[Tensor]:
        """The law of the others' counts in the eyes of an agent in each state, (C, R) at all times.

        That of one who plays the policy, as do the others; without a horizon, where all begin.
        """
        times = range(self.table.times)
        alone = [self._independent(t)[:, None].expand(-1, len(self.own[t])) for t in times]
        if self.among.fixed is not None or self.table.horizon is None:
            return alone
        law = alone[0] * self.among.initial[self.own[0]]
        found = [alone[0]]
        for t in times[1:]:
            policy = self.among.policy[t - 1][self.own[t - 1]]
            after = torch.zeros_like(alone[t])
            for part in self._parts(t - 1, t):
                assert part.own is not None and part.spread is not None
                mass = (part.weight * law[part.counts, part.state])[:, None]
                if part.action is None:
                    mass = mass * policy[part.state]
                else:
                    mass = mass * policy[part.state, part.action][:, None]
                after += part.spread @ (mass[..., None] * part.own).sum(1)
            law = after
            there = law.sum(0)
            found.append(torch.where(there > 0, law / there.clamp_min(1e-300), alone[t]))
        return found

    def _independent(self, t: int) -> Tensor:
        """The law of the others' counts if each is where the mean field says, (C,)."""
        law = self.among.crowd[t].sum(-1)[self.others[t]]
        law = (law / law.sum()).expand(1, self.among.n - 1, -1)
        return self.counts[t].spread(law)[:, 0]

    def _parts(self, t: int, after: int | None) -> Iterator[_Part]:
        """All that the kernel says at time t, which time ``after`` follows."""
        among, cells, mine = self.among, self.cells[t], self.mine[t]
        moved = after if among.fixed is None else None
        groups, counts, weight = self._configurations(t)
        pairs = torch.arange(len(groups) * len(mine), device=cells.device)
        number = torch.full((len(self.table.states),), -1, device=cells.device)
        number[self.own[t]] = torch.arange(len(self.own[t]), device=cells.device)
        stream = among.kernels(
            t, groups.double(), cells, pairs // len(mine), mine[pairs % len(mine)]
        )
        for few, kernel in stream:
            row, cell = pairs[few] // len(mine), mine[pairs[few] % len(mine)]
            state, action = cell // among.size, cell % among.size
            rewards, numbers, law = seen(kernel, state)
            own = spread = None
            if moved is not None:
                own = dense(numbers, law, len(self.table.states))[..., self.own[moved]]
                law = dense(kernel.successors, kernel.probabilities, len(self.table.states))
                theirs = self._theirs(t, law)
                spread = self._spread(groups[row], theirs[..., self.others[moved]], moved)
            if self.table.sees_actions:
                rewards = rewards.gather(1, action[:, None])
                if own is not None:
                    own = own[torch.arange(len(own), device=own.device), action][:, None]
            yield _Part(
                counts[row],
                number[state],
                action if self.table.sees_actions else None,
                weight[row],
                rewards,
                own,
                spread,
            )

    def _theirs(self, t: int, law: Tensor) -> Tensor:
        """The law of the next state of one of the others in each cell, (m, C, S)."""
        cells, size = self.cells[t], self.among.size
        law = law.expand(-1, -1, size, -1)
        if self.table.sees_actions:
            return law[:, cells // size, cells % size]
        policy = self.among.policy[t][cells // size]
        return (law[:, cells // size] * policy[..., None]).sum(2)

    def _spread(self, groups: Tensor, theirs: Tensor, after: int) -> Tensor:
        """The law of the others' next counts, (C', m).

        Args:
            groups: how many are in each cell now, (m, C).
            theirs: where each goes from there, (m|1, C, R').
            after: the next time.
        """
        m, cells = groups.shape
        kinds = torch.arange(cells, device=groups.device).repeat(m)
        who = kinds.repeat_interleave(groups.reshape(-1))
        who = who.reshape(m, self.among.n - 1)  # the cell of each agent
        theirs = theirs.expand(m, -1, -1)
        counts = self.counts[after]
        rows = torch.arange(m, device=who.device)
        return torch.cat(
            [
                counts.spread(theirs[few[:, None], who[few]])
                for few in rows.split(max(1, SPREADS // max(1, len(counts))))
            ],
            1,
        )

    def _configurations(self, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """All ways in which the others are in cells.

        Returns:
            how many are in each cell, (M, C); number of the counts by state, (M,); how likely they
            act so given these, (M,).
        """
        cells, rows = self.cells[t], self.counts[t].rows
        if not self.table.sees_actions:
            number = torch.arange(len(rows), device=rows.device)
            return rows, number, torch.ones_like(number, dtype=torch.float64)
        groups = Counts(self.among.n - 1, len(cells), cells.device).rows
        place = torch.searchsorted(self.others[t], cells // self.among.size)
        states = torch.zeros(len(groups), len(self.others[t]), dtype=torch.long).to(groups)
        states.index_add_(1, place, groups)
        logs = self.among.policy[t].reshape(-1)[cells].log()
        many = (states + 1).double().lgamma().sum(1) - (groups + 1).double().lgamma().sum(1)
        return groups, rank(states), (many + (groups * logs).sum(1)).exp()

    def _worth(self, t: int, ahead: Tensor | None, parts: Iterator[_Part]) -> Tensor:
        """Q of each response in each state of the game, (C, 3, R, A).

        Args:
            t: the time.
            ahead: V at the next, (C', 3, R'), if there is one.
            parts: of time t.
        """
        states, size = len(self.own[t]), self.among.size
        q = torch.zeros(len(self.counts[t]), states, size, 3, dtype=torch.float64)
        q = q.to(self.table.device)
        for part in parts:
            worth = part.rewards[..., None].expand(-1, -1, 3)
            if ahead is not None and part.own is not None and part.spread is not None:
                next_ = (part.spread.T @ ahead.flatten(1)).reshape(len(worth), 3, -1)
                worth = worth + self.table.discount * torch.einsum("mar,mkr->mak", part.own, next_)
            worth = worth * part.weight[:, None, None]
            if part.action is None:
                q.index_put_((part.counts, part.state), worth, accumulate=True)
            else:
                where = (part.counts, part.state, part.action)
                q.index_put_(where, worth[:, 0], accumulate=True)
        return q.movedim(-1, 1)

    def _drift(self, t: int, after: int) -> tuple[Tensor, Tensor]:
        """Where all go if no crowd moves anybody.

        Returns:
            the law of the others' next counts, (C', C), and of the own next state, (R, A, R').
        """
        assert self.among.fixed is not None
        numbers, law = at(self.among.fixed, t)
        flat = dense(numbers, law, len(self.table.states)).expand(-1, -1, self.among.size, -1)
        policy = self.among.policy[t][self.others[t]]
        theirs = (flat[0, self.others[t]] * policy[..., None]).sum(1)[:, self.others[after]]
        own = flat[0, self.own[t]][..., self.own[after]]
        return self._spread(self.counts[t].rows, theirs[None], after), own

    def _best(self, t: int, q: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """V of each response, (C, 3, R), and the actions of the one that sees no counts, (R,)."""
        states = self.own[t]
        available = self.among.available[t][states]
        best = q[:, 0].masked_fill(~available, -torch.inf).amax(-1)
        own = (q[:, 1] * self.among.policy[t][states]).sum(-1)
        if chosen is None:
            average = torch.einsum("cr,cra->ra", self.weights[t], q[:, 2])
            chosen = average.masked_fill(~available, -torch.inf).argmax(-1)
        blind = q[:, 2].gather(-1, chosen.expand(len(q), -1)[..., None])[..., 0]
        return torch.stack([best, own, blind], 1), chosen

    def _backwards(self) -> Values:
        """Backward induction."""
        deviation, ahead = self.among.policy.clone(), None
        for t in reversed(range(self.table.times)):
            after = t + 1 if ahead is not None else None
            q = self._worth(t, ahead, self._parts(t, after))
            if ahead is not None and self.among.fixed is not None:
                q = q + self.table.discount * self._further(self._drift(t, t + 1), ahead)
            ahead, chosen = self._best(t, q)
            deviation[t, self.own[t]] = _sure(chosen, self.among.size)
        assert ahead is not None
        return self._values(ahead, deviation)

    def _endless(self) -> Values:
        """Value iteration; once it has settled, the response that sees no counts stays as it is."""
        parts = list(self._parts(0, 0))
        drift = None if self.among.fixed is None else self._drift(0, 0)
        rewards = self._worth(0, None, iter(parts))
        shape = (len(self.counts[0]), 3, len(self.own[0]))
        value = torch.zeros(shape, dtype=torch.float64, device=self.table.device)
        fixed: Tensor | None = None
        allowed = SETTLED * (1 - self.table.discount)
        for _ in range(SWEEPS):
            if drift is None:
                q = self._worth(0, value, iter(parts))
            else:
                q = rewards + self.table.discount * self._further(drift, value)
            improved, chosen = self._best(0, q, fixed)
            change = (improved - value).abs().amax((0, 2))
            value = improved
            limit = allowed * (1 + float(value.abs().amax()))
            if float(change[:2].amax()) <= limit:
                if fixed is not None and float(change[2]) <= limit:
                    deviation = self.among.policy.clone()
                    deviation[0, self.own[0]] = _sure(fixed, self.among.size)
                    return self._values(value, deviation)
                fixed = chosen
        raise GameError(
            f"the values of {self.table.name} among {self.among.n} agents do not settle within "
            f"{SWEEPS:,} sweeps",
            hint="a smaller discount, or a horizon.",
        )

    def _further(self, drift: tuple[Tensor, Tensor], ahead: Tensor) -> Tensor:
        """E[ V(s', c') | s, a, c ], (C, 3, R, A)."""
        spread, own = drift
        found = (spread.T @ ahead.flatten(1)).reshape(spread.shape[1], 3, -1)
        return torch.einsum("raj,ckj->ckra", own, found)

    def _values(self, first: Tensor, deviation: Tensor) -> Values:
        law = self.among.initial[self.own[0]]
        worth = torch.einsum("cr,ckr,r->k", self.weights[0], first, law)
        best, own, blind = worth.tolist()
        if blind < own:
            blind, deviation = own, self.among.policy
        return Values(best, own, blind, deviation)


def _sure(chosen: Tensor, size: int) -> Tensor:
    """The policy that takes these actions, (R, A)."""
    return torch.nn.functional.one_hot(chosen, size).double()
