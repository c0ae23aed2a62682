"""MASQL: its Stein gradient, its losses against their formulas, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai import Pair
from vsg_ppl.guides.actions import Shape
from vsg_ppl.mai import Cooling
from vsg_ppl.masql import Sampler, masql, stein

ALPHA, DRAWS = 0.7, 5


def sampler(groups=3, seen=2, others=2, particles=4):
    torch.manual_seed(1)
    options = {"hidden": (8, 8), "learning_rate": 1e-2, "particles": particles}
    one = Shape("box", 1)
    return Sampler(groups, seen, one, [one] * others, **options)


def gradients(loss, network):
    grads = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([grad.flatten() for grad in grads])


def loops(fixed, slope, moved):
    """φ by the definition, one pair at a time."""
    squares = sorted(sum((v - u) ** 2) for v in fixed for u in moved)
    width = squares[(len(squares) - 1) // 2] / np.log(len(fixed) + 1)
    found = np.zeros_like(moved)
    for j, u in enumerate(moved):
        for v, g in zip(fixed, slope, strict=True):
            kernel = np.exp(-sum((v - u) ** 2) / width)
            found[j] += (kernel * g - 2 / width * (v - u) * kernel) / len(fixed)
    return found


def test_the_stein_gradient():
    torch.manual_seed(0)
    fixed, slope, moved = torch.randn(3, 2, 6, 2), torch.randn(3, 2, 6, 2), torch.randn(3, 2, 4, 2)
    found = stein(fixed, slope, moved)
    for i in range(3):
        for k in range(2):
            wanted = loops(*(x[i, k].double().numpy() for x in (fixed, slope, moved)))
            assert np.allclose(found[i, k].numpy(), wanted, atol=1e-5)


def test_particles_at_one_place():
    """The median distance is 0, and nothing is divided by it."""
    still = torch.zeros(4, 2)
    assert torch.equal(stein(still, torch.ones(4, 2), still), torch.ones(4, 2))


def test_particles_take_the_law():
    """Of a normal law, by the gradient of its density."""
    torch.manual_seed(0)
    at = torch.randn(100, 1) * 0.1
    for _ in range(400):
        at = at + 0.5 * stein(at, -(at - 2) / 0.5**2, at)
    assert at.mean().item() == pytest.approx(2.0, abs=0.02)
    assert at.std().item() == pytest.approx(0.5, rel=0.1)


def test_the_slope():
    """By finite differences of Q/α + Σ log(1 − tanh²)."""
    agent, seen = sampler(), torch.randn(3, DRAWS, 2)
    agent.networks["critic"].double()
    seen, before = seen.double(), torch.randn(3, DRAWS, 3).double()

    def density(u):
        return agent.q(seen, u.tanh()) / ALPHA + (1 - u.tanh() ** 2).log().sum(-1)

    found = agent.slope(seen, before, ALPHA)
    for d in range(3):
        step = 1e-6 * torch.eye(3).double()[d]
        wanted = (density(before + step) - density(before - step)) / 2e-6
        assert torch.allclose(found[..., d], wanted, atol=1e-6)
    assert torch.isfinite(agent.slope(seen, 1e3 * before, ALPHA)).all()


def test_the_sampler():
    """The gradient of its loss is −mean φ · ∂f, by a sum over groups, draws and particles."""
    agent, seen = sampler(), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    found = gradients(agent.sampler_loss(seen, ALPHA), agent.networks["sampler"])
    torch.manual_seed(7)
    wide = seen.repeat_interleave(4, 1)
    fixed, moved = agent.draw(wide).detach(), agent.draw(wide)
    slope = agent.slope(wide, fixed, ALPHA)
    loss = torch.tensor(0.0)
    for g in range(3):
        for b in range(DRAWS):
            rows = slice(4 * b, 4 * b + 4)
            parts = (x[g, rows].detach().double().numpy() for x in (fixed, slope, moved))
            loss = loss - (torch.from_numpy(loops(*parts)).float() * moved[g, rows]).sum()
    wanted = gradients(loss / (4 * DRAWS), agent.networks["sampler"])
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_the_soft_value():
    """α log of a mean: the mean of Q̄ where α is large, nearly its maximum where it is small."""
    agent, seen = sampler(particles=2000), torch.randn(3, 1, 2)
    torch.manual_seed(7)
    found = agent.soft_value(seen, ALPHA)[:, 0]
    torch.manual_seed(7)
    joint = torch.cat([torch.rand(3, 2000, 1) * 2 - 1 for _ in range(3)], -1)
    value = agent.q(seen.expand(3, 2000, 2), joint, target=True)
    assert torch.allclose(found, ALPHA * (value / ALPHA).exp().mean(-1).log(), atol=1e-5)
    torch.manual_seed(7)
    assert torch.allclose(agent.soft_value(seen, 100.0)[:, 0], value.mean(-1), atol=0.05)
    torch.manual_seed(7)
    assert torch.allclose(agent.soft_value(seen, 1e-3)[:, 0], value.max(-1).values, atol=0.01)


def test_learners_share_nothing():
    ends = []
    for scale in (1.0, 5.0):
        agent = sampler()
        torch.manual_seed(3)
        seen = torch.randn(3, DRAWS, 2)
        seen[1:] *= scale
        torch.manual_seed(4)
        agent.improve("sampler", lambda agent=agent, seen=seen: agent.sampler_loss(seen, ALPHA))
        ends.append([x.detach().clone() for x in agent.networks["sampler"].parameters()])
    assert all(torch.allclose(one[0], two[0], atol=1e-6) for one, two in zip(*ends, strict=True))
    assert any(not torch.allclose(one[1:], two[1:]) for one, two in zip(*ends, strict=True))


def test_only_the_sampler_moves():
    agent, seen = sampler(), torch.randn(3, DRAWS, 2)
    before = {
        name: torch.cat([x.detach().flatten() for x in network.parameters()])
        for name, network in agent.networks.items()
    }
    agent.improve("sampler", lambda: agent.sampler_loss(seen, ALPHA))
    for name, network in agent.networks.items():
        after = torch.cat([x.detach().flatten() for x in network.parameters()])
        assert torch.equal(after, before[name]) == (name != "sampler")


def test_starting_near_an_action():
    agent = sampler()
    agent.start(-0.5, 0.2)
    before = agent.draw(torch.zeros(3, 2000, 2)).detach()
    assert torch.allclose(before.std(1), torch.tensor(0.2), atol=0.03)
    assert torch.allclose(before.mean(1).tanh(), torch.tensor(-0.5), atol=0.03)


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_a_common_place_is_found(gamma):
    """Even random actions are worth −1.8."""
    cooling = Cooling(first=5.0, last=0.02, rate=0.4)
    found = masql(
        Pair(), episodes=28, plays=2, temperature=cooling, gamma=gamma, batch=16, particles=8
    )
    assert found.rewards[0].mean() < -1.0
    assert found.final().min() > -0.4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "the temperature is 0.0"),
        ({"particles": 1}, "1 particles; at least 2"),
    ],
)
def test_what_does_not_fit(options, words):
    with pytest.raises(vsg.GameError, match=words):
        masql(Pair(), episodes=1, **options)
