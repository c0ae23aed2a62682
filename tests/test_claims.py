"""The paper's claims on at least a thousand random games each; `tests/claims.py` measures them.

A test asserts the verdict of its row and the numbers that the row shows. Smallest counterexamples
are run here as anybody would run them, with the library alone where it can.
"""

from __future__ import annotations

from itertools import product
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from tests import (
    claims,
    claims_elbo,
    claims_games,
    claims_models,
    claims_others,
    claims_potential,
    claims_steps,
)

ROOT = Path(__file__).resolve().parent.parent


def test_every_row_has_a_test_of_its_name():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert [f.__name__ for f in claims.FINDINGS if f.__name__ not in tests] == []
    assert len({f.__name__ for f in claims.FINDINGS}) == len(claims.FINDINGS) > 40


# --- Section 4 ------------------------------------------------------------------------------------


def test_equation_3_as_printed():
    found = claims_elbo.equation_3_as_printed()
    assert found.verdict == "fails"
    assert found.numbers["above"] > 300
    # one agent, two actions, no rewards: J = H(π), and O is certain
    table = vsg.from_arrays(torch.zeros(1, 1, 2))
    even = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert vsg.certify(table, {"agent1": even}).values["agent1"] == 0.0  # log P(O = 1)
    assert float(claims_games.entropy(even)) == pytest.approx(log(2))  # J


def test_equation_3_as_meant():
    numbers = claims_elbo.equation_3_as_meant().numbers
    assert numbers["error"] < 1e-12
    assert numbers["over"] < 0


def test_guide_with_true_dynamics():
    numbers = claims_elbo.guide_with_true_dynamics().numbers
    assert numbers["worse"] > 800
    assert numbers["guide"] < 0.3 < 0.7 < numbers["posterior"]


def test_discounting_is_ending():
    assert claims_elbo.discounting_is_ending().numbers["error"] < 1e-12


def test_theorem_4_2_as_printed():
    numbers = claims_elbo.theorem_4_2_as_printed().numbers
    assert numbers["broken"] == 1000
    assert numbers["actions"] == 17
    # one agent, one step, paid 1 or 0: T = 0, and so would be the gap
    table = vsg.from_arrays(torch.tensor([[[1.0, 0.0]]]))
    solution = vsg.nash(table, temperature=1.0)
    assert solution.certificate.nash_gap == pytest.approx(0.269, abs=5e-4)
    assert solution.certificate.nash_gap == pytest.approx(numbers["example"])


def test_theorem_4_2_as_meant():
    numbers = claims_elbo.theorem_4_2_as_meant().numbers
    assert numbers["worst"] == pytest.approx(0.42, abs=0.005)
    assert numbers["two"] == pytest.approx(0.40, abs=0.005)


def test_theorem_4_2_discounted():
    numbers = claims_elbo.theorem_4_2_discounted().numbers
    assert numbers["worst"] == pytest.approx(0.44, abs=0.005)
    assert 0.98 < numbers["sharp"] < 1


def test_theorem_4_2_for_the_likelihood():
    numbers = claims_elbo.theorem_4_2_for_the_likelihood().numbers
    assert numbers["broken"] > 50
    assert numbers["example"] == 1.0
    # row takes the gamble of 4 or 0 rather than 3, for (e^4 + 1) / 2 > e^3
    table = vsg.from_arrays(torch.tensor([[[[4.0, 0.0], [3.0, 3.0]]], [[[0.0, 0.0], [0.0, 0.0]]]]))
    gamble = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    even = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    certificate = vsg.certify(table, {"agent1": gamble, "agent2": even}, temperature=1.0)
    assert not certificate.within_bound()


def test_theorem_4_2_conditional_as_executed():
    numbers = claims_elbo.theorem_4_2_conditional_as_executed().numbers
    assert numbers["broken"] > 200
    assert numbers["worst"] > 4
    # row is paid 1 for one cell, all else is 0, at τ = 0.1
    rewards = torch.zeros(2, 1, 2, 2)
    rewards[0, 0, 0, 0] = 1.0
    table = vsg.from_arrays(rewards)
    paper = vsg.nash(table, temperature=0.1, factorisation="conditional")
    assert paper.certificate.nash_gap == pytest.approx(0.125, abs=1e-4)
    assert paper.certificate.bound == pytest.approx(0.069, abs=5e-4)
    assert vsg.nash(table, temperature=0.1).certificate.within_bound()
    assert numbers["example"] == pytest.approx(paper.certificate.nash_gap, abs=1e-6)


def test_no_counterexample_to_theorem_4_2_is_smaller():
    """Somebody must be paid something; conditional policies need another agent with a choice."""
    nothing = claims_games.one_shot(torch.zeros(2, 2), torch.zeros(2, 2))
    assert float(claims_elbo.executed_gap(nothing)) == pytest.approx(0.0, abs=1e-12)
    alone = claims_games.one_shot([[6.0], [0.0]], [[0.0], [0.0]])
    assert float(claims_elbo.executed_gap(alone)) < log(2)


def test_theorem_4_2_conditional_as_imagined():
    worst = claims_elbo.theorem_4_2_conditional_as_imagined().numbers["worst"]
    assert worst == pytest.approx(0.46, abs=0.005)


def test_a_fixed_point_is_everyones_best():
    assert claims_elbo.a_fixed_point_is_everyones_best().numbers["error"] < 1e-9


def test_a_fixed_point_is_no_joint_maximum():
    numbers = claims_elbo.a_fixed_point_is_no_joint_maximum().numbers
    assert numbers["worse"] > 150
    # both paid 10 where they meet, at τ = 1: steps from even play stay there
    matrix = torch.tensor([[[10.0, 0.0], [0.0, 10.0]]])
    table = vsg.from_arrays(torch.stack([matrix, matrix]))
    stays = vsg.nash(table, temperature=1.0)
    first = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    climbs = vsg.nash(table, temperature=1.0, initial={"agent1": first, "agent2": first})
    values = [s.certificate.values["agent1"] for s in (stays, climbs)]
    assert values[0] == pytest.approx(5.0)
    assert values[1] > 9.9


# --- Section 5.1: best responses and steps --------------------------------------------------------


def test_definition_5_1():
    numbers = claims_steps.definition_5_1().numbers
    assert numbers["error"] < 1e-12
    assert numbers["other"] > 1


def test_display_before_proposition_5_2():
    numbers = claims_steps.display_before_proposition_5_2().numbers
    assert numbers["error"] < 1e-12
    assert numbers["printed"] > 1


def test_proposition_5_2_as_printed():
    numbers = claims_steps.proposition_5_2_as_printed().numbers
    assert numbers["worse"] > 950
    # two doors: behind the first 2 or 0, behind the second 1; at even play both are worth 1 + log 2
    assert numbers["printed"] == pytest.approx(0.5)
    better = torch.tensor([2.0, 0.0], dtype=torch.float64).logsumexp(0) - (1 + log(2))
    assert numbers["best"] == pytest.approx(float(better.sigmoid()))


def test_proposition_5_2_as_meant():
    numbers = claims_steps.proposition_5_2_as_meant().numbers
    assert numbers["error"] < 1e-10
    assert numbers["over"] < 0


def test_proposition_5_3():
    assert claims_steps.proposition_5_3().numbers["error"] < 1e-6


def test_equation_4_alone():
    numbers = claims_steps.equation_4_alone().numbers
    assert numbers["fall"] < 1e-12
    assert numbers["over"] > 100


def test_equation_4_all_at_once():
    numbers = claims_steps.equation_4_all_at_once().numbers
    assert numbers["falls"] > 50
    assert numbers["start"] == pytest.approx(0.9)
    assert numbers["end"] < 0.2


def test_vpg_is_decentralised():
    numbers = claims_steps.vpg_is_decentralised().numbers
    assert numbers["moved"] == 1000
    assert numbers["same"] == 0


# --- Section 5.1: Markov potential games ----------------------------------------------------------


def test_definition_5_4():
    numbers = claims_potential.definition_5_4().numbers
    assert numbers["own"] == 1000
    assert numbers["rest"] < 1e-12
    assert numbers["example"] == pytest.approx(log(2) / 2)


def test_proposition_5_6_gradient():
    numbers = claims_potential.proposition_5_6_gradient().numbers
    assert numbers["own"] == 1000
    assert numbers["rest"] < 1e-10


def test_proposition_5_6_fisher():
    numbers = claims_potential.proposition_5_6_fisher().numbers
    assert numbers["error"] < 1e-6
    assert numbers["off"] == 1000


def test_proposition_5_6_conditional():
    numbers = claims_potential.proposition_5_6_conditional().numbers
    assert numbers["off"] == 1000
    assert numbers["vpg"] == pytest.approx(0.5)
    assert numbers["natural"] == pytest.approx(0.25)


def test_lemma_5_7():
    numbers = claims_potential.lemma_5_7().numbers
    assert 1e-3 < numbers["worst"] < 1
    assert numbers["searched"] < 1
    assert numbers["library"] == pytest.approx(numbers["printed"])


def test_steps_of_one_over_l():
    numbers = claims_potential.steps_of_one_over_l().numbers
    assert numbers["fall"] < 1e-12
    assert numbers["own"] > 900


def test_theorem_5_8_marginal():
    numbers = claims_potential.theorem_5_8_marginal().numbers
    assert numbers["left"] < 1e-6
    assert numbers["worst"] == pytest.approx(0.40, abs=0.005)


def test_theorem_5_8_joint_entropy():
    numbers = claims_potential.theorem_5_8_joint_entropy().numbers
    assert numbers["left"] < 1e-3
    assert numbers["worst"] < 1
    assert 10 * log(2) < numbers["example"] < 20 * log(2)
    games, policies = claims_potential.company()
    table = vsg.from_arrays(games.rewards[0], games.chances[0], discount=0.9)
    solution = vsg.nash(table, temperature=1.0, entropy="joint")
    assert solution.certificate.nash_gap_worst_state == pytest.approx(numbers["example"], abs=1e-6)


def test_theorem_5_8_proof():
    assert claims_potential.theorem_5_8_proof().numbers["short"] > 150


def test_theorem_5_8_conditional():
    numbers = claims_potential.theorem_5_8_conditional().numbers
    assert numbers["broken"] > 50
    # potential [[1, 0], [0, 0]] less what column gets in its second column: whole numbers 0 and 1
    rewards = torch.tensor(claims_potential.SMALLEST_POTENTIAL, dtype=torch.float64)[:, None]
    paper = vsg.nash(vsg.from_arrays(rewards), temperature=0.1, factorisation="conditional")
    assert paper.certificate.nash_gap == pytest.approx(numbers["example"], abs=1e-6)
    assert not paper.certificate.within_bound()


def test_no_potential_game_of_whole_numbers_is_smaller():
    """All games of two by two with payoffs 0 and 1: which are potential games, and break 5.8?"""
    payoffs = torch.tensor(list(product((0.0, 1.0), repeat=8)), dtype=torch.float64)
    first, second = payoffs.reshape(-1, 2, 1, 2, 2).unbind(1)
    bends = [m[:, 0, 0, 0] - m[:, 0, 0, 1] - m[:, 0, 1, 0] + m[:, 0, 1, 1] for m in (first, second)]
    exact = bends[0] == bends[1]
    rewards = torch.stack([first, second], 1)[exact]
    ones = torch.ones(len(rewards), 1, 2, 2, 1, dtype=torch.float64)
    gap = claims_elbo.executed_gap(claims_games.Games(10 * rewards, ones, 0.0)) / 10
    broken = gap > 0.1 * log(2) + 1e-9
    assert (int(exact.sum()), int(broken.sum())) == (70, 16)
    assert float(rewards[broken].flatten(1).sum(1).min()) == 2
    assert sum(sum(sum(row) for row in m) for m in claims_potential.SMALLEST_POTENTIAL) == 2


# --- Section 5.1: models of the others ------------------------------------------------------------


def test_proposition_5_5():
    numbers = claims_models.proposition_5_5().numbers
    assert numbers["worst"] == pytest.approx(0.14, abs=0.005)
    assert 0.95 < numbers["found"] < 0.99


def test_proposition_5_5_without_its_conditions():
    numbers = claims_models.proposition_5_5_without_its_conditions().numbers
    assert numbers["scaled"] < 1 < numbers["big"]
    assert numbers["never"] > 1


def test_proposition_5_5_with_models_throughout():
    numbers = claims_models.proposition_5_5_with_models_throughout().numbers
    assert numbers["broken"] > 100
    assert numbers["example"] > 30


def test_theorem_5_8_with_models():
    numbers = claims_models.theorem_5_8_with_models().numbers
    assert numbers["off"] < 1e-12  # play is the soft answer to the models
    # a potential game: what one agent's switch is worth changes as much by another's, both ways
    rewards = claims_models.three_signs(1.0, 0.1)[0].rewards[0, :, 0]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        bends = [rewards[k].diff(dim=i).diff(dim=j) for k in (i, j)]
        torch.testing.assert_close(*bends)
    assert numbers["meant"] < 1 < numbers["example"]
    assert numbers["warm"] < 0.5


def test_proposition_5_9_as_printed():
    numbers = claims_models.proposition_5_9_as_printed().numbers
    assert numbers["worse"] > 950
    assert numbers["example"] == pytest.approx(2 / 3)


def test_proposition_5_9_as_meant():
    numbers = claims_models.proposition_5_9_as_meant().numbers
    assert numbers["error"] < 1e-12
    assert numbers["over"] < 0


def test_equation_6():
    numbers = claims_models.equation_6().numbers
    assert numbers["off"] == 1000
    assert numbers["sure"] < 1e-15
    assert numbers["true"] == pytest.approx(0.622, abs=5e-4)
    assert numbers["other"] == pytest.approx(0.650, abs=5e-4)


def test_equation_7():
    assert claims_models.equation_7().numbers["error"] < 1e-12


def test_equation_8():
    assert claims_models.equation_8().numbers["error"] < 1e-12


def test_equation_9():
    numbers = claims_models.equation_9().numbers
    assert numbers["error"] < 1e-12
    assert numbers["least"] > 0.1


def test_equation_10():
    numbers = claims_models.equation_10().numbers
    assert numbers["error"] < 1e-9
    assert numbers["wrong"] == 1000


# --- Sections 5.2 to 5.4 --------------------------------------------------------------------------


def test_equations_11_and_12():
    numbers = claims_others.equations_11_and_12().numbers
    assert numbers["worse"] == 1000
    assert numbers["over"] < 0


def test_algorithm_4():
    numbers = claims_others.algorithm_4().numbers
    assert numbers["cycles"] > 500
    assert numbers["example"] > 0.9
    assert numbers["calm"] < 1e-12


def test_section_5_3_is_correlated():
    numbers = claims_others.section_5_3_is_correlated().numbers
    assert numbers["gain"] < 1e-12
    assert numbers["least"] >= 1


def test_table_1_correlated():
    numbers = claims_others.table_1_correlated().numbers
    assert numbers["broken"] > 500
    assert numbers["example"] == pytest.approx(1 / 9)


def test_section_5_3_reaches_all():
    numbers = claims_others.section_5_3_reaches_all().numbers
    assert numbers["any"] > 100
    assert numbers["least"] > -1e-9
    assert numbers["top"] == pytest.approx(16 / 3)
    assert numbers["nash"] == 5


def test_no_chicken_of_smaller_whole_numbers_has_a_better_correlated_equilibrium():
    """Row's [[a, b], [c, d]] and its mirror image, with c > a and b > d."""
    better = []
    for top in (3, 4):
        for a, b, c, d in product(range(top + 1), repeat=4):
            if c > a and b > d:
                one = np.array([[a, b], [c, d]], float)
                found = claims_others.best_correlated(one, one.T, one + one.T)
                if found > claims_others.best_nash(one, one.T) + 1e-9:
                    better.append((top, a, b, c, d))
    assert better == [
        (4, 0, 4, 1, 3),
        (4, 3, 1, 4, 0),
    ]  # one game, actions renamed


def test_augmented_state():
    assert claims_others.augmented_state().numbers["error"] < 1e-14


def test_zero_sum_as_printed():
    numbers = claims_others.zero_sum_as_printed().numbers
    assert numbers["off"] == 1000
    assert numbers["least"] < 1 < numbers["most"]


def test_zero_sum_as_meant():
    numbers = claims_others.zero_sum_as_meant().numbers
    assert numbers["off"] == 1000
    assert numbers["one"] < 1e-12
    assert numbers["shared"] < 1e-12


def test_zero_sum_probabilities():
    assert claims_others.zero_sum_probabilities().numbers["possible"] == 0


# --- The table, last: by now everything is measured -----------------------------------------------


def test_the_table_of_the_audit_is_what_the_measurements_say():
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    assert claims.table() in page, "paste what `python -m tests.claims` prints"
