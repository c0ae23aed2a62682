"""Agents of MAI with finite actions: their networks, and their losses as exact sums (Eq. 8-10).

The programs of one step are those of `mai_learner`. As actions are finite, no draw is needed: all
joint actions are summed over, as `TraceEnum_ELBO` does. Then the best law of the moment is known
too, where the program's ELBO is greatest, and policies and opponent models are fitted to that
(`surprise` says why; the tests compare where both come to rest).

Networks say π and ρ as logarithms over the game's prior: π(x) ∝ u(x) exp(output). So what is not
available has probability 0 exactly, and a network that says nothing plays the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.finite_laws import Law, at_action, but_for, explored, law, soft_best, surprise
from vsg_ppl.guides.actions import Shape
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learner_networks import Networks
from vsg_ppl.mai_finite_plan import MEMORIES, FinitePlan
from vsg_ppl.mai_learner import SLOW
from vsg_ppl.replay import Replay

SAID = 256
"""Past actions of the others that their laws are fitted to at a time."""

LARGEST = 4096
"""Joint actions beyond which a critic has too many outputs."""

FADING = {"policy", "model"}
"""Networks whose gradients fade as they come to rest, see `MEMORIES`."""


class FiniteLearner(Networks):
    """G agents with finite actions, who take the others' aims for their own or do not model them.

    Tensors over actions have the others' joint actions o last but one and the agent's own x last.

    Args:
        groups: G.
        seen: how many numbers it observes, those of `with_available` included.
        own: shape of its action.
        others: shapes of the others' actions.
        hidden: sizes of the hidden layers.
        learning_rate: of Adam, at first.
        leak: of rectifiers, their slope below zero.
        conditional: whether the policy answers what the opponent model says, π(x | s, o), or does
            not know it, π(x | s).
        alone: whether policy and critic know the agent's own actions only.
        plan: how they learn; not needed for anything else.
        device: where networks are.

    Raises:
        GameError: too many joint actions.
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
        conditional: bool = False,
        alone: bool = False,
        plan: FinitePlan | None = None,
        leak: float = LEAK,
        device: str = "cpu",
    ) -> None:
        widths = [shape.width for shape in others]
        self.plan, self.conditional = plan, conditional
        self.features, self.told = seen - own.width - sum(widths), (own.width, *widths)
        self.x, self.widths = own.width, () if alone else tuple(widths)
        self.o = prod(self.widths)
        self._levels: dict[str, tuple[int, Tensor]] = {}
        self.keeps = ("episode",) if {"prior", "their rewards"} & self._outputs().keys() else ()
        if self.o * self.x > LARGEST:
            raise GameError(
                f"there are {self.o * self.x:,} joint actions, and critics are for {LARGEST:,}",
                hint='opponents="none", whose critics know their own actions only.',
            )
        sizes = {
            name: (self.features, *hidden, outputs) for name, outputs in self._outputs().items()
        }
        slow = {name: source for name, source in SLOW.items() if source in sizes}
        super().__init__(groups, sizes, slow, learning_rate=learning_rate, leak=leak, device=device)
        for name in FADING & self.optimisers.keys():
            self.optimisers[name].param_groups[0]["betas"] = MEMORIES

    def _outputs(self) -> dict[str, int]:
        """Outputs of each network."""
        answers = self.x * (self.o if self.conditional else 1)
        models = {"model": sum(self.widths), "prior": sum(self.widths)} if self.widths else {}
        return {"policy": answers, **models, "critic": self.x * self.o}

    def start(self, mean: float, scale: float) -> None:
        """Not for finite actions, which have no middle."""
        raise GameError("finite actions are not near each other", hint='start="networks".')

    def act(self, seen: Tensor) -> Tensor:
        """Actions (G, B, X): o ~ ρ, then x ~ π(· | s, o)."""
        return self._draw(self.probabilities(seen))

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """The same, and now and then what the prior says."""
        share = self.own_plan.exploration(episode)
        prior, _ = self.priors(seen)
        prior = prior / prior.sum(-1, keepdim=True)
        return self._draw((1 - share) * self.probabilities(seen) + share * prior)

    def probabilities(self, seen: Tensor) -> Tensor:
        """What is executed, Σ_o ρ(o | s) π(x | s, o), (G, B, X)."""
        with torch.no_grad():
            return self.joint(seen).sum(-2)

    def policy_law(self, seen: Tensor) -> Law:
        """π, (G, B, O, X), or (G, B, 1, X) if it does not depend on o."""
        return law(self.table("policy", seen), self.priors(seen)[0][..., None, :])

    def model_laws(self, seen: Tensor, name: str = "model") -> list[Law]:
        """ρ_j, or P_j, of each of the others, (G, B, A_j)."""
        if not self.widths:
            return []
        outputs = self.networks[name](seen[..., : self.features]).split(self.widths, -1)
        return [law(*pair) for pair in zip(outputs, self.priors(seen)[1], strict=True)]

    def together(self, laws: list[Law]) -> Law:
        """The law of the others' joint actions, their product, (G, B, O)."""
        if not laws:
            one = torch.ones(1, device=next(self.networks["critic"].parameters()).device)
            return Law(one, torch.zeros_like(one))
        p, ratio = laws[0]
        for each in laws[1:]:
            p = (p[..., None] * each.p[..., None, :]).flatten(-2)
            ratio = (ratio[..., None] + each.ratio[..., None, :]).flatten(-2)
        return Law(p, ratio)

    def joint(self, seen: Tensor) -> Tensor:
        """ρ(o | s) π(x | s, o), (G, B, O, X)."""
        return self.together(self.model_laws(seen)).p[..., None] * self.policy_law(seen).p

    def table(self, name: str, seen: Tensor) -> Tensor:
        """Outputs of a network over actions, (G, B, O, X), or (G, B, m, O, X) for m others."""
        outputs: Tensor = self.networks[name](seen[..., : self.features])
        rows = self.o if name != "policy" or self.conditional else 1
        several = [len(self.widths)] if name.startswith("their") else []
        table: Tensor = outputs.unflatten(-1, (*several, rows, self.x))
        return table

    def priors(self, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Weights of the prior of its own actions, (G, B, X), and of each of the others'."""
        parts = seen[..., self.features :].split(self.told, -1)
        return parts[0], list(parts[1:])[: len(self.widths)]

    def prior_loss(self, seen: Tensor, other: Tensor, exploration: float | Tensor) -> Tensor:
        """−log P(o | s) of what the others did lately, some of which was exploration.

        Each action is from P with 1 − exploration, else from its prior: P is what is meant. The
        share is that of the time, (G, B).
        """
        chosen = other.split(self.widths, -1)
        laws = self.model_laws(seen, "prior")
        meant = [(each.ratio * done).sum(-1) for each, done in zip(laws, chosen, strict=True)]
        return -explored(torch.stack(meant), exploration).sum() / seen.shape[1]

    def model_loss(self, seen: Tensor, temperature: float, model_temperature: float) -> Tensor:
        """Every ρ_j against the best for this agent, near what j did, amid the others (Eq. 5).

        −Σ_j E[ log ρ_j(o_j) / u_j(o_j) ], o_j ~ ρ_j* ∝ P_j exp(E[ V(o_j, o_{-j}) ] / α') where
        o_{-j} ~ ρ and V(o) = E[ Q(x, o) − α log π(x | o) / u(x) ], x ~ π(· | o). It has no slope
        where the loss of Eq. 5 has none: E[ α' log ρ(o) − α' log P(o) − V(o) ], o ~ ρ.
        """
        laws, priors = self.model_laws(seen), self.priors(seen)[1]
        with torch.no_grad():
            lately, pi = self.model_laws(seen, "prior"), self.policy_law(seen)
            value = pi.p * (self.table("critic", seen) - temperature * pi.ratio)
            value = value.sum(-1).unflatten(-1, self.widths)
            rho, best = self.together(laws).p.unflatten(-1, self.widths), []
            for j, (tied, prior) in enumerate(zip(lately, priors, strict=True)):
                scores = but_for(2 + j, rho, value) + model_temperature * tied.ratio
                best.append(soft_best(scores, prior, model_temperature))
        return surprise(laws, best) / seen.shape[1]

    def policy_loss(self, seen: Tensor, temperature: float) -> Tensor:
        """π against π* ∝ u exp(Q / α), for what ρ expects of the others (Eq. 8 and 10).

        −E[ log π(x | o) / u(x) ], o ~ ρ, x ~ π*(· | o), or π* of E_ρ Q where π does not know o.
        """
        with torch.no_grad():
            rho, q = self.together(self.model_laws(seen)).p[..., None], self.table("critic", seen)
            if not self.conditional:
                q, rho = (rho * q).sum(-2, keepdim=True), torch.ones_like(rho[..., :1, :])
            best = soft_best(q, self.priors(seen)[0][..., None, :], temperature)
        weighed = best._replace(p=rho * best.p)
        return surprise([self.policy_law(seen)], [weighed]) / seen.shape[1]

    def fit(self, name: str, drawn: dict[str, Tensor], wanted: Tensor) -> None:
        """A step of a critic towards ``wanted``, (G, B) or (G, B, outputs)."""
        at = self.done(drawn)

        def loss() -> Tensor:
            value = at_action(self.table(name, drawn["seen"]), at)
            return 0.5 * ((value - wanted) ** 2).sum() / wanted.shape[1]

        self.improve(name, loss)

    def done(self, drawn: dict[str, Tensor]) -> Tensor:
        """Numbers of the joint actions (o, x) that were done, (G, B)."""
        at = torch.zeros(drawn["own"].shape[:2], dtype=torch.long, device=drawn["own"].device)
        parts = drawn["other"].split(self.widths, -1) if self.widths else ()
        for part in (*parts, drawn["own"]):
            at = at * part.shape[-1] + part.argmax(-1)
        return at

    def expected(self, seen: Tensor, entropy: float = 0.0, model_entropy: float = 0.0) -> Tensor:
        """E[ Q̄(s, x, o) ] − α E KL(π ‖ u) − α' KL(ρ ‖ P) of the next step, (G, B).

        Args:
            seen: at the next step.
            entropy: α.
            model_entropy: α', of the opponent model from what the others did lately (Eq. 9).
        """
        with torch.no_grad():
            rho, pi = self.together(self.model_laws(seen)), self.policy_law(seen)
            each = (pi.p * (self.table("target", seen) - entropy * pi.ratio)).sum(-1)
            if model_entropy and "prior" in self.networks and "model" in self.networks:
                tied = self.together(self.model_laws(seen, "prior"))
                each = each - model_entropy * (rho.ratio - tied.ratio)
            return (rho.p * each).sum(-1)

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of every network."""
        plan = self.own_plan
        alpha, beta, gamma = plan.alpha(episode), plan.beta(episode), plan.settings.discount
        for optimiser in self.optimisers.values():
            optimiser.param_groups[0]["lr"] = plan.rate(episode)
        if "prior" in self.networks:
            said = memory.sample_lately(SAID)
            share = self.share(said)
            self.improve("prior", lambda: self.prior_loss(said["seen"], said["other"], share))
        if self.widths:
            drawn = memory.sample(plan.settings.batch)
            self.improve_model(drawn, memory, episode)
        else:  # what the others did long ago would pass for what they do
            drawn = memory.sample_lately(plan.settings.batch)
        wanted = drawn["reward"]
        if gamma > 0:
            later = self.expected(drawn["next"], alpha * plan.soft_value, beta * plan.soft_value)
            wanted = self.ahead(wanted, drawn, later[..., None], self.level(memory, "reward"))
        self.fit("critic", drawn, wanted[..., 0])
        self.improve("policy", lambda: self.policy_loss(drawn["seen"], alpha))
        if gamma > 0:
            self.follow(plan.settings.follow)

    def share(self, drawn: dict[str, Tensor]) -> Tensor:
        """Share of exploration in the episodes of what was drawn, (G, B)."""
        at = drawn["episode"][..., 0].long()
        return self.own_plan.shares.to(at.device)[at]

    def level(self, memory: Replay, name: str) -> Tensor:
        """What rewards so far come to if they go on so, (G, 1, width).

        It is reckoned anew when twice as much is remembered.

        Critics say values above it. Any level would do, for it cancels (see `ahead`); but where
        γ is near 1 a network would climb for very long before it could tell actions apart.
        """
        if name not in self._levels or memory.steps >= self._levels[name][0]:
            there = len(memory)
            mean, goes_on = (memory.parts[x][:, :there].mean(1) for x in (name, "goes_on"))
            found = mean / (1 - self.own_plan.settings.discount * goes_on[:, :1])
            self._levels[name] = 2 * memory.steps, found[:, None]
        return self._levels[name][1]

    def ahead(
        self, paid: Tensor, drawn: dict[str, Tensor], later: Tensor, level: Tensor | float
    ) -> Tensor:
        """r + γ (V(s') + level) − level, (G, B, width), without V where the play is over."""
        gamma = self.own_plan.settings.discount
        return paid + gamma * drawn["goes_on"] * (later + level) - level

    def state_dict(self) -> dict[str, Any]:
        """Networks, and levels."""
        return {**super().state_dict(), "levels": dict(self._levels)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._levels = dict(state["levels"])

    def improve_model(self, drawn: dict[str, Tensor], memory: Replay, episode: int) -> None:
        """A step of the opponent model: here the others are taken to want what this agent wants."""
        alpha, beta = self.own_plan.alpha(episode), self.own_plan.beta(episode)
        self.improve("model", lambda: self.model_loss(drawn["seen"], alpha, beta))

    @property
    def own_plan(self) -> FinitePlan:
        """The plan, which is needed to learn."""
        if self.plan is None:
            raise ValueError("no plan was given")
        return self.plan

    def _draw(self, p: Tensor) -> Tensor:
        drawn = torch.multinomial(p.flatten(0, -2), 1).view(p.shape[:-1])
        return torch.nn.functional.one_hot(drawn, self.x).to(p.dtype)
