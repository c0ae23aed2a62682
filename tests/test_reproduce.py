"""`vsg reproduce` and what it writes."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

import vsg_ppl as vsg
from vsg_ppl.cli import app
from vsg_ppl.figure_2a import GAMES, PAYOFFS, Figure2a
from vsg_ppl.figure_2b import Figure2b, watching
from vsg_ppl.learning import Learning
from vsg_ppl.models import Differential, Routing
from vsg_ppl.reproduce import Panel, fading, options_of
from vsg_ppl.routing import expected_nash_conv, routing_equilibrium, visitation

TWO = {"methods": ("mai", "iddpg"), "seeds": 2, "episodes": 3}


def invoke(*words):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["reproduce", *map(str, words)])


def test_what_is_written_is_what_was_learnt(tmp_path):
    figure = Figure2a(**TWO, starts=("uniform", "bad"))
    panels = figure.run(folder=tmp_path)
    assert figure.write(panels, tmp_path) == [
        *("curves.csv", "curves.parquet", "figure-2a.json", "figure-2a.png", "figure-2a.svg")
    ]
    assert not (tmp_path / "checkpoints").exists()
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3 * 2 * 2
    for row in rows:
        panel = panels[("uniform", "bad").index(row["start"])]
        learning = panel.learnings[("mai", "iddpg").index(row["method"])]
        agent = learning.agents.index(row["agent"])
        reward = learning.rewards[int(row["episode"]) - 1, int(row["experiment"]), agent]
        assert float(row["reward"]) == pytest.approx(float(reward))
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "curves.parquet")
    assert [float(row["reward"]) for row in rows] == table["reward"].to_pylist()
    found = json.loads((tmp_path / "figure-2a.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(figure.summary(panels)))
    assert found["settings"]["seeds"] == 2 and found["settings"]["starts"] == ["uniform", "bad"]
    for name in ("figure-2a.png", "figure-2a.svg"):
        assert (tmp_path / name).stat().st_size > 5000


def test_success_is_the_first_agents():
    rewards = torch.full((200, 4, 2), 9.9)
    rewards[..., 1] = 3.0
    rewards[:, 0] = 0.0
    learning = Learning(None, "mai", ("a", "b"), rewards, seconds=8.0)
    figure = Figure2a(methods=("mai",), seeds=4)
    (found,) = figure.summary([Panel({"start": "uniform"}, [learning])])["results"]
    assert found["success"]["rate"] == 0.75
    assert found["final_median"] == pytest.approx(9.9)
    assert found["cpu_seconds_per_experiment"] == 2.0


def test_changed_games_have_their_narrow_top_within_reach():
    for name, changes in GAMES.items():
        for width in PAYOFFS.values():
            game = Differential(width=width, **changes)
            top = [torch.full((game.dims,), place) for place in game.tops[1]]
            top = [place[0] for place in top] if game.dims == 1 else top
            assert game.reward(*top) > 9.9, name


def test_schedules():
    assert options_of("maddpg", "falling", 0.1) == {"noise": fading}
    assert fading(0) == 0.1 and fading(100) == pytest.approx(0.1 * 0.98**100)
    assert options_of("mai", "constant", 0.1) == {"temperature": 0.1}


def test_a_stopped_figure_goes_on(tmp_path, monkeypatch):
    """What was learnt before is not learnt again, and the rest is the same."""
    whole = Figure2a(**TWO).run()
    figure, learn, calls = Figure2a(**TWO), Figure2a.learn, []

    def stops(self, method, condition, **options):
        calls.append(method)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(self, method, condition, **options)

    monkeypatch.setattr(Figure2a, "learn", stops)
    with pytest.raises(KeyboardInterrupt):
        figure.run(folder=tmp_path)
    found = figure.run(folder=tmp_path, resume=True)
    for one, two in zip(found[0].learnings, whole[0].learnings, strict=True):
        assert torch.equal(one.rewards, two.rewards)
    kept = found[0].learnings[0].seconds
    again = figure.run(folder=tmp_path, resume=True)[0].learnings[0].seconds
    assert kept == again  # it was read, and not computed
    with pytest.raises(vsg.GameError, match="what an unfinished run left"):
        figure.run(folder=tmp_path)
    with pytest.raises(vsg.GameError, match="it has seed 0, and this run seed 1"):
        Figure2a(**TWO, seed=1).run(folder=tmp_path, resume=True)


def test_what_is_watched_on_the_way():
    """Of agents who always play the same, exactly; of random ones, by their moments."""
    game = Routing("braess", n_agents=3)
    splits = routing_equilibrium(game).splits
    order = {(int(d), int(i)): k for k, (d, i) in enumerate(zip(*game.states, strict=True))}

    def still(number):
        def play(seen):
            return torch.stack([splits[order[tuple(row)], number] for row in seen.long().tolist()])

        return play

    found = watching(game, 2)({agent: still(i) for i, agent in enumerate(game.agents)})
    weights = visitation(game)
    best = weights @ game.rewards(game.states, splits).mean(-1) / weights.sum()
    assert torch.allclose(found["nash_conv"], torch.zeros(2).double(), atol=1e-8)
    assert torch.allclose(found["reward"], best.expand(2))

    def random(seen):
        return torch.distributions.Dirichlet(torch.ones(len(seen), 3)).sample()

    torch.manual_seed(0)
    found = watching(game, 2)(dict.fromkeys(game.agents, random))
    third, covariance = torch.full((3,), 1 / 3), (torch.eye(3) - 1 / 3) / 12  # of Dirichlet(1,1,1)
    wanted = expected_nash_conv(game, third, covariance.expand(6, 3, 3, 3))[1]
    assert found["nash_conv"].mean().item() == pytest.approx(wanted, rel=0.05)


def test_figure_2b(tmp_path):
    figure = Figure2b(
        methods=("iddpg", "sac"), network="pigou", agents=(2, 3), seeds=3, episodes=4, watch_every=3
    )
    panels = figure.run()
    written = figure.write(panels, tmp_path)
    assert "watched.csv" in written and "figure-2b.svg" in written
    assert panels[1].learnings[0].watched_at == (3, 4)
    found = json.loads((tmp_path / "figure-2b.json").read_text(encoding="utf-8"))
    assert [(row["method"], row["agents"]) for row in found["results"]] == [
        *(("iddpg", 2), ("sac", 2), ("iddpg", 3), ("sac", 3))
    ]
    one, two = (learning.watched["nash_conv"][-1].numpy() for learning in panels[0].learnings)
    row = found["compared"][0]["nash_conv"][0]
    assert (row["method"], row["than"]) == ("iddpg", "sac")
    assert row["nearer_by"] == pytest.approx(two.mean() - one.mean())
    # Welch's interval, by hand
    variance = two.var(ddof=1) / 3, one.var(ddof=1) / 3
    freedom = sum(variance) ** 2 / sum(v**2 / 2 for v in variance)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variance))
    assert row["high"] - row["nearer_by"] == pytest.approx(reach)
    ways = [learning.watched["nash_conv"].mean(0) for learning in panels[0].learnings]
    way = found["compared"][0]["nash_conv_on_the_way"][1]
    assert (way["method"], way["than"]) == ("sac", "iddpg")
    assert way["nearer_by"] == pytest.approx(float(ways[0].mean() - ways[1].mean()))
    judged = found["results"][0]
    assert judged["nash_conv_on_the_way"] == pytest.approx(float(ways[0].mean()))
    assert judged["nash_conv"] == pytest.approx(one.mean())
    half = 1.96 * one.std(ddof=1) / math.sqrt(3)
    assert judged["nash_conv_high"] - judged["nash_conv"] == pytest.approx(half)


def test_the_command(tmp_path):
    answer = invoke(
        "figure-2a", "--method", "mai", "--seeds", 2, "--episodes", 2, "--json", "--out", tmp_path
    )
    assert answer.exit_code == 0
    found = json.loads(answer.stdout)
    assert [row["method"] for row in found["results"]] == ["mai"]
    assert (tmp_path / "figure-2a.png").exists()
    answer = invoke("figure-2a", "--method", "mai", "--quick", "--episodes", 1)
    assert answer.exit_code == 0 and "95 % interval" in answer.stdout
    answer = invoke(
        *("figure-2a", "--method", "iddpg", "--quick", "--episodes", 1),
        *("--start", "bad", "--start", "uniform", "--payoff", "code", "--game", "three"),
    )
    assert answer.exit_code == 0 and "uniform" in answer.stdout and "code" not in answer.stdout
    answer = invoke(
        *("figure-2b", "--method", "iddpg", "--quick", "--episodes", 1),
        *("--network", "pigou", "--agents", 2),
    )
    assert answer.exit_code == 0 and "equilibrium" in answer.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["figure-2a", "--method", "magic"], "the method is 'magic'"),
        (["figure-2a", "--start", "cold"], "the start is 'cold'"),
        (["figure-2a", "--schedule", "up"], "the schedule is 'up'"),
        (["figure-2a", "--payoff", "none"], "the payoff is 'none'"),
        (["figure-2a", "--game", "chess"], "the game is 'chess'"),
        (["figure-2a", "--agents", "3"], "figure-2a has no --agents"),
        (["figure-2b", "--start", "bad"], "figure-2b has no --start"),
        (["figure-2b", "--network", "moebius"], "the network is 'moebius'"),
        (["figure-2b", "--agents", "1"], "1 agents; at least 2"),
        (["figure-2b", "--schedule", "up"], "the schedule is 'up'"),
        (["figure-2a", "--seeds", "0"], "seeds"),
        (["figure-2a", "--resume"], "nothing to resume without a folder"),
    ],
)
def test_what_does_not_fit(options, words):
    answer = invoke(*options)
    assert answer.exit_code != 0 and words in " ".join(answer.output.split())


def test_figures_know_their_methods():
    with pytest.raises(vsg.GameError, match="the method is 'magic'"):
        Figure2b(methods=("magic",))


def test_variants_are_mai_but_for_one_thing():
    """On the routing game too: the first is what MAI is there, the last looks ahead."""
    options = {"network": "pigou", "agents": (2,), "seeds": 1, "episodes": 2}
    names = ("mai", "mai-marginal", "mai-known", "mai-ahead")
    plain, same, known, ahead = Figure2b(methods=names, **options).run()[0].learnings
    assert torch.equal(plain.rewards, same.rewards)
    assert not torch.equal(plain.rewards, known.rewards)
    assert not torch.equal(plain.rewards, ahead.rewards)
    with pytest.raises(vsg.GameError, match="no mai-exclusive"):
        Figure2b(methods=("mai-exclusive",))
