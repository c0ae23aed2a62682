"""Opponent models: counts, tables and networks agree with what they should."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim

import vsg_ppl as vsg
from vsg_ppl.guides import CountedOpponent, NeuralOpponent, TabularOpponent
from vsg_ppl.models import GridGame, PrisonersDilemma, Soccer, Thermostat
from vsg_ppl.reading import log_probabilities


def test_counts_are_a_dirichlet_mean():
    table = vsg.tabulate(GridGame(size=2))
    model = CountedOpponent(table, "b", weight=3.0)
    generator = torch.Generator().manual_seed(0)
    states = torch.randint(len(table.states), (200,), generator=generator)
    actions = torch.randint(5, (200,), generator=generator)
    model.observe(torch.zeros(200).long(), states, actions)
    for s in range(len(table.states)):
        for a in range(5):
            count = int(((states == s) & (actions == a)).sum())
            expected = (count + 3 / 5) / (int((states == s).sum()) + 3)
            assert model.log_table().exp()[0, s, a].item() == pytest.approx(expected, abs=1e-12)


def test_counts_forget_the_first_half():
    table = vsg.tabulate(PrisonersDilemma())
    model = CountedOpponent(table, "col", weight=1.0)
    zero, one = torch.zeros(10).long(), torch.ones(10).long()
    for k in range(100):
        model.observe(zero, zero, zero if k < 50 else one)
    assert len(model.buffer) == 50
    assert model.log_table().exp()[0, 0, 1].item() == pytest.approx(500.5 / 501)


def test_counts_keep_times_apart_with_a_horizon():
    table = vsg.tabulate(Thermostat(horizon=3))
    model = CountedOpponent(table, "heater", weight=0.0)
    model.observe(torch.tensor([2]), torch.tensor([1]), torch.tensor([1]))
    assert model.counts.nonzero().tolist() == [[2, 1, 1]]


def test_an_action_that_is_not_available_stays_so():
    """In soccer's end state only standing is; neither learning nor a network changes that."""
    table = vsg.tabulate(Soccer(rows=2, columns=3))
    ruled_out = table.log_priors[1][0] == -torch.inf
    assert ruled_out.any()
    for model in (TabularOpponent(table, "b"), NeuralOpponent(table, "b")):
        assert (model.log_table().exp()[ruled_out] == 0).all()
        assert torch.allclose(model.log_table().exp().sum(-1), torch.tensor(1.0).double())


@pytest.mark.parametrize("kind", [TabularOpponent, NeuralOpponent, CountedOpponent])
def test_the_table_is_what_the_program_samples(kind):
    """`log_table` is a short cut; the enumerated program must say the same."""
    table = vsg.tabulate(Thermostat(horizon=4))
    model = kind(table, "heater")

    def program(state, t):
        model(state, t=t)

    read = log_probabilities(table, "heater", program)
    assert torch.allclose(read[0].exp(), model.log_table().exp().expand(read.shape[1:]), atol=1e-12)


def test_a_network_learns_observed_actions_by_svi():
    """Maximum likelihood of actions that depend on the state, as an ordinary Pyro program."""
    table = vsg.tabulate(GridGame(size=2))
    truth = torch.nn.functional.one_hot(torch.arange(len(table.states)) % 5, 5)
    model = NeuralOpponent(table, "b", hidden=(32,))
    states = table.states.tensors()
    actions = truth.argmax(-1)

    def observed():
        with pyro.plate("plays", len(actions)):
            poutine.condition(model, {"b": actions})(states)

    optimiser = PyroOptim(torch.optim.Adam, {"lr": 0.02})
    svi = SVI(observed, lambda: None, optimiser, Trace_ELBO())
    for _ in range(800):
        svi.step()
    assert (model.log_table()[0].argmax(-1) == actions).all()
