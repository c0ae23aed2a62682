"""What was inferred from play, in files: everything but the program."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from vsg_ppl.errors import GameError
from vsg_ppl.family import TableFamily
from vsg_ppl.game import agents, is_mean_field, title
from vsg_ppl.inference import OpponentInference
from vsg_ppl.mean_field_table import MeanFieldTable
from vsg_ppl.storage_checks import check_inference
from vsg_ppl.storage_file import INFERENCE, read_file, write_file
from vsg_ppl.storage_table import TELLING, check_same_game, read_table, table_tree
from vsg_ppl.table import Table

KNOWN = tuple(part for part in TELLING if part != "discount")
"""Parts of a table that no unknown moves."""


def save_inference(found: OpponentInference, path: str | Path) -> Path:
    """Write what was inferred to one file, all of it or nothing.

    Args:
        found: what `infer_opponent` gives.
        path: of the file; its folder must exist.

    Returns:
        The path.

    Raises:
        GameError: the file cannot be written, or the diagnostics hold what JSON cannot.

    >>> import tempfile, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> plays = vsg.nash(StagHunt(), temperature=1.0).simulate(10, steps=5)
    >>> found = vsg.infer_opponent(StagHunt(), "col", plays)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_inference(found, f"{folder}/col.safetensors")
    ...     loaded = load_inference(path, StagHunt())
    >>> loaded.predict(0) == found.predict(0)
    True
    """
    parts = {
        field.name: getattr(found, field.name)
        for field in fields(OpponentInference)
        if field.name not in ("game", "table")
    }
    return write_file(path, INFERENCE, {**parts, "table": table_tree(found.table)}, _inference)


def load_inference(path: str | Path, game: Any = None) -> OpponentInference:
    """Read what `save_inference` wrote.

    Without the game, states that were NamedTuples are look-alikes of the same name and fields; with
    it, they are the game's own.

    Args:
        path: of the file.
        game: the game program, or its table, if at hand. It must be the one that was played; of a
            program with unknowns the agents, actions, states and horizon are compared.

    Raises:
        GameError: no such file; not an inference, cut off, altered, or of a newer version; another
            game.
    """
    path = Path(path)
    found = read_file(path, INFERENCE, _inference)
    if game is None:
        return found
    if isinstance(game, MeanFieldTable) or not isinstance(game, Table):
        _check_among_agents(path, found, game)
    family = TableFamily(game)
    table = family.table
    check_same_game(path, INFERENCE, found.table, table, KNOWN if family.names else ())
    moved = {
        part: {name: x.to(table.device) for name, x in getattr(found, part).items()}
        for part in ("policies", "rewards", "posterior", "policy_draws", "counts")
    }
    program = None if isinstance(game, Table) else game
    return OpponentInference(**{**vars(found), **moved, "game": program, "table": table})


def _check_among_agents(path: Path, found: OpponentInference, game: Any) -> None:
    """Raise `GameError` for what is no game, or one amid a crowd."""
    if isinstance(game, MeanFieldTable):
        game = game.game
    agents(game)
    if is_mean_field(game):
        raise GameError(
            f"{path} holds {INFERENCE} of {found.table.name}, a game among agents, and "
            f"{title(game)} is a mean-field game"
        )


def _inference(tree: dict[str, Any]) -> OpponentInference:
    """What was inferred, of a tree, after a look at whether its parts fit."""
    table = read_table(tree["table"])
    check_inference(table, tree)
    parts = {
        field.name: tree[field.name]
        for field in fields(OpponentInference)
        if field.name not in ("game", "table")
    }
    return OpponentInference(
        **{**parts, "agents": tuple(tree["agents"]), "game": None, "table": table}
    )
