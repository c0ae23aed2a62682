"""Agents of MAI: their networks, and their losses as ELBOs of small Pyro programs (Eq. 8-10).

Every loss is `Trace_ELBO` of a model and a guide, both programs of one step:

    policy          x ~ even, factor exp(Q(s, x, o) / α)              x ~ π(· | s, o), o given
    opponent model  o ~ P(· | s), x ~ even, the same factor           o ~ ρ(· | s), x ~ π(· | s, o)
    prior           o ~ P(· | s), the actions that were seen          nothing
    critic          r ~ Normal(Q(s, x, o), 1), the rewards            nothing

The terms of o count α'/α times, so that the policy and the opponent model have temperatures of
their own. G learners run side by side, those of all plays and of all agents with actions of the
same shapes: every network is G networks in one product, and they share nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from vsg_ppl.guides.actions import Shape, even_law, spread, squashed_normal
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learner_networks import PENALTY, Networks, Plates, nothing
from vsg_ppl.replay import RECENT, Replay
from vsg_ppl.settings import Schedule, Settings

SLOW = {"target": "critic", "their target": "their critic"}
"""Copies, and what they follow."""


@dataclass(frozen=True)
class Plan:
    """How learners learn.

    Attributes:
        settings: gamma, batch and follow.
        alpha: the policy's temperature by episode.
        beta: the opponent model's.
        entropy: whether the value of the next step counts the policy's divergence from even play.
        model_entropy: the same of the opponent model's from its prior.
    """

    settings: Settings
    alpha: Schedule
    beta: Schedule
    entropy: bool = False
    model_entropy: bool = False


class Learner(Networks):
    """G agents that choose bounded numbers or shares.

    Args:
        groups: G.
        seen: how many numbers it observes.
        own: shape of its action.
        others: shapes of the others' actions; none for agents that do not model them and whose
            critic knows their own actions only.
        hidden: sizes of the hidden layers.
        learning_rate: of Adam, for all networks.
        leak: of rectifiers, their slope below zero.
        conditional: whether the policy answers what the opponent model says, π(x | s, o), or does
            not know it, π(x | s).
        plan: how they learn; not needed for anything else.
        device: where networks are.
    """

    def __init__(
        self,
        groups: int,
        seen: int,
        own: Shape,
        others: Sequence[Shape],
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
        conditional: bool = True,
        plan: Plan | None = None,
        leak: float = LEAK,
        device: str = "cpu",
    ) -> None:
        self.plan = plan
        self.own, self.others, self.conditional = own, tuple(others), conditional
        self.width, free = sum(shape.width for shape in others), sum(s.free for s in others)
        sizes = self._sizes(seen, free, hidden)
        slow = {name: source for name, source in SLOW.items() if source in sizes}
        super().__init__(groups, sizes, slow, learning_rate=learning_rate, leak=leak, device=device)
        self.policy, self.critic = self.networks["policy"], self.networks["critic"]
        if "prior" in sizes:
            self.prior = self.networks["prior"]
            self.model = self.networks.get("model", self.prior)

    def _sizes(self, seen: int, free: int, hidden: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        heard = self.width if self.conditional else 0
        sizes = {"policy": (seen + heard, *hidden, 2 * self.own.free)}
        if self.others:
            sizes["model"] = sizes["prior"] = (seen, *hidden, 2 * free)
        sizes["critic"] = (seen + self.own.width + self.width, *hidden, 1)
        return sizes

    def start(self, mean: float, scale: float) -> None:
        """Let policy and opponent model begin near one action, in (−1, 1)."""
        for network in (self.policy, self.model) if "model" in self.networks else (self.policy,):
            with torch.no_grad():
                network.weights[-1].mul_(0.01)
                first, second = network.biases[-1].chunk(2, -1)
                first.fill_(torch.atanh(torch.tensor(mean)))
                second.fill_(torch.tensor(scale).log())

    def act(self, seen: Tensor) -> Tensor:
        """Actions (G, B, width): o ~ ρ, then x ~ π(· | s, o)."""
        with torch.no_grad():
            other = self.others_by_model(seen) if self.conditional else seen[..., :0]
            action: Tensor = self.answer(seen, other).sample()
        return action

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """The same: these policies are random enough."""
        return self.act(seen)

    def answer(self, seen: Tensor, other: Tensor) -> Any:
        """The law π(· | s, o), or π(· | s)."""
        return squashed_normal(self._outputs(seen, other), [self.own])

    def theirs(self, outputs: Tensor) -> Any:
        """The law of the others' actions that a network's outputs stand for."""
        return squashed_normal(outputs, self.others)

    def others_by_model(self, seen: Tensor) -> Tensor:
        """A draw o ~ ρ(· | s), (G, B, others)."""
        if not self.others:
            return seen[..., :0]
        with torch.no_grad():
            other: Tensor = self.theirs(self.model(seen)).sample()
        return other

    def imagined(self, seen: Tensor) -> Tensor:
        """What of the others the policy learns to answer, (G, B, others): draws of ρ."""
        return self.others_by_model(seen)

    def prior_loss(self, seen: Tensor, other: Tensor) -> Tensor:
        """−log P(o | s) of what the others did lately."""

        def model() -> None:
            with Plates(seen):
                pyro.sample("other", self.theirs(self.prior(seen)), obs=other)

        return self.loss(model, nothing, seen)

    def model_loss(self, seen: Tensor, temperature: float, model_temperature: float) -> Tensor:
        """ρ against what the others would best do for this agent, near what they did (Eq. 5).

        E[ α' log ρ(o) − α' log P(o) + α log π(x | o) − Q(x, o) ], o ~ ρ, x ~ π(· | o).
        """
        ratio = model_temperature / temperature

        def model() -> None:
            with Plates(seen):
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", self.theirs(self.prior(seen)))
                self._act(seen, other, temperature)

        def guide() -> None:
            with Plates(seen):
                outputs = self.model(seen)
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", self.theirs(outputs))
                pyro.sample("own", self.answer(seen, other))
                self.penalise(outputs, temperature)

        return self.loss(model, guide, seen) * temperature

    def policy_loss(self, seen: Tensor, other: Tensor, temperature: float) -> Tensor:
        """π against exp(Q / α), for what the others may do (Eq. 8, by Eq. 10).

        E[ α log π(x | o) − Q(x, o) ], x ~ π(· | o).
        """

        def model() -> None:
            with Plates(seen):
                self._act(seen, other, temperature)

        def guide() -> None:
            with Plates(seen):
                outputs = self._outputs(seen, other)
                pyro.sample("own", squashed_normal(outputs, [self.own]))
                self.penalise(outputs, temperature)

        return self.loss(model, guide, seen) * temperature

    def expected(self, seen: Tensor, entropy: float = 0.0, model_entropy: float = 0.0) -> Tensor:
        """E[ Q̄(s, x, o) − α KL(π ‖ even) − α' KL(ρ ‖ P) ] of the next step, by one draw, (G, B).

        Args:
            seen: at the next step.
            entropy: α; the divergence is that of x ~ π from even play.
            model_entropy: α', of the opponent model from the prior (Eq. 9).
        """
        with torch.no_grad():
            other = self.others_by_model(seen)
            law = self.answer(seen, other)
            own = law.sample()
            value = self.q(seen, own, other, target=True)
            if entropy:
                value = value - entropy * (law.log_prob(own) - self.own.log_density)
            if model_entropy and self.others:
                ratio = self.theirs(self.model(seen)).log_prob(other)
                ratio = ratio - self.theirs(self.prior(seen)).log_prob(other)
                value = value - model_entropy * ratio
            return value

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of every network."""
        if self.plan is None:
            raise ValueError("no plan was given")
        plan, alpha, beta = self.plan, self.plan.alpha(episode), self.plan.beta(episode)
        gamma = plan.settings.discount
        if "prior" in self.networks:
            lately = memory.sample_last(plan.settings.batch, RECENT)
            self.improve("prior", lambda: self.prior_loss(lately["seen"], lately["other"]))
        drawn = memory.sample(plan.settings.batch)
        seen, actions = drawn["seen"], (drawn["own"], drawn["other"][..., : self.width])
        if "model" in self.networks:
            self.improve_model(drawn, gamma, alpha, beta)
        wanted = drawn["reward"][..., 0]
        if gamma > 0:
            later = self.expected(drawn["next"], alpha * plan.entropy, beta * plan.model_entropy)
            wanted = wanted + gamma * drawn["goes_on"][..., 0] * later
        self.improve("critic", lambda: self.critic_loss(seen, *actions, wanted=wanted))
        self.improve_policy(memory, seen, alpha)
        if gamma > 0:
            self.follow(plan.settings.follow)

    def improve_model(
        self, drawn: dict[str, Tensor], gamma: float, alpha: float, beta: float
    ) -> None:
        """A step of the opponent model: here the others are taken to want what this agent wants."""
        self.improve("model", lambda: self.model_loss(drawn["seen"], alpha, beta))

    def improve_policy(self, memory: Replay, seen: Tensor, alpha: float) -> None:
        """A step of the policy, against what the others may do as `imagined`."""
        other = self.imagined(seen)
        self.improve("policy", lambda: self.policy_loss(seen, other, alpha))

    def penalise(self, outputs: Tensor, temperature: float) -> None:
        """A factor of the guide that keeps what is squashed from the flat ends."""
        mean, log_scale = spread(outputs)
        off = (mean**2).mean(-1) + (log_scale**2).mean(-1)
        pyro.factor("penalty", PENALTY * off / temperature, has_rsample=True)

    def _outputs(self, seen: Tensor, other: Tensor) -> Tensor:
        heard = torch.cat([seen, other], -1) if self.conditional else seen
        outputs: Tensor = self.policy(heard)
        return outputs

    def _act(self, seen: Tensor, other: Tensor, temperature: float) -> None:
        """The agent's own part of the model: an even prior and the factor of its optimality."""
        own = pyro.sample("own", even_law(self.own, seen.device))
        pyro.factor("optimal", self.q(seen, own, other) / temperature)
