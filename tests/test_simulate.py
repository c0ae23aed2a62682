"""`simulate`: plays have the law that the program gives them, as an oracle without tables says."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyro import poutine

import vsg_ppl as vsg
from tests.brute_force import BruteForce, freeze
from tests.random_games import games
from tests.random_policies import Policies
from vsg_ppl import models
from vsg_ppl.nash import random_policies
from vsg_ppl.simulate import simulate

RARE = 1e-8
"""Probability below which a count is called impossible. There are about 10,000 of them here."""

PLAYED = {
    "stag_hunt": models.StagHunt(),
    "soccer": models.Soccer(rows=2, columns=3),  # sparse; actions that are not available
    "thermostat": models.Thermostat(),  # sparse; time
    "random_game": models.RandomGame(),  # dense
    "three_agents": models.ThreeAgents(),
    "grid": models.GridGame(crash=0.3),
}


def uniform(table):
    """The priors as policies."""
    return {
        agent: log.exp()[0] if table.horizon is not None else log.exp()[0, 0]
        for agent, log in zip(table.agents, table.log_priors, strict=True)
    }


def check_counts(counts, law, n):
    """Every count is binomial with its probability, and what cannot happen does not."""
    assert set(counts) <= {event for event, p in law.items() if p > 0}
    for event, p in law.items():
        count = counts.get(event, 0)
        p = min(p, 1.0)
        assert scipy.stats.binom.cdf(count, n, p) > RARE, (event, count, n * p)
        assert scipy.stats.binom.sf(count - 1, n, p) > RARE, (event, count, n * p)


def laws(brute, policies, steps):
    """P of (time, place, joint action) and of (time, state, next state), outcome by outcome."""
    now, acts, moves = brute.initial(), defaultdict(float), defaultdict(float)
    for t in range(steps):
        following = defaultdict(float)
        for state, here in now.items():
            for outcome in brute.outcomes(state, t):
                p = here * outcome.probability
                for j, action in outcome.actions.items():
                    if action:
                        p *= float(policies[j](outcome.place, t, {})[action].detach().exp())
                joint = tuple(outcome.actions[j] for j in brute.agents)
                acts[t, outcome.place, joint] += p
                moves[t, state, outcome.following] += p
                following[outcome.following] += p
        now = following
    return acts, moves


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(game=games(), seed=st.integers(0, 10**6))
def test_states_and_actions_have_the_law_of_the_program(game, seed):
    """Sparse and dense; signals, idle agents, time, zero probabilities, horizons or none."""
    table, brute = vsg.tabulate(game), BruteForce(game)
    steps = table.horizon or 3
    brute.layers(steps)  # it meets the states, so that priors are known
    case, n = Policies(table, brute, seed), 2000
    policies = {agent: case.marginal(agent) for agent in table.agents}
    plays = simulate(table, policies, n, steps=steps, seed=seed)
    acts, moves = laws(brute, {a: case.read(p) for a, p in policies.items()}, steps)

    # who sits out does action 0, which the oracle calls ()
    joint = {
        (t, place, tuple(case.number(j, a) for j, a in zip(table.agents, joint, strict=True))): p
        for (t, place, joint), p in acts.items()
    }
    places = [freeze(label) for label in table.states]
    found, moved = Counter(), Counter()
    signals = game.spec.variables.get("omen") is not None
    for k in range(n):
        numbers = plays.states[k].tolist()
        for t, s in enumerate(numbers):
            done = tuple(int(plays.actions[agent][k, t]) for agent in table.agents)
            found[t, places[s], done] += 1
        if signals:
            continue
        for t, (s, s_next) in enumerate(zip(numbers, numbers[1:], strict=False)):
            moved[t, places[s], places[s_next]] += 1
    check_counts(found, joint, n)
    if not signals:
        check_counts(moved, {key: p for key, p in moves.items() if key[0] < steps - 1}, n)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(game=games(horizons=(1, 2, 3)), seed=st.integers(0, 10**6))
def test_returns_average_to_the_sum_over_all_plays(game, seed):
    table, brute = vsg.tabulate(game), BruteForce(game)
    brute.layers(table.horizon)
    case, n = Policies(table, brute, seed), 4000
    policies = {agent: case.marginal(agent) for agent in table.agents}
    functions = {agent: case.read(policy) for agent, policy in policies.items()}
    returns = simulate(table, policies, n, seed=seed).returns()
    for agent in table.agents:
        wanted = float(brute.value(agent, functions).detach())
        error = float(returns[agent].std()) / n**0.5
        assert abs(float(returns[agent].mean()) - wanted) <= 5 * error + 1e-9 * (1 + abs(wanted))


@pytest.mark.parametrize("name", PLAYED)
def test_returns_average_to_the_exact_values(name):
    """Values of the solution at the initial law, within five standard errors."""
    solution = vsg.nash(PLAYED[name], temperature=0.5, max_steps=20)
    table, n = solution.table, 4000
    plays = solution.simulate(n, seed=3)
    steps = plays.states.shape[1]
    for agent, returns in plays.returns().items():
        values = solution.values[agent] if table.horizon is None else solution.values[agent][0]
        exact = float(table.initial[0] @ values)
        largest = float(table.rewards[table.number(agent)].abs().max())
        cut = 0.0  # what the steps that are not played are worth at most
        if table.horizon is None:
            cut = largest * table.discount**steps / (1 - table.discount)
        error = float(returns.std()) / n**0.5
        assert abs(float(returns.mean()) - exact) <= 5 * error + cut + 1e-9 * (1 + abs(exact))


def test_returns_are_discounted_sums_of_rewards_of_the_program():
    """Reward by reward against the program's payoffs; the sum in plain Python."""
    game = models.StagHunt()
    plays = simulate(vsg.tabulate(game), uniform(vsg.tabulate(game)), 20, steps=7)
    payoff = [[[4, 0], [3, 2]], [[2, 0], [3, 2]]]  # weather, own, other
    for k in range(20):
        total = 0.0
        for t, step in enumerate(plays.trajectory(k)):
            mine, other = (["STAG", "HARE"].index(step["actions"][j]) for j in ("row", "col"))
            assert step["rewards"]["row"] == payoff[step["state"]][mine][other]
            assert step["rewards"]["col"] == payoff[step["state"]][other][mine]
            total += 0.9**t * step["rewards"]["row"]
        assert float(plays.returns()["row"][k]) == pytest.approx(total, rel=1e-12)


def test_plays_are_those_of_the_pyro_program():
    """The program itself, run by Pyro under the policies' guides, gives the same frequencies."""
    game, n, steps = models.StagHunt(), 6000, 3
    table = vsg.tabulate(game)
    solution = vsg.nash(
        table,
        temperature=1.0,
        initial={"row": torch.tensor([[0.9, 0.1], [0.3, 0.7]]), "col": torch.full((2, 2), 0.5)},
        max_steps=1,
        step=0.05,
    )
    guide = vsg.agent_guide(
        game, "row", solution.guide("row"), {"col": solution.guide("col")}, horizon=steps
    )
    pyro.set_rng_seed(5)
    with poutine.trace() as program, pyro.plate("plays", n):
        guide()
    sites = program.trace.nodes
    plays = solution.simulate(n, steps=steps, seed=5)
    ours, theirs = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    for t in range(steps):
        for drawn, site in (
            (plays.states, "weather"),
            (plays.actions["row"], "row"),
            (plays.actions["col"], "col"),
        ):
            ours = 2 * ours + drawn[:, t]
            theirs = 2 * theirs + sites[f"{site}_{t}"]["value"].long()
    counts = np.stack(
        [np.bincount(code.numpy(), minlength=2 ** (3 * steps)) for code in (ours, theirs)]
    )
    often = counts.sum(0) >= 10  # the rest is lumped together
    table_ = np.concatenate([counts[:, often], counts[:, ~often].sum(1, keepdims=True)], 1)
    assert often.sum() > 100
    assert scipy.stats.chi2_contingency(table_).pvalue > 1e-4


def test_a_wrong_law_would_be_noticed():
    """The counts' own power: plays of other policies do not pass."""
    table = vsg.tabulate(models.StagHunt())
    n, policies = 2000, uniform(table)
    counts = Counter(simulate(table, policies, n, steps=1).actions["row"][:, 0].tolist())
    check_counts(counts, {0: 0.5, 1: 0.5}, n)
    with pytest.raises(AssertionError):
        check_counts(counts, {0: 0.4, 1: 0.6}, n)
    with pytest.raises(AssertionError):
        check_counts(counts, {0: 1.0, 1: 0.0}, n)


@pytest.mark.parametrize("name", ["soccer", "random_game"])
def test_the_same_seed_gives_the_same_plays(name):
    table = vsg.tabulate(PLAYED[name])
    one, again, other = (simulate(table, uniform(table), 200, seed=k) for k in (7, 7, 8))
    assert torch.equal(one.states, again.states) and not torch.equal(one.states, other.states)
    for agent in table.agents:
        assert torch.equal(one.actions[agent], again.actions[agent])
        assert torch.equal(one.rewards[agent], again.rewards[agent])
        assert torch.equal(one.returns()[agent], again.returns()[agent])


def test_other_random_numbers_are_left_alone():
    table = vsg.tabulate(models.StagHunt())
    pyro.set_rng_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = simulate(table, uniform(table), 50)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()
    torch.rand(3)
    assert torch.equal(first.states, simulate(table, uniform(table), 50).states)


def test_programs_play_as_their_tables():
    table = vsg.tabulate(models.Thermostat(horizon=4))
    solution = vsg.nash(table, temperature=0.5)
    one = simulate(table, solution.policies, 100)
    other = simulate(table, {"heater": solution.guide("heater")}, 100)
    assert torch.equal(one.states, other.states)
    assert torch.equal(one.actions["heater"], other.actions["heater"])


def test_a_policy_without_time_is_played_at_all_times():
    table = vsg.tabulate(models.Thermostat(horizon=5))
    plays = simulate(
        table, {"heater": torch.tensor([[0.0, 0.0, 1.0]]).expand(len(table.states), 3)}
    )
    assert plays.actions["heater"].tolist() == [[2] * 5]


@pytest.mark.parametrize(
    ("discount", "steps"), [(0.9, 66), (0.5, 10), (0.1, 4), (0.0009, 1), (0.0, 1), (0.99, 688)]
)
def test_plays_without_end_stop_when_little_is_left(discount, steps):
    table = vsg.from_arrays(torch.ones(1, 1, 1), torch.ones(1, 1, 1), discount=discount)
    plays = simulate(table, {"agent1": torch.ones(1, 1)}, 2)
    assert plays.states.shape == (2, steps) and len(plays) == 2
    assert discount**steps < 1e-3 and (steps == 1 or discount ** (steps - 1) >= 1e-3)
    # every play is worth the geometric sum
    worth = (1 - discount**steps) / (1 - discount)
    assert plays.returns()["agent1"].tolist() == pytest.approx([worth] * 2, rel=1e-12)


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_horizon_is_played_to_its_end(horizon):
    table = vsg.tabulate(models.Thermostat(horizon=horizon))
    assert simulate(table, uniform(table), 3).states.shape == (3, horizon)
    assert simulate(table, uniform(table), 3, steps=1).states.shape == (3, 1)


def test_trajectories_and_labels_are_for_people():
    solution = vsg.nash(models.Soccer(rows=2, columns=3), temperature=0.1)
    plays = solution.simulate(4, steps=5)
    for k in range(4):
        trajectory = plays.trajectory(k)
        assert [step["state"] for step in trajectory] == plays.labels(k)
        assert [step["t"] for step in trajectory] == list(range(5))
        numbers = [int(solution.table.states.index(label)) for label in plays.labels(k)]
        assert numbers == plays.states[k].tolist()
        for t, step in enumerate(trajectory):
            for agent in ("a", "b"):
                move = ["NORTH", "SOUTH", "EAST", "WEST", "STAND"].index(step["actions"][agent])
                assert move == int(plays.actions[agent][k, t])
            assert step["rewards"]["a"] == -step["rewards"]["b"]
    with pytest.raises(IndexError):
        plays.trajectory(4)


def test_actions_that_are_not_available_are_never_played():
    table = vsg.tabulate(PLAYED["soccer"])
    plays = simulate(table, uniform(table), 400)
    over = plays.states == int(table.states.index(table.states[0]))
    assert table.states[0].ball == 2 and over.any()
    assert (plays.actions["a"][over] == 4).all() and (plays.actions["b"][over] == 4).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", PLAYED)
def test_plays_are_on_the_device_of_the_table(name):
    table = vsg.tabulate(PLAYED[name]).to("cuda")
    plays = simulate(table, random_policies(table.to("cpu"), 0), 50)
    tensors = [plays.states, *plays.actions.values(), *plays.rewards.values()]
    assert all(x.is_cuda for x in [*tensors, *plays.returns().values()])
    assert len(plays.trajectory(0)) == plays.states.shape[1]


def test_bad_requests_are_refused():
    table = vsg.tabulate(models.Thermostat(horizon=4))
    good = uniform(table)
    for options, message in (
        ({"n": 0}, "0 plays are asked for"),
        ({"steps": 0}, "0 steps are asked for"),
        ({"steps": 5}, "5 steps are asked for, and Thermostat ends after 4"),
    ):
        with pytest.raises(vsg.GameError, match=message):
            simulate(table, good, **options)
    with pytest.raises(vsg.GameError, match="no policy is given for 'heater'"):
        simulate(table, {})
    with pytest.raises(vsg.GameError, match="has no agent 'cooler'"):
        simulate(table, {**good, "cooler": good["heater"]})
    with pytest.raises(vsg.GameError, match="expected"):
        simulate(table, {"heater": torch.ones(2, 2)})


def test_a_batch_is_refused():
    table = vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True)
    policies = {agent: torch.full((1, 2), 0.5) for agent in table.agents}
    with pytest.raises(vsg.GameError, match="this table holds 3"):
        simulate(table, policies)


def test_a_conditional_policy_is_refused():
    game = models.Hedge()
    solution = vsg.nash(game, temperature=0.5, factorisation="conditional")
    conditional = vsg.guides.ConditionalPolicy(solution.table, "row")
    with pytest.raises(vsg.GameError, match="conditional on the others' actions"):
        simulate(solution.table, {"row": conditional, "col": solution.guide("col")})


def test_play_that_leaves_the_table_is_an_error_not_a_guess():
    """Rows without probabilities stand for states that no play reaches; here one does."""
    table = vsg.tabulate(models.Thermostat(horizon=4))
    broken = table.probabilities.clone()
    broken[:, -2] = 0.0
    table = replace(table, probabilities=broken)
    assert simulate(table, uniform(table), 10, steps=3).states.shape == (10, 3)
    with pytest.raises(vsg.GameError, match="at time 2, from where the table knows no way on"):
        simulate(table, uniform(table), 10)


class Turns:
    """Two agents act in turn, and count."""

    agents = ("odd", "even")
    horizon = 3

    def initial(self):
        return torch.tensor(0)

    def step(self, state, t):
        who = self.agents[t % 2]
        add = vsg.act(who, dist.Categorical(torch.ones(2)), labels=("WAIT", "COUNT"))
        for agent in self.agents:
            vsg.optimality(agent, add.double())
        return state + add


def test_who_sits_out_is_not_shown_to_act():
    table = vsg.tabulate(Turns())
    for step in simulate(table, uniform(table), 1).trajectory(0):
        assert list(step["actions"]) == ["odd" if step["t"] % 2 == 0 else "even"]
        assert list(step["rewards"]) == ["odd", "even"]
