"""Checkpoints of long runs: written whole or not at all, and refused by any other run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from vsg_ppl.errors import GameError


class Checkpoint:
    """The file where a run is kept, or none.

    The state is written to a file beside it, brought to the disk, and then put in its place: who is
    killed while it is written finds the one before.

    Args:
        path: of the file; ``None`` keeps nothing.
        run: all that makes this run what it is. Another run's file is refused.
        every: seconds between two writings.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = Checkpoint(Path(folder) / "run.pt", "mai, seed 0", every=60)
    ...     kept.write({"episode": 7})
    ...     kept.read()
    {'episode': 7}
    """

    def __init__(self, path: Path | str | None, run: str, *, every: float) -> None:
        self.path, self.run, self.every = None if path is None else Path(path), run, every
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self.path is not None and time.monotonic() - self._written >= self.every

    def read(self) -> dict[str, Any] | None:
        """What was kept, if anything was.

        Raises:
            GameError: the file is of another run, or cannot be read.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            found = torch.load(self.path, weights_only=True)
            run, state = found["run"], found["state"]
        except Exception as error:
            raise GameError(
                f"{self.path} is not a checkpoint: {_first_line(error)}", hint="another path."
            ) from error
        if run != self.run:
            raise GameError(
                f"{self.path} is the checkpoint of another run: {_difference(run, self.run)}",
                hint="another path, or remove it.",
            )
        return state  # type: ignore[no-any-return]

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state of tensors and plain values.

        Raises:
            GameError: it cannot be written. What was kept before is still there.
        """
        if self.path is None:
            return
        beside = self.path.with_name(self.path.name + ".part")
        try:
            with beside.open("wb") as file:
                torch.save({"run": self.run, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError when disks fill
            beside.unlink(missing_ok=True)
            raise GameError(
                f"the checkpoint {self.path} could not be written: {_first_line(error)}",
                hint="a folder that exists, may be written to, and has room; the one before, if "
                "there was one, is whole, and the same call goes on from it.",
            ) from error
        self._written = time.monotonic()


@contextmanager
def patient(on: bool) -> Iterator[list[int]]:
    """Let Ctrl-C wait: the list is no longer empty once it was pressed. Pressed twice, it acts."""
    asked: list[int] = []
    if not on or threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def wait(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, wait)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def _difference(there: str, here: str) -> str:
    """The first lines that are not the same."""
    for old, new in zip(there.split("\n"), here.split("\n"), strict=False):
        if old != new:
            return f"it has {old}, and this run {new}"
    return "it has other settings"
