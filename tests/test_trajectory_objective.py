"""Eq. 6–7: values and gradients by listing trajectories, estimates within their errors."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta

import vsg_ppl as vsg
from tests.trajectory_brute import density
from vsg_ppl import models
from vsg_ppl.best_response import respond
from vsg_ppl.nash import random_policies
from vsg_ppl.proposals import Proposals, importance_weights, propose
from vsg_ppl.simulate import Plays, simulate
from vsg_ppl.trajectory_objective import (
    trajectory_gradient,
    trajectory_model,
    trajectory_objective,
)
from vsg_ppl.trajectory_partition import exact_log_partition

REFERENCES = ("printed", "game")


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def deterministic(sizes=(2,), states=3, horizon=3, discount=1.0, seed=0):
    """Every joint action moves to one state, from a fixed first state."""
    generator = torch.Generator().manual_seed(seed)
    following = torch.randint(states, (states, *sizes), generator=generator)
    return vsg.from_arrays(
        randn(len(sizes), states, *sizes, seed=seed),
        torch.nn.functional.one_hot(following, states).double(),
        horizon=horizon,
        discount=discount,
        initial=torch.eye(states)[0],
    )


def chancy(sizes=(2, 2), states=2, horizon=3, discount=0.8, seed=0):
    """Random moves, of which some are impossible, and a prior that is not uniform."""
    moves = randn(states, *sizes, states, seed=seed + 1).exp()
    moves[(0,) * (len(sizes) + 1)] = torch.eye(states)[-1]
    table = vsg.from_arrays(
        randn(len(sizes), states, *sizes, seed=seed),
        moves / moves.sum(-1, keepdim=True),
        horizon=horizon,
        discount=discount,
    )
    prior = randn(1, 1, states, sizes[0], seed=seed + 2).log_softmax(-1)
    return replace(table, log_priors=(prior, *table.log_priors[1:]))


def lottery(q):
    """Start, end, won, lost: 0 for sure, or by the second action a lottery; and its plays by q."""
    moves = torch.zeros(4, 2, 4).double()
    moves[0, 0, 1], moves[0, 1, 2], moves[0, 1, 3] = 1.0, 0.5, 0.5
    moves[1:, :, 1] = 1.0
    table = vsg.from_arrays(
        torch.zeros(1, 4, 2), moves, horizon=2, initial=torch.tensor([1.0, 0, 0, 0])
    )
    policy = torch.tensor([[1 - q, q], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]).double()
    return table, policy


def sparse():
    """A program with time, where a next state is listed several times."""
    return vsg.tabulate(Twice())


class Twice:
    """Three coins, of which only the number of heads matters: several outcomes, one next state."""

    agents = ("ann", "bob")
    horizon = 3
    discount = 0.9

    def initial(self):
        return pyro.sample("x", dist.Categorical(torch.tensor([0.3, 0.7])))

    def step(self, x, t):
        ann = vsg.act("ann", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
        bob = vsg.act("bob", dist.Categorical(torch.tensor([[1.0, 1.0], [1.0, 0.0]])[x]))
        coin = pyro.sample("coin", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        vsg.optimality("ann", 1.0 * (ann == x) + 0.5 * t)
        vsg.optimality("bob", 1.0 * bob)
        return torch.where(ann + bob > 1, 1, coin // 2)


class Turns(Twice):
    """Ann and Bob take turns."""

    def step(self, x, t):
        ann, bob = torch.tensor(0), torch.tensor(0)
        if t % 2 == 0:
            ann = vsg.act("ann", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
        else:
            bob = vsg.act("bob", dist.Categorical(torch.tensor([[1.0, 1.0], [1.0, 0.0]])[x]))
        vsg.optimality("ann", 1.0 * (ann == x) - 0.5 * bob)
        vsg.optimality("bob", 1.0 * bob + x)
        return pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6, 1.0])[ann])).long()


CASES = {
    "deterministic": (deterministic(), "agent1"),
    "deterministic, two agents": (deterministic((2, 2), 2, discount=0.7), "agent2"),
    "chance": (chancy(), "agent1"),
    "chance, alone": (chancy((3,), 3), "agent1"),
    "one step": (chancy(horizon=1), "agent2"),
    "sparse": (sparse(), "ann"),
    "sparse, the other": (sparse(), "bob"),
    "turns": (vsg.tabulate(Turns()), "bob"),
}


def law_of(table, seed=0):
    """Random policies, (1, H, S, A)."""
    return random_policies(table, seed)


def visits(table, policy):
    """Expected visits to (t, s, a) of one agent's policy (H, S, A)."""
    now, found = table.initial[0], []
    for t in range(table.horizon):
        found.append(now[:, None] * policy[t])
        now = torch.einsum("sa,sap->p", found[-1], table.probabilities[0, 0])
    return torch.stack(found)


def soft(table, reward, temperature=1.0):
    """Eq. 5 of one agent, (H, S, A), by the library's own soft backup."""
    times = reward if reward.ndim == 3 else reward[None]
    changed = replace(table, rewards=(times[None],))
    return respond(changed, [log.exp() for log in table.log_priors], 0, temperature)[0][0]


def minimise(loss, *shape):
    """The minimiser of a smooth convex function, from 0."""
    x = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [x],
        max_iter=500,
        tolerance_grad=1e-11,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        value = loss(x)
        value.backward()
        return value

    optimiser.step(closure)
    assert x.grad.abs().max() < 1e-6
    return x.detach()


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_exact_z_and_its_gradient_sum_over_all_trajectories(case, timed, reference):
    table, agent = CASES[case]
    others, steps = law_of(table), table.horizon
    shape = (len(table.states), *table.sizes)
    reward = randn(*((steps, *shape) if timed else shape), seed=5).requires_grad_()
    _, weights, counts = density(table, agent, others, reward.detach(), 0.7, reference, steps)
    value = exact_log_partition(table, agent, others, reward, temperature=0.7, reference=reference)
    assert abs(value.item() - weights.sum().log().item()) < 1e-10
    value.backward()
    expected = torch.tensordot(weights / weights.sum(), counts, 1) / 0.7
    expected = expected if timed else expected.sum(0)
    torch.testing.assert_close(reward.grad, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_gradient_of_the_exact_z_is_that_of_finite_differences(reference):
    table, others = chancy(), law_of(chancy())
    reward = randn(2, 2, 1, seed=3).requires_grad_()

    def log_z(reward):
        return exact_log_partition(table, "agent1", others, reward, reference=reference)

    assert torch.autograd.gradcheck(log_z, reward, eps=1e-6, atol=1e-6)
    (grad,) = torch.autograd.grad(log_z(reward), reward)
    for k in range(reward.numel()):
        step = torch.zeros(reward.numel()).double()
        step[k] = 1e-5
        step = step.reshape(reward.shape)
        slope = (log_z(reward + step) - log_z(reward - step)) / 2e-5
        assert abs(slope.item() - grad.flatten()[k].item()) < 1e-6


def test_z_is_exact_where_exponentials_overflow():
    table = deterministic(horizon=3)
    reward = 5000.0 * randn(3, 2).abs()
    small = exact_log_partition(table, "agent1", {}, reward / 5000.0, temperature=1 / 5000)
    large = exact_log_partition(table, "agent1", {}, reward)
    assert large > 1000 and torch.isclose(small, large, rtol=1e-12)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("proposal", ["priors", "random"])
def test_z_and_the_numerator_of_eq_7_are_unbiased(case, proposal, reference):
    table, agent = CASES[case]
    priors = dict(zip(table.agents, (log.exp() for log in table.log_priors), strict=True))
    # random policies near the priors, so that weights have small tails
    random = {name: 0.6 * p + 0.4 * law_of(table, 1)[name] for name, p in priors.items()}
    drawn = propose(table, priors if proposal == "priors" else random, 20_000, seed=7)
    others = law_of(table)
    reward = randn(len(table.states), *table.sizes, seed=5)
    _, exact, counts = density(table, agent, others, reward, 1.0, reference, table.horizon)
    found = importance_weights(table, agent, reward, drawn, reference=reference, others=others)
    w = found.weights * found.log_z.exp() * len(drawn)
    error = w.std() / math.sqrt(len(w))
    assert abs(w.mean() - exact.sum()) <= 4 * error + 1e-12 * exact.sum()
    assert 1 <= found.effective <= len(drawn) * (1 + 1e-9)
    # w Σ γ^t ∇r, visit by visit
    seen = torch.zeros(len(w), *counts.shape[1:]).double()
    joint = [drawn.plays.actions[name] for name in table.agents]
    for t in range(table.horizon):
        here = (torch.arange(len(w)), t, drawn.plays.states[:, t], *(a[:, t] for a in joint))
        seen[here] += table.discount**t
    terms = w.reshape(-1, *[1] * (seen.ndim - 1)) * seen
    error = terms.std(0) / math.sqrt(len(w))
    truth = torch.tensordot(exact, counts, 1)
    # five, not four: there are some 600 entries in all the cases together
    assert ((terms.mean(0) - truth).abs() <= 5 * error + 1e-12).all()


def test_proposals_by_the_density_itself_have_equal_weights():
    table = deterministic((3,), 3)
    reward = randn(3, 3, seed=5)
    policy = soft(table, reward, 0.5)
    drawn = propose(table, {"agent1": policy}, 50)
    found = importance_weights(table, "agent1", reward, drawn, temperature=0.5)
    torch.testing.assert_close(found.weights, torch.ones(50).double() / 50, rtol=1e-10, atol=0)
    assert found.effective == pytest.approx(50)
    exact = exact_log_partition(table, "agent1", {}, reward, temperature=0.5)
    assert torch.isclose(found.log_z, exact, rtol=1e-10)
    colder = importance_weights(table, "agent1", reward, drawn, temperature=1e-4)
    most, best = colder.weights.max(), (colder.weights == colder.weights.max()).sum()
    assert most * best == pytest.approx(1.0)
    assert colder.effective == pytest.approx(int(best))


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("case", ["deterministic, two agents", "chance", "sparse"])
def test_the_self_normalised_gradient_converges(case, reference):
    table, agent = CASES[case]
    others = {name: log.exp() for name, log in zip(table.agents, table.log_priors, strict=True)}
    seen = simulate(table, {name: p[0] for name, p in law_of(table, 2).items()}, 50, seed=1)
    reward = randn(len(table.states), *table.sizes, seed=5).requires_grad_()
    objective = trajectory_objective(
        table, agent, seen, reward, None, reference=reference, others=others
    )
    (exact,) = torch.autograd.grad(objective, reward)
    errors = []
    for n in (100, 40_000):
        drawn = [propose(table, others, n, seed=seed) for seed in range(5)]
        gradients = [
            trajectory_gradient(table, agent, seen, reward, d, reference=reference) for d in drawn
        ]
        errors.append(max((g - exact).abs().max().item() for g in gradients))
    assert errors[1] < errors[0] / 5 and errors[1] < 0.05


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ("deterministic", (3, 2)),
        ("chance", (2, 2, 2)),
        ("chance", (2, 2, 1)),
        ("chance", (3, 2, 1, 2)),
        ("chance", (1, 2, 1, 1)),
        ("sparse", (3, 2, 3, 2)),
    ],
)
def test_autograd_gives_eq_7(case, shape, reference):
    table, agent = CASES[case]
    seen = simulate(table, law_of_plays(table, 2), 30, seed=1)
    drawn = propose(table, law_of_plays(table, 1), 300, seed=2)
    reward = randn(*shape, seed=5).requires_grad_()
    given = {"temperature": 0.6, "reference": reference}
    trajectory_objective(table, agent, seen, reward, drawn, **given).backward()
    gradient = trajectory_gradient(table, agent, seen, reward, drawn, **given)
    assert gradient.shape == reward.shape
    torch.testing.assert_close(reward.grad, gradient, rtol=0, atol=1e-12)


def law_of_plays(table, seed):
    return {name: policy[0] for name, policy in law_of(table, seed).items()}


def test_autograd_reaches_the_parameters_of_a_reward():
    table = chancy()
    seen, drawn = (
        simulate(table, law_of_plays(table, 2), 30),
        propose(table, law_of_plays(table, 1), 300),
    )
    features, psi = randn(4, 2, 2, 2, seed=9), randn(4, seed=8).requires_grad_()
    reward = torch.tensordot(psi, features, 1)
    trajectory_objective(table, "agent1", seen, reward, drawn).backward()
    by_entry = trajectory_gradient(table, "agent1", seen, reward, drawn)
    expected = (features * by_entry).flatten(1).sum(-1)
    torch.testing.assert_close(psi.grad, expected, rtol=0, atol=1e-12)


def test_plays_of_a_game_without_end_are_cut():
    table = replace(chancy(discount=0.6), horizon=None)
    even = {name: torch.full((2, 2), 0.5) for name in table.agents}
    seen, drawn = simulate(table, even, 40, steps=4), propose(table, even, 20_000, steps=4)
    reward = randn(2, 2, 2, seed=5)
    cut = replace(table, horizon=4)
    others = {"agent2": torch.full((1, 1, 2, 2), 0.5)}
    for reference in REFERENCES:
        _, weights, _ = density(cut, "agent1", others, reward, 1.0, reference, 4)
        exact = exact_log_partition(table, "agent1", others, reward, reference=reference, steps=4)
        assert torch.isclose(exact, weights.sum().log(), rtol=1e-12)
        given = {"reference": reference, "others": others}
        by_plays = trajectory_objective(table, "agent1", seen, reward, drawn, **given)
        by_sum = trajectory_objective(table, "agent1", seen, reward, None, **given)
        assert abs(by_plays - by_sum) < 0.05
    with pytest.raises(vsg.GameError, match="never ends.*steps=10"):
        exact_log_partition(table, "agent1", others, reward)


def test_the_discount_weighs_rewards_and_is_not_lost_on_times():
    """γ^t r of a discounted game is the reward of each time of one without a discount."""
    table = chancy(discount=0.8)
    plain = replace(table, discount=1.0)
    reward = randn(3, 2, 2, 2, seed=5)
    weighed = reward * (0.8 ** torch.arange(3.0).double()).reshape(3, 1, 1, 1)
    law = law_of_plays(table, 2)
    seen, drawn = simulate(table, law, 20), propose(table, law, 50)
    again, twice = replace_table(seen, plain), Proposals(replace_table(drawn.plays, plain), law)
    one = trajectory_objective(table, "agent1", seen, reward, drawn)
    two = trajectory_objective(plain, "agent1", again, weighed, twice)
    assert torch.isclose(one, two, rtol=1e-12)
    zero = replace(table, discount=0.0)
    value = exact_log_partition(zero, "agent1", law_of(table), reward, reference="game")
    first = (table.initial[0, :, None, None] * table.log_priors[0].exp()[0, 0, :, :, None]) * (
        law_of(table)["agent2"][0, 0, :, None] * reward[0].exp()
    )
    assert torch.isclose(value, first.sum().log(), rtol=1e-12)


def replace_table(plays, table):
    return Plays(table, plays.states, plays.actions, plays.rewards)


# Eq. 6 and the likelihood of the agent's actions


def log_likelihood(table, policy, states, actions):
    """Mean Σ_t log π_t(a_t | s_t)."""
    times = torch.arange(states.shape[1])
    return policy.log()[times, states, actions].sum(-1).mean()


def heated(table, reward, temperature):
    """Soft best response of one agent with temperature τ / γ^t at time t, (H, S, A)."""
    value, policies = torch.zeros(len(table.states)).double(), []
    moves, prior = table.probabilities[0, 0], table.log_priors[0][0, 0]
    for t in reversed(range(table.horizon)):
        now = temperature / table.discount**t
        scores = prior + (reward + table.discount * moves @ value) / now
        if t + 1 == table.horizon:
            scores = prior + reward / now
        value = now * scores.logsumexp(-1)
        policies.append(scores.softmax(-1))
    return torch.stack(policies[::-1])


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("discount", [1.0, 0.6])
def test_alone_without_chance_eq_6_is_the_likelihood_at_rising_temperatures(discount, reference):
    table = deterministic((3,), 4, horizon=4, discount=discount)
    seen = simulate(table, law_of_plays(table, 2), 50, seed=1)
    differences, at_one = [], []
    for seed in range(4):
        reward = randn(4, 3, seed=seed)
        objective = trajectory_objective(
            table, "agent1", seen, reward, None, temperature=0.7, reference=reference
        )
        chosen = seen.states, seen.actions["agent1"]
        by_time = log_likelihood(table, heated(table, reward, 0.7), *chosen)
        by_eq_5 = log_likelihood(table, soft(table, reward, 0.7), *chosen)
        differences.append(float(objective + by_time))
        at_one.append(float(objective + by_eq_5))
    assert max(differences) - min(differences) < 1e-10
    # what is left over is Σ_t log u of the plays, whatever the reward
    assert abs(differences[0] - 4 * float(table.log_priors[0][0, 0, 0, 0])) < 1e-10
    if discount == 1.0:
        assert max(at_one) - min(at_one) < 1e-10
    else:
        assert max(at_one) - min(at_one) > 0.05


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_random_first_state_is_tilted_too(reference):
    table = deterministic((3,), 4, horizon=4)
    table = replace(table, initial=torch.full_like(table.initial, 0.25))
    seen = simulate(table, law_of_plays(table, 2), 50, seed=1)
    gaps = []
    for seed in range(4):
        reward = randn(4, 3, seed=seed)
        objective = trajectory_objective(table, "agent1", seen, reward, None, reference=reference)
        policy = soft(table, reward)
        gaps.append(
            float(objective + log_likelihood(table, policy, seen.states, seen.actions["agent1"]))
        )
    assert max(gaps) - min(gaps) > 0.05


def test_with_a_discount_eq_6_finds_another_reward_than_made_the_play():
    """One state, γ = 1/2, three steps: Eq. 5 plays the same at all times, p_ψ ever more evenly."""
    table = vsg.from_arrays(torch.zeros(1, 1, 2), torch.ones(1, 2, 1), horizon=3, discount=0.5)
    reward = torch.tensor([[1.0, 0.0]]).double()
    played = soft(table, reward)[:, 0, 0]
    torch.testing.assert_close(played, torch.ones(3).double().sigmoid())
    tilted = torch.tensor([1.0, 0.5, 0.25]).double().sigmoid()
    torch.testing.assert_close(heated(table, reward, 1.0)[:, 0, 0], tilted)
    observed = 1.75 * played[0]

    def objective(x):
        reward = torch.stack([x, torch.zeros_like(x)], -1)
        return exact_log_partition(table, "agent1", {}, reward) - observed * x.sum()

    found = minimise(objective, 1).item()
    assert found == pytest.approx(1.384, abs=5e-4)
    assert torch.tensor(found).sigmoid() > 0.79  # Eq. 5 of the reward found; 0.731 was played


def test_a_lottery_tells_the_three_apart():
    """The numbers of the module's docstring."""
    q = 1 / (1 + math.exp(-1.0))
    table, policy = lottery(q)

    def reward(x):
        return torch.stack([x * 0, x * 0, x, x * 0])[..., None].reshape(4, 1)

    def taken(x):
        return soft(table, reward(torch.tensor(x).double()).expand(4, 2))[0, 0, 1].item()

    won = q / 2
    found = {
        reference: minimise(
            lambda x, reference=reference: (
                exact_log_partition(table, "agent1", {}, reward(x[0]), reference=reference)
                - won * x.sum()
            ),
            1,
        ).item()
        for reference in REFERENCES
    }

    def likelihood(x):
        risky = torch.sigmoid(x / 2)
        return -(q * risky.log() + (1 - q) * (1 - risky).log()).sum()

    assert q == pytest.approx(0.731, abs=5e-4)
    assert minimise(likelihood, 1).item() == pytest.approx(2.0, abs=1e-6)
    assert found["game"] == pytest.approx(0.547, abs=5e-4)
    assert found["printed"] == pytest.approx(0.142, abs=5e-4)
    assert taken(2.0) == pytest.approx(q, abs=1e-12)
    assert taken(found["game"]) == pytest.approx(0.568, abs=5e-4)
    assert taken(found["printed"]) == pytest.approx(0.518, abs=5e-4)
    # a reward of 0: two of the three outcomes are the lottery's
    zero = torch.zeros(4, 2).double().requires_grad_()
    for reference, chance in (("printed", 2 / 3), ("game", 1 / 2)):
        log_z = exact_log_partition(table, "agent1", {}, zero, reference=reference)
        (counts,) = torch.autograd.grad(log_z, zero)
        assert counts[0, 1].item() == pytest.approx(chance, abs=1e-12)


def free(table, policy, reference):
    """The policy by Eq. 5 of the free reward that minimises Eq. 6 on endless data."""
    data = visits(table, policy)

    def objective(reward):
        log_z = exact_log_partition(table, "agent1", {}, reward, reference=reference)
        return log_z - (data * reward).sum()

    return soft(table, minimise(objective, *data.shape))


def test_a_free_reward_gives_the_policy_back_with_game_and_not_as_printed():
    table, policy = lottery(1 / (1 + math.exp(-1.0)))
    policy = policy.expand(2, 4, 2)
    assert free(table, policy, "game")[0, 0, 1].item() == pytest.approx(0.7311, abs=1e-4)
    assert free(table, policy, "printed")[0, 0, 1].item() == pytest.approx(0.576, abs=5e-4)


def test_a_free_reward_gives_the_policy_back_amid_chance():
    table = replace(chancy((3,), 3), discount=1.0)
    policy = law_of(table, 4)["agent1"][0]
    torch.testing.assert_close(free(table, policy, "game"), policy, rtol=0, atol=1e-5)
    assert (free(table, policy, "printed") - policy).abs().max() > 0.05


def test_others_without_influence_leave_the_likelihood_alone():
    """With "game" always; as printed only while they have equally many actions everywhere."""
    alone = deterministic((3,), 3)
    rewards = torch.zeros(2, 3, 3, 2)
    moves = alone.probabilities[0, 0][:, :, None].expand(3, 3, 2, 3)
    pair = vsg.from_arrays(rewards, moves, horizon=3, initial=torch.eye(3)[0])
    other = {"agent2": torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]).double()}
    seldom = {"agent2": torch.tensor([[0.9, 0.1], [0.0, 1.0], [0.5, 0.5]]).double()}

    def gap(reward, others, reference):
        both = exact_log_partition(pair, "agent1", others, reward[..., None], reference=reference)
        return float(both - exact_log_partition(alone, "agent1", {}, reward))

    for seed in range(3):
        reward = randn(3, 3, seed=seed)
        assert abs(gap(reward, other, "game")) < 1e-12
        assert abs(gap(reward, seldom, "game")) < 1e-12
        assert abs(gap(reward, other, "printed") - 3 * math.log(2)) < 1e-12
    odd = [gap(randn(3, 3, seed=seed), seldom, "printed") for seed in range(3)]
    assert max(odd) - min(odd) > 0.05


# the Pyro program


def fitted(table, agent, seen, drawn, reference, steps=400):
    shape = (table.horizon, len(table.states), *table.sizes)
    own = [1] * len(table.sizes)
    own[table.number(agent)] = table.sizes[table.number(agent)]

    def reward(table):
        return pyro.param("reward", torch.zeros(*shape[:2], *own, dtype=torch.float64))

    model = trajectory_model(table, agent, seen, reward, drawn, reference=reference)
    svi = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(steps):
        svi.step()
    return pyro.param("reward").detach()


def test_svi_recovers_the_policy_of_a_deterministic_game():
    table = deterministic((3,), 3, horizon=3)
    truth = soft(table, table.rewards[0][0])
    seen = simulate(table, {"agent1": truth}, 20_000, seed=3)
    drawn = propose(table, {"agent1": table.log_priors[0].exp()}, 20_000, seed=4)
    found = soft(table, fitted(table, "agent1", seen, drawn, "printed"))
    weight = visits(table, truth).sum(-1)
    divergence = (weight * (truth * (truth / found).log()).sum(-1)).sum()
    start = soft(table, torch.zeros(3, 3).double())
    before = (weight * (truth * (truth / start).log()).sum(-1)).sum()
    assert divergence < 5e-3 < 0.3 < before


def test_svi_recovers_the_policy_amid_chance_and_random_others_with_game():
    table = replace(chancy((2, 2)), discount=1.0)
    policies = law_of_plays(table, 6)
    seen = simulate(table, policies, 20_000, seed=3)
    even = {"agent1": torch.full((2, 2), 0.5), "agent2": policies["agent2"]}
    drawn = propose(table, even, 20_000, seed=4)
    reward = fitted(table, "agent1", seen, drawn, "game")
    changed = replace(table, rewards=(reward[None], table.rewards[1]))
    laws = [policies["agent1"][None], policies["agent2"][None]]
    found = respond(changed, laws, 0, 1.0)[0][0]
    assert (found - policies["agent1"]).abs().max() < 0.05


def test_the_gradient_of_the_loss_is_eq_7():
    table = chancy()
    seen = simulate(table, law_of_plays(table, 2), 30)
    drawn = propose(table, law_of_plays(table, 1), 300)
    start = randn(2, 2, 2, seed=5)
    model = trajectory_model(
        table, "agent1", seen, lambda table: pyro.param("reward", start), drawn, temperature=0.7
    )
    loss = Trace_ELBO().differentiable_loss(model, lambda: None)
    objective = trajectory_objective(table, "agent1", seen, start, drawn, temperature=0.7)
    assert torch.isclose(loss, 30 * objective, rtol=1e-12)
    loss.backward()
    expected = 30 * trajectory_gradient(table, "agent1", seen, start, drawn, temperature=0.7)
    grad = pyro.get_param_store()._params["reward"].grad
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-10)


def test_a_prior_on_the_reward_makes_it_a_posterior():
    """AutoDelta climbs to the maximum of n times −Eq. 6 plus the log prior."""
    table = deterministic()
    seen = simulate(table, law_of_plays(table, 2), 20)

    def reward(table):
        prior = dist.Normal(torch.zeros(3, 2).double(), 1.0).to_event(2)
        return pyro.sample("psi", prior)

    model = trajectory_model(table, "agent1", seen, reward, None)
    guide = AutoDelta(model, init_loc_fn=lambda site: torch.zeros(3, 2).double())
    optim = pyro.optim.Adam({"lr": 0.05})
    svi = SVI(model, guide, optim, Trace_ELBO())
    for _ in range(600):
        svi.step()

    def loss(x):
        return 20 * trajectory_objective(table, "agent1", seen, x, None) + 0.5 * (x**2).sum()

    expected = minimise(loss, 3, 2)
    torch.testing.assert_close(guide.median()["psi"].detach(), expected, rtol=0, atol=1e-3)


# bad input


def test_bad_input_is_named():
    table = chancy()
    even = {name: torch.full((2, 2), 0.5) for name in table.agents}
    seen, drawn = simulate(table, even, 5), propose(table, even, 5)
    reward = torch.zeros(2, 2, 2).double()

    def ask(match, plays=seen, reward=reward, proposals=drawn, agent="agent1", **given):
        with pytest.raises(vsg.GameError, match=match):
            trajectory_objective(table, agent, plays, reward, proposals, **given)

    ask("has no agent 'nobody'", agent="nobody")
    ask(r"reward has shape \(3, 2, 2\); expected \(2, 2, 2\)", reward=torch.zeros(3, 2, 2))
    ask(r"reward has shape \(5, 2, 2, 2\)", reward=torch.zeros(5, 2, 2, 2))
    ask("temperature is 0", temperature=0.0)
    ask("reference 'causal'. Try: one of printed, game", reference="causal")
    ask("have 3 steps, the proposals 2", proposals=propose(table, even, 5, steps=2))
    ask("another game", plays=simulate(deterministic(), law_of_plays(deterministic(), 0), 5))
    ask("no policy is given for 'agent2'", proposals=None)
    pure = {**even, "agent1": torch.tensor([[1.0, 0.0], [0.5, 0.5]])}
    ask("proposals of 'agent1' never play 1 in state 0", proposals=propose(table, pure, 5))
    silent = {**even, "agent2": torch.tensor([[1.0, 0.0], [0.5, 0.5]])}
    ask(
        "proposals of 'agent2' never play 1 in state 0",
        proposals=propose(table, silent, 5),
        others={"agent2": even["agent2"]},
    )
    hidden = Plays(table, seen.states, {**seen.actions, "agent2": -seen.states - 1}, seen.rewards)
    ask("some were not seen", plays=hidden)
    wrong = Proposals(propose(table, even, 50).plays, silent)
    ask("of the proposals has probability 0", proposals=wrong)


def test_unavailable_actions_cost_nothing_and_are_refused_in_plays():
    table = sparse()
    law = {name: log.exp() for name, log in zip(table.agents, table.log_priors, strict=True)}
    seen, drawn = simulate(table, law, 20), propose(table, law, 20)
    reward = torch.zeros(2, 3, 2).double().requires_grad_()
    trajectory_objective(table, "bob", seen, reward, drawn).backward()
    assert torch.isfinite(reward.grad).all()
    states = torch.ones_like(seen.states)
    barred = Plays(table, states, {**seen.actions, "bob": states}, seen.rewards)
    with pytest.raises(vsg.GameError, match="'bob' does what its prior says is not available"):
        trajectory_objective(table, "bob", barred, reward, drawn)


def test_a_game_of_the_library_with_two_agents():
    """Stag hunt without end: plays of the library's equilibrium, Z by proposals and exactly."""
    table = vsg.tabulate(models.StagHunt())
    law = {name: torch.tensor([[0.7, 0.3], [0.4, 0.6]]) for name in table.agents}
    seen, drawn = simulate(table, law, 100, steps=4), propose(table, law, 20_000, steps=4)
    reward = table.rewards[0][0]
    others = {"col": law["col"]}
    for reference in REFERENCES:
        given = {"reference": reference, "temperature": 3.0, "others": others}
        exact = trajectory_objective(table, "row", seen, reward, None, **given)
        by_plays = trajectory_objective(table, "row", seen, reward, drawn, **given)
        assert abs(exact - by_plays) < 0.1
