"""The path along a growing horizon ends at the equilibria that other ways find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from tests.random_crowds import RandomCrowd, Shape
from vsg_ppl.horizon_path import _rates, _set, _without_future, follow_horizon
from vsg_ppl.mean_field_exact import newton
from vsg_ppl.mean_field_system import Smooth, System
from vsg_ppl.models import BeachBar, SusceptibleInfected


@pytest.mark.parametrize("smooth", [Smooth(temperature=2.0), Smooth(width=1e-3)])
def test_one_equilibrium_from_both_sides(smooth):
    """Where the smoothed equilibrium is unique, Newton from the prior finds the same."""
    system = System(vsg.mean_field_table(BeachBar()))
    straight = newton(system, system.point(system.table.prior, smooth), smooth, 1e-12)
    along = follow_horizon(system, smooth)
    np.testing.assert_allclose(along, straight.x, atol=1e-9)


def test_agents_without_a_future():
    """Every time is a game of its own: the reward alone is maximised, amid the crowd."""
    table = vsg.mean_field_table(RandomCrowd(Shape(2, 3, (3,), 4, None, True, False)))
    system, smooth = System(table), Smooth(temperature=1.0)
    x = _without_future(system, smooth)
    policy = system.policy(x, smooth)
    from vsg_ppl.crowd_flow import flow

    kernel = table.kernel(flow(table, policy))
    torch.testing.assert_close(policy, kernel.rewards.softmax(-1), atol=1e-8, rtol=0)


@pytest.mark.parametrize("horizon", [6, 9, 12])
def test_an_epidemic_is_followed_to_its_equilibrium(horizon):
    table = vsg.mean_field_table(SusceptibleInfected(horizon=horizon))
    system, smooth = System(table), Smooth(width=1e-7)
    x = follow_horizon(system, smooth)
    assert np.abs(system.equations(x, smooth)).max() < 1e-8
    found = vsg.mean_field_certify(table, system.policy(x, smooth))
    assert found.exploitability < 1e-4
    assert bool((system.weights[:-1] == 1).all()) and float(system.weights[-1]) == 0.0


def test_a_path_cut_short_says_so():
    system = System(vsg.mean_field_table(SusceptibleInfected(horizon=12)))
    assert follow_horizon(system, Smooth(width=1e-7), max_steps=5) is None
    assert bool((system.weights[:-1] == 1).all())


def test_weights_and_their_rates():
    system = System(vsg.mean_field_table(SusceptibleInfected(horizon=5)))
    for horizon in (0.0, 0.3, 1.7, 3.999, 4.0):
        _set(system, horizon)
        assert bool((system.weights >= 0).all() and (system.weights <= 1).all())
        low, high = horizon - 1e-6, horizon + 1e-6
        found = []
        for h in (low, high):
            _set(system, h)
            found.append(system.weights.clone())
        slope = (found[1] - found[0]) / 2e-6
        torch.testing.assert_close(_rates(system, horizon), slope, atol=1e-5, rtol=0)
