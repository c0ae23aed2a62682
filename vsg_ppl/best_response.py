"""Best responses to given policies: by dynamic programming, or as inference, by SVI (Prop. 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

from vsg_ppl.agent import PolicyLike, agent_guide, agent_model, as_policies
from vsg_ppl.bellman import (
    Policies,
    contract,
    divergence,
    evaluate,
    following,
    precision,
)
from vsg_ppl.elbo import MarkovELBO, expected_elbo
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.reading import log_probabilities
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


@dataclass(frozen=True, eq=False)
class BestResponse:
    """An agent's best response in the sense of Eq. 3.

    Attributes:
        policy: π^i(a|s), (S, A) or (H, S, A); conditional π^i(a^i|s, a^{-i}), (..., S, A_1, ...,
            A_N).
        elbo: its ELBO from the initial law, in Pyro's units.
        losses: −ELBO at each step of SVI; empty for the exact method.
    """

    policy: Tensor
    elbo: float
    losses: list[float] = field(default_factory=list)


def best_response(
    game: Game,
    agent: str,
    others: Mapping[str, PolicyLike] | None = None,
    *,
    opponents: Mapping[str, PolicyLike] | None = None,
    temperature: float = 1.0,
    factorisation: Literal["marginal", "conditional"] = "marginal",
    method: Literal["exact", "svi"] = "exact",
    loss: Any = None,
    steps: int = 1000,
    learning_rate: float = 0.1,
) -> BestResponse:
    """The policy that maximises the agent's ELBO (Eq. 3), the others' policies given.

    The closed form is the soft backup, π ∝ u exp(Q/τ) (Prop. 5.2); SVI on the agent's Pyro model
    and guide climbs to the same policy.

    Args:
        game: a finite game program.
        agent: who responds.
        others: π^{-i}, tables or programs; priors where missing.
        opponents: ρ, what the agent believes the others do; ``others`` by default. Where ρ differs,
            the ELBO pays τ KL(ρ ‖ π^{-i}).
        temperature: τ > 0, in units of reward.
        factorisation: of the policy: "marginal" π(a^i|s) or "conditional" π(a^i|s, a^{-i}).
        method: "exact" or "svi".
        loss: for SVI, any ELBO of Pyro's; `MarkovELBO` by default.
        steps: of SVI.
        learning_rate: of Adam, which falls to a hundredth over the steps.

    Raises:
        GameError: unknown names, or policies that do not fit the game.

    >>> from vsg_ppl.models import PrisonersDilemma
    >>> exact = best_response(PrisonersDilemma(), "row")
    >>> climbed = best_response(PrisonersDilemma(), "row", method="svi", steps=300)
    >>> torch.allclose(exact.policy, climbed.policy, atol=1e-3)
    True
    """
    for what, value, known in (
        ("factorisation", factorisation, ("marginal", "conditional")),
        ("method", method, ("exact", "svi")),
    ):
        if value not in known:
            raise GameError(f"{what} '{value}'", hint=f"one of {', '.join(known)}.")
    table = tabulate(game)
    rest = [name for name in table.agents if name != agent]
    table.number(agent)
    actual = as_policies(game, others or {}, rest)
    imagined = actual if opponents is None else as_policies(game, opponents, rest)
    solver = _by_svi if method == "svi" else _exactly
    conditional = factorisation == "conditional"
    policy, losses = solver(
        game, table, agent, actual, imagined, temperature, conditional, loss, steps, learning_rate
    )
    with torch.no_grad():
        elbo = expected_elbo(
            table,
            table.number(agent),
            policy.log(),
            {table.number(j): log_probabilities(table, j, rho) for j, rho in imagined.items()},
            {table.number(j): log_probabilities(table, j, pi) for j, pi in actual.items()},
            temperature,
        )
    shown = policy[0] if table.horizon is not None else policy[0, 0]
    return BestResponse(shown, float(elbo[0]), losses)


def _exactly(
    game: Game,
    table: Table,
    agent: str,
    others: Mapping[str, Any],
    opponents: Mapping[str, Any],
    temperature: float,
    conditional: bool,
    *_: Any,
) -> tuple[Tensor, list[float]]:
    with torch.no_grad():
        law, penalty = [], torch.zeros((1, 1, len(table.states)), dtype=torch.float64)
        for name, prior in zip(table.agents, table.log_priors, strict=True):
            rho = log_probabilities(table, name, opponents[name]) if name in opponents else prior
            law.append(rho.exp())
            if name != agent:
                pi = log_probabilities(table, name, others[name]) if name in others else prior
                penalty = penalty + temperature * divergence(law[-1], rho, pi)
        if not torch.isfinite(penalty).all():
            raise GameError(
                f"the opponent model of '{agent}' plays what the others never do: its ELBO is −∞",
                hint="opponent models that give zero where the others' policies do.",
            )
        policy, _value = respond(
            table,
            law,
            table.number(agent),
            temperature,
            conditional=conditional,
            penalty=penalty,
        )
    return policy, []


def _by_svi(
    game: Game,
    table: Table,
    agent: str,
    others: Mapping[str, Any],
    opponents: Mapping[str, Any],
    temperature: float,
    conditional: bool,
    loss: Any,
    steps: int,
    learning_rate: float,
) -> tuple[Tensor, list[float]]:
    from vsg_ppl.guides.policy import ConditionalPolicy, TabularPolicy

    with pyro.get_param_store().scope():
        policy = (ConditionalPolicy if conditional else TabularPolicy)(table, agent)
        model = agent_model(game, agent, others, temperature=temperature)
        guide = agent_guide(game, agent, policy, opponents)
        fall = 0.01 ** (1 / max(1, steps))
        optim = PyroOptim(torch.optim.Adam, {"lr": learning_rate})
        svi = SVI(model, guide, optim, MarkovELBO(table) if loss is None else loss)
        losses = []
        for _ in range(steps):
            losses.append(float(svi.step()))
            for inner in optim.optim_objs.values():
                for group in inner.param_groups:
                    group["lr"] *= fall
        return policy.log_table().detach().exp()[None], losses


def respond(
    table: Table,
    policies: Policies,
    agent: int,
    temperature: float = 0.0,
    *,
    conditional: bool = False,
    penalty: Tensor | None = None,
    max_steps: int = 500,
) -> tuple[Tensor, Tensor]:
    """The best response of one agent to the others' policies, in every state.

    It maximises E Σ γ^t [ r^i − τ KL(π^i ‖ u^i) ]: at τ > 0 by the soft backup π ∝ u exp(Q/τ)
    (Prop. 5.2), at τ = 0 by the maximum over the actions that are available. Finite horizons by
    backward induction, infinite ones by policy iteration.

    Args:
        table: the game.
        policies: all agents', (B|1, H|1, S, A_j); the agent's own is not used.
        agent: its number.
        temperature: τ ≥ 0.
        conditional: respond to the others' actions, π^i(a^i | s, a^{-i}), rather than to their law.
        penalty: a cost of each visit to a state, (B|1, H|1, S): τ KL(ρ ‖ π^{-i}) in Eq. 3.
        max_steps: of policy iteration.

    Returns:
        The policy, (B, H, S, A_i) or (B, H, S, A_1, ..., A_N), and its value V^i, (B, H, S). H = 1
        for infinite horizons.

    Raises:
        GameError: policy iteration does not end within ``max_steps``.
    """
    step = _Backup(table, policies, agent, temperature, conditional, penalty)
    if table.horizon is not None:
        chosen, worth, ahead = [], [], None
        for t in reversed(range(table.horizon)):
            policy, value = step(ahead, t)
            ahead = value[:, 0, :, None]
            chosen.append(policy)
            worth.append(value)
        return torch.cat(chosen[::-1], 1), torch.cat(worth[::-1], 1)
    policy, value = step(None, 0)
    for _ in range(max_steps):
        current = step.value(policy)
        policy, improved = step(current[:, 0, :, None], 0)
        change = (improved - current).abs().amax()
        # τ times a divergence is no more exact than τ times its rounding
        if not change > precision(table) * (1 + current.abs().amax() + temperature):
            return policy, step.value(policy)
    raise GameError(
        f"the best response of '{table.agents[agent]}' did not settle within {max_steps} steps of "
        "policy iteration",
        hint="raise `max_steps`.",
    )


class _Backup:
    """One step of dynamic programming for an agent whose world is fixed."""

    def __init__(
        self,
        table: Table,
        policies: Policies,
        agent: int,
        temperature: float,
        conditional: bool,
        penalty: Tensor | None,
    ) -> None:
        self.table, self.agent, self.temperature = table, agent, temperature
        self.policies, self.conditional, self.penalty = list(policies), conditional, penalty
        self.reward = self._average(table.rewards[agent], self.policies)
        prior = table.log_priors[agent]
        if conditional:
            n = len(table.agents)
            prior = prior.reshape(*prior.shape[:3], *[1] * agent, -1, *[1] * (n - 1 - agent))
        self.prior = prior
        self.dim = 3 + agent if conditional else 3

    def __call__(self, ahead: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        """Policy and value at time t, given V at t + 1, (B, S, 1)."""
        policies = [_now(policy, t) for policy in self.policies]
        q = _now(self.reward, t)
        if ahead is not None:
            nxt = following(self.table, ahead, t)[..., 0]
            q = q + self.table.discount * self._average(nxt, policies)
        prior = _now(self.prior, t)
        if self.temperature > 0:
            scores = prior + q / self.temperature
            value = self.temperature * scores.logsumexp(self.dim, keepdim=True)
            policy = scores.softmax(self.dim)
        else:
            scores = torch.where(prior > -torch.inf, q, -torch.inf)
            value, best = scores.max(self.dim, keepdim=True)
            policy = torch.zeros_like(scores).scatter(self.dim, best, 1.0)
        if self.conditional:
            value = contract(value, policies)
        value = value.reshape(*value.shape[:3])
        if self.penalty is not None:
            value = value - _now(self.penalty, t)
        return policy.expand(self.table.batch, *policy.shape[1:]), value

    def value(self, policy: Tensor) -> Tensor:
        """The value of a stationary policy, (B, 1, S)."""
        policies = list(self.policies)
        policies[self.agent] = policy
        reward = contract(self.table.rewards[self.agent], policies)
        if self.temperature > 0:
            cost = divergence(
                policy.movedim(self.dim, -1),
                policy.log().movedim(self.dim, -1),
                self.prior.movedim(self.dim, -1),
            )
            if self.conditional:
                cost = contract(cost.unsqueeze(self.dim), policies)
            reward = reward - self.temperature * cost
        if self.penalty is not None:
            reward = reward - self.penalty
        return evaluate(self.table, policies, reward[..., None])[..., 0]

    def _average(self, x: Tensor, policies: Policies) -> Tensor:
        if not self.conditional:
            size = self.table.sizes[self.agent]
            kept = contract(x, policies, keep=self.agent)
            return kept.expand(*kept.shape[:3], size)
        return x.expand(*x.shape[:3], *self.table.sizes)


def _now(x: Tensor, t: int) -> Tensor:
    """Time t of a tensor whose dimension 1 has all times or one."""
    return x[:, [t if x.shape[1] > 1 else 0]]
