"""Equilibria of stochastic games put together from those of their stages, by their certificates."""

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import assume, given, settings

import vsg_ppl as vsg
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl import stagewise as module
from vsg_ppl.models import RandomGame
from vsg_ppl.stage_equilibria import Equilibria
from vsg_ppl.stagewise import fits, stagewise
from vsg_ppl.tabulate import tabulate


def few_successors(states, reached, seed, actions=3, discount=0.95):
    """A random game of two agents in which a joint action leads to few states."""
    random = np.random.default_rng(seed)
    rewards = random.random((2, states, actions, actions))
    transitions = np.zeros((states, actions, actions, states))
    for index in np.ndindex(states, actions, actions):
        there = random.choice(states, reached, replace=False)
        transitions[index][there] = random.dirichlet(np.ones(reached))
    return vsg.from_arrays(
        torch.from_numpy(rewards), torch.from_numpy(transitions), discount=discount
    )


def certified(table, found):
    policies = {
        agent: policy[0] if table.horizon is not None else policy[0, 0]
        for agent, policy in zip(table.agents, found.policies, strict=True)
    }
    return vsg.certify(table, policies)


def check(table, **options):
    """It settles, on an equilibrium from every state."""
    seen = []
    found = stagewise(table, show=seen.append, **options)
    assert found.settled
    certificate = certified(table, found)
    spread = max(float(r.max() - r.min()) for r in table.rewards) or 1.0
    assert certificate.nash_gap_worst_state <= 1e-8 * spread
    assert seen == found.history
    assert [entry["iteration"] for entry in seen] == list(range(1, len(seen) + 1))
    return found


# --- Without a horizon ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("states", "actions"), [(4, 3), (16, 4)])
def test_dense_games(states, actions, seed):
    check(tabulate(RandomGame(states, 2, actions, seed=seed, discount=0.95)))


@pytest.mark.parametrize("seed", range(2))
def test_larger_dense_games(seed):
    check(tabulate(RandomGame(64, 2, 4, seed=seed, discount=0.95)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("states", "reached"), [(50, 3), (10, 2)])
def test_few_successors(states, reached, seed):
    check(few_successors(states, reached, seed))


@pytest.mark.parametrize("seed", range(3))
def test_three_agents(seed):
    check(tabulate(RandomGame(4, 3, 2, seed=seed, discount=0.9)))


def test_one_agent_plays_the_best_there_is():
    """Against value iteration in plain NumPy."""
    random = np.random.default_rng(0)
    rewards, transitions = random.random((1, 6, 4)), random.dirichlet(np.ones(6), (6, 4))
    table = vsg.from_arrays(torch.from_numpy(rewards), torch.from_numpy(transitions), discount=0.9)
    found = check(table)
    values = np.zeros(6)
    for _ in range(500):
        q = rewards[0] + 0.9 * transitions @ values
        values = q.max(1)
    assert found.policies[0][0, 0].argmax(1).tolist() == q.argmax(1).tolist()


@pytest.mark.parametrize("name", ["stag_hunt", "asymmetric_pennies", "soccer", "chicken"])
def test_bundled_games(name):
    game = models.Soccer(rows=2, columns=3) if name == "soccer" else models.GAMES[name]()
    check(tabulate(game))


class Doors:
    """An action is missing in one state, and it would be the best."""

    agents, discount = ("ann", "bob"), 0.8

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        free = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]).double()
        ann = vsg.act("ann", dist.Categorical(free[state]))
        bob = vsg.act("bob", dist.Categorical(torch.ones(2).double()))
        pay = torch.tensor([[3.0, -1.0], [-1.0, 1.0], [9.0, 12.0]]).double()[ann, bob]
        vsg.optimality("ann", pay - state)
        vsg.optimality("bob", -pay + state * bob)
        return (ann + bob) % 2


def test_actions_that_are_not_available():
    ann, _ = check(tabulate(Doors())).policies
    assert ann[0, 0, 1, 2] == 0 and ann[0, 0, 0, 2] > 0.99


@settings(max_examples=30)
@given(games(outcomes=12, horizons=(None,)))
def test_random_programs(game):
    table = tabulate(game)
    assume(fits(table))
    found = stagewise(table)
    assert not found.settled or certified(table, found).nash_gap_worst_state <= 1e-8


# --- With a horizon ------------------------------------------------------------------------------


@settings(max_examples=30)
@given(games(outcomes=12, horizons=(1, 2, 3)))
def test_random_programs_that_end(game):
    """Rewards, laws, actions and who acts may depend on the time."""
    table = tabulate(game)
    assume(fits(table))
    found = check(table)
    assert len(found.history) == table.horizon
    for policy, prior in zip(found.policies, table.log_priors, strict=True):
        assert policy.shape[:3] == (1, table.horizon, len(table.states))
        assert (policy[(prior == -torch.inf).expand(policy.shape)] == 0).all()


@pytest.mark.parametrize("horizon", [1, 2, 7])
def test_horizons_by_induction_in_numpy(horizon):
    """With one agent."""
    random = np.random.default_rng(1)
    rewards, transitions = random.random((1, 5, 3)), random.dirichlet(np.ones(5), (5, 3))
    table = vsg.from_arrays(
        torch.from_numpy(rewards), torch.from_numpy(transitions), discount=0.9, horizon=horizon
    )
    (policy,) = check(table).policies
    values = np.zeros(5)
    for t in reversed(range(horizon)):
        q = rewards[0] + 0.9 * transitions @ values
        values = q.max(1)
        assert policy[0, t].argmax(1).tolist() == q.argmax(1).tolist()


# --- Where it starts, and how it ends ------------------------------------------------------------


def test_an_equilibrium_to_start_from_is_kept():
    """Also one that nobody would choose: both hunt hare."""
    table = tabulate(models.StagHunt())
    hare = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(1, 1, len(table.states), 2)
    found = check(table, initial=[hare, hare])
    assert all(torch.equal(policy, hare) for policy in found.policies)
    without = certified(table, check(table)).values
    assert without["row"] > certified(table, found).values["row"] + 1


def test_from_random_policies():
    table = tabulate(RandomGame(8, 2, 3, seed=1, discount=0.9))
    generator = torch.Generator().manual_seed(0)
    start = [
        torch.rand(1, 1, 8, 3, generator=generator, dtype=torch.float64).softmax(-1)
        for _ in table.agents
    ]
    before = [policy.clone() for policy in start]
    check(table, initial=start)
    assert all(map(torch.equal, start, before))  # what is given is not written to


def test_the_same_seed_gives_the_same():
    table = few_successors(50, 3, 2)
    one, other = (stagewise(table, seed=3) for _ in range(2))
    assert one.history == other.history
    assert all(map(torch.equal, one.policies, other.policies))


def test_without_time_to_settle_nothing_is_claimed():
    table = tabulate(RandomGame(16, 2, 4, seed=0, discount=0.95))
    for steps in (1, 2):
        found = stagewise(table, max_steps=steps)
        assert not found.settled and len(found.history) == steps
        assert all((policy.sum(-1) - 1).abs().max() < 1e-12 for policy in found.policies)


@pytest.mark.parametrize("horizon", [None, 2])
def test_without_equilibria_of_a_stage_nothing_is_claimed(monkeypatch, horizon):
    none = Equilibria(np.zeros((0, 6)), np.zeros((0, 3)))
    monkeypatch.setattr(module, "stage_equilibria", lambda payoffs, free: [none] * len(free))
    table = replace(tabulate(RandomGame(2, 3, 2)), horizon=horizon)
    found = stagewise(table, max_steps=60)
    assert not found.settled
    assert all((policy == 0.5).all() for policy in found.policies)


def test_a_choice_that_settles_is_the_choice_of_the_end():
    """What is chosen first, for values that are not yet right, is chosen again."""
    table = tabulate(RandomGame(4, 2, 3, seed=4, discount=0.9))
    calls = []

    def worst(found, law):
        calls.append(found)
        picked = [stage.policies[stage.payoffs.sum(1).argmin()] for stage in found]
        return np.stack(picked), law

    run = stagewise(table, worst)
    policies = torch.cat([policy[0, 0] for policy in run.policies], -1).numpy()
    again, _ = worst(calls[-1], None)
    if run.settled:
        np.testing.assert_allclose(policies, again, atol=1e-9)
        assert certified(table, run).nash_gap_worst_state <= 1e-8
    assert len(calls) >= 2


def test_a_choice_that_never_settles_is_said():
    """Each round another equilibrium; in the end one is kept, and it is one."""
    table = tabulate(models.StagHunt())
    calls = []

    def other(found, law):
        calls.append(len(calls) % 2)
        return np.stack([stage.policies[calls[-1] % len(stage)] for stage in found]), law

    run = stagewise(table, other)
    assert not run.settled and len(calls) == module.CHOSEN
    assert certified(table, run).nash_gap_worst_state <= 1e-8


def test_fits():
    assert fits(tabulate(RandomGame(64, 2, 4)))
    assert not fits(tabulate(RandomGame(2, 2, 12)))
    assert not fits(tabulate(RandomGame(1, 6, 3)))
    assert fits(tabulate(RandomGame(50, 1, 20)))
