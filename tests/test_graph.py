"""Graphical models read off programs: against known programs, d-separation, tables and Pyro."""

import doctest
import random
import string
from dataclasses import dataclass, field
from itertools import product

import networkx as nx
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from networkx import is_d_separator
from pyro import poutine
from pyro.infer.inspect import get_dependencies, get_model_relations

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, faced, instances
from tests.models.policies import dense
from vsg_ppl import graph as graph_module
from vsg_ppl import models
from vsg_ppl.draw import draw_graph
from vsg_ppl.errors import GameError
from vsg_ppl.game import horizon
from vsg_ppl.graph import dependency_graph, figure1
from vsg_ppl.guides import ConditionalPolicy

ANY = torch.ones(3)
GAMES = instances({}) | {
    "grid_with_crashes": models.GridGame(crash=0.3),
    "small_congestion": models.Congestion(n_agents=3, facilities=2),
    "small_soccer": models.Soccer(rows=2, columns=3),
    "one_state": models.RandomGame(states=1),
    "three_at_random": models.RandomGame(states=2, n_agents=3, actions=2),
}


def program(agents, step, initial=lambda: torch.tensor(0), **attributes):
    """A game from two functions."""
    attributes = {"discount": 0.9} | attributes
    members = {"initial": staticmethod(initial), "step": staticmethod(step)}
    return type("Program", (), {"agents": tuple(agents), **members, **attributes})()


def parents(graph, node):
    return set(graph.predecessors(node))


def nodes(graph, kind, t=None, **wanted):
    return {
        name
        for name, data in graph.nodes(data=True)
        if data["kind"] == kind
        and t in (None, data["t"])
        and all(data[key] == value for key, value in wanted.items())
    }


def test_examples_run():
    result = doctest.testmod(graph_module)
    assert result.attempted > 0 and result.failed == 0


# --- Programs whose graph is known ---


def test_stag_hunt_is_read_as_it_is_written():
    graph = dependency_graph(GAMES["stag_hunt"])
    assert set(graph.edges) == {
        ("weather_0", "s_0"),
        *[(node, f"O_{i}_0") for node in ("s_0", "row_0", "col_0") for i in ("row", "col")],
        ("s_0", "weather_1"),
        ("weather_1", "s_1"),
        *[(node, f"O_{i}_1") for node in ("s_1", "row_1", "col_1") for i in ("row", "col")],
        ("s_1", "weather_2"),
        ("weather_2", "s_2"),
    }
    assert graph.nodes["weather_1"] == {
        "kind": "chance",
        "agent": None,
        "t": 1,
        "site": "weather",
        "observed": False,
    }
    assert graph.nodes["O_col_1"] == {
        "kind": "optimality",
        "agent": "col",
        "t": 1,
        "site": "O_col",
        "observed": True,
    }
    assert graph.nodes["row_1"]["agent"] == "row" and graph.nodes["s_2"]["kind"] == "state"


def test_soccer_is_read_as_it_is_written():
    graph = dependency_graph(GAMES["soccer"], "a", steps=1)
    before = {"s_0", "a_0", "b_0", "first_1"}
    assert {node: parents(graph, node) for node in graph} == {
        "ball_0": set(),
        "s_0": {"ball_0"},
        "a_0": {"s_0"},  # a player may only stand when the game is over
        "b_0": {"s_0"},
        "first_1": set(),
        "O_a_0": before,
        "s_1": before,
    }


def test_thermostat_has_two_rewards_and_a_time():
    graph = dependency_graph(GAMES["thermostat"], steps=3)
    for t in range(3):
        assert parents(graph, f"O_heater.comfort_{t}") == {f"s_{t}"}
        assert parents(graph, f"O_heater.bill_{t}") == {f"heater_{t}"}
        assert parents(graph, f"lost_{t + 1}") == set()
        assert parents(graph, f"s_{t + 1}") == {f"s_{t}", f"heater_{t}", f"lost_{t + 1}"}


def test_the_crowd_is_read_where_the_program_reads_it():
    """Rewards read it on a beach, infections in an epidemic; nobody reads who knows it is idle."""
    beach = dependency_graph(models.BeachBar())
    for t in range(2):
        assert parents(beach, f"O_bather.crowd_{t}") == {f"s_{t}", f"L_{t}"}
        assert parents(beach, f"O_bather.bar_{t}") == {f"s_{t}"}
        assert parents(beach, f"L_{t}") == set()
    assert beach.nodes["L_1"] == {
        "kind": "crowd",
        "agent": None,
        "t": 1,
        "site": "L",
        "observed": False,
    }
    illness = dependency_graph(models.SusceptibleInfected(), steps=1)
    assert set(illness.successors("L_0")) == {"health_1"}
    assert set(figure1(models.SusceptibleInfected(), "person", steps=1).edges) == {
        ("s_0", "O^i_0"),
        ("s_0", "s_1"),
        ("a^i_0", "O^i_0"),
        ("a^i_0", "s_1"),
        ("L_0", "s_1"),
    }


def test_a_crowd_that_nobody_reads_is_not_drawn():
    def step(state, crowd):
        act = vsg.act("one", dist.Categorical(ANY))
        vsg.optimality("one", act.double())
        return state

    assert nodes(dependency_graph(program(["one"], step)), "crowd") == set()


def test_a_site_may_be_called_like_the_crowd():
    def step(state, crowd):
        place = pyro.sample("L", dist.Categorical(ANY))
        act = vsg.act("one", dist.Categorical(ANY))
        vsg.optimality("one", act * crowd.at(state))
        return place

    graph = dependency_graph(program(["one"], step), steps=1)
    assert nodes(graph, "crowd") == {"crowd_0"} and nodes(graph, "chance") == {"L_1"}
    assert parents(graph, "O_one_0") == {"s_0", "one_0", "crowd_0"}
    assert figure1(program(["one"], step), "one", steps=1).nodes["L_0"]["sites"] == ("crowd_0",)


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_against_a_crowd_that_is_given_it_is_the_same_graph_without_the_crowd(name):
    for make in (dependency_graph, lambda game: figure1(game, game.agents[0])):
        whole, given = make(AMID_A_CROWD[name]()), make(faced(name))
        crowd = nodes(whole, "crowd")
        assert crowd and all(parents(whole, node) == set() for node in crowd)
        whole.remove_nodes_from(crowd)
        assert set(whole.edges) == set(given.edges) and list(whole) == list(given)


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_the_crowd_is_drawn_below(name, tmp_path):
    graph = figure1(AMID_A_CROWD[name](), AMID_A_CROWD[name].agents[0])
    figure = draw_graph(graph, tmp_path / "graph.svg")
    centres = {
        patch.get_gid(): patch.center[1]
        for patch in figure.axes[0].patches
        if str(patch.get_gid()).startswith("node:")
    }
    lowest = {gid for gid, y in centres.items() if y == min(centres.values())}
    assert lowest == {f"node:{name}" for name in nodes(graph, "crowd")}
    assert "edge:L_0-&gt;" in (tmp_path / "graph.svg").read_text()


OPERATIONS = {
    "index": lambda xs: torch.arange(3 ** len(xs)).reshape([3] * len(xs))[tuple(xs)],
    "where": lambda xs: torch.where(xs[0] > 1, xs[0], sum(xs[1:], torch.tensor(0))),
    "clamp": lambda xs: sum(xs).clamp(0, 2),
    "stack": lambda xs: torch.stack(list(xs)).max(0).values,
    "tensor": lambda xs: torch.tensor(list(xs)).sum(),
    "in place": lambda xs: counts(xs).argmax(),
    "view": lambda xs: written_through_a_view(xs),
    "slice": lambda xs: sum(torch.arange(4)[x:].sum() for x in xs),
    "numbers": lambda xs: torch.tensor(sum(int(x) for x in xs)),
    "numpy": lambda xs: torch.from_numpy(np.stack([x.numpy() for x in xs])).sum(),
    "list": lambda xs: [torch.tensor(k) for k in range(7)][sum(xs)],
    "deterministic": lambda xs: pyro.deterministic("d", sum(xs)),
    "delta": lambda xs: pyro.sample("d", dist.Delta(sum(xs).double())).long(),
}


def counts(xs):
    table = torch.zeros(3)
    for x in xs:
        table[x] += 1
    return table


def written_through_a_view(xs):
    table = torch.zeros(2, 3)
    torch.add(sum(xs), 0.0, out=table[1, 2])
    return table.flatten().sum().long()


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_read_is_seen_through(name):
    """Each way to compute with values keeps all their names, and no other's."""
    operation = OPERATIONS[name]

    def step(state):
        vsg.act("a", dist.Categorical(ANY), name="unread")
        one = vsg.act("a", dist.Categorical(ANY), name="one")
        two = vsg.act("b", dist.Categorical(ANY), name="two")
        value = operation([one, two])
        vsg.optimality("a", torch.as_tensor(value).double())
        return (state + value) % 3

    graph = dependency_graph(program(["a", "b"], step), steps=1)
    assert parents(graph, "O_a_0") == {"one_0", "two_0"}
    assert {"one_0", "two_0"} < parents(graph, "s_1")
    assert nx.is_directed_acyclic_graph(graph)


def test_a_number_counts_as_read_by_what_follows_only():
    def step(state):
        a = vsg.act("a", dist.Categorical(ANY))
        vsg.optimality("a", 1.0, name="early")
        b = vsg.act("b", dist.Categorical(ANY))
        reward = float(a)  # leaves torch here
        c = vsg.act("c", dist.Categorical(ANY))  # acts see the state alone, whatever was a number
        vsg.optimality("a", reward, name="late")
        vsg.optimality("b", b.double())
        vsg.optimality("c", c.double())
        return state

    graph = dependency_graph(program("abc", step))
    for t in range(2):
        assert parents(graph, f"O_a.early_{t}") == set() == parents(graph, f"c_{t}")
        assert parents(graph, f"O_a.late_{t}") == {f"a_{t}"}
        assert parents(graph, f"O_b_{t}") == {f"a_{t}", f"b_{t}"}
        assert parents(graph, f"s_{t + 1}") == {f"s_{t}", f"a_{t}"}


LAWS = {
    "Categorical": lambda x: dist.Categorical(torch.eye(3)[x] + 1),
    "Bernoulli": lambda x: dist.Bernoulli(x / 3),
    "Binomial": lambda x: dist.Binomial(4, x / 3),
    "Normal": lambda x: dist.Normal(x.float(), 1.0),
    "LogNormal": lambda x: dist.LogNormal(0.0, x.float() + 1),
    "Independent": lambda x: dist.Normal(x.float().expand(2), 1.0).to_event(1),
    "Dirichlet": lambda x: dist.Dirichlet(x.float() + torch.ones(3)),
    "Beta": lambda x: dist.Beta(x.float() + 1, 1.0),
    "Uniform": lambda x: dist.Uniform(x.float() - 1, 4.0),
    "validated": lambda x: dist.Normal(x.float(), 1.0, validate_args=True),
    "masked": lambda x: dist.Normal(0.0, 1.0).mask(x > 0),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws_of_any_kind(name):
    def step(state):
        a = vsg.act("a", dist.Categorical(ANY))
        noise = pyro.sample("noise", LAWS[name](a))
        vsg.optimality("a", noise.sum())
        return state

    graph = dependency_graph(program("a", step))
    assert parents(graph, "noise_1") == {"a_0"}
    assert parents(graph, "O_a_0") == {"noise_1"}


def test_a_law_without_density_and_a_mask():
    class Noise(dist.TorchDistribution):
        arg_constraints = {}

        def __init__(self, mean):
            self.mean_ = mean
            super().__init__(validate_args=False)

        def sample(self, sample_shape=()):
            return self.mean_ + torch.randn(())

    def step(state):
        a = vsg.act("a", dist.Categorical(ANY))
        b = vsg.act("b", dist.Categorical(ANY))
        pyro.sample("noise", Noise(a.double()))
        with poutine.mask(mask=b == 0), poutine.scale(scale=a + 1.0):
            vsg.optimality("a", 1.0)
        return state

    graph = dependency_graph(program("ab", step))
    assert parents(graph, "noise_1") == {"a_0"}
    assert parents(graph, "O_a_0") == {"a_0", "b_0"}


@dataclass
class RandomProgram:
    """A program that says what it reads: ``read[site]`` are names, the state's being ``STATE``."""

    seed: int
    agents: tuple = ()
    discount: float = 0.9
    read: dict = field(default_factory=dict)

    def __post_init__(self):
        draw = random.Random(self.seed)
        self.agents = tuple("abc"[: draw.randint(1, 3)])
        self.signals = [f"w{k}" for k in range(draw.randint(0, 2))]
        self.acts = [(agent, f"{agent}{k}") for agent in self.agents for k in range(2)]
        self.acts = [act for act in self.acts if act[1].endswith("0") or draw.random() < 0.4]
        self.chance = [f"z{k}" for k in range(draw.randint(0, 3))]
        self.parts = draw.randint(1, 3)
        states = [f"STATE{k}" for k in range(self.parts)]
        seen = list(states)
        for name in self.signals:
            self.read[name] = some(draw, states)
        seen += self.signals
        for agent, name in self.acts:
            own = [act for who, act in self.acts if who == agent and act < name]
            self.read[name] = some(draw, seen + own)
        seen += [name for _, name in self.acts]
        for name in self.chance:
            self.read[name] = some(draw, seen)
            seen.append(name)
        self.pay = [f"{agent}.{part}" for agent in self.agents for part in "xy"]
        for name in self.pay + [f"next{k}" for k in range(self.parts)]:
            self.read[name] = some(draw, seen)
        self.operation = {
            name: draw.choice(["index", "where", "clamp", "stack", "tensor", "in place", "view"])
            for name in self.read
        }
        self.structure = draw.choice([tuple, list, lambda parts: dict(enumerate(parts))])

    def initial(self):
        first = [pyro.sample(f"i{k}", dist.Categorical(ANY)) for k in range(self.parts)]
        return self.structure(first)

    def step(self, state):
        parts = list(state.values()) if isinstance(state, dict) else list(state)
        value = {f"STATE{k}": part for k, part in enumerate(parts)}

        def mix(name):
            values = [value[other] for other in self.read[name]]
            return OPERATIONS[self.operation[name]](values) % 3 if values else torch.tensor(1)

        def law(name):
            return dist.Categorical(torch.eye(3)[mix(name).long()] + 0.5)

        for name in self.signals:
            value[name] = vsg.signal(name, law(name))
        for agent, name in self.acts:
            value[name] = vsg.act(agent, law(name), name=name)
        for name in self.chance:
            value[name] = pyro.sample(name, law(name))
        for name in self.pay:
            agent, part = name.split(".")
            vsg.optimality(agent, mix(name).double(), name=part)
        return self.structure([mix(f"next{k}").long() for k in range(self.parts)])

    def expected(self, t):
        """The direct parents in step t."""

        def named(name):
            if name.startswith("STATE"):
                return f"s_{t}"
            return f"{name}_{t + 1}" if name in self.chance else f"{name}_{t}"

        found = {
            f"O_{name}_{t}" if name in self.pay else named(name): set(map(named, reads))
            for name, reads in self.read.items()
            if not name.startswith("next")
        }
        nexts = [self.read[f"next{k}"] for k in range(self.parts)]
        return found | {f"s_{t + 1}": {named(name) for reads in nexts for name in reads}}


def some(draw, names):
    return draw.sample(names, min(len(names), draw.choice([0, 1, 2, 3])))


RANDOM = [RandomProgram(seed) for seed in range(24)]


@pytest.mark.parametrize("game", RANDOM, ids=lambda game: str(game.seed))
def test_random_programs_have_exactly_the_edges_they_read(game):
    graph = dependency_graph(game, steps=3)
    expected = game.expected(0) | game.expected(1) | game.expected(2)
    expected |= {f"i{k}_0": set() for k in range(game.parts)}
    expected["s_0"] = {f"i{k}_0" for k in range(game.parts)}
    assert {node: parents(graph, node) for node in graph} == expected


@pytest.mark.parametrize("game", RANDOM, ids=lambda game: str(game.seed))
@pytest.mark.parametrize("conditional", [False, True])
def test_random_programs_seen_by_one_agent(game, conditional):
    """Opponents act by π(·|s, ω), jointly over their sites; other edges are as they were."""
    everything = dependency_graph(game)
    for agent in game.agents:
        graph = dependency_graph(game, agent, conditional=conditional)
        hidden = {
            name
            for name in nodes(everything, "optimality")
            if everything.nodes[name]["agent"] != agent
        }
        assert set(graph) == set(everything) - hidden
        for node, data in graph.nodes(data=True):
            t = data["t"]
            if data["kind"] == "action" and (conditional or data["agent"] != agent):
                wanted = {f"s_{t}"} | {f"{name}_{t}" for name in game.signals}
                wanted |= {
                    f"{name}_{t}"
                    for who, name in game.acts
                    if who == data["agent"]
                    and name < data["site"]
                    or (data["agent"] == agent != who)
                }
                assert parents(graph, node) == wanted
            else:
                assert parents(graph, node) == parents(everything, node)


# --- The independences of Fig. 1 and Fig. 3 ---


def check_form(graph, agent, conditional):
    """What the paper's figure says of every step, by d-separation."""
    by_time = nx.get_node_attributes(graph, "t")
    kinds = nx.get_node_attributes(graph, "kind")
    times = sorted({by_time[name] for name in nodes(graph, "action")})
    for t in times:
        (state,) = nodes(graph, "state", t)
        before = {
            name
            for name in graph
            if by_time[name] < t or (by_time[name], kinds[name]) == (t, "chance")
        }
        paid = nodes(graph, "optimality", t)
        own = nodes(graph, "action", t, agent=agent)
        acts, seen = nodes(graph, "action", t), nodes(graph, "signal", t)
        if before and paid:
            assert is_d_separator(graph, paid, before, {state})
        if own < acts:
            given = {state} | seen
            assert is_d_separator(graph, own, acts - own, given) != conditional
        following = nodes(graph, "state", t + 1)
        if following:
            if before:
                assert is_d_separator(graph, following, before, {state} | acts)
            if paid:
                both = shared_chance(graph, paid, following)
                apart = is_d_separator(graph, paid, following, {state} | acts | seen)
                assert apart == (not both)


def shared_chance(graph, paid, following):
    """Chance of one step that feeds the reward and the next state, itself or through chance."""
    kinds = nx.get_node_attributes(graph, "kind")
    (t,) = {graph.nodes[name]["t"] for name in following}
    here = nodes(graph, "chance", t) | set(paid) | set(following)
    step = graph.subgraph(here)
    feeds = [set().union(*(nx.ancestors(step, x) for x in ends)) for ends in (paid, following)]
    return {name for name in feeds[0] & feeds[1] if kinds[name] == "chance"}


FIGURE = [("s", "a^-i"), ("s", "O^i"), ("a^i", "O^i"), ("a^-i", "O^i")]
ONWARD = [("s", "s"), ("a^i", "s"), ("a^-i", "s")]
PRIOR = [("s", "a^i")]  # the prior u^i may read the state
SIGNAL = [("ω", "a^i"), ("ω", "a^-i")]


def figure_edges(graph):
    """All edges that Fig. 1 may have on these nodes."""
    times = range(1 + max(t for _, t in graph.nodes(data="t")))
    return {(f"{one}_{t}", f"{two}_{t}") for t in times for one, two in FIGURE + PRIOR} | {
        (f"{one}_{t}", f"{two}_{t + 1}") for t in times for one, two in ONWARD
    }


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", GAMES)
def test_bundled_games_have_the_form_of_figure_1(name, conditional):
    game = GAMES[name]
    for agent in game.agents:
        fine = dependency_graph(game, agent, steps=3, conditional=conditional)
        check_form(fine, agent, conditional)
        coarse = figure1(game, agent, steps=3, conditional=conditional)
        others = {"a^-i_0"} if len(game.agents) > 1 else set()
        assert {"s_0", "a^i_0", "O^i_0"} | others == {x for x in coarse if x.endswith("_0")}
        assert nx.is_directed_acyclic_graph(coarse)
        extra = set(coarse.edges) - figure_edges(coarse)
        wanted = {
            (f"s_{t + 1}", f"O^i_{t}")
            for t in range(3)
            if nodes(fine, "state", t + 1)
            and shared_chance(fine, nodes(fine, "optimality", t), nodes(fine, "state", t + 1))
        }
        if conditional and others:
            wanted |= {(f"a^-i_{t}", f"a^i_{t}") for t in range(3) if f"a^i_{t}" in coarse}
        assert extra == wanted


def test_which_games_pay_for_chance_that_moves_the_state():
    found = {
        name
        for name, game in GAMES.items()
        if any(("s_1", "O^i_0") in figure1(game, agent).edges for agent in game.agents)
    }
    assert found == {"soccer", "small_soccer", "grid_with_crashes"}


@pytest.mark.parametrize("game", RANDOM, ids=lambda game: str(game.seed))
@pytest.mark.parametrize("conditional", [False, True])
def test_random_programs_have_the_independences_of_the_figure(game, conditional):
    for agent in game.agents:
        check_form(
            dependency_graph(game, agent, steps=3, conditional=conditional), agent, conditional
        )


@pytest.mark.parametrize("game", RANDOM, ids=lambda game: str(game.seed))
def test_the_figure_of_random_programs(game):
    """Merged by hand: chance that can reach the next state is part of it, other a mere path."""
    for agent in game.agents:
        fine = dependency_graph(game, agent, steps=1)
        made = {
            name
            for name in nodes(fine, "chance")
            if nx.has_path(fine, name, f"s_{fine.nodes[name]['t']}")
        }
        loose = nodes(fine, "chance") - made
        group = {name: f"s_{fine.nodes[name]['t']}" for name in made | nodes(fine, "state")}
        group |= dict.fromkeys(nodes(fine, "action") - nodes(fine, "action", agent=agent), "a^-i_0")
        group |= dict.fromkeys(nodes(fine, "action", agent=agent), "a^i_0")
        group |= dict.fromkeys(nodes(fine, "signal"), "ω_0")
        group |= dict.fromkeys(nodes(fine, "optimality"), "O^i_0")
        wanted = {
            (group[one], group[two])
            for one, two in product(group, group)
            if group[one] != group[two]
            and one != two
            and nx.has_path(fine.subgraph(loose | {one, two}), one, two)
        }
        coarse = figure1(game, agent, steps=1)
        assert set(coarse.edges) == wanted
        assert set(coarse) == set(group.values())
        for name, data in coarse.nodes(data=True):
            assert set(data["sites"]) == {site for site in group if group[site] == name}
            assert data["observed"] == (name == "O^i_0")


def signalled():
    def step(state):
        light = vsg.signal("light", dist.Categorical(ANY))
        a, b, c = [vsg.act(agent, dist.Categorical(ANY)) for agent in "abc"]
        for agent, own in zip("abc", (a, b, c), strict=True):
            vsg.optimality(agent, ((a + b + c) % 3 == own).double())
        del light
        return (state + a + b + c) % 3

    return program("abc", step, horizon=5)


def test_figure_3():
    """The signal is seen by all; the state and the rewards do not read it."""
    coarse = figure1(signalled(), "b", conditional=True)
    assert {name for name in coarse if name.endswith("_0")} == {
        "s_0",
        "ω_0",
        "a^i_0",
        "a^-i_0",
        "O^i_0",
    }
    assert set(coarse.successors("ω_0")) == {"a^i_0", "a^-i_0"} and not parents(coarse, "ω_0")
    assert parents(coarse, "a^i_0") == {"s_0", "ω_0", "a^-i_0"}
    assert parents(coarse, "O^i_0") == {"a^i_0", "a^-i_0"}
    assert coarse.nodes["a^-i_0"]["sites"] == ("a_0", "c_0")
    generative = figure1(signalled(), "b")
    assert is_d_separator(generative, {"a^i_0"}, {"a^-i_0"}, {"s_0"})
    assert set(generative.successors("ω_0")) == {"a^-i_0"}
    # given s alone, a common signal correlates two agents of the others
    fine = dependency_graph(signalled(), "b")
    assert not is_d_separator(fine, {"a_0"}, {"c_0"}, {"s_0"})
    assert is_d_separator(fine, {"a_0"}, {"c_0"}, {"s_0", "light_0"})


# --- Against tables and against Pyro's own inspection ---


@pytest.mark.parametrize("name", [name for name in GAMES if name not in ("soccer", "congestion")])
def test_no_dependence_of_the_table_is_missed(name):
    """Where the numbers vary with a variable, the figure has a way from it."""
    game = GAMES[name]
    table = vsg.tabulate(game)
    rewards, transitions = dense(table)
    variables = ["s_0", *game.agents]
    for number, agent in enumerate(game.agents):
        coarse = figure1(game, agent, steps=1)
        for axis, variable in enumerate(variables):
            node = variable
            if axis > 0:
                node = "a^i_0" if variable == agent else "a^-i_0"
            if np.ptp(rewards[number], axis=axis).max() > 1e-9:
                assert nx.has_path(coarse, node, "O^i_0")
            if "s_1" in coarse and np.ptp(transitions, axis=axis).max() > 1e-9:
                assert nx.has_path(coarse, node, "s_1")


def test_the_table_varies_where_a_dense_game_has_edges():
    """The other way round, for a game in which everything matters."""
    game = models.RandomGame(states=3, n_agents=3, actions=2)
    rewards, transitions = dense(vsg.tabulate(game))
    coarse = figure1(game, "agent2", steps=1)
    assert parents(coarse, "O^i_0") == parents(coarse, "s_1") == {"s_0", "a^i_0", "a^-i_0"}
    for axis in range(4):
        assert np.ptp(rewards[1], axis=axis).min() > 0 < np.ptp(transitions, axis=axis).min()


def ancestors_beyond_states(graph, node):
    """The sites that a node reads, directly or through states."""
    found = set()
    for parent in graph.predecessors(node):
        is_state = graph.nodes[parent]["kind"] == "state"
        found |= ancestors_beyond_states(graph, parent) if is_state else {parent}
    return found


def goes_on(model, steps):
    alive = {f"alive_{t}": torch.tensor(1.0) for t in range(1, steps)}
    return poutine.condition(model, data=alive)


@pytest.mark.parametrize("name", GAMES)
def test_pyro_sees_the_same_reads(name):
    """`get_model_relations` and `get_dependencies` on the agent's model, past the state nodes.

    Pyro follows each part of a state by itself, so for states of several parts it may see fewer.
    """
    game = GAMES[name]
    steps = min(2, horizon(game) or 2)
    single = isinstance(vsg.unroll(game, steps)(), torch.Tensor)
    for agent in game.agents:
        graph = dependency_graph(game, agent, steps=steps)
        model = goes_on(vsg.agent_model(game, agent, horizon=steps), steps)
        relations = get_model_relations(model)["sample_sample"]
        prior = get_dependencies(model)["prior_dependencies"]
        sites = nodes(graph, "optimality") | nodes(graph, "chance")
        assert sites == {name for name in relations if name in sites}
        assert nodes(graph, "optimality") == {name for name in relations if name.startswith("O_")}
        for site in sites:
            wanted = ancestors_beyond_states(graph, site)
            acts = {name for name in wanted if graph.nodes[name]["kind"] == "action"}
            now = {name for name in acts if graph.has_edge(name, site)}
            for found in (set(relations[site]), set(prior[site]) - {site}):
                assert found == wanted if single else found <= wanted
                assert {x for x in found & acts if graph.nodes[x]["t"] == steps - 1} == {
                    x for x in now if graph.nodes[x]["t"] == steps - 1
                }


@pytest.mark.parametrize(
    "name", ["stag_hunt", "small_congestion", "three_at_random", "small_soccer"]
)
def test_pyro_sees_the_same_policies(name):
    """Opponents read the state, and a conditional policy reads them too."""
    game = GAMES[name]
    table, agent = vsg.tabulate(game), game.agents[0]
    others = {
        other: log_prior[0].exp()
        for other, log_prior in list(zip(game.agents, table.log_priors, strict=True))[1:]
    }
    fine = dependency_graph(game, agent)
    model = goes_on(vsg.agent_model(game, agent, others, horizon=2), 2)
    relations = get_model_relations(model)["sample_sample"]
    conditional = dependency_graph(game, agent, conditional=True)
    policy = ConditionalPolicy(table, agent)
    guide = goes_on(vsg.agent_guide(game, agent, policy, others, horizon=2), 2)
    answers = get_model_relations(guide)["sample_sample"]
    for t in range(2):
        for other in others:
            assert set(relations[f"{other}_{t}"]) == ancestors_beyond_states(fine, f"{other}_{t}")
        found = set(answers[f"{agent}_{t}"])
        assert found == ancestors_beyond_states(conditional, f"{agent}_{t}")
        assert {f"{other}_{t}" for other in others} <= found


# --- How it runs ---


def test_it_leaves_no_trace():
    """Random numbers and an outer trace are as before; the graph is the same again."""
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    with poutine.trace() as trace:
        first = dependency_graph(GAMES["soccer"])
    assert torch.equal(torch.rand(4), wanted)
    assert not trace.trace.nodes
    second = dependency_graph(GAMES["soccer"])
    assert list(first.nodes(data=True)) == list(second.nodes(data=True))
    assert list(first.edges) == list(second.edges)


def test_steps_stop_at_the_horizon():
    graph = dependency_graph(signalled(), steps=99)
    assert {t for _, t in graph.nodes(data="t")} == set(range(5))
    assert nodes(dependency_graph(signalled(), steps=4), "state") == {f"s_{t}" for t in range(5)}
    assert nodes(dependency_graph(GAMES["hedge"]), "state") == {"s_0"}


def test_a_step_may_read_the_time():
    def step(state, t):
        a = vsg.act("a", dist.Categorical(ANY))
        if t == 1:
            pyro.sample("storm", dist.Categorical(torch.eye(3)[state] + 1))
        vsg.optimality("a", a if t else 0.0)
        return state

    graph = dependency_graph(program("a", step, horizon=3), steps=3)
    assert nodes(graph, "chance") == {"storm_2"}
    assert [parents(graph, f"O_a_{t}") for t in range(3)] == [set(), {"a_1"}, {"a_2"}]


def test_states_may_be_real_numbers_and_trees():
    def initial():
        return {"x": 0.5, "y": (torch.zeros(2), None, True)}

    def step(state):
        push = vsg.act("a", dist.Normal(state["x"], 1.0))
        vsg.optimality("a", -(push**2))
        return {"x": push + state["x"], "y": (state["y"][0] + 1, None, state["y"][2])}

    graph = dependency_graph(program("a", step, initial))
    assert parents(graph, "a_1") == {"s_1"} and parents(graph, "s_2") == {"s_1", "a_1"}
    assert not parents(graph, "s_0")


def test_a_state_may_be_written_part_by_part():
    """What was written into it belongs to its own step, not to the next one's reads."""

    def step(state):
        value = act_and_pay()
        vsg.optimality("b", state.sum().double() + act_and_pay("b"))
        following = torch.zeros(2, dtype=torch.long)
        following[0] = value
        return following

    graph = dependency_graph(program("ab", step, lambda: torch.zeros(2, dtype=torch.long)))
    assert parents(graph, "s_1") == {"a_0"} and parents(graph, "s_2") == {"a_1"}
    assert parents(graph, "O_b_1") == {"b_1"} and parents(graph, "O_b.1_1") == {"s_1", "b_1"}


def test_a_site_may_be_named_like_a_state():
    def game(*names):
        def step(state):
            vsg.optimality("a", vsg.act("a", dist.Categorical(ANY)))
            return [pyro.sample(name, dist.Categorical(ANY)) for name in names][0]

        return program("a", step)

    assert parents(dependency_graph(game("s")), "state_1") == {"s_1"}
    graph = dependency_graph(game("s", "state"))
    assert parents(graph, "state__1") == {"s_1"} and graph.nodes["state_1"]["kind"] == "chance"
    assert "s_1" in figure1(game("s"), "a")


# --- Errors ---


def act_and_pay(agent="a"):
    value = vsg.act(agent, dist.Categorical(ANY))
    vsg.optimality(agent, value.double())
    return value


def branching(state):
    return state + 1 if act_and_pay() > 1 else state


def membership(state):
    return state + (1 in torch.stack([act_and_pay(), state]))


def private(state):
    card = pyro.sample("card", dist.Categorical(ANY))
    vsg.act("a", dist.Categorical(torch.eye(3)[card]))
    return state


def peeking(state):
    other = act_and_pay("b")
    vsg.act("a", dist.Categorical(torch.eye(3)[other]))
    return state


def late_signal(state):
    vsg.signal("w", dist.Categorical(torch.eye(3)[act_and_pay()]))
    return state


def observing(state):
    pyro.sample("data", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
    return act_and_pay()


def twice(state):
    return pyro.sample("x", dist.Categorical(ANY)) + pyro.sample("x", dist.Categorical(ANY))


def chance_named_like_an_act(state):
    return act_and_pay() + pyro.sample("a", dist.Categorical(ANY))


def stranger(state):
    vsg.optimality("nobody", 1.0)
    return state


def other_structure(state):
    return (act_and_pay(), state)


def a_word(state):
    act_and_pay()
    return "rain"


def vectorised(state):
    return state + torch.vmap(lambda x: x * 2)(act_and_pay()[None]).sum()


def differentiated(state):
    value = act_and_pay().double()
    return state + torch.func.grad(lambda x: (x * value).sum())(torch.ones(1)).sum()


def negative(state):
    pyro.sample("x", dist.Categorical(torch.stack([act_and_pay() + 1.0, torch.tensor(-0.5)])))
    return state


def broken(state):
    return torch.zeros(2) @ torch.zeros(3)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (branching, "branches .* Try: indexing a tensor, or torch.where"),
        (membership, "branches"),
        (private, "at site 'a_0': the prior of 'a' reads another's action, or chance"),
        (peeking, "at site 'a_0': the prior of 'a' reads another's action, or chance"),
        (late_signal, "at site 'w_0': the signal's law reads an action or chance"),
        (observing, "at site 'data_1': a step observes data"),
        (twice, "at site 'x_1': this name is used for two sites"),
        (chance_named_like_an_act, "at site 'a_1': this name is used for two sites"),
        (stranger, "at site 'O_nobody_0': 'nobody' is not among the agents a, b"),
        (other_structure, r"returns \(integer, integer\) as the next state, but .* is integer"),
        (a_word, "`step` of Program returns a state with a str"),
        (vectorised, "torch.vmap or torch.func"),
        (differentiated, "torch.vmap or torch.func"),
        (negative, "`step` of Program raises ValueError: Expected parameter probs"),
        (broken, "`step` of Program raises RuntimeError: inconsistent tensor size"),
    ],
)
def test_a_step_that_is_none(step, message):
    with pytest.raises(GameError, match=message):
        dependency_graph(program("ab", step))


def test_an_initial_state_is_drawn_by_chance():
    with pytest.raises(GameError, match="'a_-1': the initial state is drawn by chance alone"):
        dependency_graph(program("a", lambda state: state, act_and_pay))


def test_a_first_state_named_like_an_act():
    def initial():
        return pyro.sample("a", dist.Categorical(ANY))

    with pytest.raises(GameError, match="at site 'a_0': this name is used for two sites"):
        dependency_graph(program("a", lambda state: act_and_pay() + state, initial))


class Remembers:
    """Keeps something of one step for the next."""

    agents, discount = ("a",), 0.9

    def __init__(self, what):
        self.what, self.kept = what, torch.zeros(3)

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        value = vsg.act("a", dist.Categorical(ANY))
        vsg.optimality("a", self.kept.sum().double())
        if self.what == "action":
            self.kept = value
        elif self.what == "state":
            self.kept = state
        else:
            self.kept[1] = value
        return state


@pytest.mark.parametrize(
    ("what", "old"),
    [("action", "a_0"), ("state", "the state of time 0"), ("in place", "a_0")],
)
def test_a_game_that_remembers(what, old):
    with pytest.raises(GameError, match=f"'O_a_1': this reads '{old}' of an earlier step"):
        dependency_graph(Remembers(what))


def test_bad_arguments():
    game = GAMES["stag_hunt"]
    with pytest.raises(GameError, match="StagHunt has no agent 'rwo'. Try: one of row, col"):
        dependency_graph(game, "rwo")
    with pytest.raises(GameError, match="has no agent"):
        figure1(game, None)
    for steps in (0, 1.5, True):
        with pytest.raises(GameError, match="counts decisions"):
            dependency_graph(game, steps=steps)
    with pytest.raises(GameError, match='none is named. Try: agent="row"'):
        dependency_graph(game, conditional=True)
    with pytest.raises(GameError, match="neither a discount below 1 nor a horizon"):
        dependency_graph(program("a", lambda state: state, discount=None))


# --- Pictures ---


def joint():
    """Three agents, one of them with two sites and two rewards; a signal; chance of both sorts."""

    def step(state):
        x, y = state
        vsg.signal("light", dist.Categorical(ANY))
        a = vsg.act("leader", dist.Categorical(ANY), name="move")
        b = vsg.act("leader", dist.Categorical(ANY), name="speak")
        c, d = act_and_pay("follower"), act_and_pay("third")
        noise = pyro.sample("noise", dist.Categorical(ANY))
        luck = pyro.sample("luck", dist.Categorical(ANY))
        vsg.optimality("leader", (a + b + c + x + noise).double())
        vsg.optimality("leader", -(b == luck).double(), name="cost")
        return (x + a + noise) % 3, (y + d) % 3

    def initial():
        return pyro.sample("x", dist.Categorical(ANY)), torch.tensor(0)

    return program(("leader", "follower", "third"), step, initial)


PICTURES = {
    "stag hunt": lambda: dependency_graph(GAMES["stag_hunt"], "row"),
    "soccer": lambda: dependency_graph(GAMES["soccer"]),
    "soccer's figure": lambda: figure1(GAMES["soccer"], "a", conditional=True),
    "three agents": lambda: dependency_graph(GAMES["three_agents"]),
    "congestion": lambda: dependency_graph(GAMES["congestion"], "agent2"),
    "thermostat": lambda: dependency_graph(GAMES["thermostat"], "heater", steps=4),
    "several sites": lambda: dependency_graph(joint(), "leader"),
    "several sites, conditional": lambda: dependency_graph(joint(), "leader", conditional=True),
    "figure 3": lambda: figure1(signalled(), "a", conditional=True),
}


def artists(figure):
    (ax,) = figure.axes
    found = {patch.get_gid(): patch for patch in ax.patches if patch.get_gid()}
    points = {gid[5:]: patch for gid, patch in found.items() if gid.startswith("node:")}
    lines = {gid[5:]: patch for gid, patch in found.items() if gid.startswith("edge:")}
    rest = [patch for patch in ax.patches if not patch.get_gid()]
    return points, lines, rest


def outside(points, node, margin=0.0):
    """How far outside a node's ellipse points are; 1 is its edge."""
    reach = np.array([node.width, node.height]) / 2 + margin
    return np.sqrt((((points - np.array(node.center)) / reach) ** 2).sum(-1))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_legible(name):
    graph = PICTURES[name]()
    figure = draw_graph(graph)
    points, lines, rest = artists(figure)
    assert set(points) == set(graph)
    assert set(lines) == {f"{one}->{two}" for one, two in graph.edges}
    low, high = np.array([figure.axes[0].get_xlim(), figure.axes[0].get_ylim()]).T
    u = np.linspace(0, 1, 200)[:, None]
    heads = [patch for patch in rest if len(patch.get_path()) == 4]
    labels = [patch for patch in rest if len(patch.get_path()) > 4]
    assert len(heads) == len(lines) and len(labels) == len(points)

    for (one, two), head in zip(graph.edges, heads, strict=True):
        a, b, c = lines[f"{one}->{two}"].get_path().vertices
        curve = (1 - u) ** 2 * a + 2 * u * (1 - u) * b + u**2 * c
        assert (curve > low).all() and (curve < high).all()
        for other, node in points.items():
            if other not in (one, two):
                assert outside(curve, node).min() > 1, f"{one} -> {two} runs through {other}"
        assert outside(a, points[one]) == pytest.approx(1, abs=0.05)
        tip = head.get_path().vertices[0]
        assert 1 <= outside(tip, points[two]) < 1.15  # not hidden, and not short of it
        assert np.linalg.norm(c - tip) < 12
    for one, two in product(points, points):
        if one < two:
            assert outside(np.array(points[one].center), points[two], margin=15).min() > 1
    for (name, node), label in zip(points.items(), labels, strict=True):
        box = label.get_path().get_extents()
        corners = np.array([[x, y] for x in (box.x0, box.x1) for y in (box.y0, box.y1)])
        assert (outside(corners, node, margin=4) < 1).all()
        shade = node.get_facecolor()[0]
        assert (shade < 0.9) == graph.nodes[name]["observed"]


@pytest.mark.parametrize("name", ["soccer", "several sites"])
def test_time_goes_from_left_to_right_and_rows_are_kinds(name):
    graph = PICTURES[name]()
    points, _, _ = artists(draw_graph(graph))
    kinds = nx.get_node_attributes(graph, "kind")
    for one, two in product(graph, graph):
        if (kinds[one], graph.nodes[one]["site"]) == (kinds[two], graph.nodes[two]["site"]):
            assert points[one].center[1] == points[two].center[1]
            later = graph.nodes[one]["t"] < graph.nodes[two]["t"]
            assert (points[one].center[0] < points[two].center[0]) == later
    heights = {
        kind: [points[node].center[1] for node in nodes(graph, kind)] for kind in kinds.values()
    }
    order = [
        kind for kind in ("optimality", "action", "signal", "chance", "state") if kind in heights
    ]
    for upper, lower in zip(order, order[1:], strict=False):
        assert min(heights[upper]) > max(heights[lower])


def test_pictures_are_saved(tmp_path):
    graph = figure1(GAMES["stag_hunt"], "row")
    draw_graph(graph, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw_graph(graph, str(tmp_path / "a.SVG"))
    text = (tmp_path / "a.SVG").read_text()
    assert "node:O^i_0" in text and "edge:s_0-&gt;a^-i_0" in text
    with pytest.raises(GameError, match="a.xyz'. Try: end it in .png"):
        draw_graph(graph, tmp_path / "a.xyz")
    with pytest.raises(GameError, match="cannot be saved"):
        draw_graph(graph, tmp_path / "picture")


def test_pictures_in_axes_of_ones_own(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    _, ax = figure.subplots(1, 2)
    assert draw_graph(figure1(GAMES["soccer"], "a"), tmp_path / "both.png", ax=ax) is figure
    assert ax.patches and tuple(figure.get_size_inches()) == (4, 3)
    # lines shrink with the nodes, so that heads stay wider than lines
    pixels = ax.transData.transform([[0, 0], [1, 0]])
    each = (pixels[1, 0] - pixels[0, 0]) * 72 / figure.dpi  # points for a point of a picture alone
    lines = [patch for patch in ax.patches if (patch.get_gid() or "").startswith("edge:")]
    assert lines and all(line.get_linewidth() == pytest.approx(1.2 * each) for line in lines)


@pytest.mark.parametrize(
    "name",
    ["x_y", "größe α", *[string.punctuation[k : k + 4] for k in range(0, 32, 4)], *"&#_^"],
)
def test_any_name_can_be_drawn(name, tmp_path):
    def step(state):
        act_and_pay(name)
        return pyro.sample(f"{name}'", dist.Categorical(ANY))

    graph = dependency_graph(program([name], step), name, steps=1)
    draw_graph(graph, tmp_path / "x.png")
    assert f"O_{name}_0" in graph and (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize("graph", [nx.DiGraph(), nx.path_graph(3, create_using=nx.DiGraph)])
def test_other_graphs_are_not_drawn(graph):
    with pytest.raises(GameError, match="not a graph of a game"):
        draw_graph(graph)
