"""The exact ELBO on games too long for the oracle, its gradients and its errors."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import SGD

import vsg_ppl as vsg
import vsg_ppl.bellman
from tests.brute_force import BruteForce
from tests.random_policies import Case, Policies
from vsg_ppl import models
from vsg_ppl.elbo import MarkovELBO, expected_elbo, total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.game import Limited
from vsg_ppl.guides import TabularPolicy


def arrays(states=10, actions=4, agents=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (states, *[actions] * agents)
    rewards = rng.standard_normal((agents, *shape))
    transitions = rng.dirichlet(np.full(states, 0.3), size=shape)
    return rewards, transitions


def random_law(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


class Pair:
    """A long two-agent game with policies that depend on time, and its Eq. 2 by NumPy."""

    def __init__(self, horizon=None, discount=None, states=10, actions=4):
        self.rewards, self.transitions = arrays(states, actions)
        self.game = models.ArrayGame(
            self.rewards, self.transitions, discount=discount, horizon=horizon, agents=("a", "b")
        )
        self.table = vsg.tabulate(self.game)
        rng = np.random.default_rng(7)
        times = horizon or 1
        self.mine, self.rho, self.pi = (random_law(rng, times, states, actions) for _ in range(3))
        self.gamma = 1.0 if discount is None else discount
        self.horizon, self.actions = horizon, actions

    def programs(self, temperature):
        def tabular(agent, law):
            return TabularPolicy(self.table, agent, torch.tensor(law).log())

        return (
            vsg.agent_model(self.game, "a", {"b": tabular("b", self.pi)}, temperature=temperature),
            vsg.agent_guide(self.game, "a", tabular("a", self.mine), {"b": tabular("b", self.rho)}),
        )

    def stream(self, t, temperature):
        """r/τ − KL(π ‖ u) − KL(ρ ‖ π') of each state, and P_q(s'|s)."""
        mine, rho, pi = self.mine[t], self.rho[t], self.pi[t]
        pay = np.einsum("sab,sa,sb->s", self.rewards[0], mine, rho) / temperature
        pay -= (mine * np.log(mine * self.actions)).sum(1) + (rho * np.log(rho / pi)).sum(1)
        return pay, np.einsum("sabn,sa,sb->sn", self.transitions, mine, rho)

    def elbo(self, temperature):
        states = self.rewards.shape[1]
        law, total = np.full(states, 1 / states), 0.0
        if self.horizon is None:
            pay, move = self.stream(0, temperature)
            return law @ np.linalg.solve(np.eye(states) - self.gamma * move, pay)
        for t in range(self.horizon):
            pay, move = self.stream(t, temperature)
            total += self.gamma**t * (law @ pay)
            law = law @ move
        return total


@pytest.mark.parametrize(
    ("horizon", "discount"), [(100, None), (100, 0.95), (None, 0.95), (None, 0.0)]
)
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_long_games(horizon, discount, temperature):
    """T = 100, S = 10, two agents with four actions: against plain linear algebra."""
    pair = Pair(horizon, discount)
    found = float(MarkovELBO().elbo(*pair.programs(temperature)).detach())
    assert found == pytest.approx(pair.elbo(temperature), rel=1e-12, abs=1e-10)


@pytest.mark.parametrize(("horizon", "discount"), [(100, None), (None, 0.9)])
def test_long_games_by_sampling(horizon, discount):
    pair = Pair(horizon, discount)
    model, guide = pair.programs(temperature=2.0)
    loss = Trace_ELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=0)
    with torch.no_grad():
        draws = torch.tensor([-loss.loss(model, guide) for _ in range(12)])
    error = draws.std() / 12**0.5
    assert abs(draws.mean() - pair.elbo(2.0)) < 5 * error
    assert error < 0.03 * abs(pair.elbo(2.0))  # or it would say nothing


@pytest.mark.parametrize(("horizon", "discount"), [(3, None), (3, 0.5), (None, 0.8)])
def test_objective_is_equation_3(horizon, discount):
    """J = Σ γ^t E[ r + τ H(π) − τ KL(ρ ‖ π') ], with the entropy in place of the prior."""
    pair, tau = Pair(horizon, discount, states=3, actions=2), 0.7
    found = float(MarkovELBO().objective(*pair.programs(tau)).detach())

    def stream(t, temperature):
        mine, rho, pi = pair.mine[t], pair.rho[t], pair.pi[t]
        pay = np.einsum("sab,sa,sb->s", pair.rewards[0], mine, rho)
        pay += tau * (-(mine * np.log(mine)).sum(1) - (rho * np.log(rho / pi)).sum(1))
        return pay, np.einsum("sabn,sa,sb->sn", pair.transitions, mine, rho)

    pair.stream = stream
    assert found == pytest.approx(pair.elbo(tau), rel=1e-12)


def test_objective_needs_a_uniform_prior():
    case = Case(models.Soccer(rows=2, columns=2), 0)
    with pytest.raises(GameError, match="uniform prior, and that of 'a' is not"):
        MarkovELBO().objective(*case.pair(1.0))


@pytest.mark.parametrize(("discount", "horizon"), [(0.9, None), (1.0, 7), (0.5, 3), (0.0, None)])
def test_weight_of_all_steps(discount, horizon):
    steps = range(horizon or 500)
    assert total_weight(discount, horizon) == pytest.approx(sum(discount**t for t in steps))


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(
    "game", [models.StagHunt(), models.Thermostat(horizon=3)], ids=["endless", "horizon"]
)
def test_gradient_is_the_finite_difference(game, conditional):
    case = Case(game, 4, conditional=conditional)
    model, guide = case.pair(0.8)
    value = MarkovELBO(case.table).elbo(model, guide)
    gradients = case.gradients(value)
    generator = torch.Generator().manual_seed(0)
    for parameter, gradient in zip(case.parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        values, h = [], 1e-5
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * h * direction
                values.append(float(MarkovELBO(case.table).elbo(model, guide)))
                parameter -= sign * h * direction
        slope = (values[0] - values[1]) / (2 * h)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "game", [models.GridGame(crash=0.3), models.Soccer(rows=2, columns=3)], ids=["grid", "soccer"]
)
def test_sparse_solve_is_the_dense_one(monkeypatch, game):
    """The iterative solver for many states: values, and gradients by the transposed system."""
    case = Case(game, 1)
    assert case.table.successors is not None
    found = []
    for limit in (10**6, 0):
        monkeypatch.setattr(vsg_ppl.bellman, "DENSE_STATES", limit)
        value = MarkovELBO(case.table).elbo(*case.pair(0.5))
        found.append((value, case.gradients(value)))
    (dense, dense_slopes), (sparse, sparse_slopes) = found
    assert float(sparse.detach()) == pytest.approx(float(dense.detach()), rel=1e-11)
    for one, other in zip(dense_slopes, sparse_slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
        assert one.abs().max() > 1e-3


def test_losses_are_minus_the_elbo():
    case = Case(models.StagHunt(), 0)
    model, guide = case.pair(1.0)
    elbo = MarkovELBO()
    value = float(elbo.elbo(model, guide).detach())
    assert elbo.loss(model, guide) == -value
    assert float(elbo.differentiable_loss(model, guide).detach()) == -value
    assert elbo.loss_and_grads(model, guide) == -value
    gradients = case.gradients(elbo.elbo(model, guide))
    for parameter, gradient in zip(case.parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, -gradient, rtol=1e-12, atol=1e-14)
    elbo.loss_and_grads(model, guide)  # gradients add up, as torch's do
    torch.testing.assert_close(case.parameters[0].grad, -2 * gradients[0], rtol=1e-12, atol=1e-14)


# --- programs ------------------------------------------------------------------------------------


def test_the_step_is_run_once_for_one_model():
    class Counted(models.StagHunt):
        runs = 0

        def step(self, weather):
            Counted.runs += 1
            return super().step(weather)

    case = Case(Counted(), 0)
    pair, elbo = case.pair(1.0), MarkovELBO()
    elbo.loss(*pair)
    runs = Counted.runs
    elbo.loss(*pair)
    assert Counted.runs == runs
    MarkovELBO(case.table).loss(*pair)
    assert Counted.runs == runs


class Bonus:
    """A game with a parameter of its own, in its reward."""

    agents = ("a",)
    horizon = 2

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        bonus = pyro.param("bonus", torch.tensor(1.0, dtype=torch.float64))
        action = vsg.act("a", dist.Categorical(torch.ones(2, dtype=torch.float64)))
        vsg.optimality("a", bonus * action)
        return state


def test_a_game_that_learns():
    """Its table is made anew at each step of SVI, and the gradient reaches its parameter."""
    game = Bonus()
    guide = vsg.agent_guide(game, "a", torch.tensor([[0.25, 0.75]], dtype=torch.float64))
    model = vsg.agent_model(game, "a")
    elbo = MarkovELBO()
    before = elbo.loss(model, guide)
    SVI(model, guide, SGD({"lr": 0.1}), elbo).step()
    # ELBO = Σ E[bonus · a] − KL: its slope is 2 · 0.75, so the bonus grows by 0.15
    assert float(pyro.param("bonus").detach()) == pytest.approx(1.15)
    assert elbo.loss(model, guide) == pytest.approx(before - 2 * 0.75 * 0.15)


def test_policies_of_a_user_are_read_as_they_are():
    """A function of state and time, one that looks at the others, and tensors: one value."""
    game = models.Hedge()
    law = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    answer = torch.tensor([[0.7, 0.1, 0.2], [0.1, 0.6, 0.3]], dtype=torch.float64)

    def plain(state):
        pyro.sample("row", dist.Categorical(law[state]))

    def timed(state, t):
        pyro.sample("row", dist.Categorical(law[state + t]))

    def seeing(state, seen):
        pyro.sample("row", dist.Categorical(answer[seen["col"]]))

    elbo, model = MarkovELBO(), vsg.agent_model(game, "row")
    value = elbo.loss(model, vsg.agent_guide(game, "row", law))
    assert elbo.loss(model, vsg.agent_guide(game, "row", plain)) == pytest.approx(value, abs=1e-14)
    assert elbo.loss(model, vsg.agent_guide(game, "row", timed)) == pytest.approx(value, abs=1e-14)

    uniform = {"col": torch.tensor([[0.5, 0.5]], dtype=torch.float64)}
    guide = vsg.agent_guide(game, "row", seeing, uniform)
    pay = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    wanted = 0.5 * (answer.T * pay).sum() - 0.5 * (answer * (3 * answer).log()).sum()
    assert -elbo.loss(model, guide) == pytest.approx(float(wanted), abs=1e-14)


@pytest.mark.parametrize("horizon", [1, 3])
def test_another_horizon_than_the_games(horizon):
    game = models.StagHunt()
    limited = Limited(game, horizon)
    table, brute = vsg.tabulate(limited), BruteForce(limited)
    policies = Policies(table, brute, 3)
    mine, theirs = policies.marginal("row"), policies.marginal("col")
    model = vsg.agent_model(game, "row", {"col": theirs}, horizon=horizon)
    guide = vsg.agent_guide(game, "row", mine, {"col": theirs}, horizon=horizon)
    wanted = brute.elbo(
        "row",
        policies.read(mine),
        {"col": policies.read(theirs)},
        {"col": policies.read(theirs)},
        1.0,
    )
    assert -MarkovELBO().loss(model, guide) == pytest.approx(float(wanted.detach()), abs=1e-12)


def test_policies_of_the_endless_game_can_be_played_for_a_while():
    """A table of the whole game serves its first steps, where fewer states may occur."""
    game = models.Soccer(rows=2, columns=3)
    table = vsg.tabulate(game)
    policies = {j: TabularPolicy(table, j, torch.ones(61, 5).cumsum(-1)) for j in game.agents}
    model = vsg.agent_model(game, "a", {"b": policies["b"]}, horizon=2)
    guide = vsg.agent_guide(game, "a", policies["a"], {"b": policies["b"]}, horizon=2)
    loss = MarkovELBO().loss(model, guide)
    brute = BruteForce(Limited(game, 2))
    reader = Policies(table, brute, 0)
    functions = {j: reader.read(policy) for j, policy in policies.items()}
    wanted = brute.elbo("a", functions["a"], functions, functions, 1.0)
    assert -loss == pytest.approx(float(wanted.detach()), abs=1e-12)


def test_a_batch_of_games_is_each_of_them():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    rewards, moves = draw(3, 2, 4, 2, 3), draw(3, 4, 2, 3, 4)
    moves = moves / moves.sum(-1, keepdim=True)
    laws = [draw(3, 1, 4, size).log().log_softmax(-1) for size in (2, 3, 3)]
    batch = vsg.from_arrays(rewards, moves, discount=0.9, batched=True)
    found = expected_elbo(batch, 0, laws[0], {1: laws[1]}, {1: laws[2]}, 0.5)
    for k in range(3):
        one = vsg.from_arrays(rewards[k], moves[k], discount=0.9)
        mine, rho, pi = (law[[k]] for law in laws)
        alone = expected_elbo(one, 0, mine, {1: rho}, {1: pi}, 0.5)
        assert float(found[k]) == pytest.approx(float(alone), rel=1e-12)


# --- errors --------------------------------------------------------------------------------------


def test_pairs_that_do_not_belong_together():
    stag, hedge = models.StagHunt(), models.Hedge()
    uniform = torch.full((2, 2), 0.5)
    model = vsg.agent_model(stag, "row")
    elbo = MarkovELBO()
    with pytest.raises(GameError, match="reads the programs that agent_model and agent_guide make"):
        elbo.loss(lambda: None, lambda: None)
    with pytest.raises(GameError, match="model is of 'row' in StagHunt, the guide of 'col'"):
        elbo.loss(model, vsg.agent_guide(stag, "col", uniform))
    with pytest.raises(GameError, match="the guide of 'row' in Hedge"):
        elbo.loss(model, vsg.agent_guide(hedge, "row", torch.full((1, 3), 1 / 3)))
    with pytest.raises(GameError, match="the model makes None decisions, the guide 3"):
        elbo.loss(model, vsg.agent_guide(stag, "row", uniform, horizon=3))


def test_an_opponent_model_of_what_never_happens():
    game = models.StagHunt()
    model = vsg.agent_model(game, "row", {"col": torch.tensor([[1.0, 0.0], [0.5, 0.5]])})
    uniform = torch.full((2, 2), 0.5)
    guide = vsg.agent_guide(game, "row", uniform, {"col": uniform})
    with pytest.raises(GameError, match="ELBO of 'row' is not finite.*Try: opponent models"):
        MarkovELBO().loss(model, guide)
    certain = vsg.agent_guide(game, "row", uniform, {"col": torch.tensor([[1.0, 0.0], [0.5, 0.5]])})
    assert np.isfinite(MarkovELBO().loss(model, certain))  # 0 log 0 = 0


def test_two_objects_of_one_game_are_named_as_such():
    """`PrisonersDilemma()` written twice: the message must say that, not repeat one name."""
    models_ = [models.PrisonersDilemma(), models.PrisonersDilemma()]
    model = vsg.agent_model(models_[0], "row")
    guide = vsg.agent_guide(models_[1], "row", torch.tensor([[0.5, 0.5]]))
    with pytest.raises(vsg.GameError, match="two different PrisonersDilemma objects.*make one"):
        vsg.MarkovELBO().elbo(model, guide)
