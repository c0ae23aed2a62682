"""What a joint policy is worth: exact gaps to best responses, whoever found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import Policies, evaluate, policy_rewards
from vsg_ppl.best_response import respond
from vsg_ppl.errors import GameError
from vsg_ppl.reading import read_policies
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.theory import nash_bound

Number = float | Tensor


@dataclass(frozen=True)
class Certificate:
    """How far a joint policy is from a Nash equilibrium, in units of reward.

    Entries are floats, or tensors of shape (B,) for a batch of games.

    Attributes:
        nash_gap: the most that any agent gains by deviating, from the initial law. Never negative.
        nash_gap_worst_state: the same from the worst state, over all times at which it can occur.
        per_agent: each agent's gain from the initial law.
        values: each agent's value from the initial law.
        bound: τ Σ_t γ^t max log 1/u of Theorem 4.2 (τ (T+1) log max|A| for uniform priors), which
            joint maximisers of the ELBO obey, and with joint entropy the sum over agents in place
            of the maximum; ``None`` when no temperature is given.
    """

    nash_gap: Number
    nash_gap_worst_state: Number
    per_agent: dict[str, Number]
    values: dict[str, Number]
    bound: float | None = None

    @property
    def largest_gap(self) -> float:
        """The Nash gap, of a batch the largest."""
        return float(torch.as_tensor(self.nash_gap, dtype=torch.float64).max())

    def to_dict(self) -> dict[str, Any]:
        """The same in plain JSON values, of one game."""
        return {
            "nash_gap": self.nash_gap,
            "nash_gap_worst_state": self.nash_gap_worst_state,
            "per_agent": self.per_agent,
            "values": self.values,
            "bound": self.bound,
        }

    def within_bound(self) -> bool:
        """Whether the gap obeys the bound, up to rounding."""
        if self.bound is None:
            raise GameError("this certificate has no bound", hint="pass `temperature=`.")
        return self.largest_gap <= self.bound + 1e-9


def certify(
    game: Any, policies: Mapping[str, Any], temperature: float | None = None
) -> Certificate:
    """The certificate of any policies on a finite game, exact in float64.

    It depends on the game and the policies alone: each agent's best response is computed by
    backward induction or policy iteration against the others' policies.

    Args:
        game: a game program or its table.
        policies: for each agent, probabilities (S, A) or (H, S, A) or a policy program. They are
            the *executed* policies: a conditional one has no certificate, its marginal has.
        temperature: τ, to put the bound of Theorem 4.2 beside the gap.

    Raises:
        GameError: a policy does not fit the game.

    >>> import torch
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> silent = torch.tensor([[1.0, 0.0]])
    >>> certify(PrisonersDilemma(), {"row": silent, "col": silent}).nash_gap > 0
    True
    """
    table = game if isinstance(game, Table) else tabulate(game)
    tables = read_policies(table, policies)
    for agent, policy in zip(table.agents, tables, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="certify what is executed: its average over the opponent model.",
            )
    with torch.no_grad():
        return certify_tables(table, tables, temperature)


def certify_tables(
    table: Table,
    policies: Policies,
    temperature: float | None = None,
    *,
    joint_entropy: bool = False,
) -> Certificate:
    """`certify` for policies that are tables, one (B|1, H|1, S, A_i) for each agent."""
    everyone = range(len(table.agents))
    rewards = policy_rewards(table, policies, everyone)
    values = evaluate(table, policies, rewards)
    if not torch.isfinite(values).all():
        raise GameError("the values of these policies are not finite")
    gains, worst = [], []
    for i in everyone:
        _, best = respond(table, policies, i)
        gain = (best - values[..., i]).clamp_min(0.0)
        gains.append((table.initial * gain[:, 0]).sum(-1))
        if table.reachable is not None:
            gain = gain * table.reachable
        worst.append(gain.flatten(1).amax(1))
    start = (table.initial[..., None] * values[:, 0]).sum(1)
    show = (lambda x: x.expand(table.batch)) if table.batched else (lambda x: float(x[0]))
    return Certificate(
        nash_gap=show(torch.stack(gains).amax(0)),
        nash_gap_worst_state=show(torch.stack(worst).amax(0)),
        per_agent={agent: show(gains[i]) for i, agent in enumerate(table.agents)},
        values={agent: show(start[:, i]) for i, agent in enumerate(table.agents)},
        bound=None if temperature is None else nash_bound(table, temperature, joint=joint_entropy),
    )
