"""The states a table found, by readable label and by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any, overload

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.structure import describe, leaves, rebuild, same_structure

DIRECT = 1 << 26
"""Up to this many codes, look-ups and sets use one array over all codes."""


class Codec:
    """Rows of integers as single integers, by mixed radix: order is lexicographic."""

    def __init__(self, low: list[int], span: list[int]) -> None:
        self.low, self.span = low, span
        self.size = prod(span)
        if self.size >= 1 << 62:
            raise GameError(
                f"the {len(span)} parts of the state span more than 2^62 combinations",
                hint="fewer or narrower parts.",
            )
        self.stride = [prod(span[k + 1 :]) for k in range(len(span))]

    def encode(self, parts: list[Tensor]) -> Tensor:
        """One code for each broadcast combination of the parts; parts must lie in range."""
        code = torch.zeros((), dtype=torch.long)
        for part, low, stride in zip(parts, self.low, self.stride, strict=True):
            code = code.to(part.device) + (part - low) * stride
        return code

    def decode(self, code: Tensor) -> Tensor:
        """The rows of codes, shape (..., parts)."""
        rows = [
            code // stride % span + low
            for low, span, stride in zip(self.low, self.span, self.stride, strict=True)
        ]
        return torch.stack(rows, -1) if rows else code.new_zeros(code.shape + (0,))

    def distinct(self, code: Tensor) -> Tensor:
        """The codes that occur, sorted."""
        if self.size > DIRECT:
            unique: Tensor = code.unique()
            return unique
        present = torch.zeros(self.size, dtype=torch.bool, device=code.device)
        present[code.reshape(-1)] = True
        return present.nonzero().squeeze(-1)


class States(Sequence[Any]):
    """The states of a table, in lexicographic order: readable labels, and numbers of states.

    Args:
        like: any state, for the structure.
        values: integer parts of every state, shape (S, parts), sorted.

    >>> states = States((0, 0), torch.tensor([[0, 1], [2, 0]]))
    >>> states[1], len(states)
    ((2, 0), 2)
    >>> states.index((torch.tensor([2, 0]), torch.tensor([0, 1])))
    tensor([1, 0])
    """

    def __init__(self, like: Any, values: Tensor) -> None:
        self.like, self.values = like, values
        low = values.amin(0).tolist() if len(values) else [0] * values.shape[1]
        high = values.amax(0).tolist() if len(values) else low
        self.codec = Codec(low, [b - a + 1 for a, b in zip(low, high, strict=True)])
        self._codes = self.codec.encode(list(values.unbind(1))).expand(len(values))

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, k: int) -> Any: ...

    @overload
    def __getitem__(self, k: slice) -> list[Any]: ...

    def __getitem__(self, k: int | slice) -> Any:
        if isinstance(k, slice):
            return [self[j] for j in range(*k.indices(len(self)))]
        return rebuild(self.like, self.values[k].tolist())

    def __iter__(self) -> Iterator[Any]:
        return (rebuild(self.like, row) for row in self.values.tolist())

    def tensors(self, *, reserved: int = 1) -> Any:
        """All states at once: leaves of shape (S, 1, ...), S at dimension ``-reserved``."""
        shape = (len(self),) + (1,) * (reserved - 1)
        return rebuild(self.like, [leaf.reshape(shape) for leaf in self.values.unbind(1)])

    def index(self, state: Any) -> Tensor:  # type: ignore[override]
        """Numbers of states; leaves broadcast. Raises `GameError` for a state not in the table."""
        found = self.locate(state)
        if not bool((found >= 0).all()):
            bad = torch.broadcast_tensors(*leaves(state), found >= 0)
            row = [int(part[~bad[-1]].reshape(-1)[0]) for part in bad[:-1]]
            raise GameError(
                f"the state {rebuild(self.like, row)} is not one of the {len(self):,} states "
                "reachable from the initial one"
            )
        return found

    def locate(self, state: Any) -> Tensor:
        """Numbers of states, −1 for those not in the table; leaves broadcast."""
        if not same_structure(self.like, state):
            raise GameError(
                f"a state of structure {describe(state)} was given; this game's states are "
                f"{describe(self.like)}"
            )
        parts = [part.to(self.values.device) for part in leaves(state)]
        if not parts:
            return torch.zeros((), dtype=torch.long, device=self.values.device)
        inside = torch.tensor(True, device=self.values.device)
        kept = []
        for part, low, span in zip(parts, self.codec.low, self.codec.span, strict=True):
            inside = inside & (part >= low) & (part < low + span)
            kept.append(part.clamp(low, low + span - 1))
        return torch.where(inside, self.find(self.codec.encode(kept)), -1)

    @cached_property
    def find(self) -> Finder:
        """Numbers of the states with given codes, −1 where there is none."""
        return Finder(self._codes, self.codec.size)


class Finder:
    """Numbers codes: the place of each in a sorted list, −1 where it is not there."""

    def __init__(self, codes: Tensor, size: int) -> None:
        self.codes = codes
        self.direct: Tensor | None = None
        if size <= DIRECT:
            self.direct = torch.full((size,), -1, dtype=torch.long, device=codes.device)
            self.direct[codes] = torch.arange(len(codes), device=codes.device)

    def __call__(self, code: Tensor) -> Tensor:
        """The numbers, of the shape of ``code``."""
        if self.direct is not None:
            return self.direct.to(code.device)[code]
        codes = self.codes.to(code.device)
        place = torch.searchsorted(codes, code.contiguous()).clamp_max(len(codes) - 1)
        return torch.where(codes[place] == code, place, -1)
