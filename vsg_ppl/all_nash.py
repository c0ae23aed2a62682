"""All Nash equilibria of a one-shot game, each with its certificate."""

from __future__ import annotations

import time

import numpy as np
import torch

from vsg_ppl.certificate import certify_tables
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.stage_equilibria import stage_equilibria
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


def all_nash(game: Game | Table) -> list[Solution]:
    """All Nash equilibria of a one-shot game with one state, the purest first.

    Of two agents all extreme equilibria: the others are mixtures of these. Of more agents those
    that Newton's method found in every support, which in our random games were all. A game has an
    odd number of them but for coincidences (C. E. Lemke and J. T. Howson, 1964, "Equilibrium points
    of bimatrix games"; R. Wilson, 1971).

    Args:
        game: a finite game program of one decision, or its table.

    Returns:
        The solutions, of temperature 0.

    Raises:
        GameError: more than one decision or state, a batch, or too many supports to go through.

    >>> from vsg_ppl.models import Chicken
    >>> [round(found.certificate.values["row"], 3) for found in all_nash(Chicken())]
    [7.0, 2.0, 4.667]
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched or table.horizon != 1:
        raise GameError(
            f"{table.name} is {'a batch' if table.batched else 'not a one-shot game'}",
            hint="`exact_nash`, with several seeds." if not table.batched else "one game.",
        )
    if len(table.states) > 1:
        raise GameError(
            f"{table.name} has {len(table.states)} states, and each has equilibria of its own",
            hint="a game with one state; `exact_nash` for all states at once.",
        )
    began = time.perf_counter()
    shape = (1, *table.sizes)
    payoffs = np.stack([r[0, 0].expand(shape).cpu().numpy() for r in table.rewards])
    free = np.concatenate([(p[0, 0] > -torch.inf).cpu().numpy() for p in table.log_priors], -1)
    (found,) = stage_equilibria(payoffs, free)
    solutions = []
    for number, policies in enumerate(found.policies):
        whole = torch.from_numpy(policies).to(table.device)
        parts = [part[None, None, None] for part in whole.split(list(table.sizes))]
        certificate = certify_tables(table, parts)
        gap = float(certificate.nash_gap)
        solutions.append(
            solution_of(
                game,
                table,
                [part.log() for part in parts],
                certificate=certificate,
                temperature=0.0,
                factorisation="marginal",
                iterations=1,
                seconds=time.perf_counter() - began,
                status="solved",
                message=f"equilibrium {number + 1} of {len(found)}, Nash gap {gap:.3g}",
            )
        )
    return solutions
