"""Gains found by search are lower bounds of the true ones, and near them; no table is needed."""

from __future__ import annotations

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.errors import GameError
from vsg_ppl.guides.neural import NeuralPolicy
from vsg_ppl.learning import Learning
from vsg_ppl.models import Differential
from vsg_ppl.models.routing import Routing
from vsg_ppl.response_search import FoundResponse, SearchCertificate, certify_by_search
from vsg_ppl.rollout import Rollout
from vsg_ppl.routing import expected_nash_conv, nash_conv, visitation


def at(agent, action):
    """A policy that always does the same."""
    action = torch.as_tensor(action)
    return lambda state: pyro.sample(agent, dist.Delta(action, event_dim=action.ndim))


@pytest.mark.parametrize("place", [(5.0, 5.0), (-5.0, -5.0), (0.0, 3.0), (4.0, 8.0)])
def test_the_differential_game(place):
    """Against the best of a fine grid of an agent's own actions; no gain on either hill."""
    game = Differential()
    policies = {name: at(name, x) for name, x in zip(game.agents, place, strict=True)}
    found = certify_by_search(game, policies, plays=20, iterations=80)
    grid = torch.linspace(-10, 10, 200_001).double()
    first, second = (torch.tensor(x).double() for x in place)
    before = float(game.reward(first, second))
    best = {"first": game.reward(grid, second).max(), "second": game.reward(first, grid).max()}
    for agent, most in best.items():
        exact = 25 * (float(most) - before)
        one = found.found[agent]
        assert one.value == pytest.approx(25 * before, abs=1e-3)
        assert one.gain <= exact + 1e-3  # single precision of the rewards
        assert one.gain >= 0.999 * exact - 1e-3
        assert one.error < 1e-6
    if place in ((5.0, 5.0), (-5.0, -5.0)):
        assert found.nash_gap_at_least < 1e-3


@pytest.mark.parametrize("network", ["braess", "ladder6"])
def test_routing_against_its_oracle(network):
    """Ten carriers that split evenly: the exact gain is a convex programme's."""
    game = Routing(network, demands=(1.0,), incidents=(1.0,), horizon=2)
    even = torch.ones(len(game.roads.paths)).double() / len(game.roads.paths)
    policies = {agent: at(agent, even) for agent in game.agents}
    found = certify_by_search(game, policies, agents=("agent1", "agent7"), plays=10, iterations=100)
    exact = 2 * float(nash_conv(game, even).gains[0, 0])
    assert expected_nash_conv(game, even)[0] == pytest.approx(10 * exact)
    for one in found.found.values():
        assert 0.95 * exact <= one.gain <= exact + 1e-9
    assert 0.95 * exact <= found.nash_gap_at_least <= exact + 1e-9


def test_routing_by_random_splits_and_states():
    """Dirichlet policies in a game of six states: the interval covers the exact gain's 95 %."""
    game = Routing("braess", n_agents=3, horizon=4)
    law = dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0]).double())
    policies = {agent: lambda state, agent=agent: pyro.sample(agent, law) for agent in game.agents}
    found = certify_by_search(game, policies, agents=("agent2",), iterations=100, plays=4000)
    mean = law.mean
    covariance = (mean.diag() - mean.outer(mean)) / (1 + law.concentration.sum())
    gains = nash_conv(game, mean, covariance.expand(6, 3, 3, 3)).gains[:, 1]
    exact = float(gains @ visitation(game))
    one = found.found["agent2"]
    low, high = one.interval
    # the response is worth at most the exact gain: a search 5 % short of it may lie below
    assert low <= exact and high >= 0.95 * exact
    assert one.error < 0.05 * exact
    assert len(one.text) == 6


class Two:
    """A switch that chance throws; ``mover`` is paid to be at 1 on one side, at −2 on the other."""

    agents, horizon = ("mover", "rival"), 3

    def initial(self):
        return pyro.sample("side", dist.Bernoulli(0.5)).long()

    def step(self, side):
        mover, rival = (
            vsg.act("mover", dist.Normal(0.0, 2.0)),
            vsg.act("rival", dist.Normal(0.0, 2.0)),
        )
        vsg.optimality("mover", -((mover - (3.0 * side - 2.0)) ** 2) + rival)
        vsg.optimality("rival", -(rival**2))
        return pyro.sample("side", dist.Bernoulli(0.5 * torch.ones(side.shape))).long()


def test_the_response_depends_on_the_state():
    """No constant gains 6.75 of the 7.5 that are there: (1 + 4)/2 in each of three steps."""
    policies = {
        "mover": at("mover", 0.0),
        "rival": lambda s: pyro.sample("rival", dist.Normal(0.0, 1.0)),
    }
    found = certify_by_search(Two(), policies)
    mover, rival = found.found["mover"], found.found["rival"]
    low, high = mover.interval
    assert low - 0.01 <= 7.5 <= high + 0.02
    assert mover.text[0].startswith("in 0: -") and mover.text[1].startswith("in 1: ")
    assert rival.gain == pytest.approx(3.0, abs=4 * rival.error)  # three times E rival²
    # the same chance on both sides: the rival's noise leaves the mover's gain alone
    assert mover.error < 0.1
    played = Rollout(Two(), {**policies, "mover": mover.program}).returns(4000)["mover"]
    assert float(played.mean()) == pytest.approx(mover.response_value, abs=0.3)


class Steering:
    """A place on a line, moved by the action, and noise: a new state in each play."""

    agents, discount = ("pilot",), 0.6

    def initial(self):
        return pyro.sample("x", dist.Normal(0.0, 1.0))

    def step(self, x):
        to = x + vsg.act("pilot", dist.Uniform(-3.0, 3.0))
        vsg.optimality("pilot", -(to**2))
        return pyro.sample("x", dist.Normal(to, 0.5))


def test_a_network_where_states_are_many():
    """a = −x is best: it pays 0, and standing still −Σ γ^t (1 + t/4)."""
    found = certify_by_search(Steering(), {"pilot": at("pilot", 0.0)}, iterations=100).found[
        "pilot"
    ]
    steps = math.ceil(math.log(1e-3) / math.log(0.6))
    exact = sum(0.6**t * (1 + t / 4) for t in range(steps))
    low, high = found.interval
    assert found.method == "gradient" and "network" in found.text[0]
    assert low <= exact and found.gain > 0.9 * exact - 4 * found.error
    assert found.value == pytest.approx(-exact, abs=5 * found.error)


class Lottery:
    """Two states; the action is a chance that the better one comes: no pathwise gradient."""

    agents, horizon = ("a",), 2

    def initial(self):
        return torch.tensor(0)

    def step(self, rich):
        p = vsg.act("a", dist.Uniform(torch.zeros(3), torch.ones(3)).to_event(1))
        vsg.optimality("a", rich - 0.0 * p.sum(-1))
        good = p[..., 0] * (1 - p[..., 1]) * (0.5 + p[..., 2] / 2)
        return pyro.sample("rich", dist.Bernoulli(good)).long()


def test_chance_has_a_score():
    """Three numbers, so no grid; the gradient comes by the log probability of the draws."""
    policies = {"a": at("a", [0.5, 0.5, 0.5])}
    found = certify_by_search(Lottery(), policies, iterations=100).found["a"]
    assert found.method == "gradient"
    assert found.gain == pytest.approx(1 - 0.25 * 0.75, abs=0.05 + 4 * found.error)


class Opaque:
    """Four numbers, rounded: the gradient is zero wherever there is one."""

    agents, horizon = ("a",), 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        a = vsg.act("a", dist.Uniform(-4.0 * torch.ones(4), 4.0).to_event(1))
        vsg.optimality("a", -(a.round() - torch.tensor([1.0, -2.0, 3.0, 0.0])).abs().sum(-1))
        return state


class Outside(Opaque):
    """The same in another library, through which no gradient goes."""

    def step(self, state):
        a = vsg.act("a", dist.Uniform(-4.0 * torch.ones(4), 4.0).to_event(1))
        gap = abs(a.numpy() - [1.0, -2.0, 3.0, 0.0]).sum(-1)
        vsg.optimality("a", -torch.as_tensor(gap).round())
        return state


@pytest.mark.parametrize("game", [Opaque(), Outside()])
def test_without_gradients(game):
    found = certify_by_search(game, {"a": at("a", torch.zeros(4))}, plays=10).found["a"]
    assert found.method == "cross-entropy"
    assert found.value == -6
    assert found.gain == 6


def test_finite_actions_and_tables():
    """Where a table can be made, the bound is below `certify` and, here, equal to it."""
    game = models.StagHunt()
    policies = {agent: torch.tensor([[0.3, 0.7], [0.8, 0.2]]) for agent in game.agents}
    exact = vsg.certify(game, policies)
    found = certify_by_search(game, policies, plays=1500, iterations=30)
    for agent, one in found.found.items():
        assert one.value == pytest.approx(exact.values[agent], abs=5 * one.error + 0.1)
        low, high = one.interval
        assert low <= exact.per_agent[agent] <= high + 0.1
    assert found.nash_gap_at_least <= exact.nash_gap


def test_a_neural_policy_and_another_stream():
    """The same seed gives the same result, and the caller's random numbers are left alone."""
    game = Differential(horizon=2)
    policies = {name: NeuralPolicy(game, name) for name in game.agents}
    torch.manual_seed(7)
    one = certify_by_search(game, policies, plays=50, iterations=5, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)
    two = certify_by_search(game, policies, plays=50, iterations=5, seed=3)
    assert one.to_dict() == two.to_dict()
    assert all(weight.grad is None for weight in policies["first"].parameters())
    other = certify_by_search(game, policies, plays=50, iterations=5, seed=4)
    assert other.values != one.values


def test_what_learners_gave():
    """One experiment's policies, in their own units, whether or not they take many rows."""
    aims = {"first": torch.tensor([[0.5], [-0.5]]), "second": torch.tensor([[0.5], [0.1]])}

    def strict(aim):
        def act(seen):
            if len(seen) != 2:
                raise RuntimeError("two rows")
            return aim

        return act

    def wide(aim):
        return lambda seen: aim.repeat(len(seen) // 2, 1)

    game = Differential(horizon=1)
    for made in (strict, wide):
        policies = {agent: made(aim) for agent, aim in aims.items()}
        learning = Learning(game, "stub", game.agents, torch.zeros(1, 2, 2), policies)
        good = certify_by_search(learning, plays=5, iterations=40)
        bad = certify_by_search(learning, plays=5, iterations=40, experiment=1)
        assert good.nash_gap_at_least < 1e-3
        assert good.values["first"] == pytest.approx(10)
        grid = torch.linspace(-10, 10, 200_001)
        most = game.reward(torch.tensor(-5.0), grid).max() - bad.values["second"]
        assert bad.per_agent["second"] == pytest.approx(float(most), abs=1e-3)
    with pytest.raises(GameError, match="no experiment 2; there are 0 to 1"):
        certify_by_search(learning, experiment=2)


def test_what_learners_of_finite_actions_gave():
    """They see more than the state, and there is an exact certificate."""
    learnt = vsg.mai(models.StagHunt(), episodes=1, steps=2)
    with pytest.raises(
        GameError, match=r"probabilities of finite actions. Try: `learnt.certify\(\)`"
    ):
        certify_by_search(learnt)
    assert learnt.certify().nash_gap >= 0


def test_the_bound_allows_for_many_agents():
    """Each of many intervals errs now and then; the bound of the largest seldom does."""
    none = {
        str(k): FoundResponse(str(k), 0.0, 0.0, 2.2, 1.0, "grid", ("always 0",), at("a", 0.0))
        for k in range(20)
    }
    assert SearchCertificate("game", 1, 10, {"0": none["0"]}).nash_gap_at_least > 0
    assert none["0"].interval[0] > 0
    assert SearchCertificate("game", 1, 10, none).nash_gap_at_least == 0


def test_it_reads_well():
    game = Differential(horizon=1)
    found = certify_by_search(
        game, {"first": at("first", 5.0), "second": at("second", 4.0)}, plays=10
    )
    text = str(found)
    assert "the Nash gap is at least 1 (95 % sure)" in text
    assert "lower bound" in text and "always 5" in text
    assert repr(found) == "SearchCertificate(Differential: Nash gap at least 1, of 2 agents)"
    assert json.loads(json.dumps(found.to_dict()))["per_agent"]["second"]["method"] == "grid"
    still = certify_by_search(game, {name: at(name, 5.0) for name in game.agents}, plays=10)
    assert "at least 0 (no gain was found)" in str(still)


GOOD = {"first": at("first", 5.0), "second": at("second", 5.0)}


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"third": at("third", 1.0)}, {}, "a policy is given for 'third'"),
        ({"second": None}, {}, "the policy of 'second' is a NoneType"),
        ({"second": at("first", 1.0)}, {}, "site 'second': .*'second' does not sample"),
        ({"second": at("second", [1.0, 2.0])}, {}, "'second' gives actions of shape .*32, 2"),
        ({"second": at("second", 11.0)}, {}, "'second' plays 11.0, where its prior does not lie"),
        ({"second": at("second", math.nan)}, {}, "'second' plays nan"),
        ({"second": lambda state, seen: None}, {}, "'second' looks at the others' actions"),
        ({"second": lambda state: 1 / 0}, {}, "the policy of 'second' raises ZeroDivisionError"),
        ({}, {"agents": ("third",)}, "no agent 'third'. Try: one of first, second"),
        ({}, {"agents": ()}, "0 agents"),
        ({}, {"plays": 1}, "1 plays"),
        ({}, {"steps": 26}, "26 steps are asked for; Differential has 1 to 25"),
    ],
)
def test_errors(change, options, said):
    with pytest.raises(GameError, match=said):
        certify_by_search(Differential(), {**GOOD, **change}, **options)


def test_more_errors():
    with pytest.raises(GameError, match="no policies are given"):
        certify_by_search(Differential())
    with pytest.raises(GameError, match="no policy is given for 'second'"):
        certify_by_search(Differential(), {"first": GOOD["first"]})

    class Shrinks(Differential):
        def step(self, state):
            super().step(state)
            return torch.zeros(3)

    with pytest.raises(GameError, match=r"a part of the state has the shape \(3,\)"):
        certify_by_search(Shrinks(), GOOD)
