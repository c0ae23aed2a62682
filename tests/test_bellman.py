"""The arithmetic of tables against NumPy, and its fast paths against its plain ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
import vsg_ppl.bellman
from tests.random_policies import Case
from vsg_ppl import models
from vsg_ppl.bellman import (
    _Recursion,
    action_values,
    contract,
    divergence,
    evaluate,
    occupancy,
    policy_rewards,
    solve,
    transition,
)
from vsg_ppl.game import Limited

STATES, SIZES = 3, (2, 3, 4)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, dtype=torch.float64, generator=generator)


def laws(states=STATES, sizes=SIZES, times=1):
    tensors = [draw(1, times, states, size, seed=k) for k, size in enumerate(sizes)]
    return [tensor / tensor.sum(-1, keepdim=True) for tensor in tensors]


def arrays(**ends):
    moves = draw(STATES, *SIZES, STATES)
    return vsg.from_arrays(draw(3, STATES, *SIZES), moves / moves.sum(-1, keepdim=True), **ends)


def test_averages_over_everybody():
    x, policies = draw(1, 1, STATES, *SIZES, 5), laws()
    wanted = np.einsum("sabck,sa,sb,sc->sk", x[0, 0], *(policy[0, 0] for policy in policies))
    np.testing.assert_allclose(contract(x, policies)[0, 0], wanted, atol=1e-14)


def test_averages_over_everybody_else():
    x, (a, b, c) = draw(1, 1, STATES, *SIZES), laws()
    kept = contract(x, [a, b, c], keep=1)[0, 0]
    np.testing.assert_allclose(kept, np.einsum("sabc,sa,sc->sb", x[0, 0], a[0, 0], c[0, 0]))
    two = contract(x, [a, b, c], keep=(0, 2))[0, 0]
    np.testing.assert_allclose(two, np.einsum("sabc,sb->sac", x[0, 0], b[0, 0]))


def test_averages_over_answers():
    """π^b(b | s, a, c) is averaged over before what it answers to."""
    x, (a, _, c) = draw(1, 1, STATES, *SIZES), laws()
    answer = draw(1, 1, STATES, *SIZES, seed=9)
    answer = answer / answer.sum(4, keepdim=True)
    wanted = np.einsum("sabc,sa,sabc,sc->s", x[0, 0], a[0, 0], answer[0, 0], c[0, 0])
    np.testing.assert_allclose(contract(x, [a, answer, c])[0, 0], wanted, atol=1e-14)
    spread = x[:, :, :, :, :1].expand_as(x)  # does not depend on b
    np.testing.assert_allclose(
        contract(x[:, :, :, :, :1], [a, answer, c]), contract(spread, [a, answer, c]), atol=1e-14
    )


def test_what_does_not_depend_on_an_agent_needs_no_average():
    x, policies = draw(1, 1, STATES, 2, 1, 4), laws()
    np.testing.assert_allclose(
        contract(x, policies), contract(x.expand(1, 1, STATES, *SIZES), policies), atol=1e-14
    )


@pytest.mark.parametrize("ends", [{"discount": 0.9}, {"horizon": 4}], ids=str)
def test_action_values(ends):
    """Q^i = E_{-i}[ r + γ V(s') ]; averaged over i's own policy it is V^i."""
    table, policies = arrays(**ends), laws()
    values = evaluate(table, policies, policy_rewards(table, policies, range(3)))
    for i in range(3):
        q = action_values(table, policies, values, i)
        assert q.shape == (1, table.horizon or 1, STATES, SIZES[i])
        torch.testing.assert_close((q * policies[i]).sum(-1), values[..., i], rtol=0, atol=1e-12)
    letters = "sabcn,sb,sc,n->sa"
    a, b, c = (policy[0, 0] for policy in policies)
    ahead = values[0, min(1, values.shape[1] - 1), :, 0]
    wanted = np.einsum("sabc,sb,sc->sa", table.rewards[0][0, 0], b, c)
    wanted += table.discount * np.einsum(letters, table.probabilities[0, 0], b, c, ahead)
    np.testing.assert_allclose(action_values(table, policies, values, 0)[0, 0], wanted, atol=1e-12)


@pytest.mark.parametrize("ends", [{"discount": 0.9}, {"horizon": 4, "discount": 0.7}], ids=str)
def test_visits_pay_what_values_say(ends):
    """Σ_s visits(s) r(s) = Σ_s P(s_0 = s) V(s): the two sides of the same sum."""
    table, policies = arrays(**ends), laws()
    rewards = policy_rewards(table, policies, [0])
    values = evaluate(table, policies, rewards)
    visits = occupancy(table, policies)
    paid = (visits[0] * rewards[0, 0, :, 0]).sum()
    assert float(paid) == pytest.approx(float((table.initial[0] * values[0, 0, :, 0]).sum()))
    gamma, steps = table.discount, table.horizon or 500
    assert float(visits.sum()) == pytest.approx(sum(gamma**t for t in range(steps)))


def test_divergence_with_zeros():
    """0 log 0 = 0, in values and in gradients."""
    theta = torch.tensor([0.3, -0.2, 5.0], dtype=torch.float64, requires_grad=True)
    prior = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    log = (theta + prior).log_softmax(-1)
    value = divergence(log.exp(), log, prior)
    p = np.exp([0.3, -0.2]) / np.exp([0.3, -0.2]).sum()
    assert float(value.detach()) == pytest.approx((p * np.log(2 * p)).sum())
    (slope,) = torch.autograd.grad(value, theta)
    assert torch.isfinite(slope).all() and slope[2] == 0


# --- fast paths ----------------------------------------------------------------------------------


def differentiable(case):
    """Policies with gradients, and a stream of rewards."""
    modules = {**case.others, case.agent: case.policy}
    policies = [modules[j].log_table().exp()[None] for j in case.table.agents]
    return policies, policy_rewards(case.table, policies, range(len(policies)))


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_values_over_a_horizon_do_not_depend_on_the_path(monkeypatch, discount):
    game = models.Thermostat(horizon=6)
    case = Case(game, 0)
    table = replace(case.table, discount=discount)
    found = []
    for limit in (10**6, 0):
        monkeypatch.setattr(vsg_ppl.bellman, "SMALL_STATES", limit)
        policies, rewards = differentiable(case)
        values = evaluate(table, policies, rewards)
        found.append((values, *case.gradients((values * draw(*values.shape)).sum())))
    for small, large in zip(*found, strict=True):
        torch.testing.assert_close(small, large, rtol=1e-12, atol=1e-12)
    assert found[0][1].abs().max() > 1e-3


def test_the_recursion_can_be_differentiated_twice():
    matrices = (0.3 * draw(3, 2, 4, 4)).requires_grad_()
    rewards = draw(4, 2, 4, 1, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(_Recursion.apply, (matrices, rewards))
    assert torch.autograd.gradgradcheck(_Recursion.apply, (matrices, rewards))


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.9999])
def test_iterative_solve(monkeypatch, discount):
    """As exact as a dense solve, without falling back on a factorisation, also where V ≫ r."""
    case = Case(models.GridGame(discount=discount, crash=0.3), 1)
    policies, rewards = (
        [policy.detach() for policy in differentiable(case)[0]],
        differentiable(case)[1].detach(),
    )
    dense = solve(case.table, policies, rewards)
    monkeypatch.setattr(vsg_ppl.bellman, "DENSE_STATES", 0)
    monkeypatch.setattr(vsg_ppl.bellman.scipy.sparse.linalg, "spsolve", None)
    sparse = solve(case.table, policies, rewards)
    assert (sparse - dense).abs().max() <= 1e-10 * dense.abs().max()


def test_transitions_of_policies_that_change_with_time():
    """From successors; against the law of the state that the oracle follows."""
    game = Limited(models.GridGame(size=2, start="corners"), 3)
    case = Case(game, 0)
    policies = [policy.detach() for policy in differentiable(case)[0]]
    moves = transition(case.table, policies)[0]
    everyone = {**case.functions[2], case.agent: case.functions[0]}
    law = case.table.initial[0]
    visits = case.brute.visits(everyone, 3)
    for t in range(3):
        wanted = torch.zeros(len(law), dtype=torch.float64)
        for (place, when), p in visits.items():
            if when == t:
                wanted[case.reader.rows[place]] += p
        torch.testing.assert_close(law, wanted, rtol=0, atol=1e-14)
        law = law @ moves[t]
