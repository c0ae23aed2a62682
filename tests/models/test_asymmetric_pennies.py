"""Asymmetric matching pennies: payoffs and choices of the source, equilibria, tastes."""

from math import log

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from tests.models.test_one_shot import nash_gap, pure_equilibria
from vsg_ppl.models import AsymmetricPennies, PenniesOfUnknownTaste
from vsg_ppl.models.asymmetric_pennies import utility

TOP_LEFT = (80, 320, 44)


def payoffs(game, treatment):
    return [r[0, 0, treatment].expand(2, 2).numpy() for r in vsg.tabulate(game).rewards]


@pytest.mark.parametrize("treatment", [0, 1, 2])
def test_payoffs_and_the_one_equilibrium(treatment):
    most = TOP_LEFT[treatment]
    row, col = payoffs(AsymmetricPennies(), treatment)
    assert row == pytest.approx(np.array([[most, 40], [40, 80]]))
    assert col == pytest.approx(np.array([[40, 80], [80, 40]]))
    left = 40 / most  # row is indifferent
    assert left == pytest.approx([1 / 2, 1 / 8, 10 / 11][treatment])
    assert nash_gap([row, col], [[0.5, 0.5], [left, 1 - left]]) == pytest.approx(0, abs=1e-12)
    assert pure_equilibria([row, col]) == []


def test_choices_are_the_published_percentages():
    game = AsymmetricPennies()
    seen = vsg.Observations.of(vsg.tabulate(game), game.human_play())
    assert seen.visits.tolist() == [[25, 25, 25]]
    for agent, percent in (("row", [48, 96, 8]), ("col", [48, 16, 80])):
        assert (4 * seen.counts[agent][0, :, 0]).tolist() == percent


@pytest.mark.parametrize("r", [0.0, 0.3, 0.95])
def test_utility_is_crra_in_the_units_of_80_cents(r):
    cents = torch.tensor([40.0, 44.0, 80.0, 320.0]).double().requires_grad_()
    worth = utility(cents, r)
    worth.sum().backward()
    assert cents.grad.numpy() == pytest.approx((cents.detach() / 80).numpy() ** -r)
    assert float(worth[2].detach()) == pytest.approx(80)


def test_no_tastes_are_cents_and_the_limit_is_a_logarithm():
    cents = torch.tensor([40.0, 320.0]).double()
    assert utility(cents, 0.0).tolist() == pytest.approx([40, 320])
    assert utility(cents, 1 - 1e-9).tolist() == pytest.approx([80 - 80 * log(2), 80 + 80 * log(4)])


def test_altruism_adds_what_the_other_gets():
    own, other = payoffs(AsymmetricPennies(), 1)
    row, col = payoffs(AsymmetricPennies(altruism=0.25), 1)
    assert row == pytest.approx(own + 0.25 * other)
    assert col == pytest.approx(other + 0.25 * own)


def test_unknown_tastes_are_the_parameters():
    known = AsymmetricPennies(risk_aversion=0.4, altruism=-0.1)
    unknown = vsg.given(PenniesOfUnknownTaste(), {"risk_aversion": 0.4, "altruism": -0.1})
    for treatment in range(3):
        for one, other in zip(payoffs(known, treatment), payoffs(unknown, treatment), strict=True):
            assert one == pytest.approx(other)


@pytest.mark.parametrize("options", [{"risk_aversion": 1.0}, {"risk_aversion": -0.1}])
def test_tastes_out_of_range_are_refused(options):
    with pytest.raises(vsg.GameError, match="risk aversion"):
        AsymmetricPennies(**options)
    with pytest.raises(vsg.GameError, match="altruism"):
        AsymmetricPennies(altruism=float("nan"))
