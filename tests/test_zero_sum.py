"""`zero_sum` against linear programs, Shapley's iteration in numpy, and soft best responses."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import log

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.optimize
import torch

import vsg_ppl as vsg
from tests.models.policies import dense
from vsg_ppl import models
from vsg_ppl.bellman import divergence
from vsg_ppl.best_response import respond
from vsg_ppl.saddle import matrix_programs, saddle_points
from vsg_ppl.zero_sum import duality_gap, zero_sum

TARGET = 1e-6


def program(matrix):
    """The value of a matrix game, by one linear program of its own."""
    a, b = matrix.shape
    found = scipy.optimize.linprog(
        np.append(np.zeros(a), -1.0),
        A_ub=np.hstack([-matrix.T, np.ones((b, 1))]),
        b_ub=np.zeros(b),
        A_eq=np.append(np.ones(a), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * a + [(None, None)],
    )
    assert found.status == 0
    return -found.fun


def available(table):
    """For every state the rows and the columns that may be played at any time."""
    rows, columns = ((prior[0, 0] > -torch.inf).numpy() for prior in table.log_priors)
    return [np.ix_(row, column) for row, column in zip(rows, columns, strict=True)]


def backup(rewards, transitions, discount, values, allowed=None):
    """Shapley's operator."""
    stages = rewards + discount * transitions @ values
    allowed = allowed or [np.ix_(*(range(n) for n in stages.shape[1:]))] * len(stages)
    return np.array([program(stage[part]) for stage, part in zip(stages, allowed, strict=True)])


def shapley(rewards, transitions, discount, allowed=None, error=1e-8):
    """The value of every state by Shapley's iteration."""
    values = np.zeros(len(rewards))
    while True:
        after = backup(rewards, transitions, discount, values, allowed)
        if discount * np.abs(after - values).max() <= error * (1 - discount):
            return after
        values = after


def matrix_table(matrix, total=0.0):
    return vsg.from_arrays(np.stack([matrix, total - matrix])[:, None])


def random_arrays(seed, states=8, actions=4):
    random = np.random.default_rng(seed)
    s, (a, b) = random.integers(1, states + 1), random.integers(1, actions + 1, 2)
    rewards = random.random((s, a, b))
    return rewards, random.dirichlet(np.ones(s), (s, a, b)), random.uniform(0.5, 0.95)


def table_of(rewards, transitions, **options):
    return vsg.from_arrays(np.stack([rewards, -rewards]), transitions, **options)


def assert_solved(solution):
    """The gap is small, and the certificate is what `certify` says of the policies."""
    assert solution.solved and solution.concept == "nash"
    assert duality_gap(solution.certificate) <= TARGET
    assert np.max(np.asarray(solution.certificate.nash_gap_worst_state)) <= TARGET
    again = vsg.certify(solution.table, solution.policies)
    for agent, gain in again.per_agent.items():
        np.testing.assert_allclose(gain, solution.certificate.per_agent[agent], atol=1e-12)


def first_values(solution):
    return next(iter(solution.values.values())).numpy()


# --- matrices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "integer"])
def test_matrices(kind):
    """Fifty of a kind; among few integers many are degenerate."""
    random = np.random.default_rng(len(kind))
    for _ in range(50):
        shape = random.integers(1, 31, 2)
        matrix = random.normal(size=shape) if kind == "normal" else random.integers(-3, 4, shape)
        solution = zero_sum(matrix_table(matrix.astype(float)))
        assert_solved(solution)
        assert solution.certificate.values["agent1"] == pytest.approx(program(matrix), abs=TARGET)


def test_many_matrices_at_once():
    matrices = np.random.default_rng(1).normal(size=(40, 7, 5))
    table = vsg.from_arrays(np.stack([matrices, -matrices], 1)[:, :, None], batched=True)
    solution = zero_sum(table)
    assert_solved(solution)
    values = solution.certificate.values["agent1"]
    np.testing.assert_allclose(values, [program(m) for m in matrices], rtol=0, atol=TARGET)
    assert solution.policies["agent1"].shape == (40, 1, 1, 7)


def test_known_equilibria():
    for bias in (1.0, 2.0, 9.0):
        solution = zero_sum(models.MatchingPennies(bias=bias))
        assert_solved(solution)
        heads = 2 / (bias + 3)
        for policy in solution.policies.values():
            assert policy[0, 0, 0].item() == pytest.approx(heads, abs=TARGET)
        value = (bias - 1) / (bias + 3) / bias
        assert solution.certificate.values["row"] == pytest.approx(value, abs=1e-7)
        assert solution.certificate.values["col"] == pytest.approx(-value, abs=1e-7)
    solution = zero_sum(models.RockPaperScissors())
    assert_solved(solution)
    for policy in solution.policies.values():
        np.testing.assert_allclose(policy[0, 0], np.full(3, 1 / 3), rtol=0, atol=1e-9)


DEGENERATE = {
    "all equal": np.full((3, 4), 0.7),
    "one entry": np.array([[2.0]]),
    "dominated": np.array([[1.0, -1.0, 3.0], [-1.0, 1.0, 3.0], [-2.0, -2.0, 0.0]]),
    "weakly dominated": np.array([[1.0, 0.0], [1.0, 1.0]]),
    "duplicate rows": np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]),
    "duplicate columns": np.array([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]),
    "several equilibria": np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]),
    "pure": np.array([[3.0, 1.0, 4.0], [1.0, 0.0, 5.0], [2.0, 0.5, 3.0]]),
    "hardly different": np.array([[1.0, 1.0 - 1e-7], [1.0 - 1e-7, 1.0]]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e3])
def test_degenerate(name, scale):
    matrix = scale * DEGENERATE[name]
    solution = zero_sum(matrix_table(matrix), target_gap=TARGET * scale)
    assert solution.solved
    assert duality_gap(solution.certificate) <= TARGET * scale
    value = solution.certificate.values["agent1"]
    assert value == pytest.approx(scale * program(DEGENERATE[name]), abs=TARGET * scale)


def test_of_several_equilibria_the_one_nearest_to_the_priors():
    """Duplicates share what the original would have; linear programs would choose one of them."""
    solution = zero_sum(matrix_table(DEGENERATE["duplicate rows"]))
    policy = solution.policies["agent1"][0, 0]
    np.testing.assert_allclose(policy, [0.25, 0.25, 0.5], rtol=0, atol=TARGET)
    assert solution.temperature > 0


def test_rewards_may_sum_to_any_constant():
    rewards, transitions, discount = random_arrays(4)
    table = vsg.from_arrays(np.stack([rewards, 7 - rewards]), transitions, discount=discount)
    solution = zero_sum(table)
    assert_solved(solution)
    expected = shapley(rewards, transitions, discount)
    np.testing.assert_allclose(first_values(solution), expected, rtol=0, atol=TARGET)
    other = solution.values["agent2"].numpy()
    np.testing.assert_allclose(other, 7 / (1 - discount) - expected, rtol=0, atol=TARGET)


# --- stochastic games ---------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(5))
def test_random_stochastic_games(block):
    """Ten games a block, fifty in all."""
    for seed in range(10 * block, 10 * block + 10):
        rewards, transitions, discount = random_arrays(seed)
        solution = zero_sum(table_of(rewards, transitions, discount=discount))
        assert_solved(solution)
        # one application of Shapley's operator bounds the error of any values
        values = first_values(solution)
        after = backup(rewards, transitions, discount, values)
        assert np.abs(after - values).max() <= (1 - discount) * TARGET
        if discount < 0.8:  # iterating from nothing takes long above
            expected = shapley(rewards, transitions, discount)
            np.testing.assert_allclose(values, expected, rtol=0, atol=TARGET)


@pytest.mark.parametrize("horizon", [1, 2, 7])
def test_finite_horizon(horizon):
    for seed in range(5):
        rewards, transitions, discount = random_arrays(100 + seed)
        solution = zero_sum(table_of(rewards, transitions, discount=discount, horizon=horizon))
        assert_solved(solution)
        values = np.zeros(len(rewards))
        for t in reversed(range(horizon)):
            values = backup(rewards, transitions, discount, values)
            np.testing.assert_allclose(first_values(solution)[t], values, rtol=0, atol=TARGET)


def test_a_batch_of_stochastic_games():
    random = np.random.default_rng(5)
    rewards = random.normal(size=(6, 1, 3, 2, 4)) * np.array([1, -1])[None, :, None, None, None]
    transitions = random.dirichlet(np.ones(3), (6, 3, 2, 4))
    table = vsg.from_arrays(rewards, transitions, discount=0.7, batched=True)
    solution = zero_sum(table)
    assert_solved(solution)
    for k in range(6):
        expected = shapley(rewards[k, 0], transitions[k], 0.7)
        np.testing.assert_allclose(first_values(solution)[k], expected, rtol=0, atol=TARGET)


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_degenerate_stochastic_games(discount):
    """Small integers and certain moves: ties everywhere, and values of many states are equal."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        s, (a, b) = random.integers(1, 6), random.integers(1, 5, 2)
        rewards = random.integers(-2, 3, (s, a, b)) * (random.random((s, a, b)) < 0.4)
        transitions = np.eye(s)[random.integers(s, size=(s, a, b))]
        solution = zero_sum(table_of(rewards, transitions, discount=discount))
        assert_solved(solution)
        values = first_values(solution)
        after = backup(rewards, transitions, discount, values)
        assert np.abs(after - values).max() <= (1 - discount) * TARGET


def test_where_newton_steps_alone_would_cycle(monkeypatch):
    """The game of van der Wal (1978, "Discounted Markov games: generalized policy iteration
    method"): from nothing, policy iteration goes back and forth between two values."""
    rewards = np.array([[[3.0, 6.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    stay = np.array([[1.0, 1 / 3], [1.0, 1.0]])
    transitions = np.zeros((2, 2, 2, 2))
    transitions[0, :, :, 0], transitions[0, :, :, 1] = stay, 1 - stay
    transitions[1, :, :, 1] = 1.0
    expected = shapley(rewards, transitions, 0.75)

    def step(values):
        """Policy iteration."""
        stage = (rewards + 0.75 * transitions @ values)[0]
        yes = [torch.ones(1, 2, dtype=torch.bool)] * 2
        x, y = (
            part[0].exp().numpy() for part in matrix_programs(torch.from_numpy(stage)[None], yes)
        )
        value = (x @ rewards[0] @ y) / (1 - 0.75 * x @ stay @ y)
        return np.array([value, 0.0])

    values = [np.zeros(2)]
    for _ in range(20):
        values.append(step(values[-1]))
    assert np.abs(values[-1] - values[-3]).max() < 1e-9 < np.abs(values[-1] - expected).max()
    for coldest in (1e-11, 2.0):  # the latter goes to linear programs at once, from nothing
        monkeypatch.setattr(sys.modules[zero_sum.__module__], "COLDEST", coldest)
        solution = zero_sum(table_of(rewards, transitions, discount=0.75))
        assert_solved(solution)
        assert (solution.temperature == 0) == (coldest == 2.0)
        np.testing.assert_allclose(first_values(solution), expected, rtol=0, atol=TARGET)


# --- actions that are not available, agents that do not act ---------------------------------------


def masked(table, seed):
    """The table with some actions of both agents unavailable, and uneven priors."""
    random, priors = np.random.default_rng(seed), []
    for prior in table.log_priors:
        weights = random.random(prior.shape) * (random.random(prior.shape) < 0.6)
        weights[..., 0] += 0.1 * (weights.sum(-1) == 0)
        weights /= weights.sum(-1, keepdims=True)
        priors.append(torch.from_numpy(weights).log())
    return replace(table, log_priors=tuple(priors))


@pytest.mark.parametrize("target", [TARGET, 1e-11])
def test_unavailable_actions(target):
    for seed in range(10):
        rewards, transitions, _ = random_arrays(200 + seed)
        table = masked(table_of(rewards, transitions, discount=0.6), seed)
        solution = zero_sum(table, target_gap=target)
        assert_solved(solution)
        for prior, policy in zip(table.log_priors, solution.policies.values(), strict=True):
            assert (policy[prior[0, 0] == -torch.inf] == 0).all()
        expected = shapley(rewards, transitions, 0.6, available(table))
        np.testing.assert_allclose(first_values(solution), expected, rtol=0, atol=TARGET)


def test_sums_do_not_matter_where_nobody_can_play():
    rewards, transitions, _ = random_arrays(1)
    table = masked(table_of(rewards, transitions, discount=0.6), 1)
    closed = (table.log_priors[0] == -torch.inf)[0, 0]
    assert closed.any()
    first = table.rewards[0].clone()
    first[0, 0][closed] = 100.0
    changed = replace(table, rewards=(first, table.rewards[1]))
    values = [first_values(zero_sum(each)) for each in (table, changed)]
    np.testing.assert_allclose(*values, rtol=0, atol=2 * TARGET)


class TurnByTurn:
    """A names a number, then B does; A is paid by both."""

    agents, horizon, name = ("a", "b"), 2, "turn by turn"
    pay = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [2.5, 2.2, 2.1]], dtype=torch.float64)

    def initial(self):
        return torch.tensor(0)

    def step(self, state, t):
        law = dist.Categorical(torch.ones(3, dtype=torch.float64))
        if t == 0:
            number = vsg.act("a", law)
            vsg.optimality("a", torch.tensor(0.0))
            vsg.optimality("b", torch.tensor(0.0))
            return number
        number = vsg.act("b", law)
        vsg.optimality("a", self.pay[state, number])
        vsg.optimality("b", -self.pay[state, number])
        return state


def test_agents_may_sit_out():
    """With turns the value is max min."""
    solution = zero_sum(TurnByTurn())
    assert_solved(solution)
    assert solution.certificate.values["a"] == pytest.approx(2.1, abs=TARGET)
    assert solution.policy("a", 0, 0)["2"] == pytest.approx(1.0, abs=TARGET)


# --- soccer -------------------------------------------------------------------------------------


def test_small_soccer():
    table = vsg.tabulate(models.Soccer(rows=2, columns=3))
    rewards, transitions = dense(table)
    solution = zero_sum(table)
    assert_solved(solution)
    expected = shapley(rewards[0], transitions, table.discount, available(table), error=1e-7)
    np.testing.assert_allclose(first_values(solution), expected, rtol=0, atol=TARGET)


@pytest.mark.parametrize("target", [TARGET, 1e-11])
def test_soccer(target):
    """All 761 states. Turned by 180° with names exchanged it is the same game."""
    game = models.Soccer()
    solution = zero_sum(game, target_gap=target)
    assert_solved(solution)
    assert duality_gap(solution.certificate) <= target
    assert solution.certificate.values["a"] == pytest.approx(0, abs=target)
    values, last = first_values(solution), game.rows * game.columns - 1
    numbers = {tuple(state): k for k, state in enumerate(solution.table.states)}
    for (a, b, ball), k in numbers.items():
        if ball < 2:
            twin = numbers[(last - b, last - a, 1 - ball)]
            assert values[k] == pytest.approx(-values[twin], abs=TARGET)
    assert np.abs(values).max() == pytest.approx(1, abs=TARGET)  # alone before the goal


# --- at a temperature ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_one_shot_games_at_a_temperature_are_logit_equilibria(temperature):
    for seed in range(5):
        random = np.random.default_rng(seed)
        table = matrix_table(random.normal(size=random.integers(2, 6, 2)))
        solution = zero_sum(table, temperature=temperature)
        path = vsg.logit_path(table, temperature)
        model = vsg.opponent_model(table, temperature=temperature)
        assert solution.solved and path.solved and model.solved
        assert solution.temperature == temperature
        assert solution.certificate.within_bound()
        for agent, policy in solution.policies.items():
            torch.testing.assert_close(policy, path.policies[agent], rtol=0, atol=1e-9)
            torch.testing.assert_close(policy, model.policies[agent], rtol=0, atol=1e-8)


@pytest.mark.parametrize("horizon", [None, 4])
@pytest.mark.parametrize("temperature", [2.0, 0.1, 0.003])
def test_at_a_temperature_both_respond_softly_to_what_they_pay_each_other(horizon, temperature):
    """The saddle point: each maximises its own payoff, what it is paid of the other's entropy
    included, less its own. The responses are those of `best_response`."""
    for seed in range(5):
        rewards, transitions, discount = random_arrays(seed)
        table = masked(table_of(rewards, transitions, discount=discount, horizon=horizon), seed)
        solution = zero_sum(table, temperature=temperature)
        assert solution.solved
        times = horizon or 1
        policies = [
            policy.reshape(1, times, len(rewards), -1) for policy in solution.policies.values()
        ]
        for i in range(2):
            cost = divergence(policies[1 - i], policies[1 - i].log(), table.log_priors[1 - i])
            paid = list(table.rewards)
            paid[i] = paid[i] + temperature * cost[..., None, None]
            response, _ = respond(replace(table, rewards=tuple(paid)), policies, i, temperature)
            torch.testing.assert_close(response, policies[i], rtol=0, atol=1e-9)


def test_gaps_fall_with_the_temperature():
    gaps = []
    for temperature in (1.0, 0.1, 0.01):
        solution = zero_sum(models.Soccer(rows=2, columns=3), temperature=temperature)
        assert solution.solved
        gaps.append(duality_gap(solution.certificate))
    assert gaps[0] > gaps[1] > gaps[2] > TARGET


def test_saddle_points_of_two_actions():
    """By hand: log x1/x2 = (9 y1 − y2 + y1 − y2) / τ and so on, checked as it stands."""
    matrix = torch.tensor([[[9.0, -1.0], [-1.0, 1.0]]], dtype=torch.float64)
    prior = torch.full((1, 2), -log(2), dtype=torch.float64)
    logs, off = saddle_points(matrix, [prior, prior], [prior, prior], 0.5, 1e-13)
    (x, y), odds = (part.exp()[0] for part in logs), [part[0, 0] - part[0, 1] for part in logs]
    assert odds[0].item() == pytest.approx((10 * y[0] - 2 * y[1]).item() / 0.5, abs=1e-10)
    assert odds[1].item() == pytest.approx(-(10 * x[0] - 2 * x[1]).item() / 0.5, abs=1e-10)
    assert off <= 1e-12


# --- linear programs ----------------------------------------------------------------------------


def test_programs_of_many_matrices():
    random = np.random.default_rng(0)
    matrices = random.normal(size=(450, 3, 4)) * 10.0 ** random.integers(-3, 4, (450, 1, 1))
    matrices[0], yes = 2.5, [torch.ones(450, n, dtype=torch.bool) for n in (3, 4)]
    yes[0][1, 0] = yes[1][2, 3] = False
    x, y = (part.exp().numpy() for part in matrix_programs(torch.from_numpy(matrices), yes))
    assert x[1, 0] == y[2, 3] == 0
    for k, matrix in enumerate(matrices):
        part = matrix[np.ix_(yes[0][k].numpy(), yes[1][k].numpy())]
        value, size = program(part), np.abs(matrix).max()
        assert (x[k] @ matrix)[yes[1][k]].min() == pytest.approx(value, abs=1e-9 * size)
        assert (matrix @ y[k])[yes[0][k]].max() == pytest.approx(value, abs=1e-9 * size)


def test_programs_that_fail_leave_what_was_found(monkeypatch):
    failed = scipy.optimize.OptimizeResult(x=None, status=4, message="numerical difficulties")
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *args, **options: failed)
    solution = zero_sum(models.MatchingPennies(bias=9), target_gap=1e-18)
    assert solution.status == "not converged"
    assert duality_gap(solution.certificate) < 1e-6
    with pytest.raises(vsg.GameError, match="numerical difficulties"):
        yes = torch.ones(1, 2, dtype=torch.bool)
        matrix_programs(torch.eye(2, dtype=torch.float64)[None], [yes, yes])


# --- how a run ends -----------------------------------------------------------------------------


def test_history_and_message():
    solution = zero_sum(models.MatchingPennies(bias=9))
    assert solution.iterations == len(solution.history)
    temperatures = [entry["temperature"] for entry in solution.history]
    assert temperatures == sorted(temperatures, reverse=True)
    assert solution.history[-1]["duality_gap"] == duality_gap(solution.certificate)
    assert solution.history[-1]["temperature"] == solution.temperature
    assert all(entry["residual"] >= 0 for entry in solution.history)
    assert "value 0.0740741 to 'row', duality gap" in solution.message


def test_not_converged():
    table = table_of(*random_arrays(1)[:2], discount=0.99)
    solution = zero_sum(table, max_steps=1, target_gap=1e-9)
    assert solution.status == "not converged" and "max_steps" in solution.message
    solution = zero_sum(table, max_steps=1, temperature=0.01)
    assert solution.status == "not converged" and "max_steps" in solution.message


def test_ctrl_c_returns_the_best_so_far(monkeypatch):
    """Pressed while the fourth certificate is computed."""
    module, seen = sys.modules[zero_sum.__module__], []
    certify = module.certify_tables

    def interrupted(*args):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(certify(*args))
        return seen[-1]

    monkeypatch.setattr(module, "certify_tables", interrupted)
    solution = zero_sum(models.MatchingPennies(bias=9))
    assert solution.status == "interrupted" and "stopped by hand" in solution.message
    assert duality_gap(solution.certificate) == min(map(duality_gap, seen))
    monkeypatch.undo()
    again = vsg.certify(solution.table, solution.policies)
    assert again.nash_gap == pytest.approx(solution.certificate.nash_gap, abs=1e-12)


def test_saves_loads_and_draws(tmp_path):
    solution = zero_sum(models.MatchingPennies(bias=9), target_gap=1e-15)
    loaded = vsg.Solution.load(solution.save(tmp_path / "pennies.safetensors"))
    assert torch.equal(loaded.policies["row"], solution.policies["row"])
    assert loaded.history == solution.history
    solution.plot(tmp_path / "pennies.png")
    assert solution.to_dict()["concept"] == "nash"


def test_a_progress_bar_changes_nothing(capsys):
    shown, silent = (zero_sum(models.RockPaperScissors(), progress=p) for p in (True, False))
    assert torch.equal(shown.policies["row"], silent.policies["row"])
    assert capsys.readouterr().out == ""


# --- bad input ----------------------------------------------------------------------------------


def test_refuses_games_that_are_not_zero_sum():
    first, second = np.array([[5.0, 0.0], [1.0, 2.0]]), np.array([[1.0, 6.0], [5.5, 4.0]])
    both = (
        r"sum to a constant: 5 \+ 1 = 6 in state 0 when they play agent1 0 and agent2 0, "
        r"but 1 \+ 5.5 = 6.5 in state 0 when they play agent1 1 and agent2 0"
    )
    with pytest.raises(vsg.GameError, match=both):
        zero_sum(vsg.from_arrays(np.stack([first, second])[:, None]))
    with pytest.raises(vsg.GameError, match="row STAG and col STAG, but .*row STAG and col HARE"):
        zero_sum(models.StagHunt())


def test_refuses_one_game_of_a_batch():
    rewards = np.random.default_rng(0).normal(size=(3, 1, 1, 2, 2))
    rewards = np.concatenate([rewards, -rewards], 1)
    rewards[1, 1, 0, 1, 1] += 1
    with pytest.raises(vsg.GameError, match="of game 1 when they play agent1 1 and agent2 1"):
        zero_sum(vsg.from_arrays(rewards, batched=True))


@pytest.mark.parametrize("n_agents", [1, 3])
def test_refuses_other_than_two_agents(n_agents):
    table = vsg.from_arrays(np.zeros((n_agents, 1, *[2] * n_agents)))
    with pytest.raises(vsg.GameError, match=f"has two agents, and arrays has {n_agents}"):
        zero_sum(table)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"temperature": float("nan")}, "must be positive"),
        ({"temperature": float("inf")}, "must be positive"),
        ({"target_gap": 0.0}, "target gap is 0.0; it must be positive"),
        ({"target_gap": float("nan")}, "must be positive"),
        ({"max_steps": 0}, "at least 1"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(vsg.GameError, match=words):
        zero_sum(models.MatchingPennies(), **options)
