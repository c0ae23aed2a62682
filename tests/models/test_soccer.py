from itertools import product

import pytest
import torch

import vsg_ppl as vsg
from tests.models.readings import look_up, run
from vsg_ppl.models import Soccer
from vsg_ppl.models.soccer import Ball, Move, Pitch

STEPS = {"NORTH": (-1, 0), "SOUTH": (1, 0), "EAST": (0, 1), "WEST": (0, -1), "STAND": (0, 0)}


def carry_out(rows, columns, places, carrier, order, moves):
    """Littman's rules with dictionaries and ifs: the pitch after one step, and who scored."""
    places = dict(places)
    middle = [rows // 2 - 1, rows // 2] if rows % 2 == 0 else [rows // 2]
    for player in order:
        other = "b" if player == "a" else "a"
        down, right = STEPS[moves[player]]
        row, column = places[player][0] + down, places[player][1] + right
        if not 0 <= column < columns and row in middle and carrier == player:
            if (player == "a") == (column == columns):
                return places, carrier, player
        if not (0 <= row < rows and 0 <= column < columns):
            continue
        if (row, column) == places[other]:
            carrier = other
        else:
            places[player] = (row, column)
    return places, carrier, None


def oracle(rows, columns, state, moves):
    """The law of the next state and A's mean reward."""
    if state == (0, 0, Ball.OVER):
        return {(0, 0, Ball.OVER): 1.0}, 0.0
    places = {"a": divmod(state[0], columns), "b": divmod(state[1], columns)}
    law, reward = {}, 0.0
    for order in ("ab", "ba"):
        after, carrier, scorer = carry_out(
            rows, columns, places, "ab"[state[2]], order, dict(zip("ab", moves, strict=True))
        )
        if scorer is None:
            cells = [after[p][0] * columns + after[p][1] for p in "ab"]
            following = (*cells, "ab".index(carrier))
        else:
            following = (0, 0, Ball.OVER)
            reward += 0.5 if scorer == "a" else -0.5
        law[following] = law.get(following, 0.0) + 0.5
    return law, reward


def all_states(rows, columns):
    cells = range(rows * columns)
    on = {(a, b, ball) for a, b, ball in product(cells, cells, (0, 1)) if a != b}
    return on | {(0, 0, int(Ball.OVER))}


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (2, 3), (3, 4), (2, 2), (5, 3)])
def test_the_rules_in_every_state_and_joint_action(rows, columns):
    table = vsg.tabulate(Soccer(rows=rows, columns=columns))
    assert {tuple(state) for state in table.states} == all_states(rows, columns)
    names = table.actions[0].names()
    for k, state in enumerate(table.states):
        for i, j in product(range(5), repeat=2):
            law, (a, b) = look_up(table, k, (i, j))
            expected, reward = oracle(rows, columns, tuple(state), (names[i], names[j]))
            assert {tuple(label): p for label, p in law.items()} == expected
            assert (a, b) == (reward, -reward)


def test_state_counts():
    assert len(vsg.tabulate(Soccer()).states) == 20 * 19 * 2 + 1 == 761
    assert len(vsg.tabulate(Soccer(rows=3, columns=4)).states) == 12 * 11 * 2 + 1


def test_only_standing_is_left_when_it_is_over():
    table = vsg.tabulate(Soccer())
    end = int(table.states.index(Pitch(torch.tensor(0), torch.tensor(0), torch.tensor(2))))
    for log_prior in table.log_priors:
        priors = log_prior[0, 0].exp()
        assert priors[end].tolist() == [0, 0, 0, 0, 1]
        on = torch.arange(len(priors)) != end
        torch.testing.assert_close(priors[on], torch.full_like(priors[on], 0.2))
    assert look_up(table, end, (Move.STAND, Move.STAND)) == ({(0, 0, Ball.OVER): 1.0}, [0, 0])


def mirrored(game, state):
    """The pitch turned by 180° with the players' names exchanged."""
    if state.ball == Ball.OVER:
        return state
    last = game.rows * game.columns - 1
    return Pitch(last - state.b, last - state.a, 1 - state.ball)


def test_symmetric():
    """Turned by 180° with names exchanged it is the same game: so the value of the start is 0."""
    game = Soccer(rows=3, columns=4)
    table = vsg.tabulate(game)
    numbers = {state: k for k, state in enumerate(table.states)}
    turned = [Move.SOUTH, Move.NORTH, Move.WEST, Move.EAST, Move.STAND]
    for k, state in enumerate(table.states):
        twin = numbers[mirrored(game, state)]
        assert table.initial[0, k] == table.initial[0, twin]
        for i, j in product(Move, repeat=2):
            law, (a, b) = look_up(table, k, (i, j))
            twin_law, (twin_a, twin_b) = look_up(table, twin, (turned[j], turned[i]))
            assert {mirrored(game, label): p for label, p in law.items()} == twin_law
            assert (a, b) == (twin_b, twin_a)


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_values_stay_within_a_goal(discount):
    """Even if both players work for A's goals: they are paid once."""
    table = vsg.tabulate(Soccer(rows=2, columns=3, discount=discount))
    value = torch.zeros(len(table.states), dtype=torch.float64)
    probabilities = table.probabilities[0, 0]
    for _ in range(2000):
        following = value[table.successors[0]] * probabilities
        q = table.rewards[0][0, 0] + discount * following.sum(-1)
        value = q.flatten(1).max(1).values
    assert 0.5 < value.max() <= 1
    assert value.min() >= 0


def test_a_goal_by_hand():
    """A carries the ball into the east goal unless B moves first and stands in its way."""
    game = Soccer()
    beside = Pitch(1 * 5 + 4, 0, 0)  # A at the end of the second row, B far off
    law, rewards = run(game, beside, {"a": Move.EAST, "b": Move.STAND})
    assert law == {(0, 0, 2): 1.0}
    assert rewards == {"a": 1.0, "b": -1.0}
    corner = Pitch(4, 0, 0)  # not beside a goal
    law, rewards = run(game, corner, {"a": Move.EAST, "b": Move.STAND})
    assert law == {(4, 0, 0): 1.0}
    assert rewards == {"a": 0.0, "b": 0.0}


def test_a_steal_by_hand():
    """B moves into A's way: if first, A walks into B and loses the ball."""
    game = Soccer()
    law, _ = run(game, Pitch(6, 8, 0), {"a": Move.EAST, "b": Move.WEST})
    assert law == {(6, 7, 1): 0.5, (7, 8, 0): 0.5}


@pytest.mark.parametrize("size", [{"rows": 1}, {"columns": 1}])
def test_too_small(size):
    with pytest.raises(vsg.GameError, match="too small"):
        Soccer(**size)
