"""`mai`: what it is given and gives back, and small games that it must learn."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.learning import Learning
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.models import Differential, Thermostat


class Meeting:
    """Agents want to be near a place, and near each other; three agents, one with two numbers."""

    agents = ("ann", "bob", "cy")
    horizon = 10
    place = 0.4

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        even = dist.Uniform(-torch.ones(2), torch.ones(2))
        ann = vsg.act("ann", dist.Uniform(-1.0, 1.0))
        bob = vsg.act("bob", dist.Uniform(-1.0, 1.0))
        cy = vsg.act("cy", even.to_event(1))
        off = (ann - self.place) ** 2 + (bob - ann) ** 2 + ((cy - self.place) ** 2).sum(-1)
        for agent in self.agents:
            vsg.optimality(agent, -off)
        return state


def test_shapes_and_curves():
    found = mai(Meeting(), episodes=3, plays=4)
    assert found.agents == ("ann", "bob", "cy") and found.method == "mai"
    assert found.rewards.shape == (3, 4, 3)
    assert torch.equal(found.rewards[..., 0], found.rewards[..., 2])  # they are paid alike
    assert found.policies["cy"](torch.zeros(4, 1)).shape == (4, 2)
    assert found.seconds > 0 and "mai: 4 × 3 episodes" in repr(found)


def test_seeds():
    one, again, other = (mai(Meeting(), episodes=2, plays=2, seed=k).rewards for k in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class Pair(Meeting):
    """Two of them."""

    agents = ("ann", "bob")

    def step(self, state):
        ann = vsg.act("ann", dist.Uniform(-1.0, 1.0))
        bob = vsg.act("bob", dist.Uniform(-1.0, 1.0))
        for agent in self.agents:
            vsg.optimality(agent, -((ann - self.place) ** 2) - 2 * (bob - ann) ** 2)
        return state


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_a_common_place_is_found(gamma):
    """Even random actions are worth −1.8."""
    cooling = Cooling(first=5.0, last=0.01, rate=0.2)
    found = mai(
        Pair(),
        episodes=40,
        plays=4,
        temperature=cooling,
        model_temperature=cooling,
        gamma=gamma,
    )
    assert found.rewards[0].mean() < -1.0
    assert found.final().min() > -0.4
    for play in found.policies.values():
        actions = torch.stack([play(torch.zeros(4, 1)) for _ in range(50)])
        assert (actions.median(0).values - Pair.place).abs().max() < 0.2


def test_a_start_near_an_action():
    """The first rewards are those of that action."""
    found = mai(Differential(), episodes=1, plays=20, start=-0.5, steps=1)
    assert found.rewards.mean() > -3.0  # f_1 is 0 at −5, half of −10
    found = mai(Differential(), episodes=1, plays=20, start=0.0, steps=1)
    assert found.rewards.mean() < -3.0  # and −4.4 in the middle


def test_the_cooling_of_the_recipe():
    cooling = Cooling()
    assert cooling(0) == pytest.approx(500.1)
    assert cooling(60) == pytest.approx(0.1 + 500 * math.exp(-3))


def test_success_is_counted():
    rewards = torch.zeros(30, 4, 2)
    rewards[-10:, :3] = 9.5
    found = Learning(None, "mai", ("a", "b"), rewards)
    assert found.final().tolist() == [9.5, 9.5, 9.5, 0.0]
    success = found.success(9.0)
    # Wilson's interval of 3 in 4
    assert success["rate"] == 0.75
    assert success["low"] == pytest.approx(0.3006, abs=1e-4)
    assert success["high"] == pytest.approx(0.9544, abs=1e-4)


@pytest.mark.parametrize(
    ("game", "options", "words"),
    [
        (Thermostat(), {"steps": 3}, "Thermostat has one agent"),
        (Meeting(), {"episodes": 0}, "episodes is 0"),
        (Meeting(), {"plays": 0}, "plays is 0"),
        (Meeting(), {"steps": 0}, "has 0 steps"),
        (Meeting(), {"gamma": 1.0}, "gamma is 1.0"),
        (Meeting(), {"start": 1.5}, "the start is 1.5"),
        (Meeting(), {"start": "cold"}, "the start is 'cold'"),
        (Meeting(), {"temperature": 0.0}, "the temperature is 0.0"),
    ],
)
def test_what_does_not_fit(game, options, words):
    with pytest.raises(vsg.GameError, match=words):
        mai(game, **{"episodes": 1, **options})
