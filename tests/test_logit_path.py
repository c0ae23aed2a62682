"""The principal branch, against gambit's and against the definition of a logit equilibrium."""

from __future__ import annotations

import numpy as np
import pygambit
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.models import Hedge, RandomGame, Soccer, StagHunt


def logit_error(payoffs, profile, rate):
    """max |π − softmax(λ · payoff)| of a one-shot profile, in plain numpy."""
    worst = 0.0
    for i, payoff in enumerate(payoffs):
        mean = payoff
        for j in reversed(range(len(payoffs))):
            if j != i:
                mean = np.tensordot(mean, profile[j], axes=(j, 0))
        aim = np.exp(rate * (mean - mean.max()))
        worst = max(worst, np.abs(aim / aim.sum() - profile[i]).max())
    return worst


@pytest.mark.parametrize("sizes", [(2, 2), (3, 4), (2, 2, 2), (3, 2, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_gambits_branch(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(len(sizes), 1, *sizes, generator=generator, dtype=torch.float64)
    payoffs = [reward[0].numpy() for reward in rewards]
    game = pygambit.Game.from_arrays(*payoffs)
    compared = 0
    for rate in (1.0, 10.0, 50.0):
        point = pygambit.qre.logit_solve_lambda(game, [rate])[0]
        theirs = [
            np.array([float(point.profile[s]) for s in player.strategies])
            for player in game.players
        ]
        if logit_error(payoffs, theirs, point.lam) > 1e-9:
            continue
        ours = vsg.logit_path(vsg.from_arrays(rewards), 1 / point.lam)
        assert ours.solved
        for agent, expected in zip(ours.table.agents, theirs, strict=True):
            assert np.abs(ours.policies[agent][0, 0].numpy() - expected).max() < 1e-7
        compared += 1
    assert compared >= 2


def test_a_fold_is_followed():
    """Three equilibria at low temperature, the principal one reached around a fold or not at
    all."""
    rewards = torch.tensor([[[[6.0, 0.0], [5.0, 1.0]]], [[[6.0, 5.0], [0.0, 1.0]]]]).double()
    for temperature in (2.0, 0.5, 0.1):
        solution = vsg.logit_path(vsg.from_arrays(rewards), temperature)
        profile = [solution.policies[a][0, 0].numpy() for a in solution.table.agents]
        assert solution.solved
        assert logit_error([r[0].numpy() for r in rewards], profile, 1 / temperature) < 1e-9


@pytest.mark.parametrize("game", [StagHunt(), RandomGame(states=3)], ids=lambda g: type(g).__name__)
def test_in_a_stochastic_game_it_is_a_fixed_point_of_nash(game):
    path = vsg.logit_path(game, 0.2)
    steps = vsg.nash(game, temperature=0.2, initial=path.policies, tolerance=1e-8)
    assert path.solved
    assert steps.iterations <= 2
    for agent in path.policies:
        assert torch.allclose(path.policies[agent], steps.policies[agent], atol=1e-7)


class OneDoorShut:
    """Matching pennies with a third action for the row player that is never available."""

    agents, horizon = ("row", "col"), 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        row = vsg.act("row", dist.Categorical(torch.tensor([0.5, 0.5, 0.0]).double()))
        col = vsg.act("col", dist.Categorical(torch.tensor([0.5, 0.5]).double()))
        pay = torch.tensor([[3.0, -1.0], [-1.0, 1.0], [9.0, 9.0]]).double()[row, col]
        vsg.optimality("row", pay)
        vsg.optimality("col", -pay)
        return state


def test_unavailable_actions_stay_out():
    solution = vsg.logit_path(OneDoorShut(), 0.5)
    row, col = (solution.policies[agent][0, 0].numpy() for agent in ("row", "col"))
    payoff = np.array([[3.0, -1.0], [-1.0, 1.0]])
    assert solution.solved
    assert row[2] == 0
    assert logit_error([payoff, -payoff], [row[:2], col], 2.0) < 1e-9


def test_a_stall_is_reported_as_one():
    solution = vsg.logit_path(Hedge(), 1e-3, max_steps=2)
    assert solution.status == "not converged"
    assert "stalled at temperature" in solution.message


def test_too_large_a_game_is_refused_before_work():
    with pytest.raises(vsg.GameError, match="at most 2,000"):
        vsg.logit_path(Soccer(), 0.1)
