"""The optimal model of the others when their rewards are known: Prop. 5.9, Eq. 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import contract, divergence, evaluate
from vsg_ppl.best_response import respond
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.guides.policy import FixedPolicy
from vsg_ppl.reading import check_policy, log_probabilities
from vsg_ppl.soft_equilibrium import soft_equilibrium
from vsg_ppl.solution import shown
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

STALE = 50
"""Sweeps without a better residual after which coordinate steps count as cycling."""


@dataclass(frozen=True, eq=False)
class OpponentModel:
    """Models ρ of all agents that respond softly to each other; made by `opponent_model`.

    Attributes:
        table: of the game, with the priors that were used.
        policies: ρ*_j of every agent, (S, A), or (H, S, A) with a horizon; of the agent whose own
            policy was given, that policy.
        values: soft values V^j, (S,) or (H, S), which pay τ_j KL(ρ_j ‖ u_j).
        temperatures: τ_j by agent.
        residual: max |ρ_j − softmax(log u_j + E Q^j/τ_j)| over agents, states and actions.
        sweeps: coordinate steps taken, of all agents each.
        status: "solved" or "not converged".
        message: the status in a sentence.
        history: for each sweep: ``residual``, and each agent's ``elbo`` from the initial law.
    """

    table: Table
    policies: dict[str, Tensor]
    values: dict[str, Tensor]
    temperatures: dict[str, float]
    residual: float
    sweeps: int
    status: str
    message: str
    history: list[dict[str, Any]]

    def __repr__(self) -> str:
        return f"OpponentModel({self.table.name}: {self.status}; {self.message})"

    @property
    def solved(self) -> bool:
        """Whether Eq. 5 holds for every opponent to the tolerance asked."""
        return self.status == "solved"

    def guide(self, agent: str) -> FixedPolicy:
        """ρ_j as a Pyro program, to use in models and guides."""
        self.table.number(agent)
        return FixedPolicy(self.table, agent, self.policies[agent])


def opponent_model(
    game: Game | Table,
    agent: str | None = None,
    *,
    policy: Any = None,
    temperature: float | Mapping[str, float] = 0.1,
    priors: Mapping[str, Any] | None = None,
    tolerance: float = 1e-10,
    max_sweeps: int = 500,
) -> OpponentModel:
    """The optimal opponent models by coordinate steps (Prop. 5.9, Eq. 5), exact.

    Each agent j in turn takes ρ_j ∝ u_j exp(E_{a^{-j}~ρ_{-j}} Q^j/τ_j), which maximises its ELBO
    against the others' models, until all hold at once. The term τ KL(ρ_{-j} ‖ u_{-j}) that Eq. 5
    has in Q^j does not depend on j's action of the step, and is left out; from the next step on,
    Q^j pays τ_j KL(ρ_j ‖ u_j), as printed. Where coordinate steps cycle (in zero-sum games at low
    temperatures they do), the fixed point is found by Newton's method along the principal branch.

    Args:
        game: a finite game program or its table.
        agent: who models the others.
        policy: that agent's own policy, which it knows, a table (S, A) or (H, S, A) or a program.
            Without one it is taken to respond softly as well: a logit equilibrium.
        temperature: τ in units of reward, for all or by agent.
        priors: u_j by agent, tables or programs, in place of the program's.
        tolerance: on the residual.
        max_sweeps: of coordinate steps.

    Raises:
        GameError: arguments that do not fit the game, or a batch of games.

    >>> from vsg_ppl.models import PrisonersDilemma
    >>> model = opponent_model(PrisonersDilemma(), "row", temperature={"row": 1.0, "col": 0.2})
    >>> model.policies["col"]  # the more decided, the colder
    tensor([[[0.0018, 0.9982]]], dtype=torch.float64)
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError(f"opponents are of one game, and this table holds a batch of {table.batch}")
    taus = _temperatures(table, temperature)
    table = _with_priors(table, priors or {})
    if policy is not None:
        if agent is None:
            raise GameError("a policy is given and no agent whose it is", hint="agent='row'.")
        table = _committed(table, agent, policy)
    elif agent is not None:
        table.number(agent)
    with torch.no_grad():
        found, history, residual = _sweep(table, taus, tolerance, max_sweeps)
        message = f"residual {residual:.2g} after {len(history)} sweeps"
        if residual > tolerance:
            try:
                found = [log.exp() for log in soft_equilibrium(table, taus)]
                residual = _residual(table, taus, found)
                message += f"; Newton's method then reached {residual:.2g}"
            except GameError:
                message += "; neither did Newton's method settle: raise the temperature"
        values = _values(table, taus, found)
    named = list(enumerate(table.agents))
    times = table.horizon or 1
    return OpponentModel(
        table,
        {name: shown(table, found[k].expand(1, times, *found[k].shape[2:])) for k, name in named},
        {name: shown(table, values[k]) for k, name in named},
        dict(zip(table.agents, taus, strict=True)),
        residual,
        len(history),
        "solved" if residual <= tolerance else "not converged",
        message,
        history,
    )


def _sweep(
    table: Table, taus: list[float], tolerance: float, max_sweeps: int
) -> tuple[list[Tensor], list[dict[str, Any]], float]:
    """Coordinate steps of all agents, until they settle or cycle."""
    policies = [prior.exp() for prior in table.log_priors]
    best, least, stale = policies, float("inf"), 0
    history: list[dict[str, Any]] = []
    for _ in range(max_sweeps):
        policies = list(policies)
        elbo = {}
        for j, name in enumerate(table.agents):
            policies[j], value = respond(table, policies, j, taus[j])
            elbo[name] = float((table.initial * value[:, 0]).sum())
        residual = _residual(table, taus, policies)
        history.append({"residual": residual, "elbo": elbo})
        stale = 0 if residual < 0.9 * least else stale + 1
        if residual < least:
            best, least = policies, residual
        if least <= tolerance or stale == STALE:
            break
    return best, history, least


def _residual(table: Table, taus: list[float], policies: list[Tensor]) -> float:
    """How far each model is from Eq. 5 against the others'."""
    return max(
        float((respond(table, policies, j, tau)[0] - policies[j]).abs().max())
        for j, tau in enumerate(taus)
    )


def _values(table: Table, taus: list[float], policies: list[Tensor]) -> list[Tensor]:
    """Soft values of each agent, (1, H|1, S)."""
    out = []
    for j, tau in enumerate(taus):
        cost = divergence(policies[j], policies[j].log(), table.log_priors[j])
        reward = contract(table.rewards[j], policies) - tau * cost
        out.append(evaluate(table, policies, reward[..., None])[..., 0])
    return out


def _temperatures(table: Table, given: float | Mapping[str, float]) -> list[float]:
    if isinstance(given, Mapping):
        for name in given:
            table.number(name)
        lacking = [name for name in table.agents if name not in given]
        if lacking:
            raise GameError(f"no temperature is given for '{lacking[0]}'")
        taus = [float(given[name]) for name in table.agents]
    else:
        taus = [float(given)] * len(table.agents)
    for tau in taus:
        if not tau > 0:
            raise GameError(f"the temperature is {tau:g}; it must be positive")
    return taus


def _with_priors(table: Table, priors: Mapping[str, Any]) -> Table:
    """The table with other priors u_j."""
    logs = list(table.log_priors)
    for name, prior in priors.items():
        number = table.number(name)
        logs[number] = (
            check_policy(table, name, prior).log()
            if isinstance(prior, Tensor)
            else log_probabilities(table, name, prior)
        )
    return replace(table, log_priors=tuple(logs))


def _committed(table: Table, agent: str, policy: Any) -> Table:
    """The table in which an agent plays this policy: its prior, with nothing to gain elsewhere."""
    number = table.number(agent)
    table = _with_priors(table, {agent: policy})
    rewards = list(table.rewards)
    rewards[number] = torch.zeros_like(rewards[number])
    return replace(table, rewards=tuple(rewards))
