"""Agents who respond softly to each other: a fixed point, its derivatives, and Gambit's branch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pygambit
import pytest
import torch

import vsg_ppl as vsg
from tests.soft_brute import central, random_dense, soft_policy
from vsg_ppl.soft_equilibrium import soft_equilibrium
from vsg_ppl.soft_response import soft_response

SHAPES = {
    "one-shot": dict(sizes=(2, 3), states=1, horizon=1),
    "three agents": dict(sizes=(2, 2, 2), states=1, horizon=1),
    "two one-shots": dict(sizes=(2, 2), states=2, horizon=1, zeros=True),
    "discounted": dict(sizes=(2, 2), states=2, horizon=None),
    "zeros": dict(sizes=(3, 2), states=2, horizon=None, zeros=True),
    "horizon": dict(sizes=(2, 2), states=2, horizon=2),
    "time-dependent": dict(sizes=(2, 2), states=2, horizon=2, timed=True, zeros=True),
}
TAUS = (0.6, 1.1, 0.8)


def gambits(payoffs, rate):
    """A point of Gambit's principal branch at λ, which it reaches up to a small error."""
    game = pygambit.Game.from_arrays(*payoffs)
    point = pygambit.qre.logit_solve_lambda(game, [rate])[0]
    laws = [[float(point.profile[s]) for s in player.strategies] for player in game.players]
    return point.lam, laws


def payoffs_of(table):
    return [reward[0, 0, 0].numpy() for reward in table.rewards]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_each_policy_is_the_soft_response_to_the_others(shape, seed):
    dense = random_dense(seed, **SHAPES[shape])
    table = dense.table()
    taus = TAUS[: len(table.agents)]
    logs = soft_equilibrium(table, taus)
    laws = [log.exp() for log in logs]
    for i, (log, tau) in enumerate(zip(logs, taus, strict=True)):
        response = soft_response(table, laws, i, tau)
        torch.testing.assert_close(log, response, rtol=0, atol=1e-9)
        by_hand = soft_policy(dense, [law[0].numpy() for law in laws], i, tau)[0]
        by_hand = np.broadcast_to(by_hand, log.shape[1:])
        np.testing.assert_allclose(log[0].numpy(), by_hand, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_everything(shape):
    """Payoffs, transitions, priors, the discount and each agent's own temperature."""
    dense = random_dense(7, **SHAPES[shape])
    table, n = dense.table(), len(dense.sizes)

    def play(chances, discount, prior, *rest):
        moved = replace(
            table,
            rewards=rest[:n],
            probabilities=chances,
            discount=discount,
            log_priors=(*table.log_priors[:-1], prior),
        )
        logs = soft_equilibrium(moved, rest[n:])
        return tuple(log[log > -torch.inf] for log in logs)

    inputs = [
        table.probabilities,
        torch.tensor(dense.discount, dtype=torch.float64),
        table.log_priors[-1],
        *table.rewards,
        *[torch.tensor(tau, dtype=torch.float64) for tau in TAUS[:n]],
    ]
    inputs = [x.clone().requires_grad_() for x in inputs]
    # several states: along random directions, each entry would take a Newton step of its own
    fast = dense.horizon != 1
    assert torch.autograd.gradcheck(play, inputs, eps=1e-5, atol=1e-6, rtol=1e-6, fast_mode=fast)


def test_gradients_are_those_of_gambits_branch():
    """dπ/dτ along the branch, by differences of Gambit's points."""
    rewards = torch.tensor([[[[5.0, 1.0], [2.0, 3.0]]], [[[1.0, 4.0], [3.0, 0.0]]]]).double()
    table = vsg.from_arrays(rewards)
    tau = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    row, col = soft_equilibrium(table, [tau, tau])
    found = [
        float(torch.autograd.grad(log.exp()[..., 0].sum(), tau, retain_graph=True)[0])
        for log in (row, col)
    ]
    lows, highs = (gambits(payoffs_of(table), 1 / t) for t in (1.52, 1.48))
    for agent, slope in enumerate(found):
        rise = lows[1][agent][0] - highs[1][agent][0]
        assert slope == pytest.approx(rise / (1 / lows[0] - 1 / highs[0]), rel=2e-3)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (2, 2, 2), (3, 2, 2)])
@pytest.mark.parametrize("rate", [0.5, 2.0, 8.0])
def test_equals_gambits_principal_branch(sizes, rate):
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        shape = (len(sizes), 1, *sizes)
        table = vsg.from_arrays(torch.rand(shape, generator=generator, dtype=torch.float64))
        reached, theirs = gambits(payoffs_of(table), rate)
        ours = soft_equilibrium(table, [1 / reached] * len(sizes))
        for log, law in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(log[0, 0, 0].exp().numpy(), law, rtol=0, atol=1e-6)


def test_own_temperatures_are_scaled_payoffs():
    """An agent at temperature τ_i is one with payoffs r_i/τ_i at temperature 1."""
    table = random_dense(1, (3, 2), 1, 1).table()
    scaled = vsg.from_arrays(
        torch.stack([r[0, 0] / tau for r, tau in zip(table.rewards, (0.2, 3.0), strict=True)])
    )
    scaled = replace(scaled, log_priors=table.log_priors)
    for one, two in zip(
        soft_equilibrium(table, [0.2, 3.0]), soft_equilibrium(scaled, [1.0, 1.0]), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize("favoured", [0, 1])
def test_of_several_equilibria_it_is_the_one_of_the_principal_branch(favoured):
    """Two stag hunts in which the other meeting place pays more: no call remembers another."""
    for pays in ((9.0, 5.0), (5.0, 9.0), (9.0, 5.0))[favoured:]:
        payoff = torch.diag(torch.tensor(pays, dtype=torch.float64))
        table = vsg.from_arrays(torch.stack([payoff, payoff])[:, None])
        found = soft_equilibrium(table, [0.5, 0.5])
        path = vsg.logit_path(table, 0.5)
        for log, agent in zip(found, table.agents, strict=True):
            torch.testing.assert_close(log[0].exp(), path.policies[agent], rtol=0, atol=1e-8)
        assert found[0][0, 0, 0].argmax() == torch.tensor(pays).argmax()


@pytest.mark.parametrize("tau", [2.0, 0.4, 0.1])
def test_a_branch_that_folds_is_followed_all_the_same(tau):
    payoffs = [[[[6.0, 0.0], [5.0, 1.0]]], [[[6.0, 5.0], [0.0, 1.0]]]]
    table = vsg.from_arrays(torch.tensor(payoffs).double())
    path = vsg.logit_path(table, tau)
    for log, agent in zip(soft_equilibrium(table, [tau, tau]), table.agents, strict=True):
        torch.testing.assert_close(log[0].exp(), path.policies[agent], rtol=0, atol=1e-8)


def test_where_equilibria_meet_there_is_no_derivative():
    payoffs = [[[[6.0, 0.0], [5.0, 1.0]]], [[[6.0, 5.0], [0.0, 1.0]]]]
    with pytest.raises(vsg.GameError, match="meet at just this temperature"):
        soft_equilibrium(vsg.from_arrays(torch.tensor(payoffs).double()), [0.5, 0.5])


@pytest.mark.parametrize("tau", [0.1, 0.01, 1e-3])
def test_a_dominant_action_at_low_temperatures(tau):
    """log π is right where π itself is far below what a float can hold."""
    table = vsg.from_arrays(torch.tensor([[[[3.0, 1.0], [2.0, 0.0]]], [[[1.0, 0.0], [1.0, 0.0]]]]))
    row, col = soft_equilibrium(table, [tau, tau])
    for log in (row, col):  # each gains 1 by its first action, whatever the other does
        expected = -np.log1p(np.exp(-1 / tau))
        assert float(log[0, 0, 0, 0]) == pytest.approx(expected, abs=1e-12)
        assert float(log[0, 0, 0, 1]) == pytest.approx(expected - 1 / tau, rel=1e-12)


def test_a_derivative_through_states_by_the_oracle():
    """One agent alone, so that the equilibrium is the soft response that NumPy finds."""
    dense = random_dense(3, (3,), 3, None)
    reward = dense.table().rewards[0].clone().requires_grad_()
    (log,) = soft_equilibrium(replace(dense.table(), rewards=(reward,)), [0.5])
    (grad,) = torch.autograd.grad(log[0, 0, 1, 2], reward)

    def at(moved):
        return soft_policy(replace(dense, rewards=[moved]), dense.priors, 0, 0.5)[0][0, 1, 2]

    for place, _ in np.ndenumerate(dense.rewards[0]):
        slope = central(at, dense.rewards[0], place, 1e-3)
        assert float(grad[0][place]) == pytest.approx(float(slope), abs=1e-7)


@pytest.mark.parametrize("tau", [1e-14, 1e-300])
def test_rewards_of_too_many_temperatures_are_told(tau):
    table = random_dense(0, (2, 2), 1, 1).table()
    with pytest.raises(vsg.GameError, match="temperatures"):
        soft_equilibrium(table, [tau, tau])
