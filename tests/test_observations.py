"""Counts of what was seen, against loops over the steps."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import vsg_ppl as vsg
from tests.random_games import random_program
from vsg_ppl.errors import GameError
from vsg_ppl.models import RandomGame, StagHunt
from vsg_ppl.observations import UNSEEN, action_number
from vsg_ppl.simulate import simulate


def uniform(table):
    return {
        agent: prior[0].exp().expand(table.horizon or 1, -1, -1)
        if table.horizon is not None
        else prior[0, 0].exp()
        for agent, prior in zip(table.agents, table.log_priors, strict=True)
    }


def loops(table, trajectories):
    """Counters of (agent, time, state, action) and of (time, state)."""
    acts, visits = Counter(), Counter()
    for trajectory in trajectories:
        for t, (state, actions) in enumerate(trajectory):
            t = t if table.horizon is not None else 0
            number = list(table.states).index(state)
            visits[t, number] += 1
            for agent, action in actions.items():
                if action is None:
                    continue
                names = table.actions[table.number(agent)].names()
                action = names.index(action) if isinstance(action, str) else action
                acts[agent, t, number, action] += 1
    return acts, visits


def assert_counted(seen, trajectories):
    acts, visits = loops(seen.table, trajectories)
    for agent, counts in seen.counts.items():
        for (t, s, a), n in zip(
            torch.cartesian_prod(*map(torch.arange, counts.shape)).tolist(),
            counts.reshape(-1).tolist(),
            strict=True,
        ):
            assert n == acts[agent, t, s, a]
    for t in range(seen.visits.shape[0]):
        for s in range(seen.visits.shape[1]):
            assert float(seen.visits[t, s]) == visits[t, s]
    assert seen.steps == sum(len(trajectory) for trajectory in trajectories)


def labelled(plays, names=True):
    """What `simulate` gave as trajectories for people."""
    out = []
    for k in range(len(plays)):
        rows = [(row["state"], dict(row["actions"])) for row in plays.trajectory(k)]
        if not names:
            number = plays.table.number
            rows = [
                (s, {a: plays.table.actions[number(a)].names().index(x) for a, x in done.items()})
                for s, done in rows
            ]
        out.append(rows)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_counts_of_simulated_play(seed):
    game = random_program(seed, 16, (1, 3, None), 4)
    table = vsg.tabulate(game)
    steps = None if table.horizon is not None else 5
    plays = simulate(table, uniform(table), 20, steps=steps, seed=seed)
    seen = vsg.Observations.of(table, plays)
    numbered = [
        [
            (table.states[s], {a: int(done[k, t]) for a, done in plays.actions.items()})
            for t, s in enumerate(row)
        ]
        for k, row in enumerate(plays.states.tolist())
    ]
    assert_counted(seen, numbered)
    again = vsg.Observations.of(table, numbered)
    for agent in table.agents:
        assert bool((again.counts[agent] == seen.counts[agent]).all())


@pytest.mark.parametrize("names", [True, False])
def test_trajectories_by_label(names):
    table = vsg.tabulate(StagHunt())
    plays = simulate(table, uniform(table), 4, steps=7)
    trajectories = labelled(plays, names)
    assert_counted(vsg.Observations.of(table, trajectories), trajectories)
    # a generator of generators is as good
    lazy = (iter(trajectory) for trajectory in trajectories)
    assert_counted(vsg.Observations.of(table, lazy), trajectories)


def test_actions_that_were_not_seen():
    table = vsg.tabulate(StagHunt())
    trajectories = [
        [(0, {"row": "STAG"}), (1, {}), (0, {"row": None, "col": 1})],
        [],
        [(1, {"col": "HARE"})],
    ]
    seen = vsg.Observations.of(table, trajectories)
    assert_counted(seen, trajectories)
    assert float(seen.counts["row"].sum()) == 1
    assert float(seen.counts["col"].sum()) == 2
    assert float(seen.visits.sum()) == 4


def test_adding_twice_adds_up():
    table = vsg.tabulate(StagHunt())
    seen = vsg.Observations(table)
    states, row = torch.tensor([0, 1, 1]), torch.tensor([1, UNSEEN, 0])
    seen.add(states=states, actions={"row": row})
    seen.add(states=states, actions={"row": row, "col": torch.tensor([0, 0, 0])})
    assert seen.counts["row"].tolist() == [[[0.0, 2.0], [2.0, 0.0]]]
    assert seen.counts["col"].tolist() == [[[1.0, 0.0], [2.0, 0.0]]]
    assert seen.visits.tolist() == [[2.0, 4.0]] and seen.steps == 6
    assert "6 steps, 2 of 2 states seen" in repr(seen)


def test_observations_are_taken_as_they_are():
    table = vsg.tabulate(StagHunt())
    seen = vsg.Observations(table)
    assert vsg.Observations.of(vsg.tabulate(StagHunt()), seen) is seen


def test_smoothing_is_the_rule_of_succession():
    table = vsg.tabulate(StagHunt())
    seen = vsg.Observations(table)
    seen.add(states=torch.tensor([0, 0, 0]), actions={"row": torch.tensor([1, 1, 0])})
    smooth = seen.smoothed("row", 2.0)[0, 0]
    torch.testing.assert_close(smooth[0], torch.tensor([2 / 5, 3 / 5]).double())
    torch.testing.assert_close(smooth[1], torch.tensor([0.5, 0.5]).double())


@pytest.mark.parametrize(
    ("play", "match"),
    [
        ([[(0, {"nobody": 0})]], "trajectory 0, step 0.*no agent 'nobody'"),
        ([[(0, {"row": "RUN"})]], "'row' has no action 'RUN'.*STAG, HARE"),
        ([[(0, {"row": 0}), (0, {"row": 2})]], "step 1.*no action 2"),
        ([[(0, {"row": -1})]], "no action -1"),
        ([[], [(7, {"row": 0})]], "trajectory 1, step 0.*the state 7"),
        ([[((0, 1), {"row": 0})]], "trajectory 0, step 0"),
        ([[0, 1]], "trajectory 0, step 0 is 0"),
        ([[(0, ["STAG"])]], "trajectory 0, step 0"),
        ("plays.csv", "read_play"),
        ({"row": 0}, "given as a dict"),
        (3, "given as a int"),
    ],
)
def test_errors_say_where(play, match):
    with pytest.raises(GameError, match=match):
        vsg.Observations.of(vsg.tabulate(StagHunt()), play)


def test_a_trajectory_beyond_the_horizon():
    table = vsg.from_arrays(torch.rand(1, 2, 2), torch.full((2, 2, 2), 0.5), horizon=2)
    assert vsg.Observations.of(table, [[(0, {}), (1, {})]]).steps == 2
    with pytest.raises(GameError, match="3 steps.*ends after 2"):
        vsg.Observations.of(table, [[(0, {}), (1, {}), (0, {})]])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"states": [2], "actions": {}}, "state has the number 2"),
        ({"states": [-1], "actions": {}}, "state has the number -1"),
        ({"states": [0, 0], "actions": {"row": [0, 5]}}, "'row' has the number 5"),
        ({"states": [0], "actions": {"row": [-2]}}, "'row' has the number -2"),
        ({"states": [0], "actions": {"cy": [0]}}, "no agent 'cy'"),
        ({"states": [0, 1, 0], "actions": {"row": [0]}}, "1 actions of 'row'.*3 states"),
        ({"states": [0, 1], "actions": {"row": [0, 0, 0]}}, "3 actions of 'row'.*2 states"),
    ],
)
def test_what_is_refused_is_not_counted(arguments, match):
    seen = vsg.Observations(vsg.tabulate(StagHunt()))
    actions = {agent: torch.tensor(done) for agent, done in arguments["actions"].items()}
    with pytest.raises(GameError, match=match):
        seen.add(states=torch.tensor(arguments["states"]), actions=actions)
    assert seen.steps == 0 and not bool(seen.visits.any())
    assert not any(bool(counts.any()) for counts in seen.counts.values())


def test_times_where_there_is_a_horizon():
    table = vsg.from_arrays(torch.rand(1, 2, 2), torch.full((2, 2, 2), 0.5), horizon=3)
    seen = vsg.Observations(table)
    states, actions = torch.tensor([0, 1]), {"agent1": torch.tensor([1, 1])}
    with pytest.raises(GameError, match="needs its times"):
        seen.add(states=states, actions=actions)
    with pytest.raises(GameError, match="time has the number 3"):
        seen.add(states=states, actions=actions, times=torch.tensor([0, 3]))
    seen.add(states=states, actions=actions, times=torch.tensor([0, 2]))
    assert seen.visits.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]


def test_the_game_must_be_the_one_observed():
    hunt, other = vsg.tabulate(StagHunt()), vsg.tabulate(RandomGame(states=3, actions=2))
    plays = simulate(other, uniform(other), 2, steps=3)
    with pytest.raises(GameError, match="observed in another game"):
        vsg.Observations.of(hunt, plays)
    with pytest.raises(GameError, match="observed in another game"):
        vsg.Observations.of(hunt, vsg.Observations(other))
    batch = vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True)
    with pytest.raises(GameError, match="a batch of 3"):
        vsg.Observations(batch)


def test_an_actions_number():
    table = vsg.tabulate(StagHunt())
    assert action_number(table, "col", "1") == 1
    assert action_number(table, "col", torch.tensor(1)) == 1
    assert action_number(table, "col", None) == UNSEEN
    with pytest.raises(GameError, match="from 0 to 1"):
        action_number(table, "col", "2")
