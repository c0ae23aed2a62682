"""`from_gambit`, `to_gambit` and `write_nfg`, against Gambit and against each other."""

import io
import re
import struct
import sys
from fractions import Fraction
from itertools import product

import numpy as np
import pygambit
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.errors import MissingExtra
from vsg_ppl.interop_gambit import from_gambit, to_gambit, write_nfg
from vsg_ppl.models.arrays import ArrayGame, matrix_game


def bits(x):
    return [struct.pack("<d", value) for value in np.asarray(x).reshape(-1).tolist()]


def labels_of(theirs):
    return [[strategy.label for strategy in player.strategies] for player in theirs.players]


def agents_of(theirs):
    return tuple(player.label for player in theirs.players)


def arrays_of(theirs):
    return np.stack([np.vectorize(Fraction, otypes=[object])(a) for a in theirs.to_arrays()])


# --- random games --------------------------------------------------------------------------------

ANY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), min_size=1)
FILE_LABELS = (ANY | st.text('a"\\ {}', min_size=1)).filter(lambda s: not s.endswith("\\"))
GAMBIT_LABELS = st.from_regex(r"[!-~]+( [!-~]+){0,2}", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9).map(float)


@st.composite
def one_shot_games(draw, names):
    n = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    count = n * int(np.prod(sizes))
    some = draw(st.lists(NUMBERS, min_size=1, max_size=12))
    numbers = np.resize(np.array(some), count).reshape(n, 1, *sizes)
    return ArrayGame(
        torch.tensor(numbers, dtype=torch.float64),
        agents=tuple(draw(st.lists(names, min_size=n, max_size=n, unique=True))),
        labels=[draw(st.lists(names, min_size=k, max_size=k, unique=True)) for k in sizes],
        name=draw(names),
    )


@settings(max_examples=150)
@given(game=one_shot_games(FILE_LABELS))
def test_a_file_keeps_every_bit_and_every_label(game, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.nfg"
    write_nfg(game, path)
    again = from_gambit(path)
    assert bits(again.rewards) == bits(game.rewards)
    assert (again.agents, again.labels, again.name) == (game.agents, game.labels, game.name)


@settings(max_examples=100)
@given(game=one_shot_games(GAMBIT_LABELS))
def test_gambit_keeps_every_label_and_every_payoff(game):
    theirs = to_gambit(game)
    exact = np.vectorize(Fraction, otypes=[object])(game.rewards[:, 0].numpy())
    assert (arrays_of(theirs) == exact).all()
    assert (agents_of(theirs), labels_of(theirs)) == (game.agents, game.labels)
    assert theirs.title == game.name
    again = from_gambit(theirs)
    assert (again.agents, again.labels, again.name) == (game.agents, game.labels, game.name)
    assert torch.equal(again.rewards, game.rewards)  # -0.0 is 0 among fractions


@settings(max_examples=50)
@given(game=one_shot_games(st.from_regex(r'[a-z"]+( [0-9]+)?', fullmatch=True)))
def test_gambit_reads_what_is_written(game, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "written.nfg"
    write_nfg(game, path)
    theirs = pygambit.read_nfg(str(path))
    assert (agents_of(theirs), labels_of(theirs)) == (game.agents, game.labels)
    assert bits(np.vectorize(float)(arrays_of(theirs))) == bits(game.rewards[:, 0] + 0.0)


# --- Gambit's games ------------------------------------------------------------------------------

TREE = r"""EFG 2 R "Entry" { "Incumbent" "Entrant" }
p "" 2 1 "enter?" { "in" "out" } 0
p "" 1 1 "fight?" { "fight" "yield" } 0
t "" 1 "war" { -1/3 -1 }
c "" 1 "weather" { "sun" 1/3 "rain" 2/3 } 0
t "" 2 "fair" { 1 2 }
t "" 3 "foul" { 0 0.5 }
t "" 4 "alone" { 3 0 }
"""


def test_a_tree_becomes_its_strategic_form():
    theirs = pygambit.read_efg(io.BytesIO(TREE.encode()))
    game = from_gambit(theirs)
    assert (game.name, game.agents) == ("Entry", ("Incumbent", "Entrant"))
    assert game.labels == labels_of(theirs)
    # by hand: yielding to who enters is worth a third of (1, 2) and two thirds of (0, 1/2)
    incumbent = [[float(Fraction(-1, 3)), 3.0], [float(Fraction(1, 3)), 3.0]]
    assert game.rewards[0, 0].tolist() == incumbent
    assert game.rewards[1, 0].tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_players_of_no_name_go_by_number():
    class Game:
        title = ""

        class _Of:
            def __init__(self, label, strategies=()):
                self.label, self.strategies = label, strategies

        players = [_Of("", [_Of("x"), _Of("")]), _Of("b", [_Of("")])]

        def to_arrays(self):
            return [np.array([[1], [2]]), np.array([[3], [4]])]

    game = from_gambit(Game())
    assert (game.agents, game.labels, game.name) == (("1", "b"), [["x", "2"], ["1"]], "game")
    Game.players[1].label = "1"
    with pytest.raises(vsg.GameError, match="two players are named '1'. Try: rename"):
        from_gambit(Game())


@pytest.mark.parametrize("seed", range(4))
def test_same_equilibria_of_zero_sum_games(seed):
    payoffs = np.random.default_rng(seed).integers(-9, 10, (3, 4)).astype(float)
    theirs = pygambit.Game.from_arrays(payoffs, -payoffs)
    value = vsg.zero_sum(from_gambit(theirs)).certificate.values["1"]
    found = pygambit.nash.lcp_solve(theirs, rational=True).equilibria[0]
    assert value == pytest.approx(float(found.payoff(list(theirs.players)[0])), abs=1e-6)


@pytest.mark.parametrize("game", [models.PrisonersDilemma(), models.BattleOfTheSexes()])
@pytest.mark.parametrize("solve", [vsg.nash, vsg.exact_nash])
def test_an_equilibrium_is_one_of_gambits(game, solve):
    theirs = to_gambit(game)
    solution = solve(game)
    row, col = (solution.policies[agent].reshape(-1).numpy() for agent in ("row", "col"))
    known = [
        [np.array([float(profile[s]) for s in player.strategies]) for player in theirs.players]
        for profile in pygambit.nash.enummixed_solve(theirs, rational=True).equilibria
    ]
    assert any(np.allclose(row, a, atol=2e-3) and np.allclose(col, b, atol=2e-3) for a, b in known)


# --- states, availability ------------------------------------------------------------------------


class OneDoorShut:
    """One step in one of two states; in state 1 the row agent has two of three actions."""

    agents, horizon = ("row", "col"), 1

    def initial(self):
        return pyro.sample("state", dist.Categorical(torch.ones(2)))

    def step(self, state):
        doors = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
        row = vsg.act("row", dist.Categorical(doors[state]), labels=["left", "middle", "right"])
        col = vsg.act("col", dist.Categorical(torch.ones(2)), labels=["L", "R"])
        vsg.optimality("row", (10.0 * state + row + 0.1 * col).double())
        vsg.optimality("col", -(row + state).double())
        return state


@pytest.mark.parametrize(("state", "doors"), [(0, [0, 1, 2]), (1, [0, 2])])
def test_a_state_is_named_and_shut_doors_are_left_out(state, doors, tmp_path):
    theirs = to_gambit(OneDoorShut(), state=state)
    assert labels_of(theirs) == [[["left", "middle", "right"][k] for k in doors], ["L", "R"]]
    write_nfg(OneDoorShut(), tmp_path / "door.nfg", state=state)
    written = from_gambit(tmp_path / "door.nfg")
    assert written.labels == labels_of(theirs)
    table = vsg.tabulate(OneDoorShut())
    for (i, row), col in product(enumerate(doors), range(2)):
        for agent in range(2):
            paid = float(table.rewards[agent][0, 0, state].expand(3, 2)[row, col])
            assert arrays_of(theirs)[agent, i, col] == Fraction(paid)
            assert float(written.rewards[agent, 0, i, col]) == paid


def test_from_file_to_gambit_and_back(tmp_path):
    path = tmp_path / "pd.nfg"
    write_nfg(models.PrisonersDilemma(), path)
    text = path.read_text()
    assert text.startswith(
        'NFG 1 R "PrisonersDilemma" { "row" "col" }\n{ { "COOPERATE" "DEFECT" }\n'
    )
    again = from_gambit(str(path))
    solution = vsg.exact_nash(again)
    assert solution.policy("row", 0)["DEFECT"] == pytest.approx(1.0)


@pytest.mark.parametrize("write", [to_gambit, lambda g, **k: write_nfg(g, "/nowhere", **k)])
def test_what_gambit_cannot_hold_is_said(write):
    with pytest.raises(vsg.GameError, match="of one step, and StagHunt has no horizon. Try: "):
        write(models.StagHunt())
    with pytest.raises(vsg.GameError, match="of one step, and arrays has 3 steps"):
        write(vsg.from_arrays(torch.zeros(1, 1, 2), torch.ones(1, 2, 1), horizon=3))
    with pytest.raises(vsg.GameError, match="2 states: 0, 1. Try: state=0"):
        write(OneDoorShut())
    with pytest.raises(vsg.GameError, match="the state 5 is not one of the 2 states"):
        write(OneDoorShut(), state=5)
    with pytest.raises(vsg.GameError, match="a batch of 7 games"):
        write(vsg.from_arrays(torch.zeros(7, 2, 1, 2, 2), batched=True))
    with pytest.raises(vsg.GameError, match="two actions of 'row' are named 'x'"):
        write(matrix_game([[1, 2], [3, 4]], labels=[["x", "x"], ["a", "b"]]))


@pytest.mark.parametrize("label", ["é", " a", "a ", "a  b", "new\nline"])
def test_labels_that_gambit_does_not_take(label):
    game = matrix_game([[1, 2], [3, 4]], labels=[["x", "y"], ["a", label]])
    with pytest.raises(vsg.GameError, match=re.escape(repr(label)) + ".*`write_nfg`"):
        to_gambit(game)


@pytest.mark.parametrize("label", ["a\\", "a\rb", "\0", "\ud800"])
def test_labels_that_no_file_holds(label, tmp_path):
    game = matrix_game([[1, 2], [3, 4]], labels=[["x", "y"], ["a", label]])
    with pytest.raises(vsg.GameError, match="the label "):
        write_nfg(game, tmp_path / "x.nfg")
    assert not (tmp_path / "x.nfg").exists()


def test_other_sources(tmp_path):
    with pytest.raises(
        vsg.GameError, match=r"not a \.nfg file. Try: .*pygambit\.read_efg\('x\.efg"
    ):
        from_gambit("x.efg")
    with pytest.raises(vsg.GameError, match="a path or a pygambit.Game, not a int"):
        from_gambit(3)
    theirs = pygambit.Game.from_arrays([[Fraction(10) ** 400]], [[0]])
    with pytest.raises(vsg.GameError, match="too large for float64"):
        from_gambit(theirs)


def test_without_gambit(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pygambit", None)
    with pytest.raises(MissingExtra, match=r"needs pygambit, .*: pip install 'vsg_ppl\[interop\]'"):
        to_gambit(models.PrisonersDilemma())
    write_nfg(models.PrisonersDilemma(), tmp_path / "pd.nfg")
    assert from_gambit(tmp_path / "pd.nfg").agents == ("row", "col")
