"""The differential game: its two hills, and the program against the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from vsg_ppl.models import Differential


def test_the_hills():
    game = Differential()
    grid = torch.linspace(-10, 10, 401, dtype=torch.float64)
    reward = game.reward(grid[:, None], grid[None])
    place = np.unravel_index(int(reward.argmax()), reward.shape)
    assert [float(grid[k]) for k in place] == pytest.approx([5.0, 5.0])
    assert float(reward.max()) == 10.0
    narrow = 10 - (grid[:, None] - 5) ** 2 - (grid[None] - 5) ** 2
    wide = -0.8 * (((grid[:, None] + 5) / 3) ** 2 + ((grid[None] + 5) / 3) ** 2)
    assert torch.allclose(reward, torch.maximum(narrow, wide))
    share = float((narrow > wide).double().mean())
    assert share == pytest.approx(0.208, abs=2e-3)  # of the square


def test_both_tops_are_equilibria():
    """Nobody gains alone: on a fine grid."""
    game, grid = Differential(), torch.linspace(-10, 10, 2001, dtype=torch.float64)
    for top in (5.0, -5.0):
        other = torch.full_like(grid, top)
        best = grid[game.reward(grid, other).argmax()]
        assert float(best) == pytest.approx(top, abs=1e-9)


def test_the_program_pays_the_formula():
    game = Differential(peak=4.0, basin=-3.0, width=2.0)
    trace = poutine.trace(game.step).get_trace(torch.tensor(0))
    first, second = (trace.nodes[agent]["value"] for agent in game.agents)
    for agent in game.agents:
        paid = trace.nodes[f"O_{agent}"]["fn"].log_factor
        assert torch.equal(paid, game.reward(first, second))
    assert game.reward(torch.tensor(4.0), torch.tensor(4.0)) == 10.0


def test_what_it_refuses():
    with pytest.raises(vsg.GameError, match="the width is 0"):
        Differential(width=0.0)
    with pytest.raises(vsg.GameError, match="beyond ±10"):
        Differential(peak=12.0)
    with pytest.raises(vsg.GameError, match="sampled SVI"):
        vsg.tabulate(Differential())
