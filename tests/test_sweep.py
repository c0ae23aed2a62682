"""`vsg sweep`: what runs, what is kept, and what is said when something is wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import product

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import vsg_ppl as vsg
from vsg_ppl import sweep_backends
from vsg_ppl.cli_sweep import sweep as command
from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.models import Differential, StagHunt
from vsg_ppl.sweep import Sweep, sweep

app = typer.Typer()
app.command()(command)

TINY = {"episodes": 2, "steps": 2, "hidden": [4]}
TABLES = ("results.csv", "results.parquet", "sweep.json")

SPEC = """
game = "differential"
seeds = 4
batch = 2
above = -1e9
[options]
episodes = 2
steps = 2
hidden = [4]
[grid]
method = ["mai", "sac"]
options.gamma = [0, 0.5]
"""

GAME = '''
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyro.distributions as dist
import torch

import vsg_ppl as vsg


@dataclass(frozen=True)
class Meet:
    """Both are paid for nearness. It may fail, or kill its process, once or always."""

    agents: ClassVar = ("one", "two")
    scale: float = 1.0
    horizon: int = 2
    fault: str = ""
    mark: str = ""

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        if self.fault == "raise":
            raise KeyError("weather")
        if self.fault == "exit":
            raise SystemExit
        if self.fault == "odd":
            self = replace(self, scale=float("nan"))
        if self.fault == "kill" or (self.fault == "once" and not Path(self.mark).exists()):
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        one = vsg.act("one", dist.Uniform(-1.0, 1.0))
        two = vsg.act("two", dist.Uniform(-1.0, 1.0))
        pay = -self.scale * (one - two).abs()
        vsg.optimality("one", pay)
        vsg.optimality("two", pay)
        return state
'''


def spec(**parts):
    given = {"method": "sac", "game": "differential", "seeds": 2, "options": TINY} | parts
    if "method" in given.get("grid", {}):
        del given["method"]
    return Sweep(**given)


@pytest.fixture
def meet(tmp_path):
    (tmp_path / "meet.py").write_text(GAME, encoding="utf-8")
    return lambda **parts: spec(game="meet.py", folder=tmp_path, **parts)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "spec.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def tables(folder):
    return [(folder / name).read_bytes() for name in TABLES]


def rows(folder):
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- What runs ---


def test_a_run_is_what_the_method_gives(tmp_path):
    plan = spec(seeds=[3, 4], batch=2, grid={"game_options.width": [2]})
    sweep(plan, tmp_path, backend="here")
    learning = vsg.sac(Differential(width=2.0), episodes=2, steps=2, hidden=(4,), plays=2, seed=3)
    (run,) = plan.runs()
    record = json.loads((tmp_path / "runs" / f"{run.key}.json").read_text(encoding="utf-8"))
    assert torch.equal(torch.tensor(record["rewards"]), learning.rewards)
    assert record["settings"]["version"] == version("vsg_ppl")  # whose defaults hold for the rest
    assert record["settings"]["options"] == {"episodes": 2, "steps": 2, "hidden": [4]}
    assert record["cpu_seconds"] > 0 and "torch" in record["versions"]
    for k, row in enumerate(rows(tmp_path)):
        assert row["seed"] == str(k + 3) and row["run"] == run.key
        assert row["method"] == "sac" and row["game_options.width"] == "2.0"
        assert float(row["reward"]) == pytest.approx(float(learning.final()[k]))
        paid = float(learning.rewards[:, k, 1].sum()) / 2 * 2  # 2 episodes of 2 steps
        assert float(row["return.second"]) == pytest.approx(paid)


def test_the_summary(tmp_path):
    found = sweep(spec(seeds=5, above=-5.0), tmp_path, backend="here")
    (point,) = found.summary["results"]
    final = sorted(float(row["reward"]) for row in rows(tmp_path))
    assert point["experiments"] == 5 and point["median"] == pytest.approx(final[2])
    assert point["low"] == pytest.approx(final[0] + 0.4 * (final[1] - final[0]))
    assert point["success"]["rate"] == sum(reward > -5 for reward in final) / 5
    assert found.summary == json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))


def test_processes_give_the_same_bytes(tmp_path, written):
    plan = Sweep.read(written(SPEC))
    one = sweep(plan, tmp_path / "one", backend="here")
    two = sweep(plan, tmp_path / "two", jobs=2)
    assert one.runs == two.runs == 8 and one.written == two.written == TABLES
    assert tables(tmp_path / "one") == tables(tmp_path / "two")


def test_parquet_says_what_csv_says(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    grid = {"options.temperature": [0.5, {"first": 1, "rate": 2}], "method": ["mai", "sac"]}
    sweep(spec(grid=grid), tmp_path, backend="here")
    table = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [{name: str(value) for name, value in row.items()} for row in table] == rows(tmp_path)
    assert table[0]["options.temperature"] == "0.5" and isinstance(table[0]["reward"], float)
    assert json.loads(table[-1]["options.temperature"]) == {"first": 1.0, "last": 0.1, "rate": 2.0}


def test_no_parquet_without_pyarrow(tmp_path, monkeypatch):
    sweep(spec(), tmp_path, backend="here")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert sweep(spec(), tmp_path, backend="here").written == ("results.csv", "sweep.json")
    assert not (tmp_path / "results.parquet").exists()


GAMMAS = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=1, max_size=4, unique=True)
SEEDS = st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True)


@given(GAMMAS, st.permutations(["mai", "sac", "iddpg"]), SEEDS, st.integers(1, 7))
def test_every_setting_and_seed_runs_once(gammas, methods, seeds, batch):
    grid = {"options.gamma": gammas, "method": methods}
    runs = spec(seeds=seeds, batch=batch, grid=grid).runs()
    found = [
        (run.axes["options.gamma"], run.axes["method"], seed)
        for run in runs
        for seed in run.settings["seeds"]
    ]
    assert found == list(product(gammas, methods, seeds))
    assert len({run.key for run in runs}) == len(runs)
    assert len(runs) == len(gammas) * len(methods) * math.ceil(len(seeds) / batch)
    # neither the order of the axes nor what is fixed changes a key
    turned = spec(seeds=seeds, batch=batch, grid=dict(reversed(grid.items()))).runs()
    assert {run.key for run in turned} == {run.key for run in runs}
    fixed = spec(seeds=seeds, batch=batch, method=methods[0], options=TINY | {"gamma": gammas[0]})
    assert {run.key for run in fixed.runs()} <= {run.key for run in runs}


def test_which_settings_are_the_same_run(tmp_path):
    """Options that are spelt out make another: what a method does without may hang on the game."""
    key = spec().runs()[0].key
    for same in ({"game_options": {"width": 3}}, {"folder": tmp_path}):
        assert spec(**same).runs()[0].key == key
    others = {"method": "mai"}, {"batch": 2}, {"options": {}}, {"game_options": {"peak": 4}}
    for other in (*others, {"options": TINY | {"follow": 0.01}}):
        assert spec(**other).runs()[0].key != key


def test_a_bundled_game_with_finite_actions(tmp_path):
    options = {"episodes": 2, "steps": 5}
    given = {"discount": 0.5}
    spec = Sweep(method="mai", game="stag_hunt", seeds=2, game_options=given, options=options)
    folder = sweep(spec, tmp_path).folder
    record = json.loads(next(folder.glob("runs/*.json")).read_text())
    seed = record["settings"]["seeds"][0]
    found = vsg.mai(StagHunt(0.5), seed=seed, **options)
    assert torch.equal(torch.tensor(record["rewards"]), found.rewards)


def test_a_game_of_ones_own(meet, tmp_path):
    plan = meet(grid={"game_options.scale": [1, 2]})
    keys = [run.key for run in plan.runs()]
    sweep(plan, tmp_path / "out", backend="here")
    here = tables(tmp_path / "out")
    (tmp_path / "meet.py").write_text(GAME + "\n# changed\n", encoding="utf-8")
    assert not set(keys) & {run.key for run in plan.runs()}
    # a machine without the file
    (tmp_path / "meet.py").write_text(GAME, encoding="utf-8")
    runs = plan.runs()
    (tmp_path / "meet.py").unlink()
    for run in runs:
        _, record = sweep_backends.compute(run)
        kept = json.loads((tmp_path / "out" / "runs" / f"{run.key}.json").read_text("utf-8"))
        assert {**record, "cpu_seconds": 0} == {**kept, "cpu_seconds": 0}
    assert tables(tmp_path / "out") == here


# --- What is kept ---


def test_a_stopped_sweep_goes_on(tmp_path, monkeypatch, written):
    plan = Sweep.read(written(SPEC))
    sweep(plan, tmp_path / "whole", backend="here")

    def stopped(runs):
        yield from map(sweep_backends.compute, runs[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["vsg_ppl.sweep"], "here", stopped)
        with pytest.raises(KeyboardInterrupt):
            sweep(plan, tmp_path / "out", backend="here")
        assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    found = sweep(plan, tmp_path / "out", backend="here")
    assert found.reused == 3 and found.runs == 8
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")
    # some are lost, one is broken, one is of other settings
    files = sorted((tmp_path / "out" / "runs").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:50])
    files[2].write_bytes(files[3].read_bytes())
    assert sweep(plan, tmp_path / "out", backend="here").reused == 5
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_a_wider_sweep_uses_what_is_there(tmp_path):
    sweep(spec(seeds=2), tmp_path, backend="here")
    assert sweep(spec(seeds=3), tmp_path, backend="here").reused == 2
    assert len(rows(tmp_path)) == 3
    assert sweep(spec(seeds=[1]), tmp_path, backend="here").reused == 1
    assert [row["seed"] for row in rows(tmp_path)] == ["1"]


def test_nothing_is_written_in_part(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(GameError, match="No space left on device.*goes on"):
            sweep(spec(), tmp_path, backend="here")
    assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(GameError, match="cannot write to"):
        sweep(spec(), tmp_path / "file", backend="here")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", "raises KeyError: 'weather'"),
        ("exit", "meet.py, line 3.: SystemExit"),
        ("odd", "'one' is paid nan in episode 1 of Meet"),
    ],
)
def test_a_run_that_fails_ends_no_sweep(meet, tmp_path, fault, words):
    plan = meet(grid={"game_options.fault": ["", fault]})
    found = sweep(plan, tmp_path / "out", backend="here")
    assert len(found.failures) == 2 and len(rows(tmp_path / "out")) == 2
    for run, message in found.failures:
        assert run.axes == {"game_options.fault": fault}
        assert re.search(words, message)
        assert not (tmp_path / "out" / "runs" / f"{run.key}.json").exists()
    assert sweep(plan, tmp_path / "out", backend="here").reused == 2


@pytest.mark.slow
def test_a_process_that_dies(meet, tmp_path, monkeypatch):
    """Once: the run is begun again. Always: it fails, and no other does."""
    monkeypatch.setattr(sweep_backends, "RESTARTS", 2)
    plan = meet(
        grid={"game_options.fault": ["", "once", "kill"]},
        game_options={"mark": str(tmp_path / "mark")},
        seeds=1,
    )
    found = sweep(plan, tmp_path / "out", jobs=2)
    assert (tmp_path / "mark").exists()
    ((run, message),) = found.failures
    assert run.axes["game_options.fault"] == "kill" and "process died" in message
    assert [row["game_options.fault"] for row in rows(tmp_path / "out")] == ["", "once"]


# --- What is said ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = ", "spec.toml is not TOML: Invalid value"),
        ('method = "sac"\ngame = "differential"', "has no seeds"),
        ('method = "sac"\ngame = "differential"\nseeds = 0', "nothing to run"),
        ('method = "sac"\ngame = "differential"\nseeds = [1, 1]', "a seed is listed twice"),
        ('method = "sac"\ngame = "differential"\nseeds = "all"', "seeds is 'all'"),
        ('method = "sac"\ngame = "differential"\nseeds = 1\nbatch = 0', "batch is 0"),
        ('method = "sac"\ngame = "differential"\nseeds = 1\nepisodes = 1', "sets 'episodes'"),
        ('game = "differential"\nseeds = 1', "the sweep has no method"),
        ('method = "sac"\nseeds = 1', "the sweep has no game"),
        ('method = "magic"\ngame = "differential"\nseeds = 1', "the method is 'magic'"),
        ('method = ["mai"]\ngame = "differential"\nseeds = 1', "method is a list"),
        ('method = "sac"\ngame = "stag_hnt"\nseeds = 1', "no game is named 'stag_hnt'"),
        ('method = "sac"\ngame = "a.nfg"\nseeds = 1', "a.nfg is not a Python file"),
        ('method = "sac"\ngame = "none.py"\nseeds = 1', "cannot read the game .*none.py"),
    ],
)
def test_specs_that_are_none(text, words, written):
    with pytest.raises(GameError, match=words):
        Sweep.read(written(text)).runs()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"options": {"gama": 0.5}}, "`sac` has no option 'gama'"),
        ({"options": {"plays": 5}}, "options.plays is not for a sweep to set.*`seeds` and `batch`"),
        ({"options": {"watch_every": 5}}, "options.watch_every is not for a sweep to set$"),
        ({"options": {"episodes": "many"}}, "'episodes' of `sac` is a whole number"),
        ({"options": {"gamma": 1.5}}, "gamma is 1.5"),
        ({"options": {"gamma": {"first": 1}}}, "options.gamma is a table"),
        ({"options": {"temperature": {"start": 1}}}, "options.temperature has no 'start'"),
        ({"options": 3}, "options is no table"),
        ({"game_options": {"depth": 1}}, "differential has no parameter 'depth'"),
        ({"game_options": {"width": "wide"}}, "'width' of differential is a number"),
        ({"grid": {"gamma": [0.5]}}, "an axis 'gamma'"),
        ({"grid": {"options.gamma": 0.5}}, "not a list of values"),
        ({"grid": {"options.gamma": []}}, "not a list of values"),
        ({"grid": {"options.steps": [1, 2]}}, "options.steps is set in the grid and outside"),
        ({"grid": {"options.gamma": [0, 0.0]}}, "a setting twice: options.gamma = 0.0"),
        ({"grid": {"game": ["differential"]}}, "game is set in the grid and outside"),
    ],
)
def test_settings_that_there_are_not(parts, words):
    with pytest.raises(GameError, match=words):
        spec(**parts).runs()


def test_what_is_not_installed(tmp_path, monkeypatch):
    for name in ("joblib", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"joblib.*pip install 'vsg_ppl\[cluster\]'"):
        sweep(spec(), tmp_path, jobs=2)
    with pytest.raises(MissingExtra, match=r"ray.*pip install 'vsg_ppl\[cluster\]'"):
        sweep(spec(), tmp_path, backend="ray")
    assert sweep(spec(), tmp_path, jobs=1).runs == 2


@pytest.mark.parametrize("options", [{"backend": "threads"}, {"jobs": 0}])
def test_arguments_that_are_none(options, tmp_path):
    with pytest.raises(GameError, match="the backend is 'threads'|jobs is 0"):
        sweep(spec(), tmp_path, **options)


# --- The command ---


def test_the_command(tmp_path, written):
    arguments = [str(written(SPEC)), "--out", str(tmp_path / "out"), "--jobs", "1"]
    answer = CliRunner(env={"COLUMNS": "120"}).invoke(app, arguments)
    assert answer.exit_code == 0
    assert "median reward" in answer.stdout and "8 of 8 runs\n" in answer.stdout
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(answer.stdout)
    assert found["reused"] == 8 and len(found["results"]) == 4
    assert "8 of them there before" in CliRunner().invoke(app, arguments).stdout


def test_the_command_when_runs_fail(meet, tmp_path, written):
    meet()
    path = written(
        'method = "sac"\ngame = "meet.py:Meet"\nseeds = 1\n[options]\nepisodes = 1\n'
        '[grid]\ngame_options.fault = ["", "raise"]\n'
    )
    answer = CliRunner().invoke(app, [str(path), "--out", str(tmp_path / "out"), "--jobs", "1"])
    assert answer.exit_code == 1
    assert "Failed: game_options.fault = raise, seeds = [0]: " in answer.stderr
    assert "Error: 1 of 2 runs failed" in answer.stderr and "1 of 2 runs" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--jobs", "0"], "--jobs is 0"),
        (["--address", "localhost:1"], "--address is of a cluster"),
        (["--cluster", "slurm"], "slurm"),
    ],
)
def test_the_command_with_wrong_options(arguments, words, tmp_path, written):
    answer = CliRunner().invoke(
        app, [str(written(SPEC)), "--out", str(tmp_path / "out"), *arguments]
    )
    assert answer.exit_code == 2 and words in answer.stderr


@pytest.mark.slow
def test_ctrl_c(tmp_path, written):
    """It reaches every process of the group, and only one sentence is said."""
    path, out = written(SPEC.replace("seeds = 4", "seeds = 4000")), tmp_path / "out"
    arguments = [sys.executable, "-m", "vsg_ppl.cli", "sweep", str(path)]
    arguments += ["--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list(out.glob("runs/*.json"))) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    done = len(list(out.glob("runs/*.json")))
    assert process.returncode == 130 and done >= 3
    assert said.splitlines() == [
        f"Error: stopped; {done} of 8000 runs are in {out}",
        "Try: the same command, which goes on from there.",
    ]
    assert not list(out.glob("runs/.*"))
