"""n real agents whom the crowd moves: they are simulated with one who deviates among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.crowd_flow import backup, worth
from vsg_ppl.finite_estimate import Array, Averages, Estimate, Simulation, simplex
from vsg_ppl.finite_step import dense, seen
from vsg_ppl.mean_field_table import Kernel

Counted = NDArray[np.int64]

SEEN = 100
"""An average is taken over so many agents, at least."""


@dataclass(frozen=True)
class _Look:
    """What one agent meets at some time, in W worlds of M populations each.

    Attributes:
        others: how many others are in each cell, (W, M, S A).
        state: its state, (W, M).
        action: its action, (W, M).
        rewards: its reward, (W, M).
        numbers: its next states, (W, M, K).
        law: of these, (W, M, K).
    """

    others: Tensor
    state: Tensor
    action: Tensor
    rewards: Tensor
    numbers: Tensor
    law: Tensor


class _Sums:
    """Sums over agents in many crowds of what each meets, by state and action."""

    def __init__(self, sees: bool) -> None:
        self.sees = sees
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, kernel: Kernel, joint: Tensor) -> None:
        """Add crowds of laws (m, S, A), and the kernel amid them."""
        m, n, size = joint.shape
        mass = joint if self.sees else joint.sum(-1, keepdim=True)
        weights = (mass[..., None] * kernel.probabilities).expand(m, n, size, -1)
        row = torch.arange(n * size, device=joint.device).reshape(n, size, 1)
        index = (row * n + kernel.successors).expand(weights.shape)
        law = joint.new_zeros(n * size * n).index_add(0, index.flatten(), weights.flatten())
        rewards = (mass * kernel.rewards).sum(0)
        self.found.append((mass.sum(0), rewards, law.reshape(n, size, n)))

    def take(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of weights (S, A|1), rewards (S, A) and next states (S, A, S); begin anew."""
        visits, rewards, law = (torch.stack(x).sum(0) for x in zip(*self.found, strict=True))
        self.found = []
        return visits, rewards, law


class Moved(Simulation):
    """Simulates where the crowd moves the next states, over a finite horizon.

    A deviation is a best response to averages over crowds in which all play the policy: either of
    what those meet who are in a state, or of what an agent would meet that is put there. (The first
    knows what being there tells about the crowd, to one who has played the policy; the second
    supposes that it tells nothing.) Both neglect what a deviation does to the others. The one that
    gains more in some populations is taken.

    Its gain neglects nothing. It is measured in two worlds with the same chance as far as that is
    possible, in one of which an agent deviates from the start. What the agent gets at each step is
    compared with what the averages predict there; the predictions' expectation is known, so that
    only the difference is left to chance.
    """

    def estimate(self) -> Estimate:
        """A deviation from some populations, and its gain in others."""
        found = [(model, backup(self.table, model, 0.0)[0].exp()) for model in self._models()]
        gains = [float(self._gain(*one)[0].mean()) for one in found]
        model, deviation = found[int(np.argmax(gains))]
        gain, value = self._gain(model, deviation)
        return Estimate(gain, value, deviation)

    def _gain(self, model: Kernel, deviation: Tensor) -> tuple[Array, float]:
        """What a deviation gains in each of M new populations, and what the policy gets there.

        Args:
            model: mean rewards and next states, from which predictions are made.
            deviation: (H, S, A).
        """
        table = self.table
        both = torch.stack([deviation, self.among.policy])
        predicted = [worth(table, model, one) for one in both]
        q, values = (
            torch.stack(x) for x in zip(*predicted, strict=True)
        )  # (2, H, S, A), (2, H, S)
        gets = (values[:, 0] @ self.among.initial)[:, None].repeat(1, self.samples)
        world = torch.arange(2, device=q.device)[:, None]
        for t, look in enumerate(self._play(both)):
            found = look.rewards - q[world, t, look.state, look.action]
            if t + 1 < table.times:
                ahead = values[world[..., None], t + 1, look.numbers]
                found = found + table.discount * (look.law * ahead).sum(-1)
            gets += table.discount**t * found
        gain = np.asarray((gets[0] - gets[1]).cpu(), dtype=np.float64)
        return gain, float(gets[1].mean())

    def _models(self) -> list[Kernel]:
        """Mean rewards and next states of those in each state, and of one who is put there."""
        n, size = len(self.table.states), self.among.size
        sums, times = _Sums(self.sees), []
        for t, look in enumerate(self._play(self.among.policy[None], sums)):
            put = self._put(t, look.others[0], self.cells(t))
            visits, reward, law = sums.take()
            few = visits * self.among.n < SEEN  # (S, A|1)
            visits = visits.clamp_min(1e-300)
            reward = torch.where(few, put[0], reward / visits)
            law = torch.where(few[..., None], put[1], law / visits[..., None])
            times.append(((reward, law), put))
        everywhere = torch.arange(n, device=self.table.device).expand(1, n, size, n)
        return [
            Kernel(torch.stack([r for r, _ in one]), everywhere, torch.stack([p for _, p in one]))
            for one in zip(*times, strict=True)
        ]

    def _put(self, t: int, others: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Mean rewards (S, A) and next states (S, A, S) of an agent that is put into cells."""
        among, n = self.among, len(self.table.states)
        every = torch.arange(n * among.size, device=others.device)
        rows, own = self.looks(cells)
        rewards, laws = Averages(self), Averages(self)
        for few, kernel in among.kernels(t, others, every, rows, own):
            pay, numbers, law = seen(kernel, own[few] // among.size)
            ahead = dense(numbers, law, n)
            if self.sees:
                k, action = torch.arange(len(pay), device=own.device), own[few] % among.size
                pay, ahead = pay[k, action][:, None], ahead[k, action][:, None]
            rewards.add(own[few], pay)
            laws.add(own[few], ahead)
        return rewards.mean(), laws.mean()

    def _play(self, policies: Tensor, sums: _Sums | None = None) -> Iterator[_Look]:
        """Populations in which one agent plays its world's policy and the others play theirs.

        Args:
            policies: (W, H, S, A) for one world or two.
            sums: is told of every crowd at the time.

        Yields:
            what the one meets, time by time.
        """
        among, random, m, worlds = self.among, self.random, self.samples, len(policies)
        device, batch = among.initial.device, max(1, among.chunk // worlds)
        places = random.multinomial(among.n - 1, simplex(among.initial), m)
        places = np.repeat(places[None], worlds, 0)
        chance = torch.tensor(random.random((1 + 2 * self.table.times, m)), device=device)
        state = pick(among.initial.expand(worlds, m, -1), chance[0])
        for t in range(self.table.times):
            acts = draw_alike(random, places, simplex(among.policy[t]))  # (W, M, S, A)
            world = torch.arange(worlds, device=device)[:, None]
            action = pick(policies[world, t, state], chance[1 + 2 * t])
            looks, nexts = [], []
            for few in (slice(k, k + batch) for k in range(0, m, batch)):
                kernel, joint, look = self._look(t, acts[:, few], state[:, few], action[:, few])
                looks.append(look)
                if sums is not None:
                    sums.add(kernel, joint)
                if t + 1 < self.table.times:
                    nexts.append(self._move(kernel, acts[:, few]))
            whole = _join(looks)
            yield whole
            if nexts:
                places = np.concatenate(nexts, 1)
                k = pick(whole.law, chance[2 + 2 * t])
                state = whole.numbers.gather(2, k[..., None])[..., 0]

    def _look(
        self, t: int, acts: Counted, state: Tensor, action: Tensor
    ) -> tuple[Kernel, Tensor, _Look]:
        """The kernel amid some populations, their law, and what the agent meets there."""
        among, (worlds, m) = self.among, state.shape
        others = torch.tensor(acts.reshape(worlds * m, -1), dtype=torch.float64)
        others = others.to(state.device)
        every = torch.arange(others.shape[1], device=state.device)
        own = (state * among.size + action).flatten()
        joint = among.joint(others, every, own)
        kernel = among.amid(t, joint)
        rewards, numbers, law = seen(kernel, own // among.size)
        k, a = torch.arange(worlds * m, device=state.device), own % among.size
        return (
            kernel,
            joint,
            _Look(
                others.reshape(worlds, m, -1),
                state,
                action,
                rewards[k, a].reshape(worlds, m),
                numbers[k, a].reshape(worlds, m, -1),
                law[k, a].reshape(worlds, m, -1),
            ),
        )

    def _move(self, kernel: Kernel, acts: Counted) -> Counted:
        """Where the others of some populations are next, (W, m, S)."""
        worlds, m, n, size = acts.shape
        numbers, law = kernel.successors, kernel.probabilities
        shape = (worlds * m, n, size, max(numbers.shape[-1], law.shape[-1]))
        chances = simplex(law.expand(shape)).reshape(worlds, m, n, size, -1)
        drawn = torch.tensor(draw_alike(self.random, acts, chances)).reshape(worlds * m, -1)
        where = numbers.expand(shape).reshape(worlds * m, -1).cpu()
        after = torch.zeros(worlds * m, n, dtype=torch.long).scatter_add(1, where, drawn)
        return np.asarray(after.reshape(worlds, m, n), dtype=np.int64)


def draw_alike(random: np.random.Generator, counts: Counted, laws: Array) -> Counted:
    """Let each of many groups choose independently, as alike in two worlds as can be.

    Who is in both worlds chooses the same in both with the greatest possible probability.

    Args:
        random: generator.
        counts: sizes of the groups, (W, ...), in one world or two.
        laws: of each one's choice, (W|-, ..., K).

    Returns:
        how many choose what, (W, ..., K).

    >>> draw_alike(np.random.default_rng(0), np.array([[9], [9]]), np.array([0.5, 0.5]))
    array([[[5, 4]],
    <BLANKLINE>
           [[5, 4]]])
    """
    if len(counts) == 1:
        return random.multinomial(counts, laws)
    laws = np.broadcast_to(laws, (*counts.shape, laws.shape[-1]))
    common = laws.min(0)
    rest = (1 - common.sum(-1, keepdims=True)).clip(0)
    drawn = random.multinomial(counts.min(0), np.concatenate([common, rest], -1))
    some = rest > 1e-14
    apart = np.where(some, (laws - common) / np.where(some, rest, 1), laws)
    apart /= apart.sum(-1, keepdims=True)
    return np.asarray(
        drawn[..., :-1]
        + random.multinomial(np.broadcast_to(drawn[..., -1], counts.shape), apart)
        + random.multinomial(counts - counts.min(0), laws)
    )


def pick(law: Tensor, chance: Tensor) -> Tensor:
    """The choices (W, M) that uniform numbers (M,) make from laws (W, M, K)."""
    edges = law.cumsum(-1)
    last = law.shape[-1] - 1 - (law.flip(-1) > 0).double().argmax(-1)  # the last possible choice
    return (edges <= chance[..., None] * edges[..., -1:]).sum(-1).minimum(last)


def _join(looks: list[_Look]) -> _Look:
    return _Look(*(torch.cat([vars(look)[name] for look in looks], 1) for name in vars(looks[0])))
