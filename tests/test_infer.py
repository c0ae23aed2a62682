"""Posteriors of what agents want, against grids, Gambit and simulation."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pygambit
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam
from scipy import stats
from torch.distributions.constraints import positive

import vsg_ppl as vsg
from tests.soft_brute import Dense, log_likelihood, random_dense, random_laws, soft_policy
from tests.unknown_programs import (
    ESCAPES,
    PROGRAMS,
    Branch,
    Everywhere,
    Parameters,
    SampledDiscount,
    Timed,
    values_of,
)
from vsg_ppl.errors import GameError
from vsg_ppl.family import TableFamily
from vsg_ppl.fit import Unconstrained, find_mode
from vsg_ppl.guides.reward import LinearReward
from vsg_ppl.models import BeachBar, GridGame, PrisonersDilemma, StagHunt
from vsg_ppl.simulate import simulate
from vsg_ppl.soft_equilibrium import soft_equilibrium
from vsg_ppl.soft_response import soft_response


def real(x):
    return torch.tensor(x, dtype=torch.float64)


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Tastes:
    """Two rooms: in one an arm pays its number, in the other its number times a taste."""

    agents, horizon = ("rat",), 1

    def initial(self):
        return pyro.sample("room", dist.Categorical(torch.ones(2)))

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(3)))
        vsg.optimality("rat", torch.where(state == 0, 1.0, taste) * arm.double())
        return state


TAU = dist.LogNormal(real(0.0), real(0.5))
TASTES = vsg.tabulate(vsg.given(Tastes(), {"taste": 1.0}))


def watch(worth, n, seed):
    """n choices, drawn by NumPy: in a room an arm is worth its number times that."""
    rng = np.random.default_rng(seed)
    rooms = rng.integers(0, 2, n)
    laws = softmax(np.outer(worth, np.arange(3)))
    arms = np.array([rng.choice(3, p=laws[room]) for room in rooms])
    seen = vsg.Observations(TASTES)
    times = torch.zeros(n, dtype=torch.long)
    seen.add(states=torch.tensor(rooms), times=times, actions={"rat": torch.tensor(arms)})
    return seen


def watch_rat(taste, tau, n, seed):
    """n choices of one with this taste."""
    return watch(np.array([1.0, taste]) / tau, n, seed)


class Grid:
    """The posterior of taste and log τ on a grid, in NumPy."""

    def __init__(self, seen):
        counts = seen.counts["rat"][0].numpy()
        self.taste = np.linspace(-3.0, 6.0, 601)[:, None]
        self.log_tau = np.linspace(-3.0, 2.0, 501)[None, :]
        tau = np.exp(self.log_tau)
        joint = stats.norm.logpdf(self.taste) + stats.norm.logpdf(self.log_tau, scale=0.5)
        for room, pay in enumerate((np.ones_like(self.taste), self.taste)):
            logits = pay[..., None] * np.arange(3) / tau[..., None]
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            joint = joint + logs @ counts[room]
        cell = (self.taste[1, 0] - self.taste[0, 0]) * (self.log_tau[0, 1] - self.log_tau[0, 0])
        top = joint.max()
        mass = np.exp(joint - top)
        self.log_evidence = float(np.log(mass.sum() * cell) + top)
        self.law = mass / mass.sum()

    def moments(self, x):
        mean = float((self.law * x).sum())
        return mean, float(np.sqrt((self.law * (x - mean) ** 2).sum()))


@pytest.fixture(scope="module")
def rat():
    seen = watch_rat(1.5, 0.8, 300, 0)
    return seen, Grid(seen)


@pytest.mark.parametrize("method", ["laplace", "svi", "nuts"])
def test_methods_agree_with_the_grid(rat, method):
    seen, grid = rat
    options = {
        "laplace": {"samples": 2000},
        "svi": {"samples": 1000, "steps": 800, "learning_rate": 0.03},
        "nuts": {"samples": 250, "warmup": 100},
    }[method]
    found = vsg.infer_opponent(Tastes(), "rat", seen, temperature=TAU, method=method, **options)
    draws = {"taste": found.posterior["taste"], "log τ": found.posterior["temperature"].log()}
    for name, x in (("taste", grid.taste), ("log τ", grid.log_tau)):
        mean, deviation = grid.moments(x)
        # a mode is not a mean; NUTS draws count as about 80
        slack = {"laplace": 0.35, "svi": 0.25, "nuts": 4 / np.sqrt(80)}[method]
        assert abs(float(draws[name].mean()) - mean) < slack * deviation
        assert float(draws[name].std()) == pytest.approx(deviation, rel=0.2)
    if method == "laplace":
        assert found.solved
        assert found.log_evidence == pytest.approx(grid.log_evidence, abs=0.05)
    elif method == "svi":
        assert grid.log_evidence - 0.5 < found.log_evidence < grid.log_evidence + 0.1
    else:
        assert np.isnan(found.log_evidence)


def test_intervals_cover_at_their_level():
    """Tastes and temperatures drawn from their priors: 80 % intervals hold 80 % of them."""
    rng, inside = np.random.default_rng(5), []
    for k in range(40):
        taste, tau = rng.normal(), np.exp(0.5 * rng.normal())
        found = vsg.infer_opponent(
            Tastes(),
            "rat",
            watch_rat(taste, tau, 100, k),
            temperature=TAU,
            restarts=0,
            samples=150,
        )
        for site, truth in (("taste", taste), ("temperature", tau)):
            low, high = found.interval(site, 0.8)
            inside.append(float(low) < truth < float(high))
    assert 80 * 0.8 - 11 < sum(inside) < 80 * 0.8 + 11


@pytest.mark.slow
def test_simulation_based_calibration_of_nuts():
    """Ranks of the truth among thinned draws are uniform (Talts et al. 2018)."""
    rng, ranks = np.random.default_rng(3), []
    features = torch.zeros(2, 3, 2).double()  # what an arm's number is worth in each room
    features[0, :, 0] = features[1, :, 1] = torch.arange(3)
    for k in range(102):
        worth = rng.normal(size=2)
        found = vsg.infer_opponent(
            TASTES,
            "rat",
            watch(worth, 10, 100 + k),
            reward=LinearReward(TASTES, "rat", features),
            temperature=1.0,
            method="nuts",
            samples=25,
            warmup=30,
            seed=k,
        )
        draws = found.posterior["weights.rat"][::5].numpy()  # five of them
        ranks.append((draws < worth).sum(0))
    for found in np.stack(ranks, 1):
        counts = np.bincount(found, minlength=6)
        assert counts.sum() == 102 and len(counts) == 6
        assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("x", [320, 44])
@pytest.mark.parametrize("empirical", [True, False])
def test_the_rationality_of_goeree_and_holt_is_gambits(x, empirical):
    """Asymmetric matching pennies; a flat prior's mode is the maximum of the likelihood."""
    rows = np.array([[x, 40.0], [40.0, 80.0]])
    cols = np.array([[40.0, 80.0], [80.0, 40.0]])
    counts = ((24, 1), (4, 21)) if x == 320 else ((2, 23), (20, 5))
    game = pygambit.Game.from_arrays(rows, cols)
    data = game.mixed_strategy_profile()
    for player, seen in zip(game.players, counts, strict=True):
        for strategy, n in zip(player.strategies, seen, strict=True):
            data[strategy] = n
    theirs = pygambit.qre.logit_estimate(data, use_empirical=empirical)

    table = vsg.from_arrays(torch.tensor(np.stack([rows, cols]))[:, None], agents=("row", "col"))
    seen = vsg.Observations(table)
    zeros = torch.zeros(25, dtype=torch.long)
    actions = {
        agent: torch.tensor([0] * n + [1] * m)
        for agent, (n, m) in zip(table.agents, counts, strict=True)
    }
    seen.add(states=zeros, times=zeros, actions=actions)
    frequencies = {
        agent: torch.tensor([n]).double() / 25
        for agent, n in zip(table.agents, counts, strict=True)
    }
    found = vsg.infer_opponent(
        table,
        table.agents,
        seen,
        reward="program",
        temperature=vsg.Flat(20.0, positive),
        others=frequencies if empirical else "equilibrium",
        samples=10,
    )
    assert found.solved
    for agent, player in zip(table.agents, game.players, strict=True):
        assert 1 / found.temperatures[agent] == pytest.approx(theirs.lam, rel=1e-4)
        laws = [float(theirs.profile[s]) for s in player.strategies]
        np.testing.assert_allclose(found.policies[agent][0, 0].numpy(), laws, atol=1e-4)


def observed(dense, seed=0):
    """Counts of every action drawn at random, as observations of a dense game."""
    rng = np.random.default_rng(seed)
    table = dense.table()
    seen = vsg.Observations(table)
    for i, agent in enumerate(table.agents):
        counts = rng.integers(0, 5, seen.counts[agent].shape) * (
            np.broadcast_to(dense.priors[i], seen.counts[agent].shape) > 0
        )
        seen.counts[agent] += torch.tensor(counts)
    return table, seen


def density(model, values=None):
    """log p(play | unknowns): the factor alone."""
    conditioned = poutine.condition(model, data=values or {})
    return float(poutine.trace(conditioned).get_trace().nodes["play"]["fn"].log_factor)


SHAPES = {
    "one-shot": dict(sizes=(2, 3), states=1, horizon=1),
    "discounted": dict(sizes=(2, 2), states=2, horizon=None, zeros=True),
    "time-dependent": dict(sizes=(2, 2), states=2, horizon=3, timed=True, zeros=True),
    "three agents": dict(sizes=(2, 2, 2), states=2, horizon=2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_likelihood_of_levels_of_thinking(shape, level):
    """Level 0 is the prior; each level responds softly to the one below, at its temperature."""
    dense = random_dense(0, **SHAPES[shape])
    table, seen = observed(dense)
    taus = [0.4, 0.9, 0.6][: len(table.agents)]
    laws = list(dense.priors)
    for _ in range(level):
        laws = [np.exp(soft_policy(dense, laws, i, tau)[0]) for i, tau in enumerate(taus)]
    expected = sum(
        log_likelihood(seen.counts[agent].numpy(), soft_policy(dense, laws, i, taus[i])[0])
        for i, agent in enumerate(table.agents)
    )
    temperatures = dict(zip(table.agents, taus, strict=True))
    model = vsg.PlayModel(
        table, table.agents, seen, temperature=temperatures, others=level, reward="program"
    )
    assert density(model) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reward", ["program", "welfare"])
@pytest.mark.parametrize("lapse", [0.0, 0.2])
def test_likelihood_against_observed_others(shape, reward, lapse):
    dense = random_dense(1, **SHAPES[shape])
    table, seen = observed(dense)
    laws = []
    for i, agent in enumerate(table.agents):
        counts = seen.counts[agent].numpy() + dense.sizes[i] * dense.priors[i]
        laws.append(counts / counts.sum(-1, keepdims=True))
    wanted = dense
    if reward == "welfare":
        wanted = replace(dense, rewards=[sum(dense.rewards)] * len(dense.rewards))
    law = np.exp(soft_policy(wanted, laws, 1, 0.7)[0])
    with np.errstate(divide="ignore"):
        log = np.log((1 - lapse) * law + lapse * dense.priors[1])
    log = np.broadcast_to(log, seen.counts[table.agents[1]].shape)
    model = vsg.PlayModel(table, table.agents[1], seen, temperature=0.7, reward=reward, lapse=lapse)
    expected = log_likelihood(seen.counts[table.agents[1]].numpy(), log)
    assert density(model) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shape", ["one-shot", "discounted"])
def test_likelihood_in_equilibrium(shape):
    dense = random_dense(2, **SHAPES[shape])
    table, seen = observed(dense)
    logs = soft_equilibrium(table, [0.9, 0.9])
    expected = sum(
        log_likelihood(seen.counts[agent].numpy(), log[0].numpy())
        for agent, log in zip(table.agents, logs, strict=True)
    )
    model = vsg.PlayModel(
        table, table.agents, seen, temperature=0.9, others="equilibrium", reward="program"
    )
    assert density(model) == pytest.approx(expected, abs=1e-8)


def test_likelihood_against_policies_that_are_given():
    dense = random_dense(3, **SHAPES["discounted"])
    table, seen = observed(dense)
    laws = random_laws(dense, 3)
    others = {table.agents[1]: torch.tensor(laws[1][0])}
    model = vsg.PlayModel(
        table, table.agents[0], seen, temperature=0.7, reward="program", others=others
    )
    log = soft_policy(dense, laws, 0, 0.7)[0]
    expected = log_likelihood(seen.counts[table.agents[0]].numpy(), log)
    assert density(model) == pytest.approx(expected, abs=1e-8)


def test_missing_actions_count_nothing():
    seen = vsg.Observations(vsg.tabulate(StagHunt()))
    states = torch.tensor([0, 0, 1, 1, 0])
    seen.add(states=states, actions={"row": torch.tensor([0, 1, 1, -1, -1])})
    only = vsg.Observations(vsg.tabulate(StagHunt()))
    only.add(states=states[:3], actions={"row": torch.tensor([0, 1, 1])})
    one, two = (
        density(vsg.PlayModel(StagHunt(), "row", play, reward="program", temperature=0.8))
        for play in (seen, only)
    )
    assert one == pytest.approx(two, abs=1e-12)
    assert one < 0


def test_recovers_a_discount_a_slip_and_a_law():
    """Everything unknown at once; much data, and the truth within four deviations."""
    truth = {"patience": real(0.8), "taste": real(1.5)}
    solution = vsg.nash(vsg.given(SampledDiscount(), truth), temperature=0.3)
    plays = solution.simulate(400, steps=10, seed=1)
    found = vsg.infer_opponent(SampledDiscount(), "rat", plays, temperature=0.3, samples=300)
    assert found.solved
    for site, value in truth.items():
        draws = found.posterior[site]
        assert float(draws.std()) < 0.15
        assert abs(float(draws.mean() - value)) < 4 * float(draws.std())
    policy = solution.policies["rat"]
    torch.testing.assert_close(found.policy, policy, rtol=0, atol=0.05)


@pytest.mark.parametrize("program", [Everywhere, Timed, Parameters])
def test_the_mode_is_where_nothing_is_steeper(program):
    """Programs with unknowns of all kinds: the joint density falls in random directions."""
    table = TableFamily(program()).table
    seen = vsg.Observations(table)
    rng = np.random.default_rng(0)
    for agent, prior in zip(table.agents, table.log_priors, strict=True):
        counts = torch.tensor(rng.integers(0, 9, seen.counts[agent].shape)).double()
        seen.counts[agent] += counts * (prior[0] > -torch.inf)
    found = vsg.infer_opponent(program(), table.agents[0], seen, temperature=0.8, samples=20)
    model = vsg.PlayModel(program(), table.agents[0], seen, temperature=0.8)
    space = Unconstrained(model)
    at = space.pack(
        {name: space.transforms[name](value) for name, value in _mode(found, model).items()}
    )
    least = space(at)[0]
    assert float(space(at)[1].abs().max()) < 1e-3 * (1 + abs(least))
    for _ in range(10):
        away = at + 0.05 * torch.tensor(rng.normal(size=len(at)))
        assert space(away)[0] > least - 1e-9


def _mode(found, model):
    pyro.set_rng_seed(0)
    space, x, *_ = find_mode(model)
    mode = space.constrained(x)
    with torch.no_grad():
        logs = poutine.block(poutine.condition(model, data=mode))()
    agent = found.agents[0]
    policy = found.policies[agent].reshape(logs[agent].shape)
    torch.testing.assert_close(policy, logs[agent].exp(), rtol=0, atol=1e-5)
    return mode


def test_a_program_that_is_not_taped_has_the_same_posterior():
    """`Branch` cannot be taped; above zero its law is a logistic one, in closed form."""
    table = TableFamily(Branch()).table
    seen = vsg.Observations(table)
    seen.counts["rat"][0] += torch.tensor([[2.0, 8.0], [3.0, 7.0], [1.0, 9.0]]).double()
    model = vsg.PlayModel(Branch(), "rat", seen, temperature=1.0)
    for taste in (0.3, 1.2):
        # the reward and what comes next are alike in all states: taste for going on
        expected = sum(
            n * np.log(1 / (1 + np.exp(sign * taste))) for n, sign in ((6.0, 1), (24.0, -1))
        )
        assert density(model, {"taste": real(taste)}) == pytest.approx(expected, abs=1e-9)
    trace = poutine.trace(model).get_trace()
    sites = {name for name in trace.nodes if not name.startswith("_")}
    assert sites == {"taste", "play"}


def test_temperatures_by_agent_and_lapses_are_sites():
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(60, steps=10)
    found = vsg.infer_opponent(
        StagHunt(),
        ("row", "col"),
        plays,
        reward="program",
        temperature={"row": TAU, "col": 1.0},
        lapse=dist.Beta(real(1.0), real(9.0)),
        samples=200,
    )
    assert sorted(found.posterior) == ["lapse", "temperature.row"]
    assert found.temperatures["col"] == 1.0
    low, high = found.interval("temperature.row", 0.99)
    assert float(low) < 1.0 < float(high)
    lapse = found.posterior["lapse"]
    assert bool(((lapse > 0) & (lapse < 1)).all())


def test_a_lapse_leaves_what_is_not_available_alone():
    dense = random_dense(0, (3, 2), 2, None, zeros=True)
    table, seen = observed(dense)
    found = vsg.infer_opponent(
        table, table.agents[0], seen, reward="program", temperature=0.5, lapse=0.1
    )
    policy = found.policy
    assert float(policy[0, 0]) == 0.0
    assert bool((policy[0, 1:] > 0.01).all())
    both = {table.agents[0]: found.guide(), table.agents[1]: torch.full((2, 2), 0.5)}
    plays = simulate(table, both, 50, steps=5)  # refuses what is not available
    assert not bool(((plays.states == 0) & (plays.actions[table.agents[0]] == 0)).any())


def test_a_known_lapse_is_recovered():
    """Half the choices are random; a lapse with a prior finds that, without one τ takes it."""
    dense = Dense(
        [np.array([[[0.0, 1.0, 4.0]]])], np.ones((1, 1, 3, 1)), [np.full((1, 1, 3), 1 / 3)], 1.0, 1
    )
    table = dense.table()
    seen = vsg.Observations(table)
    law = 0.5 * softmax(np.array([0.0, 1.0, 4.0]) / 0.5) + 0.5 / 3
    seen.counts["agent1"][0, 0] += torch.tensor(3000 * law)
    found = vsg.infer_opponent(
        table, "agent1", seen, reward="program", temperature=0.5, lapse=dist.Beta(real(1.0), 1.0)
    )
    draws = found.posterior["lapse"]
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(draws.std()) < 0.03


def test_a_reward_table_is_recovered_as_a_policy():
    """Rewards are identified up to constants: the policy is what is compared."""
    truth = vsg.nash(StagHunt(), temperature=1.0)
    plays = truth.simulate(300, steps=20, seed=2)
    for reward in ("action", "joint", None):
        found = vsg.infer_opponent(StagHunt(), "col", plays, reward=reward, samples=50)
        torch.testing.assert_close(found.policy, truth.policies["col"], rtol=0, atol=0.06)
        statistics = found.statistics()
        assert 0.9 < statistics["explained"] <= 1.0
        assert statistics["best_log_loss"] <= statistics["log_loss"]


def test_statistics_by_hand():
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(30, steps=5, seed=3)
    found = vsg.infer_opponent(StagHunt(), "col", plays, reward="program", temperature=1.0)
    counts = found.counts["col"][0].numpy()
    policy = found.policy.numpy()
    n = counts.sum()
    often = counts / counts.sum(-1, keepdims=True)
    loss = -(counts * np.log(policy)).sum() / n
    best = -sum(c * np.log(p) for c, p in zip(counts.flat, often.flat, strict=True) if c) / n
    statistics = found.statistics("col")
    assert statistics["actions"] == n == 150
    assert statistics["log_loss"] == pytest.approx(loss)
    assert statistics["best_log_loss"] == pytest.approx(best)
    assert statistics["prior_log_loss"] == pytest.approx(np.log(2))
    assert statistics["explained"] == pytest.approx((np.log(2) - loss) / (np.log(2) - best))
    hits = sum(counts[s, policy[s].argmax()] for s in range(2))
    assert statistics["accuracy"] == pytest.approx(hits / n)


def test_prediction_and_intervals_of_a_game_with_a_horizon():
    """Each time has its own prediction, of the state by label."""
    dense = random_dense(4, **SHAPES["time-dependent"])
    table, seen = observed(dense)
    agent = table.agents[1]
    found = vsg.infer_opponent(table, agent, seen, reward="program", temperature=TAU, samples=100)
    assert found.policy.shape == (3, 2, 2)
    for t in range(3):
        for s in range(2):
            rows = found.predict(s, t=t)
            for k, (p, low, high) in enumerate(rows.values()):
                assert p == pytest.approx(float(found.policy[t, s, k]))
                draws = found.policy_draws[agent][:, t, s, k]
                assert low == pytest.approx(float(draws.quantile(0.05)))
                assert high == pytest.approx(float(draws.quantile(0.95)))
    with pytest.raises(GameError, match="times below 3"):
        found.predict(0, t=3)
    with pytest.raises(GameError, match="no unknown 'taste'"):
        found.interval("taste")
    with pytest.raises(GameError, match="level"):
        found.interval("temperature", 1.0)
    with pytest.raises(GameError, match="was not explained"):
        found.predict(0, "agent1")


def test_policies_are_those_of_the_draws():
    """Each draw of the policies is the soft response at the draw of the unknowns."""
    seen = watch_rat(1.0, 1.0, 50, 0)
    found = vsg.infer_opponent(Tastes(), "rat", seen, temperature=TAU, samples=30)
    for k in range(30):
        taste, tau = (float(found.posterior[site][k]) for site in ("taste", "temperature"))
        expected = softmax(np.outer([1.0, taste], np.arange(3)) / tau)
        np.testing.assert_allclose(found.policy_draws["rat"][k, 0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("method", ["laplace", "svi", "nuts"])
def test_a_seed_repeats_and_leaves_no_trace(method):
    """Generators and parameters of torch, Pyro, NumPy and Python stay as they were."""
    seen = watch_rat(1.0, 1.0, 50, 0)
    pyro.get_param_store()["mine"] = torch.tensor(3.0)
    runs = []
    for before, seed in ((11, 0), (22, 0), (22, 1)):
        pyro.set_rng_seed(before)
        state = pyro.util.get_rng_state()
        found = vsg.infer_opponent(
            Tastes(),
            "rat",
            seen,
            temperature=TAU,
            method=method,
            seed=seed,
            samples=8,
            warmup=8,
            steps=10,
        )
        runs.append(found)
        assert bool((torch.get_rng_state() == state["torch"]).all())
        assert random.getstate() == state["random"]
        assert bool((np.random.get_state()[1] == state["numpy"][1]).all())
        assert list(pyro.get_param_store().keys()) == ["mine"]
    one, two, three = (torch.cat([x.reshape(-1) for x in r.posterior.values()]) for r in runs)
    assert bool((one == two).all())
    assert not bool((one == three).all())
    assert runs[0].log_evidence == runs[1].log_evidence or method == "nuts"


def test_nothing_to_infer():
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(5, steps=5)
    for method in ("laplace", "svi", "nuts"):
        found = vsg.infer_opponent(
            StagHunt(), "col", plays, reward="program", temperature=1.0, method=method
        )
        assert found.solved and found.posterior == {}
        model = vsg.PlayModel(StagHunt(), "col", plays, reward="program", temperature=1.0)
        assert found.log_evidence == pytest.approx(density(model))
        assert found.predict(0)["STAG"][0] == pytest.approx(float(found.policy[0, 0]))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"agent": "nobody"}, "no agent 'nobody'"),
        ({"agent": ()}, "name each once"),
        ({"agent": ("row", "row")}, "name each once"),
        ({"play": [[(0, {"row": 0})]]}, "no action of 'col' was seen"),
        ({"reward": "wealth"}, "no reward model is named 'wealth'"),
        ({"reward": 3.0}, "is a float"),
        ({"reward": torch.zeros(3, 2, 2)}, r"gives the shape \(3, 2, 2\); expected \(1, 2, 2\)"),
        ({"reward": lambda table: torch.zeros(2)}, r"gives the shape \(2,\)"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": {"row": 1.0}}, "no temperature is given for 'col'"),
        ({"temperature": {"cy": 1.0, "col": 1.0}}, "no agent 'cy'"),
        ({"temperature": "prior"}, "temperature is 'prior'.*a number, or its prior"),
        ({"temperature": torch.ones(2)}, "temperature is tensor"),
        ({"temperature": dist.Poisson(1.0)}, "a law of whole numbers"),
        ({"temperature": dist.LogNormal(torch.zeros(2), 1.0)}, "a law of several numbers"),
        ({"lapse": dist.Bernoulli(0.1)}, "prior of the lapse is a law of whole numbers"),
        ({"lapse": dist.Normal(0.1, 1.0)}, "prior of the lapse allows what is not between 0 and 1"),
        ({"temperature": dist.Normal(1.0, 1.0)}, "prior of the temperature allows"),
        ({"reward": lambda table: None}, "gives None, not a tensor"),
        ({"reward": {"cy": "program", "col": "program"}}, "no agent 'cy'"),
        ({"reward": lambda table: pyro.module("net", torch.nn.Linear(1, 1))}, "own weights"),
        ({"lapse": 1.0}, "lapse is 1"),
        ({"lapse": -0.1}, "lapse is -0.1"),
        ({"others": "friends"}, "act by 'friends'"),
        ({"others": -1}, "think -1 steps"),
        ({"others": True}, "think True steps"),
        ({"others": {}}, "no policy is given for 'row'"),
        ({"others": {"row": torch.ones(2, 2)}}, "'row'"),
        ({"method": "guess"}, "method is 'guess'"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 3, "method": "nuts", "temperature": TAU}, "NUTS needs 4"),
    ],
)
def test_errors(arguments, match):
    game = PrisonersDilemma()
    given = {
        "agent": "col",
        "play": [[(0, {"row": 0, "col": 1})]],
        "reward": "program",
        **arguments,
    }
    agent, play = given.pop("agent"), given.pop("play")
    with pytest.raises(GameError, match=match):
        vsg.infer_opponent(game, agent, play, **given)


def test_a_mean_field_game_is_told():
    with pytest.raises(GameError, match="BeachBar is a mean-field game.*facing"):
        vsg.infer_opponent(BeachBar(), "bather", [])


def test_an_action_that_is_not_available_is_told():
    table = random_dense(0, (3, 2), 2, None, zeros=True).table()
    with pytest.raises(GameError, match="play 0 in state 0, where.*not available"):
        vsg.infer_opponent(table, table.agents[0], [[(0, {table.agents[0]: 0})]])


def test_parameters_of_a_reward_are_unknowns():
    """As those of the game's program are: the answer is that of a flat prior, by any method."""
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(50, steps=5)
    gain = torch.tensor([[[0.0, 1.0]]]).double()
    start = torch.tensor(0.3).double()

    class Module(PyroModule):
        def __init__(self):
            super().__init__()
            self.pay = PyroParam(start.clone(), constraint=positive)

        def forward(self, table):
            return self.pay * gain

    def infer(reward, method="laplace"):
        return vsg.infer_opponent(
            StagHunt(),
            "col",
            plays,
            reward=reward,
            method=method,
            samples=100,
            steps=300,
            learning_rate=0.1,
        )

    flat = infer(lambda table: pyro.sample("pay", vsg.Flat(0.3, positive)) * gain)
    with pyro.get_param_store().scope():
        for reward in (
            lambda table: pyro.param("pay", start, constraint=positive) * gain,
            lambda table: pyro.param("pay", lambda: start, constraint=positive) * gain,
            Module(),
        ):
            found = infer(reward)
            assert found.log_evidence == pytest.approx(flat.log_evidence)
            torch.testing.assert_close(found.policy, flat.policy)
        climbed = infer(reward, "svi")
        assert set(climbed.posterior) == {"pay"}
        torch.testing.assert_close(climbed.policy, flat.policy, atol=0.05, rtol=0)


def test_a_program_in_single_precision_converges():
    class Rat:
        agents, horizon = ("rat",), 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            taste = pyro.sample("taste", dist.Normal(0.0, 1.0))
            arm = vsg.act("rat", dist.Categorical(torch.ones(3)))
            vsg.optimality("rat", taste * torch.tensor([0.0, 0.3, 1.0])[arm])
            return state

    seen = vsg.Observations(TableFamily(Rat()).table)
    seen.counts["rat"][0, 0] += torch.tensor([21_000.0, 29_000.0, 50_000.0])
    found = vsg.infer_opponent(Rat(), "rat", seen, temperature=1.0, samples=20)
    assert found.solved, found.message
    assert abs(found.diagnostics["gradient"]) > 1e-4  # or this tests nothing


def test_too_many_unknowns_for_laplace_are_told_before_the_search():
    def never(table):
        nonlocal runs
        runs += 1
        many = pyro.sample("r", dist.Normal(torch.zeros(4000), 1.0).to_event(1))
        return many[:2].reshape(1, 1, 2)

    runs, plays = 0, [[(0, {"col": 1})]]
    with pytest.raises(GameError, match="4,000 unknowns.*method='map'"):
        vsg.infer_opponent(PrisonersDilemma(), "col", plays, reward=never, temperature=1.0)
    assert runs < 50


def test_guides_of_any_kind():
    """Classes with and without a start, classes partly applied; a single point has no evidence."""

    class Plain(AutoNormal):
        def __init__(self, model):
            super().__init__(model)

    plays = [[(0, {"col": 1})]] * 20

    def infer(guide):
        return vsg.infer_opponent(
            PrisonersDilemma(), "col", plays, method="svi", guide=guide, samples=5, steps=30
        )

    for guide in (Plain, partial(AutoNormal, init_scale=0.01), AutoLowRankMultivariateNormal):
        assert np.isfinite(infer(guide).log_evidence)
    point = infer(AutoDelta)
    assert np.isnan(point.log_evidence) and "log joint density" in point.message


def test_gradients_of_the_model_by_differences():
    """The joint density of a stochastic game whose discount and reward are unknown."""
    table = TableFamily(SampledDiscount()).table
    seen = vsg.Observations(table)
    seen.counts["rat"] += torch.tensor([[[3.0, 5.0], [1.0, 4.0], [2.0, 9.0]]]).double()
    space = Unconstrained(vsg.PlayModel(SampledDiscount(), "rat", seen, temperature=TAU))
    x = torch.tensor([0.3, -0.4, 0.2]).double()
    gradient = space(x)[1]
    for k in range(3):
        step = torch.zeros(3).double()
        step[k] = 1e-5
        slope = (space(x + step)[0] - space(x - step)[0]) / 2e-5
        assert float(gradient[k]) == pytest.approx(slope, abs=1e-6 * (1 + abs(slope)))


def test_the_modelled_policy_is_a_soft_response():
    """What comes back obeys Eq. 5 at the reward and temperature that come back."""
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(20, steps=10)
    found = vsg.infer_opponent(StagHunt(), "col", plays, samples=5)
    table = vsg.tabulate(StagHunt())
    seen = vsg.Observations.of(table, plays)
    wanted = replace(table, rewards=(table.rewards[0], found.reward[None]))
    laws = [seen.smoothed(agent, 2.0) for agent in table.agents]
    log = soft_response(wanted, laws, 1, found.temperatures["col"])
    torch.testing.assert_close(log[0, 0].exp(), found.policy, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("program", "method"),
    [
        (program, method)
        for program in (*PROGRAMS, *ESCAPES)
        for method in ("laplace", "svi", "nuts")
        # flat priors of a product: NUTS walks far along what the data leave free
        if (program, method) != (Parameters, "nuts")
    ],
)
def test_every_program_goes_through_every_method(program, method):
    """With all of torch's warnings each time, not once a process, and all of them errors."""
    table = TableFamily(program()).table
    seen = vsg.Observations(table)
    agent = table.agents[0]
    seen.counts[agent] += 3.0 * (table.log_priors[0][0] > -torch.inf)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        found = vsg.infer_opponent(
            program(), agent, seen, method=method, samples=4, warmup=2, steps=3, restarts=0
        )
    finally:
        torch.set_warn_always(always)
    drawn = {name: x.shape[1:] for name, x in found.posterior.items() if name != "temperature"}
    assert drawn == {name: x.shape for name, x in values_of(program, 0).items()}
    assert bool(torch.isfinite(found.policy).all())
    torch.testing.assert_close(found.policy.sum(-1), torch.ones_like(found.policy[..., 0]))


@pytest.mark.parametrize("others", ["observed", "equilibrium", 1])
def test_an_agent_that_always_does_the_same(others):
    """The colder, the likelier: a prior holds the temperature, and a flat one lets it fall."""
    table = vsg.from_arrays(
        torch.tensor([[[[3.0, 2.0], [1.0, 0.0]]], [[[1.0, 0.0], [1.0, 0.0]]]]).double()
    )
    seen = vsg.Observations(table)
    seen.counts["agent1"][0, 0, 0] += 20

    def infer(prior):
        return vsg.infer_opponent(
            table,
            "agent1",
            seen,
            reward="program",
            temperature=prior,
            others=others,
            samples=5,
        )

    found = infer(TAU)  # its first action gains two, whatever the other does
    grid = np.linspace(-4.0, 2.0, 60_001)
    joint = -20 * np.log1p(np.exp(-2 / np.exp(grid))) + stats.norm.logpdf(grid, scale=0.5)
    assert found.solved
    assert np.log(found.temperatures["agent1"]) == pytest.approx(grid[joint.argmax()], abs=1e-3)
    if others != "equilibrium":
        assert float(infer(vsg.Flat(1.0, positive)).policy[0, 0, 0]) > 0.999


def test_a_reward_program_may_be_shared_by_agents():
    """One unknown for both, as for one agent whose play is the play of both."""
    plays = vsg.nash(StagHunt(), temperature=1.0).simulate(30, steps=5)

    def reward(table):
        return pyro.sample("w", dist.Normal(0.0, 1.0)) * table.rewards[0][0]

    model = vsg.PlayModel(StagHunt(), ("row", "col"), plays, reward=reward, temperature=1.0)
    trace = poutine.trace(model).get_trace()
    assert [name for name in trace.nodes if not name.startswith("_")] == ["w", "play"]
    found = vsg.infer_opponent(
        StagHunt(), ("row", "col"), plays, reward=reward, temperature=1.0, samples=20
    )
    assert set(found.posterior) == {"w"}


def test_svi_that_is_still_climbing_says_so():
    plays = vsg.nash(GridGame(size=2), temperature=0.5).simulate(30, steps=10)
    short, long = (
        vsg.infer_opponent(
            GridGame(size=2), "a", plays, method="svi", samples=5, steps=steps, temperature=0.5
        )
        for steps in (100, 1500)
    )
    assert short.status == "not converged" and "still rising" in short.message
    assert long.log_evidence > short.log_evidence + 1
