"""`read_nfg` against Gambit's own reader."""

import re
from fractions import Fraction

import numpy as np
import pygambit
import pytest

import vsg_ppl as vsg
from vsg_ppl.gambit import read_nfg

PAYOFFS_OF_TWO = """NFG 1 R "Selten (IJGT, 75), Figure 2, normal form"
{ "Player 1" "Player 2" } { 3 2 }

1 1/3 0 2 0.25 2 -1 1 0 -7/4 2e-1 .5
"""
PAYOFFS_OF_THREE = """NFG 1 D "three" { "a" "b" "c" }
{ { "up" "down" }
{ "left" "middle" "right" }
{ "in" "out" }
}
"A comment, { 1 2 } and a \\"quotation\\""

1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18
19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
"""
OUTCOMES_OF_TWO = """NFG 1 R "A \\"name\\" with \\ in it" { "Ann" "Bob \\"the\\" B." }

{ { "C" "D" }
{ "C" "D" "" }
}
""

{
{ "both" 3, 3 }
{ "" 1/3 0.1 }
{ "third" 5,0 }
}
1 2 3 3 2 1
"""
OUTCOMES_OF_THREE = """NFG 1 R "" { "a" "b" "" } { { "x" "y" } { "x" "y" } { "x" "y" } }
{ { "" 1, 2, 3 } { "" -4, -5, -6 } }
1 2 1 2 2 1 2 1"""
FILES = [PAYOFFS_OF_TWO, PAYOFFS_OF_THREE, OUTCOMES_OF_TWO, OUTCOMES_OF_THREE]


def written(tmp_path, text):
    path = tmp_path / "game.nfg"
    path.write_text(text, encoding="utf-8")
    return path


def payoffs(game):
    return game.rewards[:, 0].numpy()


def theirs(path):
    """Payoffs (N, A_1, ..., A_N) as Gambit reads them, and its names."""
    game = pygambit.read_nfg(str(path))
    arrays = [np.vectorize(float)(array) for array in game.to_arrays()]
    players = tuple(player.label for player in game.players)
    return (
        np.stack(arrays),
        game.title,
        players,
        [[strategy.label for strategy in player.strategies] for player in game.players],
    )


@pytest.mark.parametrize("text", FILES)
def test_as_gambit_reads_it(tmp_path, text):
    path = written(tmp_path, text)
    game = read_nfg(path)
    arrays, title, players, strategies = theirs(path)
    np.testing.assert_array_equal(payoffs(game), arrays)
    assert game.name == (title or "game.nfg")
    # where a name is missing, Gambit makes up another than ours
    assert [a for a in game.agents if not a.isdigit()] == [p for p in players if p[0] != "_"]
    for ours, known in zip(game.labels, strategies, strict=True):
        assert [a for a in ours if not a.isdigit()] == [
            s for s in known if s[0] != "_" and not s.isdigit()
        ]


@pytest.mark.parametrize("sizes", [(4,), (2, 3), (3, 1), (2, 3, 4), (2, 1, 2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_what_gambit_writes(tmp_path, sizes, seed):
    """Random payoffs, half of them fractions; Gambit writes lists of outcomes."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-9, 10, size=(len(sizes), *sizes))
    below = rng.integers(1, 8, size=numbers.shape)
    arrays = np.vectorize(Fraction)(numbers, below)
    path = written(tmp_path, pygambit.Game.from_arrays(*arrays, title="it's").to_nfg())
    game = read_nfg(path)
    np.testing.assert_array_equal(payoffs(game), np.vectorize(float)(arrays))
    assert game.name == "it's"
    assert game.agents == tuple(str(i + 1) for i in range(len(sizes)))
    assert game.labels == [[str(k + 1) for k in range(size)] for size in sizes]


def test_names_of_numbers_and_of_nothing(tmp_path):
    """A count of strategies names them by number, and so does an empty name."""
    text = 'NFG 1 R "t" { "" "b" } { { "x" "" } 3 } 1 2 3 4 5 6 7 8 9 10 11 12'
    game = read_nfg(written(tmp_path, text))
    assert game.agents == ("1", "b")
    assert game.labels == [["x", "2"], ["1", "2", "3"]]


def test_commas_and_plus_signs_are_read_too(tmp_path):
    """Gambit does not read them everywhere, but files of others have them."""
    game = read_nfg(written(tmp_path, 'NFG 1 R "é" { "a", "b" } { 2, 1 } +1, -2,3 +4e0'))
    assert game.name == "é"
    assert payoffs(game).tolist() == [[[1], [3]], [[-2], [4]]]


def test_outcome_zero_pays_nothing(tmp_path):
    text = 'NFG 1 R "t" { "a" "b" } { { "x" "y" } { "x" "y" } } { { "o" 5 6 } } 1 0 0 1'
    game = read_nfg(written(tmp_path, text))
    assert payoffs(game).tolist() == [[[5, 0], [0, 5]], [[6, 0], [0, 6]]]


@pytest.mark.parametrize("change", [lambda s: s.replace("\n", "\r\n"), lambda s: "\ufeff" + s])
def test_files_of_other_systems(tmp_path, change):
    path = tmp_path / "game.nfg"
    path.write_bytes(change(PAYOFFS_OF_THREE).encode())
    again = read_nfg(written(tmp_path / "..", PAYOFFS_OF_THREE))
    np.testing.assert_array_equal(payoffs(read_nfg(path)), payoffs(again))


def test_it_is_a_game_program(tmp_path):
    table = vsg.tabulate(read_nfg(written(tmp_path, PAYOFFS_OF_THREE)))
    assert (table.agents, table.sizes, table.horizon) == (("a", "b", "c"), (2, 3, 2), 1)
    assert table.actions[1].names() == ["left", "middle", "right"]
    assert table.name == "three"
    # the third joint strategy is (up, middle, in): payoffs 7, 8, 9
    assert [float(reward[0, 0, 0, 0, 1, 0]) for reward in table.rewards] == [7, 8, 9]


HEAD = 'NFG 1 R "t" { "a" "b" } '


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1, column 1", "begins with NFG", "found the end of the file"]),
        ('EFG 2 R "t" { "a" }', ["begins with NFG", "found 'EFG'"]),
        ('NFG 2 R "t" { "a" } { 1 } 0', ["column 5", "version 1", "found '2'"]),
        ('NFG 1 X "t" { "a" } { 1 } 0', ["R or D", "'X'"]),
        ('NFG 1 R { "a" } { 1 } 0', ["the game's title"]),
        ('NFG 1 R "t\n{ a } { 1 }', ["line 1, column 9", "never closed"]),
        ('NFG 1 R "t" { a "b" } { 2 2 }', ["column 15", "player's name", "found 'a'"]),
        ('NFG 1 R "t" { "a" "a" } { 2 2 }', ["two players are named 'a'", "rename"]),
        ('NFG 1 R "t" { "2" "" } { 2 2 }', ["two players are named '2'"]),
        (HEAD + '{ { "x" "x" } { "y" } }', ["two strategies of 'a' are named 'x'"]),
        (HEAD + "{ 2 }", ["strategies of 1 players, and 2 are named"]),
        (HEAD + "{ 2 0 }", ["at least one strategy", "found '0'"]),
        (HEAD + "{ 2 x }", ["a number of strategies", "found 'x'"]),
        (HEAD + "{ 2 999999999 } 1", ["fewer payoffs than"]),
        (HEAD + "{ { } 2 }", ["strategy's name"]),
        (HEAD + "{ 2 1 }\n1 2\n3", ["line 3, column 2", "payoff 2 of 2", "end of the file"]),
        (HEAD + "{ 2 1 }\n1 2", ["payoffs of 1 of 2 joint strategies"]),
        (HEAD + "{ 2 1 }\n1 2 3 4\n5", ["line 3", "all 2 × 1 joint strategies", "found '5'"]),
        (HEAD + "{ 2 1 }\n1 x 3 4", ["line 2, column 3", "such as 2, 0.5 or 1/3", "found 'x'"]),
        (HEAD + "{ 2 1 }\n1 1.5/2 3 4", ["found '1.5/2'"]),
        (HEAD + "{ 2 1 }\n1 1/0 3 4", ["not a finite number", "'1/0'"]),
        (HEAD + "{ 2 1 }\n1 1e999 3 4", ["not a finite number"]),
        (HEAD + "{ 2 1 }\n1 " + "9" * 5000 + "/3 3 4", ["not a finite number", "'99999"]),
        (HEAD + "{ 2 1 }\n1 nan 3 4", ["found 'nan'"]),
        (HEAD + '{ 2 1 } { { "o" 1 2 3 } } 1 1', ["expected '}'", "after 2 payoffs", "found '3'"]),
        (HEAD + "{ 2 1 } { { 1 2 } } 1 1", ["the outcome's name"]),
        (HEAD + '{ 2 1 } { { "o" 1 2 } } 1 2', ["there are 1 outcomes", "found '2'"]),
        (HEAD + '{ 2 1 } { { "o" 1 2 } } 1', ["outcomes of 1 of 2 joint strategies"]),
        (HEAD + '{ 2 1 } { { "o" 1 2 } } 1 1 1', ["outcome numbers of all", "found '1'"]),
        (HEAD + '{ 2 1 } { { "o" 1 2 } } 1 -1', ["the number of an outcome", "'-1'"]),
    ],
)
def test_a_malformed_file_says_where(tmp_path, text, words):
    with pytest.raises(vsg.GameError) as error:
        read_nfg(written(tmp_path, text))
    assert str(error.value).startswith("game.nfg, line ")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("text", FILES)
def test_a_file_cut_short_anywhere_says_where(tmp_path, text):
    text = text.strip()
    for end in range(len(text)):
        if text[:end].strip().endswith(("30 31 32 33 34 35 3", "-7/4 2e-1 .")):
            continue  # a shorter number is a number; a lone point is none, as tested above
        with pytest.raises(vsg.GameError, match=r"game\.nfg, line \d+, column \d+: "):
            read_nfg(written(tmp_path, text[:end]))


def test_bytes_are_no_game(tmp_path):
    path = tmp_path / "game.nfg"
    path.write_bytes(b"NFG \xff\xfe")
    with pytest.raises(vsg.GameError, match=re.escape("game.nfg is not text in UTF-8")):
        read_nfg(path)
