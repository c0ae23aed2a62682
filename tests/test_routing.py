"""The oracle of routing games, against known equilibria, SciPy and simulation."""

from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from hypothesis import given, settings
from scipy.optimize import linprog, minimize

import vsg_ppl as vsg
from tests.models.test_routing import PAYOFFS, games, splits
from vsg_ppl.handlers import at_time
from vsg_ppl.models import Network, Routing, StagHunt
from vsg_ppl.models.routing import NETWORKS, Traffic
from vsg_ppl.routing import (
    expected_nash_conv,
    minimise,
    nash_conv,
    routing_equilibrium,
    routing_potential,
    visitation,
)

ONE = {"demands": (1.0,), "incidents": (1.0,)}
"""Demand 1 without incidents: one state."""


def uniform(game):
    paths = len(game.roads.paths)
    return torch.full((paths,), 1 / paths, dtype=torch.float64)


@pytest.mark.parametrize("n_agents", [1, 2, 10, 1000])
def test_pigou(n_agents):
    """N carriers put N / (N + 1) on the road that fills up; Wardrop's traffic is all there."""
    game = Routing("pigou", n_agents=n_agents, **ONE)
    found = routing_equilibrium(game)
    assert found.edge_flows[0, 0].item() == pytest.approx(n_agents / (n_agents + 1), abs=1e-12)
    wardrop = routing_equilibrium(replace(game, payoff="wardrop"))
    assert wardrop.edge_flows[0].tolist() == pytest.approx([1, 0], abs=1e-12)
    assert wardrop.potential[0].item() == pytest.approx(-0.5, abs=1e-12)


@pytest.mark.parametrize("n_agents", [2, 3, 10, 1000])
def test_braess(n_agents):
    """A share (N − 1) / (N + 1) takes the shortcut, and all of Wardrop's traffic does."""
    game = Routing("braess", n_agents=n_agents, **ONE)
    zigzag = game.roads.paths.index((0, 4, 3))
    share = routing_equilibrium(game).splits[0, :, zigzag]
    assert share.tolist() == pytest.approx([(n_agents - 1) / (n_agents + 1)] * n_agents, abs=1e-12)
    wardrop = routing_equilibrium(replace(game, payoff="wardrop"))
    assert wardrop.splits[0, :, zigzag].tolist() == pytest.approx([1] * n_agents, abs=1e-12)
    delay = -game.rewards(game.states, wardrop.splits).sum()  # all travel for 2, as x = 1 twice
    assert delay.item() == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("payoff", PAYOFFS)
@pytest.mark.parametrize("name", NETWORKS)
def test_equilibria_of_the_named_networks(name, payoff):
    game = Routing(name, payoff=payoff)
    found = routing_equilibrium(game)
    states, agents, paths = 6, 10, len(game.roads.paths)
    assert found.splits.shape == found.path_flows.shape == (states, agents, paths)
    assert found.splits.dtype == found.potential.dtype == torch.float64
    assert (found.splits >= 0).all() and found.gap.max() <= 1e-12
    torch.testing.assert_close(found.path_flows.sum((1, 2)), game.demand(game.states))
    flows = found.path_flows.sum(1) @ game.roads.incidence.T
    torch.testing.assert_close(found.edge_flows, flows)
    left = nash_conv(game, found.splits)
    assert left.gains.max() <= 1e-12 and left.gap.max() <= 1e-12
    assert expected_nash_conv(game, found.splits)[0] <= 1e-9


def test_uniform_play_on_braess():
    """Everybody's cost is 7/45; on the shortcut alone it would be 2 · .1 · (.6 + .1)."""
    game = Routing("braess", **ONE)
    found, expected = nash_conv(game, uniform(game)), 10 * (7 / 45 - 0.14)
    assert found.per_state.item() == pytest.approx(expected, abs=1e-12)
    assert found.gap.max() <= 1e-10
    total, each = expected_nash_conv(game, uniform(game))
    assert total == pytest.approx(25 * expected, abs=1e-10)
    assert each == pytest.approx(expected, abs=1e-12)


def test_uniform_play_on_the_ladder():
    game = Routing("ladder6", **ONE)
    state = Traffic(torch.tensor(0), torch.tensor(0))
    gain, _ = gain_by_scipy(game, state, uniform(game).expand(10, 8), 0)
    assert nash_conv(game, uniform(game)).per_state.item() == pytest.approx(10 * gain, abs=1e-8)
    assert 10 * gain == pytest.approx(0.486, abs=5e-4)


def gain_by_scipy(game, state, shares, agent):
    """What SLSQP gains an agent by climbing its reward; and what another split would gain."""

    def loss(own):
        actions = shares.clone()
        own = torch.tensor(own, requires_grad=True)
        actions[agent] = own
        reward = game.rewards(state, actions)[agent]
        return -reward.item(), -torch.autograd.grad(reward, own)[0].numpy()

    start = shares[agent].numpy()
    best = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(start),
        constraints={"type": "eq", "fun": lambda h: h.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return loss(start)[0] - best.fun, lambda own: loss(start)[0] - loss(own.numpy())[0]


@pytest.mark.parametrize("payoff", PAYOFFS)
@pytest.mark.parametrize("name", ["braess", "ladder6"])
def test_best_responses_by_scipy(name, payoff):
    game = Routing(name, n_agents=3, payoff=payoff, demands=(1.0, 2.0))
    shares = splits(game, 4, seed=3)
    found = nash_conv(game, shares)
    for k, state in enumerate(zip(*game.states, strict=True)):
        for agent, own in enumerate(found.gains[k].tolist()):
            gain, gains = gain_by_scipy(game, Traffic(*state), shares[k], agent)
            assert own == pytest.approx(gain, abs=1e-8)
            assert own == pytest.approx(gains(found.responses[k, agent]), abs=1e-12)


@given(games())
@settings(max_examples=40)
def test_random_networks(game):
    """Convexity: no response of a linear programme around the found one is better, nor a point."""
    found = routing_equilibrium(game)
    assert found.gap.max() <= 1e-10
    assert nash_conv(game, found.splits).gains.max() <= 1e-10
    others = splits(game, 200, len(game.states.demand), seed=4)
    assert (routing_potential(game, others) <= found.potential + 1e-10).all()
    near = 0.99 * found.splits + 0.01 * others
    assert (routing_potential(game, near) <= found.potential + 1e-10).all()

    here = found.splits.clone().requires_grad_()
    slope = torch.autograd.grad(routing_potential(game, here).sum(), here)[0].numpy()
    for k, gap in enumerate(found.gap):  # a linear programme over flows that nodes conserve
        nodes = list(game.roads.graph)
        balance = np.zeros((len(nodes), len(game.roads.edges)))
        for number, edge in enumerate(game.roads.edges):
            balance[nodes.index(edge.tail), number] += 1
            balance[nodes.index(edge.head), number] -= 1
        ends = np.array([(n == "s") - (n == "t") for n in nodes], dtype=float)
        slopes, fixed = game.latencies(Traffic(*(part[k] for part in game.states))).numpy()
        flow, own = found.edge_flows[k].numpy(), found.edge_flows[k].numpy() / game.n_agents
        cost = slopes * (flow + own * (game.payoff == "splittable")) + fixed
        cheapest = linprog(cost, A_eq=balance, b_eq=ends, bounds=(0, None)).fun
        demand = game.demands[k // len(game.incidents)]
        assert cost @ flow - demand * cheapest == pytest.approx(gap.item(), abs=1e-9)
        # the derivative of the potential says the same as the edges' marginal costs
        assert -slope[k].max() * game.n_agents == pytest.approx(demand * cheapest, abs=1e-9)


@given(games())
@settings(max_examples=30)
def test_nobody_gains_more_than_the_certificate_says(game):
    shares = splits(game, len(game.states.demand), seed=5)
    found = nash_conv(game, shares)
    before = game.rewards(game.states, shares)
    tried = splits(game, 100, len(game.states.demand), seed=6)
    for agent in range(game.n_agents):
        moved = shares.expand_as(tried).clone()
        moved[..., agent, :] = tried[..., agent, :]
        gain = (game.rewards(game.states, moved) - before)[..., agent]
        assert (gain <= (found.gains + found.gap)[:, agent] + 1e-12).all()
        best = shares.clone()
        best[:, agent] = found.responses[:, agent]
        gain = (game.rewards(game.states, best) - before)[:, agent]
        torch.testing.assert_close(gain, found.gains[:, agent], rtol=0, atol=1e-12)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_random_play(payoff):
    """NashConv of independent random splits, by their means and covariances, as simulated."""
    game = Routing("braess", n_agents=3, payoff=payoff, **ONE)
    weights = torch.tensor([[1.0, 2, 3], [4, 1, 1], [2, 2, 2]]).double()
    policy = torch.distributions.Dirichlet(weights)
    mean, total = policy.mean, weights.sum(-1)[:, None, None]
    covariance = (torch.diag_embed(mean) - mean[:, :, None] * mean[:, None, :]) / (total + 1)
    found = nash_conv(game, mean, covariance.expand(1, -1, -1, -1))
    torch.manual_seed(0)
    sampled = policy.sample((200_000,))
    zero = Traffic(torch.tensor(0), torch.tensor(0))
    played = game.rewards(zero, sampled)
    for agent in range(3):
        response = sampled.clone()
        response[:, agent] = found.responses[0, agent]
        gains = (game.rewards(zero, response) - played)[:, agent]
        error = gains.std() / 200_000**0.5
        assert abs(gains.mean() - found.gains[0, agent]) < 4 * error
        assert (found.gains > nash_conv(game, mean).gains + 1e-3).all()


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_visitation_is_that_of_simulated_play(discount):
    game = Routing("pigou", n_agents=1, horizon=6, discount=discount)
    counted = torch.zeros(3, 2, dtype=torch.float64)
    with pyro.plate("plays", 50_000):
        with at_time(-1):
            state = game.initial()
        for t in range(6):
            counted.index_put_(tuple(state), torch.tensor(discount**t).double(), accumulate=True)
            with at_time(t):
                state = game.step(state)
    found = visitation(game)
    torch.testing.assert_close(found, counted.flatten() / 50_000, rtol=0, atol=0.02)
    assert found.sum().item() == pytest.approx(sum(discount**t for t in range(6)))
    endless = replace(game, horizon=None, discount=0.9)
    long = replace(game, horizon=500, discount=0.9)
    torch.testing.assert_close(visitation(endless), visitation(long))


def test_the_whole_games_gain_is_that_of_its_states():
    game = Routing("braess", n_agents=4, discount=0.8, horizon=None)
    gains = nash_conv(game, uniform(game)).per_state
    total, each = expected_nash_conv(game, uniform(game))
    assert total == pytest.approx(float(visitation(game) @ gains))
    assert each == pytest.approx(total / 5)  # 1 / (1 − .8) steps


def test_minimise_where_nothing_curves():
    """The cheapest path where all latencies are fixed, and ties between equal roads."""
    shares, gap = minimise(np.eye(3), np.zeros(3), np.array([2.0, 1.0, 3.0]))
    assert shares.tolist() == [0, 1, 0] and gap == 0
    twins = Network((("s", "t", 1, 0), ("s", "t", 1, 0), ("s", "t", 0, 0.25)))
    found = routing_equilibrium(Routing(twins, payoff="wardrop", **ONE))
    assert found.edge_flows[0].tolist() == pytest.approx([0.25, 0.25, 0.5], abs=1e-12)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_minimise_any_sums_of_edges(scale):
    """Random sets of edges as paths, most of them without curvature: never above the gap."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        edges, paths = generator.integers(1, 15), generator.integers(1, 40)
        incidence = (generator.random((edges, paths)) < 0.5).astype(float)
        quadratic = 10 * scale * generator.random(edges) * (generator.random(edges) < 0.3)
        linear = scale * generator.random(edges)
        shares, gap = minimise(incidence, quadratic, linear)
        assert (shares >= 0).all() and shares.sum() == pytest.approx(1, abs=1e-14)
        cost = incidence.T @ (quadratic * (incidence @ shares) + linear)
        assert cost @ shares - cost.min() == pytest.approx(gap, abs=1e-12 * max(1, scale))
        assert gap <= 1e-10 * max(1, 11 * scale * edges)


def test_latencies_of_very_different_size():
    edges = (("s", "t", 1e-6, 0), ("s", "t", 1e3, 0), ("s", "t", 0, 1e-3), ("s", "t", 1, 1e2))
    game = Routing(Network(edges), n_agents=2, demands=(1e-2, 1.0, 1e4), incidents=(1.0,))
    found = routing_equilibrium(game)
    assert (found.gap <= 1e-10 * game.demand(game.states).clamp(min=1) * 1e2).all()
    assert nash_conv(game, found.splits).gains.max() <= 1e-8


def test_single_precision_of_a_learner():
    game = Routing("ladder6", **ONE)
    shares = splits(game, 1, seed=7)
    single = nash_conv(game, shares.float())
    assert single.gains.dtype == torch.float64
    exact = nash_conv(game, shares).gains
    torch.testing.assert_close(single.gains, exact, rtol=0, atol=1e-6)
    rough = nash_conv(game, shares * (1 + 5e-6)).gains
    torch.testing.assert_close(rough, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.ones(7) / 7, r"shape \(7,\), not \(6, 10, 8\) \(states, agents, paths\)"),
        (torch.ones(1, 6, 10, 8) / 8, r"shape \(1, 6, 10, 8\)"),
        (torch.ones(8) / 80, "path flows divided by the agent's demand"),
        (torch.tensor([2.0, -1, 0, 0, 0, 0, 0, 0]), "some are negative"),
        (torch.full((8,), float("nan")), "not shares"),
    ],
)
def test_bad_splits(given, words):
    with pytest.raises(vsg.GameError, match=words):
        nash_conv(Routing(), given)


def test_another_game():
    for question in (routing_equilibrium, visitation):
        with pytest.raises(vsg.GameError, match="StagHunt is not a routing game. Try: vsg_ppl"):
            question(StagHunt())


def test_rounding_is_told():
    with pytest.raises(vsg.GameError, match="duality gap of .* of more similar size"):
        minimise(np.eye(2), np.array([np.nan, 1.0]), np.ones(2))
