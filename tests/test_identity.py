"""Games that are told apart, and games that are the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.identity import identity
from vsg_ppl.models import Routing
from vsg_ppl.settings import Options


class Plain:
    """Says nothing of itself."""

    agents = ("ann", "bob")
    horizon = 2

    def __init__(self, value):
        self.value = value

    def initial(self):
        return torch.tensor(0.0)

    def step(self, state):
        law = dist.Uniform(-1.0, 1.0)
        for agent in self.agents:
            vsg.optimality(agent, vsg.act(agent, law) * self.value)
        return state


@dataclass
class Quiet(Plain):
    """Keeps from its repr what it holds."""

    value: object = field(repr=False)


def long(at):
    found = torch.zeros(2000)
    found[at] = 1e-9
    return found


DIFFERENT = [
    (1.0, 1.0 + 1e-12),
    (1, 1.5),
    (long(700), long(701)),
    (torch.zeros(2), torch.zeros(2).double()),
    (torch.zeros(2), torch.zeros(1, 2)),
    (np.arange(3), np.arange(3) + 1),
    ([1, (2, long(3))], [1, (2, long(4))]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (Plain(1), Plain(2)),
    (nx.path_graph(3), nx.path_graph(4)),
    (max, min),
]


@pytest.mark.parametrize("kind", [Plain, Quiet])
@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_tell_games_apart(kind, one, other):
    assert identity(kind(one)) == identity(kind(one)) != identity(kind(other))


def test_what_was_computed_and_kept_does_not():
    game = Routing("braess")
    before = identity(game)
    assert game.roads.graph and game.demand(game.states).numel()
    assert identity(game) == before == identity(Routing("braess"))


def test_what_holds_itself():
    game = Plain(1)
    game.value = [game]
    assert identity(game) == identity(game)


def test_another_games_checkpoint(tmp_path):
    options: Options = {"episodes": 2, "start": "networks", "checkpoint": tmp_path / "run.pt"}
    vsg.iddpg(Plain(1.0), **options)
    with pytest.raises(vsg.GameError, match="another run: it has game Plain, .* and this run game"):
        vsg.iddpg(Plain(1000.0), **options)
