"""Kinds of games: potentials against four-cycles counted one by one, and what else `kind` says."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.models.policies import dense, values, worst_cycle
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl.cli_work import facts
from vsg_ppl.guides import ConditionalPolicy
from vsg_ppl.kinds import Kind, kind, potential, potential_value

GAMMA = 0.8
SIZES = [(2, 2), (3, 2), (2, 3, 2), (4,), (2, 1, 3), (2, 2, 2, 2)]
SEEDS = st.integers(0, 2**31 - 1)


def dummies(rng, states, sizes, i):
    """A term of agent i's that does not depend on its own action, (S, A_1, ..., 1, ..., A_N)."""
    return rng.standard_normal((states, *[1 if j == i else size for j, size in enumerate(sizes)]))


def stage_rewards(rng, states, sizes):
    """φ (S, A_1, ..., A_N), and rewards (N, S, A_1, ..., A_N) that are φ plus dummy terms."""
    phi = rng.standard_normal((states, *sizes))
    return phi, np.stack([phi + dummies(rng, states, sizes, i) for i in range(len(sizes))])


def random_law(rng, states, sizes, movers=()):
    """Transitions (S, A_1, ..., A_N, S) that the actions of the movers alone change."""
    shape = [size if i in movers else 1 for i, size in enumerate(sizes)]
    law = rng.dirichlet(np.ones(states), (states, *shape))
    return np.broadcast_to(law, (states, *sizes, states)).copy()


def square(game, i, j):
    """The largest sum of gains round all squares of two agents' actions; the last axes are actions.

    ``game`` has rewards or values (N, ..., A_1, ..., A_N).
    """
    n, worst = len(game), 0.0
    one, other = (np.moveaxis(game[k], (i - n, j - n), (-2, -1)) for k in (i, j))
    for a, b in combinations(range(one.shape[-2]), 2):
        for c, d in combinations(range(one.shape[-1]), 2):
            gains = one[..., b, c] - one[..., a, c] + other[..., b, d] - other[..., b, c]
            gains = gains + one[..., a, d] - one[..., b, d] + other[..., a, c] - other[..., a, d]
            worst = max(worst, float(abs(gains).max()))
    return worst


def worst_square(game):
    """`square` of all pairs of agents."""
    return max((square(game, i, j) for i, j in combinations(range(len(game)), 2)), default=0.0)


def without(table, agent, action, state=0):
    """The table where an agent lacks an action in a state."""
    priors = [prior.exp() for prior in table.log_priors]
    priors[agent][..., state, action] = 0.0
    return replace(table, log_priors=tuple((p / p.sum(-1, keepdim=True)).log() for p in priors))


def random_policies(table, seed, scale=2.0):
    """Policies (S, A) or (H, S, A) by agent, on available actions."""
    generator = torch.Generator().manual_seed(seed)
    policies = {}
    for agent, prior in zip(table.agents, table.log_priors, strict=True):
        shape = (table.horizon or 1, *prior.shape[2:])
        noise = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        policy = (noise + torch.where(prior[0] > -torch.inf, 0.0, -torch.inf)).softmax(-1)
        policies[agent] = policy[0] if table.horizon is None else policy
    return policies


# --- one-shot games -------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
def test_phi_plus_dummies_has_the_potential_phi(sizes):
    for seed in range(5):
        phi, rewards = stage_rewards(np.random.default_rng(seed), 3, sizes)
        found = potential(vsg.from_arrays(rewards, horizon=1))
        first = phi[(slice(None), *[slice(0, 1)] * len(sizes))]
        np.testing.assert_allclose(found.numpy(), phi - first, rtol=0, atol=1e-13)
        assert worst_square(rewards) < 1e-13


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sum(s > 1 for s in sizes) > 1])
def test_other_games_have_none(sizes):
    for seed in range(5):
        rewards = np.random.default_rng(seed).standard_normal((len(sizes), 2, *sizes))
        table = vsg.from_arrays(rewards, horizon=1)
        assert worst_square(rewards) > 0.1
        assert potential(table) is None and not kind(table).potential


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 3, 2), (10, 10)])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e9])
def test_one_entry_off_is_refused(sizes, scale):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, rewards = stage_rewards(rng, 2, sizes)
        place = tuple(rng.integers(size) for size in rewards.shape)
        assert potential(vsg.from_arrays(scale * rewards, horizon=1)) is not None
        rewards[place] += 1e-6
        assert potential(vsg.from_arrays(scale * rewards, horizon=1)) is None
        rewards[place] += 1e-11 - 1e-6
        assert potential(vsg.from_arrays(scale * rewards, horizon=1)) is not None


def test_a_large_constant_on_top_is_no_obstacle():
    _, rewards = stage_rewards(np.random.default_rng(0), 1, (3, 3))
    rewards[0] += 1e9
    assert potential(vsg.from_arrays(rewards)) is not None


def test_rewards_in_single_precision_are_too_rough():
    _, rewards = stage_rewards(np.random.default_rng(0), 1, (3, 3))
    assert potential(vsg.from_arrays(rewards.astype(np.float32))) is None


def test_actions_that_are_not_available_do_not_count():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        phi, rewards = stage_rewards(rng, 2, (3, 3, 2))
        rewards[:, 0, 0] = rng.standard_normal((3, 3, 2))
        rewards[:, 1, :, 2] = rng.standard_normal((3, 3, 2))
        full = vsg.from_arrays(rewards, horizon=1)
        table = without(without(full, 0, 0, state=0), 1, 2, state=1)
        assert potential(full) is None
        found = potential(table)
        assert (found[0, 0] == -torch.inf).all() and (found[1, :, 2] == -torch.inf).all()
        expected = [phi[0, 1:] - phi[0, 1, 0, 0], phi[1, :, :2] - phi[1, 0, 0, 0]]
        np.testing.assert_allclose(found[0, 1:], expected[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(found[1, :, :2], expected[1], rtol=0, atol=1e-13)


def test_maxima_of_the_potential_are_equilibria():
    for seed in range(10):
        _, rewards = stage_rewards(np.random.default_rng(seed), 1, (3, 4, 2))
        table = without(vsg.from_arrays(rewards), 1, 0)
        best = np.unravel_index(int(potential(table).argmax()), (3, 4, 2))
        policies = {
            agent: torch.eye(size, dtype=torch.float64)[[action]]
            for agent, size, action in zip(table.agents, table.sizes, best, strict=True)
        }
        assert vsg.certify(table, policies).nash_gap < 1e-12


@settings(max_examples=60, deadline=None)
@given(games(horizons=(1,)))
def test_random_programs_by_all_squares(program):
    table = vsg.tabulate(program)
    shape = (len(table.states), *table.sizes)
    rewards = np.stack([reward[0, 0].expand(shape).numpy() for reward in table.rewards])
    worst = 0.0
    for s in range(len(table.states)):
        if table.reachable is None or table.reachable[0, s]:
            open_ = [np.flatnonzero(prior[0, 0, s].exp()) for prior in table.log_priors]
            worst = max(worst, worst_square(rewards[:, s][np.ix_(range(len(rewards)), *open_)]))
    assert (worst < 1e-9) == (potential(table) is not None) == kind(table).potential


def test_what_is_known_of_the_bundled_games():
    names = [
        "BattleOfTheSexes", "Chicken", "PrisonersDilemma", "StagHunt",
        "Hedge", "MatchingPennies", "RockPaperScissors", "ThreeAgents", "AsymmetricPennies",
    ]  # fmt: skip
    found = {name: kind(getattr(models, name)()).potential for name in names}
    assert found == {name: k < 4 for k, name in enumerate(names)}


@pytest.mark.parametrize("horizon", [None, 3])
def test_the_tensor_is_of_one_shot_games(horizon):
    many = "endless" if horizon is None else "of 3 decisions"
    table = vsg.from_arrays(
        np.ones((2, 1, 2, 2)), np.ones((1, 2, 2, 1)), discount=GAMMA, horizon=horizon
    )
    with pytest.raises(vsg.GameError, match=f"arrays is {many}, .*one-shot.*Try: `kind"):
        potential(table)


# --- Markov potential games -----------------------------------------------------------------------


def markov(rewards, law, **options):
    return vsg.from_arrays(rewards, law, **({"discount": GAMMA} | options))


def check_definition(table, seed, atol=1e-11):
    """Def. 5.4 on fresh random policies: V^i and Φ change alike, for every agent, in every state.

    Values are by plain linear algebra, of stationary policies.
    """
    rewards, law = dense(table)
    old, new = random_policies(table, seed), random_policies(table, seed + 1)
    for i, agent in enumerate(table.agents):
        moved = old | {agent: new[agent]}
        change = [
            values(rewards, law, table.discount, [p.numpy() for p in x.values()])[i]
            for x in (moved, old)
        ]
        phi = potential_value(table, moved) - potential_value(table, old)
        np.testing.assert_allclose(phi, change[0] - change[1], rtol=0, atol=atol)
        assert abs(phi).max() > 1e-4


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 3, 2)])
def test_games_with_one_interest(sizes):
    """Up to a constant each."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        phi = rng.standard_normal((3, *sizes))
        rewards = np.stack([phi + k for k in range(len(sizes))])
        table = markov(rewards, random_law(rng, 3, sizes, range(len(sizes))))
        assert kind(table).potential and not kind(table).identical_interest
        check_definition(table, seed)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 3, 2)])
def test_states_that_nobody_moves(sizes):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        _, rewards = stage_rewards(rng, 3, sizes)
        table = markov(rewards, random_law(rng, 3, sizes))
        assert kind(table).potential
        check_definition(table, seed)


def test_states_that_one_agent_moves():
    """What the mover's actions pay another is a dummy term still; what others' pay the mover not.

    V^2 is on top of Φ a sum over time that the first agent's policy alone decides.
    """
    for seed in range(5):
        rng = np.random.default_rng(seed)
        phi = rng.standard_normal((3, 2, 3))
        extra = [dummies(rng, 3, (2, 3), i) for i in range(2)]
        law = random_law(rng, 3, (2, 3), movers=[0])
        table = markov(np.stack([phi, phi + extra[1]]), law)
        assert kind(table).potential and worst_cycle(table, seed, trials=3) < 1e-10
        check_definition(table, seed)
        table = markov(np.stack([phi + extra[0], phi]), law)
        assert not kind(table).potential and worst_cycle(table, seed, trials=3) > 1e-3


def pure_values(rewards, law, discount):
    """Values (N, S, P_1, ..., P_N) of all pure stationary policies of agents with two actions."""
    n, states = rewards.shape[:2]
    pure = [np.eye(2)[list(choice)] for choice in product(range(2), repeat=states)]
    out = [
        values(rewards, law, discount, [pure[k] for k in joint])
        for joint in product(range(len(pure)), repeat=n)
    ]
    return np.moveaxis(np.array(out).reshape(*[len(pure)] * n, n, states), (n, n + 1), (0, 1))


@pytest.mark.parametrize("movers", [(), (0,), (0, 1)])
def test_stage_potentials_by_all_squares_of_pure_policies(movers):
    """Each state has a potential. The game has one only if actions do not move the state."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        _, rewards = stage_rewards(rng, 2, (2, 2))
        law = random_law(rng, 2, (2, 2), movers)
        found = worst_square(pure_values(rewards, law, GAMMA))
        assert found < 1e-12 if movers == () else found > 1e-2
        assert kind(vsg.from_arrays(rewards, horizon=1)).potential
        assert kind(markov(rewards, law)).potential == (movers == ())


@pytest.mark.parametrize("discount", [0.5, 0.99, 0.9999])
def test_one_entry_off_is_refused_in_games_of_many_steps(discount):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sizes = [(2, 2), (3, 4), (2, 3, 2)][seed % 3]
        _, rewards = stage_rewards(rng, 4, sizes)
        law = random_law(rng, 4, sizes)
        assert kind(markov(rewards, law, discount=discount)).potential
        rewards[tuple(rng.integers(size) for size in rewards.shape)] += 1e-6
        assert not kind(markov(rewards, law, discount=discount)).potential


def test_rounding_is_not_taken_for_a_cycle():
    """Long futures, many states, rewards of any size."""
    for discount in (0.0, 0.9, 0.999, 0.99999):
        for scale, movers in product((1e-9, 1e9), ((), (0,))):
            rng = np.random.default_rng(0)
            phi, rewards = stage_rewards(rng, 40, (2, 3, 2))
            if movers:  # the first agent moves the state: what its actions pay others is a dummy
                rewards = phi + np.stack([0.0 * phi, *[phi[:, :, :1, :1] + 0.0 * phi] * 2])
            law = random_law(rng, 40, (2, 3, 2), movers)
            assert kind(markov(scale * rewards, law, discount=discount)).potential


def test_congestion():
    """Its phases have potentials (models/congestion.py); the game has one if nobody moves them."""
    table = vsg.tabulate(models.Congestion())
    phases = torch.stack(table.rewards)[:, 0, 0]
    assert potential(vsg.from_arrays(phases, horizon=1)) is not None
    assert not kind(table).potential and worst_cycle(table, seed=0, trials=3) > 1
    by_itself = vsg.tabulate(models.Congestion(n_agents=3, facilities=2))
    assert kind(by_itself).potential
    check_definition(by_itself, 0, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_the_answer_does_not_hang_on_the_seed(seed):
    rng = np.random.default_rng(1)
    _, rewards = stage_rewards(rng, 3, (2, 3))
    assert kind(markov(rewards, random_law(rng, 3, (2, 3))), seed=seed).potential
    assert not kind(markov(rewards, random_law(rng, 3, (2, 3), [0, 1])), seed=seed).potential


def test_two_games_side_by_side():
    """A policy may look at the other game's state: then others move what it does.

    With stationary policies of the joint state, two games that each have a potential, here of one
    agent each, need not have one together; one-shot games always do.
    """
    rng = np.random.default_rng(0)
    pay = rng.standard_normal((2, 2, 2))  # (agent, its state, its action)
    move = rng.dirichlet(np.ones(2), (2, 2, 2))
    rewards = np.stack([
        np.einsum("sa,tb->stab", pay[0], np.ones((2, 2))),
        np.einsum("sa,tb->stab", np.ones((2, 2)), pay[1]),
    ]).reshape(2, 4, 2, 2)  # fmt: skip
    law = np.einsum("sax,tby->stabxy", move[0], move[1]).reshape(4, 2, 2, 4)
    table = markov(rewards, law)
    assert not kind(table).potential and worst_cycle(table, seed=0, trials=3) > 1e-3
    assert kind(vsg.from_arrays(rewards, horizon=1)).potential


# --- with a horizon -------------------------------------------------------------------------------


def timed(seed, horizon=3, break_at=None, sizes=(2, 2)):
    """A table whose rewards depend on time, with a potential but for what is said to break it."""
    rng = np.random.default_rng(seed)
    pay = np.stack([stage_rewards(rng, 2, sizes)[1] for _ in range(horizon)], 1)  # (N, H, S, A...)
    if break_at is not None:
        pay[(0, break_at, 1, *[0] * len(sizes))] += 1e-6
    law = random_law(rng, 2, sizes)
    table = vsg.from_arrays(pay[:, 0], law, discount=1.0, horizon=horizon, initial=[1.0, 0.0])
    return replace(table, rewards=tuple(torch.tensor(pay)[:, None]))


def test_time_counts():
    for seed in range(5):
        assert kind(timed(seed)).potential
        for t in range(3):
            assert not kind(timed(seed, break_at=t)).potential


def test_where_play_cannot_come_nothing_breaks():
    """State 1 is not the first, and is never seen if all stay where they are."""
    table = timed(0, break_at=0)
    seen = torch.tensor([[True, False], [True, True], [True, True]])
    assert kind(replace(table, reachable=seen)).potential
    stay = torch.eye(2, dtype=torch.float64).reshape(1, 1, 2, 1, 1, 2).expand(1, 1, 2, 2, 2, 2)
    table = replace(timed(0, break_at=2), probabilities=stay)
    assert not kind(table).potential
    assert kind(replace(table, reachable=seen & seen[0])).potential


def test_policies_may_depend_on_time():
    """All squares of pure policies that look at the time; actions move the state."""
    for seed, movers in product(range(3), ((), (0, 1))):
        rng = np.random.default_rng(seed)
        _, rewards = stage_rewards(rng, 2, (2, 2))
        law = random_law(rng, 2, (2, 2), movers)
        # backward induction by hand: V_0 of all pure choices at two times and in two states
        choices = list(product(range(2), repeat=4))
        found = np.zeros((2, 2, 16, 16))
        for (x, one), (y, other) in product(enumerate(choices), repeat=2):
            last = np.stack([rewards[:, s, one[2 + s], other[2 + s]] for s in range(2)], 1)
            for s in range(2):
                now = (s, one[s], other[s])
                found[:, s, x, y] = rewards[(slice(None), *now)] + GAMMA * last @ law[now]
        table = markov(rewards, law, horizon=2)
        assert (worst_square(found) < 1e-12) == (movers == ()) == kind(table).potential


def test_policies_that_cannot_tell_the_time_are_not_enough():
    """Each is paid for its own action while play lasts, which both make more likely.

    With x and y the agents' chances of the action, V^1 - V^2 is x - y at the last of two times and
    (x - y) + (0.2 + 0.3 x + 0.3 y) (x - y) before: a function of x plus one of y. But only if x and
    y are the same at both times.
    """
    a = np.array([0.0, 1.0])
    rewards, law = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2))
    rewards[0, 0], rewards[1, 0] = a[:, None], a
    law[0, ..., 0] = 0.2 + 0.3 * (a[:, None] + a)
    law[..., 1] = 1 - law[..., 0]
    assert not kind(vsg.from_arrays(rewards, law, horizon=2)).potential


def test_the_potential_of_policies_over_time():
    """Def. 5.4 from every time on, against values by a forward sum over the states' laws."""
    table = timed(0)
    old, new = random_policies(table, 1), random_policies(table, 2)
    law = table.probabilities[0, 0, :, 0, 0].numpy()
    assert potential_value(table, old).shape == (3, 2)

    def value(policies, i, t):
        first, second = (policy.numpy() for policy in policies.values())
        pay = np.einsum("tsab,tsa,tsb->ts", table.rewards[i][0].numpy(), first, second)
        return sum(np.linalg.matrix_power(law, k - t) @ pay[k] for k in range(t, 3))

    for i, agent in enumerate(table.agents):
        moved = old | {agent: new[agent]}
        phi = potential_value(table, moved) - potential_value(table, old)
        for t in range(3):
            change = value(moved, i, t) - value(old, i, t)
            np.testing.assert_allclose(phi[t], change, rtol=0, atol=1e-13)


def test_available_actions_over_time():
    """An action breaks the potential; where it is not available, it does not."""
    rng = np.random.default_rng(0)
    _, rewards = stage_rewards(rng, 3, (3, 2))
    rewards[0, 1, 2] += rng.standard_normal(2)
    table = markov(rewards, random_law(rng, 3, (3, 2)))
    assert not kind(table).potential
    assert kind(without(table, 0, 2, state=1)).potential
    assert not kind(without(table, 0, 2, state=0)).potential
    check_definition(without(table, 0, 2, state=1), seed=0)


@settings(max_examples=60, deadline=None)
@given(games(), SEEDS)
def test_random_programs_obey_the_definition(program, seed):
    """With signals, several sites, agents that sit out, actions that are not available."""
    table = vsg.tabulate(program)
    found = kind(program, seed=seed)
    assert found == kind(table)
    old, new = random_policies(table, seed), random_policies(table, seed + 1)
    if not found.potential:
        with pytest.raises(vsg.GameError, match="is not a Markov potential game: as '"):
            potential_value(table, old)
        return
    for agent in table.agents:
        moved = old | {agent: new[agent]}
        phi = potential_value(table, moved) - potential_value(table, old)
        phi = (table.initial[0] * (phi if table.horizon is None else phi[0])).sum()
        change = vsg.certify(table, moved).values[agent] - vsg.certify(table, old).values[agent]
        assert float(phi) == pytest.approx(change, abs=1e-12)


# --- potential_value ------------------------------------------------------------------------------


def test_it_is_zero_at_the_priors_and_the_mean_of_a_one_shot_potential():
    _, rewards = stage_rewards(np.random.default_rng(0), 2, (2, 3))
    table = vsg.from_arrays(rewards, horizon=1)
    phi, policies = potential(table), random_policies(table, 0)
    first, second = policies.values()
    mean = torch.einsum("sab,sa,sb->s", phi, first[0], second[0]) - phi.mean((1, 2))
    torch.testing.assert_close(potential_value(table, policies)[0], mean, rtol=0, atol=1e-14)
    priors = {agent: torch.full_like(p, 1 / p.shape[-1]) for agent, p in policies.items()}
    assert potential_value(table, priors).abs().max() < 1e-14


def test_its_gradient_is_that_of_each_agents_value():
    """Prop. 5.6 without entropy, where actions move the state too."""
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((3, 2, 3))
    law = random_law(rng, 3, (2, 3), [0, 1])
    table = markov(np.stack([phi, phi]), law)
    logits = [torch.randn(3, size, dtype=torch.float64, requires_grad=True) for size in (2, 3)]
    policies = [x.softmax(-1) for x in logits]
    joint = torch.einsum("sa,sb->sab", *policies)
    matrix = torch.eye(3) - GAMMA * torch.einsum("sab,sabt->st", joint, torch.tensor(law))
    pay = torch.einsum("sab,sab->s", joint, torch.tensor(phi))
    expected = torch.autograd.grad(torch.linalg.solve(matrix, pay)[1], logits)
    named = dict(zip(table.agents, [x.softmax(-1) for x in logits], strict=True))
    found = torch.autograd.grad(potential_value(table, named)[1], logits)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("one_shot", [True, False])
def test_it_agrees_with_kind_on_what_is_rounding(one_shot):
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((2, 2, 3))
    rewards = np.stack([phi, phi])
    rewards[0, 0, 0, 0] += 1e-10
    law = random_law(rng, 2, (2, 3), [0, 1])
    table = vsg.from_arrays(rewards, horizon=1) if one_shot else markov(rewards, law)
    assert kind(table).potential
    potential_value(table, random_policies(table, 0))


def test_without_a_potential_it_says_why():
    program = models.Congestion()
    table = vsg.tabulate(program)
    policies = random_policies(table, 0)
    text = (
        r"^Congestion.* is not a Markov potential game: as 'agent1' and 'agent2' change policies "
        r"in turn, and back again in turn, their gains in state \w+ sum to -?[\d.e+]+, the largest "
        r"being -?[\d.e+]+$"
    )
    with pytest.raises(vsg.GameError, match=text):
        potential_value(program, policies)
    with pytest.raises(vsg.GameError, match="in state 1 at time 2 sum to"):
        potential_value(timed(0, break_at=2), random_policies(timed(0), 0))


def test_what_fits_no_policy():
    table = timed(0)
    with pytest.raises(vsg.GameError, match="no policy is given for 'agent2'"):
        potential_value(table, {"agent1": torch.full((2, 2), 0.5)})
    policies = {agent: ConditionalPolicy(table, agent) for agent in table.agents}
    with pytest.raises(vsg.GameError, match="'agent1' is conditional on the others' actions"):
        potential_value(table, policies)


def test_batches_are_refused():
    table = vsg.from_arrays(torch.rand(5, 2, 1, 2, 2), batched=True)
    for function in (kind, potential, lambda x: potential_value(x, {})):
        with pytest.raises(vsg.GameError, match="arrays holds a batch.*Try: a table of one game"):
            function(table)


# --- what keeps a potential -----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([(2, 2), (3, 2), (2, 3, 2)]), st.booleans(), st.booleans())
def test_scaling_and_dummy_terms_keep_it(seed, sizes, has, one_shot):
    """And they do not make one: the answer is the same."""
    rng = np.random.default_rng(seed)
    _, rewards = stage_rewards(rng, 2, sizes)
    if not has:
        rewards = rng.standard_normal(rewards.shape)
    other = 10 ** rng.uniform(-6, 6) * rewards
    for i in range(len(sizes)):
        other[i] += abs(other).max() * dummies(rng, 2, sizes, i)
    law = random_law(rng, 2, sizes)
    for pay in (rewards, other):
        table = vsg.from_arrays(pay, horizon=1) if one_shot else markov(pay, law)
        assert kind(table).potential == has


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.permutations(range(3)), st.booleans(), st.booleans())
def test_the_order_of_agents_does_not_matter(seed, order, has, one_shot):
    rng = np.random.default_rng(seed)
    sizes = (2, 3, 2)
    _, rewards = stage_rewards(rng, 2, sizes)
    if not has:
        rewards[order[0]] = rng.standard_normal(rewards[0].shape)
    law = random_law(rng, 2, sizes)
    axes = [0, *[1 + j for j in order]]
    turned = np.stack([rewards[j].transpose(axes) for j in order])
    for pay, move in ((rewards, law), (turned, law.transpose([*axes, 4]))):
        table = vsg.from_arrays(pay, horizon=1) if one_shot else markov(pay, move)
        assert kind(table).potential == has


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_independent_one_shot_games_together(seed, first_has, second_has):
    """Two agents play one, two the other: together they have a potential if both do."""
    rng = np.random.default_rng(seed)
    parts = [
        stage_rewards(rng, 1, (2, 3))[1] if has else rng.standard_normal((2, 1, 2, 3))
        for has in (first_has, second_has)
    ]
    rewards = np.zeros((4, 1, 2, 3, 2, 3))
    rewards[:2] = parts[0][..., None, None]
    rewards[2:] = parts[1][:, :, None, None]
    found = potential(vsg.from_arrays(rewards))
    assert (found is not None) == (first_has and second_has)
    if found is not None:
        one, other = (potential(vsg.from_arrays(part)) for part in parts)
        together = one[..., None, None] + other[:, None, None]
        torch.testing.assert_close(found, together, rtol=0, atol=1e-13)


# --- the other kinds ------------------------------------------------------------------------------


def test_kind_is_plain():
    found = kind(models.MatchingPennies())
    assert found == Kind(True, True, True, False, False, False)
    assert found.to_dict() == asdict(found)


def test_what_check_says_of_a_game():
    table = vsg.tabulate(models.StagHunt())
    found = facts(table)
    assert found == {"mean_field": False, **table.summary(), **kind(table).to_dict()}
    assert found["potential"] and found["symmetric"] and not found["zero_sum"]


def test_one_agent_alone():
    found = kind(models.Thermostat())
    assert found == Kind(False, False, False, False, False, potential=True)


@pytest.mark.parametrize("horizon", [None, 1, 2])
def test_constant_sums(horizon):
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2, 2, 3))
    law = random_law(rng, 2, (2, 3), [0, 1])
    rewards = np.stack([one, 5 - one])
    table = markov(rewards, law, horizon=horizon)
    assert kind(table).zero_sum and kind(table).constant_sum
    assert vsg.zero_sum(table, target_gap=1e-3).solved
    rewards[0, 1, 1, 1] += 1e-6
    table = markov(rewards, law, horizon=horizon)
    assert not kind(table).zero_sum and not kind(table).constant_sum
    with pytest.raises(vsg.GameError, match="do not sum to a constant"):
        vsg.zero_sum(table)
    table = without(table, 1, 1, state=1)
    assert kind(table).zero_sum and vsg.zero_sum(table, target_gap=1e-3).solved


def test_three_agents_of_a_constant_sum_are_not_what_zero_sum_solves():
    rewards = np.random.default_rng(0).standard_normal((3, 1, 2, 2, 2))
    rewards[2] = 1 - rewards[0] - rewards[1]
    found = kind(vsg.from_arrays(rewards))
    assert found.constant_sum and not found.zero_sum


def test_one_interest_where_play_can_come():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2, 2, 3))
    rewards = np.stack([one, one])
    rewards[1, 0, :, 2] += 1.0
    table = vsg.from_arrays(rewards, horizon=1)
    assert not kind(table).identical_interest
    assert kind(without(table, 1, 2)).identical_interest
    assert kind(replace(table, reachable=torch.tensor([[False, True]]))).identical_interest


def test_symmetry():
    """Rewards, next states and priors must all be alike."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2, 3, 3))
    rewards = np.stack([one, one.transpose(0, 2, 1)])
    law = random_law(rng, 2, (3, 3), [0, 1])
    alike = (law + law.transpose(0, 2, 1, 3)) / 2
    assert kind(markov(rewards, alike)).symmetric
    assert not kind(markov(rewards, law)).symmetric
    assert not kind(markov(np.stack([one, one]), alike)).symmetric
    assert not kind(without(markov(rewards, alike), 0, 1)).symmetric
    both = without(without(markov(rewards, alike), 0, 1), 1, 1)
    assert kind(both).symmetric
    rewards[0, 0, 1, 2] += 1.0
    both = without(without(markov(rewards, alike), 0, 1), 1, 1)
    assert kind(both).symmetric
