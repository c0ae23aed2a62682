"""The Nash gap of a mean-field policy among N real agents."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log10
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.crowd_flow import flow
from vsg_ppl.errors import GameError
from vsg_ppl.finite_exact import Exact
from vsg_ppl.finite_moved import Moved
from vsg_ppl.finite_step import Among
from vsg_ppl.finite_unmoved import Unmoved
from vsg_ppl.mean_field_certificate import read_policy
from vsg_ppl.mean_field_table import mean_field_table

FEW = 20_000, 1e9
"""Up to so many configurations of the others, and so much work, the gap is computed exactly."""

MANY = 2_000_000, 1e12
"""Beyond these it is not even if asked for."""


@dataclass(frozen=True)
class FiniteGap:
    """How far a policy is from a Nash equilibrium of N real agents, in units of reward.

    Attributes:
        n: N.
        gap: what one agent gains by deviating, if the others stay with the policy. Never negative.
            If ``exact``, by its best response, which sees its own state and how many others are in
            each state. If not, an estimate of what ``deviation`` gains, which is a lower bound of
            that.
        low: lower end of the confidence interval of ``gap``; ``gap`` if exact.
        high: its upper end.
        exact: whether ``gap`` is computed exactly.
        value: what an agent gets if all play the policy, estimated unless exact.
        blind: what ``deviation`` gains: the gap if not exact, at most the gap if exact.
        deviation: the best response found that sees its own state and the time only, as a
            mean-field policy does, (H, S, A). It is the best there is if ``exact`` and the crowd
            moves the rewards only.
    """

    n: int
    gap: float
    low: float
    high: float
    exact: bool
    value: float
    blind: float
    deviation: Tensor = field(compare=False, repr=False)


def finite_nash_gap(
    game: Any,
    policy: Any,
    n: int,
    *,
    samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    exact: bool | None = None,
) -> FiniteGap:
    """What one of N agents gains by deviating from a mean-field policy that all others play.

    The game of N: all draw their first states independently from the initial law. At every step
    the crowd is the empirical law of the states and actions of all N agents, the own included, and
    amid it everybody's next state is drawn independently of the others'. Without a horizon the
    first states are drawn from the law of the crowd at rest that the policy makes, which is where
    `mean_field_certify` starts as well.

    Exactly, it is a dynamic program over the agent's own state and the numbers of others in each
    state, so the deviation sees these (not what the others are about to do, nor who is where).

    By simulation, the deviation sees its own state and the time only, and the result is a lower
    bound of the gap: the gain of the best such deviation found, with a confidence interval. One
    half of the simulations finds the deviation and the other half measures it, so that choosing it
    does not flatter it.

    * Where the crowd moves the rewards only, the others are independent of the agent, and the
      deviation found is the best response to rewards averaged over crowds; with more samples it
      comes to be the best among all that do not see the others.
    * Where the crowd moves the next states too, the deviation is found amid averaged crowds in
      which the agent's own past is neglected; its gain is measured with nothing neglected. This
      needs a horizon.

    Args:
        game: a mean-field game or its table.
        policy: probabilities (S, A) or (H, S, A), or a policy program.
        n: N, at least 1.
        samples: populations simulated, to find a deviation and again to measure it; at least 2.
        seed: of the simulation. The same seed gives the same result.
        confidence: of the interval.
        exact: whether to compute exactly; by default if that is cheap.

    Raises:
        GameError: no mean-field game, a policy that does not fit, bad arguments; too many agents
            to be exact, or a game that cannot be simulated.

    >>> from vsg_ppl.models import LeftRight
    >>> policy = torch.tensor([[2 / 3, 1 / 3]]).expand(3, 2)
    >>> gaps = [finite_nash_gap(LeftRight(), policy, n).gap for n in (2, 10, 100)]
    >>> [round(gap, 4) for gap in gaps]
    [0.1667, 0.0333, 0.0033]
    """
    _check(n, samples, confidence)
    with torch.no_grad():
        table = mean_field_table(game)
        rows = read_policy(table, policy)
        among = Among(table, rows, flow(table, rows), n)
        program = Exact(among)
        size = program.configurations, program.work
        if exact is None:
            exact = all(x <= most for x, most in zip(size, FEW, strict=True))
        if exact:
            if any(x > most for x, most in zip(size, MANY, strict=True)):
                raise GameError(
                    f"{n:,} agents of {table.name} are in too many configurations, 10^"
                    f"{log10(size[0]):.0f}, or their exact gap takes too many operations, 10^"
                    f"{log10(size[1]):.0f}",
                    hint="exact=False.",
                )
            values = program.solve()
            gap, blind = max(0.0, values.best - values.own), values.blind - values.own
            return FiniteGap(n, gap, gap, gap, True, values.own, blind, values.deviation)
        if table.moving and table.horizon is None:
            raise GameError(
                f"the crowd moves the next states of {table.name}, which has no horizon: {n:,} "
                "agents cannot be simulated",
                hint="a horizon, or so few agents that the gap can be computed exactly.",
            )
        kind = Moved if table.moving else Unmoved
        found = kind(among, samples, np.random.default_rng(seed)).estimate()
        gap, low, high = (max(0.0, x) for x in found.interval(confidence))
        return FiniteGap(n, gap, low, high, False, found.value, gap, found.deviation)


def _check(n: int, samples: int, confidence: float) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise GameError(f"{n} agents are asked for; a whole number is needed, at least 1")
    if samples < 2:
        raise GameError(f"{samples} populations are asked for; an interval takes at least 2")
    if not 0 < confidence < 1:
        raise GameError(f"the confidence is {confidence:g}; it must be in (0, 1)")
