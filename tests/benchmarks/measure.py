"""Seconds of CPU, medians, and rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """A line of the table; ``met`` is ``None`` where there is nothing to compare with."""

    task: str
    ours: str
    target: str
    peer: str = "–"
    ratio: str = "–"
    met: bool | None = None

    def cells(self) -> list[str]:
        met = {True: "yes", False: "NO", None: "–"}[self.met]
        return [self.task, self.ours, self.peer, self.ratio, self.target, met]


def faster(task: str, ours: float, name: str, peer: float, times: float) -> Row:
    """A row that asks us to take at most 1 / ``times`` of the peer's time."""
    return Row(
        task=task,
        ours=show(ours),
        peer=f"{name} {show(peer)}",
        ratio=_compared(peer / ours),
        target=_compared(times),
        met=peer / ours >= times,
    )


def _compared(times: float) -> str:
    return f"{times:.3g}× faster" if times >= 1 else f"{1 / times:.3g}× slower"


def cpu(run: Callable[[], Any]) -> float:
    """Seconds of CPU that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def in_turn(*runs: Callable[[], float], repeat: int) -> list[float]:
    """Medians of what the runs measure, one after another, so that a noisy moment hits all."""
    found = [[run() for run in runs] for _ in range(repeat)]
    return [median(column) for column in zip(*found, strict=True)]


def show(seconds: float) -> str:
    """Three digits, in seconds or milliseconds."""
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"
