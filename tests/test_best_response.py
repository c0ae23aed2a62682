import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO

import vsg_ppl as vsg
from tests.brute_force import BruteForce
from tests.brute_response import BruteResponse, soft
from tests.random_games import games
from tests.random_policies import Case, Policies
from vsg_ppl import models
from vsg_ppl.best_response import best_response, respond
from vsg_ppl.errors import GameError


def laws_of(case):
    """Everybody's policies as the solver wants them; the agent's own is not used."""
    modules = {**case.others, case.agent: case.policy}
    return [modules[j].log_table().detach().exp()[None] for j in case.table.agents]


def marginals(case):
    """The case with a marginal policy, for the oracle, which must not read a conditional one."""
    return {**case.functions[2], case.agent: case.functions[0]}


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    game=games(outcomes=16),
    seed=st.integers(0, 10**6),
    temperature=st.one_of(st.just(0.0), st.floats(0.1, 3.0)),
    conditional=st.booleans(),
)
def test_response_is_that_of_backward_induction(game, seed, temperature, conditional):
    """Policies and values in every state and time, by the oracle's own dynamic programming."""
    case = Case(game, seed)
    table, number = case.table, case.table.number(case.agent)
    policy, value = respond(table, laws_of(case), number, temperature, conditional=conditional)
    oracle = BruteResponse(case.brute, case.agent, marginals(case), conditional=conditional)
    for (place, t), (answers, worth) in oracle.induct(soft(temperature), steps=30).items():
        row = case.reader.rows[place]
        scale = 1 + abs(worth)
        assert float(value[0, t, row]) == pytest.approx(worth, abs=1e-10 * scale)
        if temperature == 0:
            continue  # ties: several policies are best
        for seen, answer in answers.items():
            others = {j: case.reader.number(j, action) for j, action in seen}
            for action, p in answer.items():
                own = case.reader.number(case.agent, action)
                everyone = {**others, case.agent: own}
                at = [everyone[j] for j in table.agents] if conditional else [own]
                assert float(policy[(0, t, row, *at)]) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_response_with_little_discounting(temperature, conditional):
    """γ = 0.9 needs policy iteration to be right about the far future."""
    case = Case(models.StagHunt(), 8)
    found = respond(
        case.table,
        laws_of(case),
        case.table.number(case.agent),
        temperature,
        conditional=conditional,
    )[1]
    oracle = BruteResponse(case.brute, case.agent, marginals(case), conditional=conditional)
    for (place, _), (_, worth) in oracle.induct(soft(temperature), steps=320).items():
        assert float(found[0, 0, case.reader.rows[place]]) == pytest.approx(worth, abs=1e-10)


@pytest.mark.parametrize("discount", [0.99, 0.9999])
def test_policy_iteration_settles(discount):
    """Bellman's equation holds for the value: V = max (r + γ P V), to rounding."""
    game = models.RandomGame(states=100, actions=4, discount=discount)
    table = vsg.tabulate(game)
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(4), size=100)
    laws = [torch.tensor(law)[None, None]] * 2
    for temperature in (0.0, 1e-8, 0.5):
        _, value = respond(table, laws, 0, temperature)
        v = value[0, 0].numpy()
        rewards, transitions = game.arrays.rewards[0].numpy(), game.arrays.transitions.numpy()
        q = np.einsum("sab,sb->sa", rewards + discount * (transitions @ v), law)
        top = q.max(1)
        if temperature > 0.0:
            mass = np.exp((q - top[:, None]) / temperature).mean(1)
            top = top + temperature * np.log(mass)
        assert abs(top - v).max() < 1e-12 * abs(v).max()


def test_small_temperatures_are_the_limit():
    case = Case(models.Soccer(rows=2, columns=3), 0)
    number = case.table.number(case.agent)
    _, hard = respond(case.table, laws_of(case), number, 0.0)
    policy, cold = respond(case.table, laws_of(case), number, 1e-9)
    assert torch.isfinite(policy).all()
    assert (hard - cold).abs().max() < 1e-7
    assert (cold <= hard + 1e-12).all()


def test_penalties_are_paid_in_each_state():
    """A constant c costs c Σ γ^t and changes no policy."""
    case = Case(models.StagHunt(), 1)
    number, laws = case.table.number(case.agent), laws_of(case)
    plain, value = respond(case.table, laws, number, 0.5)
    cost = torch.full((1, 1, 2), 0.3, dtype=torch.float64)
    policy, penalised = respond(case.table, laws, number, 0.5, penalty=cost)
    torch.testing.assert_close(policy, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(penalised, value - 0.3 / (1 - 0.9), rtol=0, atol=1e-11)


def test_a_batch_of_games_is_each_of_them():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    rewards, moves = draw(3, 2, 4, 2, 3), draw(3, 4, 2, 3, 4)
    moves = moves / moves.sum(-1, keepdim=True)
    laws = [draw(3, 1, 4, size).log().softmax(-1) for size in (2, 3)]
    for ends in ({"discount": 0.9}, {"horizon": 3}):
        batch = vsg.from_arrays(rewards, moves, batched=True, **ends)
        policy, value = respond(batch, laws, 1, 0.2)
        for k in range(3):
            one = vsg.from_arrays(rewards[k], moves[k], **ends)
            alone, worth = respond(one, [law[[k]] for law in laws], 1, 0.2)
            torch.testing.assert_close(policy[[k]], alone, rtol=0, atol=1e-12)
            torch.testing.assert_close(value[[k]], worth, rtol=0, atol=1e-12)


def test_too_few_steps_are_told():
    """Staying pays now, going pays later: the first, myopic policy is wrong."""
    rewards = torch.tensor([[[1.0, 0.0], [10.0, 10.0]]])
    stay, go = [1.0, 0.0], [0.0, 1.0]
    table = vsg.from_arrays(rewards, torch.tensor([[stay, go], [go, go]]), discount=0.9)
    policy, value = respond(table, [torch.full((1, 1, 2, 2), 0.5)], 0)
    assert policy[0, 0, 0].tolist() == [0.0, 1.0]
    assert value[0, 0].tolist() == pytest.approx([90.0, 100.0])
    small = vsg.from_arrays(1e-6 * rewards, torch.tensor([[stay, go], [go, go]]), discount=0.9)
    policy, _ = respond(small, [torch.full((1, 1, 2, 2), 0.5)], 0)
    assert policy[0, 0, 0].tolist() == [0.0, 1.0]
    with pytest.raises(GameError, match=r"did not settle within 1 steps.*Try: raise `max_steps`"):
        respond(table, [torch.full((1, 1, 2, 2), 0.5)], 0, max_steps=1)


# --- best_response -------------------------------------------------------------------------------


@pytest.mark.parametrize("factorisation", ["marginal", "conditional"])
@pytest.mark.parametrize(
    "game", [models.StagHunt(), models.Hedge(), models.GridGame(size=2, slip=0.3)], ids=repr
)
def test_no_policy_has_a_higher_elbo(game, factorisation):
    """Against random opponent models that are wrong: the optimum of Eq. 3, and its value."""
    conditional = factorisation == "conditional"
    case = Case(game, 0, conditional=conditional)
    found = best_response(
        game,
        case.agent,
        case.others,
        opponents=case.opponents,
        temperature=0.6,
        factorisation=factorisation,
    )
    model, guide = case.pair(0.6)
    elbo = vsg.MarkovELBO(case.table)
    (logits,) = case.policy.parameters()
    best = found.policy if case.table.horizon else found.policy[None]
    with torch.no_grad():
        logits.copy_(best.log())
        assert -elbo.loss(model, guide) == pytest.approx(found.elbo, abs=1e-11)
        generator = torch.Generator().manual_seed(0)
        for size in (0.01, 0.3, 3.0):
            noise = size * torch.randn(best.shape, dtype=torch.float64, generator=generator)
            logits.copy_(best.log() + noise)
            assert -elbo.loss(model, guide) < found.elbo
    assert found.losses == []


def test_beliefs_and_truth_can_differ():
    """ρ says what is answered; where it is wrong, KL(ρ ‖ π) is paid and changes the answer."""
    game = models.Hedge()
    belief, truth = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
    right = best_response(game, "row", {"col": belief}, temperature=0.1)
    wrong = best_response(game, "row", {"col": truth}, opponents={"col": belief}, temperature=0.1)
    torch.testing.assert_close(wrong.policy, right.policy, rtol=0, atol=1e-12)
    kl = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert right.elbo - wrong.elbo == pytest.approx(kl, abs=1e-6)
    never = torch.tensor([[1.0, 0.0]])
    with pytest.raises(GameError, match="plays what the others never do"):
        best_response(game, "row", {"col": never}, opponents={"col": belief})


@pytest.mark.parametrize("factorisation", ["marginal", "conditional"])
def test_svi_and_the_closed_form_agree(factorisation):
    game = models.StagHunt(discount=0.5)
    others = {"col": torch.tensor([[0.3, 0.7], [0.8, 0.2]])}
    answer = {"temperature": 0.8, "factorisation": factorisation}
    exact = best_response(game, "row", others, **answer)
    climbed = best_response(game, "row", others, method="svi", steps=400, **answer)
    torch.testing.assert_close(climbed.policy, exact.policy, rtol=0, atol=1e-3)
    assert climbed.elbo == pytest.approx(exact.elbo, abs=1e-5)
    assert climbed.elbo <= exact.elbo + 1e-12
    assert len(climbed.losses) == 400
    assert climbed.losses[-1] == pytest.approx(-climbed.elbo, abs=1e-6)


@pytest.mark.parametrize("factorisation", ["marginal", "conditional"])
def test_pyros_own_elbo_climbs_too(factorisation):
    """Sampled gradients, so nearly; without others it answers their priors."""
    game = models.Hedge()
    answer = {"temperature": 1.0, "factorisation": factorisation}
    exact = best_response(game, "row", **answer)
    loss = Trace_ELBO(num_particles=200, vectorize_particles=True, max_plate_nesting=0)
    climbed = best_response(game, "row", method="svi", loss=loss, steps=300, **answer)
    assert (climbed.policy - exact.policy).abs().max() < 0.05
    assert (exact.policy - 1 / 3).abs().max() > 0.1  # it had to climb


def test_response_leaves_the_parameters_of_others_alone():
    import pyro

    pyro.param("mine", torch.tensor(1.0))
    best_response(models.Hedge(), "row", method="svi", steps=2)
    assert list(pyro.get_param_store()) == ["mine"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"agent": "umpire"}, "has no agent 'umpire'"),
        ({"method": "magic"}, "method 'magic'. Try: one of exact, svi"),
        ({"factorisation": "both"}, "factorisation 'both'. Try: one of marginal, conditional"),
        ({"others": {"row": torch.ones(1, 3) / 3}}, "policy is given for 'row'"),
    ],
)
def test_bad_requests(given, match):
    with pytest.raises(GameError, match=match):
        best_response(models.Hedge(), **{"agent": "row", **given})


def test_oracle_agrees_with_itself():
    """The two oracles: the best of all deterministic policies is backward induction at τ = 0."""
    game = models.Thermostat(horizon=2)
    table, brute = vsg.tabulate(game), BruteForce(game)
    policy = Policies(table, brute, 0).marginal("heater")
    oracle = BruteResponse(brute, "heater", {"heater": Policies(table, brute, 0).read(policy)})
    (start,) = brute.initial()
    best = oracle.induct(soft(0.0))[start, 0][1]
    assert oracle.value() + oracle.gains()[0] == pytest.approx(best, abs=1e-12)
