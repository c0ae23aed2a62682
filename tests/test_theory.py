"""The constants of the theorems, and what they and Prop. 5.6 promise in potential games."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.kinds import kind
from vsg_ppl.nash import potential_change
from vsg_ppl.theory import (
    nash_bound,
    opponent_error,
    opponent_error_bound,
    potential_game_bound,
    safe_step,
    smoothness,
)
from vsg_ppl.vpg import natural_step, soft_scores, soft_values

GAMMA = 0.8


def potential_game(seed, sizes=(2, 3), states=3, moved_by_actions=True):
    """A random Markov potential game with potential Φ = E Σ γ^t φ: its table, and φ.

    Where actions move the state, all share the reward φ. Where they do not, each agent also gets a
    term that does not depend on its own action.
    """
    random = np.random.default_rng(seed)
    phi = random.random((states, *sizes))
    rewards = np.stack([phi] * len(sizes))
    transitions = random.dirichlet(np.ones(states) / 2, phi.shape)
    if not moved_by_actions:
        law = random.dirichlet(np.ones(states), states)
        transitions[:] = law.reshape(states, *[1] * len(sizes), states)
        for i in range(len(sizes)):
            others = [1 if j == i else size for j, size in enumerate(sizes)]
            rewards[i] += random.random((states, *others))
    return vsg.from_arrays(rewards, transitions, discount=GAMMA), torch.tensor(phi)


def random_logits(table, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    states = len(table.states)
    return [
        scale * torch.randn(1, 1, states, size, generator=generator, dtype=torch.float64)
        for size in table.sizes
    ]


def potential(table, phi, logits, temperature):
    """Φ plus the joint entropy, by state (S,): a plain linear solve."""
    law, stream = table.probabilities[0, 0], phi
    entropy = torch.zeros(len(phi), dtype=torch.float64)
    for logit in logits:
        policy = logit[0, 0].softmax(-1)
        law = torch.einsum("sa...,sa->s...", law, policy)
        stream = torch.einsum("sa...,sa->s...", stream, policy)
        entropy = entropy - (policy * policy.log()).sum(-1)
    eye = torch.eye(len(phi), dtype=torch.float64)
    return torch.linalg.solve(eye - GAMMA * law, stream + temperature * entropy)


# --- Lemma 5.7 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_smoothness_is_the_printed_constant(temperature):
    """L for rewards r at temperature τ is τ times the paper's L, which has τ = 1, for r / τ."""
    n, actions, gamma, size = 2, 3, 0.9, 0.7
    rewards = np.zeros((n, 2, 2, actions))
    rewards[1, 0, 1, 2] = -size
    table = vsg.from_arrays(rewards, np.ones((2, 2, 3, 2)) / 2, discount=gamma)
    one = 1 / (1 - gamma)
    printed = (
        2 * (n + 1) ** 2 * (size / temperature) * one**3
        + 2 * (n**2 + n + 1) * (1 + log(actions)) * one**2
        + (3 * n + 2) * one
    )
    assert smoothness(table, temperature) == pytest.approx(temperature * printed)
    # Eq. 4: β = ητ / (1 − γ) in units of rewards / τ, with the learning rate η = 1 / L
    assert safe_step(table, temperature) == pytest.approx(one / printed)


def test_one_over_l_is_tiny():
    """paper.md: about 5e-5 for two agents and γ = 0.9."""
    rewards = np.ones((2, 1, 2, 2))
    table = vsg.from_arrays(rewards, np.ones((1, 2, 2, 1)), discount=0.9)
    assert 1 / smoothness(table) == pytest.approx(5e-5, rel=0.03)


def test_a_horizon_counts_its_steps():
    table = vsg.from_arrays(np.ones((1, 1, 2)), np.ones((1, 2, 1)), discount=0.5, horizon=2)
    steps = 1.5
    expected = 8 * steps**3 + 6 * (1 + log(2)) * steps**2 + 5 * steps
    assert smoothness(table) == pytest.approx(expected)


@pytest.mark.parametrize("moved_by_actions", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_no_second_derivative_exceeds_l(temperature, moved_by_actions):
    """|∇²(Φ + τ H)| <= L in the softmax parameters, everywhere we look (it is far below)."""
    worst = 0.0
    for seed in range(10):
        table, phi = potential_game(seed, moved_by_actions=moved_by_actions)
        sizes = [3 * size for size in table.sizes]

        def objective(x, state, table=table, phi=phi, sizes=sizes):
            parts = [part.reshape(1, 1, 3, -1) for part in x.split(sizes)]
            return potential(table, phi, parts, temperature)[state]

        x = torch.cat([part.reshape(-1) for part in random_logits(table, seed, 0.5 * seed)])
        for state in range(3):
            hessian = torch.autograd.functional.hessian(lambda x, s=state: objective(x, s), x)
            size = torch.linalg.matrix_norm(hessian, 2)
            worst = max(worst, float(size) / smoothness(table, temperature))
    assert 1e-4 < worst <= 1


# --- Prop. 5.6 -----------------------------------------------------------------------------------


def gradients(table, phi, temperature, entropy, seed):
    """For each agent: the gradient of V^i by its own parameters, and that of Φ + τ H."""
    logits = [logit.requires_grad_() for logit in random_logits(table, seed)]
    values = soft_values(table, [logit.log_softmax(-1) for logit in logits], temperature, entropy)
    shared = potential(table, phi, logits, temperature).sum()
    theirs = torch.autograd.grad(shared, logits)
    return [
        (torch.autograd.grad(values[0, 0, :, i].sum(), logits[i], retain_graph=True)[0], theirs[i])
        for i in range(len(logits))
    ]


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 2)])
@pytest.mark.parametrize("entropy", ["own", "joint"])
def test_the_gradient_is_the_potentials_where_actions_do_not_move_the_state(entropy, sizes):
    for seed in range(5):
        table, phi = potential_game(seed, sizes, moved_by_actions=False)
        for ours, theirs in gradients(table, phi, 0.7, entropy, seed):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 2)])
def test_where_they_do_each_agent_must_get_the_joint_entropy(sizes):
    """With its own alone, i ignores that it moves the states in which others' entropy counts."""
    for seed in range(5):
        table, phi = potential_game(seed, sizes)
        for ours, theirs in gradients(table, phi, 0.7, "joint", seed):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
        for ours, theirs in gradients(table, phi, 0.7, "own", seed):
            assert (ours - theirs).abs().max() > 1e-3 * theirs.abs().max()


# --- potential_change, Def. 5.4 -------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 3)])
@pytest.mark.parametrize("moved_by_actions", [True, False])
def test_potential_change_is_the_difference_of_the_potential(moved_by_actions, sizes):
    """However large the change of policies, with the joint entropy and without."""
    for seed in range(5):
        table, phi = potential_game(seed, sizes, moved_by_actions=moved_by_actions)
        before, after = random_logits(table, seed, 2.0), random_logits(table, seed + 100, 2.0)
        logs = [[x.log_softmax(-1) for x in logits] for logits in (before, after)]
        # divergences are from uniform priors: H less a constant, which drops out of a change
        for entropy, temperature in (("joint", 0.4), ("none", 0.0)):
            changes = potential(table, phi, after, temperature)
            changes = changes - potential(table, phi, before, temperature)
            found = potential_change(table, *logs, 0.4, entropy)
            torch.testing.assert_close(found, changes.mean()[None], rtol=0, atol=1e-12)


def permuted(table, order):
    """The game with its agents in another order."""
    axes = [0, *[1 + j for j in order]]
    rewards = torch.stack([table.rewards[j][0, 0].permute(axes) for j in order])
    transitions = table.probabilities[0, 0].permute([*axes, len(axes)])
    return vsg.from_arrays(rewards, transitions, discount=table.discount)


def test_potential_change_does_not_depend_on_the_order_of_agents():
    """In potential games; in another game it does, which shows that this test can fail."""
    order = [2, 0, 1]
    for seed in range(5):
        table, _ = potential_game(seed, (2, 2, 3))
        before, after = (
            [x.log_softmax(-1) for x in random_logits(table, s)] for s in (seed, seed + 100)
        )
        other = np.random.default_rng(seed).random((3, 3, 2, 2, 3))
        general = vsg.from_arrays(other, table.probabilities[0, 0], discount=GAMMA)
        off = []
        for game in (table, general):
            here = potential_change(game, before, after, 0.4)
            turned = [[logs[j] for j in order] for logs in (before, after)]
            there = potential_change(permuted(game, order), *turned, 0.4)
            off.append(float((here - there).abs()))
        assert off[0] < 1e-12 < 1e-4 < off[1]


# --- steps that never fall, Thm 5.8 ---------------------------------------------------------------


def climb(table, logs, entropy, weight, steps, temperature=1.0):
    """Changes of Φ + τ H over steps of Eq. 4."""
    changes = []
    for _ in range(steps):
        values = soft_values(table, logs, temperature, entropy)
        scores = soft_scores(table, logs, values, temperature)
        moved = [natural_step(x, y, weight) for x, y in zip(logs, scores, strict=True)]
        changes.append(float(potential_change(table, logs, moved, temperature, "joint")))
        logs = moved
    return changes


@pytest.mark.parametrize(
    ("moved_by_actions", "entropy"), [(True, "joint"), (False, "joint"), (False, "own")]
)
def test_safe_steps_never_lower_the_potential(moved_by_actions, entropy):
    """At 1 / L; the rise is what it should be to first order, so that the steps are not void."""
    for seed in range(5):
        table, _ = potential_game(seed, moved_by_actions=moved_by_actions)
        logs = [x.log_softmax(-1) for x in random_logits(table, seed, 2.0)]
        weight = safe_step(table, 1.0)
        changes = climb(table, logs, entropy, weight, 100)
        assert min(changes) >= 0
        twice = climb(table, logs, entropy, weight / 2, 1)
        assert changes[0] == pytest.approx(2 * twice[0], rel=0.05)


def test_with_its_own_entropy_safe_steps_may_lower_it():
    """Where actions move the state, and the start is the maximum of Φ + τ H: any move lowers it.

    Measured on 40 random games (two and three agents, γ = .5 and .9, 100 safe steps from random
    policies at scale 2): steps with own entropy raised Φ + τ H every time; so did whole steps
    (β = 1) until they came within about 1e-5 of their own fixed point, which is not the maximum.
    There the fall begins. Where actions do not move the state there is no fall.
    """
    for seed in range(5):
        table, _ = potential_game(seed)
        best = vsg.nash(table, temperature=1.0, entropy="joint", tolerance=1e-13)
        logs = [policy.log()[None, None] for policy in best.policies.values()]
        assert max(climb(table, logs, "own", safe_step(table, 1.0), 100)) < 0
        assert min(climb(table, logs, "joint", safe_step(table, 1.0), 100)) > -1e-14


@pytest.mark.parametrize("step", ["safe", "monotone"])
@pytest.mark.parametrize(
    ("moved_by_actions", "entropy"), [(True, "joint"), (False, "joint"), (False, "own")]
)
def test_a_run_with_these_steps_climbs(moved_by_actions, entropy, step):
    """The ELBO of an agent is Φ + τ H up to what the others' actions pay, which all share here."""
    table, phi = potential_game(0, moved_by_actions=moved_by_actions)
    start = {
        agent: logits[0, 0].softmax(-1)
        for agent, logits in zip(table.agents, random_logits(table, 0, 2.0), strict=True)
    }
    heights = []
    for steps in (1, 2, 4, 8, 16, 64):
        solution = vsg.nash(
            table,
            temperature=0.2,
            entropy=entropy,
            step=step,
            initial=start,
            max_steps=steps,
            certify_every=1000,
        )
        if not solution.solved and solution.iterations == steps:
            logs = [policy.log()[None, None] for policy in solution.policies.values()]
            heights.append(float(potential(table, phi, logs, 0.2).mean()))
    assert len(heights) >= 3
    assert all(high > low for low, high in zip(heights[:-1], heights[1:], strict=True))


@pytest.mark.parametrize("moved_by_actions", [True, False])
@pytest.mark.parametrize("discount", [GAMMA, 0.99])
def test_monotone_steps_arrive(discount, moved_by_actions):
    """Also where a step's rise drowns in the rounding of values near 100."""
    table, _ = potential_game(1, (3, 3), moved_by_actions=moved_by_actions)
    table = replace(table, discount=discount)
    solution = vsg.nash(table, temperature=0.1, entropy="joint", step="monotone", tolerance=1e-9)
    other = vsg.nash(
        table, temperature=0.1, entropy="joint", initial=solution.policies, tolerance=1e-9
    )
    assert solution.solved and other.iterations == 1
    assert solution.certificate.within_bound()


def believed_values(table, agent, laws, between, temperature):
    """Q^i(s, a) by plain linear algebra, less τ KL(ρ‖π) after the first step."""
    law, paid = table.probabilities[0, 0], table.rewards[agent][0, 0]
    for policy in laws:
        law = torch.einsum("sa...,sa->s...", law, policy)
        paid = torch.einsum("sa...,sa->s...", paid, policy)
    own = laws[agent]
    cost = (own * (own * own.shape[-1]).log()).sum(-1) + between
    eye = torch.eye(len(paid), dtype=torch.float64)
    value = torch.linalg.solve(eye - GAMMA * law, paid - temperature * cost)
    return table.rewards[agent][0, 0] + GAMMA * table.probabilities[0, 0] @ value


@pytest.mark.parametrize("seed", range(30))
def test_what_models_put_off_is_within_the_bound_of_prop_5_5(seed):
    table, _ = potential_game(seed, sizes=(2, 3, 2))
    temperature = 10.0 ** -(seed % 3)
    true = [logit.log_softmax(-1) for logit in random_logits(table, seed)]
    models = [
        (log + 0.1 * noise).log_softmax(-1)
        for log, noise in zip(true, random_logits(table, seed + 1000), strict=True)
    ]
    agent = seed % 3
    models[agent] = true[agent]
    off, worst = opponent_error(table, agent, true, models, temperature)
    between = sum(
        (rho.exp() * (rho - pi)).sum(-1)[0, 0] for rho, pi in zip(models, true, strict=True)
    )
    exact, guessed = (
        believed_values(table, agent, [log[0, 0].exp() for log in logs], extra, temperature)
        for logs, extra in ((true, 0.0), (models, between))
    )
    assert off == pytest.approx(float((exact - guessed).abs().max()), abs=1e-12)
    assert worst == pytest.approx(float(between.max()), abs=1e-12)
    assert 0 < off <= opponent_error_bound(table, agent, worst, temperature)


def test_the_bound_of_prop_5_5_is_the_papers_for_rewards_up_to_one():
    reward = torch.zeros(2, 1, 2, 3)
    reward[0, 0, 0, 0] = -1.0
    table = vsg.from_arrays(reward, torch.ones(1, 2, 3, 1), discount=GAMMA)
    epsilon = 0.02
    delta = 2 * (1 + log(2)) / (1 - GAMMA) ** 2 * (epsilon / 2) ** 0.5 + epsilon / (1 - GAMMA)
    assert opponent_error_bound(table, 0, epsilon, 1.0) == pytest.approx(delta)
    assert opponent_error_bound(table, 0, 0.0, 1.0) == 0.0


# --- Thm 4.2 and 5.8 ------------------------------------------------------------------------------


def biased(table, seed):
    """The table with random priors, and without one action of the second agent's."""
    logs = [logit.log_softmax(-1) for logit in random_logits(table, seed)]
    logs[1][..., 0, 0] = -torch.inf
    return replace(table, log_priors=tuple(log.log_softmax(-1) for log in logs))


def test_the_bound_of_thm_4_2_counts_all_decisions():
    """Printed T log max|A|, with decisions at 0..T: a one-shot game would have no gap at all."""
    rewards = np.zeros((2, 1, 2, 3))
    law = np.ones((1, 2, 3, 1))
    assert nash_bound(vsg.from_arrays(rewards), 0.5) == pytest.approx(0.5 * log(3))
    table = vsg.from_arrays(rewards, law, horizon=4)
    assert nash_bound(table, 0.5) == pytest.approx(0.5 * 4 * log(3))
    table = vsg.from_arrays(rewards, law, discount=GAMMA)
    assert nash_bound(table, 0.5) == pytest.approx(0.5 * log(3) / (1 - GAMMA))
    table = biased(table, 0)
    rare = max(float((1 / log.exp()[log > -torch.inf]).max()) for log in table.log_priors)
    assert nash_bound(table, 0.5) == pytest.approx(0.5 * log(rare) / (1 - GAMMA))


def test_the_bound_of_thm_5_8_is_the_papers_but_for_a_second_delta():
    rewards = np.zeros((2, 1, 2, 3))
    rewards[1, 0, 1, 2] = -1.0
    one = 1 / (1 - GAMMA)
    table = vsg.from_arrays(rewards, np.ones((1, 2, 3, 1)), discount=GAMMA)
    epsilon = 0.02
    delta = 2 * (1 + log(3)) * one**2 * (epsilon / 2) ** 0.5 + epsilon * one
    assert potential_game_bound(table, epsilon, 1.0) == pytest.approx(2 * delta + log(6) * one)
    # rewards r at temperature τ are τ times rewards r / τ at temperature 1
    half = vsg.from_arrays(rewards / 2, np.ones((1, 2, 3, 1)), discount=GAMMA)
    assert potential_game_bound(half, epsilon, 0.5) == pytest.approx(
        0.5 * potential_game_bound(table, epsilon, 1.0)
    )
    steps = replace(table, horizon=3)
    assert potential_game_bound(steps, 0.0, 0.1) == pytest.approx(
        0.1 * (1 + GAMMA + GAMMA**2) * log(6)
    )


@pytest.mark.parametrize("entropy", ["own", "joint"])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_with_exact_models_fixed_points_obey_both_bounds(temperature, entropy):
    for seed in range(5):
        table, _ = potential_game(seed, (2, 3, 2))
        for game in (table, biased(table, seed)):
            solution = vsg.nash(game, temperature=temperature, entropy=entropy)
            gap = solution.certificate.nash_gap_worst_state
            assert solution.solved and 0 < gap <= potential_game_bound(game, 0.0, temperature)
            if entropy == "own":
                assert gap <= nash_bound(game, temperature)


def believers(table, seed, temperature, noise):
    """A fixed point of agents whose models of the others are off by a factor, and its KL(ρ‖π).

    Each knows its own policy; the model of another is exp(noise) times the true one, normalised.
    """
    n = len(table.agents)
    wrong = [[noise * x for x in random_logits(table, 100 * seed + i)] for i in range(n)]
    logs = [x.log_softmax(-1) for x in random_logits(table, seed)]
    for _ in range(2000):
        models = [
            [(log + (i != j) * wrong[i][j]).log_softmax(-1) for j, log in enumerate(logs)]
            for i in range(n)
        ]
        moved = []
        for i, believed in enumerate(models):
            values = soft_values(table, believed, temperature, "own")
            score = soft_scores(table, believed, values, temperature)[i]
            moved.append(natural_step(logs[i], score, 0.3))
        change = max(float((x - y).abs().max()) for x, y in zip(moved, logs, strict=True))
        logs = moved
        if change < 1e-12:
            break
    off = max(
        float(sum((r.exp() * (r - p)).sum(-1) for r, p in zip(rho, logs, strict=True)).max())
        for rho in models
    )
    return logs, off, change


@pytest.mark.parametrize("moved_by_actions", [True, False])
def test_with_wrong_models_fixed_points_obey_the_bound_of_thm_5_8(moved_by_actions):
    for seed in range(5):
        table, _ = potential_game(seed, moved_by_actions=moved_by_actions)
        logs, off, change = believers(table, seed, temperature=0.2, noise=0.1)
        assert change < 1e-12 and off > 1e-3
        policies = {a: log[0, 0].exp() for a, log in zip(table.agents, logs, strict=True)}
        gap = vsg.certify(table, policies).nash_gap_worst_state
        assert 0 < gap <= potential_game_bound(table, off, 0.2)


def test_with_one_delta_thm_5_8_fails():
    """Three agents play a, b, c = 1 or -1 and get a(b+c)/2, (a-1)b/2 and (a-1)c/2.

    It is a potential game with Φ = (a-1)(b+c)/2. The first agent thinks that b and c are 1 a little
    more often than not, and plays a = 1; then the others hardly care, and play 1 less often.
    """
    sign = np.array([1.0, -1.0])
    a, b, c = np.meshgrid(sign, sign, sign, indexing="ij")
    rewards = np.stack([a * (b + c) / 2, (a - 1) * b / 2, (a - 1) * c / 2])[:, None]
    table = vsg.from_arrays(rewards)
    assert kind(table).potential and abs(rewards).max() == 1

    temperature, low = 1e-3, -0.2  # the mean of b and of c
    mean = 1 + 2 * temperature * np.arctanh(low)  # of a, that makes them so
    believed = temperature * np.arctanh(mean)  # of b and of c, that makes the first agent so
    law = {m: torch.from_numpy(np.array([[1 + m, 1 - m]]) / 2) for m in (mean, low, believed)}
    true = [law[mean], law[low], law[low]]
    models = [[law[mean], law[believed], law[believed]], true, true]
    for i, laws in enumerate(models):  # Prop. 5.2: each best responds softly to what it believes
        rest = [x[0] for j, x in enumerate(laws) if j != i]
        scores = torch.einsum("abc,b,c->a", torch.tensor(rewards[i, 0]).movedim(i, 0), *rest)
        torch.testing.assert_close((scores / temperature).softmax(0), true[i][0])
    off = 2 * float((law[believed] * (law[believed] / law[low]).log()).sum())

    gap = vsg.certify(table, dict(zip(table.agents, true, strict=True))).nash_gap
    delta = opponent_error_bound(table, 0, off, temperature)
    assert gap == pytest.approx(0.39992, abs=1e-5)
    assert delta + temperature * log(8) == pytest.approx(0.29409, abs=1e-5)
    assert gap <= 2 * delta + nash_bound(table, temperature)
    assert gap <= potential_game_bound(table, off, temperature) == pytest.approx(0.58610, abs=1e-5)


def test_constants_of_a_program_are_those_of_its_table():
    game = models.StagHunt()
    table = vsg.tabulate(game)
    assert vsg.theory.nash_bound(game, 0.3) == vsg.theory.nash_bound(table, 0.3)
    assert vsg.theory.smoothness(game) == vsg.theory.smoothness(table)
    assert vsg.theory.safe_step(game, 0.3) == vsg.theory.safe_step(table, 0.3)
    assert vsg.theory.opponent_error_bound(game, 0, 0.1, 0.3) == vsg.theory.opponent_error_bound(
        table, 0, 0.1, 0.3
    )
    assert vsg.theory.potential_game_bound(game, 0.1, 0.3) == vsg.theory.potential_game_bound(
        table, 0.1, 0.3
    )
