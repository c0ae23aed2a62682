"""1,000 random 10 × 10 games, logit equilibria at λ = 2 to a residual of 1e-9.

Ours in one batch; gambit's `logit_solve_lambda` a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pygambit
import torch

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, faster, in_turn

GAMES, ACTIONS, RATE, RESIDUAL = 1000, 10, 2.0, 1e-9


def rows(repeat: int) -> Iterator[Row]:
    payoffs = np.random.default_rng(0).random((GAMES, 2, ACTIONS, ACTIONS))
    table = vsg.from_arrays(torch.tensor(payoffs)[:, :, None], batched=True)
    games = [pygambit.Game.from_arrays(*pair) for pair in payoffs]
    found: dict[str, object] = {}

    def ours() -> None:
        found["ours"] = vsg.nash(table, temperature=1 / RATE, tolerance=RESIDUAL)

    def theirs() -> None:
        found["gambit"] = [pygambit.qre.logit_solve_lambda(game, [RATE])[0] for game in games]

    ours()
    mine, peer = in_turn(lambda: cpu(ours), lambda: cpu(theirs), repeat=repeat)
    _check(payoffs, found)
    task = f"{GAMES:,} logit equilibria, {ACTIONS} × {ACTIONS}, λ = {RATE:g}"
    yield faster(task, mine, "gambit", peer, 100)


def _check(payoffs: np.ndarray, found: dict) -> None:
    """Both are logit equilibria to 1e-9, and the same ones."""
    ours = np.stack([policy[:, 0, 0] for policy in found["ours"].policies.values()], 1)
    theirs = np.array(
        [
            [[float(point.profile[s]) for s in player.strategies] for player in point.game.players]
            for point in found["gambit"]
        ]
    )
    rates = np.array([point.lam for point in found["gambit"]])
    for name, profile, rate in (("ours", ours, RATE), ("gambit", theirs, rates[:, None])):
        means = (
            np.einsum("gab,gb->ga", payoffs[:, 0], profile[:, 1]),
            np.einsum("gab,ga->gb", payoffs[:, 1], profile[:, 0]),
        )
        for policy, mean in zip(profile.swapaxes(0, 1), means, strict=True):
            aim = np.exp(rate * mean)
            off = np.abs(policy - aim / aim.sum(1, keepdims=True)).max()
            assert off <= RESIDUAL, f"the residual of {name} is {off:.1e}"
    assert np.abs(ours - theirs).max() < 1e-7
