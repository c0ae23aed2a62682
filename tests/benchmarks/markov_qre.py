"""Markov quantal response equilibrium: 64 states, 2 agents, 4 actions, δ = .95, λ = 2, to 1e-9.

The peer is sgamesolver, whose equilibrium has no entropy in V (entropy="none"). It builds only in
an environment of its own:

    python3.11 -m venv ~/sgamesolver
    ~/sgamesolver/bin/pip install "numpy<2" "cython<3" "setuptools<70" wheel
    ~/sgamesolver/bin/pip install --no-build-isolation --no-binary sgamesolver "numpy<2" sgamesolver
    VSG_SGAMESOLVER_PYTHON=~/sgamesolver/bin/python make bench

Without VSG_SGAMESOLVER_PYTHON only our own time is shown.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, faster, in_turn, show
from vsg_ppl.models import RandomGame

RATE, RESIDUAL, TIMES = 2.0, 1e-9, 20
GAME = RandomGame(states=64, n_agents=2, actions=4, discount=0.95)
PEER = Path(__file__).with_name("sgamesolver_peer.py")


def rows(repeat: int) -> Iterator[Row]:
    table = vsg.tabulate(GAME)
    found: dict[str, vsg.Solution] = {}

    def ours(entropy: str) -> float:
        def run() -> None:
            found[entropy] = vsg.nash(
                table, temperature=1 / RATE, entropy=entropy, tolerance=RESIDUAL
            )

        return cpu(run)

    task = "Markov QRE (64, 2, 4), λ = 2, entropy "
    interpreter = os.environ.get("VSG_SGAMESOLVER_PYTHON")
    ours("none"), ours("own")
    if not interpreter:
        none, own = in_turn(lambda: ours("none"), lambda: ours("own"), repeat=repeat)
        yield Row(task + "none", show(none), f"{TIMES}× faster", peer="sgamesolver: see --help")
        yield Row(task + "own", show(own), "–")
        return
    with tempfile.TemporaryDirectory() as folder:
        game, answer = Path(folder, "game.npz"), Path(folder, "answer.npz")
        arrays = GAME.arrays
        np.savez(
            game,
            rewards=arrays.rewards.numpy(),
            transitions=arrays.transitions.numpy(),
            discount=GAME.discount,
            rate=RATE,
        )

        def theirs() -> float:
            subprocess.run([interpreter, PEER, game, answer], check=True, timeout=600)
            return float(np.load(answer)["seconds"])

        none, own, peer = in_turn(lambda: ours("none"), lambda: ours("own"), theirs, repeat=repeat)
        policies = torch.tensor(np.load(answer)["policies"])  # (S, N, A)
    for entropy in ("none", "own"):
        assert found[entropy].solved
    for policy, other in zip(found["none"].policies.values(), policies.unbind(1), strict=True):
        torch.testing.assert_close(policy, other, rtol=0, atol=1e-8)
    yield faster(task + "none", none, "sgamesolver", peer, TIMES)
    yield faster(task + "own", own, "sgamesolver (none)", peer, TIMES)
