"""Runs that are killed, stopped or refused: what goes on is what would have been."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time

import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai import Meeting, Pair
from vsg_ppl.checkpoint import Checkpoint, patient
from vsg_ppl.ddpg import maddpg
from vsg_ppl.mai import mai
from vsg_ppl.masql import masql
from vsg_ppl.sac import sac

SMALL = {"steps": 3, "plays": 2, "hidden": (8,), "batch": 8, "gamma": 0.9, "memory": 50}


def run(path, seed, episodes):
    """What the killed processes run."""
    torch.set_num_threads(1)
    mai(Meeting(), episodes=episodes, seed=seed, checkpoint=path, every=0.0, **SMALL)


@pytest.fixture(scope="module")
def processes():
    """Processes that begin with the library already there."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.test_checkpoint"])
    return found


def content(path):
    """All that was kept but the time it took."""
    state = torch.load(path, weights_only=True)["state"]
    del state["seconds"]
    return flat(state)


def flat(state, name=""):
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, part in pairs for k, v in flat(part, f"{name}.{key}").items()}
    return {name: state.numpy().tobytes() if isinstance(state, torch.Tensor) else state}


def test_killed_at_any_moment(processes, tmp_path):
    """Twenty SIGKILLs at random moments; what ends is byte for byte what is never stopped."""
    chance, kills, seed = random.Random(0), 0, 0
    while kills < 20:
        episodes, path = 40, tmp_path / f"{seed}.pt"
        while True:
            process = processes.Process(target=run, args=(path, seed, episodes))
            process.start()
            process.join(None if kills >= 20 else chance.uniform(0.0, 0.6))
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += 1
                continue
            assert process.exitcode == 0
            break
        whole = tmp_path / f"whole{seed}.pt"
        run(whole, seed, episodes)
        assert content(path) == content(whole)
        seed += 1


def test_stopped_by_ctrl_c(processes, tmp_path):
    """The episode is finished and kept."""
    path = tmp_path / "run.pt"
    process = processes.Process(target=run, args=(path, 5, 50))
    process.start()
    while not path.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 1
    done = torch.load(path, weights_only=True)["state"]["episode"]
    assert 0 < done < 50
    mai(Meeting(), episodes=50, seed=5, checkpoint=path, **SMALL)
    whole = tmp_path / "whole.pt"
    run(whole, 5, 50)
    assert content(path) == content(whole)


@pytest.mark.parametrize("method", [mai, sac, maddpg, masql])
def test_every_method_goes_on(method, tmp_path, monkeypatch):
    options = {"episodes": 4, "checkpoint": tmp_path / "run.pt", "every": 0.0, **SMALL}
    whole = method(Pair(), **{**options, "checkpoint": None})
    write, left = Checkpoint.write, [2]

    def dies(self, state):
        write(self, state)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        method(Pair(), **options)
    found = method(Pair(), **options)
    assert torch.equal(found.rewards, whole.rewards)
    seen = torch.zeros(2, 1)
    for agent, play in found.policies.items():
        torch.manual_seed(0)
        one = play(seen)
        torch.manual_seed(0)
        assert torch.equal(one, whole.policies[agent](seen))
    again = method(Pair(), **options)  # it is over: nothing is left to learn
    assert torch.equal(again.rewards, whole.rewards) and again.seconds == found.seconds


def test_another_run_is_refused(tmp_path):
    options = {"episodes": 1, "checkpoint": tmp_path / "run.pt", **SMALL}
    mai(Pair(), **options)
    with pytest.raises(vsg.GameError, match="it has seed 0, and this run seed 1"):
        mai(Pair(), **{**options, "seed": 1})
    with pytest.raises(vsg.GameError, match="it has method mai, and this run method sac"):
        sac(Pair(), **options)
    with pytest.raises(vsg.GameError, match=r"it has temperature \[500\.1\], .* \[1\.0\]"):
        mai(Pair(), temperature=1.0, **options)


def test_what_is_no_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    path.write_text("hello")
    with pytest.raises(vsg.GameError, match=r"run\.pt is not a checkpoint"):
        mai(Pair(), episodes=1, checkpoint=path, **SMALL)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(vsg.GameError, match="could not be written: .*No such file"):
        mai(Pair(), episodes=1, checkpoint=tmp_path / "no" / "run.pt", **SMALL)


def test_a_full_disk(tmp_path):
    """Files may not grow beyond a limit: the one before stays, and nothing else is left."""
    kept = Checkpoint(tmp_path / "run.pt", "a run", every=0.0)
    kept.write({"episode": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(vsg.GameError, match=r"the checkpoint .* could not be written"):
            kept.write({"episode": 2, "rewards": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept.read() == {"episode": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_due_by_the_clock(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = Checkpoint(tmp_path / "run.pt", "a run", every=60.0)
    assert not kept.due
    now[0] = 60.0
    assert kept.due
    kept.write({})
    assert not kept.due
    assert not Checkpoint(None, "a run", every=0.0).due


def test_ctrl_c_twice():
    with pytest.raises(KeyboardInterrupt), patient(True) as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
