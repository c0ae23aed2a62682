"""Steps of Eq. 4, the games of single states, and the definitions behind them."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.nash import random_policies
from vsg_ppl.reading import read_policies
from vsg_ppl.vpg import Stage, natural_step, residual, soft_scores, soft_values

INF = float("inf")


def table_of(seed=0, sizes=(2, 3), states=3, **shape):
    """A random stochastic game with priors that are not uniform and an action that is not there."""
    random = np.random.default_rng(seed)
    rewards = random.random((len(sizes), states, *sizes))
    transitions = random.dirichlet(np.ones(states), (states, *sizes))
    table = vsg.from_arrays(rewards, transitions, **(shape or {"discount": 0.8}))
    priors = [random.dirichlet(np.ones(size), states) for size in sizes]
    priors[-1][0, -1] = 0.0
    priors[-1] /= priors[-1].sum(-1, keepdims=True)
    return replace(
        table, log_priors=tuple(torch.tensor(prior).log()[None, None] for prior in priors)
    )


def logs_of(table, seed=0):
    return [policy.log() for policy in read_policies(table, random_policies(table, seed))]


# --- Eq. 4 ---------------------------------------------------------------------------------------

weights = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)
numbers = st.lists(st.floats(-50.0, 50.0), min_size=3, max_size=3)


@given(weights, numbers, weights, st.floats(0.01, 1.0))
def test_natural_step_is_equation_4(policy, q, prior, beta):
    """π' ∝ π^{1−β} (u exp(Q / τ))^β, literally."""
    policy, q, prior = (torch.tensor(x, dtype=torch.float64) for x in (policy, q, prior))
    policy, prior = policy / policy.sum(), prior / prior.sum()
    expected = policy ** (1 - beta) * (prior * q.exp()) ** beta
    found = natural_step(policy.log(), prior.log() + q, beta).exp()
    torch.testing.assert_close(found, expected / expected.sum(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("beta", [0.3, 1.0, torch.tensor([[0.3], [1.0]]).double()])
def test_what_is_not_available_is_not_played(beta):
    policy = torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.9, 0.1]]).double()
    scores = torch.tensor([[-INF, 1e9, 0.0], [-INF, 0.0, -1e9]]).double()
    found = natural_step(policy.log(), scores, beta).exp()
    expected = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_only_a_whole_step_leaves_a_pure_policy():
    """π^{1−β} keeps zeros for every β < 1: the natural gradient stays on the face."""
    pure, scores = torch.tensor([0.0, -INF]).double(), torch.tensor([0.0, 3.0]).double()
    assert natural_step(pure, scores, 0.99).exp().tolist() == [1.0, 0.0]
    torch.testing.assert_close(natural_step(pure, scores, 1.0).exp(), scores.softmax(-1))


# --- Def. 5.1 ------------------------------------------------------------------------------------


def play_out(table, logs, temperature, entropy, steps):
    """V^i by adding up Σ_t γ^t ( r^i − τ divergence ) over ``steps``, from each state: (S, N)."""
    policies = [log[0, 0].exp() for log in logs]
    priors = [prior[0, 0] for prior in table.log_priors]
    law = table.probabilities[0, 0]
    for policy in policies:
        law = torch.einsum("sa...,sa->s...", law, policy)
    costs = torch.stack(
        [
            torch.special.xlogy(policy, policy / prior.exp().clamp_min(1e-300)).sum(-1)
            for policy, prior in zip(policies, priors, strict=True)
        ],
        -1,
    )
    paid = {"own": costs, "joint": costs.sum(-1, keepdim=True), "none": 0.0}[entropy]
    pay = torch.stack([torch.einsum("sab,sa,sb->s", r[0, 0], *policies) for r in table.rewards], -1)
    stream, where = pay - temperature * paid, torch.eye(len(law), dtype=torch.float64)
    total = torch.zeros_like(stream)
    for t in range(steps):
        total = total + table.discount**t * where @ stream
        where = where @ law
    return total


@pytest.mark.parametrize("entropy", ["own", "joint", "none"])
def test_soft_values_add_up_rewards_and_entropy(entropy):
    table = table_of()
    logs = logs_of(table)
    found = soft_values(table, logs, 0.3, entropy)[0, 0]
    expected = play_out(table, logs, 0.3, entropy, 250)  # 0.8^250 < 1e-24
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    table = table_of(discount=0.9, horizon=4)
    logs = [log[:, :1].expand(-1, 4, -1, -1) for log in logs]  # the same at all times
    found = soft_values(table, logs, 0.3, entropy)[0]
    for t in range(4):
        expected = play_out(table, logs, 0.3, entropy, 4 - t)
        torch.testing.assert_close(found[t], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [{"discount": 0.8}, {"discount": 0.9, "horizon": 3}])
def test_scores_are_log_prior_and_expected_payoff(shape):
    """log u^i + E_{a^{-i}}[ r^i + γ E V^i(s') ] / τ, entry by entry."""
    table = table_of(**shape)
    logs = logs_of(table)
    values = torch.tensor(np.random.default_rng(3).random((1, table.horizon or 1, 3, 2)))
    scores = soft_scores(table, logs, values, 0.3)
    for t in range(table.horizon or 1):
        ahead = values[0, t if table.horizon is None else t + 1 : t + 2 or None]
        for i, (mine, other) in enumerate([(0, 1), (1, 0)]):
            for s in range(3):
                for a in range(table.sizes[mine]):
                    mean = 0.0
                    for b in range(table.sizes[other]):
                        joint = (a, b) if i == 0 else (b, a)
                        q = table.rewards[i][(0, 0, s, *joint)]
                        if len(ahead):
                            law = table.probabilities[(0, 0, s, *joint)]
                            q = q + table.discount * (law @ ahead[0][:, i])
                        mean += float(logs[other][0, t, s, b].exp() * q)
                    expected = float(table.log_priors[i][0, 0, s, a]) + mean / 0.3
                    assert float(scores[i][0, t, s, a]) == pytest.approx(expected, abs=1e-12)


def test_residual_looks_where_play_can_be():
    """Not at states that cannot occur at a time; and it is each game's own in a batch."""
    game = models.Thermostat()
    table = vsg.tabulate(game)
    assert not table.reachable.all()
    logs = logs_of(table)
    scores = [log.clone() for log in logs]
    assert residual(logs, scores, table).tolist() == pytest.approx([0.0], abs=1e-15)
    t, s = (~table.reachable).nonzero()[0]
    scores[0][0, t, s] += torch.tensor([5.0, 0.0, 0.0])
    assert residual(logs, scores, table).tolist() == pytest.approx([0.0], abs=1e-15)
    t, s = table.reachable.nonzero()[-1]
    scores[0][0, t, s] += torch.tensor([5.0, 0.0, 0.0])
    off = (scores[0][0, t, s].softmax(-1) - logs[0][0, t, s].exp()).abs().max()
    assert residual(logs, scores, table).tolist() == pytest.approx([float(off)])

    batch = vsg.from_arrays(torch.rand(2, 2, 1, 2, 2), batched=True)
    even = torch.full((2, 1, 1, 2), -log(2.0), dtype=torch.float64)
    scores = [even, even.clone()]
    scores[1][1, 0, 0] = torch.tensor([0.0, -INF])
    assert residual([even, even], scores, batch).tolist() == [0.0, 0.5]


# --- the games of single states -------------------------------------------------------------------


def errors(stage, logs, temperature):
    """Each state's largest |π − softmax(scores)|, and whether all rows are policies."""
    worst = torch.zeros(logs[0].shape[2], dtype=torch.float64)
    for log_policy, score in zip(logs, stage.scores(logs, temperature), strict=True):
        policy = log_policy.exp()
        torch.testing.assert_close(policy.sum(-1), torch.ones_like(policy[..., 0]))
        worst = torch.maximum(worst, (policy - score.softmax(-1)).abs().amax(-1)[0, 0])
    return worst


@pytest.mark.parametrize("how", ["solve", "settle", "follow"])
@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05])
def test_a_stage_is_solved_in_every_state(temperature, how):
    """Potential, zero-sum and general games side by side, each at its own pace."""
    random = np.random.default_rng(0)
    general, common = random.random((2, 5, 3, 3)), random.random((5, 3, 3))
    rewards = np.concatenate(
        [general, np.stack([common, common]), np.stack([common, -common])], axis=1
    )
    table = vsg.from_arrays(rewards, horizon=1)
    stage, logs = Stage(table, None), logs_of(table)
    if how == "solve":
        logs, steps = stage.solve(logs, temperature, 1e-10, 2000)
        assert 0 < steps < 2000
    else:
        logs, steps, _ = stage.settle(logs, temperature, 1e-10, 2000, follow=how == "follow")
    assert (errors(stage, logs, temperature) <= 1e-10).all()
    again, more = stage.solve(logs, temperature, 1e-10, 2000)
    assert more == 0
    assert all(torch.equal(x, y) for x, y in zip(logs, again, strict=True))


def test_what_comes_after_is_part_of_a_stage():
    """With V fixed, a stage is the one-shot game r + γ E V(s')."""
    table = table_of(discount=0.9, horizon=2)
    values = torch.tensor(np.random.default_rng(5).random((1, 3, 2)))
    ahead = torch.einsum("sabz,zn->nsab", table.probabilities[0, 0], values[0])
    rewards = torch.stack([r[0, 0] for r in table.rewards]) + 0.9 * ahead
    alone = replace(vsg.from_arrays(rewards, horizon=1), log_priors=table.log_priors)
    logs = [log[:, :1] for log in logs_of(table)]
    one, other = Stage(table, values, 0), Stage(alone, None)
    pairs = zip(one.scores(logs, 0.2), other.scores(logs, 0.2), strict=True)
    for x, y in pairs:
        torch.testing.assert_close(x, y, rtol=0, atol=1e-13)
    for entropy in ("own", "joint", "none"):
        expected = soft_values(alone, logs, 0.2, entropy)[:, 0]
        torch.testing.assert_close(one.values(logs, 0.2, entropy), expected, rtol=0, atol=1e-13)


def test_plain_steps_cycle_where_adaptive_ones_settle():
    """Biased matching pennies at τ = 0.05: whole steps of Eq. 4 go round, and so do halves."""
    table = vsg.tabulate(models.MatchingPennies(bias=9))
    stage, start = Stage(table, None), logs_of(table)
    for beta in (1.0, 0.5):
        logs = start
        for _ in range(300):
            pairs = zip(logs, stage.scores(logs, 0.05), strict=True)
            logs = [natural_step(x, y, beta) for x, y in pairs]
        assert errors(stage, logs, 0.05).max() > 0.1
    logs, steps = stage.solve(start, 0.05, 1e-10, 2000)
    assert steps < 2000
    assert errors(stage, logs, 0.05).max() <= 1e-10


def test_newtons_derivative():
    """Against automatic differentiation of log π − log softmax(scores), three agents."""
    random = np.random.default_rng(0)
    table = vsg.from_arrays(random.random((3, 2, 2, 3, 2)), horizon=1)
    stage, logs = Stage(table, None), logs_of(table)
    sizes = [log.shape[-1] for log in logs]

    def error(flat):
        parts = [part.reshape(1, 1, 1, -1) for part in flat.split(sizes)]
        aims = [score.log_softmax(-1) for score in one.scores(parts, 0.3)]
        return torch.cat([(x - y).reshape(-1) for x, y in zip(parts, aims, strict=True)])

    found, slope = stage.system(logs, 0.3)
    for s in range(2):
        one = Stage(vsg.from_arrays(torch.stack([r[0, 0, [s]] for r in table.rewards])), None)
        flat = torch.cat([log_policy[0, 0, s] for log_policy in logs])
        torch.testing.assert_close(found[0, 0, s], error(flat), rtol=0, atol=1e-13)
        expected = torch.autograd.functional.jacobian(error, flat)
        torch.testing.assert_close(slope[0, 0, s], expected, rtol=0, atol=1e-12)


def test_polish_never_makes_a_state_worse():
    """Each state is brought closer or left as it was; near an equilibrium in a few steps."""
    random = np.random.default_rng(1)
    table = vsg.from_arrays(random.random((2, 40, 3, 3)), horizon=1)
    stage, far = Stage(table, None), logs_of(table)
    before, after = (errors(stage, x, 0.02) for x in (far, stage.polish(far, 0.02, 1e-10)))
    assert (after <= before + 1e-15).all()

    logs, steps, _ = stage.settle(far, 0.1, 1e-12, 5000)
    assert steps < 5000
    noise = torch.Generator().manual_seed(0)
    near = [
        (x + 1e-2 * torch.randn(x.shape, generator=noise, dtype=x.dtype)).log_softmax(-1)
        for x in logs
    ]
    back = stage.polish(near, 0.1, 1e-12, max_steps=8)
    assert errors(stage, back, 0.1).max() <= 1e-12


def test_what_is_not_available_stays_so_in_a_stage():
    table = table_of(horizon=1)
    stage, logs = Stage(table, None), logs_of(table)
    for done in (
        stage.solve(logs, 0.05, 1e-9, 500)[0],
        stage.polish(logs, 0.05, 1e-9),
        stage.settle(logs, 1e-8, 1e-9, 100, follow=True)[0],
    ):
        assert done[1][0, 0, 0, 2] == -INF
        assert not any(x.isnan().any() for x in done)
