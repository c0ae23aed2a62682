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

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from vsg_ppl.guides.networks import Perceptrons, spread, tanh_normal

RECENT = 512
"""Actions of the others that the prior is fitted to."""

PENALTY = 5e-4
"""Of the squares of means and log σ: keeps tanh from its flat ends."""

EDGE = 1e-6
"""How near to −1 and 1 observed actions are let come: their density has no bound there."""


class Learner:
    """G agents with continuous actions in (−1, 1)^D.

    Args:
        groups: G.
        seen: how many numbers it observes.
        own: how many numbers its action has.
        others: how many numbers the others' actions have, all together.
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
        self.own = own
        self.policy = Perceptrons(groups, (seen + others, *hidden, 2 * own))
        self.model = Perceptrons(groups, (seen, *hidden, 2 * others))
        self.prior = Perceptrons(groups, (seen, *hidden, 2 * others))
        self.critic = Perceptrons(groups, (seen + own + others, *hidden, 1))
        self.target = Perceptrons(groups, (seen + own + others, *hidden, 1))
        self.target.load_state_dict(self.critic.state_dict())
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=learning_rate, foreach=True)
            for name, network in self.networks.items()
            if name != "target"
        }
        self._elbo = Trace_ELBO().differentiable_loss

    @property
    def networks(self) -> dict[str, Perceptrons]:
        """By name."""
        return {
            "policy": self.policy,
            "model": self.model,
            "prior": self.prior,
            "critic": self.critic,
            "target": self.target,
        }

    def start(self, mean: float, scale: float) -> None:
        """Let policy and opponent model begin near one action, in (−1, 1)."""
        for network in (self.policy, self.model):
            with torch.no_grad():
                network.weights[-1].mul_(0.01)
                first, second = network.biases[-1].chunk(2, -1)
                first.fill_(torch.atanh(torch.tensor(mean)))
                second.fill_(torch.tensor(scale).log())

    def act(self, seen: Tensor) -> Tensor:
        """Actions (G, D): o ~ ρ, then x ~ π(· | s, o)."""
        with torch.no_grad():
            seen = seen[:, None]
            other = tanh_normal(self.model(seen)).sample()
            action: Tensor = tanh_normal(self.policy(torch.cat([seen, other], -1))).sample()
        return action[:, 0]

    def q(self, seen: Tensor, own: Tensor, other: Tensor, *, target: bool = False) -> Tensor:
        """Q(s, x, o), (G, B)."""
        network = self.target if target else self.critic
        value: Tensor = network(torch.cat([seen, own, other], -1))[..., 0]
        return value

    def prior_loss(self, seen: Tensor, other: Tensor) -> Tensor:
        """−log P(o | s) of what the others did lately."""
        other = other.clamp(-1 + EDGE, 1 - EDGE)

        def model() -> None:
            with self._plates(seen):
                pyro.sample("other", tanh_normal(self.prior(seen)), obs=other)

        return self._loss(model, _nothing, seen)

    def critic_loss(self, seen: Tensor, own: Tensor, other: Tensor, wanted: Tensor) -> Tensor:
        """½ (Q(s, x, o) − what was paid and is expected after that)², and a constant (Eq. 9)."""

        def model() -> None:
            with self._plates(seen):
                value = self.q(seen, own, other)
                pyro.sample("reward", dist.Normal(value, 1.0, validate_args=False), obs=wanted)

        return self._loss(model, _nothing, seen)

    def model_loss(self, seen: Tensor, temperature: float, model_temperature: float) -> Tensor:
        """ρ against what the others would best do for this agent, near what they did (Eq. 5).

        E[ α' log ρ(o) − α' log P(o) + α log π(x | o) − Q(x, o) ], o ~ ρ, x ~ π(· | o).
        """
        ratio = model_temperature / temperature

        def model() -> None:
            with self._plates(seen):
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", tanh_normal(self.prior(seen)))
                self._act(seen, other, temperature)

        def guide() -> None:
            with self._plates(seen):
                outputs = self.model(seen)
                with poutine.scale(scale=ratio):
                    other = pyro.sample("other", tanh_normal(outputs))
                pyro.sample("own", tanh_normal(self.policy(torch.cat([seen, other], -1))))
                self._penalty(outputs, temperature)

        return self._loss(model, guide, seen) * temperature

    def policy_loss(self, seen: Tensor, temperature: float) -> Tensor:
        """π against exp(Q / α), for what ρ expects of the others (Eq. 8, by Eq. 10).

        E[ α log π(x | o) − Q(x, o) ], o ~ ρ without gradient, x ~ π(· | o).
        """
        with torch.no_grad():
            other = tanh_normal(self.model(seen)).sample()

        def model() -> None:
            with self._plates(seen):
                self._act(seen, other, temperature)

        def guide() -> None:
            with self._plates(seen):
                outputs = self.policy(torch.cat([seen, other], -1))
                pyro.sample("own", tanh_normal(outputs))
                self._penalty(outputs, temperature)

        return self._loss(model, guide, seen) * temperature

    def expected(self, seen: Tensor) -> Tensor:
        """E Q̄(s, x, o) of the next step, by one draw, (G, B)."""
        with torch.no_grad():
            other = tanh_normal(self.model(seen)).sample()
            own = tanh_normal(self.policy(torch.cat([seen, other], -1))).sample()
            return self.q(seen, own, other, target=True)

    def follow(self, rate: float) -> None:
        """Let the target network follow the critic."""
        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                old.lerp_(new, rate)

    def _act(self, seen: Tensor, other: Tensor, temperature: float) -> None:
        """The agent's own part of the model: an even prior and the factor of its optimality."""
        even = dist.Uniform(-1.0, 1.0, validate_args=False)
        own = pyro.sample("own", even.expand([self.own]).to_event(1))
        pyro.factor("optimal", self.q(seen, own, other) / temperature)

    def _penalty(self, outputs: Tensor, temperature: float) -> None:
        mean, log_scale = spread(outputs)
        off = (mean**2).mean(-1) + (log_scale**2).mean(-1)
        pyro.factor("penalty", PENALTY * off / temperature, has_rsample=True)

    def _plates(self, seen: Tensor) -> Any:
        return _Plates(*seen.shape[:2])

    def _loss(self, model: Callable[[], None], guide: Callable[[], None], seen: Tensor) -> Tensor:
        """−ELBO, averaged over the draws and summed over the learners."""
        loss: Tensor = self._elbo(model, guide)  # type: ignore[no-untyped-call]
        return loss / seen.shape[1]

    def improve(self, name: str, loss: Callable[[], Tensor]) -> None:
        """One step on a loss; only this network is moved."""
        for other, network in self.networks.items():
            network.requires_grad_(other == name)
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


class _Plates:
    """G learners and B draws."""

    def __init__(self, groups: int, draws: int) -> None:
        self.plates = (pyro.plate("learners", groups, dim=-2), pyro.plate("draws", draws, dim=-1))

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *error: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*error)


def _nothing() -> None:
    """The guide of a model without latent sites."""
