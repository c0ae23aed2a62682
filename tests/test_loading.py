"""Finding and making the game that someone names."""

import enum
import sys
from typing import Any, Literal

import pytest

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.loading import Parameter, expected, load_game, parameters_of

DUEL = """
from __future__ import annotations
from dataclasses import dataclass
import pyro.distributions as dist, torch, vsg_ppl as vsg

@dataclass(frozen=True)
class Duel:
    horizon: int = 1
    prize: float = 1.0
    agents = ("a", "b")
    def initial(self):
        return torch.tensor(0)
    def step(self, state):
        for agent in self.agents:
            vsg.optimality(agent, self.prize * vsg.act(agent, dist.Categorical(torch.ones(2))))
        return state
"""
PLAIN = """
import torch

class Plain:
    agents = ("a",)
    def __init__(self, size: int, name: str = "plain", fast=False):
        self.size, self.name, self.fast = size, name, fast
    def initial(self):
        return torch.tensor(0)
    def step(self, state):
        return state
"""


@pytest.fixture
def file(tmp_path):
    def write(source, name="mine.py"):
        path = tmp_path / name
        path.write_text(source)
        return str(path)

    return write


def fails(spec, parameters=None):
    """The text of the error."""
    with pytest.raises(vsg.GameError) as error:
        load_game(spec, parameters)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Bundled games ---


@pytest.mark.parametrize("name", models.GAMES)
def test_every_bundled_game_loads(name):
    game = load_game(name)
    assert game == models.GAMES[name]()
    assert isinstance(game, vsg.Game)


def test_parameters_of_a_bundled_game():
    game = load_game("grid", {"size": "4", "slip": "0.25", "start": "corners"})
    assert game == models.GridGame(size=4, slip=0.25, start="corners")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("stag_hnt", "stag_hunt"),
        ("StagHunt", "stag_hunt"),
        ("Rock-Paper-Scissors", "rock_paper_scissors"),
        ("soccor", "soccer"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, close):
    text = fails(name)
    assert f"no game is named '{name}'" in text
    assert f"Try: {close}" in text and "`vsg games`" in text


def test_a_name_near_to_none_gets_no_suggestion():
    assert "Try: `vsg games`" in fails("xyzzyx")


def test_a_bundled_game_refuses_its_parameters():
    assert "it needs at least 2" in fails("grid", {"size": "1"})


def test_a_file_without_its_ending(file, tmp_path, monkeypatch):
    file(DUEL)
    file("", "notes.txt")
    monkeypatch.chdir(tmp_path)
    assert "Try: mine.py, for your file" in fails("mine")
    assert "notes.txt is not a Python file (.py) or a Gambit file (.nfg)" in fails("notes.txt")


# --- Which game of a file ---


def test_the_only_class(file):
    game = load_game(file(DUEL))
    assert type(game).__name__ == "Duel"
    assert vsg.nash(game, temperature=1.0).solved


def test_an_instance_stands_for_its_class(file):
    assert load_game(file(DUEL + "duel = Duel(prize=3.0)")).prize == 3.0


def test_an_instance_of_an_imported_class(file):
    source = "from vsg_ppl.models import StagHunt, Hedge\ngame = StagHunt(discount=0.5)"
    assert load_game(file(source)) == models.StagHunt(discount=0.5)


def test_what_is_imported_does_not_count(file):
    source = "from vsg_ppl.models import StagHunt, Hedge\nfrom vsg_ppl.game import Game\n"
    assert (
        type(
            load_game(file(source + DUEL.replace("from __future__ import annotations", "")))
        ).__name__
        == "Duel"
    )
    text = fails(file(source))
    assert "mine.py defines no game" in text


def test_what_is_private_or_abstract_does_not_count(file):
    more = """
import abc
class _Hidden(Duel): pass
class Base(abc.ABC):
    agents = ()
    @abc.abstractmethod
    def initial(self): ...
    def step(self, state): ...
"""
    assert type(load_game(file(DUEL + more))).__name__ == "Duel"


def test_a_second_name_is_not_a_second_game(file):
    assert type(load_game(file(DUEL + "Alias = Duel"))).__name__ == "Duel"


def test_several_games_are_named(file):
    path = file(DUEL + "class Other(Duel): pass\nthird = Duel(prize=2.0)")
    text = fails(path)
    assert "defines several games: Other, third" in text
    assert f"Try: {path}:Other, or {path}:third" in text
    assert type(load_game(f"{path}:Other")).__name__ == "Other"
    assert type(load_game(f"{path}:Duel")).__name__ == "Duel"
    assert load_game(f"{path}:third").prize == 2.0


def test_names_bound_under_a_condition_count(file):
    source = (
        "import sys\nfrom vsg_ppl.models import Hedge\nif sys.version_info:\n    game = Hedge()"
    )
    assert load_game(file(source)) == models.Hedge()


def test_a_function_that_says_it_makes_a_game(file):
    source = (
        "from vsg_ppl.models import Hedge, StagHunt\n"
        + """
def helper() -> int:
    raise RuntimeError("this is not to be run")
def main():
    raise RuntimeError("neither is this")
def sized(discount: float) -> StagHunt:
    raise RuntimeError("nor is this, which needs an argument")
def make(discount: float = 0.5) -> StagHunt:
    return StagHunt(discount)
"""
    )
    assert load_game(file(source)) == models.StagHunt(0.5)
    assert load_game(file(source), {"discount": "0.25"}) == models.StagHunt(0.25)


def test_a_function_that_does_not_say_so_is_named(file):
    path = file("from vsg_ppl.models import Hedge\ndef make():\n    return Hedge()")
    assert f"Try: {path}:make, if that function makes the game" in fails(path)
    assert load_game(f"{path}:make") == models.Hedge()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "no class has `initial` and `step`"),
        ("class Duel:\n    def step(self, s): ...", "the class Duel has no `initial`"),
        ("class Duel:\n    def initial(self): ...", "the class Duel has no `step`"),
    ],
)
def test_a_file_without_a_game_says_what_is_missing(file, source, words):
    text = fails(file(source))
    assert f"mine.py defines no game: {words}. Try: " in text


def test_a_name_that_is_not_there(file):
    path = file(DUEL)
    text = fails(f"{path}:Dual")
    assert "has no 'Dual'; its games: Duel" in text and f"Try: {path}:Duel" in text
    assert "has no ''" in fails(f"{path}:")


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("x = 3", "x", "x has no `agents` and no `initial` and no `step`, so it is no game"),
        ("def f():\n    return 3", "f", "f makes a int, which has no `agents`"),
        (DUEL + "def f():\n    return Duel", "f", "f makes a type, which is a class"),
        (DUEL.replace("agents =", "people ="), "Duel", "Duel has no `agents`, so it is no game"),
    ],
)
def test_what_is_no_game_says_what_it_lacks(file, source, name, words):
    assert words in fails(f"{file(source)}:{name}")


# --- Running a file ---


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\ny = 1 / 0", "mine.py, line 2: ZeroDivisionError: division by zero"),
        ("import no_such_thing", "line 1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1\n\ndef f(:\n    pass", "mine.py, line 3: this is not Python (invalid syntax)"),
        ("return 3", "mine.py, line 1: this is not Python ('return' outside function)"),
        ("\nraise SystemExit(3)", "mine.py, line 2: SystemExit: 3"),
        ("assert False", "mine.py, line 1: AssertionError"),
        ("def f():\n    raise ValueError('one\\ntwo')\nf()", "mine.py, line 2: ValueError: one"),
        (
            "from vsg_ppl.models import matrix_game\n\ngame = matrix_game()",
            "mine.py, line 3: a matrix game needs payoffs. Try: matrix_game(row, col).",
        ),
    ],
)
def test_a_file_that_raises_gets_one_sentence_with_the_line(file, source, words):
    before = set(sys.modules)
    assert fails(file(source)).endswith(words)
    assert not [name for name in sys.modules if "mine" in name and name not in before]


@pytest.mark.parametrize("source", [b"x = '\xff'", b"x = 1\0"])
def test_bytes_that_are_no_program(tmp_path, source):
    path = tmp_path / "mine.py"
    path.write_bytes(source)
    assert fails(str(path)).startswith("mine.py")


def test_a_constructor_that_raises(file):
    source = DUEL + "    def __post_init__(self):\n        raise ValueError('no prize')"
    assert f"mine.py, line {source.count(chr(10)) + 1}: ValueError: no prize" in fails(file(source))


def test_no_such_file(tmp_path, file):
    path = file(DUEL)
    assert "does not exist" in fails(str(tmp_path / "other.py"))
    assert f"Try: {path}" in fails(str(tmp_path / "mime.py"))
    (tmp_path / "folder.py").mkdir()
    assert "is a directory" in fails(str(tmp_path / "folder.py"))


def test_a_file_imports_its_neighbours(file):
    file("PRIZE = 7.0", "neighbour_of_mine.py")
    source = DUEL.replace("= 1.0", "= PRIZE").replace(
        "import annotations", "import annotations\nfrom neighbour_of_mine import PRIZE"
    )
    before = list(sys.path)
    assert load_game(file(source)).prize == 7.0
    assert sys.path == before


def test_two_files_of_one_name_are_two_modules(tmp_path):
    games = []
    for k in range(2):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "mine.py").write_text(DUEL.replace("= 1.0", f"= {k}.0"))
        games.append(load_game(str(folder / "mine.py")))
    assert [game.prize for game in games] == [0.0, 1.0]
    assert type(games[0]) is not type(games[1])
    assert [p.kind for p in parameters_of(type(games[0]))] == [int, float]


def test_a_file_is_not_run_as_a_program(file):
    assert load_game(file(DUEL + "if __name__ == '__main__':\n    raise SystemExit")).prize == 1.0


# --- Gambit's files ---


def test_a_gambit_file(file):
    path = file('NFG 1 R "t" { "a" "b" } { 1 1 } 1 2', "pay.nfg")
    assert load_game(path).agents == ("a", "b")
    assert "a Gambit file has no parameters, and 'x' is set" in fails(path, {"x": "1"})
    assert f"Try: {path}" in fails(f"{path}:Game")
    assert "pay.nfg, line 1, column 1" in fails(file("no game", "pay.nfg"))


# --- Parameters ---


def test_fields_of_a_dataclass(file):
    path = file(DUEL)
    game = load_game(path, {"prize": "2.5", "horizon": "3"})
    assert (game.prize, game.horizon) == (2.5, 3)
    text = fails(path, {"price": "1"})
    assert text == "Duel has no parameter 'price'. Try: one of horizon, prize."


def test_arguments_of_a_constructor(file):
    path = file(PLAIN)
    game = load_game(path, {"size": "3", "name": "1", "fast": "yes"})
    assert (game.size, game.name, game.fast) == (3, "1", True)
    text = fails(path)
    assert text == "Plain needs the parameter 'size', a whole number. Try: --set size=VALUE."
    assert "'fast' of Plain is true or false, not 'maybe'" in fails(path, {"fast": "maybe"})


def test_an_instance_takes_parameters_if_it_is_a_dataclass(file):
    path = file(DUEL + "duel = Duel(horizon=2)")
    game = load_game(path, {"prize": "5"})
    assert (game.prize, game.horizon) == (5.0, 2)
    path = file(PLAIN + "game = Plain(3)")
    assert "game has no parameter 'size'. Try: no `--set`: it has none." in fails(
        path, {"size": "1"}
    )


def test_constants_of_the_class_are_no_parameters():
    assert "one of favourite, other." in fails("battle_of_the_sexes", {"horizon": "3"})


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-3", -3),
        (float, "1e-3", 1e-3),
        (float, "2", 2.0),
        (str, "3", "3"),
        (str, "", ""),
        (bool, "True", True),
        (bool, "0", False),
        (tuple[int, ...], "1,2,3", (1, 2, 3)),
        (tuple[int, ...], "()", ()),
        (tuple[int, ...], "(4,)", (4,)),
        (tuple[float, int], "0.5, 2", (0.5, 2)),
        (tuple, "0.5, 2", (0.5, 2.0)),
        (list[float], "[1, 2]", [1.0, 2.0]),
        (int | None, "none", None),
        (int | None, "4", 4),
        (str | int, "4", 4),
        (str | int, "four", "four"),
        (Literal["anywhere", 3], "3", 3),
        (Literal["own", "none"] | None, "none", "none"),
        (Literal["own"] | None, "none", None),
        (Colour, "BLUE", Colour.BLUE),
        (Any, "3", 3),
        (Any, "3.5", 3.5),
        (Any, "x", "x"),
    ],
)
def test_text_becomes_the_annotated_type(kind, text, value):
    found = Parameter("x", kind, None).read(text, "Game")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (int, "3.5", "a whole number, not '3.5'"),
        (float, "fast", "a number, not 'fast'"),
        (float, "nan", "a number, not 'nan'"),
        (float, "inf", "a number, not 'inf'"),
        (bool, "2", "true or false, not '2'"),
        (tuple[int, ...], "1,x", "whole numbers, with commas, not '1,x'"),
        (tuple[float, float], "1", "2 numbers separated by commas, not '1'"),
        (int | None, "x", "a whole number or none, not 'x'"),
        (Literal["a", "b"], "c", "one of a, b, not 'c'"),
        (Colour, "GREEN", "one of RED, BLUE, not 'GREEN'"),
        (dict[str, int], "x", "a dict, which no text can be, not 'x'"),
    ],
)
def test_text_of_another_type_says_what_is_expected(kind, text, words):
    with pytest.raises(vsg.GameError) as error:
        Parameter("x", kind, None).read(text, "Game")
    assert str(error.value) == f"the parameter 'x' of Game is {words}"


def test_types_in_words():
    assert expected(list[str]) == "texts, with commas"
    assert expected(Any) == "a number or a text"
