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


class By(Drift):
    """The left one acts by a prior that is given."""

    def __init__(self, prior):
        self.prior = prior

    def step(self, state, t):
        vsg.act("left", self.prior)
        vsg.act("right", dist.Uniform(0.0, 1.0))
        return state


@pytest.mark.parametrize(
    ("game", "words"),
    [
        (Unbounded(), "the prior Normal sets no bounds to the action"),
        (Twice(), "'left' acts at two sites of a step"),
        (Idle(), "'right' of Idle does not act"),
        (By(dist.Binomial(3, 0.5)), "no policy is known for actions of the prior Binomial"),
        (By(dist.Categorical(torch.ones(2, 2)).to_event(1)), "of the prior Categorical"),
        (
            By(dist.Uniform(torch.zeros(2), 1.0)),
            r"Uniform has the batch shape \(2,\). Try: .*event",
        ),
        (
            By(dist.Dirichlet(torch.ones(1))),
            "Dirichlet has one share, always 1, and leaves nothing",
        ),
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


class Pair:
    """Two who choose in an interval and are paid for it."""

    agents = ("ann", "bob")
    horizon = 3

    def __init__(self, first=0.0, low=0.0, high=1.0, after=lambda x, a: x, paid=lambda a: a):
        self.first, self.low, self.high, self.after, self.paid = first, low, high, after, paid

    def initial(self):
        first = self.first
        return pyro.sample("x", first) if isinstance(first, dist.Distribution) else first

    def step(self, x):
        low, high = (bound(x) if callable(bound) else bound for bound in (self.low, self.high))
        a = vsg.act("ann", dist.Uniform(low, high))
        b = vsg.act("bob", dist.Uniform(0.0, 1.0))
        vsg.optimality("ann", self.paid(a))
        vsg.optimality("bob", b)
        return self.after(x, a)


def run(game, plays, steps=1):
    """An arena after even steps."""
    arena = Arena(game, plays)
    arena.reset()
    for _ in range(steps):
        arena.step({agent: torch.zeros(plays, 1) for agent in arena.agents})
    return arena


def test_bounds_that_depend_on_the_state():
    """They would be those of one state that was drawn, in all others."""
    some, words = dist.Uniform(1.0, 9.0), "at site 'ann': the bounds of the actions of 'ann' depend"
    for bound in ({"high": lambda m: m}, {"low": lambda m: -m}):
        with pytest.raises(vsg.GameError, match=words):
            run(Pair(some, **bound), 4)
    with pytest.raises(vsg.GameError, match=words):
        run(Pair(0.0, high=lambda x: 1.0 + x, after=lambda x, a: x + 1), 1, steps=2)


def test_bounds_that_only_rounding_moves():
    constant = Pair(dist.Uniform(1.0, 9.0), high=lambda m: 1000 + m * (1 / m))
    assert run(constant, 50, 3).spaces["ann"].high.tolist() == pytest.approx([1001.0])


@pytest.mark.parametrize("plays", [1, 2, 3, 4])
def test_a_vector_that_nobody_draws(plays):
    """Its length is no number of plays, even where it is the same."""
    push = torch.tensor([1.0, 2.0, 4.0])
    for after in (lambda x, a: x + push * a[..., None], lambda x, a: push / 2):
        arena = Arena(Pair(torch.zeros(3), after=after), plays)
        arena.reset()
        assert arena.observe().tolist() == [[0.0, 0.0, 0.0]] * plays
        arena.step({agent: torch.zeros(plays, 1) for agent in arena.agents})
        assert arena.observe().tolist() == [[0.5, 1.0, 2.0]] * plays


def test_a_vector_that_is_drawn():
    arena = run(Pair(dist.Normal(torch.zeros(3), 1.0).to_event(1)), 3)
    assert arena.state.shape == (3, 3) and len(arena.state.unique()) == 9
    with pytest.raises(vsg.GameError, match=r"site 'x': the law Normal has the batch shape \(3,\)"):
        Arena(Pair(dist.Normal(torch.zeros(3), 1.0)), 3)


def test_states_of_another_shape():
    with pytest.raises(
        vsg.GameError, match=r"has the shape \(2, 1\) .* run side by side, not \(2,\)"
    ):
        run(Pair(after=lambda x, a: a[..., None]), 2)
    with pytest.raises(vsg.GameError, match="the step of Pair returns nothing as the next state"):
        run(Pair(after=lambda x, a: None), 2)
    once = Pair(after=lambda x, a: None)
    once.horizon = 1
    assert run(once, 2).state.tolist() == [0.0, 0.0]  # nobody looks at what comes after


def test_rewards_of_another_shape():
    with pytest.raises(
        vsg.GameError, match=r"site 'O_ann': .* 'ann' has the shape \(2, 1\) where 2"
    ):
        run(Pair(paid=lambda a: a[..., None]), 2)
    with pytest.raises(vsg.GameError, match=r"has the shape \(2,\) where 3 plays run side by side"):
        run(Pair(paid=lambda a: torch.zeros(2)), 3)


class Unpaid(Pair):
    def step(self, x):
        vsg.act("ann", dist.Uniform(0.0, 1.0))
        vsg.optimality("ann", vsg.act("bob", dist.Uniform(0.0, 1.0)))
        return x


class AtLast(Unpaid):
    """Bob is paid when all is over, if at all."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def step(self, x, t):
        if t == self.at:
            vsg.optimality("bob", 1.0)
        return super().step(x)


def test_an_agent_that_is_never_paid():
    with pytest.raises(vsg.GameError, match=r"'bob' of Unpaid has no optimality. Try: vsg.optim"):
        run(Unpaid(), 2)
    arena = run(AtLast(2), 2, steps=3)
    arena.reset()
    arena.step({agent: torch.zeros(2, 1) for agent in arena.agents})  # known to be paid
    run(AtLast(3), 2, steps=2)
    with pytest.raises(vsg.GameError, match="'bob' of AtLast has no optimality"):
        run(AtLast(3), 2, steps=3)
