"""A sweep on a Ray cluster of two machines, of which one is lost: nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vsg_ppl.errors import GameError
from vsg_ppl.sweep import Sweep, sweep

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

RUNS = 12

GAME = '''
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyro.distributions as dist
import torch

import vsg_ppl as vsg


@dataclass(frozen=True)
class Marked:
    """Every attempt leaves a mark, and waits while there is a file that says so."""

    agents: ClassVar = ("one", "two")
    scale: float = 1.0
    horizon: int = 2
    marks: str = ""

    def initial(self):
        mark = Path(self.marks, f"{self.scale:g}")
        with mark.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        while Path(self.marks, f"wait-{self.scale:g}").exists():
            time.sleep(0.01)
        return torch.tensor(0)

    def step(self, state):
        one = vsg.act("one", dist.Uniform(-1.0, 1.0))
        two = vsg.act("two", dist.Uniform(-1.0, 1.0))
        vsg.optimality("one", -self.scale * (one - two).abs())
        vsg.optimality("two", -self.scale * (one + two).abs())
        return state
'''


def started(marks: Path, scale: int) -> set[int]:
    """Processes in which a run was begun."""
    mark = marks / str(scale)
    return {int(line) for line in mark.read_text().split()} if mark.exists() else set()


def until(true, seconds=150.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
    return found


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


@pytest.fixture
def machines(monkeypatch):
    """A cluster of two machines with one CPU each, and the second of them."""
    # apart from any other cluster of this machine; short, for the paths of sockets are
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # workers are niced, and starve where tests run side by side
    monkeypatch.setenv("RAY_worker_niceness", "0")
    # seconds until a machine that is silent counts as dead
    monkeypatch.setenv("RAY_health_check_initial_delay_ms", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        yield cluster, cluster.add_node(num_cpus=1, object_store_memory=80 * 1024**2)
    finally:
        cluster.shutdown()
        until(lambda: not processes_with(folder))
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_machine_is_lost(machines, tmp_path):
    """A run's process is killed, then a machine with a run on it; tables are as without."""
    cluster, second = machines
    marks, out = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()
    (tmp_path / "marked.py").write_text(GAME, encoding="utf-8")
    plan = Sweep(
        method="sac",
        game="marked.py",
        seeds=1,
        game_options={"marks": str(marks)},
        options={"episodes": 2, "hidden": [4]},
        grid={"game_options.scale": list(range(1, RUNS + 1))},
        folder=tmp_path,
    )
    for scale in (1, 2):
        (marks / f"wait-{scale}").touch()

    def disturb() -> None:
        try:
            (first,) = until(lambda: started(marks, 1))
            os.kill(first, signal.SIGKILL)
            until(lambda: started(marks, 1) - {first})
            until(lambda: started(marks, 2))
            # two runs wait on two machines, so one of them is lost with the second
            cluster.remove_node(second, allow_graceful=False)
        finally:
            for scale in (1, 2):
                (marks / f"wait-{scale}").unlink()

    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(disturb)
        found = sweep(plan, out, backend="ray", address=cluster.address)
        disturbed.result()

    assert found.runs == RUNS and not found.failures
    attempts = [len(started(marks, scale)) for scale in range(1, RUNS + 1)]
    assert sum(attempts) >= RUNS + 2 and min(attempts) == 1
    files = list((out / "runs").iterdir())
    assert sorted(path.stem for path in files) == sorted(run.key for run in plan.runs())
    sweep(plan, tmp_path / "here", backend="here")
    for name in found.written:
        assert (out / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    for path in files:
        there, here = (
            json.loads((folder / "runs" / path.name).read_text())
            for folder in (out, tmp_path / "here")
        )
        assert {**there, "cpu_seconds": 0} == {**here, "cpu_seconds": 0}
    assert sweep(plan, out, backend="ray", address="nowhere:1").reused == RUNS


def test_no_cluster(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    plan = Sweep(method="sac", game="differential", seeds=1, options={"episodes": 1})
    with pytest.raises(GameError, match="no Ray cluster on this machine.*ray start --head"):
        sweep(plan, tmp_path, backend="ray")
    with pytest.raises(GameError, match="no Ray cluster at localhost:1 .*refused"):
        sweep(plan, tmp_path, backend="ray", address="localhost:1")
