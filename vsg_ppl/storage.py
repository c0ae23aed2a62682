"""Solutions in files: one safetensors file with the tensors, and the rest as JSON in its header.

No pickle: reading a file runs no code of it. The file holds the game's table too, so that what is
loaded can be certified and simulated without the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import namedtuple
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vsg_ppl.certificate import Certificate
from vsg_ppl.errors import GameError
from vsg_ppl.game import agents, is_mean_field, title
from vsg_ppl.mean_field_certificate import MeanFieldCertificate
from vsg_ppl.mean_field_table import MeanFieldTable, mean_field_table
from vsg_ppl.solution import Solution
from vsg_ppl.states import States
from vsg_ppl.storage_checks import check_results, check_table
from vsg_ppl.structure import leaves, same_structure
from vsg_ppl.table import Actions, Table
from vsg_ppl.tabulate import tabulate

FORMAT = "vsg_ppl.solution"
VERSION = 1
HEADER = 100_000_000
"""Bytes of a header that safetensors still reads."""

TENSOR = "$tensor"
"""Key of the objects that stand for tensors in the JSON."""

PARTS = {
    "log_priors": "priors",
    "probabilities": "transitions",
    "successors": "transitions",
    "initial": "initial law",
    "reachable": "reachable states",
    "acting": "agents at some time",
    "batched": "batch",
}
"""Parts of a table in words."""

TELLING = ("agents", "horizon", "discount", "actions", "states")
"""Parts in which games differ that people would name first, and that no crowd changes."""


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
    tensors: dict[str, Tensor] = {}
    tree = {
        **{
            field.name: _pack(getattr(solution, field.name), field.name, tensors)
            for field in fields(Solution)
            if field.name not in ("game", "table", "certificate")
        },
        "certificate": _pack(vars(solution.certificate), "certificate", tensors),
        "table": _pack(_table_tree(solution.table), "table", tensors),
    }
    try:
        content = json.dumps(tree)
    except (TypeError, ValueError, RecursionError) as error:
        raise GameError(f"this solution cannot be written as JSON ({error})") from error
    _solution(json.loads(content), tensors)  # nothing is written that could not be read
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "sha256": _digest(content, tensors),
        "solution": content,
    }
    data = safetensors.torch.save(tensors, metadata)
    length = int.from_bytes(data[:8], "little")
    if length > HEADER:
        raise GameError(
            f"the history and names take {length:,} bytes, and the header of a file {HEADER:,} at "
            "most",
            hint="dataclasses.replace(solution, history=solution.history[-1000:]).",
        )
    path = Path(path)
    _write(path, data)
    return path


def load(path: str | Path, game: Any = None) -> Solution:
    """Read what `save` wrote.

    Without the game, states that were NamedTuples are look-alikes of the same name and fields; with
    it, states are the game's own, and the policies act in its programs.

    Args:
        path: of the file.
        game: the game program, or its table, if at hand. It must be the one that was solved, of a
            mean-field game as it is amid the crowd of the solution.

    Raises:
        GameError: no such file; not a solution, cut off, altered, or of a newer version; another
            game.
    """
    path = Path(path)
    content, tensors = _read(path)
    try:
        solution = _solution(json.loads(content), tensors)
    except GameError as error:
        raise GameError(f"{path} holds a solution that does not fit together: {error}") from error
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,  # with RecursionError
    ) as error:
        raise _foreign(path, f"a part of the solution is not as it should be ({error})") from error
    if game is None:
        return solution
    if _of_a_crowd(game):
        table = _amid(solution, game, path)
    else:
        table = game if isinstance(game, Table) else tabulate(game)
        _same_game(solution.table, table, path)
    program = None if isinstance(game, Table | MeanFieldTable) else game
    moved: dict[str, Any] = {
        part: {agent: x.to(table.device) for agent, x in getattr(solution, part).items()}
        for part in ("policies", "values", "answers")
    }
    if solution.crowd is not None:
        moved["crowd"] = solution.crowd.to(table.device)
    return Solution(**{**vars(solution), **moved, "game": program, "table": table})


def _table_tree(table: Table) -> dict[str, Any]:
    """All of a table; its states as their structure and their parts."""
    tree = {field.name: getattr(table, field.name) for field in fields(Table)}
    tree["actions"] = [vars(actions) for actions in table.actions]
    tree["states"] = {
        "structure": _structure(table.states.like),
        "values": table.states.values,
    }
    return tree


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


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value with tensors taken out; they go to ``tensors`` under dotted names."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {TENSOR: name}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise GameError(f"{name} has the key {key!r}, which is not a string")
        return {key: _pack(part, f"{name}.{key}", tensors) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_pack(part, f"{name}.{k}", tensors) for k, part in enumerate(value)]
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The opposite of `_pack`, but for tuples, which come back as lists."""
    if isinstance(value, dict):
        if list(value) == [TENSOR] and isinstance(value[TENSOR], str):
            return tensors[value[TENSOR]]
        return {key: _unpack(part, tensors) for key, part in value.items()}
    if isinstance(value, list):
        return [_unpack(part, tensors) for part in value]
    return value


def _digest(content: str, tensors: dict[str, Tensor]) -> str:
    """A fingerprint of everything in the file."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"\n{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write beside the file, then rename: nobody ever sees half of it."""
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise GameError(
            f"{path} cannot be written ({error.strerror})", hint="a file in a folder that exists."
        ) from error


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The JSON and the tensors of a file that `save` wrote, unaltered."""
    try:
        with path.open("rb") as file:
            content, digest = _marks(path, _metadata(path, file))
            file.seek(0)
            data = file.read()
    except OSError as error:
        hint = "the path that `save` returned." if isinstance(error, FileNotFoundError) else None
        raise GameError(f"{path} cannot be read ({error.strerror})", hint=hint) from error
    try:
        tensors = safetensors.torch.load(data)
        found = _digest(content, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _foreign(path, f"it is cut off or altered ({error})") from error
    if found != digest:
        raise _foreign(path, "it has been altered since it was written: its fingerprint differs")
    return content, tensors


def _metadata(path: Path, file: BinaryIO) -> dict[Any, Any]:
    """What the header of a safetensors file says of the whole; none if it is no such file."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, HEADER):
        raise _foreign(path, "it is not a safetensors file, or cut off")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _foreign(path, "it is not a safetensors file") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _marks(path: Path, metadata: dict[Any, Any]) -> tuple[str, str]:
    """The JSON of a file that is ours and of a version we know, and its fingerprint."""
    if metadata.get("format") != FORMAT:
        raise _foreign(path, f"it lacks the mark '{FORMAT}' in its header")
    try:
        version = int(metadata["version"])
        content, digest = metadata["solution"], metadata["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, "its header is incomplete") from error
    if version > VERSION:
        raise GameError(
            f"{path} has version {version} of the format, and this vsg_ppl reads versions up to "
            f"{VERSION}",
            hint="pip install --upgrade vsg_ppl.",
        )
    if version < 1 or not isinstance(content, str):
        raise _foreign(path, "its header is incomplete")
    return content, digest


def _foreign(path: Path, why: str) -> GameError:
    return GameError(f"{path} is no solution that can be read: {why}")


def _solution(packed: Any, tensors: dict[str, Tensor]) -> Solution:
    """The solution of a tree, after a look at whether its parts fit."""
    tree = _unpack(packed, tensors)
    table = _table(tree["table"])
    check_results(table, tree)
    kind = MeanFieldCertificate if tree["concept"] == "mean_field" else Certificate
    return Solution(
        **{
            **{field.name: tree[field.name] for field in fields(Solution) if field.name in tree},
            "game": None,
            "table": table,
            "certificate": kind(**tree["certificate"]),
        }
    )


def _table(tree: dict[str, Any]) -> Table:
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
        }
    )
    check_table(table)
    return table


def _of_a_crowd(game: Any) -> bool:
    """Whether a game is a mean-field one, or its table."""
    if isinstance(game, Table | MeanFieldTable):
        return isinstance(game, MeanFieldTable)
    agents(game)  # is it a game at all?
    return is_mean_field(game)


def _amid(solution: Solution, game: Any, path: Path) -> Table:
    """The table of a mean-field game amid the crowd of a solution, if that is its solution."""
    stored, crowd = solution.table, solution.crowd
    if crowd is None:
        raise GameError(
            f"{path} holds a solution of {stored.name} without a crowd, and {title(game)} is a "
            "mean-field game"
        )

    def compared(population: MeanFieldTable) -> Table:
        _same_game(stored, population.shape(), path, TELLING)
        table = population.at((crowd if stored.horizon is not None else crowd[None]).to(device))
        _same_game(stored, table, path)
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


def _same_game(stored: Table, table: Table, path: Path, parts: Sequence[str] = ()) -> None:
    """Raise `GameError` where the game is not the one that was solved, or these parts of it."""
    ones: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    one, other = _pack(_table_tree(stored), "", ones), _pack(_table_tree(table), "", others)
    for part in parts or [*TELLING, *(part for part in one if part not in (*TELLING, "name"))]:
        same = one[part] == other[part] and all(
            _close(x, others[name]) for name, x in ones.items() if name.split(".")[1] == part
        )
        if not same:
            raise GameError(
                f"{path} holds a solution of {stored.name}, which differs from {table.name} in its "
                f"{PARTS.get(part, part)}",
                hint="the game and the parameters that were solved, or none.",
            )


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to what machines differ in; −inf equals itself."""
    same = one.shape == other.shape and one.dtype == other.dtype
    return same and torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
