"""Gaps among real agents: against brute force over named agents, and against closed forms."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from math import comb

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS
from tests.finite_brute import Real, blind_gap
from tests.random_crowds import RandomCrowd, Shape, shapes
from vsg_ppl import models
from vsg_ppl.crowd_flow import flow
from vsg_ppl.finite_moved import Moved, draw_alike, pick
from vsg_ppl.finite_step import Among
from vsg_ppl.mean_field_table import Kernel


class Impatient(models.BeachBar):
    """A beach with a discount."""

    discount = 0.6


EQUAL = torch.tensor([[2 / 3, 1 / 3]], dtype=torch.float64).expand(3, 2)

#: Name: game, the most agents that brute force can do.
TINY = {
    "beach_bar": (models.BeachBar(horizon=3, places=3, bar=1), 3),
    "braess": (models.Braess(), 4),
    "equilibrium_price": (
        models.EquilibriumPrice(store=1, most_made=1, most_ordered=1, horizon=2),
        3,
    ),
    "left_right": (models.LeftRight(horizon=3), 4),
    "linear_quadratic": (models.LinearQuadratic(reach=1, steer=1, horizon=3), 3),
    "random_linear": (models.RandomLinear(size=2, horizon=3, scale=2.0), 3),
    "rock_paper_scissors_crowd": (models.RockPaperScissorsCrowd(horizon=3), 3),
    "susceptible_infected": (models.SusceptibleInfected(horizon=4), 4),
    "treasure_hunting": (models.TreasureHunting(horizon=3), 3),
    "discounted": (Impatient(horizon=4, places=2, bar=1), 3),
    "discounted, moved": (RandomCrowd(Shape(4, 3, (2,), 3, 0.8, True, False)), 3),
    "two sites, run time by time": (RandomCrowd(Shape(5, 2, (2, 2), 2, None, True, True)), 2),
}


@lru_cache
def table_of(name):
    return vsg.mean_field_table(TINY[name][0])


def some_policy(table, seed, zeros=True):
    """Random probabilities of the available actions, some of them zero."""
    random = np.random.default_rng(seed)
    prior = np.asarray(table.prior)
    odds = prior * random.exponential(size=prior.shape)
    if zeros:
        some = odds * (random.uniform(size=prior.shape) < 0.6)
        odds = np.where(some.sum(-1, keepdims=True) > 0, some, odds)
    return torch.tensor(odds / odds.sum(-1, keepdims=True))


def real(name, policy, n):
    return Real(TINY[name][0], table_of(name), policy, n)


# --- exact gaps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TINY)
def test_exact_gap_is_that_of_brute_force(name, seed):
    game, most = TINY[name]
    table = table_of(name)
    policy = some_policy(table, seed)
    for n in range(1, most + 1):
        found = vsg.finite_nash_gap(table, policy, n, exact=True)
        people = real(name, policy, n)
        own, best = people.plays(), people.best()
        assert (found.n, found.exact) == (n, True)
        assert found.value == pytest.approx(own, rel=1e-10, abs=1e-10)
        assert found.gap == pytest.approx(best - own, rel=1e-9, abs=1e-9)
        assert found.low == found.gap == found.high
        # and what it says about a deviation that sees nobody else
        gains = people.plays(found.deviation) - own
        assert found.blind == pytest.approx(gains, rel=1e-9, abs=1e-9)
        assert 0 <= found.blind <= found.gap + 1e-10


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in ("left_right", "rock_paper_scissors_crowd") for seed in range(2)],
)
def test_one_agent_is_its_own_crowd(name, seed):
    """By all plans of what to do when: in these games one's state follows from the own actions."""
    game = dataclasses.replace(TINY[name][0], horizon=3)
    table = vsg.mean_field_table(game)
    pays = {"left_right": [0.0, -1.0, -2.0], "rock_paper_scissors_crowd": [0.0] * 4}[name]
    size = table.actions.size
    best = max(pays[1 + a] + pays[1 + b] for a in range(size) for b in range(size))
    found = vsg.finite_nash_gap(game, some_policy(table, seed), 1)
    assert found.value + found.gap == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("game", ["left_right", "beach_bar", "braess", "discounted"])
def test_blind_deviation_is_the_best_of_all(game, n):
    """Where the crowd moves nobody: the best of all that see their own state and the time."""
    if game == "beach_bar":
        program = models.BeachBar(horizon=2, places=3, bar=0)
    elif game == "discounted":
        program = Impatient(horizon=3, places=2, bar=0)
    else:
        program = TINY[game][0]
    table = vsg.mean_field_table(program)
    policy = some_policy(table, 5)
    people = Real(program, table, policy, n)
    last = people.horizon - 1
    best = max(
        people.plays(plan)
        for plan in people.sure()
        # what is done where does not matter is done once: the last action here pays nothing
        if game != "left_right" or (plan[last, :, 0] == 1).all()
    )
    found = vsg.finite_nash_gap(table, policy, n)
    assert found.blind == pytest.approx(best - people.plays(), abs=1e-10)


def sharp(table, seed):
    """Probabilities of the available actions, most of them near 0 or 1."""
    random = np.random.default_rng(seed)
    odds = np.asarray(table.prior) * np.exp(3 * random.standard_normal(table.prior.shape))
    return torch.tensor(odds / odds.sum(-1, keepdims=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("game", "n"),
    [
        (models.BeachBar(horizon=4, places=3, bar=0), 6),
        (Impatient(horizon=5, places=2, bar=0), 8),
        (models.CrowdMotion(rows=1, columns=3, horizon=3, every=1), 5),
        (models.Braess(), 4),
    ],
)
def test_blind_gap_against_independent_others(game, n, seed):
    table = vsg.mean_field_table(game)
    policy = sharp(table, seed)
    expected = blind_gap(game, table, policy, n, acts=isinstance(game, models.Braess))
    found = vsg.finite_nash_gap(table, policy, n, exact=True)
    assert found.blind == pytest.approx(expected, abs=1e-9)
    simulated = vsg.finite_nash_gap(table, policy, n, samples=20_000, exact=False)
    wide = simulated.high - simulated.low + 1e-9
    assert simulated.gap == pytest.approx(expected, abs=wide)


@settings(max_examples=20, deadline=None)
@given(shape=shapes(), seed=st.integers(0, 99), n=st.integers(1, 2))
def test_random_games(shape, seed, n):
    game = RandomCrowd(dataclasses.replace(shape, horizon=min(shape.horizon, 2)))
    table = vsg.mean_field_table(game)
    policy = some_policy(table, seed)
    found = vsg.finite_nash_gap(table, policy, n, exact=True)
    people = Real(game, table, policy, n)
    own = people.plays()
    assert found.value == pytest.approx(own, abs=1e-9)
    assert found.gap == pytest.approx(people.best() - own, abs=1e-9)
    assert found.blind == pytest.approx(people.plays(found.deviation) - own, abs=1e-9)


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 1000, 10_000])
def test_left_right_at_the_equilibrium(n):
    """One of the N agents makes up 1/N of the crowd, and pays for it twice as much on the right."""
    found = vsg.finite_nash_gap(models.LeftRight(), EQUAL, n)
    assert found.exact
    assert found.gap == pytest.approx(1 / (3 * n), rel=1e-9)
    assert found.deviation[0, 0].tolist() == [1.0, 0.0]
    simulated = vsg.finite_nash_gap(models.LeftRight(), EQUAL, n, exact=False, samples=20)
    assert simulated.gap == pytest.approx(1 / (3 * n), rel=1e-9)  # what is linear has no noise


@given(left=st.floats(0, 1), n=st.integers(1, 300))
def test_left_right(left, n):
    policy = torch.tensor([[left, 1 - left]], dtype=torch.float64).expand(3, 2)
    costs = [(1 + (n - 1) * left) / n, 2 * (1 + (n - 1) * (1 - left)) / n]
    own = left * costs[0] + (1 - left) * costs[1]
    found = vsg.finite_nash_gap(models.LeftRight(), policy, n)
    assert found.value == pytest.approx(-own, abs=1e-10)
    assert found.gap == pytest.approx(own - min(costs), abs=1e-10)


@given(seed=st.integers(0, 99), n=st.integers(1, 40))
def test_nobody_beats_or_loses_to_oneself(seed, n):
    """In rock, paper, scissors a share 1/N of the crowd pays nothing."""
    game = models.RockPaperScissorsCrowd()
    policy = some_policy(vsg.mean_field_table(game), seed)
    whole = vsg.mean_field_certify(game, policy).exploitability
    found = vsg.finite_nash_gap(game, policy, n)
    assert found.gap == pytest.approx((n - 1) / n * whole, abs=1e-9)


class Minority:
    """One choice; who is with fewer than half of all wins."""

    agents, horizon = ("voter",), 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state, crowd):
        side = vsg.act("voter", dist.Categorical(torch.ones(2)))
        vsg.optimality("voter", (crowd.at(state, side) < 0.5 - 1e-9).double())
        return state


def minority(p, n):
    """Chances to win on either side, of which p and 1 − p of the others choose."""

    def wins(share):
        return sum(
            comb(n - 1, k) * share**k * (1 - share) ** (n - 1 - k)
            for k in range(n)
            if 2 * (k + 1) < n
        )

    return wins(p), wins(1 - p)


@given(p=st.floats(0, 1), n=st.integers(1, 60))
def test_a_binomial_sum(p, n):
    first, second = minority(p, n)
    own = p * first + (1 - p) * second
    found = vsg.finite_nash_gap(Minority(), torch.tensor([[p, 1 - p]], dtype=torch.float64), n)
    assert found.value == pytest.approx(own, abs=1e-10)
    assert found.gap == pytest.approx(max(first, second) - own, abs=1e-10)
    assert found.blind == pytest.approx(found.gap, abs=1e-10)


@pytest.mark.parametrize(("p", "n"), [(0.4, 11), (0.45, 100), (0.3, 7), (0.49, 10_000)])
def test_a_binomial_sum_simulated(p, n):
    """A reward that jumps has slopes that say nothing, and they do not bias anything."""
    first, second = minority(p, n) if n < 1000 else normal(p, n)
    own = p * first + (1 - p) * second
    policy = torch.tensor([[p, 1 - p]], dtype=torch.float64)
    found = [
        vsg.finite_nash_gap(Minority(), policy, n, exact=False, samples=400, seed=seed)
        for seed in range(20)
    ]
    gap = max(first, second) - own
    inside = sum(one.low - 1e-12 <= gap <= one.high + 1e-12 for one in found)
    assert inside >= 16
    assert np.mean([one.value for one in found]) == pytest.approx(own, abs=0.02)


def normal(p, n):
    """`minority` for many, by exact logarithms."""
    from scipy.stats import binom

    most = (n - 1) // 2 - 1 if n % 2 else n // 2 - 2
    return binom.cdf(most, n - 1, p), binom.cdf(most, n - 1, 1 - p)


class Dominated:
    """The first action costs less whatever the crowd, which also matters."""

    agents, horizon = ("one",), 3

    def initial(self):
        return pyro.sample("first", dist.Categorical(torch.ones(2)))

    def step(self, state, crowd):
        action = vsg.act("one", dist.Categorical(torch.ones(3)))
        vsg.optimality("one", -0.1 * action.double() - crowd.at(state))
        there = pyro.sample("there", dist.Categorical(torch.ones(2)))
        return there


@pytest.mark.parametrize("n", [1, 2, 5, 40, 10_000])
@pytest.mark.parametrize("exact", [None, False])
def test_a_policy_that_dominates_has_no_gap(n, exact):
    best = torch.tensor([1.0, 0, 0]).double().expand(2, 3)
    found = vsg.finite_nash_gap(Dominated(), best, n, exact=exact, samples=50)
    assert found.gap == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(0, abs=1e-12)
    # and one that takes another action at the end loses what this costs
    worse = best.repeat(3, 1, 1)
    worse[2] = torch.tensor([0.0, 0, 1])
    found = vsg.finite_nash_gap(Dominated(), worse, n, exact=exact, samples=50)
    assert found.gap == pytest.approx(0.2, abs=1e-9)


# --- simulation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_intervals_hold_what_the_deviation_gains(name):
    """The gain of each deviation found, computed by brute force, is in 95 % of the intervals."""
    table, n = table_of(name), TINY[name][1]
    policy = some_policy(table, 2)
    people = real(name, policy, n)
    own, gains = people.plays(), {}
    inside, values = 0, []
    for seed in range(20):
        samples = 60 if table.batched else 15
        found = vsg.finite_nash_gap(table, policy, n, samples=samples, seed=seed, exact=False)
        assert not found.exact
        assert 0 <= found.low <= found.gap <= found.high
        key = found.deviation.numpy().tobytes()
        if key not in gains:
            gains[key] = people.plays(found.deviation) - own
        inside += found.low - 1e-9 <= max(0.0, gains[key]) <= found.high + 1e-9
        values.append(found.value)
    assert inside >= 16
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - own) <= 4 * error + 1e-9


@pytest.mark.parametrize("name", TINY)
def test_simulated_gap_comes_close_to_the_exact_one(name):
    """Of deviations that see their own state; where the crowd moves people, nearly so."""
    table, n = table_of(name), 3
    policy = some_policy(table, 3, zeros=False)
    exact = vsg.finite_nash_gap(table, policy, n, exact=True)
    samples = 10_000 if table.batched else 300
    found = vsg.finite_nash_gap(table, policy, n, samples=samples, exact=False)
    wide = found.high - found.low + 1e-9
    assert found.low <= exact.gap + 1e-9
    if table.moving:
        assert found.gap >= 0.9 * exact.blind - wide
    else:
        assert found.gap == pytest.approx(exact.blind, abs=wide)


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_every_bundled_game(name):
    game = SMALL_CROWDS.get(name, AMID_A_CROWD[name]())
    table = vsg.mean_field_table(game)
    policy = some_policy(table, 0, zeros=False)
    whole = vsg.mean_field_certify(table, policy).exploitability
    few = vsg.finite_nash_gap(table, policy, 2, samples=100)
    many = vsg.finite_nash_gap(table, policy, 20_000, samples=100)
    assert 0 < few.gap and few.n == 2
    assert not many.exact or name == "left_right"
    # many agents are as good as the mean field, and the gap no larger
    assert many.gap == pytest.approx(whole, rel=0.05)
    for found in (few, many):
        assert found.deviation.shape == policy.shape
        torch.testing.assert_close(found.deviation.sum(-1), torch.ones_like(policy[..., 0]))
        assert (found.deviation[table.prior == 0] == 0).all()


@pytest.mark.parametrize("name", ["beach_bar", "crowd_motion", "susceptible_infected", "malware"])
def test_gap_comes_to_the_exploitability(name):
    """Of a policy that is no equilibrium, as N grows; like 1/N."""
    game = SMALL_CROWDS.get(name, AMID_A_CROWD[name]())
    table = vsg.mean_field_table(game)
    policy = some_policy(table, 1, zeros=False)
    whole = vsg.mean_field_certify(table, policy).exploitability
    apart = [
        abs(vsg.finite_nash_gap(table, policy, n, exact=False, samples=4000).gap - whole)
        for n in (30, 1000, 30_000)
    ]
    assert apart[0] > 4 * apart[1] and apart[0] > 16 * apart[2]
    assert apart[2] < 2e-3 * whole


def test_gap_of_an_equilibrium_falls():
    """At least like 1/√N: here like 1/N, to those who see their own state only."""
    table = vsg.mean_field_table(models.BeachBar())
    solution = vsg.mean_field_nash(table, tolerance=1e-10)
    policy = solution.policies["bather"]
    found = {n: vsg.finite_nash_gap(table, policy, n) for n in (2, 5, 10, 100, 1000, 10_000)}
    assert [n for n in found if found[n].exact] == [2, 5, 10]
    gaps = [found[n].gap for n in found]
    assert gaps == sorted(gaps, reverse=True)
    for n in (100, 1000, 10_000):
        assert found[n].high * n**0.5 < found[2].gap * 2**0.5
        assert found[n].low * n < 0.3 and found[n].high * n > 0.1
    # who sees the others has more to gain
    assert found[10].gap > 2 * found[10].blind


def test_a_promise_that_needs_continuity():
    """Rounding makes the next states jump where the mean field of an equilibrium is."""
    table = vsg.mean_field_table(models.LinearQuadratic())
    policy = vsg.mean_field_nash(table).policies["driver"]
    found = vsg.finite_nash_gap(table, policy, 1000)
    assert vsg.mean_field_certify(table, policy).exploitability < 1e-8
    assert found.low > 0.3


def test_a_gap_is_never_negative():
    """Where noise says that the deviation loses, the policy itself is as good."""
    table = vsg.mean_field_table(models.BeachBar())
    policy = vsg.mean_field_nash(table).policies["bather"]
    found = [vsg.finite_nash_gap(table, policy, 10_000, samples=3, seed=seed) for seed in range(10)]
    assert all(0 <= one.low <= one.gap <= one.high for one in found)
    assert any(one.low == 0 for one in found)


@pytest.mark.parametrize("name", ["linear_quadratic", "discounted, moved", "random_linear"])
def test_gains_are_unbiased_whatever_is_predicted(name):
    """A model that knows nothing makes noise, and no bias."""
    table, n = table_of(name), 2
    policy, deviation = some_policy(table, 0), some_policy(table, 1)
    one = Among(table, policy, flow(table, policy), n)
    states, size = len(table.states), table.actions.size
    random = torch.Generator().manual_seed(0)
    model = Kernel(
        torch.randn(table.times, states, size, generator=random).double(),
        torch.arange(states).expand(1, states, size, states),
        torch.rand(table.times, states, size, states, generator=random).double().softmax(-1),
    )
    gain, value = Moved(one, 20_000, np.random.default_rng(0))._gain(model, deviation)
    people = real(name, policy, n)
    error = gain.std() / len(gain) ** 0.5
    assert gain.mean() == pytest.approx(people.plays(deviation) - people.plays(), abs=4 * error)
    assert value == pytest.approx(people.plays(), abs=0.1)


def test_those_who_are_moved_by_the_crowd_know_it_by_their_own_state():
    """What the own state tells about the others matters to a deviation that sees nothing else."""
    game = models.SusceptibleInfected(horizon=30, infected=10 / 27)
    table = vsg.mean_field_table(game)
    policy = torch.tensor([[10 / 17, 7 / 17], [1.0, 0.0]], dtype=torch.float64)
    exact = vsg.finite_nash_gap(table, policy, 8, exact=True)
    found = vsg.finite_nash_gap(table, policy, 8, exact=False)
    assert exact.gap > exact.blind > found.low > 0.8 * exact.blind


def test_seeds():
    table = vsg.mean_field_table(models.BeachBar())
    moved = vsg.mean_field_table(models.SusceptibleInfected(horizon=4))
    for one in (table, moved):
        policy = some_policy(one, 0)
        options = {"exact": False, "samples": 50}
        found = [vsg.finite_nash_gap(one, policy, 9, seed=s, **options) for s in (4, 4, 5)]
        assert found[0] == found[1]
        torch.testing.assert_close(found[0].deviation, found[1].deviation, rtol=0, atol=0)
        assert found[0] != found[2]


def test_global_generators_are_left_alone():
    """Simulations draw from a generator of their own."""
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for game in (models.BeachBar(), models.SusceptibleInfected(horizon=3)):
        table = vsg.mean_field_table(game)
        vsg.finite_nash_gap(table, table.prior, 50, exact=False, samples=10)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_confidence():
    """Ninety-nine per cent take a wider interval than fifty, around the same gap."""
    table = vsg.mean_field_table(models.BeachBar())
    wide, narrow = (
        vsg.finite_nash_gap(table, table.prior, 50, samples=40, confidence=c, exact=False)
        for c in (0.99, 0.5)
    )
    assert wide.gap == narrow.gap
    assert wide.low < narrow.low < narrow.gap < narrow.high < wide.high


# --- without a horizon --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_endless_gap_is_that_of_brute_force(n):
    game = models.Malware(levels=3)
    table = vsg.mean_field_table(game)
    policy = some_policy(table, 6, zeros=False)
    rest = flow(table, policy)[0].sum(-1)
    people = Real(game, table, policy, n, start=rest)
    own = people.endless(lambda t, s, row: policy[0, s].numpy() @ row)
    best = people.endless(lambda t, s, row: row.max())
    found = vsg.finite_nash_gap(game, policy[0], n)
    assert found.exact
    assert found.value == pytest.approx(own, abs=1e-9)
    assert found.gap == pytest.approx(best - own, abs=1e-9)
    gains = people.endless(lambda t, s, row: found.deviation[0, s].numpy() @ row) - own
    assert found.blind == pytest.approx(gains, abs=1e-9)
    # the rewards are linear in the crowd, so that a simulation knows as much
    simulated = vsg.finite_nash_gap(game, policy[0], n, exact=False, samples=10)
    assert simulated.gap == pytest.approx(found.blind, abs=1e-9)
    assert simulated.value == pytest.approx(found.value, abs=1e-9)


def test_endless_and_moved():
    """Exact if the agents are few; a simulation would never end."""
    game = RandomCrowd(Shape(11, 2, (2,), None, 0.5, True, False))
    table = vsg.mean_field_table(game)
    policy = some_policy(table, 0, zeros=False)
    people = Real(game, table, policy, 2, start=flow(table, policy)[0].sum(-1))
    own = people.endless(lambda t, s, row: policy[0, s].numpy() @ row, 200)
    found = vsg.finite_nash_gap(table, policy[0], 2)
    assert found.exact and found.value == pytest.approx(own, abs=1e-9)
    best = people.endless(lambda t, s, row: row.max(), 200)
    assert found.gap == pytest.approx(best - own, abs=1e-9)
    gains = people.endless(lambda t, s, row: found.deviation[0, s].numpy() @ row, 200) - own
    assert found.blind == pytest.approx(gains, abs=1e-9)
    with pytest.raises(vsg.GameError, match="has no horizon.*Try: a horizon"):
        vsg.finite_nash_gap(table, policy[0], 2, exact=False)


# --- what is drawn ------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), groups=st.integers(1, 4), choices=st.integers(1, 4))
def test_worlds_choose_alike(seed, groups, choices):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 30, size=(2, 50, groups))
    law = random.dirichlet(np.ones(choices), size=(groups,))
    drawn = draw_alike(random, counts, law)
    assert (drawn.sum(-1) == counts).all()
    # who is in both worlds chooses the same in both; the others come on top
    more = drawn[0] - drawn[1]
    up = counts[0] > counts[1]
    assert (more[up] >= 0).all() and (more[~up] <= 0).all()


@pytest.mark.parametrize("apart", [0.0, 0.3, 1.0])
def test_each_world_draws_from_its_own_law(apart):
    random = np.random.default_rng(0)
    laws = np.array([[0.5, 0.5, 0.0], [0.5 - apart / 2, 0.5 - apart / 2, apart]])
    counts = np.array([np.full(4000, 7), np.full(4000, 4)])
    drawn = draw_alike(random, counts, np.repeat(laws[:, None], 4000, 1))
    for world in range(2):
        n = counts[world, 0]
        expected = n * laws[world]
        error = np.sqrt(n * laws[world] * (1 - laws[world]) / 4000)
        assert (np.abs(drawn[world].mean(0) - expected) <= 4 * error + 1e-12).all()
        spread = n * laws[world] * (1 - laws[world])
        assert drawn[world].var(0) == pytest.approx(spread, rel=0.1, abs=1e-9)
    # of the four in both worlds as many as possible are the same
    moved = np.abs(drawn[0] - drawn[1]).sum(-1)
    if apart == 0:
        assert (moved == 3).all()
    else:
        assert moved.mean() == pytest.approx(3 + 2 * 4 * apart, rel=0.25)


def test_picks():
    law = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).double().expand(1, 5, 5)
    chance = torch.tensor([0.0, 0.4999, 0.5, 0.75, 1 - 1e-17]).double()
    assert pick(law, chance).tolist() == [[1, 1, 3, 3, 3]]


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 0}, "0 agents are asked for; a whole number is needed"),
        ({"n": -3}, "-3 agents"),
        ({"n": 2.5}, "2.5 agents"),
        ({"n": True}, "True agents"),
        ({"samples": 1}, "1 populations are asked for"),
        ({"confidence": 1.0}, "the confidence is 1;"),
        ({"confidence": 0.0}, "the confidence is 0;"),
        ({"policy": torch.ones(3, 3) / 3}, r"shape \(3, 3\); expected \(3, 2\) or \(2, 3, 2\)"),
        ({"policy": torch.ones(3, 2)}, "sum to 2"),
        ({"game": models.StagHunt()}, "is no mean-field game"),
    ],
)
def test_errors(options, says):
    options = {"game": models.LeftRight(), "policy": EQUAL, "n": 2, **options}
    with pytest.raises(vsg.GameError, match=says):
        vsg.finite_nash_gap(**options)


def test_too_many_to_be_exact():
    with pytest.raises(vsg.GameError, match=r"10,000 agents of BeachBar.*Try: exact=False"):
        table = vsg.mean_field_table(models.BeachBar())
        vsg.finite_nash_gap(table, table.prior, 10_000, exact=True)


def test_an_action_that_is_not_available():
    table = vsg.mean_field_table(models.Braess())
    policy = torch.ones(5, 3).double() / 3
    with pytest.raises(vsg.GameError, match="not available"):
        vsg.finite_nash_gap(table, policy, 2)
