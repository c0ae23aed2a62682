"""Solutions in files.

A file holds the game's table too, so that what is loaded can be certified and simulated without
the program.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from vsg_ppl.certificate import Certificate
from vsg_ppl.correlated_certificate import CorrelatedCertificate
from vsg_ppl.errors import GameError
from vsg_ppl.game import agents, is_mean_field, title
from vsg_ppl.mean_field_certificate import MeanFieldCertificate
from vsg_ppl.mean_field_table import MeanFieldTable, mean_field_table
from vsg_ppl.public_signal import PublicSignal
from vsg_ppl.signal_table import base_states, with_law, with_signal
from vsg_ppl.solution import Solution
from vsg_ppl.storage_checks import check_results
from vsg_ppl.storage_file import SOLUTION, read_file, write_file
from vsg_ppl.storage_table import TELLING, check_same_game, read_table, table_tree
from vsg_ppl.structure import same_structure
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

CERTIFICATES: dict[str, type] = {
    "nash": Certificate,
    "correlated": CorrelatedCertificate,
    "mean_field": MeanFieldCertificate,
}
"""By concept."""


def save(solution: Solution, path: str | Path) -> Path:
    """Write a solution to one file, all of it or nothing: an older file is replaced at the end.

    Args:
        solution: of one game or of a batch.
        path: of the file; its folder must exist.

    Returns:
        The path.

    Raises:
        GameError: the file cannot be written, or the solution holds what JSON cannot.

    >>> import tempfile, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(vsg.nash(StagHunt()), f"{folder}/hunt.safetensors")
    ...     loaded = load(path)
    >>> again = vsg.certify(loaded.table, loaded.policies)
    >>> abs(again.nash_gap - loaded.certificate.nash_gap) < 1e-12
    True
    """
    parts = {
        **{
            field.name: getattr(solution, field.name)
            for field in fields(Solution)
            if field.name not in ("game", "table", "certificate")
        },
        "certificate": vars(solution.certificate),
        "table": table_tree(solution.table),
    }
    return write_file(path, SOLUTION, parts, _solution)


def load(path: str | Path, game: Any = None) -> Solution:
    """Read what `save` wrote.

    Without the game, states that were NamedTuples are look-alikes of the same name and fields; with
    it, states are the game's own, and the policies act in its programs.

    Args:
        path: of the file.
        game: the game program, or its table, if at hand. It must be the one that was solved, of a
            mean-field game as it is amid the crowd of the solution, of a correlated equilibrium as
            it is with the solution's law of the signal, which the program may lack.

    Raises:
        GameError: no such file; not a solution, cut off, altered, or of a newer version; another
            game.
    """
    path = Path(path)
    solution = read_file(path, SOLUTION, _solution)
    if game is None:
        return solution
    program = None if isinstance(game, Table | MeanFieldTable) else game
    if _of_a_crowd(game):
        table = _amid(solution, game, path)
    else:
        if isinstance(game, PublicSignal) and solution.signal is not None:
            _check_law(solution, game, path)
            game = game.game
        table = game if isinstance(game, Table) else tabulate(game)
        added = bool(solution.table.signals) and not table.signals
        if solution.signal is not None:
            table = _signalled(solution, table)
        check_same_game(path, SOLUTION, solution.table, table)
        if program is not None and solution.signal is not None:
            program = _with_its_signal(game, table, added)
    moved: dict[str, Any] = {
        part: {agent: x.to(table.device) for agent, x in getattr(solution, part).items()}
        for part in ("policies", "values", "answers")
    }
    for part in ("crowd", "signal"):
        if (x := getattr(solution, part)) is not None:
            moved[part] = x.to(table.device)
    return Solution(**{**vars(solution), **moved, "game": program, "table": table})


def _solution(tree: dict[str, Any]) -> Solution:
    """The solution of a tree, after a look at whether its parts fit."""
    table = read_table(tree["table"])
    check_results(table, tree)
    return Solution(
        **{
            **{field.name: tree[field.name] for field in fields(Solution) if field.name in tree},
            "game": None,
            "table": table,
            "certificate": CERTIFICATES[tree["concept"]](**tree["certificate"]),
        }
    )


def _of_a_crowd(game: Any) -> bool:
    """Whether a game is a mean-field one, or its table."""
    if isinstance(game, Table | MeanFieldTable):
        return isinstance(game, MeanFieldTable)
    agents(game)  # is it a game at all?
    return is_mean_field(game)


def _signalled(solution: Solution, table: Table) -> Table:
    """The table of a game with the signals of a solution, if it has none, and their law."""
    stored = solution.table
    if not table.signals and len(stored.signals) == 1 and not table.batched:
        (name, size) = stored.signals[0]
        table = with_signal(table, size, name)
    law = stored.signal_law
    same = table.signals == stored.signals and len(table.states) == len(stored.states)
    if not same or law is None or (len(law) > 1 and len(law) != table.horizon):
        return table  # another game
    return with_law(table, law.to(table.device))


def _check_law(solution: Solution, game: PublicSignal, path: Path) -> None:
    """Raise `GameError` if the program's signal has another law than the solution's."""
    law, other = solution.table.signal_law, game.law
    if law is None or law.shape != other.shape or not torch.allclose(law, other.to(law)):
        raise GameError(
            f"{path} holds {SOLUTION} of {solution.table.name} with another law of the signal",
            hint="the program without it.",
        )


def _with_its_signal(game: Any, table: Table, added: bool) -> PublicSignal:
    """The program with the law of the solution's signal."""
    assert table.signal_law is not None
    states = base_states(table)
    return PublicSignal(game, states, table.signals, table.signal_law, added=added)


def _amid(solution: Solution, game: Any, path: Path) -> Table:
    """The table of a mean-field game amid the crowd of a solution, if that is its solution."""
    stored, crowd = solution.table, solution.crowd
    if crowd is None:
        raise GameError(
            f"{path} holds a solution of {stored.name} without a crowd, and {title(game)} is a "
            "mean-field game"
        )

    def compared(population: MeanFieldTable) -> Table:
        check_same_game(path, SOLUTION, stored, population.shape(), TELLING)
        table = population.at((crowd if stored.horizon is not None else crowd[None]).to(device))
        check_same_game(path, SOLUTION, stored, table)
        return table

    population = mean_field_table(game)
    device = population.device
    try:
        return compared(population)
    except GameError:
        like, more = population.states.like, len(stored.states) > len(population.states)
        if more and same_structure(like, stored.states.like):
            # crowds on the solver's way may have led to states that exploring did not find
            with suppress(GameError):
                return compared(mean_field_table(population.game, more=stored.states.values))
        raise
