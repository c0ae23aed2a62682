"""Agents of MAI with finite actions that do not take the others' aims for their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vsg_ppl.finite_laws import Law, at_action, but_for, explored, soft_best, surprise
from vsg_ppl.mai_finite import SAID, FiniteLearner
from vsg_ppl.replay import Replay
from vsg_ppl.team import Team


class FiniteWatching(FiniteLearner):
    """Agents who expect the others to do what they did lately: ρ is the prior, and nothing else.

    What they come to rest at is the marginal equilibrium, for ρ is what the others really do.
    """

    def _outputs(self) -> dict[str, int]:
        sizes = super()._outputs()
        del sizes["model"]
        return sizes

    def model_laws(self, seen: Tensor, name: str = "prior") -> list[Law]:
        """P_j of each of the others, (G, B, A_j)."""
        return super().model_laws(seen, "prior")

    def improve_model(self, drawn: dict[str, Tensor], memory: Replay, episode: int) -> None:
        """Nothing: it is fitted already."""


class FiniteKnowing(FiniteLearner):
    """Agents who see what the others are paid, and model each as one who wants that.

    For every other j a critic Q^j(s, x, o) is fitted to j's rewards, and ρ_j responds softly to
    what x and all the others do by π and ρ, tied to j's prior u_j (Eq. 5). It is not tied to what j
    did: that answers already, and a tie to it would count each answer again.
    """

    def _outputs(self) -> dict[str, int]:
        sizes = super()._outputs()
        del sizes["prior"]
        return {**sizes, "their critic": len(self.widths) * self.o * self.x}

    def improve_model(self, drawn: dict[str, Tensor], memory: Replay, episode: int) -> None:
        """A step of their critics, and one of the opponent model."""
        plan = self.own_plan
        beta, gamma = plan.beta(episode), plan.settings.discount
        wanted = self.paid(drawn, beta)
        if gamma > 0:
            later = self.expected_by_them(drawn["next"], beta * plan.soft_value)
            wanted = self.ahead(wanted, drawn, later, self.their_level(memory))
        self.fit("their critic", drawn, wanted)
        self.improve("model", lambda: self.their_loss(drawn["seen"], beta))

    def paid(self, drawn: dict[str, Tensor], model_temperature: float) -> Tensor:
        """What the others were paid, (G, B, others)."""
        return drawn["theirs"]

    def their_level(self, memory: Replay) -> Tensor | float:
        """What their critics need not say."""
        return self.level(memory, "theirs")

    def expected_by_them(self, seen: Tensor, entropy: float) -> Tensor:
        """E Q̄^j − α' KL(ρ_j ‖ u_j) of the next step, (G, B, others)."""
        with torch.no_grad():
            laws, scores = self.model_laws(seen), self.scores("their target", seen)
            pairs = zip(laws, scores, strict=True)
            each = [(rho.p * (q - entropy * rho.ratio)).sum(-1) for rho, q in pairs]
            return torch.stack(each, -1)

    def their_loss(self, seen: Tensor, model_temperature: float) -> Tensor:
        """Every ρ_j against the best for j, amid what all others are expected to do (Eq. 5).

        −Σ_j E[ log ρ_j(o_j) / u_j(o_j) ], o_j ~ ρ_j* ∝ u_j exp(E[ Q^j(x, o_j, o'_{-j}) ] / α')
        where o' ~ ρ, x ~ π(· | o'): nobody moves the others.
        """
        with torch.no_grad():
            pairs = zip(self.scores("their critic", seen), self.priors(seen)[1], strict=True)
            best = [soft_best(q, prior, model_temperature) for q, prior in pairs]
        return surprise(self.model_laws(seen), best) / seen.shape[1]

    def scores(self, name: str, seen: Tensor) -> list[Tensor]:
        """E Q^j(s, x, o_j, o'_{-j}) by j's action, for each j, (G, B, A_j)."""
        p = self.joint(seen).unflatten(-2, self.widths)
        # (G, B, A_1, ..., A_m, X) for each j
        tables = self.table(name, seen).unflatten(-2, self.widths).unbind(2)
        return [but_for(2 + j, p, q) for j, q in enumerate(tables)]


class FiniteGuessing(FiniteKnowing):
    """Agents who do not see what the others are paid, and infer it from their play (Algorithm 3).

    Rewards r_ψ(s, x, o) of every other j make j's actions likely: the normaliser of Eq. 6 and the
    gradient of Eq. 7 are exact sums over what j could have done. Of all rewards that differ by
    shaping, which play cannot tell apart, those are taken whose soft value is 0 everywhere: then
    what comes after is not counted twice.
    """

    def _outputs(self) -> dict[str, int]:
        sizes = super()._outputs()
        return {**sizes, "their rewards": sizes["their critic"]}

    def improve_model(self, drawn: dict[str, Tensor], memory: Replay, episode: int) -> None:
        """First a step of the rewards, on what they did lately."""
        beta, said = self.own_plan.beta(episode), memory.sample_lately(SAID)
        share = self.share(said)
        self.improve("their rewards", lambda: self.rewards_loss(said, beta, share))
        super().improve_model(drawn, memory, episode)

    def paid(self, drawn: dict[str, Tensor], model_temperature: float) -> Tensor:
        """What they are taken to have been paid, (G, B, others)."""
        with torch.no_grad():
            return self.explained(drawn, model_temperature)

    def their_level(self, memory: Replay) -> float:
        """These rewards have no level."""
        return 0.0

    def rewards_loss(
        self, drawn: dict[str, Tensor], model_temperature: float, exploration: float | Tensor
    ) -> Tensor:
        """−E_data[r_ψ / α'] + log Σ u_j exp(r_ψ / α'), of each of the others (Eq. 6).

        What was done is taken for exploration with this probability, or these, (G, B).
        """
        ratio = self.explained(drawn, model_temperature) / model_temperature
        share = exploration[..., None] if isinstance(exploration, Tensor) else exploration
        return -explored(ratio, share).sum() / drawn["seen"].shape[1]

    def explained(self, drawn: dict[str, Tensor], model_temperature: float) -> Tensor:
        """r_ψ − α' log Σ_{o_j} u_j exp(r_ψ / α') at what was done, (G, B, others)."""
        table = self.table("their rewards", drawn["seen"]) / model_temperature
        at, found = self.done(drawn), []
        for j, prior in enumerate(self.priors(drawn["seen"])[1]):
            logs = (prior / prior.sum(-1, keepdim=True)).log()
            whole = table[:, :, j].unflatten(-2, self.widths).movedim(2 + j, -1)
            shape = (*logs.shape[:2], *[1] * len(self.widths), logs.shape[-1])
            free = (whole + logs.reshape(shape)).logsumexp(-1, keepdim=True)
            ratio = (whole - free).movedim(-1, 2 + j).flatten(2, -2)
            found.append(at_action(ratio, at))
        return model_temperature * torch.stack(found, -1)


FINITE: dict[str, type[FiniteLearner]] = {
    "own": FiniteLearner,
    "known": FiniteKnowing,
    "inferred": FiniteGuessing,
    "observed": FiniteWatching,
    "none": FiniteLearner,
}
"""Learners by what they take the others' aims to be."""


def executed(team: Team, agent: str) -> Callable[[Tensor], Tensor]:
    """What an agent of finite learners does in each play, (K, B, A), where it sees (B, parts)."""
    learner, first = team.learner, team.agents.index(agent) * team.plays
    assert isinstance(learner, FiniteLearner)

    def probabilities(seen: Tensor) -> Tensor:
        wide = seen.to(team.device).expand(team.groups, *seen.shape)
        return learner.probabilities(wide)[first : first + team.plays].cpu()

    return probabilities
