"""Mean-field tables: the kernel, how it is found, and what bad games are told."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_crowds import RandomCrowd, Shape, shapes
from vsg_ppl.errors import GameError
from vsg_ppl.game import is_mean_field
from vsg_ppl.mean_field_table import MeanFieldTable, Unreached
from vsg_ppl.models import BeachBar, StagHunt


def two(prior=None):
    return dist.Categorical(torch.ones(2) if prior is None else prior)


class Base:
    agents = ("one",)
    horizon = 3

    def initial(self):
        return torch.tensor(0)


@settings(max_examples=50)
@given(shapes() | shapes(stationary=True), st.integers(0, 99))
def test_kernel(shape, seed):
    """Rewards and the law of the next state, from tapes and from the program, against loops."""
    game = RandomCrowd(shape)
    table = vsg.mean_field_table(game)
    joint = table._random(seed)
    for source in (table, table.programmed()):
        kernel = source.kernel(joint)
        for t in range(table.times):
            law = joint[t].numpy()
            for s in range(law.shape[0]):
                for a in range(law.shape[1]):
                    want = game.reward(t, s, a, law)
                    assert float(kernel.rewards[t, s, a]) == pytest.approx(want, abs=1e-12)
                    out = np.zeros(len(law))
                    numbers = kernel.successors[t if len(kernel.successors) > 1 else 0, s]
                    odds = kernel.probabilities[t if len(kernel.probabilities) > 1 else 0, s]
                    numbers = numbers[a if len(numbers) > 1 else 0].tolist()
                    odds = odds[a if len(odds) > 1 else 0].tolist()
                    for k, p in zip(numbers, odds, strict=True):
                        out[k] += p
                    if shape.horizon is None or t + 1 < shape.horizon:
                        np.testing.assert_allclose(out, game.following(s, a, law), atol=1e-12)


@settings(max_examples=20)
@given(shapes())
def test_a_kernel_at_some_times_is_that_of_all(shape):
    table = vsg.mean_field_table(RandomCrowd(shape))
    joint = table._random(1)
    whole = table.kernel(joint)
    for t in range(table.times):
        part = table.kernel(joint[[t]], (t,))
        torch.testing.assert_close(part.rewards[0], whole.rewards[t])


def test_tapes_tell_whether_the_crowd_moves_anybody():
    assert not vsg.mean_field_table(BeachBar()).moving
    shape = Shape(0, 3, (2,), 3, None, True, False)
    assert vsg.mean_field_table(RandomCrowd(shape)).moving


def test_states_that_only_some_crowds_lead_to():
    """A gate opens when more than 90 % stand before it: no probe opens it, a policy does."""

    class Gate(Base):
        def step(self, place, crowd):
            walk = vsg.act("one", two())
            vsg.optimality("one", (place == 2).double())
            opened = crowd.at(1) > 0.99
            return torch.where((place == 1) & opened, 2, torch.where(place == 0, walk, place))

    table = vsg.mean_field_table(Gate())
    if len(table.states) == 2:
        walk = torch.tensor([0.0, 1.0]).expand(3, 2, 2)
        with pytest.raises(Unreached):
            vsg.mean_field_certify(table, walk)
    solution = vsg.mean_field_nash(Gate())
    assert len(solution.table.states) == 3 or solution.solved
    grown = vsg.mean_field_table(Gate(), more=torch.tensor([[1], [2]]))
    walk = torch.tensor([0.0, 1.0]).double().expand(3, 3, 2)
    # at t = 0 all walk, at 1 the gate opens, at 2 they are paid; staying behind pays nothing
    assert vsg.mean_field_certify(grown, walk).value == pytest.approx(1.0)


def test_a_step_may_branch_on_the_crowd():
    """A plain `if` on a share: the step is run time by time, without a tape."""

    class Branch(Base):
        def step(self, place, crowd):
            walk = vsg.act("one", two())
            vsg.optimality("one", -1.0 if crowd.at(1) > 0.5 else 1.0 * walk)
            return walk.expand(place.shape) if walk.ndim < place.ndim else walk

    table = vsg.mean_field_table(Branch())
    joint = table._random(0)
    rewards = table.kernel(joint).rewards
    for t in range(3):
        full = float(joint[t, 1].sum()) > 0.5
        want = [-1.0, -1.0] if full else [0.0, 1.0]
        np.testing.assert_allclose(rewards[t, 0], want)


def test_the_time_as_a_tensor_and_as_a_number_agree():
    class Timed(Base):
        def step(self, place, t, crowd):
            walk = vsg.act("one", two())
            vsg.optimality("one", torch.where(torch.as_tensor(t) == 2, 5.0 * walk, crowd.at(place)))
            return walk

    class Counted(Timed):
        def step(self, place, t, crowd):
            assert t in (0, 1, 2)  # so it must be one number
            return super().step(place, t, crowd)

    one, other = (vsg.mean_field_table(game()) for game in (Timed, Counted))
    joint = one._random(3)
    torch.testing.assert_close(one.kernel(joint).rewards, other.kernel(joint).rewards)


def test_a_table_is_its_own_table():
    table = vsg.mean_field_table(BeachBar())
    assert vsg.mean_field_table(table) is table
    assert "4 states, 3 actions, 3 decisions" in repr(table)
    assert is_mean_field(BeachBar()) and not is_mean_field(StagHunt())


def error(step, match, **more):
    game = type("Bad", (Base,), {"step": step, **more})()
    with pytest.raises(GameError, match=match):
        table = vsg.mean_field_table(game)
        table.kernel(table.even())


def test_errors_of_games():
    def good(self, place, crowd):
        vsg.act("one", two())
        vsg.optimality("one", crowd.at(place))
        return place

    error(lambda self, place: place, "does not take the crowd")
    error(good, "has 2 agents, and a mean-field game has one", agents=("one", "two"))

    def infinite(self, place, crowd):
        vsg.act("one", two())
        vsg.optimality("one", (crowd.at(place) - crowd.at(place)).log())
        return place

    error(infinite, "reward of 'one' is -inf in state 0")

    def structure(self, place, crowd):
        vsg.act("one", two())
        vsg.optimality("one", crowd.at((place, place)))
        return place

    error(structure, r"a state of structure \(integer, integer\) was given")

    def action(self, place, crowd):
        act = vsg.act("one", two())
        vsg.optimality("one", crowd.at(place, act + 1))
        return place

    error(action, "an action of 'one' that is not among its 2")

    def sites(self, place, crowd):
        vsg.act("one", two(), name="x")
        act = vsg.act("one", two(), name="y")
        vsg.optimality("one", crowd.at(place, {"x": act}))
        return place

    error(sites, "asked for the action at x, and the action sites are x, y")

    def prior(self, place, crowd):
        share = crowd.at(place).clamp(0.1, 0.9)
        walk = vsg.act("one", two(torch.stack([share, 1 - share], -1)))
        vsg.optimality("one", 1.0)
        return walk

    error(prior, "the prior of 'one' reads the crowd")

    def unpaid(self, place, crowd):
        vsg.act("one", two())
        return place

    error(unpaid, "has no optimality")

    def idle(self, place, crowd):
        vsg.optimality("one", crowd.at(place))
        return place

    error(idle, "never acts")

    def endless(self, place, crowd):
        vsg.act("one", two())
        vsg.optimality("one", crowd.at(place))
        return place + 1

    error(endless, "still has new states", horizon=None, discount=0.9)


def test_a_mean_field_game_has_no_table_without_a_crowd():
    with pytest.raises(GameError, match="its table depends on the crowd"):
        vsg.tabulate(BeachBar())
    with pytest.raises(GameError, match="its table depends on the crowd"):
        vsg.nash(BeachBar())


def test_errors_of_crowds():
    table = vsg.mean_field_table(BeachBar())
    with pytest.raises(GameError, match=r"shape \(4, 3\); expected \(3, 4, 3\)"):
        vsg.facing(table, torch.ones(4, 3))
    with pytest.raises(GameError, match="the shares of the crowd sum to 12"):
        vsg.facing(table, torch.ones(3, 4, 3))
    with pytest.raises(GameError, match="negative"):
        bad = table.even()
        bad[0, 0, 0], bad[0, 0, 1] = -0.1, bad[0, 0, 1] + bad[0, 0, 0] + 0.1
        vsg.facing(table, bad)


def test_empty_places_where_the_floor_makes_them_legal():
    """log(0 + floor) is the game's own affair; log 0 is told."""

    class Floor(Base):
        floor = 1e-20

        def step(self, place, crowd):
            walk = vsg.act("one", two())
            vsg.optimality("one", -(crowd.at(place) + self.floor).log())
            return place + 0 * walk if self.floor else walk

    table = vsg.mean_field_table(Floor())
    assert isinstance(table, MeanFieldTable)
    stay = torch.tensor([1.0, 0.0]).expand(3, len(table.states), 2)
    assert vsg.mean_field_certify(table, stay).exploitability == 0.0

    class Bare(Floor):
        floor = 0.0

    with pytest.raises(GameError, match="is inf in state 1"):
        rows = torch.tensor([1.0, 0.0]).expand(3, 2, 2)
        vsg.mean_field_certify(Bare(), rows)


def test_actions_that_are_not_available():
    class Barred(Base):
        def step(self, place, crowd):
            law = torch.stack([torch.ones(place.shape), (place == 0).float()], -1)
            walk = vsg.act("one", two(law))
            vsg.optimality("one", 3.0 * walk - crowd.at(1))
            return torch.where(place == 0, walk, place)

    solution = vsg.mean_field_nash(Barred())
    assert solution.solved
    rows = solution.policies["one"]
    assert bool((rows[:, 1, 1] == 0).all())


@pytest.mark.parametrize("timed", [False, True])
def test_states_that_grow_until_the_horizon_ends(timed):
    """A queue that only grows: states of later times have no room to grow earlier."""

    class Queue(Base):
        horizon = 6

        def grow(self, queue, crowd):
            join = vsg.act("one", two())
            vsg.optimality("one", join.double() - 2 * crowd.at(queue) - 0.1 * queue.double())
            return queue + join

        if timed:

            def step(self, queue, t, crowd):
                return self.grow(queue, crowd)

        else:

            def step(self, queue, crowd):
                return self.grow(queue, crowd)

    table = vsg.mean_field_table(Queue())
    assert len(table.states) == 6
    frozen = table.at(table.even())
    assert frozen.reachable.sum(1).tolist() == [1, 2, 3, 4, 5, 6]
    assert vsg.mean_field_nash(table).solved
