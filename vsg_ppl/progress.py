"""A progress bar, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[dict[str, Any]], None]
"""Takes an entry of a solver's history."""

GAPS = {"nash_gap": "gap", "exploitability": "exploitability"}
"""What to call the gaps that a history may have."""

SHOWN = {"temperature": ".3g", "residual": ".2e", "loss": ".6g"}
"""What else of an entry is shown, and how."""


@contextmanager
def no_progress() -> Iterator[Progress]:
    """Show nothing."""
    yield lambda entry: None


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Progress]:
    """One line on standard error with the iteration, temperature, residual and last known gap.

    Args:
        what: it is that goes on.
        total: iterations, if they are known: then the time left is shown too.
    """
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.progress import TimeRemainingColumn as Left

    known = () if total is None else (BarColumn(), Left(), TextColumn("left,"))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *known, TimeElapsedColumn())
    gap = ""
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def show(entry: dict[str, Any]) -> None:
            nonlocal gap
            for key, name in GAPS.items():
                if key in entry:
                    gap = f"  {name} {entry[key]:.2e}"
            parts = [what, f"iteration {entry['iteration']}"]
            parts += [f"{key} {entry[key]:{form}}" for key, form in SHOWN.items() if key in entry]
            done = None if total is None else entry["iteration"]
            bar.update(task, description="  ".join(parts) + gap, completed=done)

        yield show
