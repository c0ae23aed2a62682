import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from tests.models.policies import dense
from tests.models.readings import run
from vsg_ppl.models import ArrayGame, matrix_game

RNG = np.random.default_rng(0)
SHAPE = (3, 2, 4)  # states, actions of the first agent, of the second
REWARDS = RNG.standard_normal((2, *SHAPE))
TRANSITIONS = RNG.dirichlet(np.ones(3), size=SHAPE)


def test_table_holds_the_arrays():
    game = ArrayGame(REWARDS, TRANSITIONS, discount=0.8, initial_law=[0.5, 0.25, 0.25])
    table = vsg.tabulate(game)
    rewards, transitions = dense(table)
    np.testing.assert_array_equal(rewards, REWARDS)
    np.testing.assert_allclose(transitions, TRANSITIONS, atol=1e-15)
    assert table.initial[0].tolist() == [0.5, 0.25, 0.25]
    assert (table.discount, table.horizon) == (0.8, None)
    assert table.agents == ("agent1", "agent2")


def test_program_reads_the_arrays():
    game = ArrayGame(REWARDS, TRANSITIONS, horizon=5)
    law, rewards = run(game, 1, {"agent1": 0, "agent2": 3})
    assert law == pytest.approx(dict(enumerate(TRANSITIONS[1, 0, 3])))
    expected = {"agent1": REWARDS[0, 1, 0, 3], "agent2": REWARDS[1, 1, 0, 3]}
    assert rewards == pytest.approx(expected)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, np.ndarray.tolist, list])
def test_any_kind_of_array(convert):
    game = ArrayGame(convert(REWARDS), convert(TRANSITIONS), discount=0.5)
    assert game.rewards.dtype == game.transitions.dtype == torch.float64
    np.testing.assert_array_equal(game.rewards.numpy(), REWARDS)
    np.testing.assert_array_equal(game.transitions.numpy(), TRANSITIONS)


def test_arrays_are_copied():
    rewards = REWARDS.copy()
    game = ArrayGame(rewards, TRANSITIONS, discount=0.5)
    rewards[:] = 0
    np.testing.assert_array_equal(game.rewards.numpy(), REWARDS)


def test_one_state_for_ever():
    game = ArrayGame(np.ones((1, 1, 2)), np.ones((1, 2, 1)), discount=0.5)
    table = vsg.tabulate(game)
    assert (len(table.states), table.horizon) == (1, None)


def test_without_transitions_it_is_one_shot():
    """With several states: the type of the game is drawn, and there is one decision."""
    table = vsg.tabulate(ArrayGame(REWARDS, initial_law=[0.2, 0.3, 0.5]))
    assert table.horizon == 1
    np.testing.assert_array_equal(dense(table)[0], REWARDS)
    assert table.initial[0].tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_names_and_labels():
    labels = [["up", "down"], ["a", "b", "c", "d"]]
    game = ArrayGame(
        REWARDS, TRANSITIONS, discount=0.5, agents=("row", "col"), labels=labels, name="Mine"
    )
    table = vsg.tabulate(game)
    assert table.name == "Mine"
    assert table.agents == ("row", "col")
    assert [actions.names() for actions in table.actions] == labels


def test_matrix_game():
    row, col = RNG.standard_normal((2, 3, 5))
    game = matrix_game(row, col, labels=[list("abc"), list("vwxyz")])
    table = vsg.tabulate(game)
    assert table.agents == ("row", "col")
    assert table.horizon == 1
    np.testing.assert_array_equal(dense(table)[0][:, 0], np.stack([row, col]))
    assert table.actions[1].names() == list("vwxyz")


def test_one_matrix_is_zero_sum():
    table = vsg.tabulate(matrix_game([[3, -1], [0, 1]], agents=("evader", "pursuer")))
    rewards = dense(table)[0][:, 0]
    assert rewards[0].tolist() == [[3, -1], [0, 1]]
    assert (rewards.sum(0) == 0).all()
    assert table.agents == ("evader", "pursuer")


@pytest.mark.parametrize("n", [1, 3])
def test_matrix_game_of_other_sizes(n):
    payoffs = RNG.standard_normal((n, *[2] * n))
    table = vsg.tabulate(matrix_game(*payoffs))
    assert table.agents == tuple(f"agent{i + 1}" for i in range(n))
    np.testing.assert_array_equal(dense(table)[0][:, 0], payoffs)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"rewards": changed(REWARDS, (1, 2, 0, 3), np.nan)},
            ["O_agent2", "state 2", r"actions \(0, 3\)", "nan"],
        ),
        ({"rewards": changed(REWARDS, (0, 0, 1, 0), -np.inf)}, ["O_agent1", "state 0", "-inf"]),
        ({"rewards": REWARDS[0]}, ["rewards", r"\(3, 2, 4\)", r"\(N, S, A_1, ..., A_N\)"]),
        ({"rewards": REWARDS[:, :0]}, ["rewards", r"\(2, 0, 2, 4\)"]),
        ({"rewards": [["a"]]}, ["rewards are no array of numbers"]),
        ({"transitions": TRANSITIONS[:2]}, ["transitions", r"\(2, 2, 4, 3\), not \(3, 2, 4, 3\)"]),
        (
            {"transitions": changed(TRANSITIONS, (2, 1, 0, 1), -0.5)},
            ["'state'", "next state 1 from state 2", r"actions \(1, 0\) is -0.5"],
        ),
        (
            {"transitions": changed(TRANSITIONS, (0, 1, 3), [0.5, 0.2, 0.2])},
            ["from state 0", r"actions \(1, 3\) sum to 0.9, not 1"],
        ),
        ({"transitions": changed(TRANSITIONS, (0, 1, 3, 0), np.nan)}, ["next state 0", "is nan"]),
        ({"initial_law": [0.5, 0.5]}, ["initial law", r"\(2,\), not \(3,\)"]),
        ({"initial_law": [0.5, 0.2, 0.2]}, ["first state sum to 0.9, not 1"]),
        ({"initial_law": [1.5, -0.5, 0]}, ["first state 1 is -0.5"]),
        ({"agents": ("me",)}, ["1 names", "2 agents"]),
        ({"labels": [["x", "y"]]}, ["labels for 1 of 2 agents"]),
        ({"labels": [["x"], list("abcd")]}, ["'agent1'", "2 actions have 1 labels"]),
        ({"transitions": None}, ["no transitions"]),
    ],
)
def test_bad_arrays_get_one_clear_error(arguments, words):
    with pytest.raises(vsg.GameError) as error:
        ArrayGame(**{"rewards": REWARDS, "transitions": TRANSITIONS, "discount": 0.9} | arguments)
    for word in words:
        assert error.match(word)


@pytest.mark.parametrize(
    ("payoffs", "words"),
    [
        ([], "needs payoffs"),
        ([np.ones((2, 2)), np.ones((2, 3))], r"payoff array 1 have shape \(2, 3\), not \(2, 2\)"),
        ([np.ones(2), np.ones(2)], r"\(N, S, A_1, ..., A_N\)"),
        ([[[1, 2], [3, float("nan")]]], r"actions \(1, 1\) is nan"),
    ],
)
def test_bad_payoffs_get_one_clear_error(payoffs, words):
    with pytest.raises(vsg.GameError, match=words):
        matrix_game(*payoffs)
