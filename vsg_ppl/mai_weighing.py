"""Agents of MAI whose opponent model is fitted to weighted draws (Eq. 5 by importance)."""

from __future__ import annotations

import pyro
import torch
from pyro import poutine
from torch import Tensor

from vsg_ppl.finite_laws import explored
from vsg_ppl.learner_networks import Plates
from vsg_ppl.mai_learner import Learner

CANDIDATES = 16
"""Draws for each state, half of ρ and half even; they are weighed against each other."""

LEAST = 1e-30
"""Of weights: Pyro scales by positive numbers only."""

UNSEEN = 0.1
"""Probability with which the others are held to do anything at all, whatever they did lately.

Else what they did lately would rule out what they never tried.
"""


class Weighing(Learner):
    """Agents who take the others' aims for their own, and look everywhere for what is best for all.

    The ELBO has ρ seek one peak of ρ* ∝ P exp(V / α'), by KL(ρ ‖ ρ*), and ρ stays there when
    another becomes the higher one. Here it is KL(ρ* ‖ ρ), the inclusive one, which follows the
    mass: ρ is fitted to candidates weighted by ρ* over what they were drawn from, as in
    reweighted wake-sleep (J. Bornschein and Y. Bengio, 2015). They need not be near ρ, and half of
    them are even.
    """

    def imagined(self, seen: Tensor) -> Tensor:
        """Draws of ρ and even ones in turn: the best answer to any o does not depend on the rest.

        So that answers are known before ρ believes in what they answer.
        """
        return self._candidates(self.others_by_model(seen))

    def model_loss(self, seen: Tensor, temperature: float, model_temperature: float) -> Tensor:
        """−E[ log ρ(o) ], o ~ ρ*, by weighted candidates for some of the states (Eq. 5).

        Args:
            seen: (G, B, parts); as many states as make B candidates in all.
            temperature: α.
            model_temperature: α'.
        """
        some = seen[:, : max(1, seen.shape[1] // CANDIDATES)]
        other, weights = self.weighed(some, temperature, model_temperature)
        outputs = self.model(some).repeat_interleave(CANDIDATES, 1)

        def model() -> None:
            with Plates(outputs), poutine.scale(scale=CANDIDATES * weights.clamp(min=LEAST)):
                pyro.sample("other", self.theirs(outputs), obs=other)

        def guide() -> None:
            with Plates(outputs):
                self.penalise(outputs, 1.0)

        return self.loss(model, guide, outputs)

    def weighed(
        self, seen: Tensor, temperature: float, model_temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Candidates for what the others do, and how likely each is under ρ*, beside the others.

        A candidate o is drawn from q = (ρ + even) / 2, and x ~ π(· | o). Its weight is in
        proportion to P(o) exp((Q(x, o) − α log π(x | o) / u(x)) / α') / q(o), u even play.

        Args:
            seen: (G, S, parts).
            temperature: α.
            model_temperature: α'.

        Returns:
            Actions (G, S · CANDIDATES, others), and weights (G, S · CANDIDATES) that sum to 1 for
            each state.
        """
        even = sum(shape.log_density for shape in self.others)
        with torch.no_grad():
            rho, prior = (
                self.theirs(network(seen).repeat_interleave(CANDIDATES, 1))
                for network in (self.model, self.prior)
            )
            seen = seen.repeat_interleave(CANDIDATES, 1)
            other = self._candidates(rho.sample())
            answer = self.answer(seen, other)
            own = answer.sample()
            surplus = answer.log_prob(own) - self.own.log_density
            value = self.q(seen, own, other) - temperature * surplus
            logs = value / model_temperature + explored(prior.log_prob(other) - even, UNSEEN)
            logs = logs - explored(rho.log_prob(other) - even, 0.5)
            weights = logs.unflatten(1, (-1, CANDIDATES)).softmax(-1).flatten(1)
        return other, weights

    def _candidates(self, drawn: Tensor) -> Tensor:
        """Draws (G, B, others), every other one replaced by an even one."""
        even = torch.cat([shape.even(*drawn.shape[:2]) for shape in self.others], -1)
        first = torch.arange(drawn.shape[1], device=drawn.device) % 2 == 0
        return torch.where(first[:, None], even.to(drawn.device), drawn)
