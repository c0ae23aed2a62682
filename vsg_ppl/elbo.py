"""Eq. 2–3 exactly: the ELBO of an agent's model and guide, by one sweep over a finite game."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro.infer.elbo import ELBO
from torch import Tensor

from vsg_ppl.agent import AgentGuide, AgentModel
from vsg_ppl.bellman import contract, divergence, evaluate
from vsg_ppl.errors import GameError
from vsg_ppl.game import Limited, horizon, title
from vsg_ppl.reading import log_probabilities
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


class MarkovELBO(ELBO):
    """The exact ELBO of `agent_model` and `agent_guide` for finite games, as a loss for `SVI`.

    The value is that of `pyro.infer.Trace_ELBO` with infinitely many particles; the gradient has no
    noise. One enumerated step serves all states, batched over time, so the cost is linear in the
    horizon; discounted games without a horizon take one linear solve. Pyro's `TraceEnum_ELBO` under
    `pyro.markov` returns a wrong value for these models (guide-side enumeration, three steps or
    more), and without it runs out of tensor dimensions.

    In Pyro's units the ELBO is Σ_t γ^t E_q[ r/τ − KL(π^i ‖ u^i) − KL(ρ ‖ π^{-i}) ], which is
    Eq. 3 divided by τ up to the constant that `objective` adds.

    Args:
        table: the game's table, to share one between losses; made from the model otherwise.

    >>> from pyro.infer import SVI
    >>> from pyro.optim import Adam
    >>> import pyro, torch, vsg_ppl as vsg
    >>> from vsg_ppl.guides import TabularPolicy
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> game = PrisonersDilemma()
    >>> model = vsg.agent_model(game, "row")
    >>> guide = vsg.agent_guide(game, "row", TabularPolicy(vsg.tabulate(game), "row"))
    >>> svi = SVI(model, guide, Adam({"lr": 0.1}), MarkovELBO())
    >>> first, *_, last = [svi.step() for _ in range(100)]
    >>> last < first
    True
    """

    def __init__(self, table: Table | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._table = table
        self._tables: WeakKeyDictionary[AgentModel, Table] = WeakKeyDictionary()

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """−ELBO, a scalar with a gradient."""
        return -self.elbo(model, guide)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """−ELBO, a number."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide))

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """−ELBO, a number; gradients are added to the parameters'."""
        loss = self.differentiable_loss(model, guide)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def elbo(self, model: AgentModel, guide: AgentGuide) -> Tensor:
        """The ELBO in Pyro's units, a scalar.

        Raises:
            GameError: the pair is not an agent's model and guide of one game, or the opponent model
                plays what the others never do, so that the ELBO is −∞.
        """
        if not isinstance(model, AgentModel) or not isinstance(guide, AgentGuide):
            raise GameError(
                "MarkovELBO reads the programs that agent_model and agent_guide make, not "
                f"{type(model).__name__} and {type(guide).__name__}",
                hint="pyro.infer.Trace_ELBO for any other pair.",
            )
        if model.game is not guide.game and title(model.game) == title(guide.game):
            raise GameError(
                f"the model and the guide are of two different {title(model.game)} objects",
                hint="make one game and give it to both.",
            )
        if model.agent != guide.agent or model.game is not guide.game:
            raise GameError(
                f"the model is of '{model.agent}' in {title(model.game)}, the guide of "
                f"'{guide.agent}' in {title(guide.game)}"
            )
        if (ends := _horizon(model)) != _horizon(guide):
            raise GameError(f"the model makes {ends} decisions, the guide {_horizon(guide)}")
        table = self._of(model)
        return expected_elbo(
            table,
            table.number(model.agent),
            log_probabilities(table, guide.agent, guide.policy),
            self._others(table, guide.opponents),
            self._others(table, model.others),
            model.temperature,
        )[0]

    def objective(self, model: AgentModel, guide: AgentGuide) -> Tensor:
        """J^i of Eq. 3, in units of reward: τ · ELBO + τ Σ_t γ^t log |A^i|.

        The paper's prior is the constant 1, Pyro's the normalised 1 / |A^i|; this constant is the
        whole difference. Only for a uniform prior: with another, Eq. 3 has no such form.

        Raises:
            GameError: the agent's prior is not uniform.
        """
        table = self._of(model)
        prior = table.log_priors[table.number(model.agent)]
        if (prior.amax() - prior.amin()).abs() > 1e-12:
            raise GameError(
                f"Eq. 3 holds for a uniform prior, and that of '{model.agent}' is not",
                hint="`elbo`, times the temperature.",
            )
        steps = total_weight(table.discount, table.horizon)
        return model.temperature * (self.elbo(model, guide) - steps * prior.amax())

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise GameError("MarkovELBO sums over all plays and has no trace of one")

    def _others(self, table: Table, policies: Any) -> dict[int, Tensor]:
        return {
            table.number(name): log_probabilities(table, name, policy)
            for name, policy in policies.items()
        }

    def _of(self, model: AgentModel) -> Table:
        if self._table is not None:
            return self._table
        if model not in self._tables:
            game = model.game if model.horizon is None else Limited(model.game, model.horizon)
            with pyro.poutine.trace(param_only=True) as params:
                table = tabulate(game)
            if params.trace.nodes:  # the game itself learns: its table changes with every step
                return table
            self._tables[model] = table
        return self._tables[model]


def expected_elbo(
    table: Table,
    agent: int,
    log_policy: Tensor,
    log_opponents: dict[int, Tensor],
    log_others: dict[int, Tensor],
    temperature: float,
) -> Tensor:
    """Σ_t γ^t E_q[ r/τ − KL(π ‖ u) − Σ_j KL(ρ_j ‖ π_j) ] from the initial law, (B,) (Eq. 2).

    Args:
        table: the game.
        agent: the agent's number.
        log_policy: log π^i, (B|1, H|1, S, A_i), or conditional (B|1, H|1, S, A_1, ..., A_N).
        log_opponents: log ρ_j by number; the prior of j where missing.
        log_others: log π_j by number; the prior of j where missing.
        temperature: τ.
    """
    law: list[Tensor] = []
    cost: Tensor | float = 0.0
    for j, prior in enumerate(table.log_priors):
        if j == agent:
            law.append(log_policy.exp())
            continue
        rho, pi = log_opponents.get(j, prior), log_others.get(j, prior)
        law.append(rho.exp())
        if rho is not pi:
            cost = cost + divergence(law[j], rho, pi)
    prior = table.log_priors[agent]
    if log_policy.ndim == 4:
        cost = cost + divergence(law[agent], log_policy, prior)
    else:
        own = 3 + agent
        prior = prior.reshape(*prior.shape[:3], *[1] * (log_policy.ndim - 4), -1)
        answer = divergence(law[agent].movedim(own, -1), log_policy.movedim(own, -1), prior)
        cost = cost + contract(answer.unsqueeze(own), law)
    stream = contract(table.rewards[agent], law) / temperature - cost
    if not torch.isfinite(stream).all():
        raise GameError(
            f"the ELBO of '{table.agents[agent]}' is not finite: its guide plays what its model "
            "rules out",
            hint="opponent models and policies that give zero where π^{-i} or the prior does.",
        )
    values = evaluate(table, law, stream[..., None])[..., 0]
    return (table.initial * values[:, 0]).sum(-1)


def total_weight(discount: float, decisions: int | None) -> float:
    """Σ_t γ^t over the game's decisions: T + 1, or 1 / (1 − γ)."""
    if decisions is None:
        return 1.0 / (1.0 - discount)
    return float(sum(discount**t for t in range(decisions)))


def _horizon(program: AgentModel | AgentGuide) -> int | None:
    return horizon(program.game) if program.horizon is None else program.horizon
