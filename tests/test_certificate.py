import math
from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.random_games import games
from tests.random_policies import Case
from vsg_ppl import models
from vsg_ppl.certificate import nash_bound
from vsg_ppl.errors import GameError
from vsg_ppl.guides import ConditionalPolicy

ROW, COL = [1.0, 0.0], [0.0, 1.0]


def pure(**actions):
    """One-shot policies that play one action each, of two."""
    return {agent: torch.tensor([[1.0 - k, 0.0 + k]]) for agent, k in actions.items()}


def by_hand(payoffs, row, col):
    """Nash gap of a bimatrix game with mixed policies, from its definition."""
    one, two = (torch.as_tensor(payoff, dtype=torch.float64) for payoff in payoffs)
    row, col = row[0].double(), col[0].double()
    gain_row = (one @ col).max() - row @ one @ col
    gain_col = (row @ two).max() - row @ two @ col
    return float(max(gain_row, gain_col))


@pytest.mark.parametrize(
    ("game", "policies"),
    [
        (models.PrisonersDilemma(), pure(row=1, col=1)),
        (models.BattleOfTheSexes(), pure(row=0, col=0)),
        (models.BattleOfTheSexes(), pure(row=1, col=1)),
        (models.Chicken(), pure(row=0, col=1)),
        (models.ThreeAgents(), pure(a=0, b=0, c=0)),
        (models.MatchingPennies(), {a: torch.full((1, 2), 0.5) for a in ("row", "col")}),
        (models.RockPaperScissors(), {a: torch.full((1, 3), 1 / 3) for a in ("row", "col")}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_known_equilibria_have_no_gap(game, policies):
    certificate = vsg.certify(game, policies)
    assert 0 <= certificate.nash_gap < 1e-12
    assert 0 <= certificate.nash_gap_worst_state < 1e-12


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_one_shot_gap_is_its_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    payoffs = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    row = torch.rand(1, 3, dtype=torch.float64, generator=generator)
    col = torch.rand(1, 4, dtype=torch.float64, generator=generator)
    row, col = row / row.sum(), col / col.sum()
    certificate = vsg.certify(models.matrix_game(*payoffs), {"row": row, "col": col})
    assert certificate.nash_gap == pytest.approx(by_hand(payoffs, row, col), abs=1e-12)
    assert certificate.nash_gap == max(certificate.per_agent.values())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(game=games(outcomes=12, horizons=(1, 2, 3)), seed=st.integers(0, 10**6))
def test_values_are_those_of_the_plays(game, seed):
    """By the oracle, play by play."""
    case = Case(game, seed)
    policies = {**case.others, case.agent: case.policy}
    functions = {**case.functions[2], case.agent: case.functions[0]}
    certificate = vsg.certify(game, policies)
    for agent in game.agents:
        wanted = float(case.brute.value(agent, functions).detach())
        assert certificate.values[agent] == pytest.approx(wanted, abs=1e-10)
    assert certificate.nash_gap >= 0
    assert certificate.nash_gap_worst_state >= certificate.nash_gap - 1e-12


def test_bound_of_theorem_4_2():
    """τ (T + 1) log max|A|, or τ log max|A| / (1 − γ); the print's T is one decision short."""
    assert nash_bound(vsg.tabulate(models.Hedge()), 0.1) == pytest.approx(0.1 * math.log(3))
    assert nash_bound(vsg.tabulate(models.StagHunt(discount=0.8)), 0.5) == pytest.approx(
        0.5 * math.log(2) / 0.2
    )
    assert nash_bound(vsg.tabulate(models.Thermostat(horizon=24)), 2.0) == pytest.approx(
        2.0 * 24 * math.log(3)
    )


def test_bound_with_a_prior_that_is_not_uniform():
    """The rarest action that is available counts; one that is not does not."""

    class Biased:
        agents = ("a",)
        horizon = 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            law = torch.tensor([0.9, 0.1, 0.0], dtype=torch.float64)
            vsg.optimality("a", vsg.act("a", dist.Categorical(law)))
            return state

    assert nash_bound(vsg.tabulate(Biased()), 1.0) == pytest.approx(math.log(10))


def test_the_soft_response_obeys_the_bound_and_less_does_not():
    game = models.Hedge()
    col = {"col": torch.tensor([[0.9, 0.1]])}
    row = vsg.best_response(game, "row", col, temperature=0.2).policy
    certificate = vsg.certify(
        game, {"row": row, "col": torch.tensor([[0.9, 0.1]])}, temperature=0.2
    )
    assert certificate.per_agent["row"] <= certificate.bound
    assert not vsg.certify(game, {**col, "row": row}, temperature=1e-6).within_bound()
    assert vsg.certify(game, {**col, "row": row}, temperature=10.0).within_bound()
    with pytest.raises(GameError, match="no bound. Try: pass `temperature=`"):
        vsg.certify(game, {**col, "row": row}).within_bound()


def test_the_bound_is_compared_in_double_precision():
    gap = vsg.Certificate(0.1, 0.1, {}, {}, bound=0.1 - 2e-9)
    assert not gap.within_bound()
    assert replace(gap, bound=0.1).within_bound()  # 0.1 in float32 is larger than this
    several = replace(gap, nash_gap=torch.tensor([0.0, 0.3, 0.1]), bound=0.2)
    assert not several.within_bound() and several.largest_gap == pytest.approx(0.3)


def test_worst_state_counts_even_if_it_starts_with_probability_zero():
    rewards = torch.tensor([[[0.0, 0.0], [0.0, 3.0]]])
    moves = torch.eye(2)[:, None].expand(2, 2, 2)
    table = vsg.from_arrays(rewards, moves, discount=0.5, initial=torch.tensor([1.0, 0.0]))
    certificate = vsg.certify(table, {"agent1": torch.tensor([ROW, ROW])})
    assert certificate.nash_gap == 0
    assert certificate.nash_gap_worst_state == pytest.approx(6.0)


def test_a_time_at_which_a_state_cannot_occur_does_not_count():
    class Later:
        """State 1 pays for the second action, and only time 1 can be spent there."""

        agents = ("a",)
        horizon = 2

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            action = vsg.act("a", dist.Categorical(torch.ones(2)))
            vsg.optimality("a", state * action)
            return torch.ones_like(state)

    certificate = vsg.certify(Later(), {"a": torch.tensor([ROW, ROW])})
    assert certificate.nash_gap_worst_state == pytest.approx(1.0)  # not 2, from time 0 on


def test_a_batch_has_a_certificate_for_each_game():
    payoffs = torch.randn(5, 2, 1, 3, 3, dtype=torch.float64)
    batch = vsg.from_arrays(payoffs, batched=True)
    laws = {a: torch.rand(5, 1, 3, dtype=torch.float64) for a in batch.agents}
    laws = {a: law / law.sum(-1, keepdim=True) for a, law in laws.items()}
    certificate = vsg.certify(batch, laws, temperature=1.0)
    assert certificate.nash_gap.shape == (5,)
    for k in range(5):
        alone = vsg.certify(
            models.matrix_game(*payoffs[k, :, 0], agents=batch.agents),
            {a: law[k] for a, law in laws.items()},
        )
        assert float(certificate.nash_gap[k]) == pytest.approx(alone.nash_gap, abs=1e-12)
        for agent in batch.agents:
            assert float(certificate.values[agent][k]) == pytest.approx(alone.values[agent])


def test_policies_in_single_precision_are_normalised():
    """A sum that is off by 1e-8 must not be paid out 10,000 times."""
    game = models.RandomGame(states=3, actions=3, discount=0.9999)
    law = torch.full((3, 3), 1 / 3)
    assert law.double().sum(-1).sub(1).abs().max() > 1e-9
    double = law.double() / law.double().sum(-1, keepdim=True)
    single = vsg.certify(game, dict.fromkeys(game.agents, law))
    exact = vsg.certify(game, dict.fromkeys(game.agents, double))
    assert single.values == pytest.approx(exact.values, rel=1e-12)


def test_conditional_policies_have_no_certificate():
    game = models.Hedge()
    answer = ConditionalPolicy(vsg.tabulate(game), "row")
    with pytest.raises(GameError, match="'row' is conditional.*Try: certify what is executed"):
        vsg.certify(game, {"row": answer, "col": torch.tensor([[0.5, 0.5]])})


def test_more_to_gain_when_rewards_are_scaled():
    """Gaps are in units of reward."""
    case = Case(models.StagHunt(), 0)
    policies = {**case.others, case.agent: case.policy}
    one = vsg.certify(case.table, policies)
    tenfold = replace(case.table, rewards=tuple(10 * reward for reward in case.table.rewards))
    assert vsg.certify(tenfold, policies).nash_gap == pytest.approx(10 * one.nash_gap)
    assert one.nash_gap > 0.01
