"""`Arena` against runs of single plays."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.nn.functional import one_hot

import vsg_ppl as vsg
from vsg_ppl.arena import Arena
from vsg_ppl.finite_view import TableView
from vsg_ppl.game import Limited
from vsg_ppl.models import Differential, Routing, Soccer, StagHunt
from vsg_ppl.models.soccer import Pitch


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
    assert spaces["right"].high.tolist() == [1.0, 3.0] and spaces["right"].shape == ("box", 2)
    assert Arena(StagHunt(), plays=1).spaces["row"].shape == ("finite", 2)
    assert Arena(Routing("braess"), plays=1).spaces["agent2"].shape == ("simplex", 3)


def test_finite_games_run_too():
    arena = Arena(StagHunt(), plays=1000)
    arena.reset()
    share = arena.observe().mean()
    table = vsg.tabulate(StagHunt())
    assert abs(share - float(table.initial[0, 1])) < 0.06
    weather = arena.observe()[:, 0].long()
    row, col = torch.randint(2, (2, 1000))
    paid = arena.step({"row": one_hot(row), "col": one_hot(col)})
    for i in range(2):
        expected = table.rewards[i][0, 0][weather, row, col].float()
        assert torch.allclose(paid[:, i], expected)


def test_states_of_finite_games_are_vectors():
    """One 1 for each part, after which come the priors: the agent's own, then the others'."""
    game, table = Soccer(2, 2), vsg.tabulate(Soccer(2, 2))
    arena = Arena(game, plays=3)
    arena.reset()
    seen = arena.sees("b")
    assert seen.shape == (3, 4 + 4 + 3 + 5 + 5)
    a, b, ball = (part.expand(3) for part in arena.state)
    for part, at in zip(seen.split((4, 4, 3, 10), -1), (a, b, ball), strict=False):
        assert torch.equal(part, one_hot(at, part.shape[1]).float())
    everywhere = TableView(table).everywhere("b")[0]
    assert len(set(map(tuple, everywhere[:, :11].tolist()))) == len(table.states)
    assert torch.equal(everywhere[table.states.index(arena.state)], seen)
    assert torch.allclose(everywhere[:, 11:16], table.log_priors[1][0, 0].exp().float())


def test_what_is_not_available():
    """After a goal standing is all there is."""
    arena = Arena(Soccer(2, 2), plays=2)
    arena.reset()
    assert torch.allclose(arena.available("a"), torch.full((2, 5), 0.2))
    arena.state = Pitch(*map(torch.tensor, ([0, 0], [3, 0], [0, 2])))
    north, stand = (one_hot(torch.tensor([k] * 2), 5) for k in (0, 4))
    both = (arena.available("a") > 0).sum(-1).tolist()
    assert both == [5, 1]
    with pytest.raises(vsg.GameError, match="'a' takes an action that its prior says"):
        arena.step({"a": north, "b": stand})
    arena.step({"a": stand, "b": stand})


class Tempted:
    """A number that has no table opens the second action."""

    agents = ("ann", "bob")
    horizon = 4

    def initial(self):
        return torch.tensor(0.5)

    def step(self, x, t):
        closed = (x < 1).double()
        for agent in self.agents:
            k = vsg.act(agent, dist.Categorical(torch.stack([1 + 0 * x, 1 - closed], -1)))
            vsg.optimality(agent, k * x)
        return x + 0.3 + 0.01 * pyro.sample("wind", dist.Normal(0.0, 1.0))


def test_priors_without_a_table():
    """They are read off a run that leaves no trace in the stream of random numbers."""
    arena = Arena(Tempted(), plays=3)
    arena.reset()
    torch.manual_seed(1)
    assert arena.sees("ann").tolist() == [[0.5, 1.0, 0.0, 1.0, 0.0]] * 3
    first = one_hot(torch.zeros(3).long(), 2)
    for _ in range(2):
        arena.step({"ann": first, "bob": first})
    torch.manual_seed(1)
    wind = torch.stack([dist.Normal(0.0, 1.0).expand([3]).sample() for _ in range(2)]).sum(0)
    assert torch.allclose(arena.state, 1.1 + 0.01 * wind)
    assert arena.available("bob").tolist() == [[0.5, 0.5]] * 3
    assert Arena(Differential(), plays=2).available("first").shape == (2, 0)


def test_a_horizon():
    """Of a game with a table the time is seen, and after the last decision nothing goes on."""
    arena = Arena(Limited(StagHunt(), 2), plays=1)
    arena.reset()
    stay = {agent: torch.tensor([[1.0, 0.0]]) for agent in ("row", "col")}
    found = []
    for _ in range(2):
        found.append(arena.sees("row")[0, 2:4].tolist())
        arena.step(stay)
        found.append(arena.goes_on().tolist())
    assert found == [[1.0, 0.0], [[1.0, 1.0]], [0.0, 1.0], [[0.0, 0.0]]]
    assert arena.sees("row").shape == (1, 2 + 2 + 4)


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
