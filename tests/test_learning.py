"""Tables of what was learnt, where learners did not see a table."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import finite_view
from vsg_ppl.arena import Arena
from vsg_ppl.finite_view import StepView, TableView
from vsg_ppl.game import Limited
from vsg_ppl.learning import Learning
from vsg_ppl.models import Soccer, StagHunt


class Round:
    """A walk around many places."""

    agents, discount = ("ann", "bob"), 0.5

    def __init__(self, places):
        self.places = places

    def initial(self):
        return torch.tensor(0)

    def step(self, place):
        ann, bob = (vsg.act(agent, dist.Categorical(torch.ones(2))) for agent in self.agents)
        for agent in self.agents:
            vsg.optimality(agent, (ann == bob).double())
        return (place + ann + 1) % self.places


def test_a_game_of_more_states_than_learners_see_apart(monkeypatch):
    """They saw the place as a number; the table asks them in every place."""
    monkeypatch.setattr(finite_view, "WIDEST", 10)
    game = Round(11)
    learnt = vsg.mai(game, episodes=1, steps=2)
    assert isinstance(finite_view.view(game, game.agents), StepView)
    tables = learnt.tables()
    assert tables["ann"].shape == (11, 2)
    seen = torch.tensor([[7.0, 0.5, 0.5, 0.5, 0.5]])
    assert torch.allclose(tables["ann"][7], learnt.probabilities["ann"](seen)[0, 0].double())


@pytest.mark.parametrize("game", [Soccer(2, 2), Limited(StagHunt(), 3)])
def test_every_state_looks_as_it_did_while_learning(game, monkeypatch):
    """With a table to see by, and without."""
    for widest, kind in ((finite_view.WIDEST, TableView), (0, StepView)):
        monkeypatch.setattr(finite_view, "WIDEST", widest)
        arena = Arena(game, plays=4)
        assert isinstance(arena.view, kind)
        arena.reset()
        for agent in game.agents:
            everywhere = arena.view.everywhere(agent)
            assert len(everywhere) == (getattr(game, "horizon", None) or 1)
            now = arena.view.table.states.index(arena.state)
            assert torch.allclose(everywhere[0][now], arena.sees(agent))


def test_a_horizon_of_a_table_that_learners_did_not_see(monkeypatch):
    monkeypatch.setattr(finite_view, "WIDEST", 0)
    learnt = vsg.mai(Limited(StagHunt(), 3), episodes=1)
    assert learnt.tables()["row"].shape == (3, 2, 2)
    assert learnt.certify().nash_gap >= 0


class Endless(Round):
    def step(self, place):
        return super().step(place) + 0.5


def test_a_game_without_a_table():
    learnt = vsg.mai(Endless(3), episodes=1, steps=2)
    with pytest.raises(vsg.GameError, match="a state is made of integer tensors"):
        learnt.certify()


def test_numbers_have_no_table():
    learnt = Learning(StagHunt(), "sac", ("row", "col"), torch.zeros(1, 1, 2))
    with pytest.raises(vsg.GameError, match="sac learnt are not probabilities .*by_search"):
        learnt.certify()
