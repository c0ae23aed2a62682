"""The differential game and its changes: hills and rewards against formulas in plain NumPy."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from vsg_ppl.arena import Arena
from vsg_ppl.models import Differential

GAMES = {
    "as printed": Differential(),
    "public code": Differential(width=3**0.5),
    "swapped": Differential(peak=-5.0, basin=5.0),
    "moved": Differential(peak=(5.0, -3.0)),
    "three": Differential(n_agents=3, peak=(5.0, 4.0, 6.0), basin=(-5.0, -6.0, -4.0)),
    "vectors": Differential(dims=2),
    "unequal": Differential(share=0.5, cost=0.02),
    "all": Differential(4.0, (-3.0, -4.0, -5.0), 2.0, n_agents=3, dims=2, share=0.5, cost=0.01),
}


@pytest.fixture(params=GAMES)
def game(request):
    return GAMES[request.param]


def told(game, actions):
    """Rewards (N,) of one play, actions (N, dims), from the docstring."""
    peak, basin = (np.ones(game.n_agents) * place for place in (game.peak, game.basin))
    wide, narrow = 0.0, 10.0
    for i in range(game.n_agents):
        for number in actions[i]:
            wide -= 0.8 * ((number - basin[i]) / game.width) ** 2
            narrow -= (number - peak[i]) ** 2
    hill = max(wide, narrow)
    others = [game.share * hill - game.cost * float(a @ a) for a in actions[1:]]
    return np.array([hill, *others])


def shaped(game, actions):
    """Actions (..., N, dims) as the agents choose them."""
    parts = actions.unbind(-2)
    return parts if game.dims > 1 else [part[..., 0] for part in parts]


def top(game, which):
    """The wide top or the narrow one, (N, dims)."""
    return torch.tensor(game.tops[which], dtype=torch.float64)[:, None].repeat(1, game.dims)


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


@pytest.mark.parametrize(("numbers", "share"), [(3, 0.106), (4, 0.0555), (5, 0.0297)])
def test_the_narrow_hill_in_many_dimensions(numbers, share):
    """The hills meet on a sphere; where Monte Carlo finds it, agents or `dims` make no matter."""
    actions = 20 * np.random.default_rng(0).random((400_000, numbers)) - 10
    wide, narrow = -0.8 * ((actions + 5) ** 2).sum(1) / 9, 10 - ((actions - 5) ** 2).sum(1)
    found = np.mean(narrow > wide)
    assert found == pytest.approx(share, rel=0.04)
    game = Differential(n_agents=numbers)
    reward = game.reward(*torch.tensor(actions).unbind(1)).numpy()
    assert np.allclose(reward, np.maximum(wide, narrow))


def test_rewards_told_again(game):
    actions = 20 * np.random.default_rng(1).random((500, game.n_agents, game.dims)) - 10
    actions[:250] = np.clip(top(game, 1).numpy() + 0.2 * actions[:250], -10, 10)
    found = torch.stack(game.rewards(*shaped(game, torch.tensor(actions))), -1)
    assert np.allclose(found, np.array([told(game, play) for play in actions]), atol=1e-12)
    assert torch.equal(found[:, 0], game.reward(*shaped(game, torch.tensor(actions))))


@pytest.mark.parametrize("which", [0, 1])
def test_nobody_climbs_from_a_top(game, which):
    """Each agent's own gradient is 0 there, and its own curvature is negative."""
    at = top(game, which)
    for i in range(game.n_agents):

        def own(action, i=i):
            play = torch.cat([at[:i], action[None], at[i + 1 :]])
            return game.rewards(*shaped(game, play))[i]

        assert torch.autograd.functional.jacobian(own, at[i]).abs().max() < 1e-12
        assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(own, at[i])).max() < -0.05


def best_alone(game, at, i):
    """What the agent gains at most by a leap in all its numbers alike, from a top."""
    leaps = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    plays = at.repeat(len(leaps), 1, 1)
    plays[:, i] = leaps[:, None]
    stays = game.rewards(*shaped(game, at))[i]
    return float(game.rewards(*shaped(game, plays))[i].max() - stays)


def test_the_narrow_top_is_an_equilibrium(game):
    gains = [best_alone(game, top(game, 1), i) for i in range(game.n_agents)]
    assert max(gains) <= 1e-6
    if game.cost == 0:
        assert game.reward(*shaped(game, top(game, 1))) == 10.0


def test_the_wide_top_may_be_left_alone(game):
    """Not with the peak at (5, −3): the second's places are 2 apart, and the first leaps."""
    peak, basin = (np.ones(game.n_agents) * place for place in (game.peak, game.basin))
    squares = game.dims * (peak - basin) ** 2
    gains = [best_alone(game, top(game, 0), i) for i in range(game.n_agents)]
    assert (max(gains) <= 1e-6) == (min(squares.sum() - squares) >= 10)
    if game is GAMES["moved"]:
        assert gains == pytest.approx([6.0, 0.0], abs=1e-6)


def test_the_program_pays_the_formula(game):
    for plays in (None, 7):
        with poutine.trace() as trace:
            if plays is None:
                game.step(game.initial())
            else:
                with pyro.plate("plays", plays):
                    game.step(game.initial())
        nodes = trace.trace.nodes
        actions = [nodes[agent]["value"] for agent in game.agents]
        shape = (() if plays is None else (plays,)) + ((game.dims,) if game.dims > 1 else ())
        assert {action.shape for action in actions} == {shape}
        for agent, reward in zip(game.agents, game.rewards(*actions), strict=True):
            assert torch.equal(nodes[f"O_{agent}"]["fn"].log_factor, reward)


def test_many_plays_in_an_arena(game):
    arena = Arena(game, plays=3)
    arena.reset()
    at = torch.stack([top(game, 0), top(game, 1), torch.zeros(game.n_agents, game.dims)]).float()
    actions = {agent: at[:, i] / 10 for i, agent in enumerate(game.agents)}
    wanted = np.array([told(game, play) for play in at.double().numpy()])
    assert np.allclose(arena.step(actions), wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["moved", "all"])
def test_it_can_be_learnt(name):
    game = GAMES[name]
    found = vsg.mai(game, episodes=1, steps=2, plays=2)
    assert found.agents == game.agents and found.rewards.shape == (1, 2, game.n_agents)


def test_names():
    assert Differential().agents == ("first", "second")
    assert Differential(n_agents=3).agents == ("agent1", "agent2", "agent3")


def test_what_it_refuses():
    with pytest.raises(vsg.GameError, match="the width is 0"):
        Differential(width=0.0)
    with pytest.raises(vsg.GameError, match="beyond ±10"):
        Differential(peak=12.0)
    with pytest.raises(vsg.GameError, match="the basin is .*, beyond ±10"):
        Differential(basin=(0.0, float("nan")))
    with pytest.raises(vsg.GameError, match="the peak has 3 numbers for 2 agents"):
        Differential(peak=(5.0, 4.0, 3.0))
    with pytest.raises(vsg.GameError, match="1 agents with 1 numbers each"):
        Differential(n_agents=1)
    with pytest.raises(vsg.GameError, match="at least 2 agents with 1"):
        Differential(dims=0)
    with pytest.raises(vsg.GameError, match="the share is -1; it must be positive"):
        Differential(share=-1.0)
    with pytest.raises(vsg.GameError, match="the cost is -0.1; it must not be negative"):
        Differential(cost=-0.1)
    with pytest.raises(vsg.GameError, match="sampled SVI"):
        vsg.tabulate(Differential())
