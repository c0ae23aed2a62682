"""Exact equilibria, against best responses in plain numpy, gambit, and published equilibria."""

from __future__ import annotations

from itertools import product

import numpy as np
import pygambit
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from tests.test_logit_path import OneDoorShut
from vsg_ppl.equilibrium_path import EquilibriumPath
from vsg_ppl.exact_nash import exact_nash
from vsg_ppl.logit_system import LogitSystem
from vsg_ppl.models import ArrayGame, RandomGame
from vsg_ppl.solution import Solution


def expected(tensor, profile, but=None):
    """The mean of a payoff tensor (A_1, ..., A_N, ...) over all agents' actions but one's."""
    for j in reversed(range(len(profile))):
        if j != but:
            tensor = np.tensordot(np.moveaxis(tensor, j, -1), profile[j], axes=1)
    return tensor


def largest_gain(game, solution):
    """The most any agent gains in any state of a `RandomGame`, by value iteration."""
    rewards, moves = (x.numpy() for x in (game.arrays.rewards, game.arrays.transitions))
    gains = []
    for i, agent in enumerate(game.agents):
        reward, chance = [], []
        for s in range(game.states):
            profile = [solution.policies[a][s].numpy() for a in game.agents]
            reward.append(expected(rewards[i, s], profile, i))
            ahead = [expected(moves[s][..., k], profile, i) for k in range(game.states)]
            chance.append(np.stack(ahead, -1))
        reward, chance = np.stack(reward), np.stack(chance)
        policy = solution.policies[agent].numpy()
        matrix = np.eye(game.states) - game.discount * np.einsum("sa,sat->st", policy, chance)
        value = np.linalg.solve(matrix, (policy * reward).sum(-1))
        best = value
        for _ in range(1000):
            best = (reward + game.discount * chance @ best).max(-1)
        gains.append((best - value).max())
    return max(gains)


def one_shot_gain(payoffs, solution):
    profile = [p[0, 0].numpy() for p in solution.policies.values()]
    return max(
        expected(payoff, profile, i).max() - expected(payoff, profile)
        for i, payoff in enumerate(payoffs)
    )


def one_shot(*payoffs):
    return vsg.from_arrays(torch.tensor(np.stack(payoffs)[:, None]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("states", "agents", "actions"), [(4, 2, 3), (16, 2, 4), (4, 3, 2)])
def test_stochastic_games(states, agents, actions, seed):
    game = RandomGame(states, agents, actions, seed=seed, discount=0.95)
    solution = exact_nash(game)
    assert solution.solved, solution.message
    assert "the limit of the principal branch" in solution.message
    assert solution.certificate.nash_gap_worst_state <= 1e-8
    assert largest_gain(game, solution) <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("states", "agents", "actions"), [(64, 2, 4), (16, 3, 3), (4, 5, 2)])
def test_larger_stochastic_games(states, agents, actions, seed):
    game = RandomGame(states, agents, actions, seed=seed, discount=0.95)
    solution = exact_nash(game)
    assert solution.solved, solution.message
    assert largest_gain(game, solution) <= 1e-8


@pytest.mark.parametrize("seed", range(30))
def test_bimatrix_games(seed):
    random = np.random.default_rng(seed)
    payoffs = random.random((2, *random.integers(2, 11, 2)))
    solution = exact_nash(one_shot(*payoffs))
    assert solution.solved, solution.message
    assert one_shot_gain(payoffs, solution) <= 1e-8


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(2, 4, 2), (3, 2, 3), (2, 2, 2, 2)])
def test_one_shot_games_of_more_agents(sizes, seed):
    payoffs = np.random.default_rng(seed).random((len(sizes), *sizes))
    solution = exact_nash(one_shot(*payoffs))
    assert solution.solved, solution.message
    assert one_shot_gain(payoffs, solution) <= 1e-8


@pytest.mark.parametrize("seed", range(8))
def test_the_limit_is_gambits(seed):
    payoffs = np.random.default_rng(100 + seed).random((2, 4, 3))
    game = pygambit.Game.from_arrays(*payoffs)
    profile = pygambit.nash.logit_solve(game).equilibria[0]
    solution = exact_nash(one_shot(*payoffs))
    for player, policy in zip(game.players, solution.policies.values(), strict=True):
        theirs = [float(profile[s]) for s in player.strategies]
        assert np.abs(policy[0, 0].numpy() - theirs).max() < 1e-4


class TwoDoors:
    """Two states, two times: actions move the state, and one is not always available."""

    agents, horizon = ("ann", "bob"), 3

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        free = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]).double()
        ann = vsg.act("ann", dist.Categorical(free[state]))
        bob = vsg.act("bob", dist.Categorical(torch.tensor([0.5, 0.5]).double()))
        pay = torch.tensor([[3.0, -1.0], [-1.0, 1.0], [9.0, -2.0]]).double()[ann, bob]
        vsg.optimality("ann", pay - state)
        vsg.optimality("bob", -pay + state * bob)
        return (ann + bob) % 2


def test_a_finite_horizon():
    solution = exact_nash(TwoDoors())
    assert solution.solved, solution.message
    assert solution.policies["ann"].shape == (3, 2, 3)
    assert (solution.policies["ann"][:, 1, 2] == 0).all()
    certificate = vsg.certify(TwoDoors(), solution.policies)
    assert certificate.nash_gap_worst_state <= 1e-8


def difference(f, x, step=1e-6):
    columns = [(f(x + step * d) - f(x - step * d)) / (2 * step) for d in np.eye(len(x))]
    return np.stack(columns, -1)


@pytest.mark.parametrize(
    "game",
    [RandomGame(3, 2, 3), RandomGame(2, 3, 2), RandomGame(1, 2, 2), TwoDoors(), OneDoorShut()],
    ids=["2 agents", "3 agents", "1 state", "horizon", "one shot"],
)
def test_linear_solves_against_differences(game):
    system = LogitSystem(vsg.tabulate(game))
    random, z, n = np.random.default_rng(0), system.states, system.actions
    free = np.append(system.free.ravel(), [True] * (z * system.agents + 1))
    every = np.zeros(len(free))

    def parts(x):
        return x[: z * n].reshape(z, n), x[z * n : -1].reshape(z, -1), float(x[-1])

    def equations(x):
        full = every.copy()
        full[free] = x
        point = system.at(*parts(full))
        return np.concatenate([point.error.ravel(), point.error_values.ravel()])[free[:-1]]

    x = np.append(random.normal(size=free.sum() - 1), 1.7)
    border, right = random.normal(size=(2, free.sum()))
    matrix = np.vstack([difference(equations, x), border])

    def wide(y):
        full = every.copy()
        full[free] = y
        return parts(full)

    linear = system.factored(system.at(*wide(x)), wide(border))
    found = linear.solve(wide(right))
    flat = np.concatenate([found[0].ravel(), found[1].ravel(), [found[2]]])[free]
    assert np.abs(matrix @ flat - right).max() < 1e-6 * (1 + np.abs(flat).max())
    assert linear.sign == np.linalg.slogdet(matrix)[0]


def test_iterative_solves_are_as_exact(monkeypatch):
    game = RandomGame(6, 2, 3, seed=1, discount=0.95)
    direct = exact_nash(game)
    monkeypatch.setattr("vsg_ppl.logit_system.DENSE_VALUES", 5)
    iterative = exact_nash(game)
    assert direct.solved and iterative.solved
    for agent in game.agents:
        assert torch.allclose(direct.policies[agent], iterative.policies[agent], atol=1e-9)


def test_a_fold_is_followed():
    """Coordination in which the branch turns back before it reaches the limit."""
    rewards = np.array([[[6.0, 0.0], [5.0, 1.0]], [[6.0, 5.0], [0.0, 1.0]]])
    solution = exact_nash(one_shot(*rewards))
    assert solution.solved
    assert one_shot_gain(rewards, solution) <= 1e-8
    path = vsg.logit_path(one_shot(*rewards), 1e-3)
    for agent, policy in solution.policies.items():
        assert torch.allclose(policy, path.policies[agent], atol=1e-2)


def test_the_temperature_rises_along_a_fold():
    turned = 0
    for seed in range(16):
        game = RandomGame(16, 2, 4, seed=seed, discount=0.95)
        history = exact_nash(game, method="path").history
        temperatures = [entry["temperature"] for entry in history]
        turned += any(b > a for a, b in zip(temperatures, temperatures[1:], strict=False))
    assert turned >= 4


def test_shorter_steps_end_in_the_same_equilibrium(monkeypatch):
    """Folds are followed, not jumped over: the steps have no say in where the branch leads."""
    games = [RandomGame(16, 2, 4, seed=seed, discount=0.95) for seed in range(8)]
    games += [RandomGame(4, 3, 3, seed=seed, discount=0.95) for seed in range(8)]
    ends = [exact_nash(game, method="path").policies for game in games]
    monkeypatch.setattr("vsg_ppl.equilibrium_path.FORESEEN", 0.01)
    for game, end in zip(games, ends, strict=True):
        again = exact_nash(game, method="path").policies
        for agent in game.agents:
            assert torch.allclose(again[agent], end[agent], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_are_exact(seed):
    game = RandomGame(16, 2, 4, seed=seed, discount=0.95)
    for method in ("path", "stages"):
        solution = exact_nash(game, method=method)
        assert solution.solved
        assert vsg.certify(game, solution.policies).nash_gap_worst_state <= 1e-8
        assert ("branch" in solution.message) == (method == "path")


def test_horizons_are_solved_backwards():
    arrays = RandomGame(6, 2, 3, seed=4).arrays
    game = ArrayGame(arrays.rewards, arrays.transitions, horizon=12)
    solution = exact_nash(game)
    assert solution.solved and solution.iterations == 12
    assert vsg.certify(game, solution.policies).nash_gap_worst_state <= 1e-8


def test_thousands_of_states():
    """As large as it gets: 500 states here, 2,000 in `tests/benchmarks`."""
    solution = exact_nash(RandomGame(500, 2, 4, discount=0.95))
    assert solution.solved
    assert "stage games" in solution.message


def test_where_the_path_stalls_stages_go_on():
    game = RandomGame(16, 2, 4, seed=1, discount=0.95)
    stalled = exact_nash(game, method="path", max_steps=3)
    assert stalled.status == "not converged"
    assert "ended at temperature" in stalled.message
    table = vsg.tabulate(game)
    start = {agent: policy for agent, policy in stalled.policies.items()}
    assert exact_nash(table, method="stages", initial=start).solved


def test_another_method():
    with pytest.raises(vsg.GameError, match="the method is 'lemke'"):
        exact_nash(RandomGame(), method="lemke")
    with pytest.raises(vsg.GameError, match="too many to list"):
        exact_nash(RandomGame(1, 2, 16), method="stages")


def mckelvey_mclennan():
    """Nine equilibria, two of them totally mixed; payoffs as in Gambit's 2x2x2.nfg."""
    payoffs = np.zeros((3, 2, 2, 2))
    payoffs[:, 0, 0, 0] = 9, 8, 12
    payoffs[:, 1, 1, 0] = 9, 8, 2
    payoffs[:, 1, 0, 1] = 3, 4, 6
    payoffs[:, 0, 1, 1] = 3, 4, 6
    return payoffs


def test_many_equilibria():
    payoffs = mckelvey_mclennan()
    principal = exact_nash(one_shot(*payoffs))
    assert principal.solved
    assert one_shot_gain(payoffs, principal) <= 1e-8
    found = set()
    for seed in range(25):
        solution = exact_nash(one_shot(*payoffs), seed=seed)
        assert solution.solved == (one_shot_gain(payoffs, solution) <= 1e-8)
        if solution.solved:
            found.add(tuple(round(float(p[0, 0, 0]), 6) for p in solution.policies.values()))
    pure = {
        play
        for play in product((0.0, 1.0), repeat=3)
        if all(
            payoffs[(i, *(int(1 - p) for p in play))]
            >= payoffs[(i, *(int(1 - p if j != i else p) for j, p in enumerate(play)))]
            for i in range(3)
        )
    }
    assert len(pure) == 4
    assert pure <= found
    assert len(found) >= 5


@pytest.mark.parametrize(("rewards", "count"), [((2.0, 1.0), 2), ((1.0, 1.0), 2)])
def test_seeds_reach_both_conventions(rewards, count):
    payoffs = np.diag(rewards)
    found = set()
    for seed in range(8):
        solution = exact_nash(one_shot(payoffs, payoffs), seed=seed)
        assert solution.solved
        assert "principal" not in solution.message
        found.add(tuple(solution.policies["agent1"][0, 0].tolist()))
    assert len(found & {(1.0, 0.0), (0.0, 1.0)}) == count


def test_initial_policies_choose():
    payoffs = np.diag([2.0, 1.0])
    second = {a: torch.tensor([[[0.0, 1.0]]]).double() for a in ("agent1", "agent2")}
    solution = exact_nash(one_shot(payoffs, payoffs), initial=second)
    assert solution.solved
    assert solution.policies["agent1"][0, 0].tolist() == [0.0, 1.0]
    assert "principal" not in solution.message


def test_unavailable_actions_stay_out():
    solution = exact_nash(OneDoorShut())
    row, col = (solution.policies[agent][0, 0].numpy() for agent in ("row", "col"))
    assert solution.solved
    assert row == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-9)
    assert col == pytest.approx([1 / 3, 2 / 3], abs=1e-9)


class Leaning:
    """Equal coordination, of which a lopsided prior selects one equilibrium."""

    agents, horizon = ("a", "b"), 1

    def __init__(self, lean):
        self.lean = lean

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        prior = torch.tensor([self.lean, 1 - self.lean]).double()
        a = vsg.act("a", dist.Categorical(prior))
        b = vsg.act("b", dist.Categorical(prior))
        vsg.optimality("a", (a == b).double())
        vsg.optimality("b", (a == b).double())
        return state


@pytest.mark.parametrize("lean", [0.3, 0.8])
def test_priors_choose_the_branch(lean):
    solution = exact_nash(Leaning(lean))
    assert solution.solved
    assert "the principal branch" in solution.message
    assert solution.policies["a"][0, 0, 0].item() == float(lean > 0.5)


def test_agents_to_whom_all_is_one():
    solution = exact_nash(vsg.from_arrays(torch.ones(2, 1, 3, 2)))
    assert solution.solved
    assert solution.policies["agent2"][0, 0].tolist() == [0.5, 0.5]


def test_one_agent_alone():
    game = RandomGame(5, 1, 3, discount=0.9)
    solution = exact_nash(game)
    assert solution.solved
    assert largest_gain(game, solution) <= 1e-8


def test_weak_equilibria_without_a_regular_limit():
    """Two equal actions: no support has one equilibrium only."""
    payoffs = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]]])
    solution = exact_nash(one_shot(*payoffs))
    assert solution.solved, solution.message
    assert one_shot_gain(payoffs, solution) <= 1e-8


def test_units_of_reward_do_not_matter():
    game = RandomGame(4, 2, 3, seed=2)
    large = vsg.from_arrays(
        game.arrays.rewards * 1000 + 3, game.arrays.transitions, discount=game.discount
    )
    one, two = exact_nash(game), exact_nash(large)
    assert one.solved and two.solved
    for a, b in zip(one.policies.values(), two.policies.values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_too_few_steps_are_no_solution():
    solution = exact_nash(RandomGame(16, 2, 4, discount=0.95), max_steps=3)
    assert solution.status == "not converged"
    assert solution.certificate.nash_gap_worst_state > 1e-8
    assert "ended at temperature" in solution.message
    assert "raise `max_steps`" in solution.message


def test_an_interrupt_returns_what_there_is(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(EquilibriumPath, "_correct", interrupt)
    solution = exact_nash(RandomGame(3, 2, 2))
    assert solution.status == "interrupted"
    assert solution.certificate.nash_gap > 0


def test_it_can_be_stored(tmp_path):
    solution = exact_nash(RandomGame(3, 2, 2), progress=True)
    again = Solution.load(solution.save(tmp_path / "solution.safetensors"))
    assert again.temperature == 0
    assert again.message == solution.message


def test_errors():
    game = RandomGame(3, 2, 2)
    with pytest.raises(vsg.GameError, match="a batch of them"):
        exact_nash(vsg.from_arrays(torch.rand(5, 2, 1, 2, 2), batched=True))
    with pytest.raises(vsg.GameError, match="tolerance is 0"):
        exact_nash(game, tolerance=0)
    with pytest.raises(vsg.GameError, match="either from"):
        exact_nash(game, initial={}, seed=1)
    with pytest.raises(vsg.GameError, match="no policy is given"):
        exact_nash(game, initial={})


def test_too_large_a_game_is_refused_before_work(monkeypatch):
    monkeypatch.setattr("vsg_ppl.game_arrays.LARGEST", 5)
    with pytest.raises(vsg.GameError, match="at most 5"):
        exact_nash(RandomGame(3, 2, 2))
