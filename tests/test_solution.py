"""What people do with a `Solution`."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS
from vsg_ppl import models
from vsg_ppl.models.soccer import Pitch

GAMES = {
    "prisoners_dilemma": models.PrisonersDilemma(),
    "stag_hunt": models.StagHunt(),
    "soccer": models.Soccer(rows=2, columns=3),
    "thermostat": models.Thermostat(horizon=5),
    "three_agents": models.ThreeAgents(),
    "congestion": models.Congestion(n_agents=3, facilities=3),
}


@lru_cache
def solved(name):
    return vsg.nash(GAMES[name], temperature=0.5)


@lru_cache
def batch():
    return vsg.nash(vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True), temperature=1.0)


def test_solved_is_the_status():
    solution = solved("stag_hunt")
    assert solution.status == "solved" and solution.solved
    for status in ("not converged", "interrupted"):
        assert not replace(solution, status=status).solved


# --- policy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_policy_by_label_is_the_table_by_number(name):
    """For every agent, state, time and action; names are those that the game gives."""
    solution = solved(name)
    table = solution.table
    for i, agent in enumerate(table.agents):
        names = table.actions[i].names()
        for k, label in enumerate(table.states):
            for t in range(table.horizon or 1):
                found = solution.policy(agent, label, t)
                rows = solution.policies[agent]
                row = rows[k] if table.horizon is None else rows[t, k]
                assert found == dict(zip(names, row.tolist(), strict=True))
                assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)


def test_policy_in_words():
    """A carrier one step before the goal shoots; prisoners defect."""
    solution = vsg.nash(GAMES["soccer"])
    before_goal = solution.policy("a", Pitch(2, 3, 0))  # a in the north-east with the ball
    assert before_goal["EAST"] > 0.9 and list(before_goal) == [
        "NORTH",
        "SOUTH",
        "EAST",
        "WEST",
        "STAND",
    ]
    assert vsg.nash(GAMES["prisoners_dilemma"]).policy("col", 0)["DEFECT"] > 0.99
    state = Pitch(*(torch.tensor(k) for k in (2, 3, 0)))
    assert solution.policy("a", state) == before_goal


def test_policy_of_several_sites_names_them_jointly():
    class Pair:
        agents, horizon = ("solo",), 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            uniform = pyro.distributions.Categorical(torch.ones(2))
            one = vsg.act("solo", uniform, name="hand", labels=("LEFT", "RIGHT"))
            two = vsg.act("solo", uniform, name="foot", labels=("UP", "DOWN"))
            vsg.optimality("solo", 3.0 * one * (1 - two))
            return state

    found = vsg.nash(Pair()).policy("solo", 0)
    assert list(found) == ["LEFT,UP", "LEFT,DOWN", "RIGHT,UP", "RIGHT,DOWN"]
    assert max(found, key=found.get) == "RIGHT,UP"


def test_policy_refuses_what_the_game_has_not():
    soccer, thermostat = solved("soccer"), solved("thermostat")
    with pytest.raises(vsg.GameError, match="has no agent 'c'.*one of a, b"):
        soccer.policy("c", Pitch(0, 1, 0))
    with pytest.raises(vsg.GameError, match="is not one of the 61 states"):
        soccer.policy("a", Pitch(0, 0, 0))
    with pytest.raises(vsg.GameError, match="of structure"):
        soccer.policy("a", 3)
    for t in (-1, 5):
        with pytest.raises(vsg.GameError, match=f"the time is {t}, and Thermostat has times below"):
            thermostat.policy("heater", 18, t)
    with pytest.raises(vsg.GameError, match="holds 3"):
        batch().policy("agent1", 0)


# --- guide ---------------------------------------------------------------------------------------


def test_a_guide_acts_in_a_pyro_model():
    """Its sites have the policy's probabilities, in whatever state and time the model gets."""
    solution = solved("thermostat")
    game = GAMES["thermostat"]
    trace = poutine.trace(vsg.agent_guide(game, "heater", solution.guide("heater"))).get_trace()
    trace.compute_log_prob()
    celsius = 18
    for t in range(5):
        site = trace.nodes[f"heater_{t}"]
        name = ["OFF", "LOW", "HIGH"][int(site["value"])]
        wanted = solution.policy("heater", celsius, t)[name]
        assert float(site["log_prob"].exp()) == pytest.approx(wanted, rel=1e-9)
        lost = int(trace.nodes[f"lost_{t + 1}"]["value"])
        celsius = min(max(celsius + int(site["value"]) - lost, 15), 25)


def test_a_guide_is_a_program_among_others():
    """Predictive draws its actions, in a batch of states; frequencies are the policy's."""
    solution = solved("stag_hunt")
    guide = solution.guide("row")

    def model():
        weather = pyro.sample("weather", pyro.distributions.Categorical(torch.ones(2)))
        guide(weather)

    pyro.set_rng_seed(3)
    draws = Predictive(model, num_samples=4000, parallel=True)()
    for weather in (0, 1):
        chosen = draws["row"].reshape(-1)[draws["weather"].reshape(-1) == weather]
        p = solution.policy("row", weather)["STAG"]
        error = (p * (1 - p) / len(chosen)) ** 0.5
        assert abs(float((chosen == 0).double().mean()) - p) <= 5 * error


def test_guides_make_the_models_value_that_of_the_solution():
    """ELBO at the fixed point = value + temperature × entropy terms, by an independent reading."""
    game, temperature = GAMES["stag_hunt"], 0.5
    solution = solved("stag_hunt")
    model = vsg.agent_model(game, "row", {"col": solution.guide("col")}, temperature=temperature)
    guide = vsg.agent_guide(game, "row", solution.guide("row"), {"col": solution.guide("col")})
    elbo = temperature * float(vsg.MarkovELBO(solution.table).elbo(model, guide))
    assert elbo == pytest.approx(solution.history[-1]["elbo"]["row"], abs=1e-6)


def test_a_guide_of_a_stranger_or_of_a_batch_is_refused():
    with pytest.raises(vsg.GameError, match="has no agent 'x'"):
        solved("stag_hunt").guide("x")
    with pytest.raises(vsg.GameError, match="a guide is of one game, and this solution holds 3"):
        batch().guide("agent1")


# --- to_dict -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_to_dict_is_json(name):
    solution = solved(name)
    found = solution.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    table = solution.table
    assert found["game"] == table.name and found["agents"] == list(table.agents)
    assert found["certificate"]["nash_gap"] == solution.certificate.nash_gap
    assert found["certificate"]["bound"] == solution.certificate.bound
    for i, agent in enumerate(table.agents):
        assert found["actions"][agent] == table.actions[i].names()
        assert found["certificate"]["values"][agent] == solution.certificate.values[agent]


def test_to_dict_has_every_row_of_every_policy():
    solution = solved("soccer")
    rows = solution.to_dict()["policies"]["a"]
    assert rows[0]["state"] == {"a": 0, "b": 0, "ball": 2}
    assert [row["probabilities"] for row in rows] == solution.policies["a"].tolist()


def test_to_dict_leaves_out_what_cannot_occur():
    solution = solved("thermostat")
    rows = solution.to_dict()["policies"]["heater"]
    assert len(rows) == int(solution.table.reachable.sum()) < 5 * 11
    for row in rows:
        row_of = solution.policy("heater", row["state"], row["t"])
        assert row["probabilities"] == list(row_of.values())


def test_to_dict_of_a_batch_is_refused():
    with pytest.raises(vsg.GameError, match="a JSON object is of one game"):
        batch().to_dict()


# --- simulate, save, load, plot ------------------------------------------------------------------


def test_simulate_plays_the_solutions_policies():
    solution = solved("stag_hunt")
    plays = solution.simulate(5, steps=4, seed=2)
    direct = vsg.simulate(solution.table, solution.policies, 5, steps=4, seed=2)
    assert torch.equal(plays.states, direct.states) and plays.states.shape == (5, 4)
    assert solution.simulate().states.shape[0] == 1
    with pytest.raises(vsg.GameError, match="a simulation is of one game"):
        batch().simulate()


def test_a_loaded_solution_is_as_good_as_new(tmp_path):
    solution = solved("soccer")
    path = solution.save(tmp_path / "soccer.safetensors")
    loaded = vsg.Solution.load(path, GAMES["soccer"])
    state = Pitch(2, 3, 0)
    assert loaded.policy("a", state) == solution.policy("a", state)
    assert loaded.to_dict() == solution.to_dict()
    assert torch.equal(loaded.simulate(9).states, solution.simulate(9).states)
    again = vsg.nash(GAMES["soccer"], temperature=0.5, initial=loaded.policies)
    assert again.certificate.nash_gap == pytest.approx(solution.certificate.nash_gap, abs=1e-6)
    assert vsg.Solution.load(path).history == solution.history


def test_plot_returns_and_writes_the_picture(tmp_path):
    figure = solved("stag_hunt").plot(tmp_path / "stag.png")
    assert (tmp_path / "stag.png").stat().st_size > 10_000
    assert "StagHunt" in figure.get_suptitle()


# --- mean-field solutions ------------------------------------------------------------------------


@lru_cache
def crowd(name, **options):
    game = SMALL_CROWDS.get(name, AMID_A_CROWD[name]())
    return vsg.mean_field_nash(game, **{"temperature": 0.5, **options})


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_to_dict_of_a_mean_field_solution(name):
    solution = crowd(name)
    found = solution.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["concept"] == "mean_field" and found["agents"] == list(solution.table.agents)
    certificate = solution.certificate
    assert found["certificate"] == {
        "exploitability": certificate.exploitability,
        "worst_state": certificate.worst_state,
        "regularised": certificate.regularised,
        "value": certificate.value,
    }
    agent, horizon = solution.table.agents[0], solution.table.horizon
    rows = found["policies"][agent]
    assert len(rows) == (horizon or 1) * len(solution.table.states)
    shares = solution.shares.reshape(-1).tolist()
    policy = solution.policies[agent].reshape(len(rows), -1).tolist()
    for row, share, probabilities in zip(rows, shares, policy, strict=True):
        assert ("t" in row) == (horizon is not None)
        assert row["share"] == share and row["probabilities"] == probabilities
    for t in range(horizon or 1):
        assert sum(row["share"] for row in rows if row.get("t", 0) == t) == pytest.approx(1.0)


def test_without_a_temperature_there_is_no_regularised_exploitability():
    found = vsg.mean_field_nash(models.LeftRight()).to_dict()
    assert found["certificate"]["regularised"] is None and found["temperature"] == 0.0


def test_shares_are_how_often_an_agent_of_the_crowd_is_there():
    """By playing the game of one agent amid the crowd, which follows the programs."""
    solution = crowd("beach_bar")
    plays = solution.simulate(20_000, seed=1).states
    for t in range(3):
        counts = torch.bincount(plays[:, t], minlength=4) / len(plays)
        error = (solution.shares[t] / len(plays)).sqrt()
        assert ((counts - solution.shares[t]).abs() <= 5 * error).all()


def test_a_solution_among_agents_has_no_shares():
    with pytest.raises(vsg.GameError, match="StagHunt has no crowd: it is no mean-field game"):
        _ = solved("stag_hunt").shares


def test_a_mean_field_solution_in_words():
    solution = vsg.mean_field_nash(models.LeftRight())
    assert solution.policy("walker", 0)["LEFT"] == pytest.approx(2 / 3, abs=1e-6)
    assert repr(solution).startswith("Solution(LeftRight: mean_field, solved; exploitability ")
    guide = solution.guide("walker")
    site = poutine.trace(guide).get_trace(torch.tensor(0), torch.tensor(0)).nodes["walker"]
    assert site["fn"].probs.tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


def test_plot_of_a_mean_field_solution_is_that_of_its_crowd(tmp_path):
    figure = crowd("beach_bar").plot(tmp_path / "beach.png")
    assert (tmp_path / "beach.png").stat().st_size > 10_000
    assert "the crowd" in [axes.get_title() for axes in figure.axes]
