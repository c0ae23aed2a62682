"""A Nash equilibrium of random dense games, δ = .95: both of our ways, and 2,000 states at all.

The peer is sgamesolver, which follows logit equilibria until it takes the rationality for infinite;
`markov_qre` says how to install it. Both get the same game; the gap shown is the certificate's,
from the worst state, of what each returns. Without VSG_SGAMESOLVER_PYTHON only our time is shown.
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

SIZES = ((16, 2, 4), (64, 2, 4), (16, 3, 3))
LARGE = (2000, 2, 4)
TIMES = 5
PEER = Path(__file__).with_name("sgamesolver_nash_peer.py")


def rows(repeat: int) -> Iterator[Row]:
    interpreter = os.environ.get("VSG_SGAMESOLVER_PYTHON")
    for size in SIZES:
        states, n_agents, actions = size
        game = RandomGame(states=states, n_agents=n_agents, actions=actions, discount=0.95)
        yield from _compare(game, interpreter, repeat)
    states, n_agents, actions = LARGE
    table = vsg.tabulate(
        RandomGame(states=states, n_agents=n_agents, actions=actions, discount=0.95)
    )
    found: list[vsg.Solution] = []
    seconds = cpu(lambda: found.append(vsg.exact_nash(table)))
    gap = found[-1].certificate.nash_gap_worst_state
    yield Row(f"Nash {LARGE}, gap {gap:.0e}", show(seconds), "solved", met=found[-1].solved)


def _compare(game: RandomGame, interpreter: str | None, repeat: int) -> Iterator[Row]:
    table = vsg.tabulate(game)
    size = (game.states, game.n_agents, game.actions)
    found: dict[str, vsg.Solution] = {}

    def ours(method: str) -> float:
        def run() -> None:
            found[method] = vsg.exact_nash(table, method=method)

        return cpu(run)

    methods = ["path", "stages"] if game.n_agents == 2 else ["path"]
    for method in methods:
        ours(method)  # warm
    if not interpreter:
        for method, seconds in zip(
            methods, in_turn(*[lambda m=m: ours(m) for m in methods], repeat=repeat), strict=True
        ):
            yield Row(f"Nash {size}, {method}", show(seconds), f"{TIMES}× faster")
        return
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "game.npz"), Path(folder, "answer.npz")
        arrays = game.arrays
        np.savez(
            given,
            rewards=arrays.rewards.numpy(),
            transitions=arrays.transitions.numpy(),
            discount=game.discount,
        )

        def theirs() -> float:
            subprocess.run([interpreter, PEER, given, answer], check=True, timeout=600)
            return float(np.load(answer)["seconds"])

        *own, peer = in_turn(*[lambda m=m: ours(m) for m in methods], theirs, repeat=repeat)
        policies = torch.tensor(np.load(answer)["policies"])  # (S, N, A)
    theirs_gap = vsg.certify(
        table, dict(zip(table.agents, policies.unbind(1), strict=True))
    ).nash_gap_worst_state
    for method, seconds in zip(methods, own, strict=True):
        gap = found[method].certificate.nash_gap_worst_state
        assert found[method].solved and gap <= theirs_gap
        task = f"Nash {size}, {method}, gap {gap:.0e}"
        yield faster(task, seconds, f"sgamesolver, gap {theirs_gap:.0e}:", peer, TIMES)
