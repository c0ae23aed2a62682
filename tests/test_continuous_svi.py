"""Sampled SVI with neural guides, of actions and states that are numbers, against closed forms."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ExponentialLR

import vsg_ppl as vsg
from vsg_ppl.guides.neural import NeuralPolicy
from vsg_ppl.models.routing import Routing


class OneStep:
    """One state; ``mine`` and ``other`` choose by these priors, and mine is paid ``reward``."""

    agents, horizon = ("mine", "other"), 1

    def __init__(self, prior, reward, other=None):
        self.prior, self.reward, self.other = prior, reward, other or dist.Normal(0.5, 0.3)

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        mine, other = vsg.act("mine", self.prior), vsg.act("other", self.other)
        vsg.optimality("mine", self.reward(mine, other))
        vsg.optimality("other", 0.0)
        return state


class Walk:
    """x' = x + a + noise, paid −(x + a)²; the steps are few."""

    agents, horizon = ("walker",), 3
    noise, prior = 0.3, 1.5

    def initial(self):
        return pyro.sample("x", dist.Normal(1.0, 1.0))

    def step(self, x):
        to = x + vsg.act("walker", dist.Normal(0.0, self.prior))
        vsg.optimality("walker", -(to**2))
        return pyro.sample("x", dist.Normal(to, self.noise))


def climb(game, agent, *, temperature, steps, particles=16, rate=0.03, hidden=(16,), others=None):
    """The policy that SVI ends with, and its model and guide. The rate falls to a hundredth."""
    policy = NeuralPolicy(game, agent, hidden=hidden)
    model = vsg.agent_model(game, agent, others, temperature=temperature)
    guide = vsg.agent_guide(game, agent, policy, others)
    fall = {"optimizer": torch.optim.Adam, "optim_args": {"lr": rate}, "gamma": 0.01 ** (1 / steps)}
    optim = ExponentialLR(fall)
    svi = SVI(model, guide, optim, Trace_ELBO(num_particles=particles, vectorize_particles=True))
    for _ in range(steps):
        svi.step()
        optim.step()
    return policy, model, guide


def law_of(policy, state, t=0):
    """The law of the policy's only action."""
    with torch.no_grad():
        trace = pyro.poutine.trace(policy).get_trace(state, t)
    return trace.nodes[policy.agent]["fn"]


def elbo(model, guide, particles):
    """A mean of so many particles, and its standard error."""
    loss = Trace_ELBO(num_particles=particles // 20, vectorize_particles=True)
    with torch.no_grad():
        values = -torch.tensor([loss.loss(model, guide) for _ in range(20)])
    return float(values.mean()), float(values.std() / 20**0.5)


def test_one_step_is_gaussian():
    """prior × exp(−E(a − b o)²/τ): precision 1/s² + 2/τ, the mean pulled towards b E[o]."""
    tau, b, s = 0.5, 2.0, 1.5
    game = OneStep(dist.Normal(0.0, s), lambda a, o: -((a - b * o) ** 2))
    policy, model, guide = climb(game, "mine", temperature=tau, steps=400, particles=64)
    precision = 1 / s**2 + 2 / tau
    law = law_of(policy, torch.tensor(0))
    # 64 draws a step at a rate that falls to 3e-4 leave the mean within some hundredths
    assert float(law.mean) == pytest.approx(2 / tau * b * 0.5 / precision, abs=0.04)
    assert float(law.stddev) == pytest.approx(precision**-0.5, rel=0.06)
    # log ∫ prior exp(−((a − b E o)² + b² Var o)/τ), a Gaussian integral
    spread = s**2 + tau / 2
    exact = 0.5 * math.log(tau / 2 / spread) - (b * 0.5) ** 2 / (2 * spread) - b**2 * 0.09 / tau
    found, error = elbo(model, guide, 20_000)
    assert found == pytest.approx(exact, abs=5 * error + 0.01)
    assert error < 0.02


def test_three_steps_obey_riccati():
    """The soft optimal law of each step is Gaussian; P, of V = −P x²/2 + c, goes backward."""
    game, tau = Walk(), 1.0
    s, noise = game.prior, game.noise
    policy, model, guide = climb(game, "walker", temperature=tau, steps=300, rate=0.05)
    price, constant, gains = 0.0, 0.0, []
    for _ in range(3):
        curve = 2 / tau + price  # of what is left, in x + a
        gains.insert(0, (curve / (curve + s**-2), (curve + s**-2) ** -0.5))
        constant += -price * noise**2 / 2 - 0.5 * math.log(1 + curve * s**2)
        price = curve / (1 + curve * s**2)
    places = torch.linspace(-1.0, 2.5, 8).double()  # two σ of where a play begins
    for t, (gain, spread) in enumerate(gains):
        law = law_of(policy, places if t == 0 else places * 0.4, t)
        wanted = -gain * (places if t == 0 else places * 0.4)
        assert torch.allclose(law.mean, wanted, atol=0.15)
        assert torch.allclose(law.stddev, torch.full_like(places, spread), rtol=0.15)
    exact = constant - price * (1.0 + 1.0) / 2  # E x² = 2 at first
    found, error = elbo(model, guide, 20_000)
    # the guide falls short by its divergence from the optimum, never by less
    assert exact - 0.03 - 4 * error < found < exact + 4 * error
    assert error < 0.02


def test_an_interval_against_quadrature():
    """Mean and variance of prior × exp(r/τ) on [−1, 3], within what the divergence allows."""
    low, high, tau = -1.0, 3.0, 0.4

    def reward(a, other):
        return torch.sin(2 * a) - 0.3 * (a - 1) ** 2 - 0.1 * other * a

    game = OneStep(dist.Uniform(low, high), reward, dist.Normal(0.5, 0.3))
    policy, *_ = climb(game, "mine", temperature=tau, steps=500)
    law = law_of(policy, torch.tensor(0))
    edges = torch.linspace(low, high, 20_001).double()
    a = (edges[1:] + edges[:-1]) / 2
    width = (high - low) / len(a)
    exact = (reward(a, torch.tensor(0.5)) / tau).softmax(0)  # linear in the other's action
    inside = a.clamp(low + 1e-5, high - 1e-5)
    mass = law.log_prob(inside).exp().detach() * width
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    divergence = float((mass * (mass.clamp_min(1e-300).log() - exact.log())).sum())
    assert 0 <= divergence < 0.05
    mean, found = float(exact @ a), float(mass @ a)
    # Pinsker's inequality times the length of the interval
    assert abs(found - mean) < (high - low) * (divergence / 2) ** 0.5
    assert abs(found - mean) < 0.06
    variance = float(exact @ (a - mean) ** 2)
    assert float(mass @ (a - found) ** 2) == pytest.approx(variance, rel=0.2)


def simplex(n):
    """Middles of an even grid over the shares of three, (m, 3)."""
    axis = (torch.arange(n).double() + 1 / 3) / n
    x, y = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    shares = torch.stack([x, y, 1 - x - y], -1)
    return shares[shares[:, -1] > 0]


@pytest.mark.parametrize("tau", [0.3, 0.03])
def test_shares_of_paths_against_quadrature(tau):
    """One carrier of Braess's network whose rival acts at random: its soft best response."""
    game = Routing("braess", n_agents=2, demands=(1.0,), incidents=(1.0,), horizon=1)
    policy, *_ = climb(game, "agent1", temperature=tau, steps=400)
    state = game.states.__class__(torch.tensor(0), torch.tensor(0))
    law = law_of(policy, state)
    assert isinstance(law, dist.Dirichlet)
    own = simplex(400)
    even = torch.full_like(own, 1 / 3)  # the reward is linear in the rival's shares
    log = game.rewards(state, torch.stack([own, even], -2))[:, 0] / tau
    exact = log.softmax(0) @ own
    mass = law.log_prob(own).softmax(0)
    divergence = float((mass * (mass.log() - log.log_softmax(0))).sum())
    assert 0 <= divergence < 0.1
    assert float((law.mean - exact).abs().max()) < (divergence / 2) ** 0.5 + 0.01
    assert torch.allclose(law.mean, exact, atol=0.03)


@pytest.mark.parametrize("kind", ["interval", "simplex"])
def test_gradients_against_differences(kind):
    """∇ELBO by samples is the slope of the ELBO that is integrated, at parameters anywhere."""
    if kind == "interval":
        prior, other = dist.Uniform(-1.0, 3.0), dist.Normal(0.5, 0.3)
        game = OneStep(prior, lambda a, o: torch.sin(2 * a) - 0.3 * a * o, other)
        start = torch.tensor([0.3, -0.4])
        edges = torch.linspace(-1 + 2e-6, 3 - 2e-6, 40_001).double()
        points, paid = (edges[1:] + edges[:-1]) / 2, lambda a: torch.sin(2 * a) - 0.15 * a
    else:
        aim = torch.tensor([0.6, 0.3, 0.1]).double()
        game = OneStep(
            dist.Dirichlet(torch.ones(3).double()), lambda a, o: -((a - aim) ** 2).sum(-1) + 0 * o
        )
        start = torch.tensor([1.2, 0.9, 0.7])
        points, paid = simplex(700), lambda a: -((a - aim) ** 2).sum(-1)
    policy = NeuralPolicy(game, "mine", hidden=())
    bias = policy.network0[0].bias

    def exact(outputs):
        law = policy.supports["mine"].law(outputs)
        log = law.log_prob(points)
        mass = log.softmax(0)
        return mass @ (paid(points) / 0.5 + game.prior.log_prob(points) - log)

    with torch.no_grad():
        policy.network0[0].weight.zero_()
        bias.copy_(start)
    slopes = []
    for step in torch.eye(len(start)).double() * 1e-4:
        up, down = exact(start + step), exact(start - step)
        slopes.append(float(up - down) / 2e-4)
    model = vsg.agent_model(game, "mine", temperature=0.5)
    guide = vsg.agent_guide(game, "mine", policy)
    loss = Trace_ELBO(num_particles=1000, vectorize_particles=True)
    found = []
    for _ in range(40):
        bias.grad = None
        loss.loss_and_grads(model, guide)
        found.append(-bias.grad.clone())
    found = torch.stack(found)
    error = found.std(0) / len(found) ** 0.5
    wanted = torch.tensor(slopes).double()
    assert (error < 0.03 * wanted.abs().max()).all()
    # four and a half standard errors, and what the integral's grid leaves
    assert ((found.mean(0) - wanted).abs() < 4.5 * error + 2e-3).all()


def test_particles_side_by_side_or_one_by_one():
    """They have one mean; the sites of a play without end, too, may be side by side."""

    class Endless(Walk):
        horizon, discount = None, 0.5

    game = Endless()
    policy = NeuralPolicy(game, "walker", hidden=(4,))
    model, guide = vsg.agent_model(game, "walker"), vsg.agent_guide(game, "walker", policy)
    with torch.no_grad():
        one = -torch.tensor([Trace_ELBO().loss(model, guide) for _ in range(150)])
    many, error = elbo(model, guide, 10_000)
    assert abs(float(one.mean()) - many) < 4 * (error + float(one.std()) / len(one) ** 0.5)
