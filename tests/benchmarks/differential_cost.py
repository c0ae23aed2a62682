"""The differential game: seconds of CPU in which agents learn, for one experiment.

Ours are 24 experiments at once, MAI and MADDPG; 200 episodes of 25 steps, an update after each
step, networks 64-64, batches of 64. The peer is MADDPG of TorchRL (`pip install torchrl`), in this
environment or another, with as many steps and updates, one experiment after another:

    VSG_TORCHRL_PYTHON=~/torchrl/bin/python make bench

Both count what all agents take, with playing. `--episodes 20` is a short run. A repetition of the
long one takes four minutes. MAI has four networks to learn where MADDPG has two, one of them from
batches of 512.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, in_turn, show
from vsg_ppl.learning import Learning
from vsg_ppl.models import Differential

PEER = Path(__file__).with_name("torchrl_peer.py")
EPISODES, PLAYS, MOST = 200, 24, 6.0


def rows(repeat: int, episodes: int = EPISODES) -> Iterator[Row]:
    interpreter = os.environ.get("VSG_TORCHRL_PYTHON")
    if interpreter is None and find_spec("torchrl") is not None:
        interpreter = sys.executable
    seeds = count()

    def ours(method: Callable[..., Learning]) -> float:
        return method(Differential(), episodes=episodes, plays=PLAYS).seconds / PLAYS

    def theirs() -> float:
        if interpreter is None:
            return float("nan")
        words = [interpreter, PEER, str(episodes), str(next(seeds))]
        done = subprocess.run(words, check=True, timeout=1200, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        assert len(found["rewards"]) == episodes
        return float(found["seconds"])

    vsg.mai(Differential(), episodes=1)
    mai, maddpg, peer = in_turn(
        lambda: ours(vsg.mai), lambda: ours(vsg.maddpg), theirs, repeat=repeat
    )
    told = "torchrl: see --help" if interpreter is None else f"torchrl MADDPG {show(peer)}"
    full = episodes == EPISODES
    for name, seconds in (("MAI", mai), ("MADDPG", maddpg)):
        limited = full and name == "MAI"
        yield Row(
            f"differential, {episodes} episodes: {name}",
            show(seconds),
            f"at most {MOST:g} s" if limited else "–",
            peer=told,
            ratio="–" if interpreter is None else f"{peer / seconds:.3g}× faster",
            met=seconds <= MOST if limited else None,
        )
