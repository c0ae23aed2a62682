"""Spaces of gymnasium's taken apart: into simple spaces, and those into numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import Tensor

from vsg_ppl.errors import GameError

MASKED = spaces.Discrete | spaces.MultiDiscrete
"""Spaces whose action masks are read."""


def parts(
    space: Any, what: str, path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The simple spaces that a space is made of, with the keys that lead to each.

    Args:
        space: of gymnasium's.
        what: it is, for the error message.
        path: that led here.

    Raises:
        GameError: a space without numbers.

    >>> list(parts(spaces.Dict({"go": spaces.Discrete(2)}), "the actions of 'row'"))
    [(('go',), Discrete(2))]
    """
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from parts(part, what, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for k, part in enumerate(space.spaces):
            yield from parts(part, what, (*path, k))
    elif isinstance(space, MASKED | spaces.MultiBinary | spaces.Box):
        yield path, space
    else:
        raise GameError(
            f"{what} are a space that a program cannot read: {space}",
            hint="Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of them.",
        )


def check_box(agent: str, space: Any) -> None:
    """Raise `GameError` for a box of actions that is bounded in part, or of whole numbers."""
    if not isinstance(space, spaces.Box):
        return
    low, high = np.isfinite(space.low), np.isfinite(space.high)
    whole = np.issubdtype(space.dtype, np.integer)
    one_kind = (low & high).all() or not (low | high).any()
    if whole or not one_kind or (low & high & (space.low >= space.high)).any():
        raise GameError(
            f"the actions of '{agent}' are {space}, which has no plain prior",
            hint="a Box of real numbers with finite bounds, low < high, or without any; rescale "
            "the others by a wrapper.",
        )


def sizes(space: Any) -> list[int]:
    """How many values each finite site of an action space has."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.reshape(-1)]
    return [2] * count(space) if isinstance(space, spaces.MultiBinary) else []


def count(space: Any) -> int:
    """How many numbers an element of a simple space has."""
    return int(np.prod(space.shape, dtype=int))


def flatten(agent: str, space: Any, value: Any) -> Any:
    """The numbers of an observation in a simple space, float64."""
    try:
        flat = np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise GameError(f"'{agent}' sees {value!r}, which is not in {space}") from None
    if len(flat) != count(space):
        raise GameError(
            f"'{agent}' sees {len(flat)} numbers where its observation space has {count(space)}"
        )
    return flat


def shaped(space: Any, flat: Tensor) -> Tensor:
    """An element of a simple space, from its numbers."""
    value = flat.reshape(flat.shape[:-1] + tuple(space.shape))
    return value if isinstance(space, spaces.Box) else value.long()


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """The part of an element to which these keys lead."""
    for key in path:
        value = value[key]
    return value


def build(space: Any, leaves: Iterator[Any]) -> Any:
    """An element of a space from those of its simple parts."""
    if isinstance(space, spaces.Dict):
        return {key: build(part, leaves) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(build(part, leaves) for part in space.spaces)
    return next(leaves)
