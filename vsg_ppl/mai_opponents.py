"""Agents of MAI that do not take the others' aims for their own."""

from __future__ import annotations

from math import log
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.guides.actions import squashed_normal
from vsg_ppl.learner_networks import Plates
from vsg_ppl.mai_learner import Learner
from vsg_ppl.replay import Replay

PROPOSALS = 16
"""Draws of the opponent model by which the rewards' normaliser in Eq. 6 is estimated."""


class Watching(Learner):
    """Agents who expect the others to go on as they did lately.

    Policies answer what the others really did, for a law fitted to it may be off by more than a
    policy is in the end. Such a law, the prior, is ρ where the others must be drawn: for a
    conditional policy that acts, and for values of next steps.
    """

    def _sizes(self, seen: int, free: int, hidden: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        sizes = super()._sizes(seen, free, hidden)
        del sizes["model"]
        if not self.conditional and self.plan and self.plan.settings.discount == 0:
            del sizes["prior"]
        return sizes

    def improve_policy(self, memory: Replay, seen: Tensor, alpha: float) -> None:
        """A step of the policy, against what the others did lately."""
        lately = memory.sample_lately(seen.shape[1])
        self.improve("policy", lambda: self.policy_loss(lately["seen"], lately["other"], alpha))


class Knowing(Learner):
    """Agents who see what the others are paid, and model each as one who wants that.

    For every other j a critic Q^j(s, x, o) is fitted to j's rewards, and ρ_j responds softly to
    what x and all the others do by π and ρ (Eq. 5).
    """

    def _sizes(self, seen: int, free: int, hidden: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        sizes = super()._sizes(seen, free, hidden)
        inputs = sizes["critic"][0]
        return {**sizes, "their critic": (inputs, *hidden, len(self.others))}

    def improve_model(
        self, drawn: dict[str, Tensor], gamma: float, alpha: float, beta: float
    ) -> None:
        """A step of their critics, and one of the opponent model."""
        wanted = self.paid(drawn, beta, ahead=gamma > 0)
        if gamma > 0:
            wanted = wanted + gamma * drawn["goes_on"] * self.expected_by_them(drawn["next"])
        seen, actions = drawn["seen"], (drawn["own"], drawn["other"])
        self.improve(
            "their critic",
            lambda: self.critic_loss(seen, *actions, wanted=wanted, name="their critic"),
        )
        self.improve("model", lambda: self.their_loss(seen, beta))

    def paid(
        self, drawn: dict[str, Tensor], model_temperature: float, *, ahead: bool = True
    ) -> Tensor:
        """What the others were paid, (G, B, others)."""
        return drawn["theirs"]

    def expected_by_them(self, seen: Tensor) -> Tensor:
        """Q̄^j of the next step, by one draw, (G, B, others)."""
        with torch.no_grad():
            other = self.others_by_model(seen)
            own = self.answer(seen, other).sample()
            return self.values("their target", seen, own, other)

    def their_loss(self, seen: Tensor, model_temperature: float) -> Tensor:
        """Every ρ_j against exp(Q^j / α'), amid what the others are expected to do (Eq. 5).

        E[ α' log ρ(o) − α' log P(o) − Σ_j Q^j(x, o_j, o'_{-j}) ], o ~ ρ, and o' ~ ρ,
        x ~ π(· | o') drawn beside it: nobody moves the others.
        """
        amid = self.others_by_model(seen)
        with torch.no_grad():
            own = self.answer(seen, amid).sample()

        def model() -> None:
            with Plates(seen):
                other = pyro.sample("other", self.tied(seen))
                value = self._each("their critic", seen, own, other, amid).sum(-1)
                pyro.factor("optimal", value / model_temperature)

        def guide() -> None:
            with Plates(seen):
                outputs = self.model(seen)
                pyro.sample("other", self.theirs(outputs))
                self.penalise(outputs, model_temperature)

        return self.loss(model, guide, seen) * model_temperature

    def tied(self, seen: Tensor) -> Any:
        """The law that ρ is tied to: what the others did lately."""
        return self.theirs(self.prior(seen))

    def _each(self, name: str, seen: Tensor, own: Tensor, other: Tensor, amid: Tensor) -> Tensor:
        """What a network says of each j at (s, x, o_j, o'_{-j}), (G, B, others)."""
        n, draws = len(self.others), seen.shape[1]
        mine = torch.block_diag(*(torch.ones(1, shape.width) for shape in self.others))
        # one long batch with j's own action in the j-th piece
        mixed = torch.where(mine.bool().to(seen.device)[:, None], other[:, None], amid[:, None])
        wide = (x[:, None].expand(-1, n, -1, -1).flatten(1, 2) for x in (seen, own))
        value = self.values(name, *wide, mixed.flatten(1, 2)).unflatten(1, (n, draws))
        each: Tensor = value.diagonal(dim1=1, dim2=3)
        return each


class Guessing(Knowing):
    """Agents who do not see what the others are paid, and infer it from their play (Algorithm 3).

    For every other j rewards r_ψ(s, x, o) are fitted by Eq. 7, a step at a time: up at what j did,
    down at what ρ_j would do, each draw weighted by exp(r_ψ / α') / ρ_j. Then j is modelled as one
    who is paid that. Here ρ is tied to even play: r_ψ is to explain all that they do. Play cannot
    tell apart rewards that differ by a level for each (s, x, o_{-j}); where what comes after
    counts, that is taken whose soft value is 0 everywhere.
    """

    def _sizes(self, seen: int, free: int, hidden: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        sizes = super()._sizes(seen, free, hidden)
        return {**sizes, "their rewards": sizes["their critic"]}

    def improve_model(
        self, drawn: dict[str, Tensor], gamma: float, alpha: float, beta: float
    ) -> None:
        """First a step of the rewards."""
        self.improve("their rewards", lambda: self.rewards_loss(drawn, beta))
        super().improve_model(drawn, gamma, alpha, beta)

    def paid(
        self, drawn: dict[str, Tensor], model_temperature: float, *, ahead: bool = True
    ) -> Tensor:
        """What they are taken to have been paid, (G, B, others).

        r_ψ − α' log E_ρj[ exp(r_ψ / α') u_j / ρ_j ], u_j even play, where something comes after;
        else r_ψ, for no level moves ρ_j.
        """
        with torch.no_grad():
            said = self.values("their rewards", drawn["seen"], drawn["own"], drawn["other"])
            if not ahead:
                return said
            even = torch.tensor([s.log_density for s in self.others], device=said.device)
            free = self.could(drawn, model_temperature).logsumexp(2) - log(PROPOSALS) + even
            return said - model_temperature * free

    def tied(self, seen: Tensor) -> Any:
        """Even play, up to a constant."""
        real = dist.constraints.real_vector
        return dist.ImproperUniform(real, seen.shape[:2], torch.Size([self.width]))

    def rewards_loss(self, drawn: dict[str, Tensor], model_temperature: float) -> Tensor:
        """−E_data[r_ψ / α'] + log E_ρj[ exp(r_ψ / α') / ρ_j ], for each of the others (Eq. 6).

        Its gradient is Eq. 7.
        """
        seen, own, other = drawn["seen"], drawn["own"], drawn["other"]
        fits = self.values("their rewards", seen, own, other) / model_temperature
        normaliser = self.could(drawn, model_temperature).logsumexp(2)
        loss: Tensor = (normaliser - fits).sum()
        return loss / seen.shape[1]

    def could(self, drawn: dict[str, Tensor], model_temperature: float) -> Tensor:
        """r_ψ / α' − log ρ_j at what each j could have done, by ρ_j, (G, B, PROPOSALS, others).

        All the rest is as it was done.
        """
        seen, own, amid = (
            drawn[name].repeat_interleave(PROPOSALS, 1) for name in ("seen", "own", "other")
        )
        with torch.no_grad():
            laws = self._laws(self.model(seen))
            done = [each.sample() for each in laws]
            weight = -torch.stack(
                [each.log_prob(x) for each, x in zip(laws, done, strict=True)], -1
            )
        said = self._each("their rewards", seen, own, torch.cat(done, -1), amid)
        logs: Tensor = (said / model_temperature + weight).unflatten(1, (-1, PROPOSALS))
        return logs

    def _laws(self, outputs: Tensor) -> list[Any]:
        """Of each of the others by itself, where `theirs` is that of all."""
        free = [shape.free for shape in self.others]
        parts = (part.split(free, -1) for part in outputs.chunk(2, -1))
        return [
            squashed_normal(torch.cat(pair, -1), [shape])
            for shape, *pair in zip(self.others, *parts, strict=True)
        ]
