"""All equilibria of small one-shot games: against Gambit's, and against what theorems say."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pygambit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.equilibria import gain, gambit_equilibria
from vsg_ppl import stage_equilibria as module
from vsg_ppl.stage_equilibria import means, stage_equilibria, systems


def solved(payoffs, free=None):
    """The equilibria of one game."""
    (found,) = stage_equilibria(np.asarray(payoffs, float)[:, None], free)
    return found


def check(payoffs, found, tolerance=1e-9):
    """All are equilibria, no two the same, and their payoffs are right."""
    payoffs = np.asarray(payoffs, float)
    spread = np.ptp(payoffs) or 1.0
    assert len(found) > 0
    for policies, values in zip(found.policies, found.payoffs, strict=True):
        profile = np.split(policies, np.cumsum(payoffs.shape[1:])[:-1])
        assert (policies >= 0).all() and all(abs(p.sum() - 1) < 1e-12 for p in profile)
        own, best = gain(payoffs, profile)
        assert (best - own).max() <= tolerance * spread
        np.testing.assert_allclose(values, own, rtol=1e-12, atol=1e-12 * np.abs(payoffs).max())
    for k, policies in enumerate(found.policies):
        assert (np.abs(found.policies[:k] - policies).max(-1, initial=0) > 1e-7).all()


def nearest(found, policies):
    return np.abs(found.policies - policies).max(1).min()


def check_as_gambit(payoffs):
    """All of Gambit's are found, and of two agents no others."""
    found, theirs = solved(payoffs), gambit_equilibria(payoffs)
    check(payoffs, found)
    for policies in theirs:
        assert nearest(found, policies) < 1e-6
    if len(payoffs) == 2:
        assert len(found) == len({tuple(policies.round(9)) for policies in theirs})


# --- Against Gambit ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_two_agents(seed):
    random = np.random.default_rng(seed)
    check_as_gambit(random.random((2, *random.integers(1, 6, 2))))


@pytest.mark.parametrize("seed", range(60))
def test_degenerate_games_of_two_agents(seed):
    """Whole numbers, few of them: extreme equilibria of continua."""
    random = np.random.default_rng(seed)
    check_as_gambit(random.integers(0, 3, (2, *random.integers(2, 5, 2))).astype(float))


@pytest.mark.parametrize("seed", range(40))
def test_three_agents(seed):
    check_as_gambit(np.random.default_rng(seed).random((3, 2, 2, 2)).round(3))


@pytest.mark.parametrize("seed", range(8))
def test_three_agents_of_different_sizes(seed):
    check_as_gambit(np.random.default_rng(seed).random((3, 3, 2, 2)).round(3))


def test_gambit_agrees_that_they_are_equilibria():
    """By its own regret, in exact numbers."""
    payoffs = np.random.default_rng(5).random((3, 2, 2, 2)).round(3)
    game = pygambit.Game.from_arrays(*payoffs)
    for policies in solved(payoffs).policies:
        data = [[Fraction(float(p)) for p in part] for part in np.split(policies, 3)]
        data = [[p / sum(part) for p in part] for part in data]
        profile = game.mixed_strategy_profile(data, rational=True)
        assert profile.max_regret() < 1e-12


# --- Oddness -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "games"), [((3, 3), 1500), ((4, 3), 500), ((5, 5), 100), ((2, 2, 2), 1500)]
)
def test_almost_all_games_have_an_odd_number(sizes, games):
    """R. Wilson, 1971, "Computing equilibria of n-person games"."""
    payoffs = np.random.default_rng(0).random((len(sizes), games, *sizes))
    found = stage_equilibria(payoffs)
    for k, equilibria in enumerate(found):
        check(payoffs[:, k], equilibria)
    assert [len(equilibria) % 2 for equilibria in found] == [1] * games


@pytest.mark.parametrize(("sizes", "games"), [((3, 3, 3), 20), ((4, 2, 3), 20), ((2,) * 4, 20)])
def test_almost_all_larger_games_have_an_odd_number(sizes, games):
    payoffs = np.random.default_rng(1).random((len(sizes), games, *sizes))
    counts = [len(equilibria) % 2 for equilibria in stage_equilibria(payoffs)]
    assert np.mean(counts) >= 0.95  # Newton's method may miss one


# --- Degenerate games ----------------------------------------------------------------------------

PENNIES = np.array([[[1.0, -1], [-1, 1]], [[-1, 1], [1, -1]]])
CHICKEN = np.array([[[6.0, 2], [7, 0]], [[6, 7], [2, 0]]])


@pytest.mark.parametrize("sizes", [(2, 2), (3, 4), (7, 7), (2, 2, 2), (2, 3, 2)])
@pytest.mark.parametrize("constant", [0.0, 1.0, -3e7])
def test_where_nothing_matters_all_pure_play_is_extreme(sizes, constant):
    found = solved(np.full((len(sizes), *sizes), constant))
    check(np.full((len(sizes), *sizes), constant), found)
    pure = (found.policies > 1 - 1e-12).sum(1) == len(sizes)
    assert pure.sum() == np.prod(sizes)
    assert pure.all() or len(sizes) > 2


@pytest.mark.parametrize("axis", [1, 2])
def test_a_copy_of_an_action_splits_equilibria(axis):
    """Chicken with an action written twice: equilibria that use it may use either copy."""
    twice = np.concatenate([CHICKEN, CHICKEN.take([1], axis)], axis)
    found = solved(twice)
    check(twice, found)
    assert len(found) == 5  # of Chicken's 3, two use the copied action
    check_as_gambit(twice)


def test_one_agent_has_its_best_actions():
    found = solved([[1.0, 3.0, 2.0, 3.0]])
    assert found.policies.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
    assert found.payoffs.tolist() == [[3.0], [3.0]]


def test_agents_without_a_choice():
    found = solved(np.arange(3.0).reshape(1, 1, 3, 1).repeat(3, 0))
    assert found.policies.tolist() == [[1, 0, 0, 1, 1]]
    payoffs = np.array([[[3.0, 5.0]], [[2.0, 1.0]]])
    assert solved(payoffs).policies.tolist() == [[1, 1, 0]]
    beside = np.stack([*PENNIES, np.zeros((2, 2))])[..., None]
    check(beside, solved(beside))
    np.testing.assert_allclose(solved(beside).policies, [[0.5, 0.5, 0.5, 0.5, 1.0]], atol=1e-12)


@pytest.mark.parametrize("scales", [(1e-8, 1e8), (1e8, 1e8), (1e-8, 1e-8), (1.0, 1e-12)])
@pytest.mark.parametrize("game", [CHICKEN, PENNIES])
def test_payoffs_of_different_scales(game, scales):
    scaled = game * np.array(scales)[:, None, None]
    found, known = solved(scaled), solved(game)
    np.testing.assert_allclose(found.policies, known.policies, atol=1e-9)
    expected = known.payoffs * scales
    np.testing.assert_allclose(found.payoffs / scales, expected / scales, atol=1e-9)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([(2, 2), (3, 3), (2, 4), (2, 2, 2)]),
    st.floats(-6, 6),
    st.floats(-1e3, 1e3),
    st.booleans(),
)
def test_units_do_not_matter(seed, sizes, exponent, shift, degenerate):
    """Affine changes of an agent's payoffs, and what the others do added to them."""
    random = np.random.default_rng(seed)
    shape = (len(sizes), *sizes)
    payoffs = random.integers(0, 4, shape).astype(float) if degenerate else random.random(shape)
    other = payoffs.copy()
    other[0] = payoffs[0] * 2.0 ** round(exponent)
    # of whole size, so that nothing is lost to rounding
    other[-1] += round(shift) + random.integers(-8, 8, (*sizes[:-1], 1))
    if len(sizes) > 2 and degenerate:
        check(other, solved(other))  # of continua some points are found, others than before
        return
    found, known = solved(other), solved(payoffs)
    assert len(found) == len(known)
    for policies in known.policies:
        assert nearest(found, policies) < 1e-6


# --- Actions that are not available --------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (3, 2, 2), (5,)])
def test_unavailable_actions_are_as_if_they_were_not(sizes):
    random = np.random.default_rng(3)
    payoffs = random.random((len(sizes), 30, *sizes))
    free = random.random((30, sum(sizes))) < 0.6
    starts = np.cumsum([0, *sizes])
    free[:, starts[:-1]] = True
    for k, found in enumerate(stage_equilibria(payoffs, free)):
        kept = [np.flatnonzero(free[k, a:b]) for a, b in pairwise(starts)]
        smaller = payoffs[:, k][np.ix_(range(len(sizes)), *kept)]
        known = solved(smaller)
        np.testing.assert_allclose(found.policies[:, free[k]], known.policies, atol=1e-12)
        assert (found.policies[:, ~free[k]] == 0).all()
        np.testing.assert_allclose(found.payoffs, known.payoffs, atol=1e-12)


# --- How it is done ------------------------------------------------------------------------------


def test_a_game_has_the_same_equilibria_in_any_company(monkeypatch):
    """Also when games are solved in several parts."""
    for sizes in ((3, 3), (2, 2, 2)):
        payoffs = np.random.default_rng(2).random((len(sizes), 20, *sizes))
        together = stage_equilibria(payoffs)
        monkeypatch.setattr(module, "CHUNK", 5000)
        parts = stage_equilibria(payoffs)
        monkeypatch.undo()
        for k, (one, other) in enumerate(zip(together, parts, strict=True)):
            np.testing.assert_allclose(one.policies, other.policies, atol=1e-12)
            np.testing.assert_allclose(solved(payoffs[:, k]).policies, one.policies, atol=1e-12)


def test_where_newton_finds_nothing_the_path_leads_to_one(monkeypatch):
    monkeypatch.setattr(
        module, "by_support", lambda payoffs, seed=0: [np.zeros((0, 6))] * payoffs.shape[1]
    )
    payoffs = np.random.default_rng(7).random((3, 4, 2, 2, 2))
    for k, found in enumerate(stage_equilibria(payoffs)):
        assert len(found) == 1
        check(payoffs[:, k], found)


@pytest.mark.parametrize("seed", range(30))
def test_degenerate_games_of_three_agents_have_one_at_least(seed):
    random = np.random.default_rng(seed)
    payoffs = random.integers(0, 3, (3, 10, *random.integers(1, 4, 3))).astype(float)
    for k, found in enumerate(stage_equilibria(payoffs)):
        check(payoffs[:, k], found)


def test_games_that_are_too_large():
    with pytest.raises(vsg.GameError, match="12 × 12 actions would take 5,408,312 linear") as said:
        stage_equilibria(np.zeros((2, 1, 12, 12)))
    assert "exact_nash" in str(said.value)
    assert systems((10, 10)) <= module.LARGEST < systems((12, 12))
    assert systems((50,)) == 1


def test_means():
    payoffs = np.random.default_rng(0).random((3, 5, 2, 3, 4))
    parts = [np.random.default_rng(k).dirichlet(np.ones(k), 5) for k in (2, 3, 4)]
    expected = np.einsum("nzabc,za,zb,zc->zn", payoffs, *parts)
    np.testing.assert_allclose(means(payoffs, np.concatenate(parts, 1)), expected, atol=1e-14)
