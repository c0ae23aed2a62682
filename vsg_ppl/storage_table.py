"""Tables in files: as trees that `storage_file.py` writes, and what tells one game from another."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.states import States
from vsg_ppl.storage_checks import check_table
from vsg_ppl.storage_file import Kind, pack
from vsg_ppl.structure import leaves
from vsg_ppl.table import Actions, Table

PARTS = {
    "log_priors": "priors",
    "probabilities": "transitions",
    "successors": "transitions",
    "initial": "initial law",
    "reachable": "reachable states",
    "acting": "agents at some time",
    "batched": "batch",
    "signal_law": "law of the signals",
}
"""Parts of a table in words."""

TELLING = ("agents", "horizon", "discount", "actions", "states")
"""Parts in which games differ that people would name first, and that no crowd changes."""


def table_tree(table: Table) -> dict[str, Any]:
    """All of a table, to be packed; its states as their structure and their parts.

    Raises:
        GameError: a state has keys that JSON lacks.
    """
    tree = {field.name: getattr(table, field.name) for field in fields(Table)}
    tree["actions"] = [vars(actions) for actions in table.actions]
    tree["states"] = {
        "structure": _structure(table.states.like),
        "values": table.states.values,
    }
    return tree


def read_table(tree: dict[str, Any]) -> Table:
    """The table of such a tree; raises `GameError` unless its parts fit each other."""
    tree = dict(tree)
    states = tree.pop("states")
    like, values = _like(states["structure"]), states["values"]
    if values.ndim != 2 or values.dtype != torch.long or values.shape[1] != len(leaves(like)):
        raise GameError("the states do not have the parts that their structure says")
    table = Table(
        **{
            **tree,
            "agents": tuple(tree["agents"]),
            "actions": tuple(
                Actions(
                    tuple(actions["sites"]),
                    tuple(actions["sizes"]),
                    tuple(map(tuple, actions["labels"])),
                )
                for actions in tree["actions"]
            ),
            "states": States(like, values),
            "log_priors": tuple(tree["log_priors"]),
            "rewards": tuple(tree["rewards"]),
            "signals": tuple((name, size) for name, size in tree.get("signals", ())),
        }
    )
    check_table(table)
    return table


def check_same_game(
    path: Path, kind: Kind, stored: Table, table: Table, parts: Sequence[str] = ()
) -> None:
    """Raise `GameError` where the game is not the one of the file, or these parts of it."""
    ones: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    one, other = pack(table_tree(stored), "", ones), pack(table_tree(table), "", others)
    for part in parts or [*TELLING, *(part for part in one if part not in (*TELLING, "name"))]:
        same = one[part] == other[part] and all(
            _close(x, others[name]) for name, x in ones.items() if name.split(".")[1] == part
        )
        if not same:
            raise GameError(
                f"{path} holds {kind} of {stored.name}, which differs from {table.name} in its "
                f"{PARTS.get(part, part)}",
                hint=f"the game and the parameters of this {kind.name}, or none.",
            )


def _structure(like: Any) -> Any:
    """The structure of a state as JSON; its leaves are ``"integer"``."""
    if like is None:
        return None
    if isinstance(like, dict):
        for key in like:
            if not isinstance(key, str | int):
                raise GameError(
                    f"a state is a dict with the key {key!r}, and a file can only keep keys that "
                    "are strings or integers"
                )
        plain = [str(key) if isinstance(key, str) else int(key) for key in like]
        return {"dict": [[key, _structure(like[key])] for key in plain]}
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        parts = zip(like._fields, like, strict=True)
        return {
            "named": type(like).__name__,
            "fields": [[key, _structure(part)] for key, part in parts],
        }
    if isinstance(like, tuple | list):
        kind = "list" if isinstance(like, list) else "tuple"
        return {kind: [_structure(part) for part in like]}
    return "integer"


def _like(structure: Any) -> Any:
    """A state of this structure; the opposite of `_structure`."""
    if structure is None:
        return None
    if structure == "integer":
        return 0
    if "dict" in structure:
        return {key: _like(part) for key, part in structure["dict"]}
    if "named" in structure:
        names = [key for key, _ in structure["fields"]]
        make = namedtuple(structure["named"], names)  # type: ignore[misc]  # noqa: PYI024
        return make(*(_like(part) for _, part in structure["fields"]))
    if "list" in structure:
        return [_like(part) for part in structure["list"]]
    return tuple(_like(part) for part in structure["tuple"])


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to what machines differ in; −inf equals itself."""
    same = one.shape == other.shape and one.dtype == other.dtype
    return same and torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
