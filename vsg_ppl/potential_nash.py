"""Pure Nash equilibria where all agents climb one function: at its largest value."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from vsg_ppl.best_response import respond
from vsg_ppl.certificate import certify_tables
from vsg_ppl.errors import GameError
from vsg_ppl.everyone import as_one
from vsg_ppl.game import Game
from vsg_ppl.kinds import identical_interest, potential
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


def potential_nash(game: Game | Table) -> Solution:
    """The Nash equilibrium at which the potential is largest, all at once and exact.

    * One agent, or identical interests: what one agent would do who acts for all and is paid what
      each is, by dynamic programming. No joint policy pays more.
    * An exact potential in every state, and actions that do not move the states, as in any one-shot
      potential game: in every state the joint action of the largest potential.

    In other Markov potential games the potential is a function of whole policies only; `exact_nash`
    and `nash` take them.

    Source: D. Monderer and L. S. Shapley, 1996, "Potential games", Games and Economic Behavior 14.

    Args:
        game: a finite game program or its table.

    Raises:
        GameError: neither kind of game, or a batch of games.

    >>> from vsg_ppl.models import StagHunt
    >>> solution = potential_nash(StagHunt())
    >>> solution.certificate.nash_gap
    0.0
    """
    table = game if isinstance(game, Table) else tabulate(game)
    began = time.perf_counter()
    with torch.no_grad():
        if identical_interest(table):
            chosen, what = _together(table), "what all agents get"
        else:
            chosen, what = _by_state(table), "the potential of every state"
        policies = _pure(table, chosen)
        certificate = certify_tables(table, policies)
    gap = float(certificate.nash_gap_worst_state)
    solved = gap <= 1e-8
    return solution_of(
        game,
        table,
        [policy.log() for policy in policies],
        certificate=certificate,
        temperature=0.0,
        factorisation="marginal",
        iterations=1,
        seconds=time.perf_counter() - began,
        status="solved" if solved else "not converged",
        message=f"Nash gap {gap:.3g} from the worst state, at the largest value of {what}",
    )


def climbs_together(table: Table) -> bool:
    """Whether `potential_nash` takes this game, one and no batch."""
    return identical_interest(table) or _potentials(table) is not None


def _together(table: Table) -> Tensor:
    """The best joint action in every state, flat, (H, S)."""
    one = as_one(table, table.rewards[0])
    policy, _ = respond(one, [one.log_priors[0].exp()], 0)
    return policy[0].argmax(-1)


def _by_state(table: Table) -> Tensor:
    """The joint action with the largest potential, flat, (H, S)."""
    found = _potentials(table)
    if found is None:
        raise GameError(
            f"{table.name} is neither of identical interest, nor are its states potential games "
            "that no action moves",
            hint="`exact_nash`.",
        )
    return found.flatten(2).argmax(-1)


def _potentials(table: Table) -> Tensor | None:
    """Φ_t(s, a), (H|1, S, A_1, ..., A_N), if actions do not move states and all stages have one."""
    acted = [*table.probabilities.shape[3:-1]]
    if table.successors is not None:
        acted += table.successors.shape[2:-1]
    if table.horizon != 1 and any(size > 1 for size in acted):
        return None
    times = table.times if table.horizon is not None else 1
    out = []
    for t in range(times):
        stage = replace(
            table,
            horizon=1,
            rewards=tuple(r[:, [min(t, r.shape[1] - 1)]] for r in table.rewards),
            log_priors=tuple(p[:, [min(t, p.shape[1] - 1)]] for p in table.log_priors),
            reachable=None,
        )
        phi = potential(stage)
        if phi is None:
            return None
        out.append(phi)
    return torch.stack(out)


def _pure(table: Table, chosen: Tensor) -> list[Tensor]:
    """Policies (1, H|1, S, A_i) that play joint actions, given by their numbers."""
    places = torch.unravel_index(chosen, table.sizes)
    return [
        torch.nn.functional.one_hot(place, size).double()[None]
        for place, size in zip(places, table.sizes, strict=True)
    ]
