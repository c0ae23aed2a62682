"""Soft actor–critic: its losses against their formulas, and what it learns."""

from __future__ import annotations

import math

import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai import Pair
from tests.test_mai_learner import gradients, log_density, penalty
from vsg_ppl.guides.actions import Shape, squashed_normal
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.mai_learner import Learner
from vsg_ppl.sac import sac

ALPHA, DRAWS = 0.7, 5


def learner():
    torch.manual_seed(1)
    return Learner(3, 2, Shape("box", 2), (), hidden=(8, 8), learning_rate=1e-2)


def test_networks_know_the_agents_own_actions_only():
    agent = learner()
    assert set(agent.networks) == {"policy", "critic", "target"}
    assert agent.policy.weights[0].shape[1] == 2 and agent.critic.weights[0].shape[1] == 4


def test_the_policy():
    """E[α log π − Q], and the constant α log 4 of the even prior over two numbers."""
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    loss = agent.policy_loss(seen, agent.imagined(seen), ALPHA)
    torch.manual_seed(7)
    outputs = agent.policy(seen)
    own = squashed_normal(outputs, [agent.own]).rsample()
    expected = ALPHA * (log_density(outputs, own) + math.log(4)) - agent.q(seen, own)
    expected = (expected + penalty(outputs)).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    found, wanted = gradients(loss, agent.policy), gradients(expected, agent.policy)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_value_of_the_next_step():
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    found = agent.expected(seen, ALPHA)
    torch.manual_seed(7)
    outputs = agent.policy(seen)
    own = squashed_normal(outputs, [agent.own]).sample()
    entropy = log_density(outputs, own) + math.log(4)
    wanted = agent.q(seen, own, target=True) - ALPHA * entropy
    assert torch.allclose(found.double(), wanted, atol=1e-4)
    torch.manual_seed(7)
    assert torch.allclose(agent.expected(seen), agent.q(seen, own, target=True))


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_a_common_place_is_found(gamma):
    """Even random actions are worth −1.8."""
    cooling = Cooling(first=5.0, last=0.01, rate=0.2)
    found = sac(Pair(), episodes=40, plays=3, temperature=cooling, gamma=gamma)
    assert found.rewards[0].mean() < -1.0
    assert found.final().min() > -0.4


def test_mai_without_opponents():
    """The same learner where nothing comes after; after that MAI leaves entropy out."""
    options = {"episodes": 2, "plays": 2, "start": "networks"}
    blind = [mai(Pair(), opponents="none", gamma=gamma, **options).rewards for gamma in (0.0, 0.9)]
    soft = [sac(Pair(), gamma=gamma, **options).rewards for gamma in (0.0, 0.9)]
    assert torch.equal(blind[0], soft[0])
    assert not torch.equal(blind[1], soft[1])


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        (sac, {"temperature": -1.0}, "the temperature is -1.0"),
        (mai, {"opponents": "all"}, "opponents are 'all'"),
    ],
)
def test_what_does_not_fit(method, options, words):
    with pytest.raises(vsg.GameError, match=words):
        method(Pair(), episodes=1, **options)
