from collections import Counter
from itertools import product

import pytest

import vsg_ppl as vsg
from tests.models.policies import worst_cycle
from tests.models.readings import look_up
from vsg_ppl.models import Congestion
from vsg_ppl.models.congestion import Phase

WEIGHTS = [1, 2, 4, 6, 8]


def oracle(game, phase, picks):
    """Rewards and the next phase, counted."""
    crowd = Counter(picks)
    rewards = [WEIGHTS[k] * crowd[k] - (game.penalty if phase == 1 else 0) for k in picks]
    limit = game.n_agents / 2 if phase == 0 else game.n_agents / 4
    return rewards, int(max(crowd.values()) > limit)


def potential(picks):
    """Rosenthal's: each facility pays its first visitor w, the second 2 w, and so on."""
    return sum(WEIGHTS[k] * n for k, total in Counter(picks).items() for n in range(1, total + 1))


@pytest.mark.parametrize(
    "game",
    [
        Congestion(),
        Congestion(n_agents=3, facilities=5, penalty=0.1),
        Congestion(n_agents=5, facilities=2),
        Congestion(n_agents=1, facilities=2),
    ],
)
def test_the_rules_at_every_joint_action(game):
    table = vsg.tabulate(game)
    for k, phase in enumerate(table.states):
        for picks in product(range(game.facilities), repeat=game.n_agents):
            expected, following = oracle(game, phase, picks)
            law, rewards = look_up(table, k, picks)
            assert rewards == expected
            assert law == {following: 1.0}


def test_as_large_as_in_the_source():
    """8 agents and 4 facilities: 65,536 joint actions."""
    game = Congestion(n_agents=8)
    table = vsg.tabulate(game)
    assert len(table.states) == 2
    for picks, safe, distancing in [
        (
            (3, 3, 3, 3, 2, 2, 2, 2),
            0,
            1,
        ),  # half at one place is not too much; a quarter's excess is
        ((3, 3, 3, 3, 3, 2, 2, 2), 1, 1),
        ((3, 3, 2, 2, 1, 1, 0, 0), 0, 0),
        ((3, 3, 3, 2, 2, 1, 0, 0), 0, 1),
    ]:
        for k, following in enumerate((safe, distancing)):
            law, rewards = look_up(table, k, picks)
            assert law == {following: 1.0}
            assert rewards == oracle(game, k, picks)[0]


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_is_a_potential_game(phase):
    """Every unilateral change of facility changes the mover's reward as it does the potential."""
    game = Congestion()
    table = vsg.tabulate(game)
    for picks in product(range(4), repeat=4):
        for i, other in product(range(4), repeat=2):
            moved = (*picks[:i], other, *picks[i + 1 :])
            gain = look_up(table, phase, moved)[1][i] - look_up(table, phase, picks)[1][i]
            assert gain == potential(moved) - potential(picks)


def test_is_not_an_exact_markov_potential_game():
    """The agents move the phase, and what others get there is no part of a common potential."""
    assert worst_cycle(vsg.tabulate(Congestion()), seed=0, trials=20) > 1
    # With two facilities three agents always are too many at one: the phase moves by itself.
    by_itself = vsg.tabulate(Congestion(n_agents=3, facilities=2))
    assert worst_cycle(by_itself, seed=0, trials=20) < 1e-9


@pytest.mark.parametrize(("n_agents", "facilities"), [(4, 4), (4, 5), (4, 3), (3, 4)])
def test_the_way_back(n_agents, facilities):
    """Distancing can end if and only if there is room at a quarter of the agents each."""
    table = vsg.tabulate(Congestion(n_agents=n_agents, facilities=facilities))
    can_end = any(
        look_up(table, Phase.DISTANCING, picks)[0] == {Phase.SAFE: 1.0}
        for picks in product(range(facilities), repeat=n_agents)
    )
    assert can_end == (facilities * (n_agents // 4) >= n_agents)


def test_nobody():
    with pytest.raises(vsg.GameError, match="at least one"):
        Congestion(n_agents=0)
