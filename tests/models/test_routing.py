"""The routing game: its program, rewards and chain, against sums over edges and paths by hand."""

import copy
from itertools import product

import networkx as nx
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from scipy.integrate import quad

import vsg_ppl as vsg
from vsg_ppl.handlers import at_time
from vsg_ppl.models import Network, Routing
from vsg_ppl.models.routing import NETWORKS, Traffic, latency
from vsg_ppl.routing import routing_potential

PAYOFFS = ("splittable", "wardrop")


@st.composite
def networks(draw):
    """A random network without cycles, from s to t, edges sometimes parallel."""
    count = draw(st.integers(2, 5))
    nodes = ["s", *"abc"[: count - 2], "t"]
    edges = []
    for i, j in product(range(count), repeat=2):
        if i < j:
            for _ in range(draw(st.integers(1 if j == i + 1 else 0, 2 if count < 4 else 1))):
                slope, fixed = draw(st.integers(0, 8)) / 4, draw(st.integers(0, 8)) / 4
                edges.append((nodes[i], nodes[j], slope, fixed))
    return Network(tuple(edges))


@st.composite
def games(draw):
    network = draw(networks())
    return Routing(
        network,
        n_agents=draw(st.integers(1, 4)),
        payoff=draw(st.sampled_from(PAYOFFS)),
        demands=draw(st.sampled_from([(1.0,), (0.5, 2.0)])),
        incident_edge=draw(st.integers(0, len(network.edges) - 1)),
    )


def splits(game, *batch, seed=0):
    """Random shares of paths, (*batch, N, P)."""
    torch.manual_seed(seed)
    paths = len(game.roads.paths)
    flat = dist.Dirichlet(torch.ones(paths, dtype=torch.float64))
    return flat.sample((*batch, game.n_agents))


def told(game, demand, times, shares):
    """Rewards by hand: each path's flow walks its edges, then everybody pays on each edge."""
    edges = list(game.roads.edges)
    flow = [[0.0] * len(edges) for _ in shares]
    for own, share in zip(flow, shares.tolist(), strict=True):
        for path, part in zip(game.roads.paths, share, strict=True):
            for edge in path:
                own[edge] += demand / game.n_agents * part
    rewards = []
    for own in flow:
        cost = 0.0
        for number, edge in enumerate(edges):
            by = times if number == game.incident_edge else 1.0
            total = sum(other[number] for other in flow)

            def delay(x, edge=edge, by=by):
                return by * (edge.slope * x + edge.fixed)

            if game.payoff == "splittable":
                cost += own[number] * delay(total)
            else:
                cost += quad(delay, total - own[number], total)[0]
        rewards.append(-cost)
    return rewards


@pytest.mark.parametrize("payoff", PAYOFFS)
@pytest.mark.parametrize("name", NETWORKS)
def test_rewards_edge_by_edge(name, payoff):
    game = Routing(name, n_agents=3, payoff=payoff)
    shares = splits(game, len(game.states.demand))
    found = game.rewards(game.states, shares)
    for k, (demand, times) in enumerate(product(game.demands, game.incidents)):
        assert found[k].tolist() == pytest.approx(told(game, demand, times, shares[k]), abs=1e-12)


@given(games())
@settings(max_examples=30)
def test_the_potential_changes_as_the_mover_does(game):
    """Random states, splits of all, and another split of one agent, 50 at once."""
    before, other = splits(game, 50, seed=1), splits(game, 50, seed=2)
    state = Traffic(*(part[torch.arange(50) % len(part)] for part in game.states))
    for agent in range(game.n_agents):
        after = before.clone()
        after[:, agent] = other[:, agent]
        gain = (game.rewards(state, after) - game.rewards(state, before))[:, agent]
        climb = routing_potential(game, after, state) - routing_potential(game, before, state)
        assert (gain - climb).abs().max() <= 1e-12


@given(networks())
@settings(max_examples=30)
def test_paths_are_those_of_networkx(network):
    graph = nx.MultiDiGraph([(*edge[:2], number) for number, edge in enumerate(network.edges)])
    expected = [[k for *_, k in path] for path in nx.all_simple_edge_paths(graph, "s", "t")]
    assert sorted(network.paths) == sorted(map(tuple, expected))
    assert network.incidence.shape == (len(network.edges), len(expected))
    for number, path in enumerate(network.paths):
        assert set(path) == set(network.incidence[:, number].nonzero()[:, 0].tolist())


def test_the_named_networks():
    assert {name: len(network.paths) for name, network in NETWORKS.items()} == {
        "pigou": 2,
        "braess": 3,
        "ladder6": 8,
    }
    assert [latency(edge) for edge in NETWORKS["ladder6"].edges] == (
        ["x", "1", "0.2x", "1", "x", "0.5x + 0.2", "0.1x + 0.1", "x", "1"]
    )
    assert copy.deepcopy(NETWORKS["braess"]) == NETWORKS["braess"]
    assert hash(Routing()) == hash(Routing())


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_rewards_through_pyro(payoff):
    """A play pays at every step what the function of tensors says."""
    game = Routing("braess", n_agents=3, payoff=payoff, horizon=4)
    trace = poutine.trace(vsg.unroll(game)).get_trace()
    incident = torch.tensor(0)
    for t in range(4):
        actions = torch.stack([trace.nodes[f"{agent}_{t}"]["value"] for agent in game.agents])
        state = Traffic(trace.nodes[f"demand_{t}"]["value"], incident)
        rewards = game.rewards(state, actions)
        for agent, reward in zip(game.agents, rewards, strict=True):
            assert torch.equal(trace.nodes[f"O_{agent}_{t}"]["fn"].log_factor, reward)
        incident = trace.nodes[f"incident_{t + 1}"]["value"]


def test_one_agents_model():
    game = Routing("pigou", n_agents=2, horizon=2)

    def thoughtful(state):
        pyro.sample("agent2", dist.Dirichlet(torch.tensor([8.0, 1.0]).double()))

    model = vsg.agent_model(game, "agent1", {"agent2": thoughtful}, temperature=0.5)
    trace = poutine.trace(model).get_trace()
    assert [name for name in trace.nodes if name.startswith("O_")] == ["O_agent1_0", "O_agent1_1"]
    actions = torch.stack([trace.nodes[f"agent{k}_0"]["value"] for k in (1, 2)])
    state = Traffic(trace.nodes["demand_0"]["value"], torch.tensor(0))
    factor = trace.nodes["O_agent1_0"]["fn"].log_factor
    assert float(factor) == pytest.approx(float(game.rewards(state, actions)[0]) / 0.5, abs=1e-14)
    assert trace.nodes["agent2_0"]["fn"].concentration.tolist() == [8.0, 1.0]


def test_many_plays_at_once():
    game = Routing("braess", n_agents=3, horizon=3)
    with pyro.plate("plays", 7), poutine.trace() as recorded:
        with at_time(-1):
            state = game.initial()
        for t in range(3):
            with at_time(t):
                state = game.step(state)
    nodes = recorded.trace.nodes
    actions = torch.stack([nodes[f"{agent}_2"]["value"] for agent in game.agents], dim=-2)
    assert actions.shape == (7, 3, 3)
    now = Traffic(nodes["demand_2"]["value"], nodes["incident_2"]["value"])
    assert torch.equal(nodes["O_agent2_2"]["fn"].log_factor, game.rewards(now, actions)[:, 1])


def test_rewards_broadcast_and_keep_the_precision_of_actions():
    game = Routing("ladder6", n_agents=4)
    shares = splits(game, 5, 6)  # 5 samples in each of 6 states
    rewards = game.rewards(game.states, shares)
    assert rewards.shape == (5, 6, 4)
    for k in range(6):
        state = Traffic(*(part[k] for part in game.states))
        torch.testing.assert_close(game.rewards(state, shares[:, k]), rewards[:, k])
    single = game.rewards(game.states, shares.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, rewards.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_gradients_of_rewards(payoff):
    game = Routing("braess", n_agents=2, payoff=payoff)
    shares = splits(game, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: game.rewards(game.states, x), (shares,))
    assert torch.autograd.gradcheck(lambda x: routing_potential(game, x), (shares,))


def test_the_chain():
    """From the middle the demand goes up or down; incidents begin alike and end as one."""
    game = Routing(incidents=(1.0, 2.0, 4.0), wander=0.2, happens=0.1, clears=0.4)
    assert game.demand_law.tolist() == [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]]
    expected = torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.6, 0.0], [0.4, 0.0, 0.6]]).double()
    torch.testing.assert_close(game.incident_law, expected)
    for state in zip(*game.states, strict=True):
        trace = poutine.trace(game.step).get_trace(Traffic(*state))
        laws = {name: trace.nodes[name]["fn"].probs for name in ("demand", "incident")}
        torch.testing.assert_close(laws["demand"], game.demand_law[state[0]])
        torch.testing.assert_close(laws["incident"], game.incident_law[state[1]])
    first = poutine.trace(game.initial).get_trace()
    assert first.nodes["demand"]["fn"].probs.tolist() == pytest.approx([1 / 3] * 3)
    assert int(first.nodes["_RETURN"]["value"].incident) == 0
    still = Routing(demands=(1.0,), incidents=(1.0,))
    assert still.demand_law.tolist() == still.incident_law.tolist() == [[1.0]]


def test_an_incident_is_a_dearer_edge():
    game = Routing("pigou", incident_edge=1, incidents=(1.0, 2.5))
    assert [edge[2:] for edge in game.network_in(Traffic(*torch.tensor([0, 1]))).edges] == (
        [(1.0, 0.0), (0.0, 2.5)]
    )


BAD_NETWORKS = {
    "no edges": ((), {}, "no path"),
    "a way back only": ((("t", "s", 1, 0),), {}, "no path leads from 's' to 't'. Try: Network"),
    "another name": ((("a", "t", 1, 0),), {}, "no path"),
    "no distance": ((("s", "t", 1, 0),), {"target": "s"}, "no path leads from 's' to 's'"),
    "negative": ((("s", "t", -1, 0),), {}, "the latency of s→t is -1x"),
    "infinite": ((("s", "t", 1, float("inf")),), {}, r"the latency of s→t is x \+ inf"),
    "many paths": (
        tuple((a, b, 1, 0) for a, b in zip("s123456789abc", "123456789abct", strict=True)) * 2,
        {},
        "more than 4096 paths",
    ),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_bad_networks(name):
    edges, ends, words = BAD_NETWORKS[name]
    with pytest.raises(vsg.GameError, match=words):
        Network(edges, **ends)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"network": "londn"}, "no network 'londn'. Try: one of pigou, braess, ladder6"),
        ({"n_agents": 0}, "0 agents"),
        ({"payoff": "atomic"}, "no payoff 'atomic'. Try: \"splittable\" or"),
        ({"demands": ()}, r"the demands are \(\), not"),
        ({"demands": (1.0, 0.0)}, "not one or more positive numbers"),
        ({"incidents": (1.0, float("nan"))}, "the incidents are"),
        ({"wander": 1.5}, "`wander` is 1.5, not a probability"),
        ({"happens": -0.1}, "`happens` is -0.1"),
        ({"incident_edge": 9}, "edges 0 to 8"),
    ],
)
def test_bad_games(parameters, words):
    with pytest.raises(vsg.GameError, match=words):
        Routing(**parameters)


def test_actions_of_another_shape():
    with pytest.raises(vsg.GameError, match=r"shape \(8,\), not \(..., 10 agents, 8 paths\)"):
        Routing().rewards(Routing().states, torch.full((8,), 1 / 8))


def test_has_no_table():
    with pytest.raises(vsg.GameError, match="agent1"):
        vsg.tabulate(Routing())
