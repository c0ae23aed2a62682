"""The command line on mean-field games: the same flags, JSON, files and exit codes."""

import json
import sys
import textwrap
from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, AMONG_AGENTS
from tests.test_cli import strict
from vsg_ppl import cli, models
from vsg_ppl.finite_population import finite_nash_gap
from vsg_ppl.loading import load_game
from vsg_ppl.nash import random_policies
from vsg_ppl.progress import progress_bar

GAME = """
import pyro, torch
import pyro.distributions as dist
import vsg_ppl as vsg

class Queues:
    agents = ("customer",)
    horizon = 3

    def initial(self):
        return torch.tensor(0)

    def step(self, queue, crowd):
        join = vsg.act("customer", dist.Categorical(torch.ones(2)), labels=["LEFT", "RIGHT"])
        vsg.optimality("customer", -crowd.at(queue) - 0.1 * join)
        return join
"""


def run(*arguments):
    """Run the command line in this process; the answer has stdout, stderr and exit_code."""
    answer = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="vsg")
    assert answer.exception is None or isinstance(answer.exception, SystemExit)
    return answer


def refused(*arguments):
    """Run what must be refused: exit code 2, nothing on stdout, reason and hint on stderr."""
    answer = run(*arguments)
    assert answer.exit_code == 2 and answer.stdout == ""
    reason, *hint = answer.stderr.splitlines()
    assert reason.startswith("Error: ") and len(hint) <= 1
    assert all(line.startswith("Try: ") for line in hint)
    return answer.stderr


@pytest.fixture
def queues(tmp_path):
    path = tmp_path / "queues.py"
    path.write_text(GAME)
    return str(path)


# --- solve ---------------------------------------------------------------------------------------


def test_a_bundled_game_is_solved_by_one_command():
    answer = run("solve", "beach_bar")
    assert (answer.exit_code, answer.stderr) == (0, "")
    words = " ".join(answer.stdout.split())
    solution = vsg.mean_field_nash(models.BeachBar())
    certificate = solution.certificate
    for text in (
        "BeachBar: solved. exploitability ",
        f"value {certificate.value:.6g} of one agent of the crowd",
        f"exploitability {certificate.exploitability:.3g} from the initial law",
        f"{certificate.worst_state:.3g} from the worst state that the crowd visits",
        "t state share bather",
        f"2 3 {float(solution.shares[2, 3]):.3g} STAY 1.000",
    ):
        assert text in words
    assert "Nash" not in words and "regularised" not in words


def test_json_is_what_the_library_says():
    answer = run("solve", "beach_bar", "--json")
    assert (answer.exit_code, answer.stderr) == (0, "")
    found = strict(answer.stdout)
    expected = vsg.mean_field_nash(models.BeachBar()).to_dict()
    assert found | {"seconds": 0} == expected | {"seconds": 0}
    assert 0 <= found["certificate"]["exploitability"] <= 1e-8


def test_the_certificate_in_json_is_that_of_its_policy():
    found = strict(run("solve", "left_right", "--temperature", 0.3, "--json").stdout)
    rows = found["policies"]["walker"]
    policy = torch.tensor([row["probabilities"] for row in rows], dtype=torch.float64)
    policy = policy.reshape(2, 3, 2)
    certificate = vsg.mean_field_certify(models.LeftRight(), policy, 0.3)
    assert found["certificate"] == pytest.approx(vars(certificate), abs=1e-9)
    shares = [row["share"] for row in rows]
    left = rows[0]["probabilities"][0]
    assert shares == pytest.approx([1, 0, 0, 0, left, 1 - left])


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--temperature", 0.5], {"temperature": 0.5}),
        (["--temperature", 0.5, "--tolerance", 1e-4], {"temperature": 0.5, "tolerance": 1e-4}),
        (["--anneal-to", 0.5], {"temperature": vsg.Annealing(stop=0.5)}),
        (
            ["--temperature", 2, "--anneal-to", 0.5],
            {"temperature": vsg.Annealing(start=2.0, stop=0.5)},
        ),
        (["--target-gap", 0.01], {"tolerance": 0.01}),
        (["--tolerance", 0.01], {"tolerance": 0.01}),
        (["--max-steps", 3], {"max_steps": 3}),
        (
            ["--method", "algorithm4", "--temperature", 1],
            {"method": "algorithm4", "temperature": 1.0},
        ),
        (
            [*("--method", "algorithm4", "--temperature", 1, "--move-prior", 5)]
            + ["--target-gap", 0.05],
            {"method": "algorithm4", "temperature": 1.0, "move_prior": 5, "tolerance": 0.05},
        ),
        (
            ["--method", "fictitious-play", "--max-steps", 7],
            {"method": "fictitious_play", "max_steps": 7},
        ),
        (
            ["--method", "mirror-descent", "--learning-rate", 0.2, "--max-steps", 9],
            {"method": "mirror_descent", "learning_rate": 0.2, "max_steps": 9},
        ),
        (
            ["--method", "svi", "--temperature", 1, "--max-steps", 2],
            {"method": "svi", "temperature": 1.0, "max_steps": 2},
        ),
    ],
)
def test_options_reach_the_solver(options, arguments):
    answer = run("solve", "beach_bar", "--json", *options)
    expected = vsg.mean_field_nash(models.BeachBar(), **arguments)
    assert answer.exit_code == (0 if expected.solved else 1)
    assert strict(answer.stdout) | {"seconds": 0} == expected.to_dict() | {"seconds": 0}


def test_seed_starts_from_random_policies():
    options = ("--method", "fictitious-play", "--max-steps", 2, "--json")
    found = strict(run("solve", "beach_bar", *options, "--seed", 3).stdout)
    table = vsg.mean_field_table(models.BeachBar())
    start = random_policies(table.shape(), 3)["bather"][0]
    expected = vsg.mean_field_nash(table, method="fictitious_play", max_steps=2, initial=start)
    assert found["certificate"] == expected.to_dict()["certificate"]
    assert found["certificate"] != strict(run("solve", "beach_bar", *options).stdout)["certificate"]


def test_parameters_reach_the_game():
    found = strict(run("solve", "beach_bar", "--set", "places=5", "--json").stdout)
    expected = vsg.mean_field_nash(models.BeachBar(places=5)).to_dict()
    assert found["policies"] == expected["policies"]


@pytest.mark.parametrize("name", ["", ":Queues"])
def test_a_game_of_ones_own(queues, name):
    found = strict(run("solve", queues + name, "--json").stdout)
    assert found["game"] == "Queues" and found["status"] == "solved"
    solution = vsg.mean_field_nash(load_game(queues))
    assert found["policies"] == solution.to_dict()["policies"]


def test_a_crowd_at_rest_has_no_times():
    answer = run("solve", "malware", "--set", "levels=5")
    assert answer.stdout.count("from the law at rest") == 1
    assert ["state", "share", "owner"] in [line.split() for line in answer.stdout.splitlines()]
    rows = strict(run("solve", "malware", "--set", "levels=5", "--json").stdout)["policies"]
    assert set(rows["owner"][0]) == {"state", "share", "probabilities"}


def test_places_where_nobody_is_are_left_out_of_the_words():
    answer = run("solve", "left_right")
    table = answer.stdout.split("walker")[-1]
    assert [line.split()[:2] for line in table.splitlines()[2:]] == [
        ["0", "0"],
        ["1", "1"],
        ["1", "2"],
    ]


def test_what_does_not_converge_is_shown_with_advice_in_options():
    answer = run("solve", "beach_bar", "--method", "mirror-descent", "--max-steps", 1)
    assert answer.exit_code == 1 and answer.stderr == ""
    assert "BeachBar: not converged. exploitability 1.22 (wanted 1e-08): raise --max-steps" in (
        answer.stdout
    )
    assert "lower --learning-rate, or --method exact" in answer.stdout
    assert "`" not in answer.stdout and "bather" in answer.stdout


def test_stopped_while_solving_shows_the_best_so_far(monkeypatch):
    @contextmanager
    def stopping():
        def show(entry):
            if entry["iteration"] == 2:
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr(sys.modules["vsg_ppl.mean_field"], "no_progress", stopping)
    answer = run("solve", "beach_bar")
    assert answer.exit_code == 1
    assert "BeachBar: interrupted. stopped by hand at exploitability" in answer.stdout


@pytest.mark.parametrize(
    ("key", "words"), [("exploitability", "exploitability 1.25e-01"), ("nash_gap", "gap 1.25e-01")]
)
def test_the_bar_shows_the_last_gap_that_is_known(monkeypatch, key, words):
    import rich.progress

    shown = []
    update = rich.progress.Progress.update

    def note(self, task, **changes):
        shown.append(changes["description"])
        update(self, task, **changes)

    monkeypatch.setattr(rich.progress.Progress, "update", note)
    entry = {"iteration": 7, "temperature": 0.5, "residual": 0.25}
    with progress_bar("solver") as show:
        show(entry)
        show(entry | {key: 0.125})
        show(entry)
    first = "solver  iteration 7  temperature 0.5  residual 2.50e-01"
    assert shown == [first, f"{first}  {words}", f"{first}  {words}"]


# --- among real agents ---------------------------------------------------------------------------


def test_the_gap_among_real_agents(tmp_path):
    game = models.LeftRight()
    answer = run("solve", "left_right", "--population", 2, "--population", 10, "--json")
    found = strict(answer.stdout)["population"]
    policy = vsg.mean_field_nash(game).policies["walker"]
    for entry, n in zip(found, (2, 10), strict=True):
        expected = finite_nash_gap(game, policy, n)
        assert entry == {key: x for key, x in vars(expected).items() if key != "deviation"}
    assert [entry["gap"] for entry in found] == pytest.approx([1 / 6, 1 / 30], abs=1e-6)
    out = tmp_path / "run"
    twice = ("--population", 2, "--population", 10, "--population", 2)
    answer = run("solve", "left_right", *twice, "--out", out)
    assert answer.stderr == ""
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert ["2", "0.167", "0.167"] in lines and ["10", "0.0333", "0.0333"] in lines
    assert (out / "population.png").read_bytes().startswith(b"\x89PNG")
    assert "population" not in strict(run("solve", "left_right", "--json").stdout)


def test_a_gap_that_is_estimated_is_said_to_be():
    options = ("--population", 10_000, "--seed", 4)
    entry = strict(run("solve", "beach_bar", *options, "--json").stdout)["population"][0]
    assert entry["exact"] is False and entry["low"] < entry["gap"] < entry["high"]
    answer = run("solve", "beach_bar", *options)
    line = next(line for line in answer.stdout.splitlines() if line.startswith("10,000"))
    interval = f"{entry['blind']:.3g}, from {entry['low']:.3g} to {entry['high']:.3g}"
    assert " ".join(line.split()) == f"10,000 at least {entry['low']:.3g} {interval}"


@pytest.mark.parametrize("error", [vsg.GameError("too many"), KeyboardInterrupt()])
def test_a_gap_that_fails_takes_nothing_with_it(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(sys.modules["vsg_ppl.finite_population"], "finite_nash_gap", fail)
    answer = run("solve", "left_right", "--population", 5, "--json")
    assert answer.exit_code == 0 and strict(answer.stdout)["population"] == []
    assert answer.stderr.startswith("Warning: ") and "among 5 agents" in answer.stderr


# --- files ---------------------------------------------------------------------------------------


def test_out_writes_all_of_it(tmp_path):
    answer = run("solve", "beach_bar", "--out", tmp_path / "run")
    names = [
        *("solution.safetensors", "solution.json", "solution.png", "crowd.gif", "graph.png"),
    ]
    assert answer.exit_code == 0 and answer.stderr == ""
    assert f"Written to {tmp_path / 'run'}: {', '.join(names)}" in answer.stdout
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(names)
    loaded = vsg.Solution.load(tmp_path / "run" / "solution.safetensors", models.BeachBar())
    assert loaded.certificate.exploitability <= 1e-8
    found = strict((tmp_path / "run" / "solution.json").read_text())
    assert found == json.loads(json.dumps(loaded.to_dict()))
    with Image.open(tmp_path / "run" / "crowd.gif") as picture:
        assert picture.n_frames == 3
    for name in ("solution.png", "graph.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_a_crowd_at_rest_is_one_picture(tmp_path):
    answer = run("solve", "malware", "--set", "levels=4", "--out", tmp_path, "--json")
    assert answer.stderr == "" and not (tmp_path / "crowd.gif").exists()
    assert (tmp_path / "crowd.png").read_bytes().startswith(b"\x89PNG")
    assert strict(answer.stdout) == strict((tmp_path / "solution.json").read_text())


# --- check, render, games ------------------------------------------------------------------------


def test_check_says_what_the_crowd_moves_and_what_the_prior_is_worth():
    words = " ".join(run("check", "beach_bar").stdout.split())
    assert words.startswith("BeachBar is well-formed. agent bather, one of a crowd")
    worth = vsg.mean_field_certify(models.BeachBar(), torch.full((4, 3), 1 / 3)).exploitability
    for text in (
        "actions of bather 3: LEFT, STAY, RIGHT",
        "states 4: 0, 1, 2, 3",
        "successors at most 3 of a state and action",
        "horizon 3 decisions",
        "kind mean-field; the crowd moves rewards alone",
        f"the prior has exploitability {worth:.6g}",
    ):
        assert text in words
    assert "joint" not in words and "sum" not in words
    words = " ".join(run("check", "malware").stdout.split())
    assert "horizon infinite: the crowd is one that stays as it is" in words
    words = " ".join(run("check", "susceptible_infected", "--set", "horizon=4").stdout.split())
    assert "the crowd moves rewards and next states" in words


def test_check_json():
    found = strict(run("check", "beach_bar", "--json").stdout)
    assert found["well_formed"] is True and found["mean_field"] is True
    assert found["crowd_moves_states"] is False and found["horizon"] == 3
    assert found["states"] == 4 and found["actions"] == {"bather": 3}
    assert found["examples"] == [0, 1, 2, 3]
    prior = torch.full((4, 3), 1 / 3).double()
    expected = vsg.mean_field_certify(models.BeachBar(), prior).exploitability
    assert found["prior_exploitability"] == pytest.approx(expected, rel=1e-9)
    assert strict(run("check", "stag_hunt", "--json").stdout)["mean_field"] is False


def test_a_prior_whose_crowd_does_not_come_to_rest_is_no_error(monkeypatch):
    def fail(table, policy):
        raise vsg.GameError("no rest")

    monkeypatch.setattr(sys.modules["vsg_ppl.mean_field_certificate"], "mean_field_certify", fail)
    assert strict(run("check", "malware", "--json").stdout)["prior_exploitability"] is None
    words = " ".join(run("check", "malware").stdout.split())
    assert "the prior makes a crowd that does not come to rest" in words


def test_render_shows_the_crowd(tmp_path, queues):
    for options in ([], ["--agent", "customer"]):
        run("render", queues, "--out", tmp_path / "graph.svg", *options)
        text = (tmp_path / "graph.svg").read_text()
        for node in ("L_0", "L_1", "s_2"):
            assert f"node:{node}" in text


def test_games_tell_the_kinds_apart():
    listed = strict(run("games", "--json").stdout)
    assert {entry["name"] for entry in listed if entry["mean_field"]} == set(AMID_A_CROWD)
    assert {entry["name"] for entry in listed if not entry["mean_field"]} == set(AMONG_AGENTS)
    one, other = run("games").stdout.split("Mean-field games: one agent amid a crowd")
    first = {line.split(" ")[0] for line in one.splitlines()}
    second = {line.split(" ")[0] for line in other.splitlines()}
    assert set(AMONG_AGENTS) <= first and set(AMID_A_CROWD) <= second
    assert not first & second & set(models.GAMES)


@pytest.mark.parametrize("width", [80, 160])
def test_names_of_games_are_never_broken(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("games").stdout
    assert all(name in shown for name in models.GAMES)
    assert max(map(len, shown.splitlines())) <= width


# --- options that mean nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--factorisation", "marginal"],
            ["--factorisation is for games among agents", "LeftRight is a mean-field game"],
        ),
        (["--entropy", "own"], ["--entropy is for games among agents", "without --entropy"]),
        (["--step", "0.5"], ["--step is for games among agents"]),
        (["--method", "svi"], ["--method svi climbs a soft objective", "--temperature 0.1; or"]),
        (["--method", "algorithm4"], ["--method algorithm4 climbs a soft objective"]),
        (["--move-prior", "3"], ["--move-prior is for --method algorithm4", "method is exact"]),
        (["--learning-rate", "1"], ["--learning-rate is for --method mirror-descent"]),
        (["--target-gap", "0.1", "--tolerance", "0.1"], ["are one thing in a mean-field game"]),
        (["--target-gap", "0.1", "--temperature", "1"], ["a temperature keeps from vanishing"]),
        (["--target-gap", "0.1", "--anneal-to", "1"], ["a temperature keeps from vanishing"]),
        (
            ["--method", "fictitious-play", "--anneal-to", "0.1"],
            ["--method fictitious-play stays at one temperature", "--temperature alone"],
        ),
    ],
)
def test_options_that_a_mean_field_game_does_not_have(options, words):
    text = refused("solve", "left_right", *options)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "exact"], ["--method exact is for mean-field games, and Hedge is not one"]),
        (["--move-prior", "3"], ["--move-prior is for mean-field games", "without --move-prior"]),
        (["--learning-rate", "0.1"], ["--learning-rate is for mean-field games"]),
        (["--population", "3"], ["--population is for mean-field games"]),
    ],
)
def test_options_that_a_game_among_agents_does_not_have(options, words):
    text = refused("solve", "hedge", *options)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--population", "0"], "--population is 0; at least 1"),
        (["--move-prior", "0"], "--move-prior is 0; at least 1"),
        (["--learning-rate", "-1"], "--learning-rate is -1; it must be positive"),
        (["--temperature", "0"], "--temperature is 0; it must be positive"),
        (["--temperature", "1", "--anneal-to", "2"], "would rise from 1 to 2"),
        (["--max-steps", "0"], "--max-steps is 0"),
    ],
)
def test_values_that_no_game_allows(options, words):
    assert words in refused("solve", "left_right", *options)


def test_an_unknown_method():
    answer = run("solve", "left_right", "--method", "newton")
    assert answer.exit_code == 2
    assert "'exact', 'algorithm4', 'fictitious-play', 'mirror-descent', 'svi'" in answer.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("crowd.at(queue)", "crowd.at((queue, queue))", ["line 15", "of structure"]),
        ("crowd.at(queue)", "crowd.at(queue, join + 2)", ["not among its 2"]),
        ("crowd.at(queue)", "1 / (crowd.at(queue) * 0)", ["reward of 'customer' is"]),
        ('("customer",)', '("customer", "other")', ["has 2 agents", "stands for everybody"]),
        ("torch.ones(2)", "torch.stack([crowd.at(0) + 1, crowd.at(1) + 1])", ["reads the crowd"]),
    ],
)
def test_bad_games(queues, tmp_path, old, new, words):
    assert old in GAME
    path = tmp_path / "bad.py"
    path.write_text(textwrap.dedent(GAME.replace(old, new, 1)))
    for command in ("check", "solve"):
        text = refused(command, path)
        for word in words:
            assert word in text
