"""How the runs of a sweep are computed: one of them, and many: here, in processes, on a cluster."""

from __future__ import annotations

import os
import platform
import signal
import socket
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.game import Game, horizon
from vsg_ppl.learning import LAST
from vsg_ppl.loading import FILE, load_game, with_line
from vsg_ppl.mai import Cooling
from vsg_ppl.methods import METHODS

if TYPE_CHECKING:
    from vsg_ppl.sweep_spec import Run

RESTARTS = 3
"""How often a pool is begun again after one of its processes died."""

RETRIES = 10
"""How often a cluster begins a run again whose process or machine died."""

WAITING = 1000
"""Runs that a cluster is given at once."""

Outcome = tuple[str, dict[str, Any] | str]
"""A run's key, with its record, or with a sentence that says why there is none."""


def compute(run: Run) -> Outcome:
    """Compute a run, on one thread.

    The record has the settings, the agents, the rewards (E, K, N), of each experiment the mean
    reward of a step over the last `LAST` episodes, (K,), each agent's mean return of an episode
    over the same, (K,), the seconds of CPU, and versions of what computed it.

    >>> from vsg_ppl.sweep import Sweep
    >>> spec = Sweep(method="sac", game="differential", seeds=3, batch=3, options={"episodes": 1})
    >>> key, record = compute(spec.runs()[0])
    >>> len(record["reward"]), sorted(record["returns"])
    (3, ['first', 'second'])
    """
    try:
        return run.key, _record(run)
    except (Exception, SystemExit) as error:
        return run.key, _sentence(error, run.path)


def load(name: str, given: Mapping[str, Any], path: str | None = None, source: str = "") -> Game:
    """The game of a sweep.

    Args:
        name: a bundled game; or ``FILE.py``, or ``FILE.py:NAME``.
        given: parameters, as TOML has them.
        path: of the file, where the sweep began.
        source: what the file held then. On a machine that has no such file it is written to one;
            what it imports must be there.

    Raises:
        GameError: as `load_game`; a Gambit file.

    >>> load("differential", {"width": 2}).width
    2.0
    """
    texts = {key: text_of(value) for key, value in given.items()}
    if path is not None:
        colon = name[name.rindex(".py") + 3 :]
        if _read(path) == source:
            return load_game(path + colon, texts)
        with TemporaryDirectory() as folder:
            copy = Path(folder, Path(path).name)
            copy.write_text(source, encoding="utf-8", newline="")
            return load_game(f"{copy}{colon}", texts)
    if FILE.fullmatch(name):
        raise GameError(f"{name} is not a Python file", hint="`read_nfg` in a FILE.py of your own.")
    return load_game(name, texts, learnt=True)


def text_of(value: Any) -> str:
    """A value of TOML as `Parameter` reads it.

    >>> text_of([64, 64])
    '64,64'
    """
    return ",".join(map(text_of, value)) if isinstance(value, list | tuple) else str(value)


def here(runs: Iterable[Run]) -> Iterator[Outcome]:
    """One run after another, in this process."""
    return map(compute, runs)


def processes(runs: Iterable[Run], jobs: int | None = None) -> Iterator[Outcome]:
    """Runs in processes of this machine, as they end.

    When a process dies, the runs without a result are begun again; a run that keeps killing its
    process is given up in the end, alone.

    Args:
        runs: to compute.
        jobs: processes; as many as cores by default.

    Raises:
        MissingExtra: joblib is not installed.
    """
    try:
        from joblib import cpu_count
    except ImportError:
        raise MissingExtra("joblib", "cluster") from None
    left = {run.key: run for run in runs}
    for _ in range(RESTARTS):
        for key, found in _pool(list(left.values()), jobs or cpu_count()):
            del left[key]
            yield key, found
    for run in left.values():
        # two, for a pool of one is this process
        yield from list(_pool([run], 2)) or [(run.key, "its process died (out of memory?)")]


def cluster(
    runs: Iterable[Run], jobs: int | None = None, address: str = "auto"
) -> Iterator[Outcome]:
    """Runs on a Ray cluster that is there, as they end.

    Every run is a task of one CPU. When its process or machine dies, Ray begins it again elsewhere.
    The machines need this library, and no common disk: results return to the caller.

    Args:
        runs: to compute.
        jobs: the most runs at a time; as many as the cluster has CPUs by default.
        address: of the cluster, HOST:PORT; "auto" finds the one that this machine is part of.

    Raises:
        GameError: no cluster at the address.
        MissingExtra: ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "cluster") from None
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(compute)
        queue = iter(runs)
        waiting = {task.remote(run): run for run in islice(queue, jobs or WAITING)}
        while waiting:
            ended = ray.wait(list(waiting))[0][0]
            run = waiting.pop(ended)
            try:
                outcome = ray.get(ended)
            except ray.exceptions.RayError as error:
                outcome = run.key, _sentence(error)
            waiting |= {task.remote(run): run for run in islice(queue, 1)}
            yield outcome
    finally:
        if ours:
            ray.shutdown()


def _record(run: Run) -> dict[str, Any]:
    settings = run.settings
    game = load(settings["game"], run.given, run.path, run.source)
    options = {name: _argument(value) for name, value in settings["options"].items()}
    seeds = settings["seeds"]
    learning = METHODS[settings["method"]](game, plays=len(seeds), seed=seeds[0], **options)
    rewards = learning.rewards.double()
    steps = options.get("steps") or horizon(game) or 0
    last = rewards[-LAST:].mean(0)
    returns = {name: (last[:, i] * steps).tolist() for i, name in enumerate(learning.agents)}
    return {
        "key": run.key,
        "settings": settings,
        "agents": list(learning.agents),
        "reward": last.mean(-1).tolist(),
        "returns": returns,
        "rewards": rewards.tolist(),
        "cpu_seconds": learning.seconds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("vsg_ppl", "torch", "pyro-ppl")},
        },
    }


def _argument(value: Any) -> Any:
    """What a method takes where TOML has a table or a list."""
    if isinstance(value, dict):
        return Cooling(**value)
    return tuple(value) if isinstance(value, list) else value


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _sentence(error: BaseException, path: str | None = None) -> str:
    """What happened, with the line of the game's file if the error comes from there."""
    file = FILE.fullmatch(path or "")
    if file is not None and not isinstance(error, GameError):
        error = with_line(error, Path(file["file"]))
    if isinstance(error, GameError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


def _pool(runs: list[Run], jobs: int) -> Iterator[Outcome]:
    """Runs in processes, as they end, until one of the processes dies."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, backend="loky", batch_size=1, return_as="generator_unordered")
    try:
        with (
            warnings.catch_warnings(),
            closing(parallel(delayed(_apart)(run, os.getpid()) for run in runs)) as outcomes,
        ):
            # who stops a sweep knows that runs are cut off
            warnings.filterwarnings("ignore", ".*tasks which were still being processed")
            yield from outcomes
    except BrokenProcessPool:
        return


def _apart(run: Run, parent: int) -> Outcome:
    """Compute a run in a process that leaves Ctrl-C to its parent."""
    if os.getpid() != parent and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return compute(run)


def _connect(ray: Any, address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray would wait for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        where = "on this machine" if address == "auto" else f"at {address}"
        raise GameError(
            f"there is no Ray cluster {where} ({_sentence(error)})",
            hint="`ray start --head` begins one, and prints its address.",
        ) from error
