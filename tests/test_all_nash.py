"""`all_nash` against Gambit, and against what a game's description says."""

from __future__ import annotations

import numpy as np
import pygambit
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.models import BattleOfTheSexes, Chicken, RandomGame, RockPaperScissors, StagHunt


@pytest.mark.parametrize("seed", range(10))
def test_all_of_gambits(seed):
    payoffs = np.random.default_rng(seed).normal(size=(2, 4, 3))
    found = vsg.all_nash(vsg.from_arrays(payoffs[:, None]))
    rows = np.array([np.concatenate([p.flatten() for p in x.policies.values()]) for x in found])
    solved = pygambit.nash.enummixed_solve(pygambit.Game.from_arrays(*payoffs), rational=False)
    assert len(found) == len(solved.equilibria)
    for profile in solved.equilibria:
        known = [float(profile[s]) for player in profile.game.players for s in player.strategies]
        assert np.abs(rows - known).max(1).min() < 1e-6
    assert all(x.solved and x.certificate.nash_gap < 1e-9 for x in found)


def test_the_textbooks():
    assert len(vsg.all_nash(Chicken())) == 3
    assert len(vsg.all_nash(RockPaperScissors())) == 1
    values = [x.certificate.values["row"] for x in vsg.all_nash(BattleOfTheSexes())]
    assert sorted(values) == pytest.approx([2 / 3, 1.0, 2.0])
    assert "equilibrium 3 of 3" in vsg.all_nash(Chicken())[2].message


def test_three_agents():
    """The odd number of equilibria of a 2 × 2 × 2 game."""
    for seed in range(5):
        payoffs = np.random.default_rng(seed).normal(size=(3, 1, 2, 2, 2))
        found = vsg.all_nash(vsg.from_arrays(payoffs))
        assert len(found) % 2 == 1
        assert all(x.certificate.nash_gap < 1e-8 for x in found)


def test_what_is_refused():
    with pytest.raises(vsg.GameError, match="not a one-shot game"):
        vsg.all_nash(StagHunt())
    with pytest.raises(vsg.GameError, match="not a one-shot game"):
        vsg.all_nash(RandomGame())
    with pytest.raises(vsg.GameError, match="a batch"):
        vsg.all_nash(vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True))
    with pytest.raises(vsg.GameError, match="has 2 states"):
        vsg.all_nash(vsg.from_arrays(torch.rand(2, 2, 2, 2), horizon=1))
