"""What a correlated law is worth: against all ways of disobeying it, one by one."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.models.policies import dense
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl.correlated_certificate import certify_joint, correlated_certify, product_law
from vsg_ppl.guides import ConditionalPolicy
from vsg_ppl.models import RandomGame
from vsg_ppl.nash import random_policies
from vsg_ppl.signal_table import with_law, with_signal
from vsg_ppl.tabulate import tabulate


def some_law(table, seed, horizon=None):
    """A random law of joint actions that are available, (S, A...) or (H, S, A...)."""
    random = np.random.default_rng(seed)
    shape = (*(() if horizon is None else (horizon,)), len(table.states))
    law = random.dirichlet(np.full(int(np.prod(table.sizes)), 0.5), shape)
    law = law.reshape(*shape, *table.sizes)
    for i, prior in enumerate(table.log_priors):
        free = (prior[0] > -torch.inf).numpy()
        free = free if horizon is not None else free[0]
        others = [1] * len(table.sizes)
        others[i] = table.sizes[i]
        law = law * free.reshape(*free.shape[:-1], *others)
    law += 1e-12 * (law.sum(tuple(range(len(shape), law.ndim)), keepdims=True) == 0)
    return law / law.sum(tuple(range(len(shape), law.ndim)), keepdims=True)


def one_shot(payoffs):
    return vsg.from_arrays(torch.from_numpy(payoffs[:, None]), horizon=1)


# --- One-shot games ------------------------------------------------------------------------------


def gains_by_listing(payoffs, law):
    """The gains of each agent: by the best of all swap functions, by the best external one."""
    swaps, external = [], []
    for i, values in enumerate(payoffs):
        values, told = np.moveaxis(values, i, 0), np.moveaxis(law, i, 0)
        size = len(values)
        obeyed = (told * values).sum()

        def worth(function, values=values, told=told):
            return sum((told[a] * values[b]).sum() for a, b in enumerate(function))

        swaps.append(max(map(worth, product(range(size), repeat=size))) - obeyed)
        external.append(max(0.0, max(worth([b] * size) for b in range(size)) - obeyed))
    return swaps, external


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (2, 4), (2, 3, 2)])
def test_one_shot_games(sizes, seed):
    random = np.random.default_rng(seed)
    payoffs = random.normal(size=(len(sizes), *sizes))
    law = random.dirichlet(np.full(np.prod(sizes), 0.3)).reshape(sizes)
    found = correlated_certify(one_shot(payoffs), law[None])
    swaps, external = gains_by_listing(payoffs, law)
    assert list(found.per_agent.values()) == pytest.approx(swaps, abs=1e-12)
    assert found.correlated_gap == pytest.approx(max(swaps), abs=1e-12)
    assert found.coarse_gap == pytest.approx(max(external), abs=1e-12)
    assert found.correlated_gap_worst_state == found.correlated_gap
    values = [(law * u).sum() for u in payoffs]
    assert list(found.values.values()) == pytest.approx(values)
    assert found.welfare == pytest.approx(sum(values)) and found.largest_gap == found.correlated_gap


def test_a_coarse_equilibrium_that_is_no_correlated_one():
    """Rock, paper, scissors: on the diagonal both have 0, and no fixed hand does better."""
    found = correlated_certify(models.RockPaperScissors(), (torch.eye(3) / 3)[None])
    assert found.coarse_gap == pytest.approx(0, abs=1e-12)
    assert found.correlated_gap == pytest.approx(1)  # told rock, one shows paper


def test_aumanns_mediator_and_the_best():
    for law, welfare in (([[1 / 3, 1 / 3], [1 / 3, 0]], 10), ([[0.5, 0.25], [0.25, 0]], 10.5)):
        found = correlated_certify(models.Chicken(), torch.tensor([law]))
        assert found.correlated_gap <= 1e-7 and found.welfare == pytest.approx(welfare)
    never = correlated_certify(models.Chicken(), torch.tensor([[[1.0, 0], [0, 0]]]))
    assert never.correlated_gap == pytest.approx(1) and never.coarse_gap == pytest.approx(1)


def test_shapleys_six_pairs():
    six = (1 - torch.eye(3).roll(2, 1)) / 6
    found = correlated_certify(models.Shapley(), six[None])
    assert found.correlated_gap == pytest.approx(0, abs=1e-8)
    assert found.values == pytest.approx({"row": 0.5, "col": 0.5})


# --- Stochastic games ----------------------------------------------------------------------------


def deviations(table, law, agent, coarse, steps, horizon=None):
    """The value of the best deviation by state: what was told is part of a state.

    Value iteration over (state, told action) for swaps; before one is told for external ones.
    """
    rewards, transitions = dense(table)
    values, own = np.zeros(len(table.states)), []
    prior = np.exp(table.log_priors[agent][0, 0].numpy())
    size = table.sizes[agent]
    for t in reversed(range(steps)):
        now = law if horizon is None else law[t]
        q = rewards[agent] + table.discount * transitions @ values
        fresh = np.zeros_like(values)
        for s in range(len(values)):
            told = np.moveaxis(now[s], agent, 0).reshape(size, -1)
            pays = np.moveaxis(q[s], agent, 0).reshape(size, -1)
            worth = told @ pays.T  # (told, played)
            free = prior[s] > 0
            obeyed = np.diag(worth)
            if coarse:
                fresh[s] = max(obeyed.sum(), worth.sum(0)[free].max())
            else:
                fresh[s] = np.maximum(obeyed, worth[:, free].max(1)).sum()
        values = fresh
        own.append(values)
    return np.stack(own[::-1]) if horizon is not None else values


def obeying(table, law, steps, horizon=None):
    rewards, transitions = dense(table)
    dims = tuple(range(1, 1 + len(table.sizes)))
    values, found = np.zeros((len(table.agents), len(table.states))), []
    for t in reversed(range(steps)):
        now = law if horizon is None else law[t]
        ahead = np.stack([transitions @ v for v in values])
        values = np.stack(
            [
                (now * (r + table.discount * v)).sum(dims)
                for r, v in zip(rewards, ahead, strict=True)
            ]
        )
        found.append(values)
    return np.stack(found[::-1], 1) if horizon is not None else values


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("states", "agents", "actions"), [(3, 2, 3), (2, 3, 2), (5, 2, 2)])
def test_games_without_end(states, agents, actions, seed):
    table = tabulate(RandomGame(states, agents, actions, seed=seed, discount=0.7))
    law = some_law(table, seed)
    found = correlated_certify(table, law)
    obeyed = obeying(table, law, 120)
    for coarse in (False, True):
        gains = [deviations(table, law, i, coarse, 120) - obeyed[i] for i in range(agents)]
        initial = [table.initial[0].numpy() @ gain for gain in gains]
        ours = found.coarse_gap if coarse else found.correlated_gap
        worst = found.coarse_gap_worst_state if coarse else found.correlated_gap_worst_state
        assert ours == pytest.approx(max(initial), abs=1e-9)
        assert worst == pytest.approx(np.max(gains), abs=1e-9)
        if not coarse:
            assert list(found.per_agent.values()) == pytest.approx(initial, abs=1e-9)
    assert list(found.values.values()) == pytest.approx(list(obeyed @ table.initial[0].numpy()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("timed", [True, False])
def test_games_that_end(seed, timed):
    random = np.random.default_rng(seed)
    steps, shape = 3, (4, 2, 3)
    table = vsg.from_arrays(
        torch.from_numpy(random.normal(size=(2, *shape))),
        torch.from_numpy(random.dirichlet(np.ones(4), shape)),
        discount=0.8,
        horizon=steps,
    )
    law = some_law(table, seed, steps if timed else None)
    found = correlated_certify(table, law)
    full = law if timed else np.stack([law] * steps)
    obeyed = obeying(table, full, steps, steps)
    for coarse in (False, True):
        gains = [deviations(table, full, i, coarse, steps, steps) - obeyed[i] for i in range(2)]
        initial = max(float(table.initial[0].numpy() @ gain[0]) for gain in gains)
        ours = found.coarse_gap if coarse else found.correlated_gap
        worst = found.coarse_gap_worst_state if coarse else found.correlated_gap_worst_state
        assert ours == pytest.approx(initial, abs=1e-12)
        assert worst == pytest.approx(np.max(gains), abs=1e-12)


@settings(max_examples=60)
@given(games(), st.integers(0, 2**16))
def test_of_a_product_of_policies_it_is_the_nash_certificate(game, seed):
    """Who plays alone at random is told nothing: swaps gain what one best action gains."""
    table = tabulate(game)
    policies = random_policies(table, seed)
    named = {
        agent: policy[0] if table.horizon is not None else policy[0, 0]
        for agent, policy in policies.items()
    }
    found, known = correlated_certify(table, named), vsg.certify(table, named)
    assert found.correlated_gap == pytest.approx(known.nash_gap, abs=1e-9)
    assert found.coarse_gap == pytest.approx(known.nash_gap, abs=1e-9)
    assert found.per_agent == pytest.approx(known.per_agent, abs=1e-9)
    assert found.values == pytest.approx(known.values, abs=1e-9)
    assert found.correlated_gap_worst_state == pytest.approx(known.nash_gap_worst_state, abs=1e-9)
    assert found.coarse_gap_worst_state == pytest.approx(known.nash_gap_worst_state, abs=1e-9)
    joint = product_law(table, list(policies.values()))
    assert certify_joint(table, joint).values == pytest.approx(known.values, abs=1e-9)


@settings(max_examples=60)
@given(games(), st.integers(0, 2**16))
def test_external_deviations_are_swaps(game, seed):
    table = tabulate(game)
    law = some_law(table, seed, table.horizon if table.times > 1 else None)
    found = correlated_certify(table, law)
    assert -1e-12 <= found.coarse_gap <= found.correlated_gap + 1e-12
    assert found.coarse_gap_worst_state <= found.correlated_gap_worst_state + 1e-12
    assert found.correlated_gap <= found.correlated_gap_worst_state + 1e-12


def test_a_gap_for_each_value_of_the_signal():
    """Both dare where the light is red; where it is green, one dares."""
    table = with_signal(tabulate(models.Chicken()), 2, "light")
    table = with_law(table, torch.tensor([[[0.25, 0.75]]], dtype=torch.float64))
    dare = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])[:, 0]
    follow = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = correlated_certify(table, {"row": dare, "col": follow})
    assert found.per_signal == pytest.approx({"light=0": 2.0, "light=1": 0.0})
    assert found.coarse_per_signal == pytest.approx({"light=0": 2.0, "light=1": 0.0})
    assert found.correlated_gap == pytest.approx(0.25 * 2.0)
    assert found.correlated_gap_worst_state == pytest.approx(2.0)
    assert found.to_dict()["welfare"] == pytest.approx(0.75 * 9)
    without = correlated_certify(models.Chicken(), torch.full((1, 2, 2), 0.25))
    assert without.per_signal == without.coarse_per_signal == {}


# --- What is refused -----------------------------------------------------------------------------


def test_what_does_not_fit_is_told():
    chicken, hunt = models.Chicken(), models.StagHunt()
    with pytest.raises(vsg.GameError, match=r"has shape \(2, 2\); expected \(1, 2, 2\) or \(1, 1"):
        correlated_certify(chicken, torch.full((2, 2), 0.25))
    with pytest.raises(vsg.GameError, match=r"has shape \(1, 2, 2\); expected \(2, 2, 2\)\. Try"):
        correlated_certify(hunt, torch.full((1, 2, 2), 0.25))
    with pytest.raises(vsg.GameError, match="probabilities of joint actions sum to 2, not 1"):
        correlated_certify(chicken, torch.full((1, 2, 2), 0.5))
    with pytest.raises(vsg.GameError, match="have the negative entry -0.5"):
        correlated_certify(chicken, torch.tensor([[[1.0, 0.5], [-0.5, 0.0]]]))
    with pytest.raises(vsg.GameError, match="the law of play is a str that is no array"):
        correlated_certify(chicken, "both dare")
    batch = vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), horizon=1, batched=True)
    with pytest.raises(vsg.GameError, match="of one game, and this table holds a batch"):
        correlated_certify(batch, torch.full((1, 2, 2), 0.25))


def test_actions_that_are_not_available_are_not_told():
    priors = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])]
    table = vsg.from_arrays(torch.rand(2, 1, 2, 2).double(), priors=priors, horizon=1)
    with pytest.raises(vsg.GameError, match="play 1 in state 0, where it is not available"):
        correlated_certify(table, torch.full((1, 2, 2), 0.25))
    law = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])
    assert correlated_certify(table, law).per_agent["agent1"] == 0


def test_conditional_policies_are_not_what_is_executed():
    solution = vsg.nash(models.Hedge(), temperature=0.5, factorisation="conditional")
    table = solution.table
    policies = {a: ConditionalPolicy(table, a, x) for a, x in solution.answers.items()}
    with pytest.raises(vsg.GameError, match="'row' is conditional on the others' actions"):
        correlated_certify(table, policies)
    assert correlated_certify(table, solution.policies).correlated_gap > 0


@settings(max_examples=10)
@given(st.integers(0, 2**16))
def test_scale_goes_through(seed):
    table = tabulate(RandomGame(3, 2, 2, seed=seed))
    law = some_law(table, seed)
    one = correlated_certify(table, law)
    for scale in (1e-8, 1e8):
        arrays = vsg.to_arrays(table)
        other = vsg.from_arrays(
            arrays.rewards * scale, arrays.transitions, initial=arrays.initial, discount=0.9
        )
        found = correlated_certify(other, law)
        assume(one.coarse_gap > 1e-6)
        assert found.correlated_gap == pytest.approx(one.correlated_gap * scale, rel=1e-6)
        assert found.coarse_gap == pytest.approx(one.coarse_gap * scale, rel=1e-6)
