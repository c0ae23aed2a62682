"""What others will do: inferred wants beside counted actions; and a million observed steps.

Fifty random stochastic games, 4 to 12 states on a ring, 2 to 4 actions of each of two agents, each
with a reward of its own. The observer plays a random policy, which it knows; the opponent responds
softly at a known temperature, for a reward that the observer does not know. KL(true ‖ inferred) is
the mean over the states that were visited, and over those that never were. Counting has Laplace's
rule.
"""

from __future__ import annotations

import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, show
from vsg_ppl.guides import LinearReward, TabularReward
from vsg_ppl.models import Soccer
from vsg_ppl.simulate import simulate

GAMES = 50
STEPS = 20
WANTS = (
    # (what the reward depends on, temperature, standard deviation of the prior)
    ("features", 0.2, 0.5),
    ("state", 0.2, 0.3),
    ("action", 0.05, 0.3),
    ("action", 0.2, 0.3),
    ("joint", 0.05, 0.3),
    ("joint", 0.2, 0.3),
)


def rows(repeat: int) -> list[Row]:
    """KL at 20, 100 and 1000 trajectories; then a million steps."""
    return [*(row for wants in WANTS for row in _predicted(*wants)), _million()]


def world(seed: int, wants: str) -> tuple[vsg.Table, Tensor, Tensor | None]:
    """A game on a ring, from state 0 on: a joint action leads to two of here, left and right.

    The opponent's reward is uniform in [0, 1] by "state", "action" (its own) or "joint" action, or
    linear in three known features of its own action, with normal weights. With the table come the
    observer's policy and the features.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    n, mine, yours = whole(4, 12), whole(2, 4), whole(2, 4)
    moves = torch.zeros(n, mine, yours, n, dtype=torch.float64)
    for place in range(n):
        for row in moves[place].reshape(-1, n):
            share, near = uniform(1)[0], torch.tensor([place - 1, place, place + 1]) % n
            row[near[torch.randperm(3, generator=generator)[:2]]] = torch.stack([share, 1 - share])
    features = None
    if wants == "features":
        features = 2 * uniform(n, yours, 3) - 1
        weights = torch.randn(3, generator=generator, dtype=torch.float64) / 2
        reward = (features @ weights)[:, None]
    else:
        shapes = {"state": (n, 1, 1), "action": (n, 1, yours), "joint": (n, mine, yours)}
        reward = uniform(*shapes[wants])
    rewards = torch.stack([uniform(n, mine, yours), reward.expand(n, mine, yours)])
    first = torch.eye(n, dtype=torch.float64)[0]
    table = vsg.from_arrays(rewards, moves, discount=0.9, initial=first, agents=("me", "you"))
    policy = -uniform(n, mine).log()
    return table, policy / policy.sum(-1, keepdim=True), features


def divergences(seed: int, wants: str, temperature: float, scale: float, n: int) -> Tensor:
    """KL(true ‖ ·) of counting and of inference, over states visited and never visited, (2, 2)."""
    table, mine, features = world(seed, wants)
    truth = vsg.opponent_model(table, "me", policy=mine, temperature=temperature).policies
    seen = vsg.Observations.of(table, simulate(table, truth, n, steps=STEPS, seed=seed))
    hidden = replace(table, rewards=(table.rewards[0], torch.zeros_like(table.rewards[1])))
    reward = (
        TabularReward(hidden, "you", over=wants, scale=scale)
        if features is None
        else LinearReward(hidden, "you", features, scale=scale)
    )
    found = vsg.infer_opponent(
        hidden,
        "you",
        seen,
        reward=reward,
        temperature=temperature,
        others={"me": mine},
        method="map",
        restarts=0,
    )
    counted = seen.smoothed("you", float(table.sizes[1]))[0, 0]
    been = seen.visits[0] > 0
    out = []
    for policy in (counted, found.policy):
        off = (truth["you"] * (truth["you"].log() - policy.log())).sum(-1)
        out.append(torch.stack([off[been].mean(), off[~been].mean()]))
    return torch.stack(out)


def _predicted(wants: str, temperature: float, scale: float) -> list[Row]:
    out = []
    for n in (20, 100, 1000):
        every = torch.stack(
            [divergences(seed, wants, temperature, scale, n) for seed in range(GAMES)]
        )
        mean = every.nanmean(0)
        ratio = float(mean[1, 0] / mean[0, 0])
        unseen = int((~every[:, 0, 1].isnan()).sum())
        most = {20: 0.5, 1000: 1.0}.get(n)
        out.append(
            Row(
                task=f"KL, reward by {wants}, temperature {temperature:g}, {n} trajectories",
                ours=f"{mean[1, 0]:.4f}" + (f" (unseen {mean[1, 1]:.3f})" if unseen else ""),
                peer=f"counting {mean[0, 0]:.4f}"
                + (f" (unseen {mean[0, 1]:.3f}, {unseen} games)" if unseen else ""),
                ratio=f"{ratio:.2f}",
                target="–" if most is None else f"at most {most:g}",
                met=None if most is None else ratio <= most,
            )
        )
    return out


def _million() -> Row:
    """Read and explain a million observed steps of soccer."""
    game = Soccer()
    table = vsg.tabulate(game)
    policies = vsg.nash(table, temperature=0.1, max_steps=50).policies
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "play.csv")
        vsg.write_play(path, simulate(table, policies, 10_000, steps=100))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def fit() -> None:
            seen = vsg.read_play(path, table)
            vsg.infer_opponent(table, "b", seen, reward="program", samples=10)

        seconds = cpu(fit)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Row(
        task=f"read and explain 1,000,000 steps of soccer, {len(table.states)} states",
        ours=f"{show(seconds)}, {more:.0f} MB more",
        target="60 s of two cores",
        met=seconds < 60,
    )
