"""The crowd's flow, backups and certificates of random games against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_crowds import RandomCrowd, Shape, random_policy, shapes
from vsg_ppl.crowd_flow import backup, flow, gap, worth

TIGHT = 1e-11


def full(table, numbers):
    """A plain game's rows (H, n, ...) at the states that the table has."""
    return numbers[:, table.states.values[:, 0].numpy()]


@settings(max_examples=60)
@given(shapes(), st.integers(0, 100))
def test_flow_and_values(shape, seed):
    game = RandomCrowd(shape)
    table = vsg.mean_field_table(game)
    assert len(table.states) == shape.states  # the initial law is positive everywhere
    policy = random_policy(table, seed)
    plain = policy.numpy()
    crowds = game.crowds(plain)
    joint = flow(table, policy)
    np.testing.assert_allclose(joint, crowds, atol=TIGHT)
    kernel = table.kernel(joint)
    prior = np.full_like(plain, 1 / plain.shape[-1])
    for tau in (0.0, 0.3):
        best = game.values(crowds, None, tau, prior)
        log, q, v = backup(table, kernel, tau)
        np.testing.assert_allclose(log.exp(), best[0], atol=TIGHT)
        np.testing.assert_allclose(q, best[1], atol=TIGHT)
        np.testing.assert_allclose(v, best[2], atol=TIGHT)
        own = game.values(crowds, plain, tau, prior)
        q, v = worth(table, kernel, policy, tau)
        np.testing.assert_allclose(q, own[1], atol=TIGHT)
        np.testing.assert_allclose(v, own[2], atol=TIGHT)


@settings(max_examples=40)
@given(shapes(), st.integers(0, 100))
def test_certificate(shape, seed):
    """Exploitability and its regularised and worst-state kin, from the definition."""
    game = RandomCrowd(shape)
    table = vsg.mean_field_table(game)
    policy = random_policy(table, seed)
    plain, crowds = policy.numpy(), game.crowds(policy.numpy())
    prior = np.full_like(plain, 1 / plain.shape[-1])
    hard = [game.values(crowds, p, 0.0, prior)[2] for p in (None, plain)]
    soft = [game.values(crowds, p, 0.7, prior)[2] for p in (None, plain)]
    found = vsg.mean_field_certify(game, policy, 0.7)
    assert found.exploitability == pytest.approx(game.start @ (hard[0] - hard[1])[0], abs=TIGHT)
    assert found.regularised == pytest.approx(game.start @ (soft[0] - soft[1])[0], abs=TIGHT)
    assert found.value == pytest.approx(game.start @ hard[1][0], abs=TIGHT)
    visited = np.array([law.sum(1) > 0 for law in crowds])
    assert found.worst_state == pytest.approx(((hard[0] - hard[1]) * visited).max(), abs=TIGHT)
    joint = flow(table, policy)
    quick = gap(table, joint, table.kernel(joint), policy)
    assert quick == pytest.approx(found.exploitability, abs=TIGHT)


@settings(max_examples=25)
@given(shapes(stationary=True), st.integers(0, 100))
def test_stationary(shape, seed):
    """A crowd at rest is moved onto itself; values solve their equations."""
    game = RandomCrowd(shape)
    table = vsg.mean_field_table(game)
    policy = random_policy(table, seed)
    joint = flow(table, policy)
    law = joint[0].numpy()
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    moved = np.zeros(len(law))
    for s in range(len(law)):
        for a in range(law.shape[1]):
            moved += law[s, a] * game.following(s, a, law)
    np.testing.assert_allclose(moved, law.sum(1), atol=1e-12)
    kernel = table.kernel(joint)
    for tau in (0.0, 0.3):
        log, q, v = backup(table, kernel, tau)
        n, size = law.shape
        want = np.array(
            [
                [
                    game.reward(0, s, a, law)
                    + game.discount * game.following(s, a, law) @ v[0].numpy()
                    for a in range(size)
                ]
                for s in range(n)
            ]
        )
        np.testing.assert_allclose(q[0], want, atol=1e-9)
        if tau == 0:
            np.testing.assert_allclose(v[0], want.max(1), atol=1e-9)
        else:
            mean = np.log(np.mean(np.exp(want / tau), 1)) * tau
            np.testing.assert_allclose(v[0], mean, atol=1e-9)
        _, own = worth(table, kernel, log.exp(), tau)
        np.testing.assert_allclose(own, v, atol=1e-9)


def test_a_crowd_at_rest_is_the_one_that_the_initial_law_flows_into():
    """Two places that nobody leaves: everybody stays where they began."""

    class Islands:
        agents, discount = ("one",), 0.9

        def initial(self):
            import pyro
            import pyro.distributions as dist

            return pyro.sample("first", dist.Categorical(torch.tensor([0.25, 0.75]).double()))

        def step(self, island, crowd):
            import pyro.distributions as dist

            vsg.act("one", dist.Categorical(torch.ones(2)))
            vsg.optimality("one", -crowd.at(island))
            return island

    table = vsg.mean_field_table(Islands())
    joint = flow(table, table.prior)
    np.testing.assert_allclose(joint[0].sum(-1), [0.25, 0.75], atol=1e-7)


def test_periodic_crowds_come_to_rest():
    """A ring that everybody walks round: the law at rest is even, though the flow has a period."""

    class Ring:
        agents, discount = ("one",), 0.9

        def initial(self):
            return torch.tensor(0)

        def step(self, place, crowd):
            import pyro.distributions as dist

            vsg.act("one", dist.Categorical(torch.ones(1)))
            vsg.optimality("one", crowd.at(place))
            return (place + 1) % 5

    table = vsg.mean_field_table(Ring())
    np.testing.assert_allclose(flow(table, table.prior)[0, :, 0], 0.2, atol=1e-12)


@settings(max_examples=20)
@given(shapes(), st.integers(0, 100))
def test_the_flow_is_differentiable(shape, seed):
    table = vsg.mean_field_table(RandomCrowd(shape))
    policy = random_policy(table, seed)
    weight = random_policy(table, seed + 1)

    def total(rows):
        return (flow(table, rows) * weight).sum()

    x = policy.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(x), x)
    direction = random_policy(table, seed + 2) - policy
    step = 1e-6
    rise = (total(policy + step * direction) - total(policy - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(rise), abs=1e-7)


def test_a_table_frozen_is_the_game_facing_the_crowd():
    """`facing` tabulated state by state by the ordinary way says the same as the quick table."""
    from vsg_ppl.tabulate import Exploration

    for seed in range(5):
        shape = Shape(seed, 3, (2, 2), 3, 0.9, True, seed % 2 == 0)
        game = RandomCrowd(shape)
        table = vsg.mean_field_table(game)
        joint = flow(table, random_policy(table, seed))
        quick = table.at(joint)
        slow = Exploration(vsg.facing(game, joint), 1e9).table()
        policy = random_policy(table, seed + 9)
        one = vsg.certify(quick, {"one": policy})
        other = vsg.certify(slow, {"one": policy})
        assert one.nash_gap == pytest.approx(other.nash_gap, abs=1e-12)
        assert one.values["one"] == pytest.approx(other.values["one"], abs=1e-12)
        assert one.nash_gap == pytest.approx(
            float((quick.initial[0] * _gain(table, joint, policy)).sum()), abs=1e-12
        )


def _gain(table, joint, policy):
    kernel = table.kernel(joint)
    _, _, best = backup(table, kernel, 0.0)
    _, own = worth(table, kernel, policy)
    return best[0] - own[0]
