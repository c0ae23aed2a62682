"""A function of tensors, recorded once and replayed without its Python.

Running a step as a Pyro program costs milliseconds whatever it computes. What it computes from the
crowd is a short list of tensor operations, the same every time; this file writes them down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

AGREES = 1e-12
"""How far a tape may be from the program that it was recorded from, relative."""


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor that depends on the input."""

    number: int


@dataclass(frozen=True)
class _Operation:
    run: Callable[..., Any]
    args: Any
    kwargs: Any
    results: tuple[_Slot | None, ...]


class Tape:
    """What a function computes from one tensor; made by `record`. Replays are differentiable."""

    def __init__(
        self, operations: Sequence[_Operation], outputs: list[Tensor | _Slot], slots: int
    ) -> None:
        self.operations, self.outputs, self.slots = operations, outputs, slots
        self._parts: dict[tuple[int, ...], list[_Operation]] = {}

    def depends(self, output: int) -> bool:
        """Whether an output is computed from the input at all."""
        return isinstance(self.outputs[output], _Slot)

    def sums_only(self, wanted: tuple[int, ...]) -> bool:
        """Whether these outputs see the input only as its sums over the last dimension."""
        aten = torch.ops.aten
        whole = {_Slot(0)}  # the input, and parts of it along its first dimension
        for operation in self._needed(wanted):
            inside, _ = tree_flatten((operation.args, operation.kwargs))
            if whole.isdisjoint(part for part in inside if type(part) is _Slot):
                continue
            args = operation.args
            if operation.run is aten.sum.dim_IntList and args[1] == [-1]:
                continue
            rows = operation.run is aten.index.Tensor and len(args[1]) == 1
            if not rows and not (operation.run is aten.slice.Tensor and args[1:2] in ([], [0])):
                return False
            whole |= {slot for slot in operation.results if slot is not None}
        return whole.isdisjoint(part for part in self.outputs if type(part) is _Slot)

    def __call__(self, x: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
        """These outputs for another input of the same shape."""
        found: list[Any] = [None] * self.slots
        found[0] = x

        def fill(value: Any) -> Any:
            return found[value.number] if type(value) is _Slot else value

        for operation in self._needed(wanted):
            args = [
                tuple(map(fill, a)) if type(a) in (list, tuple) else fill(a) for a in operation.args
            ]
            out = operation.run(*args, **operation.kwargs)
            if isinstance(out, Tensor):
                out = (out,)
            for slot, value in zip(operation.results, out, strict=True):
                if slot is not None:
                    found[slot.number] = value
        return [fill(self.outputs[k]) for k in wanted]

    def _needed(self, wanted: tuple[int, ...]) -> list[_Operation]:
        """The operations behind these outputs, in order."""
        if wanted not in self._parts:
            needed = {self.outputs[k] for k in wanted if isinstance(self.outputs[k], _Slot)}
            kept = []
            for operation in reversed(self.operations):
                if needed.isdisjoint(operation.results):
                    continue
                kept.append(operation)
                inside, _ = tree_flatten((operation.args, operation.kwargs))
                needed |= {part for part in inside if type(part) is _Slot}
            self._parts[wanted] = kept[::-1]
        return self._parts[wanted]


def record(function: Callable[[Tensor], Sequence[Tensor]], x: Tensor) -> Tape | None:
    """The tape of a function, or ``None`` where it takes numbers out of tensors or changes them.

    What does not depend on the input is computed now and kept. A function that branches on its
    input in ways that leave no trace is recorded as it ran this time, so a tape must be compared
    with its function before it is used.

    >>> tape = record(lambda x: [2 * x.exp(), torch.ones(2)], torch.zeros(2))
    >>> tape(torch.tensor([0.0, 1.0]), (0,)), tape.depends(1)
    ([tensor([2.0000, 5.4366])], False)
    """
    x = x.detach().clone()
    with torch.no_grad(), _Recorder(x) as recorder, _Numbers(recorder):
        outputs = [recorder.slot(y) for y in function(x)]
    if recorder.escaped:
        return None
    return Tape(recorder.operations, outputs, recorder.count)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs agree, as a tape must with its program; one may be spread wider."""
    if one.ndim != other.ndim or any(
        a != b and 1 not in (a, b) for a, b in zip(one.shape, other.shape, strict=True)
    ):
        return False
    if not one.is_floating_point():
        return bool((one == other).all())
    one, other = torch.broadcast_tensors(one, other)
    return torch.allclose(one, other, rtol=AGREES, atol=AGREES, equal_nan=True)


class _Numbers(TorchFunctionMode):
    """Notices what the dispatcher does not see: numbers taken out through NumPy or as lists."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        takes = getattr(func, "__name__", "") in ("numpy", "tolist", "__array__")
        if takes and id(args[0]) in self.recorder.numbers:
            self.recorder.escaped = True
        return func(*args, **(kwargs or {}))


class _Recorder(TorchDispatchMode):
    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = [x]  # so that no id is used twice
        self.numbers = {id(x): _Slot(0)}
        self.count = 1
        self.operations: list[_Operation] = []
        self.escaped = False

    def slot(self, value: Any) -> Any:
        return self.numbers.get(id(value), value) if isinstance(value, Tensor) else value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        inputs, _ = tree_flatten((args, kwargs))
        touched = any(isinstance(a, Tensor) and id(a) in self.numbers for a in inputs)
        if not touched:
            return out
        results = list(out) if isinstance(out, tuple | list) else [out]
        if func._schema.is_mutable or not any(isinstance(r, Tensor) for r in results):
            self.escaped = True
            return out
        slots: list[_Slot | None] = []
        saved = tree_map(self.slot, (list(args), dict(kwargs)))
        for result in results:
            if isinstance(result, Tensor):
                self.alive.append(result)
                self.numbers[id(result)] = _Slot(self.count)
                slots.append(_Slot(self.count))
                self.count += 1
            else:
                slots.append(None)
        self.operations.append(_Operation(func, saved[0], saved[1], tuple(slots)))
        return out
