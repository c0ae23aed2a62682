"""Correlated equilibria: Nash equilibria of the game in which all see a public signal (§5.3).

The signal becomes part of the state (Fig. 3), so every equilibrium of the augmented game plays
Σ_ω σ(ω) Π π^i(·|s, ω), a public lottery over equilibria. Which of them a value of the signal stands
for, and how likely it is, is chosen here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.choice import Aim, Array, assign
from vsg_ppl.correlated_certificate import CorrelatedCertificate, certify_joint, product_law
from vsg_ppl.errors import GameError
from vsg_ppl.exact_nash import exact_nash
from vsg_ppl.game import Game
from vsg_ppl.mediated import best_welfare
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.public_signal import PublicSignal
from vsg_ppl.signal_table import (
    base_states,
    check_only_a_signal,
    with_law,
    with_signal,
)
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.stage_equilibria import Equilibria
from vsg_ppl.stagewise import fits, stagewise
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


def correlated(
    game: Game | Table,
    *,
    objective: str = "welfare",
    signal: Literal["given", "learned"] | None = None,
    signals: int | None = None,
    target_gap: float = 1e-6,
    max_steps: int = 3000,
    progress: bool = False,
) -> Solution:
    """A correlated equilibrium by a public signal, whose law is given or learned (§5.3).

    In every state, and backwards where there is a horizon, all equilibria of the stage game are
    listed, and each value of the signal gets the one with which the objective is largest. A choice
    that is best in every state need not be the best of whole plays. In one-shot games it is, but
    for fairness with several first states, whose values are then not weighed against each other.

    Args:
        game: a finite game program or its table.
        objective: ``"welfare"``, the sum of the agents' values; ``"fairness"``, the least of them;
            or the name of an agent, its value. Ties go to the fairest, then to the largest welfare.
        signal: keep the law σ of the program, or choose it too; by default learned if the signal is
            added here, otherwise given.
        signals: adds a public signal with so many values to a game that has none.
        target_gap: on the correlated gap from the worst state, in units of reward.
        max_steps: rounds of values and stage equilibria, without a horizon.
        progress: show a progress bar.

    Returns:
        The solution. Its ``signal`` is σ, its ``joint`` what is played, its ``policies`` answer
        state and signal, its ``game`` is the program with this σ. Two agents: all equilibria of a
        stage game are known; more agents: those that Newton's method found.

    Raises:
        GameError: no signal, or two; a signal to be learned that rewards or chance read; too many
            equilibria to list; a batch.

    >>> from vsg_ppl.models import BattleOfTheSexes
    >>> fair = correlated(BattleOfTheSexes(), signals=2, objective="fairness")
    >>> fair.signal, fair.certificate.values
    (tensor([[[0.5000, 0.5000]]], dtype=torch.float64), {'row': 1.5, 'col': 1.5})
    """
    began = time.perf_counter()
    table = game if isinstance(game, Table) else tabulate(game)
    aim = Aim(objective, table.agents)
    table, learned = _signalled(table, signal, signals)
    if learned:
        check_only_a_signal(table)
    if not target_gap > 0 or max_steps < 1:
        raise GameError(
            f"the target gap is {target_gap:g} and max_steps is {max_steps}; both must be positive"
        )
    if not fits(table):
        raise GameError(
            f"the equilibria of all stage games of {table.name} are too many to list",
            hint="`exact_nash`, which finds an equilibrium in which the signal is seen.",
        )

    def choose(found: list[Equilibria], law: Array) -> tuple[Array, Array]:
        omega = law.shape[1]
        policies, laws = [], []
        for s, now in enumerate(law):
            stages = found[s * omega : (s + 1) * omega]
            if learned:  # nothing depends on the signal
                stages = [stages[0]] * omega
            picked, new = assign(aim, [x.payoffs for x in stages], None if learned else now)
            policies += [x.policies[k] for x, k in zip(stages, picked, strict=True)]
            laws.append(new)
        return np.stack(policies), np.stack(laws)

    with torch.no_grad():
        with progress_bar("correlated") if progress else no_progress() as show:
            run = stagewise(table, choose, max_steps=max_steps, show=show)
        policies, settled = run.policies, run.settled
        final = with_law(table, run.law)
        certificate = _certificate(final, policies)
        if certificate.correlated_gap_worst_state > target_gap:
            policies, certificate = _followed(final, policies, certificate)
        solved = certificate.correlated_gap_worst_state <= target_gap
        solution = solution_of(
            game,
            final,
            [policy.log() for policy in policies],
            concept="correlated",
            certificate=certificate,
            temperature=0.0,
            factorisation="marginal",
            iterations=len(run.history),
            seconds=time.perf_counter() - began,
            status="solved" if solved else "not converged",
            message=_message(certificate, objective, solved, settled),
            history=run.history,
        )
    law = run.law if final.horizon is None else run.law.expand(final.horizon, -1, -1)
    program = None if isinstance(game, Table) else _program(game, final, added=signals is not None)
    return replace(solution, game=program, signal=law if final.horizon is not None else law[0])


def _signalled(
    table: Table, signal: Literal["given", "learned"] | None, signals: int | None
) -> tuple[Table, bool]:
    """The table with its signal, and whether its law is to be learned."""
    if table.batched:
        raise GameError("a correlated equilibrium is of one game, and this table holds a batch")
    if signal not in (None, "given", "learned"):
        raise GameError(f"signal is {signal!r}", hint='"given" or "learned".')
    if signals is not None:
        if isinstance(signals, bool) or not isinstance(signals, int):
            raise GameError(f"signals is {signals!r}; it counts the values of a signal", hint="2.")
        if signals < 1:
            raise GameError(f"signals is {signals}; a signal has at least 1 value")
        return with_signal(table, signals), signal != "given"
    if not table.signals:
        raise GameError(
            f"{table.name} has no public signal",
            hint="`signals=2` adds one with two values; `vsg.signal` in the step.",
        )
    return table, signal == "learned"


def _program(game: Game, table: Table, *, added: bool) -> PublicSignal:
    assert table.signal_law is not None
    return PublicSignal(game, base_states(table), table.signals, table.signal_law, added=added)


def _certificate(table: Table, policies: list[Tensor]) -> CorrelatedCertificate:
    return certify_joint(table, product_law(table, policies), best_welfare(table))


def _followed(
    table: Table, policies: list[Tensor], certificate: CorrelatedCertificate
) -> tuple[list[Tensor], CorrelatedCertificate]:
    """What the path from these policies leads to, the signal's law being held, if it is better."""
    start = {
        agent: policy[0, 0] if table.horizon is None else policy[0]
        for agent, policy in zip(table.agents, policies, strict=True)
    }
    try:
        found = exact_nash(table, initial=start).policies
    except GameError:  # more states than the path takes
        return policies, certificate
    after = [policy[None, None] if policy.ndim == 2 else policy[None] for policy in found.values()]
    again = _certificate(table, after)
    if again.correlated_gap_worst_state < certificate.correlated_gap_worst_state:
        return after, again
    return policies, certificate


def _message(
    certificate: CorrelatedCertificate, objective: str, solved: bool, settled: bool
) -> str:
    gap = (
        f"correlated gap {certificate.correlated_gap_worst_state:.3g} from the worst state, "
        f"welfare {certificate.welfare:.6g}"
    )
    if certificate.best_welfare is not None:
        gap += f" (with private signals at most {certificate.best_welfare:.6g})"
    if not solved:
        return f"{gap}; raise `max_steps`, or try another objective"
    if not settled:
        more = objective if objective in ("welfare", "fairness") else f"for '{objective}'"
        gap += f"; values and choices did not settle: other choices may give more {more}"
    return gap
