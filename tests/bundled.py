"""The bundled games by kind, for tests that go through all of them."""

import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.facing import Facing, facing
from vsg_ppl.game import is_mean_field

#: Classes of the games among agents, and of those of one agent amid a crowd.
AMONG_AGENTS = {name: game for name, game in models.GAMES.items() if not is_mean_field(game())}
AMID_A_CROWD = {name: game for name, game in models.GAMES.items() if is_mean_field(game())}

#: The mean-field games with few states and decisions.
SMALL_CROWDS = {
    "building_evacuation": models.BuildingEvacuation(floors=2, rows=2, columns=3, horizon=3),
    "crowd_motion": models.CrowdMotion(rows=3, columns=4, horizon=5),
    "equilibrium_price": models.EquilibriumPrice(store=2, most_made=1, most_ordered=1, horizon=3),
    "linear_quadratic": models.LinearQuadratic(reach=2, steer=1, horizon=3),
    "malware": models.Malware(levels=5),
    "random_linear": models.RandomLinear(size=3, horizon=3),
    "susceptible_infected": models.SusceptibleInfected(horizon=4),
    "torus_crowd": models.TorusCrowd(size=3, horizon=4),
    "treasure_hunting": models.TreasureHunting(horizon=3),
}


def crowds(times: int, states: int, actions: int, seed: int = 0) -> torch.Tensor:
    """A random law of state and action at each time, (times, states, actions)."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.rand(times, states * actions, generator=generator, dtype=torch.float64)
    law = -law.clamp_min(1e-9).log()
    return (law / law.sum(-1, keepdim=True)).reshape(times, states, actions)


def faced(name: str) -> Facing:
    """A bundled mean-field game, small, as the game of one agent against some crowd."""
    table = vsg.mean_field_table(SMALL_CROWDS.get(name, AMID_A_CROWD[name]()))
    crowd = crowds(table.times, len(table.states), table.actions.size)
    return facing(table, crowd if table.horizon is not None else crowd[0])


def instances(small: dict[str, vsg.Game]) -> dict[str, vsg.Game]:
    """Every bundled game, ready to be played: some smaller, the mean-field ones against a crowd."""
    return {
        name: faced(name) if name in AMID_A_CROWD else small.get(name, game())
        for name, game in models.GAMES.items()
    }
