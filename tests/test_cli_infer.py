"""``vsg infer`` as people and programs meet it."""

import subprocess
import sys
import textwrap
from functools import lru_cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vsg_ppl as vsg
from tests.test_cli import process, strict
from vsg_ppl import cli, models
from vsg_ppl.loading import load_game
from vsg_ppl.observed_files import write_play

TEMPERATURE = 0.8
GAME = """
import pyro, torch
import pyro.distributions as dist
import vsg_ppl as vsg

class Duel:
    agents = ("a", "b")
    discount = 0.5
    def initial(self):
        return torch.tensor(0)
    def step(self, state):
        pride = pyro.sample("pride", dist.Normal(0., 2.))
        a = vsg.act("a", dist.Categorical(torch.ones(2)))
        b = vsg.act("b", dist.Categorical(torch.ones(2)))
        vsg.optimality("a", (a == b).double())
        vsg.optimality("b", (a != b).double() + pride * (b == state))
        return a
"""


def run(*arguments):
    """Run the command line in this process; the answer has stdout, stderr and exit_code."""
    answer = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="vsg")
    assert answer.exception is None or isinstance(answer.exception, SystemExit)
    return answer


def refused(*arguments):
    """What is said on stderr of what must be refused."""
    answer = run(*arguments)
    assert (answer.exit_code, answer.stdout) == (2, "")
    reason, *hint = answer.stderr.splitlines()
    assert reason.startswith("Error: ") and not reason.endswith("..")
    assert len(hint) <= 1 and all(line.startswith("Try: ") for line in hint)
    return answer.stderr


@pytest.fixture
def file(tmp_path):
    """The game above, or another, in a file."""

    def write(source=GAME):
        (tmp_path / "mine.py").write_text(source)
        return str(tmp_path / "mine.py")

    return write


@lru_cache
def hunt():
    """Plays of a stag hunt."""
    return vsg.nash(models.StagHunt(), temperature=TEMPERATURE).simulate(60, steps=10, seed=3)


@pytest.fixture
def data(tmp_path):
    """The plays in a file, of these columns alone if they are given."""

    def write(plays=None, columns=None, name="play.csv"):
        path = tmp_path / name
        write_play(path, hunt() if plays is None else plays)
        if columns is not None:
            header, *rows = [line.split(",") for line in path.read_text().splitlines()]
            kept = [header.index(column) for column in columns]
            lines = [",".join(row[k] for k in kept) for row in [header, *rows]]
            path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def drawn(monkeypatch):
    """A picture of nothing: what is drawn is tested elsewhere."""
    import types

    module = types.ModuleType("vsg_ppl.plot_inference")
    module.plot_inference = lambda found, path: Path(path).write_bytes(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "vsg_ppl.plot_inference", module)


def test_a_bundled_game(data):
    answer = run("infer", "stag_hunt", data(), "--agent", "col", "--reward", "program")
    assert answer.exit_code == 0 and answer.stderr == ""
    words = " ".join(answer.stdout.split())
    for text in (
        "play.csv: 600 steps of StagHunt, 2 of 2 states seen; actions: 600 of row, 600 of col",
        "col: solved. the mode of 1 unknown",
        "unknown mean sd 90 % interval",
        "inferred, at the mode",
        "nats for each of 600 actions; the prior's is 0.6931",
        "log p(play), by Laplace's approximation",
        "state seen col was seen to play inferred",
        "STAG 0.",
    ):
        assert text in words


def test_json_is_what_the_library_says(data):
    path = data()
    answer = run("infer", "stag_hunt", path, "--agent", "col", "--json", "--level", "0.5")
    assert answer.exit_code == 0 and answer.stderr == "" and answer.stdout.count("\n") == 1
    found = strict(answer.stdout)
    seen = vsg.read_play(path, models.StagHunt())
    expected = vsg.infer_opponent(models.StagHunt(), "col", seen)
    wanted = expected.to_dict() | {"unknowns": expected.summary(0.5), "level": 0.5, "seconds": 0}
    wanted["play"] = {"file": str(path), "steps": 600, "states": 2, "states_seen": 2}
    assert found | {"seconds": 0} == wanted


def test_options_reach_the_library(data):
    path = data()
    answer = run(
        *("infer", "stag_hunt", path, "--json", "--agent", "row", "--agent", "col"),
        *("--reward", "action", "--temperature", 2, "--others", 1, "--lapse", 0.05),
        *("--samples", 30, "--seed", 5, "--set", "discount=0.4"),
    )
    game = models.StagHunt(discount=0.4)
    expected = vsg.infer_opponent(
        game,
        ["row", "col"],
        vsg.read_play(path, game),
        reward="action",
        temperature=2.0,
        others=1,
        lapse=0.05,
        samples=30,
        seed=5,
    ).to_dict()
    found = strict(answer.stdout)
    assert {key: found[key] for key in expected} | {"seconds": 0} == expected | {"seconds": 0}


@pytest.mark.parametrize(
    ("method", "options"),
    [("svi", ["--steps", "40"]), ("nuts", ["--samples", "12", "--warmup", "12"])],
)
def test_methods(data, method, options):
    path = data()
    answer = run("infer", "stag_hunt", path, "--agent", "col", "--method", method, *options)
    assert answer.exit_code in (0, 1) and answer.stderr == ""
    assert ("at least: this is the ELBO" in answer.stdout) == (method == "svi")
    assert ("log evidence" in answer.stdout) == (method == "svi")
    assert "reward.col, state 0, STAG" in answer.stdout


def test_what_does_not_converge_is_shown_with_advice(data):
    options = ("--agent", "col", "--method", "nuts", "--samples", 5, "--warmup", 5)
    answer = run("infer", "stag_hunt", data(), *options)
    assert answer.exit_code == 1
    assert "col: not converged" in answer.stdout
    assert "raise --samples and --warmup" in answer.stdout


def test_an_unknown_of_ones_own_game_is_recovered(file, data):
    """A weight of a program, inferred from play at a known one."""
    game = file()
    known = vsg.given(load_game(game), {"pride": 1.2})
    plays = vsg.nash(known, temperature=0.7).simulate(100, steps=20, seed=1)
    path = data(plays)
    found = strict(run("infer", game, path, "--agent", "b", "--json").stdout)
    unknown = found["unknowns"]
    assert set(unknown) == {"pride", "temperature"}
    assert unknown["pride"]["low"] < 1.2 < unknown["pride"]["high"]
    assert unknown["temperature"]["low"] < 0.7 < unknown["temperature"]["high"]
    assert found["statistics"]["b"]["explained"] > 0.95
    answer = run("infer", game, path, "--agent", "b", "--temperature", 0.7)
    assert answer.exit_code == 0
    words = answer.stdout.split()
    assert words[words.index("pride") + 1].startswith("1.") and "fixed" in words


def test_the_agent_whose_actions_were_seen_is_the_default(data):
    path = data(columns=["episode", "t", "state", "row"])
    found = strict(run("infer", "stag_hunt", path, "--json").stdout)
    assert found["agents"] == ["row"]


def test_actions_that_were_not_seen(data):
    path = data()
    header, *rows = path.read_text().splitlines()
    some = [row if k % 3 else row.rpartition(",")[0] + "," for k, row in enumerate(rows)]
    path.write_text("\n".join([header, *some]) + "\n")
    found = strict(run("infer", "stag_hunt", path, "--agent", "col", "--json").stdout)
    assert found["play"]["steps"] == 600 and found["statistics"]["col"]["actions"] == 400
    answer = run("infer", "stag_hunt", path, "--agent", "col")
    assert "600 steps of StagHunt, 2 of 2 states seen; actions: 600 of row, 400 of col" in (
        answer.stdout
    )


def test_hypotheses_are_compared(data):
    path = data()
    answer = run("infer", "stag_hunt", path, "--agent", "col", "--compare")
    assert answer.exit_code == 0
    assert "The play of col is best explained by 'own'" in answer.stdout
    rows = [line.split() for line in answer.stdout.partition("hypothesis")[2].splitlines()[2:5]]
    assert rows[0][0] == "own" and {row[0] for row in rows} == {"own", "welfare", "random"}
    told = strict(run("infer", "stag_hunt", path, "--agent", "col", "--compare", "--json").stdout)
    comparison = vsg.compare_hypotheses(
        models.StagHunt(), "col", vsg.read_play(path, models.StagHunt())
    )
    assert told["comparison"] == {
        "col": {
            "best": "own",
            "log_evidence": comparison.log_evidence,
            "probabilities": comparison.probabilities,
            "status": dict.fromkeys(["own", "welfare", "random"], "solved"),
        }
    }


def test_everybody_can_be_compared(data):
    agents = ("--agent", "row", "--agent", "col")
    answer = run("infer", "stag_hunt", data(), *agents, "--compare", "--json")
    found = strict(answer.stdout)
    assert found["agents"] == list(found["comparison"]) == ["row", "col"]
    printed = run("infer", "stag_hunt", data(), *agents)
    assert "log loss of row" in printed.stdout and "temperature of col" in printed.stdout


def test_a_horizon_shows_times(data):
    game = models.Thermostat(horizon=6)
    path = data(vsg.nash(game, temperature=1.0).simulate(50))
    answer = run("infer", "thermostat", path, "--set", "horizon=6", "--reward", "program")
    words = " ".join(answer.stdout.split())
    assert "t state seen heater was seen to play inferred" in words
    assert "more states and times that were seen; --json prints all of them" in words


def test_large_unknowns_are_cut_and_said_to_be(data):
    game = models.GridGame()
    path = data(vsg.nash(game, temperature=1.0, max_steps=50).simulate(20, steps=20, seed=0))
    options = ("--reward", "state", "--samples", 5)
    answer = run("infer", "grid", path, "--agent", "a", *options)
    assert "reward.a, 81 numbers" in answer.stdout
    assert answer.stdout.count("a=") == 12
    assert "--json prints all of them, --out writes them" in answer.stdout


def test_nothing_unknown(data):
    options = ("--agent", "col", "--reward", "program", "--temperature", 1)
    answer = run("infer", "stag_hunt", data(), *options)
    assert answer.exit_code == 0
    assert "log p(play), exactly: nothing was unknown" in answer.stdout
    assert "interval" not in answer.stdout


def test_out_writes_all_of_it(data, drawn, tmp_path):
    folder, path = tmp_path / "new" / "run", data()
    answer = run("infer", "stag_hunt", path, "--agent", "col", "--out", folder)
    assert answer.exit_code == 0
    names = ["inference.safetensors", "inference.json", "inference.png"]
    assert f"Written to {folder}: {', '.join(names)}" in answer.stdout
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    loaded = vsg.OpponentInference.load(folder / "inference.safetensors", models.StagHunt())
    told = strict((folder / "inference.json").read_text())
    assert loaded.to_dict()["policies"] == told["policies"]


def test_out_and_json_go_together(data, drawn, tmp_path):
    options = ("--agent", "col", "--out", tmp_path / "run", "--json")
    answer = run("infer", "stag_hunt", data(), *options)
    assert strict(answer.stdout) == strict((tmp_path / "run" / "inference.json").read_text())
    assert answer.stderr == ""


def test_a_picture_is_drawn(data, tmp_path):
    answer = run("infer", "stag_hunt", data(), "--agent", "col", "--out", tmp_path / "run")
    assert answer.exit_code == 0 and answer.stderr == ""
    assert (tmp_path / "run" / "inference.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_game_prints_stays_out_of_the_json(file, data):
    source = GAME.replace("        pride", "        print('stepping')\n        pride")
    path = data(columns=["episode", "t", "state", "row"])
    path.write_text(path.read_text().replace("row", "a").replace("STAG", "0").replace("HARE", "1"))
    answer = run("infer", file(source), path, "--json")
    assert strict(answer.stdout)["agents"] == ["a"]
    assert "stepping" in answer.stderr


# --- Bad input ---


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0,3,", "0,three,", ["play.csv, line 5, column 't'", "three"]),
        ("HARE", "HAER", ["play.csv, line", "HAER", "Try: HARE, or another of STAG"]),
        ("0,3,", "0,2,", ["play.csv, lines 4 and 5", "at time 2"]),
        ("row,col", "row,clo", ["play.csv has no action of 'col'", "Try: --agent row."]),
        ("state", "weather", ["play.csv has no column 'state'"]),
        ("STAG,STAG", "STAG", ["play.csv, line", "4 fields, and the header has 5"]),
    ],
)
def test_malformed_data(data, old, new, words):
    path = data()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    text = refused("infer", "stag_hunt", path, "--agent", "col")
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["has actions of row, col", "whose wants to infer", "Try: --agent row; it may"]),
        (["--agent", "cat"], ["StagHunt has no agent 'cat'", "Try: one of row, col."]),
        (["--temperature", "0"], ["--temperature is 0; it must be positive"]),
        (["--temperature", "nan"], ["--temperature is nan"]),
        (["--lapse", "1"], ["--lapse is 1; a probability below 1", "Try: --lapse 0.05."]),
        (["--lapse", "nan"], ["--lapse is nan"]),
        (["--level", "90"], ["--level is 90; it lies between 0 and 1", "Try: --level 0.9."]),
        (["--others", "-1"], ["--others is '-1'", "Try: observed, equilibrium, or how many"]),
        (["--samples", "0"], ["--samples is 0; at least 1"]),
        (["--steps", "9"], ["--steps is for --method svi, and the method is laplace"]),
        (["--warmup", "9"], ["--warmup is for --method nuts", "Try: --method nuts."]),
        (["--compare", "--method", "nuts"], ["--method nuts gives none", "--method laplace"]),
        (["--set", "bonus=1"], ["stag_hunt has no parameter 'bonus'"]),
    ],
)
def test_bad_options(data, options, words):
    text = refused("infer", "stag_hunt", data(), *options)
    for word in words:
        assert word in text


def test_usage_errors(data):
    for arguments, words in (
        (["stag_hunt"], "Missing argument 'DATA'"),
        (["stag_hunt", data(), "--reward", "gold"], "'program', 'welfare'"),
        (["stag_hunt", data(), "--seed", "-1"], "'--seed'"),
    ):
        answer = run("infer", *arguments)
        assert answer.exit_code == 2 and answer.stdout == "" and words in answer.stderr


def test_files_and_games_that_are_none(data, file, tmp_path):
    missing = tmp_path / "none.csv"
    assert f"the file {missing} does not exist" in refused("infer", "stag_hunt", missing)
    assert "no game is named 'stag_hnt'" in refused("infer", "stag_hnt", data())
    assert "BeachBar is a mean-field game" in refused("infer", "beach_bar", data())
    text = refused("infer", file(GAME.replace("return a\n", "return a.no_such\n")), data())
    assert "mine.py, line 17" in text and "no_such" in text
    text = refused("infer", "prisoners_dilemma", data(), "--agent", "col")
    assert "play.csv, line 2, column" in text and "COOPERATE, DEFECT" in text


def test_nobody_was_seen_to_act(data):
    path = data(columns=["episode", "t", "state"])
    text = refused("infer", "stag_hunt", path)
    assert "play.csv has no column 'row': nobody is seen to act" in text
    path.write_text("t,state,row,col\n0,0,,\n1,0,,?\n")
    text = refused("infer", "stag_hunt", path)
    assert "play.csv has no action of anybody" in text
    assert "Try: a column of actions: row, col." in text
    path = data(columns=["episode", "t", "state", "row"])
    text = refused("infer", "stag_hunt", path, "--agent", "col")
    assert "play.csv has no action of 'col'" in text and "Try: --agent row." in text


def test_advice_is_in_words_of_the_command_line(data, monkeypatch):
    """What was seen has probability zero: the library says `lapse`, people say --lapse."""

    def fail(model, samples, restarts):
        raise vsg.GameError("probability zero", hint="wider priors, or a `lapse` above 0.")

    monkeypatch.setattr(sys.modules["vsg_ppl.infer"], "laplace", fail)
    text = refused("infer", "stag_hunt", data(), "--agent", "col")
    assert "Try: wider priors, or a --lapse above 0." in text


def test_an_out_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "taken").write_text("")
    text = refused("infer", "stag_hunt", tmp_path / "none.csv", "--out", tmp_path / "taken")
    assert "cannot write to" in text and "none.csv" not in text


# --- As processes ---


def test_process(data):
    answer = process("infer", "stag_hunt", data(), "--agent", "col", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert strict(answer.stdout)["status"] == "solved"


def test_help():
    text = run("infer", "--help").stdout
    lines = [line.strip() for line in text.splitlines()]
    assert "vsg infer stag_hunt play.csv --agent col" in lines
    for option in ("--agent", "--reward", "--others", "--lapse", "--level", "--compare", "--set"):
        assert option in text
    assert "vsg infer mygame.py play.csv" in run("--help").stdout


def test_reading_options_imports_no_torch():
    program = """
        import sys, types
        package = types.ModuleType("vsg_ppl")  # as if its __init__ imported nothing
        package.__path__ = [PATH]
        sys.modules["vsg_ppl"] = package
        from typer.testing import CliRunner
        from vsg_ppl import cli
        for arguments in (["infer", "--help"], ["infer", "x"], ["infer", "x", "y", "--level", "2"]):
            CliRunner().invoke(cli.app, arguments)
            assert "torch" not in sys.modules, arguments
    """
    program = textwrap.dedent(program).replace("PATH", repr(str(Path(cli.__file__).parent)))
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
