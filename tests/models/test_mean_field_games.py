"""The bundled mean-field games, against the same games told again in plain numbers."""

import ast
import inspect
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS, crowds
from tests.models.told_again import arrays, bar_path, exploitability, flow, initial, told, uniform
from vsg_ppl import models

SMALL = {name: SMALL_CROWDS.get(name, game()) for name, game in AMID_A_CROWD.items()}
#: Nobody's movements depend on the crowd, and company costs.
MONOTONE = (
    "beach_bar",
    "building_evacuation",
    "crowd_motion",
    "equilibrium_price",
    "left_right",
    "torus_crowd",
)

#: Exploitability of the uniform policy, by the definitions of the literature's library, float64.
OF_UNIFORM = {
    "left_right": 0.25,
    "rock_paper_scissors_crowd": 0.33333333,
    "beach_bar": 1.22126226,
    "susceptible_infected": 5.46687391,
    "linear_quadratic": 2.13812263,
    "building_evacuation": 0.32126509,
    "crowd_motion": 1.46748295,
    "treasure_hunting": 50 / 27,
    "equilibrium_price": 22.21518569,
    "random_linear": 34.56026334,
}


@lru_cache
def table_of(game):
    return vsg.mean_field_table(game)


def dense(table, kernel, t):
    """P(s'|s, a) at time t, (S, A, S)."""

    def at(x):
        return x[min(t, len(x) - 1)].expand(len(table.states), table.actions.size, x.shape[-1])

    law = torch.zeros(len(table.states), table.actions.size, len(table.states)).double()
    return law.scatter_add(2, at(kernel.successors), at(kernel.probabilities)).numpy()


def check_says_the_same(game, seed):
    """Initial law, prior, rewards and transitions, amid a random crowd."""
    table, tale = vsg.mean_field_table(game), told(game)
    assert (table.actions.size, table.horizon) == (tale.actions, tale.steps)
    numbers = {label: k for k, label in enumerate(tale.states)}
    known = [numbers[label] for label in table.states]  # those that can be reached
    law = initial(tale)
    np.testing.assert_allclose(table.initial.numpy(), law[known], rtol=0, atol=1e-12)
    assert np.delete(law, known).sum() == 0

    joint = crowds(table.times, len(known), tale.actions, seed)
    kernel = table.kernel(joint)
    for t in range(table.times):
        everywhere = np.zeros((len(tale.states), tale.actions))
        everywhere[known] = joint[t].numpy()
        rewards, transitions = arrays(tale, t, everywhere)
        prior = np.zeros_like(rewards)
        for k, label in enumerate(tale.states):
            prior[k, list(tale.available(label))] = 1 / len(tale.available(label))
        prior = prior[known]
        np.testing.assert_allclose(table.prior[t].numpy(), prior, rtol=0, atol=1e-12)
        possible = prior > 0
        np.testing.assert_allclose(
            kernel.rewards[t].numpy()[possible], rewards[known][possible], rtol=1e-12, atol=1e-12
        )
        if t == table.horizon or (table.horizon and t == table.horizon - 1):
            continue  # what the last step returns is not used
        found = dense(table, kernel, t)[possible]
        np.testing.assert_allclose(found.sum(-1), 1.0, rtol=0, atol=1e-12)
        expected = transitions[known][possible]
        np.testing.assert_allclose(found, expected[:, known], rtol=0, atol=1e-12)
        assert np.delete(expected, known, axis=1).sum() == 0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_program_says_what_the_definition_says(name, seed):
    check_says_the_same(AMID_A_CROWD[name](), seed)


def numbers(low, high):
    return st.floats(low, high, allow_nan=False).map(lambda x: round(x, 3))


SHARE, FEW, STEPS = numbers(0, 1), st.integers(1, 4), st.integers(1, 4)
FLOOR = st.sampled_from([1e-20, 1e-10, 1e-3, 1.0])
PARAMETERS = {
    "beach_bar": st.integers(1, 7).flatmap(
        lambda n: st.builds(models.BeachBar, STEPS, st.just(n), st.integers(0, n - 1), SHARE, FLOOR)
    ),
    "braess": st.builds(models.Braess, st.booleans()),
    "building_evacuation": st.builds(
        models.BuildingEvacuation, STEPS, FEW, FEW, FEW, numbers(-1, 2), numbers(-5, 20), FLOOR
    ),
    "crowd_motion": st.builds(
        models.CrowdMotion,
        *(st.integers(1, 9), FEW, FEW, FEW, numbers(-1, 20), SHARE, FLOOR, st.integers(0, 99)),
    ),
    "equilibrium_price": st.builds(
        models.EquilibriumPrice,
        *(STEPS, st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)),
        *(numbers(0.1, 5), numbers(0.1, 2), numbers(0.3, 3)),
        *(numbers(-1, 2) for _ in range(5)),
    ),
    "left_right": st.builds(models.LeftRight, STEPS),
    "linear_quadratic": st.builds(
        models.LinearQuadratic,
        *(STEPS, st.integers(0, 5), st.integers(0, 3), numbers(0, 4), numbers(0, 1)),
        *(numbers(-1, 2), numbers(-1, 1), numbers(0, 2), numbers(0, 2)),
    ),
    "malware": st.builds(
        models.Malware, st.integers(2, 9), numbers(0, 2), numbers(0, 2), numbers(0, 0.99)
    ),
    "random_linear": st.builds(models.RandomLinear, STEPS, FEW, numbers(0, 10), st.integers(0, 99)),
    "rock_paper_scissors_crowd": st.builds(models.RockPaperScissorsCrowd, STEPS),
    "susceptible_infected": st.builds(models.SusceptibleInfected, STEPS, SHARE, SHARE, SHARE),
    "torus_crowd": st.builds(
        models.TorusCrowd, st.integers(1, 7), st.integers(1, 7), SHARE, numbers(-1, 20), FLOOR
    ),
    "treasure_hunting": st.builds(
        models.TreasureHunting, STEPS, FEW, numbers(-1, 3), numbers(0, 3)
    ),
}


@pytest.mark.parametrize("name", AMID_A_CROWD)
@settings(max_examples=15)
@given(data=st.data())
def test_with_other_parameters_too(name, data):
    check_says_the_same(data.draw(PARAMETERS[name]), data.draw(st.integers(0, 999)))


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_program_is_short(name):
    """At most 40 lines of statements: parameters, their checks, initial and step."""
    source = inspect.getsource(AMID_A_CROWD[name])
    game = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    told = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(game)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # docstrings
    ]
    lines = enumerate(source.splitlines()[game.lineno :], game.lineno + 1)
    code = [k for k, line in lines if line.strip() and not any(k in where for where in told)]
    assert len(code) <= 40


# --- exploitability -----------------------------------------------------------------------------


def certified(game, policy):
    """By the library, of a policy over all labels of the game told again."""
    table = table_of(game)
    numbers = {label: k for k, label in enumerate(told(game).states)}
    rows = torch.tensor(policy)[..., [numbers[label] for label in table.states], :]
    return vsg.mean_field_certify(table, rows).exploitability


@pytest.mark.parametrize("name", OF_UNIFORM)
def test_exploitability_of_the_uniform_policy(name):
    game = AMID_A_CROWD[name]()
    tale = told(game)
    policy = uniform(tale)
    assert exploitability(tale, policy) == pytest.approx(OF_UNIFORM[name], abs=1e-8)
    assert certified(game, policy) == pytest.approx(OF_UNIFORM[name], abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in SMALL if name != "malware"])
def test_exploitability_of_random_policies(name, seed):
    game = SMALL[name]
    tale = told(game)
    policy = uniform(tale)
    policy *= np.exp(3 * np.random.default_rng(seed).standard_normal(policy.shape))
    policy /= policy.sum(-1, keepdims=True)
    expected = exploitability(tale, policy)
    assert certified(game, policy) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def check_equilibrium(game, policy, within=1e-12):
    assert exploitability(told(game), policy) == pytest.approx(0, abs=within)
    assert certified(game, policy) == pytest.approx(0, abs=within)


# --- the equilibria that the docstrings tell ----------------------------------------------------


@pytest.mark.parametrize(
    ("game", "law"),
    [
        (models.LeftRight(), [2 / 3, 1 / 3]),
        (models.LeftRight(horizon=3), [2 / 3, 1 / 3]),
        (models.RockPaperScissorsCrowd(), [26 / 77, 20 / 77, 31 / 77]),
        (models.RockPaperScissorsCrowd(horizon=4), [26 / 77, 20 / 77, 31 / 77]),
    ],
)
def test_one_shot_crowds(game, law):
    tale = told(game)
    policy = np.tile(law, (tale.steps, len(tale.states), 1))
    check_equilibrium(game, policy)
    own = (flow(tale, policy)[1].sum(1) * arrays(tale, 1, flow(tale, policy)[1])[0][:, 0]).sum()
    assert own == pytest.approx(-2 / 3 if tale.actions == 2 else 6 / 11)
    for k in range(tale.actions):  # and not with a little more of any one
        other = np.array(law) + 0.01 * (np.eye(tale.actions)[k] - 1 / tale.actions)
        assert exploitability(tale, np.tile(other, (tale.steps, len(tale.states), 1))) > 1e-3


def test_braess():
    """Everybody loses half an hour by the shortcut, and yet nobody can do better."""
    top, bottom, end = range(3)

    def travel(shortcut, start, at_top):
        game = models.Braess(shortcut=shortcut)
        tale = told(game)
        policy = uniform(tale)
        policy[:, 0], policy[:, 1] = start, at_top
        return game, policy, vsg.mean_field_certify(game, torch.tensor(policy))

    game, policy, found = travel(False, [0.5, 0.5, 0], [0, 0, 1])
    check_equilibrium(game, policy)
    assert -found.value == pytest.approx(1.5, abs=1e-12)
    game, policy, found = travel(True, [1, 0, 0], [0, 1, 0])
    check_equilibrium(game, policy)
    assert -found.value == pytest.approx(2, abs=1e-12)
    _, _, found = travel(True, [0.5, 0.5, 0], [0, 0, 1])  # as if it were closed
    assert -found.value == pytest.approx(1.5, abs=1e-12)
    assert found.exploitability == pytest.approx(0.5, abs=1e-12)  # one who takes it: 1/2 + 0 + 1/2
    _, _, found = travel(False, [0.7, 0.3, 0], [0, 0, 1])  # costs 1.7 and 1.3
    assert -found.value == pytest.approx(0.7 * 1.7 + 0.3 * 1.3, abs=1e-12)
    assert found.exploitability == pytest.approx(0.7 * 0.4, abs=1e-12)


@pytest.mark.parametrize("p", np.linspace(0, 1, 6))
@pytest.mark.parametrize("q", np.linspace(0, 1, 6))
def test_no_other_flow_of_braess_is_an_equilibrium(p, q):
    """p go to the top, q of those take the shortcut."""
    for shortcut in (False, True):
        tale = told(models.Braess(shortcut=shortcut))
        policy = uniform(tale)
        policy[:, 0] = [p, 1 - p, 0]
        if shortcut:
            policy[:, 1] = [0, q, 1 - q]
        right = (p, q) == (1, 1) if shortcut else p == 0.5
        assert (exploitability(tale, policy) < 1e-6) == right


def test_linear_quadratic_about_zero():
    """The best control against a crowd around 0, both ways alike, keeps the crowd around 0."""
    game = models.LinearQuadratic()
    tale = told(game)
    still = np.full((11, 5), 1 / 55)
    policy, value = uniform(tale), np.zeros(11)
    for t in reversed(range(tale.steps)):
        rewards, transitions = arrays(tale, t, still)
        q = rewards + transitions @ value
        best = np.isclose(q, q.max(1, keepdims=True), rtol=0, atol=1e-12)
        policy[t], value = best / best.sum(1, keepdims=True), q.max(1)
    np.testing.assert_allclose(policy, policy[:, ::-1, ::-1])
    mean = (flow(tale, policy).sum(2) * np.arange(-5, 6)).sum(1)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    check_equilibrium(game, policy)


def test_an_epidemic_that_stays():
    """Amid 10/27 infected going out is just worth its risk, far from the end."""
    game = models.SusceptibleInfected(horizon=60, infected=10 / 27)
    tale = told(game)
    policy = uniform(tale)
    policy[:, 0], policy[:, 1] = [10 / 17, 7 / 17], [1, 0]
    joint = flow(tale, policy)
    np.testing.assert_allclose(joint[:, 1].sum(-1), 10 / 27)
    value = np.zeros(2)
    for t in reversed(range(60)):
        rewards, transitions = arrays(tale, t, joint[t])
        q = rewards + transitions @ value
        value = q.max(1)
    assert q[0, 0] == pytest.approx(q[0, 1], abs=1e-12)
    assert q[1, 0] > q[1, 1]


@pytest.mark.parametrize(
    "game", [models.TreasureHunting(), models.TreasureHunting(4, places=5, value=2.0, cost=0.3)]
)
def test_treasure_hunters_meet_or_spread(game):
    n, later = game.places, game.horizon - 1
    policy = uniform(told(game))
    policy[1:] = np.eye(n)  # stay
    check_equilibrium(game, policy)
    spread = vsg.mean_field_certify(game, torch.tensor(policy))
    assert spread.value == pytest.approx(later * game.value * (1 + 1 / n) / 2, abs=1e-12)
    for place in range(n):
        policy[0] = np.eye(n)[place]
        check_equilibrium(game, policy)
        met = vsg.mean_field_certify(game, torch.tensor(policy))
        assert met.value == pytest.approx(later * game.value, abs=1e-12)


def test_firms_get_rid_of_their_stock():
    game = models.EquilibriumPrice()
    tale = told(game)
    policy = np.zeros((5, 4, 9))
    policy[:, 0, 0] = policy[4, :, 0] = policy[:4, 1:, 3] = 1  # make one if there is stock
    check_equilibrium(game, policy)
    made = (flow(tale, policy).sum(1) * (np.arange(9) // 3)).sum(1)
    np.testing.assert_allclose(1 / (made + 1), [4 / 7, 2 / 3, 4 / 5, 1, 1])


def test_a_random_game_with_two_equilibria():
    game = models.RandomLinear(horizon=1, size=2, seed=2)
    for other in (0, 1):
        check_equilibrium(game, np.eye(2)[[[other, 0]]])


def test_random_games_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    game = models.RandomLinear()
    vsg.mean_field_table(game)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(game.numbers[0], models.RandomLinear(seed=1).numbers[0])


# --- malware, without a horizon -----------------------------------------------------------------


def at_rest(game, repairs):
    """The crowd at rest (S, A) when a share repairs[k] at level k do."""
    n = game.levels
    tale = told(game)
    _, transitions = arrays(tale, 0, np.full((n, 2), 1 / (2 * n)))
    policy = np.stack([1 - repairs, repairs], 1)
    moves = np.einsum("sa,sak->sk", policy, transitions)
    equations = np.vstack([(moves.T - np.eye(n))[:-1], np.ones(n)])
    return np.linalg.solve(equations, np.eye(n)[-1])[:, None] * policy


def answer(game, joint):
    """Q of the best response to a crowd at rest, (S, A)."""
    rewards, transitions = arrays(told(game), 0, joint)
    q = np.zeros_like(rewards)
    for _ in range(2000):
        q = rewards + game.discount * transitions @ q.max(1)
    return q


def test_malware_is_repaired_from_one_level_on():
    game = models.Malware()
    fits = []
    for level in range(game.levels + 1):
        repairs = (np.arange(game.levels) >= level).astype(float)
        joint = at_rest(game, repairs)
        q = answer(game, joint)
        best = q[:, 1] > q[:, 0]
        assert list(best) == sorted(best)  # from some level on
        if (best == repairs).all():
            fits.append(level)
            mean = (joint.sum(1) * np.arange(game.levels)).sum() / (game.levels - 1)
            policy = torch.tensor(np.stack([1 - repairs, repairs], 1))
    assert fits == [10]
    assert mean == pytest.approx(0.344, abs=5e-4)
    assert vsg.mean_field_certify(game, policy).exploitability == pytest.approx(0, abs=1e-10)


def test_exploitability_of_malware():
    game = models.Malware(levels=6)
    repairs = np.random.default_rng(0).random(6)
    joint = at_rest(game, repairs)
    rewards, transitions = arrays(told(game), 0, joint)
    policy = np.stack([1 - repairs, repairs], 1)
    moves = np.einsum("sa,sak->sk", policy, transitions)
    own = np.linalg.solve(np.eye(6) - game.discount * moves, (policy * rewards).sum(1))
    expected = joint.sum(1) @ (answer(game, joint).max(1) - own)
    found = vsg.mean_field_certify(game, torch.tensor(policy))
    assert found.exploitability == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(joint.sum(1) @ own, rel=1e-9)


# --- what else the docstrings say ---------------------------------------------------------------


@pytest.mark.parametrize("name", MONOTONE)
@settings(max_examples=20)
@given(one=st.integers(0, 999), other=st.integers(0, 999))
def test_monotone(name, one, other):
    """Σ (r(s, a; L) − r(s, a; L')) (L − L') ≤ 0, and the crowd moves nobody."""
    table = table_of(SMALL[name])
    assert not table.moving
    a, b = (
        crowds(table.times, len(table.states), table.actions.size, seed) for seed in (one, other)
    )
    apart = (table.kernel(a).rewards - table.kernel(b).rewards) * (a - b)
    assert (apart.sum((1, 2)) <= 1e-12).all()


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_whom_the_crowd_moves(name):
    moving = ("linear_quadratic", "random_linear", "susceptible_infected", "treasure_hunting")
    assert table_of(SMALL[name]).moving == (name in moving)


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    every=st.integers(1, 3),
    seed=st.integers(0, 2**40),
)
def test_path_of_the_bar(rows, columns, every, seed):
    game = models.CrowdMotion(rows=rows, columns=columns, every=every, seed=seed, horizon=12)
    path = game.path()
    assert [tuple(cell) for cell in path.tolist()] == bar_path(game)
    assert ((path >= 0) & (path < torch.tensor([rows, columns]))).all()
    moves = (path[1:] - path[:-1]).abs()
    assert (moves[:, 0] == moves[:, 1]).all() and moves.max() <= 1
    assert all((t + 1) % every == 0 for t in moves[:, 0].nonzero()[:, 0].tolist())


def test_bar_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    assert models.CrowdMotion().path().tolist() == [[10, 10], [10, 10], [9, 11], [9, 11]]
    vsg.mean_field_table(models.CrowdMotion(rows=3, columns=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert models.CrowdMotion(seed=1).path().tolist() != models.CrowdMotion().path().tolist()


def test_torus_of_ten_thousand_cells():
    table = vsg.mean_field_table(models.TorusCrowd(size=100, horizon=2))
    assert len(table.states) == 10_000 and table.states[-1] == (99, 99)
    assert table.kernel(crowds(2, 10_000, 5)).successors.shape == (1, 10_000, 5, 5)


def test_labels():
    for name, labels in {
        "left_right": ["LEFT", "RIGHT"],
        "rock_paper_scissors_crowd": ["ROCK", "PAPER", "SCISSORS"],
        "beach_bar": ["LEFT", "STAY", "RIGHT"],
        "susceptible_infected": ["GO_OUT", "KEEP_DISTANCE"],
        "linear_quadratic": ["-1", "0", "1"],
        "building_evacuation": ["SOUTH", "NORTH", "WEST", "EAST", "DOWNSTAIRS", "UPSTAIRS"],
        "crowd_motion": ["SOUTH", "NORTH", "EAST", "WEST", "STAY"],
        "torus_crowd": ["SOUTH", "NORTH", "EAST", "WEST", "STAY"],
        "braess": ["TOP", "BOTTOM", "END"],
        "malware": ["WAIT", "REPAIR"],
        "treasure_hunting": ["0", "1", "2"],
        "equilibrium_price": ["0,0", "0,1", "1,0", "1,1"],
        "random_linear": ["0", "1", "2"],
    }.items():
        assert table_of(SMALL[name]).actions.names() == labels


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("beach_bar", {"bar": 4}, "not at one of the 4 places"),
        ("beach_bar", {"bar": -1}, "not at one of the 4 places"),
        ("beach_bar", {"places": 0}, "not at one of the 0 places"),
        ("beach_bar", {"still": 1.5}, "a probability"),
        ("beach_bar", {"floor": 0.0}, "greater than 0"),
        ("susceptible_infected", {"infected": 1.1}, "infected is 1.1"),
        ("susceptible_infected", {"contagion": -0.1}, "contagion is -0.1"),
        ("susceptible_infected", {"recovery": 2.0}, "recovery is 2"),
        ("linear_quadratic", {"reach": -1}, "reach is -1"),
        ("linear_quadratic", {"steer": -1}, "steer is -1"),
        ("linear_quadratic", {"sigma": -1.0}, "sigma is -1"),
        ("linear_quadratic", {"delta": -0.1}, "delta is -0.1"),
        ("building_evacuation", {"floors": 0}, "0 floors"),
        ("building_evacuation", {"rows": 0}, "0 rows"),
        ("building_evacuation", {"columns": -2}, "-2 columns"),
        ("building_evacuation", {"floor": 0.0}, "greater than 0"),
        ("crowd_motion", {"rows": 0}, "rows is 0"),
        ("crowd_motion", {"columns": 0}, "columns is 0"),
        ("crowd_motion", {"every": 0}, "every is 0"),
        ("crowd_motion", {"still": -0.5}, "still is -0.5"),
        ("crowd_motion", {"floor": -1.0}, "floor -1"),
        ("torus_crowd", {"size": 0}, "0 cells"),
        ("torus_crowd", {"slip": 1.1}, "a probability"),
        ("torus_crowd", {"floor": 0.0}, "greater than 0"),
        ("malware", {"levels": 1}, "at least 2"),
        ("treasure_hunting", {"places": 0}, "0 places"),
        ("treasure_hunting", {"cost": -0.1}, "cost is -0.1"),
        ("equilibrium_price", {"store": -1}, "store is -1"),
        ("equilibrium_price", {"most_made": -1}, "most_made is -1"),
        ("equilibrium_price", {"most_ordered": -2}, "most_ordered is -2"),
        ("equilibrium_price", {"demand": 0.0}, "demand is 0"),
        ("equilibrium_price", {"others": 0.0}, "others is 0"),
        ("equilibrium_price", {"elasticity": -1.0}, "elasticity is -1"),
        ("random_linear", {"size": 0}, "0 states"),
        ("random_linear", {"scale": -1.0}, "scale is -1"),
    ],
)
def test_parameters_out_of_range(name, parameters, words):
    with pytest.raises(vsg.GameError, match=words):
        AMID_A_CROWD[name](**parameters)
    for key, value in parameters.items():
        if isinstance(value, float):
            with pytest.raises(vsg.GameError):
                AMID_A_CROWD[name](**{key: float("nan")})


@pytest.mark.parametrize(
    "name", [name for name in AMID_A_CROWD if name not in ("braess", "malware")]
)
def test_horizon_out_of_range(name):
    with pytest.raises(vsg.GameError, match="horizon"):
        vsg.mean_field_table(AMID_A_CROWD[name](horizon=0))
