"""Neural policies: the law fits the prior's support, and they play wherever a policy plays."""

from __future__ import annotations

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch.distributions.transforms import AffineTransform, TanhTransform

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.errors import GameError
from vsg_ppl.guides.neural import ConditionalNeuralPolicy, NeuralPolicy
from vsg_ppl.guides.supports import support
from vsg_ppl.reading import read_policies

SQUASHED = dist.TransformedDistribution(
    dist.Normal(0.0, 1.0), [TanhTransform(), AffineTransform(2.0, -3.0)]
)

PRIORS = {
    "normal": (dist.Normal(3.0, 2.0), (-torch.inf, torch.inf)),
    "cauchy": (dist.Cauchy(0.0, 1.0), (-torch.inf, torch.inf)),
    "vector": (dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), (-torch.inf, torch.inf)),
    "matrix": (dist.Normal(torch.zeros(2, 3), 1.0).to_event(2), (-torch.inf, torch.inf)),
    "uniform": (dist.Uniform(-1.0, 5.0), (-1.0, 5.0)),
    "box": (dist.Uniform(torch.tensor([0.0, 9.0]), 10.0).to_event(1), ([0.0, 9.0], [10.0, 10.0])),
    "beta": (dist.Beta(2.0, 3.0), (0.0, 1.0)),
    "tanh": (SQUASHED, (-1.0, 5.0)),
    "gamma": (dist.Gamma(2.0, 0.5), (0.0, torch.inf)),
    "lognormal": (dist.LogNormal(0.0, 1.0), (0.0, torch.inf)),
    "pareto": (dist.Pareto(2.0, 3.0), (2.0, torch.inf)),
}


def game_of(prior, **more):
    """One step in which ``a`` chooses by this prior."""

    def step(state):
        action = vsg.act("a", prior)
        vsg.optimality(
            "a",
            -action.reshape(*action.shape[: action.ndim - prior.event_dim], -1)
            .double()
            .square()
            .sum(-1),
        )
        return state

    parts = {"agents": ("a",), "horizon": 1, "initial": lambda: torch.tensor(0), "step": step}
    return SimpleNamespace(**(parts | more))


@pytest.mark.parametrize("name", PRIORS)
def test_numbers_lie_in_the_support(name):
    """Whatever the network says, within the prior's density and with gradients."""
    prior, (low, high) = PRIORS[name]
    site = support("a", prior)
    assert torch.allclose(site.low, torch.as_tensor(low).double().expand(site.size))
    assert torch.allclose(site.high, torch.as_tensor(high).double().expand(site.size))
    for size in (0.0, 1.0, 30.0):
        outputs = (size * torch.randn(200, site.outputs)).double().requires_grad_()
        law = site.law(outputs)
        assert law.batch_shape == (200,) and law.event_shape == prior.event_shape
        value = law.rsample()
        flat = value.reshape(200, -1)
        assert (flat >= site.low).all() and (flat <= site.high).all()
        assert law.log_prob(value).isfinite().all()
        assert (prior.log_prob(value) > -torch.inf).all() or size == 30.0
        if site.low.isfinite().any() and site.high.isfinite().any():
            assert prior.log_prob(value).isfinite().all()
        value.sum().backward()
        assert outputs.grad.isfinite().all()


def test_it_starts_at_the_prior():
    for prior in (dist.Normal(3.0, 2.0), dist.Dirichlet(torch.tensor([1.0, 2.0, 5.0])),
                  dist.Categorical(torch.tensor([0.0, 0.3, 0.7]))):  # fmt: skip
        site = support("a", prior)
        law = site.law(torch.zeros(site.outputs).double())
        value = prior.sample((50,))
        assert torch.allclose(law.log_prob(value).float(), prior.log_prob(value), atol=1e-5)


def test_shares_and_finite_actions():
    shares = support("a", dist.Dirichlet(torch.ones(3))).law(torch.randn(100, 3).double() * 9)
    value = shares.sample()
    assert torch.allclose(value.sum(-1), torch.ones(100).double())
    assert shares.log_prob(value).isfinite().all()
    finite = support("a", dist.Categorical(torch.tensor([0.5, 0.0, 0.5])))
    assert not (finite.law(torch.randn(500, 3).double()).sample() == 1).any()


@pytest.mark.parametrize("name", [*PRIORS, "dirichlet", "categorical"])
def test_svi_climbs(name):
    """One call for each support: the loss falls, and nothing is NaN."""
    laws = {
        "dirichlet": dist.Dirichlet(torch.ones(3)),
        "categorical": dist.Categorical(torch.ones(3)),
    }
    prior = laws[name] if name in laws else PRIORS[name][0]
    game = game_of(prior)
    policy = NeuralPolicy(game, "a", hidden=(8,))
    loss = Trace_ELBO(num_particles=64, vectorize_particles=True)
    svi = SVI(
        vsg.agent_model(game, "a"), vsg.agent_guide(game, "a", policy), Adam({"lr": 0.03}), loss
    )
    losses = torch.tensor([svi.step() for _ in range(60)])
    assert losses.isfinite().all()
    assert losses[-10:].mean() < losses[:5].mean() + 0.05


def test_states_of_several_parts_and_time():
    """Vectors, numbers and integers in one state; the time is seen, and batches broadcast."""
    game = game_of(
        dist.Normal(0.0, 1.0),
        horizon=3,
        initial=lambda: {"x": torch.zeros(2), "k": (torch.tensor(1), torch.tensor(0.5))},
    )
    policy = NeuralPolicy(game, "a", hidden=(4,))
    assert policy.network0[0].in_features == 5
    state = {"x": torch.randn(7, 2), "k": (torch.tensor(1), torch.randn(6, 1))}
    law = poutine.trace(policy).get_trace(state, torch.tensor(2)).nodes["a"]["fn"]
    assert law.batch_shape == (6, 7)
    with pytest.raises(GameError, match="pass t="):
        policy(state)


def test_features_take_the_place_of_the_state():
    seen = NeuralPolicy(
        game_of(dist.Normal(0.0, 1.0), horizon=2),
        "a",
        features=lambda state: torch.nn.functional.one_hot(state, 4),
        hidden=(3,),
    )
    assert seen.network0[0].in_features == 4
    seen(torch.tensor([0, 3]))


def test_several_sites_one_after_another():
    """The second action follows the first, as one law of both."""

    class Pair:
        agents, horizon = ("a",), 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            side = vsg.act("a", dist.Categorical(torch.ones(2)), name="side")
            far = vsg.act("a", dist.Normal(0.0, 1.0), name="far")
            vsg.optimality("a", -((far - 2.0 * side) ** 2))
            return state

    game = Pair()
    policy = NeuralPolicy(game, "a", hidden=(8,))
    loss = Trace_ELBO(num_particles=32, vectorize_particles=True)
    model, guide = vsg.agent_model(game, "a", temperature=0.2), vsg.agent_guide(game, "a", policy)
    svi = SVI(model, guide, Adam({"lr": 0.03}), loss)
    for _ in range(300):
        svi.step()
    for side in (0, 1):
        inputs = torch.tensor([0.0, 1.0 - side, side]).double()
        far = policy.supports["far"].law(policy.network1(inputs)).mean.detach()
        assert float(far) == pytest.approx(2 * side * 10 / 11, abs=0.15)  # precisions 1 and 10


def test_a_finite_game_reads_it():
    """It is a policy like any other where tables are made."""
    table = vsg.tabulate(models.StagHunt())
    mine = NeuralPolicy(models.StagHunt(), "row")
    read = read_policies(table, {"row": mine, "col": torch.full((2, 2), 0.5)})
    assert read[0].shape == (1, 1, 2, 2)
    assert torch.allclose(read[0].sum(-1), torch.ones(2).double())
    vsg.simulate(table, {"row": mine, "col": torch.full((2, 2), 0.5)}, 3)


def test_a_policy_that_sees_the_other():
    """The conditional law is what the pair of the other's action asks for."""

    class Follow:
        agents, horizon = ("a", "b"), 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            a, b = vsg.act("a", dist.Normal(0.0, 1.0)), vsg.act("b", dist.Uniform(-1.0, 1.0))
            vsg.optimality("a", -((a - b) ** 2))
            vsg.optimality("b", 0.0)
            return state

    game = Follow()
    policy = ConditionalNeuralPolicy(game, "a", hidden=(8,))
    model = vsg.agent_model(game, "a", temperature=0.2)
    alone = vsg.agent_guide(game, "a", policy)
    with pytest.raises(GameError, match="nobody has chosen it"):
        alone()
    guide = vsg.agent_guide(
        game, "a", policy, {"b": lambda state: pyro.sample("b", dist.Uniform(-1.0, 1.0))}
    )
    loss = Trace_ELBO(num_particles=32, vectorize_particles=True)
    for rate in (0.03, 0.003):
        svi = SVI(model, guide, Adam({"lr": rate}), loss)
        for _ in range(250):
            svi.step()
    for b in (-0.8, 0.0, 0.8):
        trace = poutine.trace(policy).get_trace(torch.tensor(0), 0, {"b": torch.tensor(b)})
        assert float(trace.nodes["a"]["fn"].mean.detach()) == pytest.approx(b * 10 / 11, abs=0.15)


def test_a_signal_is_part_of_what_is_seen():
    class Signalled:
        agents, horizon = ("a",), 2

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            light = vsg.signal("light", dist.Bernoulli(0.5))
            vsg.optimality("a", -((vsg.act("a", dist.Normal(0.0, 1.0)) - light) ** 2))
            return state

    game = Signalled()
    policy = NeuralPolicy(game, "a", hidden=(4,))
    assert policy.network0[0].in_features == 3
    loss = Trace_ELBO(num_particles=5, vectorize_particles=True)
    loss.loss(vsg.agent_model(game, "a"), vsg.agent_guide(game, "a", policy))


@pytest.mark.parametrize(
    ("game", "agent", "said"),
    [
        (models.Differential(), "third", "no agent 'third'. Try: one of first, second"),
        (game_of(dist.Normal(0.0, 1.0), agents=("a", "b")), "b", "'b' .* does not act"),
        (game_of(dist.Poisson(3.0)), "a", "site 'a': no policy .* Poisson"),
        (game_of(dist.Normal(torch.zeros(3), 1.0)), "a", "batch shape .*to_event"),
        (game_of(dist.LKJCholesky(3)), "a", "no policy is known"),
    ],
)
def test_errors(game, agent, said):
    with pytest.raises(GameError, match=said):
        NeuralPolicy(game, agent)
