"""What a step among real agents needs to know: who sees actions, and where one may be."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS, crowds
from vsg_ppl import models
from vsg_ppl.crowd_flow import flow
from vsg_ppl.finite_step import Among
from vsg_ppl.tape import record

SMALL = {name: SMALL_CROWDS.get(name, game()) for name, game in AMID_A_CROWD.items()}
SEE = ("braess", "equilibrium_price", "random_linear", "treasure_hunting")


def among(game, n=5):
    table = vsg.mean_field_table(game)
    policy = table.prior
    return Among(table, policy, flow(table, policy), n)


@pytest.mark.parametrize("name", SMALL)
def test_who_sees_what_the_crowd_does(name):
    """A step that does not see actions is the same amid crowds that act otherwise."""
    table = vsg.mean_field_table(SMALL[name])
    assert table.sees_actions == (name in SEE)
    assert table.programmed().sees_actions  # without a tape nobody knows
    shape = (table.times, len(table.states), table.actions.size)
    one = crowds(*shape)
    other = one.sum(-1, keepdim=True) * crowds(*shape, seed=1).softmax(-1) ** 3
    other = other * (one.sum(-1) / other.sum(-1))[..., None]
    kernels = [table.kernel(x) for x in (one, other)]
    apart = [
        float((getattr(kernels[0], part) - getattr(kernels[1], part)).abs().max())
        for part in ("rewards", "probabilities")
    ]
    assert (max(apart) > 1e-6) == (name in SEE)


@pytest.mark.parametrize(
    ("function", "sums"),
    [
        (lambda x: [x.sum(-1) * 2], True),
        (lambda x: [x[:1].sum(-1), x[torch.tensor([1, 0])].sum(-1)], True),
        (lambda x: [torch.ones(2)], True),
        (lambda x: [x.sum(-1) + x[..., 0]], False),
        (lambda x: [x.sum(1)], False),
        (lambda x: [x.flatten(1).sum(-1)], False),
        (lambda x: [x[:, 1:].sum(-1)], False),
        (lambda x: [x], False),
    ],
)
def test_sums_only(function, sums):
    tape = record(function, torch.rand(2, 3, 4).double())
    assert tape.sums_only(tuple(range(len(function(torch.ones(2, 3, 4)))))) == sums


def test_sums_only_asks_about_what_is_wanted():
    tape = record(lambda x: [x.sum(-1), x * 2], torch.rand(2, 3, 4).double())
    assert tape.sums_only((0,)) and not tape.sums_only((1,)) and not tape.sums_only((0, 1))


@pytest.mark.parametrize("name", [n for n in SMALL if n not in ("malware", "equilibrium_price")])
def test_nothing_hangs_on_what_is_known(name):
    """A table without tapes takes every game to see actions and to be moved by the crowd."""
    game = SMALL[name]
    if name in ("building_evacuation", "crowd_motion", "torus_crowd"):
        game = models.BeachBar(places=3, bar=0)
    if name == "random_linear":
        game = models.RandomLinear(size=2, horizon=2)
    table = vsg.mean_field_table(game)
    odds = np.random.default_rng(0).exponential(size=table.prior.shape) * np.asarray(table.prior)
    policy = torch.tensor(odds / odds.sum(-1, keepdims=True))
    for n in (1, 2):
        found = vsg.finite_nash_gap(table, policy, n, exact=True)
        plain = vsg.finite_nash_gap(table.programmed(), policy, n, exact=True)
        assert plain.value == pytest.approx(found.value, abs=1e-11)
        assert plain.gap == pytest.approx(found.gap, abs=1e-11)


@pytest.mark.parametrize("name", ["beach_bar", "susceptible_infected", "braess"])
def test_empirical_laws(name):
    one = among(SMALL[name])
    cells = torch.arange(len(one.table.states) * one.size)
    others = torch.zeros(2, len(cells)).double()
    others[0, 0], others[0, 3], others[1, 2] = 3, 1, 4
    joint = one.joint(others, cells, torch.tensor([3, 0])).flatten(1)
    assert joint[0, 0] == 3 / 5 and joint[0, 3] == 2 / 5
    assert joint[1, 2] == 4 / 5 and joint[1, 0] == 1 / 5
    torch.testing.assert_close(joint.sum(1), torch.ones(2).double())
    alone = one.joint(others * 5 / 4, cells).flatten(1)
    torch.testing.assert_close(alone, others / 4)


@pytest.mark.parametrize("name", SMALL)
def test_many_crowds_at_once(name):
    """In pieces of the same length, whatever their number."""
    one = among(SMALL[name])
    one.chunk = min(one.chunk, 4)
    shape = (len(one.table.states), one.size)
    t = one.table.times - 1
    for m in (1, 4, 6):
        joint = crowds(m, *shape)
        kernel = one.amid(t, joint)
        assert len(kernel.rewards) == m
        for k in range(m):
            alone = one.table.kernel(joint[[k]], (t,))
            torch.testing.assert_close(kernel.rewards[k], alone.rewards[0])
            law = kernel.probabilities[k if len(kernel.probabilities) > 1 else 0]
            torch.testing.assert_close(law, alone.probabilities[0])


class Corridor:
    """Only those who go on come to the next room; nobody comes back."""

    agents, horizon = ("guest",), 3

    def initial(self):
        return torch.tensor(0)

    def step(self, room, crowd):
        go = vsg.act("guest", dist.Categorical(torch.ones(2)))
        vsg.optimality("guest", -crowd.at(room))
        return (room + go).clamp_max(3)


def test_where_one_may_be():
    table = vsg.mean_field_table(Corridor())
    stay = torch.tensor([1.0, 0.0]).double().expand(3, len(table.states), 2)
    own, others = Among(table, stay, flow(table, stay), 3).support()
    assert [x.tolist() for x in own] == [[0], [0, 1], [0, 1, 2]]
    assert [x.tolist() for x in others] == [[0], [0], [0]]
    # so that any number of agents is no work at all
    found = vsg.finite_nash_gap(table, stay, 500)
    assert found.exact
    assert found.value == pytest.approx(-3)
    assert found.gap == pytest.approx(2 * (1 - 1 / 500))


def test_where_one_may_be_without_a_horizon():
    table = vsg.mean_field_table(models.Malware(levels=6))
    repair = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]).double()[None]
    own, others = Among(table, repair, flow(table, repair), 3).support()
    assert own[0].tolist() == others[0].tolist() == [0, 1, 2, 3, 4, 5]
    repair = torch.tensor([0.0, 1.0]).double().expand(1, 6, 2)
    own, others = Among(table, repair, flow(table, repair), 3).support()
    assert own[0].tolist() == [0, 1, 2, 3, 4, 5] and others[0].tolist() == [0]
