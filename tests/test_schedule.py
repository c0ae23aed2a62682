"""Temperatures that fall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsg_ppl as vsg
from vsg_ppl.models import Chicken

positive = st.floats(1e-6, 1e3)


@given(positive, positive, st.floats(0.05, 0.95), st.booleans())
def test_temperatures_fall_by_the_factor_and_end_at_stop(first, second, factor, given_start):
    start, stop = max(first, second), min(first, second)
    annealing = vsg.Annealing(start if given_start else None, stop, factor)
    stages = list(annealing.stages(start))
    assert stages[0] == start
    assert stages[-1] == stop
    for before, after in zip(stages[:-2], stages[1:-1], strict=True):
        assert after == pytest.approx(factor * before, rel=1e-12)
    if len(stages) > 1:
        # the last fall may be shorter, and never goes below
        assert factor * stages[-2] <= stop * (1 + 1e-12)
        assert all(stage > stop for stage in stages[:-1])


@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_a_game_whose_rewards_hardly_differ(spread):
    assert list(vsg.Annealing(stop=1e-3).stages(spread)) == [1e-3]


def test_an_explicit_start_wins_over_the_spread():
    assert next(vsg.Annealing(start=2.0).stages(spread=50.0)) == 2.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 0.0}, "between 0 and 1, and this is 0.0"),
        ({"factor": 1.0}, "between 0 and 1"),
        ({"factor": float("nan")}, "between 0 and 1"),
        ({"stop": 0.0}, "temperatures are positive and fall"),
        ({"stop": -1.0}, "temperatures are positive and fall"),
        ({"start": 0.1, "stop": 0.2}, "annealing from 0.1 to 0.2"),
        ({"start": float("nan")}, "temperatures are positive and fall"),
    ],
)
def test_bad_schedules(options, words):
    with pytest.raises(vsg.GameError, match=words):
        vsg.Annealing(**options)


def test_nash_stops_early_at_the_target_and_not_without_one():
    game = Chicken()  # rewards from 0 to 7
    early = vsg.nash(game, temperature=vsg.Annealing(stop=1e-4, target_gap=0.5))
    assert early.solved
    assert early.certificate.nash_gap <= 0.5
    temperatures = sorted({entry["temperature"] for entry in early.history}, reverse=True)
    assert temperatures == [7 / 2**k for k in range(len(temperatures))]
    assert early.temperature == temperatures[-1] > 1e-3

    late = vsg.nash(game, temperature=vsg.Annealing(stop=1e-4, target_gap=None))
    assert late.solved
    assert late.temperature == 1e-4

    never = vsg.nash(game, temperature=vsg.Annealing(stop=1.0, target_gap=1e-9))
    assert never.status == "not converged"
    assert "(wanted 1e-09)" in never.message


def test_a_list_of_temperatures_is_followed_as_given():
    solution = vsg.nash(Chicken(), temperature=(3.0, 2.0, 0.7))
    assert list(dict.fromkeys(e["temperature"] for e in solution.history)) == [3.0, 2.0, 0.7]
