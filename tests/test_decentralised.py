"""Algorithm 1 without a centre: what the agents know, and how far it takes them."""

from __future__ import annotations

import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.decentralised import Learner, nash_decentralised
from vsg_ppl.models import Chicken, Congestion, MatchingPennies, RandomGame, Soccer, StagHunt

CASES = [
    (StagHunt(), 0.1),
    (Chicken(), 0.1),
    (Soccer(rows=2, columns=3), 0.02),
    (Congestion(), 0.1),
]


@pytest.mark.parametrize(("game", "temperature"), CASES, ids=lambda x: type(x).__name__)
def test_ends_within_a_twentieth_of_the_exact_run(game, temperature):
    table = vsg.tabulate(game)
    exact = vsg.nash(
        table, temperature=vsg.Annealing(stop=temperature, target_gap=None), tolerance=1e-6
    )
    seen = nash_decentralised(table, temperature=temperature, iterations=300)
    assert seen.certificate.nash_gap <= exact.certificate.nash_gap + 0.05
    assert seen.status == "solved"


UNALIGNED = [*CASES, *((RandomGame(states=4, seed=seed), 0.3) for seed in range(10))]


@pytest.mark.slow
@pytest.mark.parametrize(("game", "temperature"), UNALIGNED, ids=lambda x: type(x).__name__)
def test_inferring_what_others_want_ends_within_a_twentieth_of_exact_models(game, temperature):
    """Algorithm 3 inside Algorithm 1."""
    table = vsg.tabulate(game)
    exact = vsg.nash(
        table, temperature=vsg.Annealing(stop=temperature, target_gap=None), tolerance=1e-6
    )
    seen = nash_decentralised(
        table, temperature=temperature, iterations=100, opponents="inferred", certify_every=20
    )
    assert seen.certificate.nash_gap <= exact.certificate.nash_gap + 0.05
    assert seen.history[-1]["opponent_error"] < 0.02
    for entry in seen.history:
        assert "q_error" not in entry or entry["q_error"] <= entry["q_bound"]


def test_unknown_ways_to_model_opponents_are_refused():
    with pytest.raises(vsg.GameError, match="'counted' or 'inferred'"):
        nash_decentralised(StagHunt(), opponents="guessed")


@pytest.mark.parametrize("inferred", [False, True])
def test_a_learner_holds_nobody_elses_reward(inferred):
    table = vsg.tabulate(RandomGame(n_agents=3))
    learner = Learner(table, "agent2", 0.1, inferred=inferred)
    for i, reward in enumerate(learner.world.rewards):
        assert (torch.equal(reward, table.rewards[i])) == (i == 1)
        assert i == 1 or not reward.any()


@pytest.mark.parametrize("inferred", [False, True])
def test_nobody_elses_reward_changes_what_a_learner_does(inferred):
    """The same observations, another reward for the other agent: the same policy, to the bit."""
    rewards = torch.rand(2, 3, 2, 2, dtype=torch.float64)
    other = rewards.clone()
    other[1] = torch.rand(3, 2, 2, dtype=torch.float64)
    law = torch.full((3, 2, 2, 3), 1 / 3, dtype=torch.float64)
    learners = [
        Learner(vsg.from_arrays(r, law, discount=0.9), "agent1", 0.2, inferred=inferred)
        for r in (rewards, other)
    ]
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        t, states = torch.zeros(50).long(), torch.randint(3, (50,), generator=generator)
        actions = torch.randint(2, (50,), generator=generator)
        for learner in learners:
            learner.observe(t, states, {0: actions, 1: actions})
            learner.improve(0.5)
    assert torch.equal(learners[0].log_policy, learners[1].log_policy)


def test_opponent_models_come_to_match_what_is_played():
    solution = nash_decentralised(MatchingPennies(bias=9.0), temperature=0.2, iterations=500)
    errors = [entry["opponent_error"] for entry in solution.history]
    assert errors[-1] < 0.01 < max(errors)


def test_the_same_seed_gives_the_same_solution_and_another_does_not():
    runs = [
        nash_decentralised(Soccer(rows=2, columns=3), iterations=20, seed=seed)
        for seed in (1, 1, 2)
    ]
    same, other = runs[0].policies["a"], runs[2].policies["a"]
    assert torch.equal(same, runs[1].policies["a"])
    assert not torch.equal(same, other)


def test_too_short_a_run_is_not_called_solved():
    solution = nash_decentralised(StagHunt(), temperature=1e-3, iterations=1, plays=1, step=0.01)
    assert solution.status == "not converged"
    assert "raise `iterations`" in solution.message


def test_ctrl_c_returns_what_there_is(monkeypatch):
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr("vsg_ppl.decentralised._round", stop)
    solution = nash_decentralised(StagHunt())
    assert solution.status == "interrupted"
    assert solution.iterations == 3


def test_a_batch_is_refused():
    table = vsg.from_arrays(torch.rand(5, 2, 1, 2, 2), batched=True)
    with pytest.raises(vsg.GameError, match="batch"):
        nash_decentralised(table)
