"""One-shot games: payoffs from the literature, and the equilibria that the docstrings claim."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import vsg_ppl as vsg
from vsg_ppl.models import (
    BattleOfTheSexes,
    Chicken,
    Hedge,
    MatchingPennies,
    PrisonersDilemma,
    RockPaperScissors,
    Shapley,
    ThreeAgents,
)


def payoffs(game):
    """One array of payoffs for each agent, broadcast to all joint actions."""
    table = vsg.tabulate(game)
    assert list(table.states) == [0]
    assert table.horizon == 1
    return [r[0, 0, 0].expand(table.sizes).numpy() for r in table.rewards]


def nash_gap(arrays, profile):
    """The most that one agent gains by another action, computed by contraction."""
    gaps = []
    for i, array in enumerate(arrays):
        values = array
        for j in reversed(range(len(profile))):
            if j != i:
                values = np.tensordot(values, np.asarray(profile[j], float), axes=(j, 0))
        gaps.append(values.max() - values @ np.asarray(profile[i], float))
    return max(gaps)


def pure_equilibria(arrays):
    found = []
    for joint in product(*map(range, arrays[0].shape)):
        profile = [np.eye(n)[a] for n, a in zip(arrays[0].shape, joint, strict=True)]
        if nash_gap(arrays, profile) <= 0:
            found.append(joint)
    return found


def test_prisoners_dilemma():
    row, col = payoffs(PrisonersDilemma())
    assert row.tolist() == [[3, 0], [5, 1]]
    assert (col == row.T).all()
    assert pure_equilibria([row, col]) == [(1, 1)]
    row, _ = payoffs(PrisonersDilemma(temptation=4, sucker=-1))
    assert row.tolist() == [[3, -1], [4, 1]]


def test_battle_of_the_sexes():
    row, col = payoffs(BattleOfTheSexes(favourite=3, other=2))
    assert row.tolist() == [[3, 0], [0, 2]]
    assert col.tolist() == [[2, 0], [0, 3]]
    assert pure_equilibria([row, col]) == [(0, 0), (1, 1)]
    row_mix, col_mix = [3 / 5, 2 / 5], [2 / 5, 3 / 5]  # each its favourite with 3 / (3 + 2)
    assert nash_gap([row, col], [row_mix, col_mix]) == pytest.approx(0, abs=1e-15)
    assert row_mix @ row @ col_mix == pytest.approx(3 * 2 / (3 + 2))


def test_chicken():
    row, col = payoffs(Chicken())
    assert row.tolist() == [[6, 2], [7, 0]]
    assert (col == row.T).all()
    assert pure_equilibria([row, col]) == [(0, 1), (1, 0)]
    mix = [2 / 3, 1 / 3]
    assert nash_gap([row, col], [mix, mix]) == pytest.approx(0, abs=1e-14)
    assert mix @ row @ mix == pytest.approx(14 / 3)


def test_chicken_correlated_by_a_mediator():
    """Aumann: told its own part only, nobody gains by doing something else; each expects 5."""
    row, col = payoffs(Chicken())
    law = np.array([[1, 1], [1, 0]]) / 3
    for told, other in product(range(2), repeat=2):
        assert law[told] @ (row[told] - row[other]) >= 0
        assert law[:, told] @ (col[:, told] - col[:, other]) >= 0
    assert (law * row).sum() == pytest.approx(5)
    assert (law * col).sum() == pytest.approx(5)


@pytest.mark.parametrize("bias", [1, 2.5, 9])
def test_matching_pennies(bias):
    row, col = payoffs(MatchingPennies(bias=bias))
    assert row == pytest.approx(np.array([[bias, -1], [-1, 1]]) / bias)
    assert (row + col == 0).all()
    assert abs(row).max() == 1
    heads = 2 / (bias + 3)
    mix = [heads, 1 - heads]
    assert nash_gap([row, col], [mix, mix]) == pytest.approx(0, abs=1e-15)
    assert mix @ row @ mix == pytest.approx((bias - 1) / (bias + 3) / bias)
    assert pure_equilibria([row, col]) == []


def test_rock_paper_scissors():
    beats = {("PAPER", "ROCK"), ("SCISSORS", "PAPER"), ("ROCK", "SCISSORS")}
    table = vsg.tabulate(RockPaperScissors())
    row, col = payoffs(RockPaperScissors())
    names = table.actions[0].names()
    for (i, mine), (j, yours) in product(enumerate(names), repeat=2):
        assert row[i, j] == ((mine, yours) in beats) - ((yours, mine) in beats)
    assert (row + col == 0).all()
    assert nash_gap([row, col], [[1 / 3] * 3] * 2) == pytest.approx(0, abs=1e-15)
    assert pure_equilibria([row, col]) == []


def test_shapley():
    row, col = payoffs(Shapley())
    assert row.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert col.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert pure_equilibria([row, col]) == []
    assert nash_gap([row, col], [[1 / 3] * 3] * 2) == pytest.approx(0, abs=1e-15)
    assert (row.mean(), col.mean()) == pytest.approx((1 / 3, 1 / 3))


def test_shapley_correlated_by_a_mediator():
    """The six pairs at which somebody is paid, all alike: 1/2 each, and nobody disobeys."""
    row, col = payoffs(Shapley())
    law = (row + col) / 6
    assert law.sum() == pytest.approx(1) and (law > 0).sum() == 6
    for told, other in product(range(3), repeat=2):
        assert law[told] @ (row[told] - row[other]) >= 0
        assert law[:, told] @ (col[:, told] - col[:, other]) >= 0
    assert ((law * row).sum(), (law * col).sum()) == pytest.approx((1 / 2, 1 / 2))


def test_fictitious_play_circles_in_shapleys_game():
    """Each answers what the other did so far; paid pairs in a row grow ever longer."""
    row, col = payoffs(Shapley())
    counts, runs, last = [np.array([1.0, 0, 0]), np.array([0, 1.0, 0])], [], None
    for _ in range(20_000):
        pair = (int((row @ counts[1]).argmax()), int((counts[0] @ col).argmax()))
        counts[0][pair[0]] += 1
        counts[1][pair[1]] += 1
        runs = [*runs[:-1], runs[-1] + 1] if pair == last else [*runs, 1]
        last = pair
    assert runs[-2] > runs[-5] > runs[-8] > 100
    assert max(abs(c / c.sum() - 1 / 3).max() for c in counts) > 0.05


def test_hedge():
    row, col = payoffs(Hedge())
    assert row.tolist() == [[1, -1], [-1, 1], [0.5, 0.5]]
    assert col.tolist() == [[-1, 1], [1, -1], [0, 0]]
    for heads in np.linspace(0, 1, 101):
        gap = nash_gap([row, col], [[0, 0, 1], [heads, 1 - heads]])
        assert (gap <= 1e-12) == (0.25 - 1e-12 <= heads <= 0.75 + 1e-12)


@pytest.mark.parametrize(("tau", "expected"), [(0.1, 0.497), (0.02, 0.500)])
def test_hedge_is_the_counterexample_for_conditional_policies(tau, expected):
    """An agent that believes it sees the other's coin executes play far from an equilibrium."""
    row, col = payoffs(Hedge())
    # The model of the other solves the same problem, so both are softmaxes of the joint reward;
    # iterate ρ_col from ρ_row and back to the fixed point of Prop. 5.9 in a one-shot game.
    rho_row, rho_col = np.full(3, 1 / 3), np.full(2, 1 / 2)
    for _ in range(2000):
        rho_row = 0.9 * rho_row + 0.1 * softmax(row @ rho_col / tau)
        rho_col = 0.9 * rho_col + 0.1 * softmax(rho_row @ col / tau)
    executed_row = softmax(row / tau, axis=0) @ rho_col
    executed_col = softmax(col / tau, axis=1).T @ rho_row
    gap = nash_gap([row, col], [executed_row, executed_col])
    assert gap == pytest.approx(expected, abs=6e-4)
    assert nash_gap([row, col], [rho_row, rho_col]) < tau * np.log(3)  # marginal: the theorem holds


def softmax(x, axis=0):
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def test_three_agents():
    arrays = payoffs(ThreeAgents())
    paid = {(0, 0, 0): (9, 8, 12), (1, 1, 0): (9, 8, 2), (0, 1, 1): (3, 4, 6), (1, 0, 1): (3, 4, 6)}
    for joint in product(range(2), repeat=3):
        assert tuple(array[joint] for array in arrays) == paid.get(joint, (0, 0, 0))
    assert pure_equilibria(arrays) == sorted(paid)


def test_three_agents_have_nine_equilibria():
    gambit = pytest.importorskip("pygambit")
    arrays = payoffs(ThreeAgents())
    game = gambit.Game.from_arrays(*arrays)
    found = []
    for equilibrium in gambit.nash.enumpoly_solve(game).equilibria:
        profile = [
            [float(Fraction(equilibrium[s])) for s in player.strategies] for player in game.players
        ]
        assert nash_gap(arrays, profile) == pytest.approx(0, abs=1e-6)
        found.append(profile)
    assert len(found) == 9
    assert sum(all(0 < p < 1 for mix in profile for p in mix) for profile in found) == 2


@pytest.mark.parametrize(
    "game",
    [
        lambda: PrisonersDilemma(temptation=1),
        lambda: BattleOfTheSexes(other=3),
        lambda: MatchingPennies(bias=0.5),
        lambda: MatchingPennies(bias=float("nan")),
    ],
)
def test_parameters_that_make_another_game_are_refused(game):
    with pytest.raises(vsg.GameError):
        game()
