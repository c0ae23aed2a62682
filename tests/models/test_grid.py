from itertools import product

import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from tests.models.readings import look_up
from vsg_ppl.handlers import enumerate_sites
from vsg_ppl.models import GridGame
from vsg_ppl.models.grid import Cells

STEPS = {"NORTH": (-1, 0), "SOUTH": (1, 0), "EAST": (0, 1), "WEST": (0, -1), "STAY": (0, 0)}


def oracle(game, a, b, moves):
    """Cells as pairs, one case after the other: the law of the next state and the rewards."""
    n = game.size
    here = [divmod(a, n), divmod(b, n)]
    targets = []
    for (row, column), move in zip(here, moves, strict=True):
        target = (row + STEPS[move][0], column + STEPS[move][1])
        inside = 0 <= target[0] < n and 0 <= target[1] < n
        targets.append(target if inside else (row, column))
    crash = targets[0] == targets[1] or targets == here[::-1]
    after = here if crash else targets
    law = {}
    for cells, probability in ((after, 1 - game.slip), (here, game.slip)):
        key = tuple(row * n + column for row, column in cells)
        law[key] = law.get(key, 0) + probability
    goals = [(0, n - 1), (0, 0)]
    paid = [float(here[i] == goals[i]) for i in range(2)]
    if crash:
        paid = [reward - game.crash * (1 - game.slip) for reward in paid]
    return {key: p for key, p in law.items() if p > 0}, paid


@pytest.mark.parametrize(
    "game",
    [GridGame(), GridGame(crash=0.3, slip=0.2), GridGame(size=2, crash=1), GridGame(slip=0)],
)
def test_the_rules_in_every_state_and_joint_action(game):
    table = vsg.tabulate(game)
    assert [tuple(state) for state in table.states] == list(product(range(game.size**2), repeat=2))
    names = table.actions[0].names()
    for k, state in enumerate(table.states):
        for i, j in product(range(5), repeat=2):
            law, rewards = look_up(table, k, (i, j))
            expected, paid = oracle(game, *state, (names[i], names[j]))
            assert {tuple(label): p for label, p in law.items()} == pytest.approx(expected)
            assert rewards == pytest.approx(paid)


def test_from_the_corners_they_never_meet():
    table = vsg.tabulate(GridGame(start="corners"))
    assert len(table.states) == 9 * 8
    assert all(state.a != state.b for state in table.states)
    first = [table.states[k] for k in table.initial[0].nonzero().flatten()]
    assert first == [Cells(6, 8)]


def test_twenty_by_twenty():
    """160,000 states: all pairs of cells can be first states."""
    game = GridGame(size=20)
    with enumerate_sites(0) as tables:
        game.initial()
    assert [site.size for site in tables.sites.values()] == [400, 400]
    cells = torch.arange(400)
    state = Cells(cells.repeat_interleave(400), cells.repeat(400))
    with enumerate_sites(1):
        following = game.step(state)
    assert following.a.shape == following.b.shape == (2, 5, 5, 160_000)


def test_twenty_by_twenty_table():
    table = vsg.tabulate(GridGame(size=20))
    assert len(table.states) == 20**4
    assert table.probabilities.shape[-1] == 2
    assert [tuple(rewards.shape) for rewards in table.rewards] == [(1, 1, 160_000, 1, 1)] * 2


def test_starts_anywhere():
    seen = {tuple(int(c) for c in poutine.trace(GridGame(size=2).initial)()) for _ in range(300)}
    assert len(seen) == 16


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"size": 1}, "has 1 cells"),
        ({"slip": 1.5}, "slip is 1.5"),
        ({"start": "corner"}, "'anywhere' or 'corners'"),
    ],
)
def test_bad_parameters(parameters, words):
    with pytest.raises(vsg.GameError, match=words):
        GridGame(**parameters)
