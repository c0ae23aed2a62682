"""Mean-field solvers: exact equilibria, Algorithm 4 by other means, and their agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_crowds import RandomCrowd, Shape, shapes
from vsg_ppl.errors import GameError
from vsg_ppl.mean_field import METHODS
from vsg_ppl.models import GAMES, BeachBar, LeftRight, Malware, SusceptibleInfected, TorusCrowd

EXACT = [
    "left_right",
    "rock_paper_scissors_crowd",
    "beach_bar",
    "linear_quadratic",
    "building_evacuation",
    "braess",
    "malware",
    "crowd_motion",
    "torus_crowd",
    "treasure_hunting",
    "equilibrium_price",
    "random_linear",
]


@pytest.mark.parametrize("name", EXACT)
def test_one_default_setting_for_every_game(name):
    """Exploitability < 1e-6 was asked for; the default tolerance is 1e-8."""
    game = TorusCrowd(size=5, horizon=6) if name == "torus_crowd" else GAMES[name]()
    solution = vsg.mean_field_nash(game)
    assert solution.status == "solved", solution.message
    # the certificate of somebody else: tabulated anew, from the policy alone
    agent = solution.table.agents[0]
    again = vsg.mean_field_certify(game, solution.policies[agent])
    assert again.exploitability < 1e-8
    assert again.exploitability == pytest.approx(solution.certificate.exploitability, abs=1e-12)


def test_where_paths_fold():
    """An epidemic of 14 days: smoothing alone ends at a fold, and the horizon's path goes round."""
    solution = vsg.mean_field_nash(SusceptibleInfected(horizon=14), starts=0)
    assert solution.solved and solution.certificate.exploitability < 1e-8


@settings(max_examples=25)
@given(shapes() | shapes(stationary=True))
def test_random_games_have_certified_equilibria(shape):
    """Whatever is returned says truly what it is worth; most of it is an equilibrium."""
    game = RandomCrowd(shape)
    solution = vsg.mean_field_nash(game, starts=2, max_steps=2000)
    certificate = vsg.mean_field_certify(game, solution.policies["one"])
    assert certificate.exploitability == pytest.approx(
        solution.certificate.exploitability, abs=1e-12
    )
    assert solution.solved == (certificate.exploitability <= 1e-8)


def test_most_random_games_are_solved():
    solved = 0
    for seed in range(20):
        shape = Shape(seed, 3, (2, 2), None if seed % 4 == 0 else 3, 0.9, True, False)
        solved += vsg.mean_field_nash(RandomCrowd(shape)).solved
    assert solved >= 19


# --- Soft equilibria ---


@settings(max_examples=20)
@given(shapes(), st.sampled_from([1.0, 5.0]))
def test_the_soft_equilibrium_solves_11_and_12(shape, tau):
    """π = softmax(log u + Q/τ) amid the crowd that π makes, by loops."""
    game = RandomCrowd(shape)
    solution = vsg.mean_field_nash(game, temperature=tau, tolerance=1e-12)
    if not solution.solved:
        return
    policy = solution.policies["one"].numpy()
    prior = np.full_like(policy, 1 / policy.shape[-1])
    answer, _, _ = game.values(game.crowds(policy), None, tau, prior)
    np.testing.assert_allclose(policy, answer, atol=1e-7)
    np.testing.assert_allclose(solution.crowd, game.crowds(policy), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "temperature"),
    [
        ("beach_bar", 3.0),
        ("susceptible_infected", 0.5),
        ("linear_quadratic", 0.5),
        ("malware", 0.5),
    ],
)
def test_methods_agree(name, temperature):
    """Newton, Algorithm 4 and mirror descent to 1e-6, SVI to 1e-3."""
    table = vsg.mean_field_table(GAMES[name]())
    agent = table.agent
    exact = vsg.mean_field_nash(table, temperature=temperature, tolerance=1e-14)
    assert exact.certificate.regularised < 1e-12
    visited = exact.crowd.sum(-1, keepdim=True) > 1e-12
    others = {
        "algorithm4": ({"tolerance": 1e-15}, 1e-6),
        "mirror_descent": ({"learning_rate": 0.2, "tolerance": 1e-15}, 1e-6),
        "svi": ({"max_steps": 30, "tolerance": 1e-12}, 1e-3),
    }
    for method, (options, close) in others.items():
        if (name, method) == ("linear_quadratic", "svi"):
            options = {**options, "max_steps": 120}
        found = vsg.mean_field_nash(table, temperature=temperature, method=method, **options)
        off = (found.policies[agent] - exact.policies[agent]).abs() * visited
        assert float(off.max()) < close, (method, float(off.max()), found.message)


@settings(max_examples=15)
@given(shapes(), st.integers(1, 3), st.sampled_from([0.3, 2.0]))
def test_algorithm_4_and_prior_descent_by_loops(shape, every, tau):
    """Iterations of (11), (12), the crowd's flow, the prior moved every so often, told again."""
    game = RandomCrowd(shape)
    table = vsg.mean_field_table(game)
    policy = table.prior.numpy()
    prior, count = policy.copy(), 7
    for k in range(count - 1):
        answer, _, _ = game.values(game.crowds(policy), None, tau, prior)
        policy = answer
        if (k + 1) % every == 0:
            prior = answer.copy()

    solution = vsg.mean_field_nash(
        game, method="algorithm4", temperature=tau, move_prior=every, max_steps=count,
        tolerance=1e-300,
    )  # fmt: skip
    # the run keeps its best iterate; the last one shows in the history
    hard = [game.values(game.crowds(policy), p, 0.0, policy)[2] for p in (None, policy)]
    want = game.start @ (hard[0] - hard[1])[0]
    assert solution.history[-1]["exploitability"] == pytest.approx(want, abs=1e-9)


def test_algorithm_4_cycles_at_low_temperatures():
    """It ends in a cycle far from the soft equilibrium, which exists."""
    hot, cold = (
        vsg.mean_field_nash(
            LeftRight(), method="algorithm4", temperature=tau, max_steps=300, tolerance=1e-10
        )
        for tau in (2.0, 0.2)
    )
    assert hot.solved and not cold.solved
    assert cold.history[-1]["residual"] > 0.5 and cold.history[-2]["residual"] > 0.5
    exact = vsg.mean_field_nash(LeftRight(), temperature=0.2)
    assert exact.solved and exact.certificate.regularised < 1e-8


def test_annealing_stops_at_its_target():
    schedule = vsg.Annealing(target_gap=1e-2)
    solution = vsg.mean_field_nash(BeachBar(), temperature=schedule)
    assert solution.solved and 1e-4 < solution.certificate.exploitability <= 1e-2
    assert solution.temperature > 1e-3
    ladder = vsg.mean_field_nash(BeachBar(), temperature=[4.0, 2.0], method="algorithm4")
    assert ladder.solved and ladder.temperature == 2.0


def test_prior_descent_reaches_an_equilibrium_without_regularisation():
    solution = vsg.mean_field_nash(
        LeftRight(), method="algorithm4", temperature=2.0, move_prior=1, tolerance=1e-6
    )
    assert solution.solved and solution.certificate.exploitability < 1e-6
    # two thirds go left, where company costs half as much
    assert float(solution.policies["walker"][0, 0, 0]) == pytest.approx(2 / 3, abs=1e-3)


def test_fictitious_play_approaches_the_equilibrium():
    solution = vsg.mean_field_nash(LeftRight(), method="fictitious_play", max_steps=500)
    gaps = [entry["exploitability"] for entry in solution.history]
    assert gaps[-1] < 0.02 * gaps[0]


def test_mirror_descent_on_a_monotone_game():
    game = TorusCrowd(size=4, horizon=4)
    solution = vsg.mean_field_nash(
        game, method="mirror_descent", learning_rate=0.5, tolerance=1e-4, max_steps=2000
    )
    assert solution.solved and solution.certificate.exploitability <= 1e-4


def test_a_prior_of_ones_own():
    """The regularised equilibrium is relative to it: at a high temperature it is the prior."""
    prior = torch.tensor([0.2, 0.3, 0.5]).double().expand(3, 4, 3)
    hot = vsg.mean_field_nash(BeachBar(), temperature=1e6, prior=prior)
    torch.testing.assert_close(hot.policies["bather"], prior, atol=1e-5, rtol=0)
    warm = vsg.mean_field_nash(BeachBar(), temperature=2.0, prior=prior)
    again = vsg.mean_field_certify(BeachBar(), warm.policies["bather"], 2.0, prior=prior)
    assert warm.solved and again.regularised < 1e-8
    other = vsg.mean_field_certify(BeachBar(), warm.policies["bather"], 2.0)
    assert other.regularised > 1e-3


# --- Numbers that are not ---


@pytest.mark.parametrize("temperature", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("name", ["beach_bar", "left_right", "linear_quadratic", "malware"])
@pytest.mark.parametrize("method", ["exact", "algorithm4", "mirror_descent", "fictitious_play"])
def test_low_temperatures_give_no_nan(name, temperature, method):
    options = {} if method == "exact" else {"max_steps": 20}
    if method == "algorithm4":
        options["move_prior"] = 2
    if method == "exact" and name == "malware":
        options["max_steps"] = 500
    solution = vsg.mean_field_nash(GAMES[name](), temperature=temperature, method=method, **options)
    for x in (*solution.policies.values(), *solution.values.values(), solution.crowd):
        assert bool(torch.isfinite(x).all())
    assert np.isfinite(solution.certificate.exploitability)
    assert all(np.isfinite(entry["residual"]) for entry in solution.history)


def test_the_exact_soft_equilibrium_at_a_low_temperature():
    """Its exploitability is at most τ Σ log |A|."""
    for temperature in (1e-2, 1e-4, 1e-6):
        solution = vsg.mean_field_nash(BeachBar(), temperature=temperature)
        assert solution.solved
        assert solution.certificate.exploitability <= 3 * temperature * np.log(3) + 1e-12


# --- What comes back ---


def test_the_solution_is_of_one_agent_amid_the_crowd():
    solution = vsg.mean_field_nash(BeachBar())
    assert solution.concept == "mean_field" and solution.temperature == 0.0
    assert solution.crowd.shape == (3, 4, 3)
    rows = solution.policies["bather"]
    mass = solution.crowd.sum(-1, keepdim=True)
    torch.testing.assert_close(mass * rows, solution.crowd)
    plays = solution.simulate(4000, seed=1)
    seen = torch.stack([torch.bincount(plays.states[:, t], minlength=4) for t in range(3)]) / 4000
    torch.testing.assert_close(seen.double(), mass[..., 0], atol=0.03, rtol=0)
    single = vsg.certify(solution.table, solution.policies)
    assert single.nash_gap == pytest.approx(solution.certificate.exploitability, abs=1e-12)
    model = vsg.agent_model(vsg.facing(BeachBar(), solution.crowd), "bather")
    assert model is not None


def test_stationary_solutions_have_no_times():
    solution = vsg.mean_field_nash(Malware())
    n, a = len(solution.table.states), solution.table.sizes[0]
    assert solution.crowd.shape == (n, a)
    assert solution.policies[solution.table.agents[0]].shape == (n, a)


def test_interrupted_runs_return_their_best():
    table = vsg.mean_field_table(BeachBar())
    kernel, calls = table.kernel, []

    def stop(*args):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return kernel(*args)

    table.kernel = stop
    solution = vsg.mean_field_nash(table, method="mirror_descent", learning_rate=0.01)
    assert solution.status == "interrupted" and "stopped by hand" in solution.message
    assert solution.certificate.exploitability < 1.3


def test_seeds_repeat():
    game = RandomCrowd(Shape(3, 4, (2, 2), 4, None, True, False))
    one, other = (vsg.mean_field_nash(game, seed=5) for _ in range(2))
    assert torch.equal(one.policies["one"], other.policies["one"])
    assert one.iterations == other.iterations


def test_a_status_that_says_what_stopped_it():
    solution = vsg.mean_field_nash(BeachBar(), method="mirror_descent", max_steps=2)
    assert solution.status == "not converged"
    assert "raise `max_steps`" in solution.message and "wanted 1e-08" in solution.message


def test_errors():
    game = BeachBar()
    for match, options in (
        ("method 'newton'", {"method": "newton"}),
        ("needs a temperature", {"method": "algorithm4"}),
        ("needs a temperature", {"method": "svi"}),
        ("must be positive", {"temperature": 0.0}),
        ("must be positive", {"temperature": float("nan")}),
        ("do not fall", {"temperature": [0.1, 0.2]}),
        ("takes one temperature", {"temperature": [0.2, 0.1], "method": "svi"}),
        ("does not move its prior", {"move_prior": 1}),
        ("counts iterations", {"method": "algorithm4", "temperature": 1.0, "move_prior": 0}),
        ("a prior counts at a temperature", {"prior": torch.ones(4, 3) / 3}),
        ("takes no prior", {"prior": torch.ones(4, 3) / 3, "method": "mirror_descent"}),
        ("learning rate", {"method": "mirror_descent", "learning_rate": 0.0}),
        ("tolerance", {"tolerance": 0.0}),
        ("max_steps is 0", {"max_steps": 0}),
        (r"the policy of 'bather' has shape \(2, 2\)", {"initial": torch.ones(2, 2)}),
    ):
        with pytest.raises(GameError, match=match):
            vsg.mean_field_nash(game, **options)
    assert set(METHODS) == {"exact", "algorithm4", "fictitious_play", "mirror_descent", "svi"}
