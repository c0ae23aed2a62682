"""Files of ours: one safetensors file with the tensors, and the rest as JSON in its header.

No pickle: reading a file runs no code of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vsg_ppl.errors import GameError

HEADER = 100_000_000
"""Bytes of a header that safetensors still reads."""

TENSOR = "$tensor"
"""Key of the objects that stand for tensors in the JSON."""

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes:
        name: of it, and of the part of the header that has the JSON.
        article: "a" or "an".
        version: up to which files are read; it is the one that is written.
        read_by: what a person calls to read one.
        bulk: what may become too long for a header.
        shorter: what to try then.
    """

    name: str
    article: str
    version: int
    read_by: str
    bulk: str
    shorter: str

    @property
    def format(self) -> str:
        """The mark of such a file."""
        return f"vsg_ppl.{self.name}"

    def __str__(self) -> str:
        return f"{self.article} {self.name}"


SOLUTION = Kind(
    *("solution", "a", 1, "Solution.load(path)", "history"),
    "dataclasses.replace(solution, history=solution.history[-1000:]).",
)
INFERENCE = Kind(
    *("inference", "an", 1, "OpponentInference.load(path)", "diagnostics"),
    "dataclasses.replace(found, diagnostics={}).",
)
KINDS = (SOLUTION, INFERENCE)


def write_file(
    path: str | Path, kind: Kind, parts: Mapping[str, Any], build: Callable[[Any], object]
) -> Path:
    """Write one file, all of it or nothing: an older file is replaced at the end.

    Args:
        path: of the file; its folder must exist.
        kind: of the file.
        parts: trees of dicts, lists, tuples, tensors and plain values, by name.
        build: what `read_file` will make of them; what it refuses is not written.

    Raises:
        GameError: the file cannot be written, or a part is what JSON cannot hold.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    tree = {name: pack(part, name, tensors) for name, part in parts.items()}
    try:
        content = json.dumps(tree)
    except (TypeError, ValueError, RecursionError) as error:
        raise GameError(f"this {kind.name} cannot be written as JSON ({error})") from error
    build(unpack(json.loads(content), tensors))
    metadata = {
        "format": kind.format,
        "version": str(kind.version),
        "sha256": digest(content, tensors),
        kind.name: content,
    }
    data = safetensors.torch.save(tensors, metadata)
    length = int.from_bytes(data[:8], "little")
    if length > HEADER:
        raise GameError(
            f"the {kind.bulk} and names take {length:,} bytes, and the header of a file {HEADER:,} "
            "at most",
            hint=kind.shorter,
        )
    _write(path, data)
    return path


def read_file(path: str | Path, kind: Kind, build: Callable[[Any], T]) -> T:
    """What ``build`` makes of the parts that `write_file` wrote; tuples come back as lists.

    Raises:
        GameError: no such file; of another kind, cut off, altered, or of a newer version; or
            ``build`` does not take it.
    """
    path = Path(path)
    content, tensors = _read(path, kind)
    try:
        return build(unpack(json.loads(content), tensors))
    except GameError as error:
        raise GameError(f"{path} holds {kind} that does not fit together: {error}") from error
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,  # with RecursionError
    ) as error:
        why = f"a part of the {kind.name} is not as it should be ({error})"
        raise _foreign(path, kind, why) from error


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value with tensors taken out; they go to ``tensors`` under dotted names.

    >>> tensors = {}
    >>> pack({"x": [1, torch.ones(2)]}, "part", tensors), list(tensors)
    ({'x': [1, {'$tensor': 'part.x.1'}]}, ['part.x.1'])
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {TENSOR: name}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise GameError(f"{name} has the key {key!r}, which is not a string")
        return {key: pack(part, f"{name}.{key}", tensors) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [pack(part, f"{name}.{k}", tensors) for k, part in enumerate(value)]
    return value


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The opposite of `pack`, but for tuples, which come back as lists."""
    if isinstance(value, dict):
        if list(value) == [TENSOR] and isinstance(value[TENSOR], str):
            return tensors[value[TENSOR]]
        return {key: unpack(part, tensors) for key, part in value.items()}
    if isinstance(value, list):
        return [unpack(part, tensors) for part in value]
    return value


def digest(content: str, tensors: Mapping[str, Tensor]) -> str:
    """A fingerprint of everything in the file."""
    found = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        x = tensors[name]
        found.update(f"\n{name} {x.dtype} {tuple(x.shape)}\n".encode())
        found.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")
    return found.hexdigest()


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


def _read(path: Path, kind: Kind) -> tuple[str, dict[str, Tensor]]:
    """The JSON and the tensors of a file that `write_file` wrote, unaltered."""
    try:
        with path.open("rb") as file:
            content, fingerprint = _marks(path, kind, _metadata(path, kind, file))
            file.seek(0)
            data = file.read()
    except OSError as error:
        hint = "the path that `save` returned." if isinstance(error, FileNotFoundError) else None
        raise GameError(f"{path} cannot be read ({error.strerror})", hint=hint) from error
    try:
        tensors = safetensors.torch.load(data)
        found = digest(content, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _foreign(path, kind, f"it is cut off or altered ({error})") from error
    if found != fingerprint:
        why = "it has been altered since it was written: its fingerprint differs"
        raise _foreign(path, kind, why)
    return content, tensors


def _metadata(path: Path, kind: Kind, file: BinaryIO) -> dict[Any, Any]:
    """What the header of a safetensors file says of the whole; none if it is no such file."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, HEADER):
        raise _foreign(path, kind, "it is not a safetensors file, or cut off")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _foreign(path, kind, "it is not a safetensors file") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _marks(path: Path, kind: Kind, metadata: dict[Any, Any]) -> tuple[str, str]:
    """The JSON of a file of this kind and of a version we know, and its fingerprint."""
    for other in KINDS:
        if other != kind and metadata.get("format") == other.format:
            raise GameError(f"{path} holds {other}, not {kind}", hint=f"{other.read_by}.")
    if metadata.get("format") != kind.format:
        raise _foreign(path, kind, f"it lacks the mark '{kind.format}' in its header")
    try:
        version = int(metadata["version"])
        content, fingerprint = metadata[kind.name], metadata["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, kind, "its header is incomplete") from error
    if version > kind.version:
        raise GameError(
            f"{path} has version {version} of the format, and this vsg_ppl reads versions up to "
            f"{kind.version}",
            hint="pip install --upgrade vsg_ppl.",
        )
    if version < 1 or not isinstance(content, str):
        raise _foreign(path, kind, "its header is incomplete")
    return content, fingerprint


def _foreign(path: Path, kind: Kind, why: str) -> GameError:
    return GameError(f"{path} is no {kind.name} that can be read: {why}")
