"""Public signals on tables: against tables of programs that have such a signal."""

from itertools import product

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl.bellman import following
from vsg_ppl.game import call
from vsg_ppl.signal_table import (
    base_states,
    check_only_a_signal,
    folded,
    signal_labels,
    signal_rows,
    signal_size,
    with_law,
    with_signal,
)
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


class Signalled:
    """A game whose step first draws a public signal by a law σ(ω|s) (H|1, S, Ω)."""

    def __init__(self, game, states, law):
        self.game, self.states, self.law = game, states, law
        self.agents, self.initial, self.name = game.agents, game.initial, "signalled"
        self.discount = getattr(game, "discount", None)
        self.horizon = getattr(game, "horizon", None)

        self.step = self._always if self.horizon is None else self._at

    def _always(self, state):
        return self._at(state, 0)

    def _at(self, state, t):
        law = self.law[t if len(self.law) > 1 else 0, self.states.index(state)]
        vsg.signal("signal0", dist.Categorical(law))
        return call(self.game.step, state, t=t)


def dense(table: Table):
    """Everything with all its dimensions, and the transitions over all states."""
    times, n, sizes = table.horizon or 1, len(table.states), table.sizes
    laws = table.probabilities
    if table.successors is None:
        full = laws.expand(1, times, n, *sizes, n)
    else:
        shape = (times, n, *sizes, laws.shape[-1])
        where = table.successors.expand(shape)
        full = torch.zeros(times, n, *sizes, n, dtype=torch.float64)
        full = full.scatter_add(-1, where, laws[0].expand(shape))[None]
    for i, prior in enumerate(table.log_priors):  # of actions that nobody can take nothing is said
        free = (prior > -torch.inf).reshape(*prior.shape[:3], *[1] * i, -1, *[1] * (len(sizes) - i))
        full = full * free
    return {
        "states": table.states.values,
        "initial": table.initial,
        "transitions": full[:, : max(times - 1, 1)] if table.horizon != 1 else full[:, :0],
        **{
            f"{what} {i}": x.expand(1, times, n, *(sizes if what == "reward" else sizes[i : i + 1]))
            for what, xs in (("reward", table.rewards), ("prior", table.log_priors))
            for i, x in enumerate(xs)
        },
        "law": table.signal_law.expand(times, -1, -1),
        "reachable": torch.ones(times, n, dtype=torch.bool)
        if table.reachable is None
        else table.reachable,
    }


def check_same(one: Table, other: Table):
    """The same game where it can get: rows of states that do not occur are nobody's."""
    ours, theirs = dense(one), dense(other)
    assert torch.equal(ours["reachable"], theirs["reachable"])
    for part, x in ours.items():
        y = theirs[part]
        if part.startswith(("reward", "prior", "transitions")):
            seen = ours["reachable"][: x.shape[1]]
            x, y = x[0][seen], y[0][seen]
        if part == "law":
            seen = ours["reachable"].unflatten(1, (-1, x.shape[-1])).any(-1)
            x, y = x[seen], y[seen]
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12, msg=lambda m, part=part: f"{part} {m}")
    assert one.signals == other.signals and one.horizon == other.horizon


def some_law(states, times, size, seed, zeros):
    """σ (times, states, size)."""
    random = np.random.default_rng(seed)
    law = random.dirichlet(np.ones(size), (times, states))
    if zeros:
        law = law * (random.random(law.shape) < 0.6)
        law[..., 0] += law.sum(-1) == 0
    return torch.from_numpy(law / law.sum(-1, keepdims=True))


def plain(game):
    """Without signals of its own."""
    return not any(kind == "signal" for kind, *_ in game.spec.order)


@settings(max_examples=40)
@given(games(outcomes=12), st.integers(1, 3), st.integers(0, 2**32), st.booleans())
def test_a_signal_added_is_as_one_in_the_program(game, size, seed, timed):
    assume(plain(game))
    table = tabulate(game)
    times = table.horizon if timed and table.horizon else 1
    law = some_law(len(table.states), times, size, seed, zeros=table.horizon is not None)
    program = Signalled(game, table.states, law)
    program.name = table.name
    known = tabulate(program)
    added = with_signal(table, size, "signal0")
    assert added.signals == (("signal0", size),) and signal_size(added) == size
    uniform = Signalled(game, table.states, torch.full((1, len(table.states), size), 1 / size))
    check_same(added, tabulate(uniform))
    check_same(with_law(added, law), known)
    # a law that is replaced leaves nothing behind
    other = some_law(len(table.states), 1, size, seed + 1, zeros=False)
    check_same(with_law(with_law(added, other), law), known)


@settings(max_examples=40)
@given(games(), st.integers(0, 2**32), st.booleans())
def test_the_law_of_a_programs_signals(game, seed, timed):
    """Rewards, priors and chance may read it; the new law is drawn in its place."""
    assume(not plain(game))
    table = tabulate(game)
    check_same(with_law(table, table.signal_law), table)
    size, states = signal_size(table), base_states(table)
    times = table.horizon if timed and table.horizon else 1
    law = some_law(len(states), times, size, seed, zeros=False)
    found = with_law(table, law)
    torch.testing.assert_close(
        found.probabilities.sum(-1),
        table.probabilities.sum(-1).expand_as(found.probabilities.sum(-1)),
    )
    # the values of a step ahead, by the law and by hand
    values = torch.rand(1, len(table.states), 2, dtype=torch.float64)
    ahead = law[min(1, len(law) - 1)][..., None] * values.reshape(len(states), size, 2)
    expected = following(folded(table), ahead.sum(1)[None])
    torch.testing.assert_close(
        following(found, values), expected.expand_as(following(found, values))
    )


@settings(max_examples=40)
@given(games(), st.integers(1, 3))
def test_folded_forgets_the_next_signal(game, size):
    table = tabulate(game)
    if plain(game):
        assert folded(table) is table
        table = with_signal(table, size)
    omega = signal_size(table)
    base = len(table.states) // omega
    assert len(base_states(table)) == base
    values = torch.rand(1, base, 1, dtype=torch.float64)
    both = values.repeat_interleave(omega, 1)
    for t in range(table.times):
        torch.testing.assert_close(following(folded(table), values, t), following(table, both, t))


def test_base_states_are_the_labels_without_signals():
    soccer = tabulate(models.Soccer(rows=2, columns=3))
    added = with_signal(soccer, 2)
    assert list(base_states(added)) == list(soccer.states)
    assert list(added.states)[:2] == [(soccer.states[0], {"signal": k}) for k in range(2)]


class TwoLights:
    """Two signals, the second of which follows the first, of different kinds."""

    agents, horizon = ("ann", "bob"), 2

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        sun = vsg.signal("sun", dist.Bernoulli(torch.tensor([0.25, 0.5]).double()[state]))
        weights = torch.tensor([[1.0, 2.0, 3.0], [3.0, 3.0, 0.0]]).double()
        moon = vsg.signal("moon", dist.Categorical(weights[sun.long()]))
        ann, bob = (vsg.act(a, dist.Categorical(torch.ones(2))) for a in self.agents)
        vsg.optimality("ann", (ann == bob) * 1.0 + sun)
        vsg.optimality("bob", (ann != bob) * 1.0 + moon)
        return (ann + bob) % 2


def test_two_signals_have_a_joint_law():
    table = tabulate(TwoLights())
    assert table.signals == (("sun", 2), ("moon", 3)) and signal_size(table) == 6
    first = [0.75 * w for w in (1 / 6, 2 / 6, 3 / 6)] + [0.25 * w for w in (0.5, 0.5, 0.0)]
    second = [0.5 * w for w in (1 / 6, 2 / 6, 3 / 6)] + [0.5 * w for w in (0.5, 0.5, 0.0)]
    expected = torch.tensor([first, second], dtype=torch.float64)
    torch.testing.assert_close(table.signal_law, expected.expand_as(table.signal_law))
    drawn = [f"sun={s}, moon={m}" for s, m in product(range(2), range(3))]
    assert signal_labels(table) == drawn
    rows = signal_rows(table)
    assert [row["state"] for row in rows[:2]] == [0, 1]
    assert rows[1]["probabilities"] == pytest.approx(dict(zip(drawn, second, strict=True)))
    assert [row.get("t") for row in rows] == ([None] * 2 if len(rows) == 2 else [0, 0, 1, 1])


def test_of_all_sizes_the_first_state_is_drawn_with_the_first_signal():
    table = with_signal(tabulate(models.Chicken()), 3)
    law = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64)
    assert with_law(table, law).initial.tolist() == [[0.5, 0.25, 0.25]]
    assert table.initial.sum() == pytest.approx(1.0)


# --- What is refused -----------------------------------------------------------------------------


def test_a_second_signal_is_refused():
    with pytest.raises(vsg.GameError, match="has a public signal already: sun, moon"):
        with_signal(tabulate(TwoLights()), 2)


class Reader:
    """Something reads the signal."""

    agents, discount = ("ann",), 0.5

    def __init__(self, what):
        self.what = what

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        sun = vsg.signal("sun", dist.Categorical(torch.ones(2)))
        flag = {self.what: sun}
        weights = torch.tensor([[1.0, 1.0], [1.0, 2.0]])
        ann = vsg.act("ann", dist.Categorical(weights[flag.get("the priors", 0)]))
        vsg.optimality("ann", 1.0 * ann + flag.get("the rewards", 0))
        return (ann + flag.get("the next state", 0)) % 2


@pytest.mark.parametrize("what", ["the priors", "the rewards", "the next state"])
def test_a_signal_that_matters_is_not_to_be_chosen(what):
    with pytest.raises(vsg.GameError, match=f"{what} of a step read the public signal") as said:
        check_only_a_signal(tabulate(Reader(what)))
    assert 'signal="given"' in str(said.value)


def test_a_signal_that_is_only_seen_may_be_chosen():
    check_only_a_signal(tabulate(Reader("nothing")))
    check_only_a_signal(with_signal(tabulate(models.Soccer(rows=2, columns=3)), 3))
