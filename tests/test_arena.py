"""`Arena` against runs of single plays."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.arena import Arena
from vsg_ppl.models import Differential, StagHunt


class Drift:
    """A walk that two agents push; chance pushes too."""

    agents = ("left", "right")
    horizon = 5

    def initial(self):
        return {"x": torch.tensor(0.0), "old": torch.tensor(0)}

    def step(self, state, t):
        left = vsg.act("left", dist.Uniform(-2.0, 1.0))
        right = vsg.act("right", dist.Uniform(torch.zeros(2), torch.tensor([1.0, 3.0])).to_event(1))
        wind = pyro.sample("wind", dist.Normal(0.0, 1.0))
        x = state["x"] + left + right.sum(-1) + wind
        vsg.optimality("left", -x)
        vsg.optimality("left", 2.0 * t, name="time")
        vsg.optimality("right", x + 0 * wind)
        return {"x": x, "old": state["old"] + 1}


def test_actions_are_stretched_and_rewards_summed():
    arena = Arena(Drift(), plays=4)
    arena.reset()
    assert arena.observe().tolist() == [[0.0, 0.0]] * 4
    left, right = torch.rand(4, 1) * 2 - 1, torch.rand(4, 2) * 2 - 1
    for t in range(3):
        before = arena.observe()[:, 0]
        paid = arena.step({"left": left, "right": right})
        x = arena.observe()[:, 0]
        assert torch.allclose(paid, torch.stack([2.0 * t - x, x], -1))
        push = (-0.5 + 1.5 * left[:, 0]) + (right + 1) @ torch.tensor([0.5, 1.5])
        wind = x - before - push
        assert len(set(wind.tolist())) == 4  # drawn for each play
    assert arena.observe()[:, 1].tolist() == [3.0] * 4


def test_what_agents_choose():
    spaces = Arena(Drift(), plays=1).spaces
    assert spaces["left"].low.tolist() == [-2.0] and spaces["left"].high.tolist() == [1.0]
    assert spaces["right"].high.tolist() == [1.0, 3.0] and spaces["right"].size == 2
    assert Arena(StagHunt(), plays=1).spaces["row"].count == 2


def test_finite_games_run_too():
    arena = Arena(StagHunt(), plays=1000)
    arena.reset()
    share = arena.observe().mean()
    table = vsg.tabulate(StagHunt())
    assert abs(share - float(table.initial[0, 1])) < 0.06
    weather = arena.observe()[:, 0].long()
    row, col = torch.randint(2, (2, 1000))
    paid = arena.step({"row": row, "col": col})
    for i in range(2):
        expected = table.rewards[i][0, 0][weather, row, col].float()
        assert torch.allclose(paid[:, i], expected)


def test_nothing_is_seen_outside():
    tracer = pyro.poutine.trace()
    with tracer:
        arena = Arena(Differential(), plays=2)
        arena.reset()
        arena.step({"first": torch.zeros(2, 1), "second": torch.zeros(2, 1)})
    assert [name for name, site in tracer.trace.nodes.items() if site["type"] == "sample"] == []


class Unbounded(Drift):
    def step(self, state, t):
        vsg.act("left", dist.Normal(0.0, 1.0))
        vsg.act("right", dist.Normal(0.0, 1.0))
        return state


class Twice(Drift):
    def step(self, state, t):
        vsg.act("left", dist.Uniform(0.0, 1.0))
        vsg.act("left", dist.Uniform(0.0, 1.0), name="again")
        return state


class Idle(Drift):
    def step(self, state, t):
        vsg.act("left", dist.Uniform(0.0, 1.0))
        return state


@pytest.mark.parametrize(
    ("game", "words"),
    [
        (Unbounded(), "the prior Normal sets no bounds to the action"),
        (Twice(), "'left' acts at two sites of a step"),
        (Idle(), "'right' of Idle does not act"),
    ],
)
def test_what_is_no_arena(game, words):
    with pytest.raises(vsg.GameError, match=words):
        Arena(game, plays=1)


def test_a_missing_action():
    arena = Arena(Differential(), plays=1)
    arena.reset()
    with pytest.raises(KeyError):
        arena.step({"first": torch.zeros(1, 1)})
