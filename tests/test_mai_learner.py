"""The losses of MAI, ELBOs of Pyro programs, against their formulas: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from vsg_ppl.guides.actions import Shape, squashed_normal
from vsg_ppl.learner_networks import PENALTY
from vsg_ppl.mai_learner import Learner

ALPHA, BETA, DRAWS = 0.7, 1.3, 5


def learner(groups=3, seen=2, own=1, others=2, kind=Learner, **options):
    torch.manual_seed(1)
    shapes = Shape("box", own), [Shape("box", 1)] * others
    return kind(groups, seen, *shapes, hidden=(8, 8), learning_rate=1e-2, **options)


def gradients(loss, network):
    grads = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([grad.flatten() for grad in grads])


def log_density(outputs, x):
    """Of tanh(N(mean, σ)) at x, by the change of variables, in double precision."""
    mean, log_scale = outputs.double().chunk(2, -1)
    scale, u = log_scale.clamp(-20, 2).exp() + 0.01, x.double().atanh()
    normal = -0.5 * ((u - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)
    return (normal - (1 - x.double() ** 2).log()).sum(-1)


def penalty(outputs):
    mean, log_scale = outputs.double().chunk(2, -1)
    return PENALTY * ((mean**2).mean(-1) + (log_scale**2).mean(-1))


def test_the_policy():
    """E[α log π − Q] up to the constant α log 2 of the even prior (Eq. 8)."""
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    loss = agent.policy_loss(seen, agent.imagined(seen), ALPHA)
    torch.manual_seed(7)
    other = agent.theirs(agent.model(seen)).sample()
    outputs = agent.policy(torch.cat([seen, other], -1))
    own = squashed_normal(outputs, [agent.own]).rsample()
    expected = ALPHA * log_density(outputs, own) - agent.q(seen, own, other) + penalty(outputs)
    expected = (expected + ALPHA * math.log(2)).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    found, wanted = gradients(loss, agent.policy), gradients(expected, agent.policy)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_opponent_model():
    """E[α' log ρ − α' log P + α log π − Q], reparametrised through both actions."""
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    loss = agent.model_loss(seen, ALPHA, BETA)
    torch.manual_seed(7)
    outputs = agent.model(seen)
    other = agent.theirs(outputs).rsample()
    answer = agent.policy(torch.cat([seen, other], -1))
    own = squashed_normal(answer, [agent.own]).rsample()
    expected = BETA * (log_density(outputs, other) - log_density(agent.prior(seen), other))
    expected = expected + ALPHA * log_density(answer, own) - agent.q(seen, own, other)
    expected = (expected + penalty(outputs) + ALPHA * math.log(2)).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    found, wanted = gradients(loss, agent.model), gradients(expected, agent.model)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_critic():
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    own, other, wanted = torch.rand(3, DRAWS, 1), torch.rand(3, DRAWS, 2), torch.randn(3, DRAWS)
    loss = agent.critic_loss(seen, own, other, wanted=wanted)
    off = agent.q(seen, own, other) - wanted
    expected = (0.5 * off**2 + 0.5 * math.log(2 * math.pi)).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found, known = gradients(loss, agent.critic), gradients(expected, agent.critic)
    assert torch.allclose(found, known, rtol=1e-4, atol=1e-5)


def test_the_prior():
    """Actions at the very edge have a finite density too."""
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    other = torch.rand(3, DRAWS, 2) * 1.8 - 0.9
    loss = agent.prior_loss(seen, other)
    expected = -log_density(agent.prior(seen), other).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.isfinite(agent.prior_loss(seen, torch.ones(3, DRAWS, 2)))


def test_learners_share_nothing():
    """What the others of a group see has no effect on a learner."""
    ends = []
    for scale in (1.0, 5.0):
        agent = learner()
        torch.manual_seed(3)
        seen = torch.randn(3, DRAWS, 2)
        seen[1:] *= scale
        torch.manual_seed(4)
        agent.improve(
            "policy",
            lambda agent=agent, seen=seen: agent.policy_loss(seen, agent.imagined(seen), ALPHA),
        )
        ends.append([parameter.detach().clone() for parameter in agent.policy.parameters()])
    assert all(torch.allclose(one[0], two[0], atol=1e-6) for one, two in zip(*ends, strict=True))
    assert any(not torch.allclose(one[1:], two[1:]) for one, two in zip(*ends, strict=True))


def test_only_one_network_moves():
    agent, seen = learner(), torch.randn(3, DRAWS, 2)
    before = {
        name: torch.cat([x.detach().flatten() for x in network.parameters()])
        for name, network in agent.networks.items()
    }
    agent.improve("model", lambda: agent.model_loss(seen, ALPHA, BETA))
    for name, network in agent.networks.items():
        after = torch.cat([x.detach().flatten() for x in network.parameters()])
        assert torch.equal(after, before[name]) == (name != "model")


def test_starting_near_an_action():
    agent = learner()
    agent.start(-0.5, 0.2)
    actions = torch.cat([agent.act(torch.zeros(3, 1, 2)) for _ in range(200)])
    assert abs(float(actions.median()) + 0.5) < 0.05
    assert float(actions.std()) < 0.25
