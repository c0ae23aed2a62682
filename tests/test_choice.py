"""Which equilibrium for which signal: against all assignments, and against linear programs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.equilibria import fairest_by_dual, fairest_in_hull, most_in_hull
from vsg_ppl import choice as module
from vsg_ppl.choice import Aim, assign

AGENTS = ("ann", "bob", "cy")


def goals(objective, agents):
    """What counts, in order, as functions of values (M, N)."""
    fairness, welfare = (lambda v: v.min(-1)), (lambda v: v.sum(-1))
    if objective == "fairness":
        return [fairness, welfare]
    if objective == "welfare":
        return [welfare, fairness]
    return [lambda v: v[..., agents.index(objective)], fairness, welfare]


def best_given(objective, payoffs, law):
    """The worth of the best assignment for a given law, of each goal in turn, by listing all."""
    values = np.array(
        [
            sum(p * part[k] for p, part, k in zip(law, payoffs, which, strict=True))
            for which in product(*(range(len(part)) for part in payoffs))
        ]
    )
    worth = []
    for goal in goals(objective, AGENTS):
        found = goal(values)
        worth.append(found.max())
        values = values[found >= found.max() - 1e-9 * np.abs(found).max() - 1e-300]
    return worth


def worth_of(objective, payoffs, chosen, law):
    values = sum(p * part[k] for p, part, k in zip(law, payoffs, chosen, strict=True))
    return [float(goal(values)) for goal in goals(objective, AGENTS)]


def check_law(law, size):
    assert law.shape == (size,) and (law >= 0).all() and abs(law.sum() - 1) < 1e-12


def check_given(objective, payoffs, law, tolerance=1e-9):
    aim = Aim(objective, AGENTS[: payoffs[0].shape[1]])
    chosen, after = assign(aim, payoffs, law)
    assert after is law
    size = max(np.abs(part).max() for part in payoffs)
    np.testing.assert_allclose(
        worth_of(objective, payoffs, chosen, law),
        best_given(objective, payoffs, law),
        atol=tolerance * size,
    )


objectives = st.sampled_from(["welfare", "fairness", "ann", "bob"])


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    objectives,
    st.integers(2, 3),
    st.sampled_from([1e-8, 1.0, 1e8]),
    st.booleans(),
)
def test_a_law_that_is_given(seed, objective, agents, scale, whole):
    """Payoffs of any size and sign; whole numbers make ties."""
    random = np.random.default_rng(seed)
    payoffs = [
        (random.integers(-2, 3, (count, agents)) if whole else random.normal(size=(count, agents)))
        * scale
        for count in random.integers(1, 5, random.integers(1, 5))
    ]
    law = random.dirichlet(np.ones(len(payoffs)))
    if whole:
        law = random.integers(1, 4, len(payoffs)) / 1.0
        law = law / law.sum()
    check_given(objective, payoffs, law)


@settings(max_examples=40)
@given(st.integers(0, 2**32), objectives, st.integers(2, 3))
def test_a_law_that_is_given_with_too_many_assignments_to_list(seed, objective, agents):
    """The mixed-integer program finds what the list has; its ties are as exact as it is."""
    random = np.random.default_rng(seed)
    payoffs = [random.normal(size=(4, agents)) for _ in range(4)]
    law = random.dirichlet(np.ones(4))
    before, module.LISTED = module.LISTED, 0
    try:
        check_given(objective, payoffs, law, tolerance=1e-6)
    finally:
        module.LISTED = before


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    objectives,
    st.integers(2, 3),
    st.sampled_from([1e-8, 1.0, 1e8]),
    st.booleans(),
)
def test_a_law_to_be_chosen(seed, objective, agents, scale, whole):
    """With as many signals as agents it is the best point of the convex hull."""
    random = np.random.default_rng(seed)
    shape = (random.integers(1, 8), agents)
    payoffs = (random.integers(-2, 3, shape) if whole else random.normal(size=shape)) * scale
    aim = Aim(objective, AGENTS[:agents])
    chosen, law = assign(aim, [payoffs] * (agents + 1), None)
    check_law(law, agents + 1)
    worth, *_ = worth_of(objective, [payoffs] * (agents + 1), chosen, law)
    if objective == "fairness":
        best = fairest_by_dual(payoffs / scale) * scale
        if agents == 2:
            assert best == pytest.approx(fairest_in_hull(payoffs), abs=1e-7 * scale)
    else:
        weights = (
            np.ones(agents) if objective == "welfare" else np.eye(agents)[int(objective == "bob")]
        )
        best = most_in_hull(payoffs, weights)
    assert worth == pytest.approx(best, abs=3e-6 * scale)


@pytest.mark.parametrize("seed", range(20))
def test_fewer_signals_than_the_best_lottery_needs(seed):
    """Three agents, two values: against all pairs of equilibria and a grid of laws."""
    payoffs = np.random.default_rng(seed).random((5, 3))
    chosen, law = assign(Aim("fairness", AGENTS), [payoffs] * 2, None)
    check_law(law, 2)
    grid = np.linspace(0, 1, 401)[:, None]
    best = max(
        (grid * one + (1 - grid) * other).min(1).max() for one, other in product(payoffs, repeat=2)
    )
    assert worth_of("fairness", [payoffs] * 2, chosen, law)[0] >= best - 1e-6


def test_one_signal_is_the_best_equilibrium():
    payoffs = np.array([[3.0, 0], [1, 1], [0, 5]])
    for objective, best in (("welfare", 2), ("fairness", 1), ("ann", 0), ("bob", 2)):
        chosen, law = assign(Aim(objective, ("ann", "bob")), [payoffs], None)
        assert chosen == [best] and law.tolist() == [1.0]


# --- Ties ----------------------------------------------------------------------------------------


def test_of_the_same_welfare_the_fairest():
    payoffs = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 0.0]])
    chosen, law = assign(Aim("welfare", ("ann", "bob")), [payoffs] * 2, None)
    assert sorted(chosen) == [0, 1] and law == pytest.approx([0.5, 0.5], abs=1e-7)


def test_of_the_same_fairness_the_most_welfare():
    payoffs = np.array([[1.0, 1.0], [1.0, 4.0], [1.0, 2.0]])
    chosen, _ = assign(Aim("fairness", ("ann", "bob")), [payoffs] * 2, None)
    assert chosen == [1, 1]
    chosen, _ = assign(Aim("fairness", ("ann", "bob")), [payoffs] * 2, np.array([0.3, 0.7]))
    assert chosen == [1, 1]


def test_of_the_same_value_the_fairest_then_the_most_welfare():
    payoffs = np.array([[9.0, 8, 2], [9, 8, 12], [9, 3, 30], [8, 50, 50]])
    for law in (None, np.array([0.5, 0.5])):
        chosen, _ = assign(Aim("ann", AGENTS), [payoffs] * 2, law)
        assert chosen == [1, 1]


@pytest.mark.parametrize("objective", ["welfare", "fairness", "ann"])
@pytest.mark.parametrize("constant", [0.0, 7.0, -1e9])
def test_where_all_are_alike(objective, constant):
    """No division by nothing."""
    payoffs = np.full((3, 2), constant)
    for law in (None, np.array([0.25, 0.75])):
        chosen, after = assign(Aim(objective, ("ann", "bob")), [payoffs] * 2, law)
        check_law(after, 2)
        assert all(0 <= k < 3 for k in chosen)


def test_the_worst_for_somebody_can_be_fairest():
    """One agent has the least of all payoffs in every equilibrium."""
    payoffs = np.array([[0.0, 0.0], [0.0, 1.0]])
    chosen, law = assign(Aim("fairness", ("ann", "bob")), [payoffs] * 2, None)
    check_law(law, 2)
    assert chosen == [1, 1]


def test_rounding_makes_no_lottery():
    payoffs = np.array([[1 / 3, 1 / 3], [1 / 3 + 1e-16, 1 / 3]])
    chosen, law = assign(Aim("fairness", ("ann", "bob")), [payoffs] * 2, None)
    assert len({*chosen}) == 1 and law.tolist() == [0.5, 0.5]


def test_a_signal_that_says_nothing_is_uniform():
    chosen, law = assign(Aim("welfare", ("ann", "bob")), [np.array([[1.0, 2], [0, 1]])] * 4, None)
    assert chosen == [0] * 4 and law.tolist() == [0.25] * 4


# --- Aims ----------------------------------------------------------------------------------------


def test_an_aim_that_is_none():
    with pytest.raises(vsg.GameError, match="the objective is 'power'.*welfare, fairness, or an"):
        Aim("power", ("ann", "bob"))


def test_in_turn():
    names = [
        ["welfare" if not x.fair else "fairness" for x in Aim(o, AGENTS).in_turn()][1:]
        for o in ("welfare", "fairness", "ann")
    ]
    assert names == [["fairness"], ["welfare"], ["fairness", "welfare"]]
