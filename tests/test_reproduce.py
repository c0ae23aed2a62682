"""`vsg reproduce` and what it writes."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from typer.testing import CliRunner

import vsg_ppl as vsg
from vsg_ppl.cli import app
from vsg_ppl.learning import Learning
from vsg_ppl.reproduce import Figure2a


def test_what_is_written_is_what_was_learnt(tmp_path):
    figure = Figure2a(methods=("mai",), seeds=2, episodes=3)
    learnings = figure.run()
    assert figure.write(learnings, tmp_path) == [
        *("curves.csv", "figure-2a.json", "figure-2a.png", "figure-2a.svg")
    ]
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    for row in rows:
        agent = learnings[0].agents.index(row["agent"])
        reward = learnings[0].rewards[int(row["episode"]) - 1, int(row["experiment"]), agent]
        assert float(row["reward"]) == pytest.approx(float(reward))
    found = json.loads((tmp_path / "figure-2a.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(figure.summary(learnings)))
    assert found["settings"]["seeds"] == 2 and found["settings"]["width"] == 3.0
    for name in ("figure-2a.png", "figure-2a.svg"):
        assert (tmp_path / name).stat().st_size > 5000


def test_the_summary():
    rewards = torch.full((200, 4, 2), 9.9)
    rewards[:, 0] = 0.0
    found = Figure2a(methods=("mai",), seeds=4).summary(
        [Learning(None, "mai", ("a", "b"), rewards, seconds=8.0)]
    )["results"]["mai"]
    assert found["success"]["rate"] == 0.75
    assert found["final_median"] == pytest.approx(9.9)
    assert found["cpu_seconds_per_experiment"] == 2.0


def test_the_command(tmp_path):
    options = ["--method", "mai", "--seeds", "2", "--episodes", "2", "--json", "--out", tmp_path]
    answer = CliRunner().invoke(app, ["reproduce", "figure-2a", *map(str, options)])
    assert answer.exit_code == 0
    found = json.loads(answer.stdout)
    assert list(found["results"]) == ["mai"]
    assert (tmp_path / "figure-2a.png").exists()
    answer = CliRunner().invoke(
        app, ["reproduce", "figure-2a", "--method", "mai", "--quick", "--episodes", "1"]
    )
    assert answer.exit_code == 0 and "95 % interval" in answer.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "magic"], "the method is 'magic'"),
        (["--start", "cold"], "the start is 'cold'"),
        (["--seeds", "0"], "--seeds is 0"),
    ],
)
def test_what_there_is_not(options, words):
    answer = CliRunner().invoke(app, ["reproduce", "figure-2a", "--quick", *options])
    assert answer.exit_code == 2
    assert words in answer.stderr
    with pytest.raises(vsg.GameError):
        Figure2a(methods=("magic",))
