"""Eq. 5's policy and its derivatives, against plain loops in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.brute_response import BruteResponse, soft
from tests.random_games import games
from tests.random_policies import Case
from tests.soft_brute import (
    Dense,
    central,
    log_likelihood,
    random_dense,
    random_laws,
    soft_policy,
)
from vsg_ppl.soft_response import log_likelihood as library_likelihood
from vsg_ppl.soft_response import soft_response

SHAPES = {
    "one agent": dict(sizes=(3,), states=3, horizon=None),
    "discounted": dict(sizes=(2, 3), states=2, horizon=None, zeros=True),
    "three agents": dict(sizes=(2, 2, 2), states=2, horizon=None),
    "one-shot": dict(sizes=(3, 2), states=1, horizon=1),
    "horizon": dict(sizes=(2, 2), states=3, horizon=3, zeros=True, discount=0.9),
    "time-dependent": dict(sizes=(2, 2), states=2, horizon=3, timed=True, zeros=True, discount=1.0),
}


def tensors(laws):
    return [torch.tensor(law)[None] for law in laws]


def scalar(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tau", [0.05, 0.7, 5.0])
def test_equals_soft_dynamic_programming(shape, tau):
    for seed in range(3):
        dense = random_dense(seed, **SHAPES[shape])
        laws = random_laws(dense, seed)
        for agent in range(len(dense.sizes)):
            found = soft_response(dense.table(), tensors(laws), agent, tau)
            expected = soft_policy(dense, laws, agent, tau)[0]
            expected = np.broadcast_to(expected, found.shape[1:])
            np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-11 / tau)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(game=games(outcomes=16), seed=st.integers(0, 10**6), tau=st.floats(0.1, 3.0))
def test_equals_the_programs_own_backward_induction(game, seed, tau):
    """Programs with signals, several sites an agent, chance, zeros and idle agents."""
    case = Case(game, seed)
    modules = {**case.others, case.agent: case.policy}
    laws = [modules[j].log_table().detach().exp()[None] for j in case.table.agents]
    number = case.table.number(case.agent)
    found = soft_response(case.table, laws, number, tau)[0].exp()
    functions = {**case.functions[2], case.agent: case.functions[0]}
    oracle = BruteResponse(case.brute, case.agent, functions)
    for (place, t), (answers, _) in oracle.induct(soft(tau), steps=30).items():
        for answer in answers.values():
            row = found[t, case.reader.rows[place]]
            assert float(row.sum()) == pytest.approx(1.0, abs=1e-12)
            for action, p in answer.items():
                number = case.reader.number(case.agent, action)
                assert float(row[number]) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_agents_own_policy_does_not_matter(shape):
    dense = random_dense(0, **SHAPES[shape])
    one, two = tensors(random_laws(dense, 0)), tensors(random_laws(dense, 1))
    one[1:] = two[1:]
    found = [soft_response(dense.table(), laws, 0, 0.3) for laws in (one, two)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_everything(shape):
    """Rewards, transitions, priors, the others' policies, the discount and the temperature."""
    dense = random_dense(3, **SHAPES[shape])
    table, laws = dense.table(), tensors(random_laws(dense, 3))
    agent = len(laws) - 1
    available = [prior > -torch.inf for prior in table.log_priors]

    def respond(rewards, chances, prior, discount, tau, *policies):
        moved = replace(
            table,
            rewards=(*table.rewards[:agent], rewards),
            probabilities=chances,
            log_priors=(*table.log_priors[:agent], prior),
            discount=discount,
        )
        log = soft_response(moved, [*policies, laws[agent]], agent, tau)
        return log[available[agent].expand_as(log)]

    inputs = [
        table.rewards[agent],
        table.probabilities,
        table.log_priors[agent],
        torch.tensor(dense.discount, dtype=torch.float64),
        torch.tensor(0.8, dtype=torch.float64),
        *laws[:agent],
    ]
    inputs = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(respond, inputs, eps=1e-5, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_likelihood(shape):
    """By the oracle's differences, in every entry of the reward; the others by hand."""
    dense = random_dense(4, **SHAPES[shape])
    laws, tau, agent = random_laws(dense, 4), 0.5, 0
    h = dense.horizon or 1
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 4, (h, *dense.priors[agent].shape[1:])).astype(float)
    counts *= dense.priors[agent] > 0

    def likelihood(reward=None, tau=tau, discount=dense.discount):
        rewards = list(dense.rewards)
        rewards[agent] = rewards[agent] if reward is None else reward
        moved = replace(dense, rewards=rewards, discount=float(discount))
        return log_likelihood(counts, soft_policy(moved, laws, agent, float(tau))[0])

    table = dense.table()
    reward = table.rewards[agent].clone().requires_grad_()
    temperature, discount = scalar(tau), scalar(dense.discount)
    moved = replace(table, rewards=(reward, *table.rewards[1:]), discount=discount)
    log = soft_response(moved, tensors(laws), agent, temperature)
    total = library_likelihood(torch.tensor(counts), log)
    assert float(total.detach()) == pytest.approx(likelihood(), abs=1e-9)
    total.backward()
    for place, _ in np.ndenumerate(dense.rewards[agent]):
        expected = central(likelihood, dense.rewards[agent], place, 1e-3)
        assert float(reward.grad[0][place]) == pytest.approx(float(expected), abs=1e-6)
    for x, name in ((temperature, "tau"), (discount, "discount")):
        expected = central(
            lambda y, name=name: likelihood(**{name: y}), np.array(float(x.detach())), (), 1e-3
        )
        # with one decision the discount enters nothing
        assert float(0.0 if x.grad is None else x.grad) == pytest.approx(float(expected), abs=1e-6)


def test_a_step_in_every_direction_at_once():
    """The others' policies and the transitions move together, along a line of the oracle's own."""
    dense = random_dense(5, (2, 3), 3, None)
    other, laws, away = (
        random_dense(6, (2, 3), 3, None),
        random_laws(dense, 5),
        random_laws(dense, 6),
    )

    def at(x):
        chances = (1 - x) * dense.chances + x * other.chances
        moved = [(1 - x) * a + x * b for a, b in zip(laws, away, strict=True)]
        return soft_policy(replace(dense, chances=chances), moved, 1, 0.4)[0]

    x = scalar(0.3)
    table = dense.table()
    mixed = (1 - x) * table.probabilities + x * torch.tensor(other.chances)[None]
    moved = [(1 - x) * a + x * b for a, b in zip(tensors(laws), tensors(away), strict=True)]
    found = soft_response(replace(table, probabilities=mixed), moved, 1, 0.4)[0]
    expected = central(at, np.array(0.3), (), 1e-3)
    for place, slope in np.ndenumerate(expected):
        (grad,) = torch.autograd.grad(found[place], x, retain_graph=True)
        assert float(grad) == pytest.approx(float(slope), abs=1e-7)


class Sparse:
    """A discounted game of two agents with many states and three successors each."""

    states, tau, discount = 620, 0.3, 0.7

    def __init__(self):
        rng = np.random.default_rng(0)
        n = self.states
        self.reward = rng.normal(size=(n, 2, 2))
        self.successors = rng.integers(0, n, (n, 2, 2, 3))
        self.chances = rng.dirichlet(np.ones(3), (n, 2, 2))
        self.other = rng.dirichlet(np.ones(2), n)
        self.counts = rng.integers(0, 3, (n, 2)).astype(float)

    def likelihood(self, reward=None, chances=None, other=None, tau=None, discount=None):
        """By value iteration, the expectations over three successors written out."""
        reward, chances, other, tau, discount = (
            getattr(self, name) if x is None else x
            for name, x in (
                ("reward", reward),
                ("chances", chances),
                ("other", other),
                ("tau", tau),
                ("discount", discount),
            )
        )
        value = np.zeros(self.states)
        for _ in range(100):
            joint = reward + discount * (chances * value[self.successors]).sum(-1)
            q = (joint[:, :, 0] * other[:, [0]] + joint[:, :, 1] * other[:, [1]]) / tau
            top = q.max(1)
            mean = 0.5 * np.exp(q[:, 0] - top) + 0.5 * np.exp(q[:, 1] - top)
            value = tau * (np.log(mean) + top)
        return float((self.counts * (np.log(0.5) + q - value[:, None] / tau)).sum())

    def table(self, reward, chances, discount):
        n = self.states
        start = vsg.from_arrays(
            torch.zeros(2, n, 2, 2), torch.eye(n)[:, None, None].expand(n, 2, 2, n), discount=0.5
        )
        return replace(
            start,
            rewards=(reward, torch.zeros_like(reward)),
            probabilities=chances,
            successors=torch.tensor(self.successors)[None],
            discount=discount,
        )


def test_many_states_go_through_the_iterative_solve():
    game = Sparse()
    inputs = {
        "reward": torch.tensor(game.reward)[None, None],
        "chances": torch.tensor(game.chances)[None, None],
        "other": torch.tensor(game.other)[None, None],
        "tau": torch.tensor(game.tau, dtype=torch.float64),
        "discount": torch.tensor(game.discount, dtype=torch.float64),
    }
    inputs = {name: x.requires_grad_() for name, x in inputs.items()}
    table = game.table(inputs["reward"], inputs["chances"], inputs["discount"])
    laws = [torch.full((1, 1, game.states, 2), 0.5).double(), inputs["other"]]
    log = soft_response(table, laws, 0, inputs["tau"])
    total = library_likelihood(torch.tensor(game.counts)[None], log)
    assert float(total.detach()) == pytest.approx(game.likelihood(), abs=1e-7)
    total.backward()
    rng = np.random.default_rng(1)
    for name, x in inputs.items():
        start = np.asarray(getattr(game, name))
        for _ in range(4 if start.ndim else 1):
            place = tuple(int(rng.integers(size)) for size in start.shape)
            slope = central(lambda y, name=name: game.likelihood(**{name: y}), start, place, 1e-3)
            found = float(x.grad.reshape(start.shape)[place])
            assert found == pytest.approx(float(slope), abs=1e-6 * (1 + abs(float(slope))))


def test_likelihood_of_what_is_not_available():
    log = torch.tensor([[[[-torch.inf, 0.0]]]]).double()
    assert float(library_likelihood(torch.tensor([[[0.0, 3.0]]]), log)) == 0.0
    assert float(library_likelihood(torch.tensor([[[1.0, 3.0]]]), log)) == -torch.inf


def test_an_unavailable_action_gives_no_nan_in_gradients():
    dense = random_dense(0, (3, 2), 2, None, zeros=True)
    table, laws = dense.table(), tensors(random_laws(dense, 0))
    reward = table.rewards[0].clone().requires_grad_()
    log = soft_response(replace(table, rewards=(reward, table.rewards[1])), laws, 0, 0.5)
    counts = torch.tensor(dense.priors[0] > 0).double()
    library_likelihood(counts, log).backward()
    assert log[0, 0, 0, 0] == -torch.inf
    assert bool(torch.isfinite(reward.grad).all())
    assert float(reward.grad.abs().max()) > 1e-3
    # what is never played pays nobody
    assert bool((reward.grad[0, 0, 0, 0] == 0).all())


def test_a_cold_agent_is_nearly_greedy_and_finite():
    dense = random_dense(2, (3, 2), 3, None, discount=0.95)
    table, laws = dense.table(), tensors(random_laws(dense, 2))
    reward = table.rewards[0].clone().requires_grad_()
    log = soft_response(replace(table, rewards=(reward, table.rewards[1])), laws, 0, 1e-4)
    assert bool(torch.isfinite(log).all())
    assert bool((log.exp().amax(-1) > 0.999).all())
    (grad,) = torch.autograd.grad(log[..., 0].sum(), reward)
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tau", [1e4, 1e9, 1e14])
def test_a_hot_agent_plays_its_prior(shape, tau):
    dense: Dense = random_dense(2, **SHAPES[shape])
    temperature = scalar(tau)
    log = soft_response(dense.table(), tensors(random_laws(dense, 2)), 0, temperature)
    prior = np.broadcast_to(dense.priors[0], log.shape[1:])
    np.testing.assert_allclose(log[0].detach().exp().numpy(), prior, rtol=0, atol=10 / tau + 1e-12)
    (grad,) = torch.autograd.grad(log[..., -1].sum(), temperature)
    assert abs(float(grad)) < 100 / tau**2 + 1e-12 / tau
