"""`nash` against gambit, plain numpy fixed points, and its own promises."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pygambit
import pyro
import pytest
import scipy.optimize
import torch
from scipy.special import rel_entr

import vsg_ppl as vsg
from tests.bundled import AMONG_AGENTS
from tests.models.policies import dense
from vsg_ppl import models
from vsg_ppl.nash import random_policies

TEMPERATURES = (1.0, 0.1, 0.02)


def softmax(scores):
    """Over the last dimension."""
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def mean_payoffs(payoffs, profile):
    """E_{a^{-i}} r^i of every agent's actions in a one-shot game."""
    means = []
    for i, payoff in enumerate(payoffs):
        for j in reversed(range(len(payoffs))):
            if j != i:
                payoff = np.tensordot(payoff, profile[j], axes=(j, 0))
        means.append(payoff)
    return means


def logit_error(payoffs, profile, temperature):
    """max |π − softmax(payoff / τ)|: how far a profile is from a logit equilibrium."""
    means = mean_payoffs(payoffs, profile)
    return max(
        np.abs(softmax(mean / temperature) - policy).max()
        for mean, policy in zip(means, profile, strict=True)
    )


def gap_of(payoffs, profile):
    """The most that an agent gains by deviating in a one-shot game."""
    means = mean_payoffs(payoffs, profile)
    return max(mean.max() - mean @ policy for mean, policy in zip(means, profile, strict=True))


def profile_of(solution):
    """The policies of a one-shot solution, as arrays."""
    return [solution.policies[agent][0, 0].numpy() for agent in solution.table.agents]


# --- one-shot games: logit quantal response equilibria (law 3) ----------------------------------


def random_payoffs(n_agents, number):
    """A game of random size with payoffs uniform on [0, 1]."""
    random = np.random.default_rng((n_agents, number))
    return random.random((n_agents, *random.integers(2, 5 if n_agents == 2 else 4, n_agents)))


@pytest.mark.parametrize("block", range(5))
@pytest.mark.parametrize("n_agents", [2, 3])
def test_equals_gambits_logit_branch(n_agents, block):
    """Ten games a block, a hundred in all.

    `logit_path` finds gambit's point in all 300 cases. `nash`, its temperature lowered by a fifth
    at a time, does so in 298: where the branch folds back in temperature it must leave it.
    """
    compared = 0
    for number in range(10 * block, 10 * block + 10):
        payoffs = random_payoffs(n_agents, number)
        table = vsg.from_arrays(payoffs[:, None])
        game = pygambit.Game.from_arrays(*payoffs)
        for temperature in TEMPERATURES:
            [point] = pygambit.qre.logit_solve_lambda(game, [1 / temperature])
            theirs = [
                np.array([float(point.profile[strategy]) for strategy in player.strategies])
                for player in game.players
            ]
            ours = vsg.logit_path(table, 1 / point.lam)
            assert ours.solved
            assert ours.certificate.within_bound()
            if logit_error(payoffs, theirs, 1 / point.lam) < 1e-9:
                compared += 1
                for policy, expected in zip(profile_of(ours), theirs, strict=True):
                    np.testing.assert_allclose(policy, expected, rtol=0, atol=1e-7)
    assert compared >= 28  # gambit may stop short of 1e-9, as it did in 1 of 900 other cases


@pytest.mark.parametrize("n_agents", [2, 3])
def test_every_fixed_point_is_a_logit_equilibrium_within_the_bound(n_agents):
    """Theorem 4.2 for the marginal factorisation; one batch of 50 games."""
    for sizes in {random_payoffs(n_agents, k).shape[1:] for k in range(50)}:
        group = [p for k in range(50) if (p := random_payoffs(n_agents, k)).shape[1:] == sizes]
        table = vsg.from_arrays(np.stack(group)[:, :, None], batched=True)
        for temperature in TEMPERATURES:
            annealing = vsg.Annealing(start=1.0, stop=temperature, factor=0.7, target_gap=None)
            solution = vsg.nash(table, temperature=annealing, tolerance=1e-9)
            assert solution.solved
            assert solution.certificate.within_bound()
            bound = temperature * np.log(max(sizes))
            for k, payoffs in enumerate(group):
                profile = [solution.policies[agent][k, 0, 0].numpy() for agent in table.agents]
                assert logit_error(payoffs, profile, temperature) <= 2e-9
                gap = gap_of(payoffs, profile)
                assert gap <= bound
                assert float(solution.certificate.nash_gap[k]) == pytest.approx(gap, abs=1e-12)


# --- the two factorisations ----------------------------------------------------------------------


def conditional_oracle(payoffs, temperature):
    """What two agents execute at the fixed point of Prop. 5.2's answers to exact models.

    Each answers π(a|b) = softmax(r(·, b) / τ) and executes Σ_b ρ(b) π(a|b); with ρ what the other
    executes, row's policy is the stationary law of the Markov chain 'answer an answer'.
    """
    row, col = payoffs
    answer_row = softmax(row.T / temperature).T  # [a, b], columns sum to one
    answer_col = softmax(col / temperature).T  # [b, a]
    chain = answer_row @ answer_col
    equations = np.vstack([chain - np.eye(len(chain)), np.ones(len(chain))])
    law = np.linalg.lstsq(equations, np.eye(len(chain) + 1)[-1], rcond=None)[0]
    return [law, answer_col @ law]


def marginal_oracle(payoffs, temperature):
    """The logit equilibrium of a game whose column player has two actions, by bisection.

    In both games here, what row answers to column makes column move back: the response to a
    response falls, and so there is one fixed point.
    """
    row, col = payoffs

    def answer(heads):
        mine = softmax(row @ np.array([heads, 1 - heads]) / temperature)
        return mine, softmax(mine @ col / temperature)

    falling = [answer(heads)[1][0] for heads in np.linspace(0, 1, 201)]
    assert np.all(np.diff(falling) <= 0)
    heads = scipy.optimize.brentq(lambda x: answer(x)[1][0] - x, 0, 1, xtol=1e-15, rtol=1e-15)
    return list(answer(heads))


HEDGE = np.array([[[1, -1], [-1, 1], [0.5, 0.5]], [[-1, 1], [1, -1], [0, 0]]])
PENNIES = np.array([[9, -1], [-1, 1]]) / 9


@pytest.mark.parametrize(
    ("game", "payoffs", "temperature", "printed"),
    [
        (models.Hedge(), HEDGE, 0.1, (0.497, 0.007, 0.110)),
        (models.Hedge(), HEDGE, 0.02, (0.500, 0.000, 0.022)),
        (models.MatchingPennies(bias=9), np.stack([PENNIES, -PENNIES]), 0.1, (0.201, 0.024, 0.069)),
    ],
    ids=["hedge", "hedge, colder", "pennies"],
)
def test_executed_conditional_policies_break_the_bound_of_theorem_4_2(
    game, payoffs, temperature, printed
):
    """And marginal ones obey it: the fixed points, by other means, and the gaps of both."""
    table = vsg.tabulate(game)
    for k, (factorisation, oracle) in enumerate(
        [("conditional", conditional_oracle), ("marginal", marginal_oracle)]
    ):
        expected = oracle(payoffs, temperature)
        solution = vsg.nash(
            table, temperature=temperature, factorisation=factorisation, tolerance=1e-11
        )
        assert solution.solved
        for policy, law in zip(profile_of(solution), expected, strict=True):
            np.testing.assert_allclose(policy, law, rtol=0, atol=1e-9)
        gap = solution.certificate.nash_gap
        assert gap == pytest.approx(gap_of(payoffs, expected), abs=1e-9)
        assert round(gap, 3) == printed[k]
        assert solution.certificate.within_bound() == (factorisation == "marginal")
        assert round(solution.certificate.bound, 3) == printed[2]


def test_conditional_answers_come_along():
    """π^i(a^i | s, a^{-i}), whose average over what the other executes is what is executed."""
    table = vsg.tabulate(models.Hedge())
    solution = vsg.nash(table, temperature=0.3, factorisation="conditional", tolerance=1e-11)
    row, col = profile_of(solution)
    answer = solution.answers["row"][0, 0].numpy()
    np.testing.assert_allclose(answer, softmax(HEDGE[0].T / 0.3).T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(answer @ col, row, rtol=0, atol=1e-9)
    assert vsg.nash(table, temperature=0.3).answers == {}


# --- stochastic games: three meanings of τ -------------------------------------------------------


def fixed_point(rewards, transitions, priors, temperature, entropy, discount, horizon):
    """Policies with π^i = softmax(log u^i + Q^i / τ), (H, S, A_i): the definitions, iterated.

    Rewards are (2, S, A_1, A_2), transitions (S, A_1, A_2, S), priors (S, A_i). V^i pays τ for
    i's own divergence from its prior, for the joint one, or for none.
    """
    policies = [np.broadcast_to(prior, (horizon or 1, *prior.shape)) for prior in priors]
    for _ in range(2000):
        costs = [
            rel_entr(policy, prior).sum(-1) for policy, prior in zip(policies, priors, strict=True)
        ]
        paid = {"own": costs, "joint": [sum(costs)] * 2, "none": [0, 0]}[entropy]
        law = np.einsum("sabz,tsa,tsb->tsz", transitions, *policies)
        aims = []
        for i, reward in enumerate(rewards):
            stream = np.einsum("sab,tsa,tsb->ts", reward, *policies) - temperature * paid[i]
            if horizon is None:
                ahead = np.linalg.solve(np.eye(len(reward)) - discount * law[0], stream[0])[None]
            else:
                ahead = np.zeros_like(stream)
                for t in reversed(range(horizon - 1)):
                    ahead[t] = stream[t + 1] + discount * law[t + 1] @ ahead[t + 1]
            q = reward + discount * np.einsum("sabz,tz->tsab", transitions, ahead)
            q = np.einsum(["tsab,tsb->tsa", "tsab,tsa->tsb"][i], q, policies[1 - i])
            with np.errstate(divide="ignore"):
                aims.append(softmax(np.log(priors[i]) + q / temperature))
        if max(np.abs(a - p).max() for a, p in zip(aims, policies, strict=True)) < 1e-14:
            return policies
        policies = [(a + p) / 2 for a, p in zip(aims, policies, strict=True)]
    raise AssertionError("the oracle does not converge: choose a higher temperature")


REWARDS = np.random.default_rng(0).random((2, 3, 2, 3))
TRANSITIONS = np.random.default_rng(1).dirichlet(np.ones(3) / 4, (3, 2, 3))
PRIORS = [
    np.random.default_rng(2).dirichlet(np.ones(2), 3),
    np.array([[0.2, 0.8, 0.0], [0.1, 0.2, 0.7], [0.5, 0.0, 0.5]]),
]


@pytest.mark.parametrize("step", ["adaptive", 0.5])
@pytest.mark.parametrize(("discount", "horizon"), [(0.9, None), (0.9, 4), (1.0, 2)])
@pytest.mark.parametrize("entropy", ["own", "joint", "none"])
def test_what_the_temperature_is_paid_for(entropy, discount, horizon, step):
    """With priors that are not uniform and actions that are not available."""
    table = vsg.from_arrays(REWARDS, TRANSITIONS, discount=discount, horizon=horizon)
    with np.errstate(divide="ignore"):
        logs = tuple(torch.tensor(np.log(prior))[None, None] for prior in PRIORS)
    table = replace(table, log_priors=logs)
    expected = {
        kind: fixed_point(REWARDS, TRANSITIONS, PRIORS, 0.5, kind, discount, horizon)
        for kind in ("own", "joint", "none")
    }
    solution = vsg.nash(table, temperature=0.5, entropy=entropy, step=step, tolerance=1e-12)
    assert solution.solved
    for i, policy in enumerate(solution.policies.values()):
        found = policy.numpy() if horizon is not None else policy.numpy()[None]
        np.testing.assert_allclose(found, expected[entropy][i], rtol=0, atol=1e-10)
        for other in {"own", "joint", "none"} - {entropy}:
            assert np.abs(expected[other][i] - expected[entropy][i]).max() > 1e-3


def test_one_shot_games_make_no_difference_between_entropies():
    found = [vsg.nash(models.Hedge(), temperature=0.3, entropy=e) for e in ("own", "joint", "none")]
    for agent in ("row", "col"):
        for other in found[1:]:
            assert torch.equal(other.policies[agent], found[0].policies[agent])


# --- bundled games, by default -------------------------------------------------------------------


@pytest.mark.parametrize("name", AMONG_AGENTS)
def test_every_bundled_game_is_solved_by_default(name):
    """Soccer, 4 × 5 cells and 761 states, takes half of the time."""
    game = AMONG_AGENTS[name]()
    solution = vsg.nash(game)
    assert solution.solved, solution.message
    assert solution.certificate.nash_gap <= 1e-3
    again = vsg.certify(game, solution.policies)
    assert again.nash_gap == pytest.approx(solution.certificate.nash_gap, abs=1e-11)


def test_congestion_from_random_starts():
    """Rewards of about a hundred a step, γ = 0.99: a gap of 1e-3 is 1e-7 of the values."""
    table = vsg.tabulate(models.Congestion())
    for seed in range(20):
        solution = vsg.nash(table, initial=random_policies(table, seed))
        assert solution.solved
        assert solution.certificate.nash_gap <= 1e-3


@pytest.mark.parametrize("step", ["adaptive", "monotone", 1.0, 0.5])
def test_a_pure_start_can_be_left(step):
    """Although Eq. 4 multiplies, and 0 times anything is 0."""
    silent = torch.tensor([[1.0, 0.0]])
    start = {"row": silent, "col": silent}
    game = models.PrisonersDilemma()
    solution = vsg.nash(game, temperature=1.0, step=step, initial=start)
    expected = vsg.nash(game, temperature=1.0)
    assert solution.solved
    for agent in start:
        torch.testing.assert_close(
            solution.policies[agent], expected.policies[agent], rtol=0, atol=1e-8
        )


def test_from_where_one_starts():
    """At a fixed low temperature the start decides; both ends are equilibria of chicken."""
    ends = []
    for k in range(2):
        start = torch.tensor([[0.99, 0.01]])
        policies = {"row": start.flip(1) if k else start, "col": start if k else start.flip(1)}
        ends.append(vsg.nash(models.Chicken(), temperature=0.05, initial=policies))
        assert ends[-1].certificate.nash_gap < 1e-3
    assert not torch.allclose(ends[0].policies["row"], ends[1].policies["row"], atol=0.5)
    assert torch.allclose(ends[0].policies["row"], ends[1].policies["col"])


# --- numerics -----------------------------------------------------------------------------------

SMALL = {
    name: {"soccer": models.Soccer(rows=2, columns=3)}.get(name, game())
    for name, game in AMONG_AGENTS.items()
}


@pytest.mark.parametrize("schedule", [1e-8, [1.0, 1e-4, 1e-8]], ids=["at once", "cooled"])
@pytest.mark.parametrize("name", SMALL)
def test_tiny_temperatures(name, schedule):
    """Nothing is NaN, whether or not it settles, and what is not available stays so."""
    table = vsg.tabulate(SMALL[name])
    solution = vsg.nash(table, temperature=schedule, max_steps=5)
    for i, policy in enumerate(solution.policies.values()):
        assert (policy >= 0).all()
        torch.testing.assert_close(
            policy.sum(-1), torch.ones_like(policy[..., 0]), rtol=0, atol=1e-12
        )
        shut = (table.log_priors[i] == -torch.inf).expand(1, table.horizon or 1, -1, -1)
        assert not policy.reshape(shut.shape)[shut].any()
    numbers = [float(gain) for gain in solution.certificate.per_agent.values()]
    numbers += [entry["residual"] for entry in solution.history]
    numbers += [value for entry in solution.history for value in entry["elbo"].values()]
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("step", [0.5, "safe", "monotone"])
def test_tiny_temperatures_with_plain_steps(step):
    solution = vsg.nash(models.StagHunt(), temperature=1e-8, step=step, max_steps=30)
    assert np.isfinite([entry["residual"] for entry in solution.history]).all()
    assert np.isfinite(solution.certificate.nash_gap)


@pytest.mark.parametrize("entropy", ["own", "joint", "none"])
@pytest.mark.parametrize("horizon", [None, 3])
def test_a_batch_of_games_is_each_of_them(horizon, entropy):
    random = np.random.default_rng(0)
    rewards = random.random((5, 2, 3, 2, 3))
    transitions = random.dirichlet(np.ones(3), (5, 3, 2, 3))
    initial = random.dirichlet(np.ones(3), 5)
    shape = {"discount": 0.8, "horizon": horizon}
    options = {"temperature": [1.0, 0.2], "entropy": entropy, "tolerance": 1e-12}
    table = vsg.from_arrays(rewards, transitions, initial=initial, batched=True, **shape)
    together = vsg.nash(table, **options)
    assert together.solved
    for k in range(5):
        alone = vsg.from_arrays(rewards[k], transitions[k], initial=initial[k], **shape)
        one = vsg.nash(alone, **options)
        for agent, policy in one.policies.items():
            close = {"rtol": 0, "atol": 1e-10}
            torch.testing.assert_close(together.policies[agent][k], policy, **close)
            torch.testing.assert_close(together.values[agent][k], one.values[agent], **close)
            gain = float(together.certificate.per_agent[agent][k])
            assert gain == pytest.approx(one.certificate.per_agent[agent], abs=1e-10)


def test_the_same_call_gives_the_same_bits():
    """Whatever the state of the random number generators; random starts follow their own seed."""
    runs = []
    for seed in (1, 2):
        pyro.set_rng_seed(seed)
        runs.append(vsg.nash(models.RandomGame(), temperature=0.1))
    assert all(torch.equal(runs[0].policies[a], runs[1].policies[a]) for a in runs[0].policies)
    assert runs[0].history == runs[1].history
    table = vsg.tabulate(SMALL["soccer"])
    first, again, other = (random_policies(table, seed)["a"] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    vsg.certify(table, random_policies(table, 3))  # they are policies of the game


# --- how a run ends -----------------------------------------------------------------------------


def test_values_are_those_of_the_policies():
    table = vsg.tabulate(models.RandomGame())
    solution = vsg.nash(table, temperature=0.2)
    rewards, transitions = dense(table)
    law = transitions
    for policy in solution.policies.values():
        law = np.einsum("sa...,sa->s...", law, policy)
    for reward, found in zip(rewards, solution.values.values(), strict=True):
        for policy in solution.policies.values():
            reward = np.einsum("sa...,sa->s...", reward, policy)
        expected = np.linalg.solve(np.eye(len(law)) - 0.9 * law, reward)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_history():
    solution = vsg.nash(models.RandomGame(), temperature=[1.0, 0.3], certify_every=2)
    entries = solution.history
    assert [entry["iteration"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(("nash_gap" in entry) == (entry["iteration"] % 2 == 0) for entry in entries)
    assert [t for k, t in enumerate(e["temperature"] for e in entries) if not k or t < 1][0] == 1.0
    assert entries[-1]["temperature"] == solution.temperature == 0.3
    assert entries[-1]["residual"] <= 1e-9
    assert solution.iterations == len(entries)


def test_not_converged_keeps_the_best():
    """Plain whole steps go round in rock-paper-scissors; the best of the round is returned."""
    start = {"row": torch.tensor([[0.8, 0.1, 0.1]]), "col": torch.tensor([[0.4, 0.3, 0.3]])}
    solution = vsg.nash(
        models.RockPaperScissors(),
        temperature=0.3,
        step=1.0,
        initial=start,
        max_steps=30,
        certify_every=1,
    )
    assert solution.status == "not converged" and not solution.solved
    assert "max_steps" in solution.message
    gaps = [entry["nash_gap"] for entry in solution.history]
    assert solution.certificate.nash_gap == min(gaps) < gaps[-1]
    again = vsg.certify(models.RockPaperScissors(), solution.policies)
    assert again.nash_gap == pytest.approx(solution.certificate.nash_gap, abs=1e-12)


@pytest.mark.parametrize("factorisation", ["marginal", "conditional"])
def test_ctrl_c_returns_the_best_so_far(factorisation, monkeypatch):
    """Pressed while the fourth certificate is computed."""
    seen = []
    module = sys.modules[vsg.nash.__module__]
    certify = module.certify_tables

    def interrupted(*args, **options):
        if len(seen) == 3:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(certify(*args, **options))
        return seen[-1]

    monkeypatch.setattr(module, "certify_tables", interrupted)
    solution = vsg.nash(
        models.MatchingPennies(bias=9),
        temperature=0.4,
        factorisation=factorisation,
        step=0.3,
        certify_every=1,
        tolerance=1e-12,
    )
    assert solution.status == "interrupted" and not solution.solved
    assert "stopped by hand" in solution.message
    assert solution.iterations == 4
    gaps = [certificate.nash_gap for certificate in seen if certificate is not None]
    assert solution.certificate.nash_gap == min(gaps)
    monkeypatch.undo()
    again = vsg.certify(models.MatchingPennies(bias=9), solution.policies)
    assert again.nash_gap == pytest.approx(solution.certificate.nash_gap, abs=1e-12)


def test_a_progress_bar_changes_nothing(capsys):
    game = models.Chicken()
    shown, silent = (vsg.nash(game, temperature=0.5, progress=p) for p in (True, False))
    assert torch.equal(shown.policies["row"], silent.policies["row"])
    assert capsys.readouterr().out == ""


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"temperature": float("nan")}, "must be positive"),
        ({"temperature": [1.0, -0.1]}, "must be positive"),
        ({"temperature": []}, "must be positive"),
        ({"factorisation": "joint"}, "one of marginal, conditional"),
        ({"entropy": "all"}, "one of own, joint, none"),
        ({"temperature": [0.1, 1.0]}, "do not fall"),
        ({"step": "monotone", "factorisation": "conditional"}, "no monotone steps"),
        ({"step": "fast"}, "adaptive, monotone, safe, or a number"),
        ({"step": 0.0}, r"lies in \(0, 1\]"),
        ({"step": 1.5}, r"lies in \(0, 1\]"),
        ({"max_steps": 0}, "at least 1"),
        ({"initial": {"row": torch.ones(1, 2) / 2}}, "no policy is given for 'col'"),
        ({"initial": dict.fromkeys(("row", "col"), torch.ones(1, 3) / 3)}, r"expected \(1, 2\)"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(vsg.GameError, match=words):
        vsg.nash(models.PrisonersDilemma(), **options)
