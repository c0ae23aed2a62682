"""Sweeps: every setting of a grid, learnt with many seeds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vsg_ppl.errors import GameError
from vsg_ppl.sweep_backends import Outcome, cluster, here, processes
from vsg_ppl.sweep_spec import Run, Sweep
from vsg_ppl.sweep_tables import read_record, write_record, write_tables

__all__ = ["Backend", "Sweep", "SweepResult", "sweep"]

Backend = Literal["processes", "ray", "here"]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep gives back.

    Attributes:
        folder: where the results are.
        runs: how many the sweep has.
        reused: how many of them were there before.
        failures: runs that failed, and why, in order.
        summary: what ``sweep.json`` says.
        written: names of the tables.
    """

    folder: Path
    runs: int
    reused: int
    failures: tuple[tuple[Run, str], ...]
    summary: Mapping[str, Any]
    written: tuple[str, ...]


def sweep(
    spec: Sweep,
    out: str | Path,
    *,
    jobs: int | None = None,
    backend: Backend = "processes",
    address: str = "auto",
    progress: bool = False,
) -> SweepResult:
    """Compute the runs of a sweep that are not in the folder yet.

    Every run is written when it ends, whole or not at all, to ``runs/KEY.json``: settings, learning
    curves, seconds of CPU. A sweep that was stopped goes on when it is called again; a wider one
    uses what is there. At the end ``results.csv``, ``results.parquet`` (where pyarrow is installed)
    and ``sweep.json`` are written anew, from the runs of this sweep alone. They are the same, byte
    for byte, in whatever order and by whatever backend the runs were computed.

    Args:
        spec: what to run.
        out: the folder; made if it is not there.
        jobs: runs at a time; as many as cores, or what the cluster has, by default. One process is
            this one, and needs no joblib.
        backend: "processes" of this machine, "ray" for a cluster, or "here", one after another.
        address: of the Ray cluster.
        progress: show how many runs are done, and the time left.

    Returns:
        Counts, failures and the summary. A run that fails ends no sweep, and leaves no file.

    Raises:
        GameError: settings that are wrong, a folder that cannot be written, no cluster.
        MissingExtra: joblib or ray is not installed.

    >>> from tempfile import TemporaryDirectory
    >>> grid = {"options.gamma": [0.0, 0.9]}
    >>> spec = Sweep(method="sac", game="differential", seeds=1, options={"episodes": 1}, grid=grid)
    >>> with TemporaryDirectory() as folder:
    ...     found = sweep(spec, folder, backend="here")
    >>> found.runs, found.reused, [row["options.gamma"] for row in found.summary["results"]]
    (2, 0, [0.0, 0.9])
    """
    if backend not in get_args(Backend):
        raise GameError(f"the backend is {backend!r}", hint='"processes", "ray" or "here".')
    if jobs is not None and jobs < 1:
        raise GameError(f"jobs is {jobs}; at least 1 is needed")
    runs, folder = spec.runs(), Path(out)
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GameError(f"cannot write to {folder}: {error.strerror}") from None
    left = [run for run in runs if read_record(folder, run) is None]
    failed: dict[str, str] = {}
    with _bar(len(runs), len(left), progress) as advance:
        with closing(_start(left, backend, jobs, address)) as outcomes:
            for key, found in outcomes:
                if isinstance(found, str):
                    failed[key] = found
                else:
                    write_record(folder, key, found)
                advance()
    failures = tuple((run, failed[run.key]) for run in runs if run.key in failed)
    summary, written = write_tables(spec, runs, failures, folder)
    return SweepResult(folder, len(runs), len(runs) - len(left), failures, summary, written)


def _start(
    runs: list[Run], backend: Backend, jobs: int | None, address: str
) -> Generator[Outcome, None, None]:
    """Outcomes, as they come; the backend begins nothing when there is nothing to do."""
    if backend == "here" or (backend == "processes" and jobs == 1):
        yield from here(runs)
    elif backend == "ray":
        yield from cluster(runs, jobs, address) if runs else ()
    else:
        yield from processes(runs, jobs) if runs else ()


@contextmanager
def _bar(total: int, left: int, wanted: bool) -> Iterator[Callable[[], None]]:
    """One line on standard error with the runs done and the time left."""
    if not wanted:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    text = TextColumn("runs, time left")
    columns = (BarColumn(), MofNCompleteColumn(), text, Left(elapsed_when_finished=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=total - left)
        yield lambda: bar.advance(task)
