"""`potential_nash` against brute force over joint actions, plans and value iteration in NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models


def potential_game(seed, sizes, states=1):
    """Rewards Φ + what others do, and Φ."""
    random = np.random.default_rng(seed)
    phi = random.normal(size=(states, *sizes))
    rewards = []
    for i in range(len(sizes)):
        others = [states, *sizes]
        others[1 + i] = 1
        rewards.append(phi + random.normal(size=others))
    return np.stack(rewards), phi


@pytest.mark.parametrize("sizes", [(2, 2), (3, 4), (2, 3, 2), (5,)])
def test_the_largest_potential(sizes):
    for seed in range(20):
        rewards, phi = potential_game(seed, sizes, states=3)
        table = vsg.from_arrays(rewards, horizon=1)
        solution = vsg.potential_nash(table)
        assert solution.solved and solution.certificate.nash_gap_worst_state <= 1e-12
        for s in range(3):
            played = [int(policy[0, s].argmax()) for policy in solution.policies.values()]
            if len(sizes) > 1:
                assert tuple(played) == np.unravel_index(phi[s].argmax(), sizes)
            else:
                assert played[0] == rewards[0, s].argmax()


@pytest.mark.parametrize("seed", range(5))
def test_a_team_does_what_one_would_who_acts_for_all(seed):
    """Value iteration over joint actions."""
    arrays = models.RandomGame(5, 2, 3, seed=seed, discount=0.9).arrays
    reward, chance = arrays.rewards[0].numpy(), arrays.transitions.numpy()
    values = np.zeros(5)
    for _ in range(400):
        values = (reward + 0.9 * chance @ values).reshape(5, -1).max(1)
    table = vsg.from_arrays(np.stack([reward, reward]), chance, discount=0.9)
    solution = vsg.potential_nash(table)
    assert solution.solved
    np.testing.assert_allclose(solution.values["agent1"].numpy(), values, atol=1e-8)


def test_a_team_with_a_horizon():
    """All plans of a small game."""
    random = np.random.default_rng(0)
    reward, chance = random.normal(size=(2, 2, 2)), random.dirichlet([1, 1], (2, 2, 2))
    table = vsg.from_arrays(np.stack([reward, reward]), chance, horizon=2, initial=[1.0, 0.0])
    best = -np.inf
    for plan in product(range(2), repeat=8):
        a = np.array(plan).reshape(2, 2, 2)  # time, state, agent
        after = [reward[s, a[1, s, 0], a[1, s, 1]] for s in range(2)]
        first = (0, a[0, 0, 0], a[0, 0, 1])
        best = max(best, reward[first] + chance[first] @ after)
    solution = vsg.potential_nash(table)
    assert solution.solved
    assert solution.certificate.values["agent1"] == pytest.approx(best)


def test_one_agent():
    solution = vsg.potential_nash(models.Thermostat())
    assert solution.solved
    assert solution.certificate.nash_gap <= 1e-9


def test_states_that_no_action_moves():
    """The weather of the stag hunt changes by itself, and each weather has a potential."""
    solution = vsg.potential_nash(models.StagHunt())
    assert solution.solved
    start = {agent: policy for agent, policy in solution.policies.items()}
    value = vsg.potential_value(models.StagHunt(), start)
    pure = torch.eye(2, dtype=torch.float64)
    for plan in product(range(2), repeat=4):
        other = {"row": pure[list(plan[:2])], "col": pure[list(plan[2:])]}
        assert (vsg.potential_value(models.StagHunt(), other) <= value + 1e-9).all()


def test_actions_that_are_not_available():
    """What would be best is not among them."""
    reward = torch.tensor([[[9.0, 1.0], [0.0, 2.0]]])
    priors = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])]
    table = vsg.from_arrays(torch.stack([reward, reward]), priors=priors)
    solution = vsg.potential_nash(table)
    assert [int(policy.argmax()) for policy in solution.policies.values()] == [1, 1]


def test_other_games_are_refused():
    with pytest.raises(vsg.GameError, match="neither of identical interest, nor"):
        vsg.potential_nash(models.MatchingPennies())
    with pytest.raises(vsg.GameError, match="exact_nash"):
        vsg.potential_nash(models.RandomGame())
    with pytest.raises(vsg.GameError, match="batch"):
        vsg.potential_nash(vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True))
