"""States as trees of tensors, mostly integers: take one apart, put it together, read its label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError


def leaves(state: Any) -> list[Tensor]:
    """The integer tensors of a state, in order.

    >>> leaves((torch.tensor(1), {"ball": torch.tensor(0)}))
    [tensor(1), tensor(0)]
    """
    if state is None:
        return []
    if isinstance(state, Tensor):
        if state.is_floating_point() or state.is_complex():
            raise GameError(
                f"a state is made of integer tensors, and this one has {state.dtype}",
                hint="return `.long()` of it; a continuous state has no table, only sampled SVI.",
            )
        return [state if state.dtype == torch.long else state.long()]
    if isinstance(state, bool | int):
        return [torch.tensor(int(state))]
    if isinstance(state, dict):
        return [leaf for key in state for leaf in leaves(state[key])]
    if isinstance(state, tuple | list):
        return [leaf for part in state for leaf in leaves(part)]
    raise GameError(
        f"a state is an integer tensor, or a tuple, NamedTuple or dict of them, not "
        f"{type(state).__name__}"
    )


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state that may be continuous, in order.

    >>> tensors((torch.tensor(0.5), {"ball": 0}))
    [tensor(0.5000), tensor(0)]
    """
    if state is None:
        return []
    if isinstance(state, Tensor | bool | int | float):
        return [torch.as_tensor(state)]
    if isinstance(state, dict):
        return [leaf for key in state for leaf in tensors(state[key])]
    if isinstance(state, tuple | list):
        return [leaf for part in state for leaf in tensors(part)]
    raise GameError(
        f"a state is a tensor, or a tuple, NamedTuple or dict of them, not {type(state).__name__}"
    )


def rebuild(like: Any, values: list[Any]) -> Any:
    """The state of ``like``'s structure that has these leaves, in order.

    >>> rebuild({"x": 0, "y": 0}, [3, 4])
    {'x': 3, 'y': 4}
    """
    state, rest = _rebuild(like, list(values))
    assert not rest
    return state


def same_structure(one: Any, other: Any) -> bool:
    """Whether two states are of one structure.

    >>> same_structure((1, 2), (torch.tensor(0), 5)), same_structure((1, 2), {"x": 1, "y": 2})
    (True, False)
    """
    if one is None or other is None:
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same_structure(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return (
            _kind(one) == _kind(other)
            and len(one) == len(other)
            and all(map(same_structure, one, other))
        )
    atoms = (Tensor, bool, int)
    return isinstance(one, atoms) and isinstance(other, atoms)


def describe(state: Any) -> str:
    """The structure of a state in words, for error messages.

    >>> describe({"x": torch.tensor(0), "y": (1, 2)})
    "{'x': integer, 'y': (integer, integer)}"
    """
    if state is None:
        return "nothing"
    if isinstance(state, Tensor):
        return "integer" if not state.is_floating_point() else str(state.dtype)
    if isinstance(state, dict):
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in state.items()) + "}"
    if isinstance(state, tuple | list):
        name = type(state).__name__ if hasattr(state, "_fields") else ""
        inside = ", ".join(describe(part) for part in state)
        return f"[{inside}]" if isinstance(state, list) else f"{name}({inside})"
    return "integer" if isinstance(state, bool | int) else type(state).__name__


def to_json(label: Any) -> Any:
    """A label of plain JSON values: NamedTuples become objects, tuples lists.

    >>> to_json({"x": (1, 2)})
    {'x': [1, 2]}
    """
    if isinstance(label, dict):
        return {str(k): to_json(v) for k, v in label.items()}
    if isinstance(label, tuple) and hasattr(label, "_fields"):
        return {k: to_json(v) for k, v in zip(label._fields, label, strict=True)}
    if isinstance(label, tuple | list):
        return [to_json(part) for part in label]
    return label


def _kind(sequence: tuple[Any, ...] | list[Any]) -> Any:
    """A tuple's class; NamedTuples are alike by name and fields, wherever they were defined."""
    fields = getattr(sequence, "_fields", None)
    return (type(sequence).__name__, fields) if fields else type(sequence)


def _rebuild(like: Any, values: list[Any]) -> tuple[Any, list[Any]]:
    if like is None:
        return None, values
    if isinstance(like, dict):
        out: dict[Any, Any] = {}
        for key in like:
            out[key], values = _rebuild(like[key], values)
        return out, values
    if isinstance(like, tuple | list):
        parts = []
        for part in like:
            built, values = _rebuild(part, values)
            parts.append(built)
        make = type(like)
        return (make(*parts) if hasattr(like, "_fields") else make(parts)), values
    return values[0], values[1:]
