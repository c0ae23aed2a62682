"""The command line as people and programs meet it: what is printed where, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import vsg_ppl as vsg
from vsg_ppl import cli, models
from vsg_ppl.cli_print import in_words

THREE_STATES = str(Path(__file__).parent / "data" / "three_states.py")
PENNIES = 'NFG 1 R "Pennies" { "Eve" "Odd" }\n{ { "H" "T" } { "H" "T" } }\n1 -1 -1 1 -1 1 1 -1\n'
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
        a = vsg.act("a", dist.Categorical(torch.ones(2)))
        b = vsg.act("b", dist.Categorical(torch.ones(2)))
        vsg.optimality("a", (a == b).double())
        vsg.optimality("b", (a != b).double())
        return state
"""


@pytest.fixture
def run():
    """Run the command line in this process; the answer has stdout, stderr and exit_code."""

    def invoke(*arguments):
        answer = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="vsg")
        assert answer.exception is None or isinstance(answer.exception, SystemExit)
        return answer

    return invoke


@pytest.fixture
def refused(run):
    """Run what must be refused: exit code 2, nothing on stdout, reason (and hint) on stderr."""

    def invoke(*arguments):
        answer = run(*arguments)
        assert answer.exit_code == 2
        assert answer.stdout == ""
        reason, *hint = answer.stderr.splitlines()
        assert reason.startswith("Error: ")
        assert len(hint) <= 1 and all(line.startswith("Try: ") for line in hint)
        return answer.stderr

    return invoke


@pytest.fixture
def file(tmp_path):
    def write(source, name="mine.py"):
        path = tmp_path / name
        path.write_text(source)
        return str(path)

    return write


@pytest.fixture
def changed(file):
    """The game above with one text in place of another."""

    def write(old, new):
        assert old in GAME
        return file(GAME.replace(old, new, 1))

    return write


def process(*arguments, **options):
    """A process of its own, as a shell starts it."""
    command = [sys.executable, "-m", "vsg_ppl.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def strict(text):
    """The one JSON value that a text is; NaN and Infinity are none."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# --- solve ---


def test_a_game_of_ones_own_is_solved_by_one_command(run):
    """Two agents, a machine of three states, a file of at most 20 lines."""
    assert len(Path(THREE_STATES).read_text().splitlines()) <= 20
    answer = run("solve", THREE_STATES)
    assert answer.exit_code == 0
    assert answer.stderr == ""
    assert "Machine: solved. Nash gap" in answer.stdout
    for word in ("ann", "bob", "gains by deviating", "worst state", "by exact_nash, as", "state"):
        assert word in answer.stdout
    assert "bound of Theorem 4.2" in run("solve", THREE_STATES, "--method", "nash").stdout


def test_json_is_what_the_library_says(run):
    answer = run("solve", THREE_STATES, "--json")
    assert answer.exit_code == 0
    assert answer.stderr == ""
    found = strict(answer.stdout)
    from vsg_ppl.loading import load_game

    expected = vsg.solve(load_game(THREE_STATES)).to_dict()
    assert found | {"seconds": 0} == expected | {"seconds": 0}
    assert found["agents"] == ["ann", "bob"]
    assert [row["state"] for row in found["policies"]["ann"]] == [0, 1, 2]


def test_the_certificate_in_json_is_that_of_its_policies(run):
    from vsg_ppl.loading import load_game

    found = strict(run("solve", THREE_STATES, "--json").stdout)
    policies = {
        agent: torch.tensor([row["probabilities"] for row in rows], dtype=torch.float64)
        for agent, rows in found["policies"].items()
    }
    certificate = vsg.certify(load_game(THREE_STATES), policies)
    assert found["certificate"]["nash_gap"] == pytest.approx(certificate.nash_gap, abs=1e-12)
    assert found["certificate"]["nash_gap"] <= 1e-3
    assert found["certificate"]["values"] == pytest.approx(certificate.values)


def test_options_reach_the_solver(run):
    answer = run(
        *("solve", "hedge", "--json", "--temperature", 0.5, "--factorisation", "conditional"),
        *("--entropy", "none", "--step", 0.5, "--max-steps", 500, "--tolerance", 1e-6),
    )
    expected = vsg.nash(
        models.Hedge(),
        temperature=0.5,
        factorisation="conditional",
        entropy="none",
        step=0.5,
        max_steps=500,
        tolerance=1e-6,
    ).to_dict()
    assert_same(strict(answer.stdout), expected)


def assert_same(found, expected):
    """Up to the time it took, and the end of the message, which says who solved it and why."""
    assert found["message"].startswith(expected["message"] + "; by ")
    assert {**found, "seconds": 0, "message": 0} == {**expected, "seconds": 0, "message": 0}


def test_parameters_reach_the_game(run):
    found = strict(
        run(
            "solve",
            "prisoners_dilemma",
            "--set",
            "reward=4",
            "--set",
            "temptation=4.5",
            "--temperature",
            1,
            "--json",
        ).stdout
    )
    game = models.PrisonersDilemma(reward=4.0, temptation=4.5)
    assert found["certificate"] == vsg.nash(game, temperature=1.0).to_dict()["certificate"]


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        (["--method", "nash"], vsg.Annealing()),
        (["--method", "nash", "--target-gap", "0.1"], vsg.Annealing(target_gap=0.1)),
        (["--anneal-to", "0.1"], vsg.Annealing(stop=0.1, target_gap=None)),
        (
            ["--temperature", "2", "--anneal-to", "0.1"],
            vsg.Annealing(start=2.0, stop=0.1, target_gap=None),
        ),
        (
            ["--temperature", "2", "--anneal-to", "0.1", "--target-gap", "0.05"],
            vsg.Annealing(start=2.0, stop=0.1, target_gap=0.05),
        ),
        (["--temperature", "2"], 2.0),
    ],
)
def test_temperatures(run, options, schedule):
    found = strict(run("solve", "chicken", "--json", *options).stdout)
    assert_same(found, vsg.nash(models.Chicken(), temperature=schedule).to_dict())


@pytest.mark.parametrize(
    ("game", "options", "solver", "arguments"),
    [
        ("hedge", [], vsg.exact_nash, {}),
        ("hedge", ["--seed", "3"], vsg.exact_nash, {"seed": 3}),
        ("hedge", ["--target-gap", "1e-3"], vsg.exact_nash, {"tolerance": 1e-3}),
        ("chicken", ["--concept", "nash"], vsg.potential_nash, {}),
        ("chicken", ["--method", "exact-nash"], vsg.exact_nash, {}),
        (
            "chicken",
            ["--method", "logit-path", "--temperature", "1"],
            vsg.logit_path,
            {"temperature": 1},
        ),
        ("rock_paper_scissors", [], vsg.zero_sum, {}),
        ("rock_paper_scissors", ["--target-gap", "0.1"], vsg.zero_sum, {"target_gap": 0.1}),
        ("chicken", ["--signals", "3"], vsg.correlated, {"signals": 3}),
        (
            "chicken",
            ["--signals", "2", "--objective", "row", "--signal", "given"],
            vsg.correlated,
            {"signals": 2, "objective": "row", "signal": "given"},
        ),
    ],
)
def test_each_solver_is_reached(run, game, options, solver, arguments):
    found = strict(run("solve", game, "--json", *options).stdout)
    expected = solver(models.GAMES[game](), **arguments).to_dict()
    assert found["message"].startswith(expected["message"] + "; by ")
    for agent, rows in expected["policies"].items():
        for one, other in zip(rows, found["policies"][agent], strict=True):
            assert other["probabilities"] == pytest.approx(one["probabilities"], abs=1e-12)


def test_a_correlated_equilibrium_in_words(run):
    answer = run("solve", "battle_of_the_sexes", "--signals", 2)
    assert answer.exit_code == 0
    for line in ("correlated gap  0", "signal  signal=0 0.500  signal=1 0.500"):
        assert line in answer.stdout
    words = " ".join(answer.stdout.split())
    assert "row 1.5 0 col 1.5 0" in words
    assert "welfare 3 the sum of the values 3 at most, if signals may be private" in words
    assert "(0, signal=1) FIGHT 1.000 FIGHT 1.000" in words


def test_options_that_the_chosen_solver_lacks(run):
    answer = run("solve", "rock_paper_scissors", "--method", "zero-sum", "--seed", 3)
    assert answer.exit_code == 2
    assert "zero_sum does not start from policies. Try: leave --seed out" in " ".join(
        answer.stderr.replace(".\nTry", ". Try").split()
    )
    answer = run("solve", "chicken", "--method", "exact-nash", "--objective", "row")
    assert answer.exit_code == 2
    assert "exact_nash has no option 'objective'" in answer.stderr


def test_seed_starts_elsewhere(run):
    """Chicken has two pure equilibria; from the priors symmetric play stays symmetric."""

    def first(*options):
        answer = run("solve", "chicken", "--temperature", 0.5, "--step", 0.5, "--json", *options)
        return strict(answer.stdout)["policies"]["row"][0]["probabilities"]

    starts = [first("--seed", seed) for seed in range(6)]
    assert first("--seed", 3) == starts[3]
    ends = {round(start[0]) for start in starts}
    assert ends == {0, 1}


def test_what_does_not_converge_is_shown_all_the_same(run):
    options = ("--temperature", 0.1, "--step", 0.5, "--max-steps", 1, "--seed", 1)
    answer = run("solve", "rock_paper_scissors", *options)
    assert answer.exit_code == 1
    assert "RockPaperScissors: not converged" in answer.stdout
    assert "ROCK" in answer.stdout
    assert "raise --max-steps or --temperature" in answer.stdout
    assert answer.stderr == ""
    again = run("solve", "rock_paper_scissors", *options, "--json")
    assert again.exit_code == 1
    assert strict(again.stdout)["status"] == "not converged"


def test_stopped_while_solving_shows_the_best_so_far(run, monkeypatch):
    from contextlib import contextmanager

    @contextmanager
    def stopping():
        def show(entry):
            if entry["iteration"] == 5:
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr(sys.modules["vsg_ppl.nash"], "no_progress", stopping)
    answer = run("solve", "stag_hunt", "--method", "nash")
    assert answer.exit_code == 1
    assert "StagHunt: interrupted. stopped by hand at Nash gap" in answer.stdout


def test_a_game_with_a_horizon_shows_times(run):
    answer = run("solve", "thermostat", "--set", "horizon=3", "--temperature", 1)
    assert answer.stdout.split("bound of")[1].split()[5:8] == ["t", "state", "heater"]
    rows = strict(run("solve", "thermostat", "--set", "horizon=3", "--json").stdout)
    assert {row["t"] for row in rows["policies"]["heater"]} == {0, 1, 2}


def test_many_states_are_cut_and_said_to_be(run):
    answer = run("solve", "grid", "--temperature", 1, "--set", "discount=0.5")
    assert "and 69 more states; --json prints all of them, --out writes them" in answer.stdout
    assert answer.stdout.count("a=") == 12
    assert "a=0 b=11" not in answer.stdout  # there are 9 cells
    found = strict(
        run("solve", "grid", "--temperature", 1, "--set", "discount=0.5", "--json").stdout
    )
    assert len(found["policies"]["a"]) == 81
    assert found["policies"]["a"][10]["state"] == {"a": 1, "b": 1}


def test_many_agents_get_a_row_each(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    answer = run("solve", "congestion", "--set", "discount=0.5", "--temperature", 50)
    lines = answer.stdout.splitlines()
    heads = [line.split() for line in lines]
    assert ["state", "agent", "policy"] in heads
    assert max(map(len, lines[1:])) <= 60  # the message breaks where the terminal does
    assert sum(line.split()[:1] == ["agent3"] for line in lines[10:]) == 2  # in both states


def test_rare_actions_are_summed_up():
    names = [f"x{k}" for k in range(10)]
    law = [0.05, 0.3, 0.1, 0.2, 0.04, 0.03, 0.02, 0.26, 0.0, 0.0]
    assert (
        in_words(names, law) == "x1 0.300  x7 0.260  x3 0.200  x2 0.100  x0 0.050  3 others 0.090"
    )
    assert in_words(names[:3], [0.25, 0.75, 0.0]) == "x0 0.250  x1 0.750"


def test_labels_are_printed_as_they_are(run, file):
    """Square brackets are no markup, in names of agents, actions and states."""
    source = GAME.replace('"a"', '"[red]a"').replace(
        "torch.ones(2)))", 'torch.ones(2)), labels=["[bold]x", "[/]y"])', 1
    )
    answer = run("solve", file(source), "--temperature", 1)
    assert answer.exit_code == 0
    for text in ("[red]a", "[bold]x 0.", "[/]y 0."):
        assert text in answer.stdout


def test_a_gambit_file_is_solved(run, file):
    answer = run("solve", file(PENNIES, "pennies.nfg"), "--json")
    found = strict(answer.stdout)
    assert found["game"] == "Pennies"
    assert found["certificate"]["nash_gap"] <= 1e-3
    assert found["policies"]["Eve"][0]["probabilities"] == pytest.approx([0.5, 0.5])


def test_out_writes_all_of_it(run, tmp_path):
    folder = tmp_path / "new" / "run"
    answer = run("solve", THREE_STATES, "--out", folder)
    assert answer.exit_code == 0
    names = ["solution.safetensors", "solution.json", "solution.png", "graph.png"]
    assert f"Written to {folder}: {', '.join(names)}" in answer.stdout
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names[2:]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert strict((folder / "solution.json").read_text())["status"] == "solved"
    assert load_file(folder / "solution.safetensors")
    loaded = vsg.Solution.load(folder / "solution.safetensors")
    assert loaded.certificate.nash_gap <= 1e-3


def test_out_and_json_go_together(run, tmp_path):
    answer = run("solve", THREE_STATES, "--out", tmp_path / "run", "--json")
    assert strict(answer.stdout) == strict((tmp_path / "run" / "solution.json").read_text())
    assert answer.stderr == ""


def test_a_picture_that_fails_takes_nothing_with_it(run, tmp_path, monkeypatch):
    import vsg_ppl.graph

    def fail(*arguments, **options):
        raise vsg.GameError("no graph today")

    monkeypatch.setattr(vsg_ppl.graph, "figure1", fail)
    answer = run("solve", THREE_STATES, "--out", tmp_path)
    assert answer.exit_code == 0
    assert answer.stderr == "Warning: no graph.png: no graph today\n"
    assert (tmp_path / "solution.png").exists() and not (tmp_path / "graph.png").exists()


def test_what_a_game_prints_stays_out_of_the_json(run, file):
    source = GAME.replace("        a = vsg", "        print('stepping')\n        a = vsg")
    path = file("print('loading')\n" + source)
    answer = run("solve", path, "--json")
    assert strict(answer.stdout)["game"] == "Duel"
    assert "loading" in answer.stderr and "stepping" in answer.stderr
    assert "stepping" in run("solve", path).stdout
    assert strict(run("check", path, "--json").stdout)["well_formed"]


# --- check, render, games, help ---


def test_check_says_sizes_and_kind(run):
    answer = run("check", THREE_STATES)
    assert answer.exit_code == 0
    words = " ".join(answer.stdout.split())
    assert words.startswith("Machine is well-formed. agents ann, bob")
    for text in (
        "actions of ann 2: 0, 1",
        "joint actions 4",
        "states 3: 0, 1, 2",
        "successors at most 3 of",
        "horizon infinite",
        "discount 0.9",
        "memory",
        "kind general-sum, symmetric",
    ):
        assert text in words


def test_check_json(run):
    found = strict(run("check", "soccer", "--set", "rows=2", "--set", "columns=3", "--json").stdout)
    summary = vsg.tabulate(models.Soccer(rows=2, columns=3)).summary()
    assert {key: found[key] for key in summary} == summary
    assert found["well_formed"] is True
    assert found["examples"][0] == {"a": 0, "b": 0, "ball": 2}
    assert len(found["examples"]) == 12


@pytest.mark.parametrize(
    ("game", "kind"),
    [
        ("rock_paper_scissors", (True, False, True)),
        ("matching_pennies", (True, False, False)),
        ("prisoners_dilemma", (False, False, True)),
        ("battle_of_the_sexes", (False, False, False)),
        ("soccer", (True, False, False)),
        ("stag_hunt", (False, False, True)),
        ("congestion", (False, False, True)),
        ("three_agents", (False, False, False)),
        ("thermostat", (False, False, False)),
        ("random_game", (False, False, False)),
    ],
)
def test_kinds_of_the_bundled_games(run, game, kind):
    found = strict(run("check", game, "--json").stdout)
    assert tuple(found[key] for key in ("zero_sum", "identical_interest", "symmetric")) == kind


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("(a != b)", "(a == b)", (False, True, True)),
        ("(a != b)", "-1.0 * (a == b)", (True, False, False)),
        # rewards that treat all alike, and a next state or priors that do not
        ('optimality("b", (a != b).double())\n        return state',
         'optimality("b", (a == b).double())\n        return a', (False, True, False)),
        ('optimality("b", (a != b).double())\n        return state',
         'optimality("b", (a == b).double())\n        return a * b', (False, True, True)),
        ('"b", dist.Categorical(torch.ones(2)))\n        vsg.optimality("a", (a == b).double())\n'
         '        vsg.optimality("b", (a != b)',
         '"b", dist.Categorical(torch.arange(2) + 1.0))\n'
         '        vsg.optimality("a", (a == b).double())\n        vsg.optimality("b", (a == b)',
         (False, True, False)),
    ],
)  # fmt: skip
def test_kinds_of_other_games(run, changed, old, new, kind):
    found = strict(run("check", changed(old, new), "--json").stdout)
    assert tuple(found[key] for key in ("zero_sum", "identical_interest", "symmetric")) == kind


@pytest.mark.parametrize("name", ["graph.png", "graph.svg", "graph.PDF"])
@pytest.mark.parametrize("options", [[], ["--agent", "ann", "--steps", "1"]])
def test_render_draws_the_model(run, tmp_path, name, options):
    answer = run("render", THREE_STATES, "--out", tmp_path / name, *options)
    assert answer.exit_code == 0
    start = {"png": b"\x89PNG", "svg": b"<?xml", "PDF": b"%PDF"}[name[-3:]]
    assert (tmp_path / name).read_bytes().startswith(start)
    # one step in the paper's variables s, a^i, a^-i, O^i, s'; or two steps of five sites, three s
    variables = 5 if options else 13
    assert f"{variables} variables" in answer.stdout


def test_render_names_the_sites(run, tmp_path):
    out = tmp_path / "graph.svg"
    run("render", THREE_STATES, "--out", out)
    text = out.read_text()
    for site in ("ann_0", "bob_1", "O_ann_0", "wears_1", "s_2"):
        assert f"node:{site}" in text
    run("render", THREE_STATES, "--out", out, "--agent", "bob")
    assert "node:a^-i_0" in out.read_text()


def test_games_are_listed(run):
    answer = run("games")
    assert answer.exit_code == 0
    for name in models.GAMES:
        assert name in answer.stdout
    assert "agent1 to agent4" in answer.stdout and "start=anywhere" in answer.stdout
    listed = strict(run("games", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(models.GAMES)
    grid = next(entry for entry in listed if entry["name"] == "grid")
    assert grid["agents"] == ["a", "b"]
    assert grid["description"].startswith("Two agents walk to opposite corners")
    assert {"name": "size", "type": "a whole number", "default": 3} in grid["parameters"]


def test_help_and_version(run):
    import importlib.metadata

    answer = run("--help")
    for word in ("solve", "check", "render", "games", "sweep", "vsg solve mygame.py", "Exit codes"):
        assert word in answer.stdout
    lines = [line.strip() for line in run("solve", "--help").stdout.splitlines()]
    assert "vsg solve stag_hunt" in lines and "vsg solve beach_bar --out run" in lines
    assert run("--version").stdout == f"vsg {importlib.metadata.version('vsg_ppl')}\n"
    for command in ("solve", "check", "render", "sweep", "games"):
        answer = run(command, "--help")
        assert answer.exit_code == 0
        assert f"vsg {command}" in answer.stdout or command == "games"
        assert "Show this message" in answer.stdout
    for option in ("--set", "--temperature", "--json", "--out", "--seed", "--no-progress"):
        assert option in run("solve", "--help").stdout


# --- Bad input ---


@pytest.mark.parametrize("command", [["solve"], ["check"], ["render", "--out", "x.png"]])
def test_an_unknown_game(refused, command):
    text = refused(*command, "stag_hnt")
    assert "no game is named 'stag_hnt'" in text and "Try: stag_hunt." in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "size"], ["--set size is not NAME=VALUE", "Try: --set discount=0.9."]),
        (["--set", "=3"], ["--set =3 is not NAME=VALUE"]),
        (["--set", "size=3", "--set", "size=4"], ["--set gives 'size' twice, 3 and 4"]),
        (["--set", "width=3"], ["grid has no parameter 'width'", "Try: one of size, slip, crash"]),
        (["--set", "size=big"], ["'size' of grid is a whole number, not 'big'"]),
        (["--set", "size=1"], ["1 cells along each side; it needs at least 2"]),
        (["--temperature", "-1"], ["--temperature is -1; it must be positive"]),
        (["--temperature", "0"], ["--temperature is 0"]),
        (["--temperature", "nan"], ["--temperature is nan"]),
        (["--anneal-to", "-0.5"], ["--anneal-to is -0.5"]),
        (["--target-gap", "0"], ["--target-gap is 0"]),
        (["--temperature", "1", "--target-gap", "0.1"], ["--temperature alone is a fixed one"]),
        (["--temperature", "1", "--anneal-to", "2"], ["would rise from 1 to 2"]),
        (["--step", "big"], ["--step is 'big'", "adaptive, monotone, safe"]),
        (["--step", "1.5"], ["--step is '1.5'", "(0, 1]"]),
        (["--max-steps", "0"], ["--max-steps is 0"]),
        (["--seed", "1", "--factorisation", "conditional"], ["--seed draws marginal policies"]),
        (["--tolerance", "-1"], ["--tolerance is -1"]),
    ],
)
def test_bad_options(refused, options, words):
    text = refused("solve", "grid", *options)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["solve"], "Missing argument 'GAME'"),
        (["solve", "hedge", "--bogus"], "No such option: --bogus"),
        (["solve", "hedge", "--temperature", "warm"], "Invalid value for '--temperature'"),
        (["solve", "hedge", "--entropy", "all"], "'own', 'joint', 'none'"),
        (["solve", "hedge", "--factorisation", "x"], "'marginal', 'conditional'"),
        (["render", "hedge"], "Missing option '--out'"),
        (["render", "hedge", "--out", "x.png", "--steps", "0"], "--steps"),
        (["slove", "hedge"], "No such command 'slove'"),
    ],
)
def test_usage_errors(run, arguments, words):
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert words in answer.stderr
    assert "Try 'vsg" in answer.stderr and "-h' for help" in answer.stderr


PAY_B = 'vsg.optimality("b", (a != b).double())'
ACT_B = 'vsg.act("b", dist.Categorical(torch.ones(2)))'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (PAY_B, 'vsg.optimality("b", (a / 0).double())', ["'O_b'", "reward of 'b' is"]),
        (PAY_B, 'vsg.optimality("b", torch.tensor(float("nan")))', ["'O_b'", "is nan"]),
        (PAY_B, 'vsg.optimality("b", torch.ones(3))', ["'O_b'", "has shape (3,)", "Try: drop"]),
        (PAY_B, "pass", ["agent 'b' of Duel has no optimality", 'Try: vsg.optimality("b"']),
        (ACT_B, "torch.tensor(0)", ["agent 'b' of Duel never acts", 'Try: vsg.act("b"']),
        ('"b", (a != b)', '"c", (a != b)', ["'c'", "a, b"]),
        ('act("b"', 'act("c"', ["'c'", "a, b"]),
        (ACT_B, ACT_B[:-1] + ', name="a")', ["line 13: at site 'a'", "used for two sites"]),
        (
            "b = vsg.act(\"b\", dist.Categorical(torch.ones(2)))",
            "b = vsg.act(\"b\", dist.Normal(0., 1.))",
            ["mine.py, line 13: at site 'b'", "prior Normal", "Try: dist.Categorical"],
        ),
        (
            "return state",
            'return pyro.sample("x", dist.Normal(0., 1.)).long()',
            ["line 16: at site 'x'", "a Normal cannot be enumerated"],
        ),
        ("return state", "return state, a", ["returns (integer, integer)", "is integer"]),
        ("return state", "return None", ["next state", "Try: "]),
        ("return state", "return state + 0.5", ["integer", "torch.float32", "Try: "]),
        ("return state", "if a == 0:\n            return a", ["line 16", "Try: ", "cannot branch"]),
        ("return state", "return state.no_such", ["line 16", "AttributeError", "no_such"]),
        ("return state", "raise SystemExit(0)", ["ends the process"]),
        ("torch.tensor(0)", "torch.tensor(1) / 0", ["integer", "torch.float32"]),
        ("torch.tensor(0)", "undefined", ["mine.py, line 10", "NameError", "undefined"]),
        ("torch.ones(2)", "torch.tensor([0.5, -0.5])", ["line 12", "ValueError", "Simplex"]),
        ("discount = 0.5", "discount = 1.5", ["discount of Duel is 1.5"]),
        ("discount = 0.5", "pass", ["never ends", "Try: give it `discount = 0.9`"]),
        ("discount = 0.5", "horizon = 0", ["horizon of Duel is 0"]),
        ('agents = ("a", "b")', "agents = ()", ["Duel has no agents"]),
        ('agents = ("a", "b")', 'agents = ("a", "a")', ["a, a"]),
        ('agents = ("a", "b")', 'agents = "ab"', ["not a tuple of names"]),
        ('agents = ("a", "b")', "", ["has no `agents`"]),
        ("import pyro, torch", "import pyro, torhc", ["mine.py, line 2", "'torhc'"]),
        ("def step(self, state):", "def step(self, state)", ["line 11: this is not Python"]),
        ("def initial", "def start", ["defines no game", "class Duel has no `initial`"]),
        ("class Duel:", "class Other(vsg.models.Hedge): pass\nclass Duel:", ["several games"]),
    ],
)  # fmt: skip
def test_bad_games(refused, changed, old, new, words):
    path = changed(old, new)
    for command in ("check", "solve"):
        text = refused(command, path)
        for word in words:
            assert word in text


def test_an_endless_state_space(refused, changed, monkeypatch):
    monkeypatch.setattr(sys.modules["vsg_ppl.tabulate"], "DEPTH", 30)
    text = refused("check", changed("return state", "return state + 1"))
    assert "still has new states after" in text and "Try: bound the state" in text


def test_more_states_than_memory_holds(refused, changed, monkeypatch):
    monkeypatch.setattr(sys.modules["vsg_ppl.tabulate"], "_memory", lambda: 2e4)
    text = refused("check", changed("return state", "return (state + 1) % 99999"))
    assert "bytes" in text and "a smaller game" in text


def test_no_memory_left(refused, monkeypatch):
    def fail(game):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")

    monkeypatch.setattr(sys.modules["vsg_ppl.tabulate"], "tabulate", fail)
    assert "there is not enough memory for this game" in refused("check", "hedge")


def test_a_malformed_gambit_file(refused, file):
    text = refused("solve", file(PENNIES[:-5], "pennies.nfg"))
    assert "pennies.nfg, line 3, column" in text


def test_an_out_that_cannot_be_written_is_refused_before_solving(refused, changed, tmp_path):
    marker = tmp_path / "stepped"
    path = changed("a = vsg", f"open({str(marker)!r}, 'w').close()\n        a = vsg")
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "run"):
        text = refused("solve", path, "--out", out)
        assert f"cannot write to {out}" in text and "Try: another place for --out." in text
    assert not marker.exists()


def test_what_cannot_be_rendered(refused, tmp_path):
    out = tmp_path / "x.png"
    assert "has no agent 'cat'" in refused("render", "hedge", "--out", out, "--agent", "cat")
    text = refused("render", "hedge", "--out", tmp_path / "x.doc")
    assert "x.doc has not the name of a picture" in text and "x.png" in text
    assert "cannot write to" in refused("render", "hedge", "--out", tmp_path / "no" / "x.png")


def test_a_fault_of_the_library_is_said_to_be_one(run, monkeypatch):
    def fail(game):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(sys.modules["vsg_ppl.tabulate"], "tabulate", fail)
    answer = run("check", "hedge")
    assert answer.exit_code == 3
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [
        "Error: vsg has a fault: ZeroDivisionError: one",
        "Try: VSG_TRACEBACK=1 to see where, and please report it.",
    ]
    monkeypatch.setenv("VSG_TRACEBACK", "1")
    assert isinstance(CliRunner().invoke(cli.app, ["check", "hedge"]).exception, ZeroDivisionError)


# --- As processes ---


def test_process_json_alone_on_stdout(file, tmp_path):
    path = file("print('loading')\n" + GAME)
    answer = process("solve", path, "--json", "--out", tmp_path / "run")
    assert answer.returncode == 0
    assert strict(answer.stdout)["status"] == "solved"
    assert answer.stdout.count("\n") == 1
    assert answer.stderr == "loading\n"


def test_process_bad_input_without_a_traceback(changed):
    answer = process("solve", changed("return state", "return state.no_such"), "--json")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1 and "Traceback" not in answer.stderr
    assert answer.stderr.startswith("Error: mine.py, line 16: `step` of Duel raises Attribute")


def test_process_stopped_while_it_sets_up(file):
    """Ctrl-C once the game's program is known to run."""
    waiting = "        import time; print('ready', flush=True); time.sleep(60)\n"
    path = file(GAME.replace("        a = vsg", waiting + "        a = vsg"))
    command = [sys.executable, "-m", "vsg_ppl.cli", "solve", path]
    # run in the background, the tests ignore Ctrl-C, and would hand that on
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed) as running:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate()
    assert (out, errors) == ("", "Error: stopped before there was a result\n")
    assert running.returncode == 130


def test_process_on_a_terminal_without_the_letters(file):
    """An ASCII terminal gets other signs, and no exception."""
    command = [
        sys.executable,
        "-m",
        "vsg_ppl.cli",
        "solve",
        file(PENNIES.replace("Eve", "Ève"), "p.nfg"),
    ]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    answer = subprocess.run(command, capture_output=True, env=environment)
    assert answer.returncode == 0
    assert b"Pennies: solved" in answer.stdout


def test_reading_options_imports_no_torch():
    """Help and usage errors answer at once: this module's own imports are light."""
    program = """
        import sys, types
        package = types.ModuleType("vsg_ppl")  # as if its __init__ imported nothing
        package.__path__ = [PATH]
        sys.modules["vsg_ppl"] = package
        from typer.testing import CliRunner
        from vsg_ppl import cli
        for arguments in (["--help"], ["solve", "--help"], ["sweep", "--help"], ["solve"],
                          ["solve", "x", "--bogus"], ["solve", "x", "--temperature", "-1"],
                          ["sweep", "x", "--out", "y", "--jobs", "0"], ["--version"]):
            CliRunner().invoke(cli.app, arguments)
            assert "torch" not in sys.modules, arguments
    """
    program = textwrap.dedent(program).replace("PATH", repr(str(Path(cli.__file__).parent)))
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
