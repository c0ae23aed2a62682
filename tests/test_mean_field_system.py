"""The equations of an equilibrium: their derivative by differences, their solutions by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
import vsg_ppl.mean_field_system as module
from tests.random_crowds import RandomCrowd, random_policy, shapes
from vsg_ppl.crowd_flow import backup, flow
from vsg_ppl.mean_field_exact import newton
from vsg_ppl.mean_field_system import Indirect, Smooth, System, solve
from vsg_ppl.models import BeachBar, EquilibriumPrice, LinearQuadratic, TorusCrowd

SMOOTHS = [Smooth(temperature=0.4), Smooth(width=1e-2)]


def by_differences(system, x, smooth, step=1e-6):
    columns = [
        (system.equations(x + step * e, smooth) - system.equations(x - step * e, smooth))
        / (2 * step)
        for e in np.eye(len(x))
    ]
    return np.stack(columns, 1)


@settings(max_examples=25)
@given(shapes() | shapes(stationary=True), st.sampled_from(SMOOTHS), st.integers(0, 99))
def test_derivative(shape, smooth, seed):
    table = vsg.mean_field_table(RandomCrowd(shape))
    system = System(table)
    rng = np.random.default_rng(seed)
    x = system.point(random_policy(table, seed), smooth)
    x = x + 0.02 * np.abs(rng.normal(size=len(x)))
    errors, matrix, _ = system.linearised(x, smooth)
    np.testing.assert_array_equal(errors, system.equations(x, smooth))
    np.testing.assert_allclose(matrix.toarray(), by_differences(system, x, smooth), atol=2e-6)


@pytest.mark.parametrize("smooth", SMOOTHS)
@pytest.mark.parametrize("game", [BeachBar(), BeachBar(horizon=1), TorusCrowd(size=3, horizon=3)])
def test_derivative_where_only_the_own_state_is_read(game, smooth, monkeypatch):
    """The sparse matrix of large games is the full one of small games."""
    full = System(vsg.mean_field_table(game))
    monkeypatch.setattr(module, "FULL", 0)
    local = System(vsg.mean_field_table(game))
    assert full.full and not local.full and local.local
    x = full.point(random_policy(full.table, 3), smooth) + 0.01
    one, other = (system.linearised(x, smooth)[1].toarray() for system in (full, local))
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_who_reads_the_crowd_elsewhere_is_found_out(monkeypatch):
    monkeypatch.setattr(module, "FULL", 0)
    assert System(vsg.mean_field_table(BeachBar())).local
    assert not System(vsg.mean_field_table(LinearQuadratic())).local


@settings(max_examples=20)
@given(shapes(), st.integers(0, 99))
def test_the_derivative_by_how_far_agents_look(shape, seed):
    table = vsg.mean_field_table(RandomCrowd(shape))
    system, smooth = System(table), Smooth(width=1e-2)
    x = system.point(random_policy(table, seed), smooth)
    rates = torch.rand(system.h, generator=torch.Generator().manual_seed(seed)).double()
    rates[-1] = 0.0
    _, _, side = system.linearised(x, smooth, rates)
    weights, step, found = system.weights, 1e-6, []
    for sign in (1, -1):
        system.weights = weights + sign * step * rates
        found.append(system.equations(x, smooth))
    np.testing.assert_allclose(side, (found[0] - found[1]) / (2 * step), atol=1e-7)


@settings(max_examples=20)
@given(shapes(), st.integers(0, 99))
def test_a_point_of_a_policy_has_its_crowd_and_the_best_values(shape, seed):
    """Only the policy's own equations are left open."""
    table = vsg.mean_field_table(RandomCrowd(shape))
    system = System(table)
    policy = random_policy(table, seed)
    for smooth in SMOOTHS:
        x = system.point(policy, smooth)
        left = system.equations(x, smooth).reshape(system.h, -1)[:, system.n * system.a :]
        np.testing.assert_allclose(left, 0.0, atol=1e-12)
        torch.testing.assert_close(system.policy(x, smooth), policy)
        point = system.unpack(x)
        joint = flow(table, policy)
        torch.testing.assert_close(point.law, joint.sum(-1))
        _, _, best = backup(table, table.kernel(joint), smooth.temperature or 0.0)
        torch.testing.assert_close(point.values, best)


def test_newton_ends_at_rounding():
    system = System(vsg.mean_field_table(BeachBar()))
    for smooth in (Smooth(temperature=1.0), Smooth(width=1e-3)):
        found = newton(system, system.point(system.table.prior, smooth), smooth, 1e-13)
        assert found.off <= 1e-13 and found.steps < 20
    # π (V − Q) = ε, which is what the smoothing means
    point = system.unpack(found.x)
    joint = point.law[..., None] * point.policy
    kernel = system.table.kernel(joint)
    lack = np.zeros((3, 4, 3))
    for t in range(3):
        q = kernel.rewards[t].numpy().copy()
        if t < 2:
            p = kernel.probabilities[0].expand(4, 3, -1)
            q += (p * point.values[t + 1][kernel.successors[0]]).sum(-1).numpy()
        lack[t] = point.values[t].numpy()[:, None] - q
    np.testing.assert_allclose(point.policy.numpy() * lack / system.scale, 1e-3, rtol=1e-9)


def test_singular_systems_have_no_solution():
    import scipy.sparse as sparse

    assert solve(sparse.csc_array(np.zeros((2, 2))), np.ones(2)) is None
    matrix = sparse.csc_array(np.array([[0.0, 2.0], [3.0, 0.0]]))
    np.testing.assert_allclose(solve(matrix, np.array([4.0, 9.0])), [3.0, 2.0])


def test_logs_of_a_cooler_policy():
    system = System(vsg.mean_field_table(BeachBar()))
    policy = random_policy(system.table, 1)
    x = system.point(policy, Smooth(temperature=1.0))
    cooled = system.policy(system.cooled(x, 1.0, 0.5), Smooth(temperature=0.5))
    square = policy**2  # the prior is uniform
    torch.testing.assert_close(cooled, square / square.sum(-1, keepdim=True))


@settings(max_examples=15)
@given(shapes() | shapes(stationary=True), st.sampled_from(SMOOTHS), st.integers(0, 99))
def test_products_where_the_matrix_is_not_made(shape, smooth, seed):
    """Forward differentiation through the crowd, of what the full matrix has as entries."""
    table = vsg.mean_field_table(RandomCrowd(shape))
    full, products = System(table), System(table)
    products.full = False
    if products.local:  # one state, say
        return
    x = full.point(random_policy(table, seed), smooth) + 0.01
    one, other = (system.linearised(x, smooth)[1] for system in (full, products))
    assert isinstance(other, Indirect)
    vector = np.random.default_rng(seed).normal(size=len(x))
    np.testing.assert_allclose(other.product(vector), one @ vector, atol=1e-10)


def test_a_crowd_that_is_read_as_a_whole_and_large(monkeypatch):
    """Prices depend on everybody; the matrix is too large to make, and GMRES takes its place."""
    monkeypatch.setattr(module, "FULL", 20)
    solution = vsg.mean_field_nash(EquilibriumPrice(store=8))
    assert solution.solved and solution.certificate.exploitability < 1e-8
