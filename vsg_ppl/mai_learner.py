"""One agent of MAI: its networks, and their losses as ELBOs of small Pyro programs (Eq. 8-10).

Every loss is `Trace_ELBO` of a model and a guide, both programs of one step:

    policy          x ~ uniform, factor exp(Q(s, x, o) / α)           x ~ π(· | s, o), o given
    opponent model  o ~ P(· | s), x ~ uniform, the same factor        o ~ ρ(· | s), x ~ π(· | s, o)
    prior           o ~ P(· | s), the actions that were seen          nothing
    critic          r ~ Normal(Q(s, x, o), 1), the rewards            nothing

The terms of o count α'/α times, so that the policy and the opponent model have temperatures of
their own. G learners run side by side, those of all plays and of all agents with actions of the
same sizes: every network is G networks in one product, and they share nothing.
"""

from __future__ import annotations

from math import log

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from vsg_ppl.guides.networks import spread, tanh_normal
from vsg_ppl.learner_networks import PENALTY, Networks, Plates, nothing
from vsg_ppl.replay import Replay
from vsg_ppl.training import Settings

RECENT = 512
"""Actions of the others that the prior is fitted to."""

EDGE = 1e-6
"""How near to −1 and 1 observed actions are let come: their density has no bound there."""


class Learner(Networks):
    """G agents with continuous actions in (−1, 1)^D.

    Args:
        groups: G.
        seen: how many numbers it observes.
        own: how many numbers its action has.
        others: how many numbers the others' actions have, all together; 0 for agents that do not
            model them and whose critic knows their own actions only.
        hidden: sizes of the hidden layers.
        learning_rate: of Adam, for all networks.
    """

    def __init__(
        self,
        groups: int,
        seen: int,
        own: int,
        others: int,
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
    ) -> None:
        self.own, self.others = own, others
        sizes = {"policy": (seen + others, *hidden, 2 * own)}
        if others:
            sizes["model"] = sizes["prior"] = (seen, *hidden, 2 * others)
        sizes["critic"] = (seen + own + others, *hidden, 1)
        super().__init__(groups, sizes, {"target": "critic"}, learning_rate=learning_rate)
        self.policy, self.critic = self.networks["policy"], self.networks["critic"]
        if others:
            self.model, self.prior = self.networks["model"], self.networks["prior"]

    def start(self, mean: float, scale: float) -> None:
        """Let policy and opponent model begin near one action, in (−1, 1)."""
        for network in (self.policy, self.model) if self.others else (self.policy,):
            with torch.no_grad():
                network.weights[-1].mul_(0.01)
                first, second = network.biases[-1].chunk(2, -1)
                first.fill_(torch.atanh(torch.tensor(mean)))
                second.fill_(torch.tensor(scale).log())

    def act(self, seen: Tensor) -> Tensor:
        """Actions (G, D): o ~ ρ, then x ~ π(· | s, o)."""
        with torch.no_grad():
            seen = seen[:, None]
            other = self.others_by_model(seen)
            action: Tensor = tanh_normal(self.policy(torch.cat([seen, other], -1))).sample()
        return action[:, 0]

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """The same: these policies are random enough."""
        return self.act(seen)

    def others_by_model(self, seen: Tensor) -> Tensor:
        """A draw o ~ ρ(· | s), (G, B, others)."""
        if not self.others:
            return seen[..., :0]
        other: Tensor = tanh_normal(self.model(seen)).sample()
        return other

    def prior_loss(self, seen: Tensor, other: Tensor) -> Tensor:
        """−log P(o | s) of what the others did lately."""
        other = other.clamp(-1 + EDGE, 1 - EDGE)

        def model() -> None:
            with Plates(seen):
                pyro.sample("other", tanh_normal(self.prior(seen)), obs=other)

        return self.loss(model, nothing, seen)

    def model_loss(self, seen: Tensor, temperature: float, model_temperature: float) -> Tensor:
        """ρ against what the others would best do for this agent, near what they did (Eq. 5).

        E[ α' log ρ(o) − α' log P(o) + α log π(x | o) − Q(x, o) ], o ~ ρ, x ~ π(· | o).
        """
        ratio = model_temperature / temperature

        def model() -> None:
            with Plates(seen):
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", tanh_normal(self.prior(seen)))
                self._act(seen, other, temperature)

        def guide() -> None:
            with Plates(seen):
                outputs = self.model(seen)
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", tanh_normal(outputs))
                pyro.sample("own", tanh_normal(self.policy(torch.cat([seen, other], -1))))
                self._penalty(outputs, temperature)

        return self.loss(model, guide, seen) * temperature

    def policy_loss(self, seen: Tensor, temperature: float) -> Tensor:
        """π against exp(Q / α), for what ρ expects of the others (Eq. 8, by Eq. 10).

        E[ α log π(x | o) − Q(x, o) ], o ~ ρ without gradient, x ~ π(· | o).
        """
        with torch.no_grad():
            other = self.others_by_model(seen)

        def model() -> None:
            with Plates(seen):
                self._act(seen, other, temperature)

        def guide() -> None:
            with Plates(seen):
                outputs = self.policy(torch.cat([seen, other], -1))
                pyro.sample("own", tanh_normal(outputs))
                self._penalty(outputs, temperature)

        return self.loss(model, guide, seen) * temperature

    def expected(self, seen: Tensor, entropy: float = 0.0) -> Tensor:
        """E [ Q̄(s, x, o) − α KL ] of the next step, by one draw, (G, B).

        Args:
            seen: at the next step.
            entropy: α; the divergence is that of x ~ π from even play, log π(x) + D log 2.
        """
        with torch.no_grad():
            other = self.others_by_model(seen)
            law = tanh_normal(self.policy(torch.cat([seen, other], -1)))
            own = law.sample()
            value = self.q(seen, own, other, target=True)
            if entropy:
                value = value - entropy * (law.log_prob(own) + self.own * log(2))
            return value

    def step(
        self, memory: Replay, settings: Settings, alpha: float, beta: float, entropy: float = 0.0
    ) -> None:
        """One step of every network.

        Args:
            memory: to draw from.
            settings: gamma, batch and follow.
            alpha: the policy's temperature.
            beta: the opponent model's.
            entropy: α inside the value of the next step; 0 leaves it out.
        """
        if self.others:
            lately = memory.last("seen", RECENT), memory.last("other", RECENT)
            self.improve("prior", lambda: self.prior_loss(*lately))
        drawn = memory.sample(settings.batch)
        seen, actions = drawn["seen"], (drawn["own"], drawn["other"][..., : self.others])
        if self.others:
            self.improve("model", lambda: self.model_loss(seen, alpha, beta))
        wanted = drawn["reward"][..., 0]
        if settings.gamma > 0:
            wanted = wanted + settings.gamma * self.expected(drawn["next"], entropy)
        self.improve("critic", lambda: self.critic_loss(seen, *actions, wanted=wanted))
        self.improve("policy", lambda: self.policy_loss(seen, alpha))
        if settings.gamma > 0:
            self.follow(settings.follow)

    def _act(self, seen: Tensor, other: Tensor, temperature: float) -> None:
        """The agent's own part of the model: an even prior and the factor of its optimality."""
        even = dist.Uniform(-1.0, 1.0, validate_args=False)
        own = pyro.sample("own", even.expand([self.own]).to_event(1))
        pyro.factor("optimal", self.q(seen, own, other) / temperature)

    def _penalty(self, outputs: Tensor, temperature: float) -> None:
        mean, log_scale = spread(outputs)
        off = (mean**2).mean(-1) + (log_scale**2).mean(-1)
        pyro.factor("penalty", PENALTY * off / temperature, has_rsample=True)
