"""`from_arrays`, `to_arrays`, and there and back."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl.dense import Arrays, to_arrays


def test_a_program_and_its_arrays_are_one_game():
    game = models.RandomGame(states=3, n_agents=3, actions=2)
    table = vsg.tabulate(game)
    arrays = vsg.from_arrays(
        game.arrays.rewards, game.arrays.transitions, discount=game.discount, agents=game.agents
    )
    policies = {agent: torch.tensor([[0.2, 0.8]] * 3) for agent in game.agents}
    one, other = vsg.certify(table, policies), vsg.certify(arrays, policies)
    assert one.values == pytest.approx(other.values, abs=1e-12)
    assert one.nash_gap == pytest.approx(other.nash_gap, abs=1e-12)


def test_one_shot_arrays():
    """Without transitions the first state is drawn and there is one step."""
    rewards = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])
    table = vsg.from_arrays(rewards, horizon=1, initial=torch.tensor([0.25, 0.75]))
    policy = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    certificate = vsg.certify(table, {"agent1": policy})
    assert certificate.values["agent1"] == pytest.approx(0.25 * 1 + 0.75 * 5)
    assert certificate.nash_gap == pytest.approx(0.25)


def test_arrays_in_single_precision_are_normalised():
    law = torch.tensor([0.1, 0.2, 0.7])
    assert law.double().sum() != 1.0
    table = vsg.from_arrays(torch.zeros(1, 3, 2), horizon=1, initial=law)
    assert table.initial.sum() == pytest.approx(1.0, abs=1e-15)
    moves = law.expand(3, 2, 3)
    total = vsg.from_arrays(torch.zeros(1, 3, 2), moves, discount=0.5).probabilities.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


# --- labels, states, priors, times ---------------------------------------------------------------


def pennies(**keywords):
    payoffs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return vsg.from_arrays(torch.stack([payoffs, -payoffs])[:, None], **keywords)


def test_labels_are_kept():
    table = pennies(agents=("even", "odd"), labels=[["heads", "tails"], ["H", "T"]])
    assert [actions.names() for actions in table.actions] == [["heads", "tails"], ["H", "T"]]
    assert vsg.nash(table).policy("odd", 0) == pytest.approx({"H": 0.5, "T": 0.5}, abs=1e-3)


@pytest.mark.parametrize(
    "states",
    [[3, 5, 9], range(3), [(0, 2), (1, -1), (1, 0)], [{"x": 0, "y": 1}, {"x": 1, "y": 0}, None]],
)
def test_states_are_kept(states):
    states = list(states)
    states[2] = {"x": 1, "y": 7} if states[2] is None else states[2]
    rewards = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    table = vsg.from_arrays(rewards, horizon=1, states=states)
    assert list(table.states) == states
    for k, state in enumerate(states):
        assert int(table.states.index(state)) == k
    assert vsg.nash(table).values["agent1"][0].tolist() == pytest.approx([1, 2, 3], abs=1e-3)


def test_actions_of_zero_prior_are_not_available():
    priors = [torch.tensor([[0.25, 0.75]]), [[0.0, 1.0]]]
    table = pennies(priors=priors)
    torch.testing.assert_close(
        table.log_priors[0][0, 0], priors[0].double().log(), rtol=0, atol=1e-15
    )
    assert table.log_priors[1][0, 0].tolist() == [[-torch.inf, 0.0]]
    solution = vsg.exact_nash(table)
    assert solution.policies["agent1"][0, 0].tolist() == pytest.approx([0, 1], abs=1e-9)


def test_everything_may_depend_on_time():
    """Two steps: stay or go, and only the second step pays, in state 1, by the time's action."""
    rewards = torch.zeros(1, 2, 2, 2)
    rewards[0, 1, 1] = torch.tensor([3.0, 5.0])
    moves = torch.eye(2).repeat(2, 1, 1)[:, :, None, :].repeat(1, 1, 2, 1)
    moves[0, 0, 1] = torch.tensor([0.0, 1.0])
    priors = [torch.tensor([[[0.5, 0.5]] * 2, [[1.0, 0.0]] * 2])]  # at last, one action only
    table = vsg.from_arrays(rewards, moves, horizon=2, initial=[1.0, 0.0], priors=priors)
    assert table.times == 2
    solution = vsg.exact_nash(table)
    assert solution.values["agent1"][0].tolist() == pytest.approx([3.0, 3.0])
    assert solution.policies["agent1"][0, 0].tolist() == pytest.approx([0.0, 1.0], abs=1e-9)


PAY = torch.zeros(1, 3, 2)
MOVES = torch.full((3, 2, 3), 1 / 3)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"labels": [["a", "b"], ["c", "d"]]}, ["labels of the actions of 2 of 1 agents"]),
        ({"labels": [["a", "b", "c"]]}, ["at site 'agent1'", "3 labels", "for 2 actions"]),
        ({"labels": ["ab"]}, ["the labels are one text, 'ab'. Try: ['a', 'b']"]),
        ({"states": [0, 1]}, ["labels of 2 states, and rewards in 3"]),
        ({"states": [0, 2, 1]}, ["state 1 comes after 2", "ascending", "Try: bring the states"]),
        ({"states": [0, 1, 1]}, ["state 1 comes after 1", "once"]),
        ({"states": [0, 1, (1, 2)]}, ["is integer", "another (integer, integer)"]),
        ({"states": ["a", "b", "c"]}, ["a state is an integer tensor, or a tuple", "not str"]),
        ({"states": [torch.tensor([0, 1])] * 3}, ["has a part that is not one integer"]),
        ({"priors": [[[1, 0]] * 3] * 2}, ["2 priors of 1 agents"]),
        ({"priors": [[[1, 0]] * 2]}, ["the priors of 'agent1' have shape (2, 2)", "(3, 2)"]),
        ({"priors": [[[1, 0], [1, 0], [1, 1]]]}, ["'agent1' sum to 2, not 1, at index (2,)"]),
        ({"priors": [[[1, 0], [2, -1], [1, 0]]]}, ["negative entry -1 at index (1,)"]),
        ({"priors": [torch.ones(5, 3, 2) / 2]}, ["priors are given for 5 times", "horizon of 4"]),
        ({"transitions": MOVES.repeat(3, 1, 1, 1)}, ["transitions are given for 3 times"]),
        ({"rewards": torch.zeros(1, 2, 3, 2)}, ["rewards are given for 2 times", "horizon=2"]),
        ({"rewards": torch.zeros(1, 0, 2)}, ["without an entry"]),
        ({"rewards": [[[1.0, 2.0], [3.0]]]}, ["the rewards are no array of numbers: expected"]),
        ({"rewards": None}, ["the rewards are no array of numbers"]),
        ({"transitions": "MOVES"}, ["the transitions are no array of numbers"]),
        ({"initial": 0}, ["the initial law is one number; expected shape (3,)"]),
        ({"initial": torch.ones(2, 3) / 3}, ["initial law has shape (2, 3); expected (3,)"]),
    ],
)
def test_what_does_not_fit_is_said(keywords, words):
    with pytest.raises(vsg.GameError) as error:
        vsg.from_arrays(**{"rewards": PAY, "transitions": MOVES, "horizon": 4, **keywords})
    for word in words:
        assert word in str(error.value)


def test_a_list_of_arrays_is_an_array():
    pay = np.arange(8.0).reshape(2, 1, 2, 2)
    table = vsg.from_arrays(list(pay))
    assert [reward.flatten().tolist() for reward in table.rewards] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_batches_of_two_lengths():
    moves = torch.ones(3, 1, 2, 1)
    with pytest.raises(vsg.GameError, match="the batch has 2 and 3 games"):
        vsg.from_arrays(torch.zeros(2, 1, 1, 2), moves, discount=0.5, batched=True)


# --- there and back ------------------------------------------------------------------------------


def same(one: Arrays, other: Arrays):
    for name, value in vars(one).items():
        found = getattr(other, name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found, value, rtol=0, atol=1e-12, equal_nan=True)
        elif name == "priors":
            for a, b in zip(value, found, strict=True):
                torch.testing.assert_close(b, a, rtol=0, atol=1e-15)
        else:
            assert found == value, name


@settings(max_examples=80)
@given(games())
def test_a_random_program_comes_back(game):
    table = vsg.tabulate(game)
    arrays = to_arrays(table)
    again = arrays.table()
    same(arrays, to_arrays(again))
    assert list(again.states) == list(table.states)
    assert [a.names() for a in again.actions] == [a.names() for a in table.actions]
    assert (again.agents, again.discount, again.horizon) == (
        table.agents,
        table.discount,
        table.horizon,
    )
    if arrays.transitions is not None:
        total = arrays.transitions.sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)
    full = (table.horizon,) if table.horizon is not None else ()
    policies = {
        agent: prior[0].exp().expand(*full, -1, -1) if full else prior[0, 0].exp()
        for agent, prior in zip(table.agents, table.log_priors, strict=True)
    }
    one, other = (vsg.certify(t, policies, temperature=0.5) for t in (table, again))
    assert other.values == pytest.approx(one.values, abs=1e-9)
    assert other.per_agent == pytest.approx(one.per_agent, abs=1e-9)
    assert other.nash_gap_worst_state == pytest.approx(one.nash_gap_worst_state, abs=1e-9)
    assert other.bound == pytest.approx(one.bound, abs=1e-9)


@pytest.mark.parametrize("make", [models.StagHunt, models.Hedge])
def test_arrays_are_what_the_program_says(make):
    """Against the program's own table, entry by entry."""
    table = vsg.tabulate(make())
    arrays = to_arrays(make())
    assert (arrays.agents, arrays.states, arrays.name) == (
        table.agents,
        tuple(table.states),
        table.name,
    )
    for i, reward in enumerate(table.rewards):
        for place in torch.cartesian_prod(*(torch.arange(k) for k in (len(table.states), 2, 2))):
            s, a, b = place.tolist()
            found = reward[0, 0, s].expand(table.sizes)[a, b]
            assert arrays.rewards[i, s, a, b] == found


def test_time_and_chance():
    """A model with times: rewards and laws have a leading H where they depend on it."""
    table = vsg.tabulate(models.Thermostat(horizon=4))
    arrays = to_arrays(table)
    assert table.times == 4 and 4 in (arrays.rewards.shape[1], arrays.transitions.shape[0])
    policies = {
        agent: prior[0].exp().expand(4, -1, -1)
        for agent, prior in zip(table.agents, table.log_priors, strict=True)
    }
    one, other = vsg.certify(table, policies), vsg.certify(arrays.table(), policies)
    assert other.values == pytest.approx(one.values, abs=1e-12)
    assert other.nash_gap_worst_state == pytest.approx(one.nash_gap_worst_state, abs=1e-12)


@given(seed=st.integers(0, 99), timed=st.booleans(), shared=st.booleans())
@settings(max_examples=20)
def test_a_batch_comes_back(seed, timed, shared):
    torch.manual_seed(seed)
    times = (3,) if timed else ()
    rewards = torch.randn(5, 2, *times, 2, 2, 3).double()
    batch = () if shared else (5,)
    moves = torch.rand(*batch, *(() if shared else times), 2, 2, 3, 2).double()
    moves = moves / moves.sum(-1, keepdim=True)
    table = vsg.from_arrays(rewards, moves, horizon=3, batched=True, name="many")
    arrays = to_arrays(table)
    assert arrays.batched and torch.equal(arrays.rewards, rewards)
    torch.testing.assert_close(arrays.transitions.squeeze(0), moves, rtol=0, atol=1e-15)
    same(arrays, to_arrays(arrays.table()))


def test_one_shot_games_have_no_transitions():
    arrays = to_arrays(models.PrisonersDilemma())
    assert arrays.transitions is None and arrays.horizon == 1
    assert vsg.exact_nash(arrays.table()).policy("row", 0)["DEFECT"] == pytest.approx(1.0)


def test_too_large_arrays_are_refused_with_their_size():
    table = vsg.tabulate(models.Soccer(rows=2, columns=3))
    n = len(table.states)
    bytes_ = 8 * n * 25 * (2 + n)
    with pytest.raises(vsg.GameError, match=re.escape(f"would take {bytes_:,} bytes, and 1,000 ")):
        to_arrays(table, max_bytes=1000)
    assert to_arrays(table, max_bytes=bytes_).transitions.shape == (n, 5, 5, n)
