"""`plot_solution`: the picture shows the policies and the history, all of it legibly."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.nash import random_policies
from vsg_ppl.plot import plot_solution


def arrays(agents=2, states=3, sizes=(3, 2), seed=0, **options):
    """A random game with dense arrays."""
    generator = torch.Generator().manual_seed(seed)
    shape = (states, *sizes)
    rewards = torch.rand(agents, *shape, generator=generator)
    transitions = torch.rand(*shape, states, generator=generator).mul(3).softmax(-1)
    return vsg.from_arrays(rewards, transitions, **{"discount": 0.5, **options})


def quick(game, **options):
    return vsg.nash(game, **{"temperature": [1.0, 0.5, 0.2], "max_steps": 4, **options})


GAMES = {
    "prisoners_dilemma": models.PrisonersDilemma(),
    "stag_hunt": models.StagHunt(),
    "soccer": models.Soccer(rows=2, columns=3),
    "thermostat": models.Thermostat(),
    "three_agents": models.ThreeAgents(),
    "grid": models.GridGame(),
    "congestion": models.Congestion(n_agents=3),
    "repeated": arrays(states=1, sizes=(3, 4), horizon=6),
    "finite": arrays(states=4, sizes=(2, 4), horizon=5),
    "finite and large": arrays(agents=3, states=40, sizes=(3, 3, 2), horizon=3),
    "hundreds of states": arrays(states=300, sizes=(2, 2)),
    "many actions": arrays(states=2, sizes=(150, 25)),
    "many agents": arrays(agents=14, states=2, sizes=(2,) * 14),
    "long names": models.matrix_game(
        torch.rand(5, 2, generator=torch.Generator().manual_seed(0)),
        labels=[[f"the action number {k}" for k in range(5)], ["short", "not so short a name"]],
    ),
    "one state, many agents": arrays(agents=7, states=1, sizes=(2,) * 7),
}


@lru_cache
def solved(name):
    game = GAMES[name]
    if name in ("hundreds of states", "many agents", "finite and large"):
        return quick(game, temperature=1.0, max_steps=2, step=0.5)
    return quick(game)


def panels(figure):
    """The heat maps: title -> (axes, array with NaN where masked)."""
    found = {}
    for axes in figure.axes:
        for image in axes.get_images():
            if axes.get_title():
                found[axes.get_title()] = axes, np.ma.filled(image.get_array(), np.nan)
    return found


def lines(figure):
    """Curves by name."""
    return {
        line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for axes in figure.axes
        if not axes.get_images()
        for line in axes.lines
    }


def shown_texts(figure):
    """All texts that are drawn, with their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    figures = [figure, *figure.subfigs]
    texts = [text for f in figures for text in f.texts]  # with titles
    for axes in figure.axes:
        if axes.get_visible():
            ticks = [
                tick.label1
                for axis in (axes.xaxis, axes.yaxis)
                for tick in axis._update_ticks()  # those in view
                if tick.label1.get_visible()
            ]
            texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *ticks]
            legend = axes.get_legend()
            texts += legend.get_texts() if legend else []
    return [(t, t.get_window_extent(renderer)) for t in texts if t.get_text()]


@pytest.mark.parametrize("name", GAMES)
def test_pictures_are_legible(name):
    """Every text lies inside the picture, and upright ones do not touch each other."""
    figure = plot_solution(solved(name))
    texts = shown_texts(figure)
    assert len(texts) > 8
    width, height = figure.bbox.width, figure.bbox.height
    boxes = []
    for text, box in texts:
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= width + 1 and box.y1 <= height + 1, text
        assert text.get_fontsize() >= 7
        if text.get_rotation() in (0.0, 90.0):
            boxes.append((text, box))
    for k, (one, a) in enumerate(boxes):
        for other, b in boxes[:k]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
            assert apart, (one, other)
    for axes in figure.axes:  # names askew lie beside each other
        askew = [text for text in axes.get_xticklabels() if text.get_rotation() == 40]
        places = [axes.transData.transform(text.get_position())[0] for text in askew]
        line = 7 * figure.dpi / 72 / np.sin(np.radians(40))
        assert all(b - a >= line for a, b in pairwise(places)), name
    assert figure.get_figwidth() <= 20 and figure.get_figheight() <= 20


@pytest.mark.parametrize("name", GAMES)
def test_titles_name_game_concept_status_and_gap(name):
    solution = solved(name)
    title = plot_solution(solution).get_suptitle()
    assert title.startswith(f"{solution.table.name}: Nash equilibrium, {solution.status}\n")
    assert f"Nash gap {solution.certificate.nash_gap:.3g}" in title
    assert f"temperature {solution.temperature:.3g}" in title


def test_a_status_that_is_not_solved_is_said():
    solution = replace(solved("stag_hunt"), status="not converged", concept="correlated")
    assert ": correlated equilibrium, not converged\n" in plot_solution(solution).get_suptitle()


# --- Policies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stag_hunt", "three_agents", "congestion", "many actions"])
def test_heat_maps_are_the_policies(name):
    solution = solved(name)
    found = panels(plot_solution(solution))
    assert list(found) == list(solution.table.agents)
    for agent, (_, values) in found.items():
        policy = solution.policies[agent]
        policy = policy[0] if solution.table.horizon is not None else policy
        assert np.array_equal(values, policy.numpy())


def test_ticks_are_names_of_actions_and_labels_of_states():
    figure = plot_solution(solved("stag_hunt"))
    found = panels(figure)
    for axes, _ in found.values():
        assert [text.get_text() for text in axes.get_xticklabels()] == ["STAG", "HARE"]
    first = found["row"][0]
    assert [text.get_text() for text in first.get_yticklabels()] == ["0", "1"]
    assert first.get_ylabel() == "state"


def test_probabilities_are_written_into_small_maps():
    policies = {
        "row": torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64),
        "col": torch.tensor([[0.001, 0.999], [0.996, 0.004]], dtype=torch.float64),
    }
    found = panels(plot_solution(replace(solved("stag_hunt"), policies=policies)))
    written = {who: [t.get_text() for t in axes.texts] for who, (axes, _) in found.items()}
    assert written == {"row": [".25", ".75", "1", "0"], "col": ["<.01", ">.99", ">.99", "<.01"]}


def test_the_states_that_play_visits_are_those_shown():
    """In a long corridor nobody walks, the first room counts and the rest hardly."""
    rooms = 100
    walk = torch.zeros(rooms, 2, rooms)
    walk[:, 0, 40] = 1.0  # home
    walk[torch.arange(rooms), 1, (torch.arange(rooms) + 1) % rooms] = 1.0  # on
    first = torch.zeros(rooms)
    first[39] = 1.0
    table = vsg.from_arrays(torch.zeros(1, rooms, 2), walk, discount=0.9, initial=first)
    solution = quick(table)
    figure = plot_solution(solution)
    axes, values = panels(figure)["agent1"]
    rows = [int(text.get_text()) for text in axes.get_yticklabels()]
    assert rows == sorted(rows) and len(rows) == values.shape[0] == 30
    assert {39, *range(40, 48)} <= set(rows)
    assert np.array_equal(values, solution.policies["agent1"][rows].numpy())
    assert any("the 30 most visited of 100 states" in t.get_text() for t, _ in shown_texts(figure))


def test_states_of_parts_are_named_by_their_parts():
    found = panels(plot_solution(solved("soccer")))
    axes, values = found["a"]
    assert axes.get_ylabel() == "a, b, ball" and values.shape == (30, 5)
    table, policy = solved("soccer").table, solved("soccer").policies["a"]
    by_name = {", ".join(map(str, label)): k for k, label in enumerate(table.states)}
    numbers = [by_name[text.get_text()] for text in axes.get_yticklabels()]
    assert np.array_equal(values, policy[numbers].numpy())


def test_agents_beyond_those_that_fit_are_counted():
    figure = plot_solution(solved("many agents"))
    assert len(panels(figure)) == 12
    assert any("12 of 14 agents" in text.get_text() for text, _ in shown_texts(figure))


def test_a_small_game_with_a_horizon_is_drawn_over_time():
    """A map for each action, states by time; grey, not a number, where play cannot be."""
    solution = solved("thermostat")
    found = panels(plot_solution(solution))
    assert list(found) == ["heater: OFF", "heater: LOW", "heater: HIGH"]
    reachable = solution.table.reachable.numpy()
    for k, (_, values) in enumerate(found.values()):
        wanted = np.where(reachable, solution.policies["heater"][..., k].numpy(), np.nan)
        assert values.shape == (11, 24)
        assert np.array_equal(values, wanted.T, equal_nan=True)
    assert np.isnan(values).sum() == (~reachable).sum() > 0


def test_a_repeated_game_is_drawn_over_time():
    solution = solved("repeated")
    found = panels(plot_solution(solution))
    for agent, (axes, values) in found.items():
        assert np.array_equal(values, solution.policies[agent][:, 0].T.numpy())
        assert len(axes.get_yticklabels()) == len(values)


def test_agents_with_other_actions_get_rows_of_other_lengths():
    solution = solved("finite")
    found = panels(plot_solution(solution))
    assert list(found) == [f"agent{i}: {k}" for i, n in ((1, 2), (2, 4)) for k in range(n)]
    tops = {name: axes.get_position().y0 for name, (axes, _) in found.items()}
    assert len({round(tops[name], 3) for name in tops if name.startswith("agent1")}) == 1
    for name, (_, values) in found.items():
        agent, k = name.split(": ")
        assert np.array_equal(values, solution.policies[agent][..., int(k)].T.numpy())


def test_a_large_game_with_a_horizon_is_drawn_at_its_ends():
    solution = solved("finite and large")
    found = panels(plot_solution(solution))
    assert list(found) == [f"agent{i}, t = {t}" for i in (1, 2, 3) for t in (0, 2)]
    for name, (axes, values) in found.items():
        agent, t = name.split(", t = ")
        rows = [int(text.get_text()) for text in axes.get_yticklabels()]
        if rows:  # else they are those of the panel beside
            assert np.array_equal(values, solution.policies[agent][int(t), rows].numpy())
    assert sum(len(axes.get_yticklabels()) == 15 for axes, _ in found.values()) >= 4


class Climb:
    """Up by as much as one likes; the hour is part of the state, as in games without a time."""

    agents = ("climber",)
    horizon = 4

    def initial(self):
        return torch.tensor(0), torch.tensor(9)

    def step(self, state):
        hour, height = state
        by = vsg.act("climber", dist.Categorical(torch.ones(7)))
        vsg.optimality("climber", -by.double())
        return hour + 1, height + by


def test_only_what_can_occur_is_drawn_at_the_ends():
    """At the start there is one state; at the last hour there are all heights of that hour."""
    solution = quick(Climb())
    figure = plot_solution(solution)
    (start, first), (end, last) = panels(figure).values()
    assert [text.get_text() for text in end.get_yticklabels()] == [f"3, {9 + k}" for k in range(19)]
    assert start.get_ylabel() == "" and first.shape == (1, 7) and last.shape == (19, 7)
    policy, states = solution.policies["climber"], solution.table.states
    assert np.array_equal(first[0], policy[0, int(states.index((0, 9)))].numpy())
    rows = [int(states.index((3, 9 + k))) for k in range(19)]
    assert np.array_equal(last, policy[3, rows].numpy())
    note = f"shown: the states that can occur, of {len(states)}"
    assert note in [text.get_text() for text, _ in shown_texts(figure)]


# --- History -------------------------------------------------------------------------------------


def test_curves_are_the_history():
    solution = vsg.nash(models.Soccer(rows=2, columns=3), temperature=[0.5, 0.2], max_steps=30)
    found = lines(plot_solution(solution))
    for key in ("temperature", "residual"):
        pairs = [(e["iteration"], e[key]) for e in solution.history if e[key] > 0]
        assert np.array_equal(np.transpose(found[key]), pairs)
    pairs = [(e["iteration"], e["nash_gap"]) for e in solution.history if "nash_gap" in e]
    last = (solution.history[-1]["iteration"], solution.certificate.nash_gap)
    assert len(pairs) > 0
    assert np.array_equal(np.transpose(found["Nash gap"]), [*pairs, last])
    for agent in ("a", "b"):
        wanted = [(entry["iteration"], entry["elbo"][agent]) for entry in solution.history]
        assert np.array_equal(np.transpose(found[agent]), wanted)


def test_gap_and_residual_are_on_a_logarithmic_axis():
    figure = plot_solution(solved("stag_hunt"))
    scales = [axes.get_yscale() for axes in figure.axes if not axes.get_images() and axes.lines]
    assert scales == ["log", "linear"]


def test_rounding_errors_do_not_stretch_the_axis():
    solution = solved("stag_hunt")
    history = [{"iteration": k, "residual": 10.0**-k} for k in range(1, 18)]
    figure = plot_solution(replace(solution, history=history))
    (axes,) = (axes for axes in figure.axes if axes.get_xlabel() == "iteration")
    assert axes.get_ylim()[0] == 1e-10 and axes.get_ylim()[1] >= 0.1
    assert lines(figure)["residual"][1].min() == 1e-17  # it is there, below the edge


def test_without_a_history_there_are_policies_alone():
    with_it = plot_solution(solved("stag_hunt"))
    without = plot_solution(replace(solved("stag_hunt"), history=[]))
    assert list(panels(without)) == ["row", "col"] and lines(without) == {}
    assert without.get_figwidth() < with_it.get_figwidth()
    assert len(shown_texts(without)) > 4


@pytest.mark.parametrize(
    "history",
    [
        [{"iteration": 1}],
        [{}],
        [{"iteration": 3, "residual": 0.0, "temperature": 0.0, "elbo": {}}],
        [{"residual": float("nan"), "elbo": {"row": float("inf"), "col": 1.0}}],
        [{"iteration": 5, "residual": None, "elbo": None, "opponent_error": 0.3}],
        [{"iteration": k, "residual": 1e-14 * k} for k in (1, 2, 3)],
    ],
)
@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_histories_that_lack_things_are_drawn(history, gap):
    solution = solved("stag_hunt")
    certificate = replace(solution.certificate, nash_gap=gap)
    figure = plot_solution(replace(solution, history=history, certificate=certificate))
    assert len(shown_texts(figure)) > 4  # it can be drawn
    found = lines(figure)
    assert all(
        axes.get_xticks().tolist() == axes.get_xticks().round().tolist()
        for axes in figure.axes
        if axes.get_xlabel() == "iteration"
    )
    assert ("Nash gap" in found) == (gap > 0)
    assert all(np.isfinite(y).all() for _, y in found.values())


@pytest.mark.parametrize(
    "solution",
    [
        lambda: vsg.logit_path(models.Chicken(), temperature=0.5),
        lambda: vsg.nash_decentralised(models.StagHunt(), iterations=15),
        lambda: quick(models.Hedge(), factorisation="conditional"),
    ],
)
def test_solutions_of_other_solvers_are_drawn(solution):
    solution = solution()
    figure = plot_solution(solution)
    assert list(panels(figure)) == list(solution.table.agents)
    assert "Nash gap" in lines(figure)


# --- Files, names, errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "start"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")],
)
def test_the_ending_says_the_format(ending, start, tmp_path):
    path = tmp_path / f"stag.{ending}"
    figure = solved("stag_hunt").plot(path)
    assert path.read_bytes().startswith(start) and list(panels(figure)) == ["row", "col"]


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plot_solution(solved("stag_hunt"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["stag.gif.", "stag", "stag.safetensors"])
def test_other_endings_are_refused(name, tmp_path):
    with pytest.raises(vsg.GameError, match="an ending among .png, .svg, .pdf"):
        plot_solution(solved("stag_hunt"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(vsg.GameError, match="cannot be written"):
        plot_solution(solved("stag_hunt"), tmp_path / "none" / "stag.png")


def test_a_batch_is_refused():
    solution = quick(vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), batched=True))
    with pytest.raises(vsg.GameError, match="a picture is of one game, and this solution holds 3"):
        plot_solution(solution)


def test_pyplot_is_left_alone():
    """No window, no figure of pyplot's, no change of settings."""
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    plot_solution(solved("stag_hunt"))
    assert plt.get_fignums() == [] and dict(matplotlib.rcParams) == before


def test_the_library_itself_does_not_import_pyplot():
    import subprocess

    code = "import sys, vsg_ppl.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_shown_as_they_are():
    """No mathematics in dollars (this would be wrong), no line hidden, nothing endless."""
    game = models.matrix_game(
        [[1.0, 0.0], [0.0, 3.0]],
        agents=("_hidden", "$\\frac$"),
        labels=[["$\\a$", "$^$"], ["a very long name of an action", "_"]],
        name="$\\frac{$",
    )
    solution = quick(game, temperature=0.5, step=0.3)
    assert solution.history[-1]["residual"] > 0
    figure = plot_solution(solution)
    texts = [text.get_text() for text, _ in shown_texts(figure)]
    assert set(panels(figure)) == {"_hidden", "$\\frac$"}
    assert {"$\\a$", "$^$", "_", "a very long name …"} <= set(texts)
    legends = [
        text.get_text()
        for axes in figure.axes
        if axes.get_legend()
        for text in axes.get_legend().get_texts()
    ]
    assert legends == ["temperature", "residual", "Nash gap", "_hidden", "$\\frac$"]


def test_the_solution_is_not_changed():
    solution = solved("thermostat")
    before = solution.policies["heater"].clone()
    plot_solution(solution)
    assert torch.equal(before, solution.policies["heater"])


def test_any_policies_can_be_drawn():
    table = vsg.tabulate(models.GridGame())
    policies = {agent: policy[0, 0] for agent, policy in random_policies(table, 3).items()}
    figure = plot_solution(replace(solved("grid"), policies=policies))
    assert len(panels(figure)) == 2
