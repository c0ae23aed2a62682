"""What a policy is worth when everybody plays it: exact exploitability, whoever found it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import divergence, evaluate, policy_rewards
from vsg_ppl.best_response import respond
from vsg_ppl.crowd_flow import flow
from vsg_ppl.errors import GameError
from vsg_ppl.mean_field_table import MeanFieldTable, mean_field_table
from vsg_ppl.reading import check_policy, log_probabilities


@dataclass(frozen=True)
class MeanFieldCertificate:
    """How far a policy is from a mean-field equilibrium, in units of reward.

    Attributes:
        exploitability: what one agent gains by its best response while everybody else plays the
            policy: Σ μ_0(s) [V*(s) − V^π(s)], the crowd that the policy makes being frozen. Without
            a horizon μ_0 is the crowd at rest. Never negative.
        worst_state: the same gain from the worst state that the crowd visits, over all times.
        regularised: the gain where every step also costs τ KL(π ‖ u); ``None`` without temperature.
        value: what an agent of the crowd gets.
    """

    exploitability: float
    worst_state: float
    regularised: float | None
    value: float

    @property
    def largest_gap(self) -> float:
        """The exploitability: what other certificates call the gap."""
        return self.exploitability

    def to_dict(self) -> dict[str, Any]:
        """The same in plain JSON values."""
        return dict(vars(self))


def mean_field_certify(
    game: Any, policy: Any, temperature: float | None = None, *, prior: Tensor | None = None
) -> MeanFieldCertificate:
    """The certificate of any policy of a mean-field game, exact in float64.

    It depends on the game and the policy alone: the crowd that the policy makes flows through the
    program itself, and the best response to it is computed by dynamic programming.

    Args:
        game: a mean-field game or its table.
        policy: probabilities (S, A) or (H, S, A), or a policy program.
        temperature: τ, for the regularised exploitability.
        prior: π̄(a|s) of the regularised one, (S, A) or (H, S, A); the game's own by default.

    Raises:
        GameError: a policy that does not fit the game.

    >>> import torch
    >>> from vsg_ppl.models import LeftRight
    >>> round(mean_field_certify(LeftRight(), torch.full((3, 2), 0.5)).exploitability, 8)
    0.25
    """
    table = mean_field_table(game)
    with torch.no_grad():
        rows = read_policy(table, policy)
        joint = flow(table.programmed(), rows)
        return certify_crowd(table, joint, rows, temperature, prior)


def certify_crowd(
    table: MeanFieldTable,
    joint: Tensor,
    policy: Tensor,
    temperature: float | None = None,
    prior: Tensor | None = None,
) -> MeanFieldCertificate:
    """`mean_field_certify` of a policy (H, S, A) whose crowd (H, S, A) is known."""
    frozen = replace(table.at(joint), initial=joint[0].sum(-1)[None])
    policies = [policy[None]]
    rewards = policy_rewards(frozen, policies, [0])
    own = evaluate(frozen, policies, rewards)[..., 0]
    _, best = respond(frozen, policies, 0)
    gain = (best - own)[0].clamp_min(0.0)
    if not torch.isfinite(gain).all():
        raise GameError("the values of this policy are not finite")
    regularised = None
    if temperature is not None:
        if prior is not None:
            bar = read_policy(table, prior)
            frozen = replace(frozen, log_priors=(bar.log()[None],))
        log_prior = frozen.log_priors[0]
        cost = divergence(policies[0], policies[0].log(), log_prior.expand_as(policies[0]))
        soft = evaluate(frozen, policies, rewards - temperature * cost[..., None])[..., 0]
        _, top = respond(frozen, policies, 0, temperature)
        regularised = float((frozen.initial * (top - soft)[:, 0]).sum().clamp_min(0.0))
    visited = joint.sum(-1) > 0
    return MeanFieldCertificate(
        exploitability=float((frozen.initial[0] * gain[0]).sum()),
        worst_state=float((gain * visited).amax()),
        regularised=regularised,
        value=float((frozen.initial[0] * own[0, 0]).sum()),
    )


def read_policy(table: MeanFieldTable, policy: Any) -> Tensor:
    """A policy given as probabilities or as a program, as (H, S, A)."""
    shape = table.shape()
    if isinstance(policy, Tensor):
        rows = check_policy(shape, table.agent, policy)[0]
    else:
        rows = log_probabilities(shape, table.agent, policy)[0].exp()
    return rows.expand(table.times, -1, -1)
