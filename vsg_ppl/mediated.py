"""The best correlated equilibrium with private signals, by linear program."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.choice import EXACT, Aim
from vsg_ppl.correlated_certificate import CorrelatedCertificate, certify_joint
from vsg_ppl.errors import GameError
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

Array = NDArray[np.float64]

LARGEST = 50_000
"""Joint actions of a state beyond which the linear program is refused."""


@dataclass(frozen=True, eq=False)
class Mediation:
    """What a mediator does who tells each agent its own action only.

    Attributes:
        joint: the law of the joint actions, (S, A_1, ..., A_N).
        certificate: exact gaps of it.
    """

    joint: Tensor
    certificate: CorrelatedCertificate


def mediated(game: Any, objective: str = "welfare") -> Mediation:
    """The best correlated equilibrium of a one-shot game, state by state, by linear program.

    A public signal mixes Nash equilibria; a mediator who speaks to each agent alone can do better.
    Source: R. J. Aumann, 1987, "Correlated equilibrium as an expression of Bayesian rationality".

    Args:
        game: a game program of one decision, or its table.
        objective: ``"welfare"``, the sum of the values; ``"fairness"``, the least of them in every
            state; or an agent, its value. An agent with one action, paid any weights of the
            others' payoffs, makes any other objective.

    Raises:
        GameError: more than one decision, a batch, more than `LARGEST` joint actions, another
            objective.

    >>> from vsg_ppl.models import Chicken
    >>> found = mediated(Chicken())
    >>> found.joint[0].round(decimals=4), round(found.certificate.welfare, 6)
    (tensor([[0.5000, 0.2500],
            [0.2500, 0.0000]], dtype=torch.float64), 10.5)
    """
    table = game if isinstance(game, Table) else tabulate(game)
    aim = Aim(objective, table.agents)
    if table.horizon != 1 or table.batched:
        raise GameError(
            f"{table.name} is {'a batch' if table.batched else 'not a one-shot game'}",
            hint="a game with horizon 1; `correlated` for public signals in games of more steps.",
        )
    laws = []
    for s in range(len(table.states)):
        payoffs, free = _stage(table, s)
        laws.append(torch.from_numpy(best_law(payoffs, free, aim)))
    joint = torch.stack(laws).to(table.device)
    with torch.no_grad():
        certificate = certify_joint(
            table, joint[None, None], best_welfare(table) if objective != "welfare" else None
        )
    if objective == "welfare":
        certificate = CorrelatedCertificate(
            **{**vars(certificate), "best_welfare": certificate.welfare}
        )
    return Mediation(joint, certificate)


def best_welfare(table: Table) -> float | None:
    """The most that the agents of a one-shot game get together; ``None`` where that is too large.

    From the initial law, over all correlated equilibria, public signals being known to all.
    """
    if table.horizon != 1 or prod(table.sizes) > LARGEST:
        return None
    aim, total = Aim("welfare", table.agents), 0.0
    for s, chance in enumerate(table.initial[0].tolist()):
        if chance > 0:
            payoffs, free = _stage(table, s)
            total += chance * float((payoffs.sum(0) * best_law(payoffs, free, aim)).sum())
    return total


def best_law(payoffs: Array, free: list[NDArray[np.bool_]], aim: Aim) -> Array:
    """The law (A_1, ..., A_N) that is best of all correlated equilibria of one game.

    Args:
        payoffs: (N, A_1, ..., A_N).
        free: which actions are available, for each agent.
        aim: what to maximise.
    """
    n, sizes = len(payoffs), payoffs.shape[1:]
    size = prod(sizes)
    if size > LARGEST:
        raise GameError(f"a state has {size:,} joint actions; {LARGEST:,} are allowed")
    scale = float(np.ptp(payoffs)) or 1.0
    scaled = (payoffs - payoffs.min()) / scale
    numbers = np.arange(size).reshape(sizes)
    rows, columns, entries, count = [], [], [], 0
    for i in range(n):
        cells = np.moveaxis(numbers, i, 0).reshape(sizes[i], -1)
        worth = np.moveaxis(scaled[i], i, 0).reshape(sizes[i], -1)
        for told in np.flatnonzero(free[i]):
            for played in np.flatnonzero(free[i]):
                if played != told:  # disobeying gains nothing
                    rows.append(np.full(cells.shape[1], count))
                    columns.append(cells[told])
                    entries.append(worth[played] - worth[told])
                    count += 1
    every = np.ones(sizes, dtype=bool)
    for i, own in enumerate(free):
        every &= own.reshape([-1 if k == i else 1 for k in range(n)])
    flat = scaled.reshape(n, -1)
    least = scipy.sparse.hstack([scipy.sparse.csr_array(-flat), np.ones((n, 1))])
    obey = scipy.sparse.csr_array((count, size + 1))
    if count:
        places = (np.concatenate(rows), np.concatenate(columns))
        obey = scipy.sparse.csr_array((np.concatenate(entries), places), shape=(count, size + 1))
    goal = np.append(np.zeros(size), 1.0) if aim.fair else np.append(aim.weights @ flat, 0.0)
    result = scipy.optimize.linprog(
        -goal,
        scipy.sparse.vstack([obey, least]).tocsr(),
        np.zeros(count + n),
        np.append(np.ones(size), 0.0)[None],
        [1.0],
        options=EXACT,
        bounds=[(0.0, 1.0 if cell else 0.0) for cell in every.ravel()] + [(0.0, 1.0)],
    )
    if result.x is None:
        raise GameError(f"the linear program of the best correlated law failed: {result.message}")
    law = result.x[:size].clip(0.0).reshape(sizes)
    return np.asarray(law / law.sum())


def _stage(table: Table, s: int) -> tuple[Array, list[NDArray[np.bool_]]]:
    """Payoffs of a state, (N, A_1, ..., A_N), and which actions are available."""
    payoffs = np.stack([r[0, 0, s].expand(table.sizes).cpu().numpy() for r in table.rewards])
    return payoffs, [(prior[0, 0, s] > -torch.inf).cpu().numpy() for prior in table.log_priors]
