"""`solve` picks what suits the game, says so, and can be told otherwise."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.mean_field_table import mean_field_table
from vsg_ppl.solve import SOLVERS


class Crossing:
    """Two cars and a light."""

    agents = ("north", "east")
    horizon = 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        vsg.signal("light", dist.Categorical(torch.tensor([0.5, 0.5]).double()))
        goes = [vsg.act(agent, dist.Categorical(torch.ones(2))) for agent in self.agents]
        for own, other, agent in zip(goes, goes[::-1], self.agents, strict=True):
            vsg.optimality(agent, own.double() - 10.0 * own * other)
        return state


def team():
    reward = torch.rand(1, 4, 2, 2, dtype=torch.float64).expand(2, -1, -1, -1)
    chance = torch.rand(4, 2, 2, 4, dtype=torch.float64)
    return vsg.from_arrays(reward, chance / chance.sum(-1, keepdim=True), discount=0.9)


@pytest.mark.parametrize(
    ("game", "solver", "why"),
    [
        (models.BeachBar(), "mean_field_nash", "the step takes the crowd"),
        (mean_field_table(models.LeftRight()), "mean_field_nash", "the step takes the crowd"),
        (Crossing(), "correlated", "it has a public signal"),
        (models.MatchingPennies(bias=9), "zero_sum", "two agents' rewards sum to a constant"),
        (models.Soccer(rows=2, columns=3), "zero_sum", "two agents' rewards sum to a constant"),
        (models.Chicken(), "potential_nash", "it has a potential in every state"),
        (models.StagHunt(), "potential_nash", "it has a potential in every state"),
        (models.Thermostat(), "potential_nash", "it has one agent"),
        (team(), "potential_nash", "all agents want the same"),
        (models.Hedge(), "exact_nash", "it is a general-sum game"),
        (models.RandomGame(), "exact_nash", "it is a general-sum game"),
        (models.ThreeAgents(), "exact_nash", "it is a general-sum game"),
        (
            vsg.from_arrays(torch.rand(3, 2, 1, 2, 2).double(), batched=True),
            "nash",
            "it is a batch of games",
        ),
    ],
)
def test_what_suits_the_game(game, solver, why):
    solution = vsg.solve(game)
    assert solution.message.endswith(f"; by {solver}, as {why}")
    assert solution.concept == SOLVERS[solver][0]
    assert solution.solved or solver == "nash"
    if not isinstance(game, vsg.Table | vsg.MeanFieldTable) and solver != "correlated":
        assert solution.game is game


def test_the_certificate_is_the_games():
    for game in (models.Hedge(), models.Chicken(), models.MatchingPennies()):
        solution = vsg.solve(game)
        assert vsg.certify(game, solution.policies).nash_gap <= 1e-6
    solution = vsg.solve(Crossing())
    assert vsg.certify(solution.game, solution.policies).nash_gap <= 1e-6


@pytest.mark.parametrize("method", [name for name in SOLVERS if name != "mean_field_nash"])
def test_any_method_can_be_forced(method):
    if method == "zero_sum":
        game, options = models.MatchingPennies(), {}
    else:
        game = models.BattleOfTheSexes()
        options = {"correlated": {"signals": 2}, "logit_path": {"temperature": 0.5}}.get(method, {})
    solution = vsg.solve(game, method=method, **options)
    assert solution.message.endswith(f"; by {method}, as asked for")
    assert solution.solved


def test_concepts_can_be_forced():
    nash = vsg.solve(Crossing(), concept="nash")
    assert nash.concept == "nash" and nash.solved
    assert nash.message.endswith("; by potential_nash, as it has a potential in every state")
    correlated = vsg.solve(models.Hedge(), concept="correlated", signals=2)
    assert correlated.concept == "correlated" and correlated.solved


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ({"temperature": 0.5}, "nash, as a temperature is given"),
        ({"factorisation": "conditional"}, "nash, as `factorisation` is given"),
        ({"entropy": "none"}, "nash, as `entropy` is given"),
        ({"seed": 1}, "exact_nash, as a seed is given"),
        ({"signals": 2}, "correlated, as `signals` is given"),
        ({"objective": "fairness", "signals": 2}, "correlated, as `objective` is given"),
        ({"method": "nash", "seed": 2, "temperature": 0.5}, "nash, as asked for"),
    ],
)
def test_options_have_their_say(options, solver):
    assert vsg.solve(models.Chicken(), **options).message.endswith(f"; by {solver}")


@pytest.mark.parametrize(
    ("game", "method"),
    [
        (models.Hedge(), "exact_nash"),
        (models.Hedge(), "nash"),
        (models.MatchingPennies(bias=9), "zero_sum"),
        (models.BeachBar(), "mean_field_nash"),
        (Crossing(), "correlated"),
    ],
)
def test_one_target_for_all(game, method):
    solution = vsg.solve(game, method=method, target_gap=1e-2)
    assert solution.solved and solution.certificate.largest_gap <= 1e-2


def test_a_target_for_a_temperature_that_falls():
    cooling = vsg.Annealing(start=0.5, factor=0.9)
    solution = vsg.solve(models.Hedge(), temperature=cooling, target_gap=1e-2)
    temperatures = [entry["temperature"] for entry in solution.history]
    assert temperatures[0] == 0.5 and 0.45 in temperatures
    assert 1e-3 < solution.certificate.nash_gap <= 1e-2


def test_too_large_for_exact_equilibria():
    """9,000 values, and stages of 12 by 12 actions."""
    table = vsg.from_arrays(torch.rand(2, 450, 12, 12).double(), horizon=1)
    solution = vsg.solve(table, temperature=None, max_steps=1)
    assert "as it is a general-sum game, too large for `exact_nash`" in solution.message


def test_where_exact_nash_does_not_arrive():
    """`nash` is tried, and the better one comes back."""
    game = models.RandomGame(16, 2, 4, discount=0.95)
    solution = vsg.solve(game, max_steps=1)
    alone = vsg.exact_nash(game, max_steps=1)
    assert alone.status == "not converged"
    assert solution.certificate.nash_gap <= alone.certificate.nash_gap
    closer = vsg.solve(game, max_steps=1, target_gap=1e-5)
    assert not closer.solved or closer.certificate.nash_gap <= 1e-5


@pytest.mark.parametrize(
    ("game", "options", "words"),
    [
        (models.Chicken(), {"method": "magic"}, "the method is 'magic'"),
        (models.Chicken(), {"concept": "magic"}, "the concept is 'magic'"),
        (models.Chicken(), {"concept": "mean_field"}, "Chicken is not a mean-field game"),
        (models.Chicken(), {"method": "mean_field_nash"}, "Chicken is not a mean-field game"),
        (models.BeachBar(), {"concept": "nash"}, "the game is a mean-field game"),
        (models.BeachBar(), {"method": "nash"}, "the game is a mean-field game"),
        (
            models.Chicken(),
            {"method": "nash", "concept": "correlated"},
            "nash finds a nash equilibrium, and correlated is wanted",
        ),
        (models.Chicken(), {"colour": "red"}, "potential_nash has no option 'colour'"),
        (
            models.Chicken(),
            {"tolerance": 1e-9},
            "potential_nash has no option 'tolerance'.*`method='exact_nash'`, which has it",
        ),
        (
            Crossing(),
            {"temperature": 0.5},
            "correlated has no option 'temperature'.*`method='nash'`, which has it; or objective",
        ),
        (models.Chicken(), {"target_gap": -1}, "the target gap is -1; it must be positive"),
        (
            models.Chicken(),
            {"target_gap": 1e-2, "temperature": 0.5},
            "`target_gap` stops a temperature that falls, and 0.5 is a fixed one",
        ),
        (
            models.Chicken(),
            {"method": "logit_path", "target_gap": 1e-2, "temperature": 0.5},
            "no `target_gap` stops it",
        ),
        (models.Hedge(), {"method": "exact_nash", "signals": 2}, "no option 'signals'"),
        (
            models.MatchingPennies(),
            {"method": "zero_sum", "seed": 1},
            "zero_sum does not start from policies",
        ),
    ],
)
def test_what_does_not_fit_is_said(game, options, words):
    with pytest.raises(vsg.GameError, match=words):
        vsg.solve(game, **options)
