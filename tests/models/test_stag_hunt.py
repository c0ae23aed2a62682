import numpy as np
import pytest

import vsg_ppl as vsg
from tests.models.policies import dense, values, worst_cycle
from vsg_ppl.models import StagHunt

FAIR, STORM = 0, 1
STAG, HARE = 0, 1


def reward(weather, own, other):
    """Told again: hare is worth 3, shared 2; a stag takes both, 4, in a storm 2."""
    if own == HARE:
        return 2 if other == HARE else 3
    if other == HARE:
        return 0
    return 4 if weather == FAIR else 2


def test_rewards_and_weather():
    table = vsg.tabulate(StagHunt())
    rewards, transitions = dense(table)
    assert table.initial[0].tolist() == [0.5, 0.5]
    for weather, row, col in np.ndindex(2, 2, 2):
        assert rewards[0, weather, row, col] == reward(weather, row, col)
        assert rewards[1, weather, row, col] == reward(weather, col, row)
        expected = [0.8, 0.2] if weather == FAIR else [0.4, 0.6]
        assert transitions[weather, row, col] == pytest.approx(expected, abs=1e-15)


def both(fair, storm):
    policy = np.array([[fair, 1 - fair], [storm, 1 - storm]])  # probability of STAG by weather
    return [policy, policy]


def gap(policies):
    """Nash gap over deterministic stationary deviations, enough in a discounted game."""
    rewards, transitions = dense(vsg.tabulate(StagHunt()))
    base = values(rewards, transitions, 0.9, policies)
    best = 0.0
    for agent in range(2):
        for fair, storm in np.ndindex(2, 2):
            changed = list(policies)
            changed[agent] = np.eye(2)[[fair, storm]]
            gain = values(rewards, transitions, 0.9, changed)[agent] - base[agent]
            best = max(best, gain.max())
    return best


@pytest.mark.parametrize("fair", [1, 0, 2 / 3])
def test_the_three_equilibria(fair):
    assert gap(both(fair, storm=0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("fair", "storm"), [(1, 1), (0.5, 0), (0.9, 0)])
def test_others_are_none(fair, storm):
    assert gap(both(fair, storm)) > 0.1


def test_is_a_markov_potential_game():
    assert worst_cycle(vsg.tabulate(StagHunt()), seed=0) < 1e-12
