"""`plot_inference`: the picture shows unknowns, policies and fit as they are, legibly."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import vsg_ppl as vsg
from tests.test_plot import arrays, panels, shown_texts
from vsg_ppl.models import AsymmetricPennies, StagHunt
from vsg_ppl.plot_inference import plot_inference, wilson


def hunt(**options):
    plays = vsg.nash(StagHunt(), temperature=2.0).simulate(50, steps=10)
    return vsg.infer_opponent(StagHunt(), "col", plays, samples=100, restarts=0, **options)


def table(agent, plays=20, steps=15, of=None, **options):
    of = of or {}
    game = arrays(**of)
    steps = None if "horizon" in of else steps
    seen = vsg.nash(game, temperature=0.5, max_steps=4).simulate(plays, steps=steps)
    return vsg.infer_opponent(game, agent, seen, samples=60, restarts=0, **options)


CASES = {
    "one unknown": lambda: hunt(reward="program"),
    "few cells": lambda: hunt(),
    "nothing": lambda: hunt(reward="program", temperature=1.0),
    "one draw": lambda: replace(hunt(), posterior={"x": torch.ones(1).double()}),
    "table": lambda: table("agent1", of={"agents": 1, "states": 12, "sizes": (4,)}),
    "horizon": lambda: table("agent2", of={"states": 4, "sizes": (2, 4), "horizon": 5}),
    "joint": lambda: table("agent1", of={"sizes": (2, 4)}, reward="joint"),
    "many states": lambda: table("agent1", of={"states": 60, "sizes": (2, 2)}, reward="state"),
    "many actions": lambda: table("agent1", of={"states": 2, "sizes": (40, 2)}),
    "several agents": lambda: vsg.infer_opponent(
        AsymmetricPennies(),
        ("row", "col"),
        AsymmetricPennies.human_play(),
        others=1,
        reward="program",
        method="svi",
        steps=60,
        samples=60,
    ),
    "many agents": lambda: table(
        tuple(f"agent{k}" for k in range(1, 6)), of={"agents": 5, "states": 2, "sizes": (2,) * 5}
    ),
    "many unknowns": lambda: replace(
        hunt(), posterior={f"unknown {k}": torch.randn(50).double() * 10.0**k for k in range(11)}
    ),
    "vectors": lambda: replace(
        hunt(),
        posterior={
            "short": torch.randn(50, 3).double(),
            "long": torch.randn(50, 45).double(),
            "square": torch.randn(50, 5, 7).double(),
            "$\\frac{": torch.randn(50).double(),
        },
    ),
}


@lru_cache
def case(name):
    return CASES[name]()


def titled(figure):
    """Axes by the title on their left."""
    return {axes.get_title("left"): axes for axes in figure.axes if axes.get_title("left")}


def points(axes, label):
    """Points by the name of their row; a state's actions are counted on."""
    [line] = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(line.get_xdata())


@pytest.mark.parametrize("name", CASES)
def test_pictures_are_legible(name):
    """Every text lies inside the picture, and upright ones do not touch each other."""
    figure = plot_inference(case(name))
    boxes = []
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in shown_texts(figure):
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= width + 1 and box.y1 <= height + 1, text
        assert text.get_fontsize() >= 7
        if text.get_rotation() in (0.0, 90.0):
            boxes.append((text, box))
    assert len(boxes) > 8
    for k, (one, a) in enumerate(boxes):
        for other, b in boxes[:k]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
            assert apart, (one, other)
    assert figure.get_figwidth() <= 26 and figure.get_figheight() <= 20


def test_the_title_says_what_was_inferred_and_how():
    found = case("one unknown")
    title = plot_inference(found).get_suptitle()
    assert title.startswith("StagHunt: col by laplace, solved\nthe mode of 1 unknown")
    assert title.endswith(f"log evidence −{-found.log_evidence:.4g}")


def test_one_number_is_a_histogram_with_its_interval():
    found = case("one unknown")
    line = found.summary()["temperature"]
    names = titled(plot_inference(found))
    title = f"temperature: {line['mean']:.3g} [{line['low']:.3g}, {line['high']:.3g}]"
    assert list(names) == [title, "col", "nats per action"]
    [mean] = names[title].lines
    assert mean.get_xdata()[0] == pytest.approx(line["mean"])


def test_few_cells_are_intervals_by_name():
    found = case("few cells")
    axes = titled(plot_inference(found))["reward.col"]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "0, STAG",
        "0, HARE",
        "1, STAG",
        "1, HARE",
    ]
    means = axes.lines[-1].get_xdata()
    assert means == pytest.approx(found.posterior["reward.col"].mean(0).reshape(-1).numpy())
    low, high = (ends.reshape(-1).numpy() for ends in found.interval("reward.col"))
    [bars] = axes.collections
    drawn = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert drawn == pytest.approx(np.stack([low, high], 1))


@pytest.mark.parametrize(("name", "agent"), [("table", "agent1"), ("horizon", "agent2")])
def test_a_table_of_rewards_is_a_map_of_its_means(name, agent):
    found = case(name)
    axes = titled(plot_inference(found))[f"reward.{agent}, means"]
    [image] = axes.get_images()
    means = found.posterior[f"reward.{agent}"].mean(0).squeeze().numpy()
    assert np.asarray(image.get_array()) == pytest.approx(means)
    assert image.norm.vmin == -image.norm.vmax == pytest.approx(-abs(means).max())
    assert panels(plot_inference(found)) == {}  # none of them is a policy


def test_joint_cells_are_named_by_everybodys_actions():
    axes = titled(plot_inference(case("joint")))["reward.agent1, means"]
    assert [t.get_text() for t in axes.get_xticklabels()][:5] == [
        "0, 0",
        "0, 1",
        "0, 2",
        "0, 3",
        "1, 0",
    ]


def test_what_is_left_out_is_said():
    texts = {text.get_text() for text, _ in shown_texts(plot_inference(case("many unknowns")))}
    assert "shown: 8 of 11 unknowns" in texts
    texts = {text.get_text() for text, _ in shown_texts(plot_inference(case("many agents")))}
    assert "shown: 4 of 5 agents" in texts
    texts = [text.get_text() for text, _ in shown_texts(plot_inference(case("many states")))]
    assert "the 30 most visited of 60 states" in texts
    assert any("the 6 states seen most, of " in text for text in texts)
    texts = [text.get_text() for text, _ in shown_texts(plot_inference(case("many actions")))]
    assert any("12 of 40 actions" in text for text in texts)


def test_policies_are_those_inferred_and_frequencies_those_seen():
    found = case("several agents")
    names = titled(plot_inference(found))
    for agent in found.agents:
        axes = names[agent]
        assert points(axes, "inferred") == pytest.approx(found.policies[agent].reshape(-1).numpy())
        counts = found.counts[agent]
        often = (counts / counts.sum(-1, keepdim=True)).reshape(-1)
        assert points(axes, "seen") == pytest.approx(often.numpy())
    rows = [text.get_text() for text in names["row"].get_yticklabels()]
    assert rows[:4] == ["0: seen 25", "TOP", "BOTTOM", "1: seen 25"]


def test_times_are_named_and_the_states_seen_most_are_shown():
    found = case("horizon")
    rows = [t.get_text() for t in titled(plot_inference(found))["agent2"].get_yticklabels()]
    heads = [row for row in rows if "seen" in row]
    visits = found.counts["agent2"].sum(-1)
    least = np.sort(visits.reshape(-1).numpy())[::-1][5]
    assert len(heads) == 6
    for head in heads:
        state, time, seen = (int(part) for part in head.replace(":", "").split() if part.isdigit())
        assert visits[time, state] == seen >= least


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 7), (25, 25), (480, 1000)])
def test_intervals_of_frequencies_are_wilsons(k, n):
    expected = binomtest(k, n).proportion_ci(0.9, method="wilson")
    assert wilson(k, n) == pytest.approx((k / n, expected.low, expected.high), abs=1e-5)


def test_bars_are_the_log_losses():
    found = case("several agents")
    bars = titled(plot_inference(found))["nats per action"].patches
    expected = [
        found.statistics(agent)[key]
        for agent in found.agents
        for key in ("prior_log_loss", "log_loss", "best_log_loss")
    ]
    assert [bar.get_width() for bar in bars] == pytest.approx(expected)


def test_losses_are_drawn_for_svi_alone():
    with_it, without = plot_inference(case("several agents")), plot_inference(case("few cells"))
    axes = titled(with_it)["−ELBO by step of SVI"]
    assert axes.lines[0].get_ydata() == pytest.approx(case("several agents").diagnostics["losses"])
    assert "−ELBO by step of SVI" not in titled(without)


def test_with_nothing_inferred_there_are_policy_and_fit():
    assert list(titled(plot_inference(case("nothing")))) == ["col", "nats per action"]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_ending_says_the_format(ending, tmp_path):
    path = tmp_path / f"found.{ending}"
    case("one unknown").plot(path)
    assert path.read_bytes().startswith(
        {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    )


def test_other_endings_and_folders_are_refused(tmp_path):
    with pytest.raises(vsg.GameError, match="an ending among"):
        case("one unknown").plot(tmp_path / "found.gif")
    with pytest.raises(vsg.GameError, match="cannot be written"):
        case("one unknown").plot(tmp_path / "none" / "found.png")
    assert list(tmp_path.iterdir()) == []
