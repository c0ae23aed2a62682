"""Agents who respond softly to each other: a fixed point, its derivatives, and Gambit's branch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pygambit
import pytest
import torch

import vsg_ppl as vsg
from tests.soft_brute import central, random_dense, soft_policy
from vsg_ppl.soft_equilibrium import SoftEquilibrium
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
    logs = SoftEquilibrium()(table, taus)
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
    solve = SoftEquilibrium()

    def play(chances, discount, prior, *rest):
        moved = replace(
            table,
            rewards=rest[:n],
            probabilities=chances,
            discount=discount,
            log_priors=(*table.log_priors[:-1], prior),
        )
        logs = solve(moved, rest[n:])
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
    row, col = SoftEquilibrium()(table, [tau, tau])
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
        ours = SoftEquilibrium()(table, [1 / reached] * len(sizes))
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
        SoftEquilibrium()(table, [0.2, 3.0]), SoftEquilibrium()(scaled, [1.0, 1.0]), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", ["one-shot", "three agents", "discounted", "horizon"])
def test_called_along_a_path_of_games_it_equals_called_afresh(shape):
    """Temperatures at which there is one equilibrium; priors, payoffs and transitions all move."""
    one, two = (random_dense(seed, **SHAPES[shape]).table() for seed in (11, 12))
    solve = SoftEquilibrium()
    for share in (0.0, 0.1, 0.6, 0.0) if one.horizon == 1 else (0.0, 0.1, 0.6):
        between = replace(
            one,
            rewards=tuple(
                (1 - share) * a + share * b for a, b in zip(one.rewards, two.rewards, strict=True)
            ),
            probabilities=(1 - share) * one.probabilities + share * two.probabilities,
            log_priors=tuple(
                ((1 - share) * a.exp() + share * b.exp()).log()
                for a, b in zip(one.log_priors, two.log_priors, strict=True)
            ),
            discount=0.6 - 0.3 * share,
        )
        taus = [2.0 - share] * len(one.agents)
        for warm, fresh in zip(solve(between, taus), SoftEquilibrium()(between, taus), strict=True):
            torch.testing.assert_close(warm, fresh, rtol=0, atol=1e-9)


def test_one_solver_for_games_of_several_shapes():
    solve = SoftEquilibrium()
    for sizes in [(2, 2), (3, 2), (2, 2, 2), (2, 2)]:
        table = random_dense(0, sizes, 1, 1).table()
        taus = [0.7] * len(sizes)
        for warm, fresh in zip(solve(table, taus), SoftEquilibrium()(table, taus), strict=True):
            torch.testing.assert_close(warm, fresh, rtol=0, atol=1e-9)


def test_one_solver_for_games_with_other_actions_available():
    """Payoffs of one shape, but an action that was available is not any more, and comes back."""
    open_, shut = (random_dense(0, (3, 2), 1, 1, zeros=zeros).table() for zeros in (False, True))
    solve = SoftEquilibrium()
    for table in (open_, shut, open_):
        for warm, fresh in zip(
            solve(table, [0.7, 0.7]), SoftEquilibrium()(table, [0.7, 0.7]), strict=True
        ):
            torch.testing.assert_close(warm, fresh, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tau", [0.1, 0.01, 1e-3])
def test_a_dominant_action_at_low_temperatures(tau):
    """log π is right where π itself is far below what a float can hold."""
    table = vsg.from_arrays(torch.tensor([[[[3.0, 1.0], [2.0, 0.0]]], [[[1.0, 0.0], [1.0, 0.0]]]]))
    row, col = SoftEquilibrium()(table, [tau, tau])
    for log in (row, col):  # each gains 1 by its first action, whatever the other does
        expected = -np.log1p(np.exp(-1 / tau))
        assert float(log[0, 0, 0, 0]) == pytest.approx(expected, abs=1e-12)
        assert float(log[0, 0, 0, 1]) == pytest.approx(expected - 1 / tau, rel=1e-12)


def test_a_derivative_through_states_by_the_oracle():
    """One agent alone, so that the equilibrium is the soft response that NumPy finds."""
    dense = random_dense(3, (3,), 3, None)
    reward = dense.table().rewards[0].clone().requires_grad_()
    (log,) = SoftEquilibrium()(replace(dense.table(), rewards=(reward,)), [0.5])
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
        SoftEquilibrium()(table, [tau, tau])
