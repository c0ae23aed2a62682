"""The best correlated equilibria with private signals, against another linear program."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
import scipy.optimize
import torch

import vsg_ppl as vsg
from tests.test_correlated_certificate import gains_by_listing
from vsg_ppl import models
from vsg_ppl.choice import Aim
from vsg_ppl.mediated import best_law, best_welfare, mediated
from vsg_ppl.tabulate import tabulate


def one_shot(payoffs, **options):
    return vsg.from_arrays(torch.from_numpy(payoffs[:, None]), horizon=1, **options)


def best_by_swap_functions(payoffs, weights=None):
    """The most of a weighted sum, or of the least value: no swap *function* gains anything.

    Joint actions count backwards here, and a constraint stands for a whole function.
    """
    cells = list(product(*(range(size) for size in payoffs.shape[1:])))[::-1]
    rows = []
    for i, values in enumerate(payoffs):
        for swap in product(range(values.shape[i]), repeat=values.shape[i]):
            moved = [(*cell[:i], swap[cell[i]], *cell[i + 1 :]) for cell in cells]
            rows.append([values[b] - values[a] for a, b in zip(cells, moved, strict=True)] + [0.0])
    for values in payoffs if weights is None else ():
        rows.append([-values[cell] for cell in cells] + [1.0])
    goal = [0.0] * len(cells) + [1.0]
    if weights is not None:
        goal = [
            float(sum(w * u[cell] for w, u in zip(weights, payoffs, strict=True))) for cell in cells
        ] + [0.0]
    found = scipy.optimize.linprog(
        -np.array(goal),
        np.array(rows),
        np.zeros(len(rows)),
        np.array([[1.0] * len(cells) + [0.0]]),
        [1.0],
        bounds=[(0, None)] * len(cells) + [(None, None) if weights is None else (0, 0)],
        method="highs-ipm",
    )
    return -found.fun


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (2, 2, 2), (2, 3, 2)])
def test_as_another_linear_program_has_it(sizes, seed):
    random = np.random.default_rng(seed)
    payoffs = random.normal(size=(len(sizes), *sizes))
    goals = {
        "welfare": np.ones(len(sizes)),
        "fairness": None,
        "agent2": np.eye(len(sizes))[1],
    }
    for objective, weights in goals.items():
        found = mediated(one_shot(payoffs), objective)
        law = found.joint[0].numpy()
        values = np.array([(law * u).sum() for u in payoffs])
        worth = values.min() if weights is None else values @ weights
        assert worth == pytest.approx(best_by_swap_functions(payoffs, weights), abs=1e-6)
        swaps, _ = gains_by_listing(payoffs, law)
        assert max(swaps) <= 1e-7
        assert found.certificate.correlated_gap <= 1e-7
        assert found.certificate.best_welfare == pytest.approx(
            best_by_swap_functions(payoffs, np.ones(len(sizes))), abs=1e-6
        )


def test_chicken():
    found = mediated(models.Chicken())
    assert found.certificate.welfare == pytest.approx(10.5)
    torch.testing.assert_close(
        found.joint[0], torch.tensor([[0.5, 0.25], [0.25, 0.0]], dtype=torch.float64)
    )
    assert found.certificate.best_welfare == pytest.approx(10.5)


def test_shapley():
    """Twice what the only Nash equilibrium pays, less a third."""
    assert mediated(models.Shapley()).certificate.welfare == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_payoffs_of_any_size(scale):
    payoffs = np.random.default_rng(0).normal(size=(2, 3, 3))
    one, other = mediated(one_shot(payoffs)), mediated(one_shot(payoffs * scale))
    assert other.certificate.welfare == pytest.approx(one.certificate.welfare * scale, rel=1e-6)
    assert other.certificate.correlated_gap <= 1e-7 * scale


def test_actions_that_are_not_available():
    """The law is that of the smaller game."""
    payoffs = np.random.default_rng(1).normal(size=(2, 3, 3))
    priors = [torch.tensor([[0.5, 0.5, 0.0]]), torch.full((1, 3), 1 / 3)]
    found = mediated(one_shot(payoffs, priors=priors))
    assert (found.joint[0, 2] == 0).all()
    smaller = best_by_swap_functions(payoffs[:, :2], np.ones(2))
    assert found.certificate.welfare == pytest.approx(smaller, abs=1e-6)
    assert found.certificate.correlated_gap <= 1e-7


def test_several_states():
    """Each its own program; the first state is drawn."""
    payoffs = np.random.default_rng(2).normal(size=(2, 3, 2, 2))
    initial = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    table = vsg.from_arrays(torch.from_numpy(payoffs), horizon=1, initial=initial)
    each = [best_by_swap_functions(payoffs[:, s], np.ones(2)) for s in range(3)]
    found = mediated(table)
    assert found.certificate.welfare == pytest.approx((each[0] + each[2]) / 2, abs=1e-6)
    assert best_welfare(table) == pytest.approx((each[0] + each[2]) / 2, abs=1e-6)
    assert found.certificate.correlated_gap_worst_state <= 1e-7


def test_one_agent_and_one_action():
    found = mediated(one_shot(np.array([[1.0, 3.0, 2.0]])))
    assert found.joint[0].tolist() == [0.0, 1.0, 0.0]
    assert mediated(one_shot(np.ones((2, 1, 1)))).certificate.welfare == 2.0


def test_what_is_refused(monkeypatch):
    with pytest.raises(vsg.GameError, match="StagHunt is not a one-shot game.*horizon 1"):
        mediated(models.StagHunt())
    batch = vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), horizon=1, batched=True, name="three")
    with pytest.raises(vsg.GameError, match="three is a batch"):
        mediated(batch)
    with pytest.raises(vsg.GameError, match="the objective is 'power'.*an agent: row, col"):
        mediated(models.Chicken(), "power")
    monkeypatch.setattr(import_module("vsg_ppl.mediated"), "LARGEST", 3)
    with pytest.raises(vsg.GameError, match="a state has 4 joint actions; 3 are allowed"):
        mediated(models.Chicken())
    assert best_welfare(tabulate(models.Chicken())) is None
    assert best_welfare(tabulate(models.StagHunt())) is None


def test_best_law_of_nothing_at_stake():
    law = best_law(np.zeros((2, 2, 2)), [np.ones(2, bool)] * 2, Aim("fairness", ("a", "b")))
    assert law.sum() == pytest.approx(1.0) and (law >= 0).all()
