"""What a game is, so that the checkpoint of another is not taken for its own."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from vsg_ppl.game import title


def identity(game: Any) -> str:
    """A game by its name and a digest of all the values that it holds.

    Its code is not looked at. Of a simulator, whose values change while it runs, the class alone.

    >>> from vsg_ppl.models import StagHunt
    >>> [identity(StagHunt()) == identity(other) for other in (StagHunt(), StagHunt(0.5))]
    [True, False]
    """
    if not hasattr(game, "initial"):
        return title(game)
    said = repr(game)  # a class that says nothing of itself says where it lies
    name = title(game) if " at 0x" in said else said
    return f"{name}, {hashlib.sha256(repr(_plain(game, ())).encode()).hexdigest()[:12]}"


def _plain(value: Any, within: tuple[int, ...]) -> Any:
    """A value in plain ones, tensors by their bytes."""
    if isinstance(value, str | bytes | int | float | None):
        return value
    if isinstance(value, Tensor):
        return "tensor", _plain(value.detach().cpu().numpy(), ())
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if id(value) in within:
        return "itself"
    within = (*within, id(value))
    if isinstance(value, list | tuple):
        return [_plain(part, within) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(part, within)) for part in value)
    if isinstance(value, Mapping):
        return [(repr(key), _plain(part, within)) for key, part in value.items()]
    kind = type(value).__qualname__
    return kind, [(name, _plain(part, within)) for name, part in _parts(value).items()]


def _parts(value: Any) -> dict[str, Any]:
    """Fields, or attributes but for those that were computed from others and kept."""
    if isinstance(value, type) or inspect.isroutine(value):
        return {"name": getattr(value, "__qualname__", "")}
    if dataclasses.is_dataclass(value):
        return {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
    known = getattr(value, "__dict__", {})
    return {
        name: part
        for name, part in known.items()
        if not isinstance(getattr(type(value), name, None), cached_property)
    }
