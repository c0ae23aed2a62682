"""One step of SVI with the exact ELBO: loss and gradient; 10 states, two agents, 4 actions.

Peers: the same backward recursion written out by hand in plain torch, with everything that does
not depend on parameters computed beforehand; and Pyro's `TraceEnum_ELBO`, at five steps, because
it runs out of tensor dimensions near twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log

import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, faster, in_turn
from vsg_ppl.guides import TabularPolicy
from vsg_ppl.models import ArrayGame

STATES, ACTIONS, TEMPERATURE = 10, 4, 0.5
LONG, SHORT, CALLS = 100, 5, 20


class Problem:
    """A random game, the model and guide of its first agent, and the same by hand.

    The agent's policy and its opponent model have parameters; what the opponent does is given.
    """

    def __init__(self, horizon: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (STATES, ACTIONS, ACTIONS)
        self.rewards = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
        weights = torch.rand(*shape, STATES, generator=generator, dtype=torch.float64)
        self.transitions = weights / weights.sum(-1, keepdim=True)
        logits = torch.randn(3, horizon, STATES, ACTIONS, generator=generator, dtype=torch.float64)
        self.others = logits[2].softmax(-1)

        game = ArrayGame(self.rewards, self.transitions, horizon=horizon)
        table = vsg.tabulate(game)
        self.policy = TabularPolicy(table, "agent1", logits[0])
        self.opponent = TabularPolicy(table, "agent2", logits[1])
        others, opponents = {"agent2": self.others}, {"agent2": self.opponent}
        self.model = vsg.agent_model(game, "agent1", others, temperature=TEMPERATURE)
        self.guide = vsg.agent_guide(game, "agent1", self.policy, opponents)
        self.loss = vsg.MarkovELBO(table)

        self.parameters = [logits[0].clone().requires_grad_(), logits[1].clone().requires_grad_()]
        self.scaled = (self.rewards[0] / TEMPERATURE).flatten(1)  # (S, A A)
        self.flat = self.transitions.flatten(1, 2)  # (S, A A, S)
        self.log_others = self.others.log()

    def ours(self) -> float:
        return self.loss.loss_and_grads(self.model, self.guide)

    def by_hand(self) -> float:
        log_policy, log_opponent = (x.log_softmax(-1) for x in self.parameters)
        policy, opponent = log_policy.exp(), log_opponent.exp()
        joint = (policy[..., None] * opponent[:, :, None]).flatten(2)  # (H, S, A A)
        cost = (policy * log_policy).sum(-1) + log(ACTIONS)
        cost = cost + (opponent * (log_opponent - self.log_others)).sum(-1)
        stream = (joint * self.scaled).sum(-1) - cost
        law = (joint[:, :, None] @ self.flat)[:, :, 0]  # (H, S, S)
        value = stream[-1]
        for now, onward in zip(stream[:-1].unbind()[::-1], law[:-1].unbind()[::-1], strict=True):
            value = torch.addmv(now, onward, value)
        loss = -value.mean()
        loss.backward()
        return float(loss.detach())

    def enumerated(self) -> Callable[[], float]:
        elbo, guide = TraceEnum_ELBO(max_plate_nesting=0), config_enumerate(self.guide, "parallel")
        return lambda: elbo.loss_and_grads(self.model, guide)

    def gradients(self, run: Callable[[], float]) -> list[Tensor]:
        """The value and the gradients of one call."""
        leaves = [*self.policy.parameters(), *self.opponent.parameters(), *self.parameters]
        for leaf in leaves:
            leaf.grad = None
        value = torch.tensor(run(), dtype=torch.float64)
        return [value, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def rows(repeat: int) -> Iterator[Row]:
    long, short = Problem(LONG), Problem(SHORT)
    enumerated = short.enumerated()
    for problem, peers in ((long, [long.by_hand]), (short, [short.by_hand, enumerated])):
        expected = problem.gradients(problem.ours)
        for peer in peers:
            for x, y in zip(problem.gradients(peer), expected, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)

    def each(run: Callable[[], float], calls: int = CALLS) -> Callable[[], float]:
        return lambda: cpu(lambda: [run() for _ in range(calls)]) / calls

    runs = (long.ours, long.by_hand, short.ours, enumerated)
    ours, hand, brief, trace = in_turn(*map(each, runs), repeat=max(repeat, 5))
    yield faster(f"exact ELBO with gradient, T = {LONG}", ours, "by hand", hand, 1 / 3)
    name = f"TraceEnum_ELBO at T = {SHORT}"
    yield faster(f"  the same, T = {SHORT}", brief, name, trace, 10)
    yield faster(f"  the same, T = {LONG}", ours, name, trace, 10)
