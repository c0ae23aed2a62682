"""`plot_crowd` and `animate_crowd`: pictures show the crowd, legibly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib.quiver
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from PIL import Image

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS
from tests.test_plot import lines, panels, shown_texts
from vsg_ppl import models
from vsg_ppl.plot_crowd import animate_crowd, plot_crowd
from vsg_ppl.plot_frames import write_frames
from vsg_ppl.plot_grid import grid_of, motion
from vsg_ppl.plot_shares import scale, shares_of


class Walk:
    """Everybody walks about on given parts of the state; company costs."""

    agents = ("walker",)

    def __init__(self, first, moves, sizes, horizon=3, around=False, closed=lambda *place: None):
        self.first, self.horizon, self.discount = first, horizon, 0.9
        self.moves, self.sizes, self.around, self.closed = moves, sizes, around, closed

    def initial(self):
        return self.first

    def step(self, place, crowd):
        move = vsg.act("walker", dist.Categorical(torch.ones(len(self.moves))))
        vsg.optimality("walker", -crowd.at(place) - 0.1 * (move == 1))
        steps = torch.tensor(self.moves)[move].unbind(-1)
        parts = []
        for part, step, size in zip(place, steps, self.sizes, strict=True):
            there = part + step
            parts.append(there % size if self.around else there.clamp(0, size - 1))
        wall = self.closed(*parts)
        if wall is not None:
            parts = [torch.where(wall, a, b) for a, b in zip(place, parts, strict=True)]
        return type(place)(*parts) if hasattr(place, "_fields") else tuple(parts)


class Cell(NamedTuple):
    row: Any
    column: Any


class Point(NamedTuple):
    x: Any
    y: Any


class Shift(NamedTuple):
    shift: Any
    row: Any
    column: Any


CROSS = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]


def zero():
    return torch.tensor(0)


OTHERS = {
    "a long beach": lambda: models.BeachBar(places=80, bar=40, horizon=6),
    "a long time": lambda: models.BeachBar(horizon=60),
    "one step": lambda: models.BeachBar(horizon=1),
    "maze": lambda: Walk(
        Cell(zero(), zero()), CROSS, (4, 5), 5, closed=lambda r, c: (c == 2) & (r > 0)
    ),
    "plane": lambda: Walk(Point(zero(), zero()), CROSS, (3, 4)),
    "tuple": lambda: Walk((zero(), zero()), CROSS, (3, 30), 4),
    "tall": lambda: Walk((zero(), zero()), CROSS, (30, 3), 4),
    "a long strip": lambda: Walk((zero(), zero()), CROSS, (2, 90), 4),
    "shifts": lambda: Walk(
        Shift(zero(), zero(), zero()), [[1, 0, 1], [1, 1, 0], [1, 0, 0]], (3, 3, 3), around=True
    ),
    "many shifts": lambda: Walk(
        Shift(zero(), zero(), zero()), [[1, 0, 1], [1, 1, 0], [1, 0, 0]], (9, 6, 6), around=True
    ),
    "a torus at rest": lambda: Walk(Cell(zero(), zero()), CROSS, (6, 6), None, around=True),
    "codes": lambda: Walk((zero(), zero()), [[1, 1], [2, 2], [3, 4]], (20, 30), 4),
    "many times on a grid": lambda: Walk(Cell(zero(), zero()), CROSS, (5, 5), 25),
}
SOFT = {"susceptible_infected", "a torus at rest", "many times on a grid", "a long time"}
GAMES = {
    **{name: lambda n=name: SMALL_CROWDS.get(n, AMID_A_CROWD[n]()) for name in AMID_A_CROWD},
    **OTHERS,
}


@lru_cache
def solved(name):
    options = {"temperature": 0.3} if name in SOFT else {"method": "fictitious_play"}
    return vsg.mean_field_nash(GAMES[name](), **{"max_steps": 6, **options})


def maps(figure):
    """The pictures of grids: title -> array of shares, NaN where nobody is."""
    found = {}
    for axes in figure.axes:
        if len(axes.get_images()) == 2:
            found[axes.get_title()] = np.ma.filled(axes.get_images()[1].get_array(), np.nan)
    return found


def arrows(axes):
    """The arrows of a map: (row, column) -> (down, right) in cells."""
    found = {}
    for quiver in axes.collections:
        if isinstance(quiver, matplotlib.quiver.Quiver):
            for (x, y), u, v in zip(quiver.get_offsets(), quiver.U, quiver.V, strict=True):
                found[int(y), int(x)] = float(v), float(u)
    return found


def check_legible(figure):
    texts = shown_texts(figure)
    assert len(texts) > 8
    boxes = []
    for text, box in texts:
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1, text
        assert text.get_fontsize() >= 7
        if text.get_rotation() in (0.0, 90.0):
            boxes.append((text, box))
    for k, (one, a) in enumerate(boxes):
        for other, b in boxes[:k]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
            assert apart, (one, other)
    assert figure.get_figwidth() <= 24 and figure.get_figheight() <= 20


@pytest.mark.parametrize("name", GAMES)
def test_pictures_are_legible(name):
    check_legible(plot_crowd(solved(name)))


@pytest.mark.parametrize("name", ["beach_bar", "malware", "torus_crowd", "maze"])
def test_the_crowd_alone(name):
    whole, alone = plot_crowd(solved(name)), plot_crowd(solved(name), alone=True)
    check_legible(alone)
    assert alone.get_figwidth() < whole.get_figwidth()
    assert lines(alone) == {} and "exploitability" in lines(whole)


@pytest.mark.parametrize("name", AMID_A_CROWD)
def test_every_bundled_game_moves_or_rests(name, tmp_path):
    solution, path = solved(name), tmp_path / "crowd.gif"
    if solution.table.horizon is None:
        with pytest.raises(vsg.GameError, match="does not move"):
            animate_crowd(solution, path)
        assert not path.exists()
        return
    assert animate_crowd(solution, path) == path
    with Image.open(path) as picture:
        assert picture.format == "GIF" and picture.n_frames == solution.table.horizon


@pytest.mark.parametrize("name", GAMES)
def test_titles_name_game_concept_status_and_exploitability(name):
    solution = solved(name)
    title = plot_crowd(solution, alone=True).get_suptitle()
    assert title.startswith(f"{solution.table.name}: mean-field equilibrium, {solution.status}\n")
    assert f"exploitability {solution.certificate.exploitability:.3g}" in title
    assert ("temperature 0.3" in title) == (name in SOFT)


# --- States as rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["beach_bar", "braess", "linear_quadratic", "a long beach"])
def test_heat_maps_are_the_crowd(name):
    solution = solved(name)
    axes, values = panels(plot_crowd(solution))["the crowd"]
    shares = solution.crowd.sum(-1).T.numpy()
    assert np.array_equal(np.nan_to_num(values), shares)
    assert np.array_equal(np.isnan(values), shares == 0)
    assert axes.get_xlabel() == "time" and axes.get_ylabel() == "state"
    written = {text.get_text() for text in axes.texts}
    if shares.size <= 30:
        assert f"{shares[0, 0]:.2g}".removeprefix("0") in written | {"1"}
    else:
        assert written == set()


def test_policies_are_drawn_where_somebody_is():
    solution = solved("braess")
    found = panels(plot_crowd(solution))
    shares = solution.crowd.sum(-1)
    for name in ("TOP", "BOTTOM", "END"):
        k = ["TOP", "BOTTOM", "END"].index(name)
        wanted = solution.policies["traveller"][..., k].masked_fill(shares == 0, torch.nan).T
        assert np.array_equal(found[f"traveller: {name}"][1], wanted.numpy(), equal_nan=True)
        assert wanted.isnan().any()


def test_actions_that_nobody_takes_are_left_out_and_counted():
    solution = solved("linear_quadratic")
    policy = torch.zeros(3, 5, 3).double()
    policy[..., 0], policy[..., 1] = 0.998, 0.002
    crowd = solution.crowd.sum(-1, keepdim=True) * policy
    changed = replace(solution, policies={"driver": policy}, crowd=crowd)
    figure = plot_crowd(changed)
    assert set(panels(figure)) == {"the crowd", "driver: -1"}
    assert "shown: the 1 of 3 actions that are taken" in [
        t.get_text() for t, _ in shown_texts(figure)
    ]


def test_a_crowd_at_rest_is_bars_beside_its_policy():
    solution = solved("malware")
    figure = plot_crowd(solution)
    bars = [patch.get_width() for axes in figure.axes for patch in axes.patches]
    assert bars == solution.shares.tolist() and len(bars) == 5
    assert np.array_equal(panels(figure)["owner"][1], solution.policies["owner"].numpy())


def test_few_states_at_many_times_are_curves():
    solution = solved("a long time")
    found = lines(plot_crowd(solution))
    for k in range(4):
        assert np.array_equal(found[f"state {k}"][1], solution.shares[:, k].numpy())


@pytest.mark.parametrize("most", [60, 10])
def test_of_many_states_without_an_order_the_most_visited_are_rows(most, monkeypatch):
    """Of 20 × 30 codes few are states, so they are no grid."""
    monkeypatch.setattr(sys.modules["vsg_ppl.plot_rows"], "STATES", most)
    solution = solved("codes")
    assert grid_of(solution.table.states) is None
    figure = plot_crowd(solution)
    _, values = panels(figure)["the crowd"]
    visits = solution.shares.sum(0)
    visited, there = int((visits > 0).sum()), len(visits)
    assert most - 50 < visited < 60 < there and len(values) == min(most, visited)
    order = visits.argsort(descending=True, stable=True)[: len(values)].sort().values
    assert np.array_equal(np.nan_to_num(values), solution.shares[:, order].T.numpy())
    which = "10 most visited of" if most == 10 else f"{visited} states that are visited, of"
    notes = [text.get_text() for text, _ in shown_texts(figure)]
    assert f"shown: the {which} {there} states; grey: nobody" in notes


# --- States as places ----------------------------------------------------------------------------


def test_maps_are_the_crowd_at_its_places():
    solution = solved("crowd_motion")
    found = maps(plot_crowd(solution))
    assert list(found) == [f"t = {t}" for t in range(5)]
    for t in range(5):
        wanted = solution.shares[t].reshape(3, 4).numpy()
        assert np.array_equal(np.nan_to_num(found[f"t = {t}"]), wanted)


def test_floors_are_below_each_other():
    solution = solved("building_evacuation")
    figure = plot_crowd(solution)
    found = maps(figure)
    assert set(found) == {f"floor {k}, t = {t}" for k in range(2) for t in range(3)}
    wanted = solution.shares.reshape(3, 2, 2, 3).numpy()
    for k in range(2):
        for t in range(3):
            assert np.array_equal(np.nan_to_num(found[f"floor {k}, t = {t}"]), wanted[t, k])
    places = {axes.get_title(): axes.get_position() for axes in figure.axes}
    assert places["floor 1, t = 2"].y1 < places["floor 0, t = 2"].y0
    assert places["floor 1, t = 2"].x0 > places["floor 1, t = 1"].x1


def test_all_maps_have_the_same_colours():
    figure = plot_crowd(solved("crowd_motion"))
    norms = [axes.get_images()[1].norm for axes in figure.axes if len(axes.get_images()) == 2]
    top = float(solved("crowd_motion").shares.max())
    assert len(norms) == 5 and all((norm.vmin, norm.vmax) == (0.0, top) for norm in norms)


def test_of_many_times_some_are_drawn_with_the_first_and_the_last():
    figure = plot_crowd(solved("many times on a grid"))
    found = list(maps(figure))
    assert len(found) == 10 and found[0] == "t = 0" and found[-1] == "t = 24"
    assert "shown: 10 of 25 times; grey: nobody" in [
        text.get_text() for text, _ in shown_texts(figure)
    ]


def test_walls_are_not_places_where_nobody_is():
    figure = plot_crowd(solved("maze"))
    (axes,) = (axes for axes in figure.axes if axes.get_title() == "t = 0")
    walls, places = (np.ma.filled(image.get_array(), False) for image in axes.get_images())
    assert [tuple(cell) for cell in np.argwhere(walls)] == [(1, 2), (2, 2), (3, 2)]
    assert places[0, 0] == 1.0 and (places > 0).sum() == 1
    text = " ".join(text.get_text() for text, _ in shown_texts(figure))
    assert "grey: nobody; dark grey: no state" in text


def test_x_goes_right_and_y_up():
    solution = solved("plane")
    grid = grid_of(solution.table.states)
    assert (grid.down, grid.across, grid.shape) == ("y", "x", (4, 3))
    figure = plot_crowd(solution)
    (axes,) = (axes for axes in figure.axes if axes.get_title() == "t = 1")
    assert not axes.yaxis_inverted()
    image = np.nan_to_num(maps(figure)["t = 1"])
    for k, (x, y) in enumerate(solution.table.states):
        assert image[y, x] == float(solution.shares[1, k])


def test_rows_and_columns_are_known_by_name_and_the_rest_are_facets():
    grid = grid_of(solved("shifts").table.states)
    assert (grid.down, grid.across, grid.facets) == (
        "row",
        "column",
        ["shift 0", "shift 1", "shift 2"],
    )


def test_too_many_facets_are_added_up():
    solution = solved("many shifts")
    grid = grid_of(solution.table.states)
    assert grid.facets == [""] and grid.summed == ("shift",)
    figure = plot_crowd(solution)
    image = np.zeros((6, 6))
    for state, share in zip(solution.table.states, solution.shares[2].tolist(), strict=True):
        image[state.row, state.column] += share
    assert np.allclose(np.nan_to_num(maps(figure)["t = 2"]), image, atol=1e-15)
    notes = [text.get_text() for text, _ in shown_texts(figure)]
    assert "crowds added up over shift; grey: nobody" in notes


@pytest.mark.parametrize(
    "game",
    [
        models.BeachBar(),
        models.Malware(),
        OTHERS["codes"](),
        Walk((zero(), zero()), [[0, 0], [0, 1]], (1, 9)),  # one row is no grid
    ],
)
def test_other_states_are_no_grid(game):
    assert grid_of(vsg.mean_field_table(game).states) is None


def walk(name, **options):
    """A solution in which everybody on the grid makes the same move."""
    solution = solved(name)
    policy = torch.zeros_like(solution.policies["walker"])
    for k, share in options.items():
        policy[..., int(k[1:])] = share
    return replace(solution, policies={"walker": policy})


@pytest.mark.parametrize(
    ("name", "shape", "around"), [("a torus at rest", (6, 6), True), ("maze", (4, 5), False)]
)
@pytest.mark.parametrize("move", range(5))
def test_motion_is_the_move_that_is_made(name, shape, around, move):
    """On a torus the way across the edge is the short one; elsewhere walls stop."""
    solution = walk(name, **{f"m{move}": 1.0})
    table, (down, right) = solution.table, CROSS[move]
    policy = solution.policies["walker"]
    grid = grid_of(table.states)
    steps = motion(grid, table, policy if policy.ndim == 2 else policy[0], 0)
    for state, step in zip(table.states, steps, strict=True):
        row, column = state.row + down, state.column + right
        free = around or (
            0 <= row < shape[0] and 0 <= column < shape[1] and not (column == 2 and row > 0)
        )
        assert tuple(step) == ((down, right) if free else (0, 0))


def test_motion_is_an_average():
    solution = walk("a torus at rest", m1=0.5, m3=0.3, m4=0.2)
    grid = grid_of(solution.table.states)
    steps = motion(grid, solution.table, solution.policies["walker"], 0)
    assert np.allclose(steps, [0.5, 0.1], atol=1e-12)


def test_where_one_cannot_tell_there_is_no_motion():
    """In three columns two to the right may be one to the left."""
    game = Walk(Cell(zero(), zero()), [[0, 1], [1, 2]], (3, 3))
    table = vsg.facing(game, vsg.mean_field_table(game).even()).table()
    grid = grid_of(table.states)
    assert motion(grid, table, torch.ones(len(table.states), 2).double() / 2, 0) is None
    assert len(maps(plot_crowd(vsg.mean_field_nash(game, max_steps=2)))) == 3


def test_arrows_show_the_motion_until_the_last_time():
    solution = solved("many times on a grid")
    figure = plot_crowd(solution)
    by_title = {axes.get_title(): axes for axes in figure.axes}
    assert arrows(by_title["t = 24"]) == {}
    t = int(next(title for title in maps(figure) if title != "t = 0").removeprefix("t = "))
    grid = grid_of(solution.table.states)
    steps = motion(grid, solution.table, solution.policies["walker"][t], t).reshape(5, 5, 2)
    shares = solution.shares[t].reshape(5, 5).numpy()
    found = arrows(by_title[f"t = {t}"])
    long = np.hypot(steps[..., 0], steps[..., 1]) > 0.2
    wanted = {tuple(cell) for cell in np.argwhere(long & (shares >= 0.02 * shares.max()))}
    assert set(found) == wanted and wanted
    for cell, arrow in found.items():
        assert arrow == pytest.approx(tuple(steps[cell]), abs=1e-12)


def test_arrows_of_facets_that_are_added_up_are_weighted_by_shares():
    solution = solved("many shifts")
    figure = plot_crowd(solution)
    (axes,) = (axes for axes in figure.axes if axes.get_title() == "t = 1")
    grid = grid_of(solution.table.states)
    steps = motion(grid, solution.table, solution.policies["walker"][1], 1)
    total, mass = np.zeros((6, 6, 2)), np.zeros((6, 6))
    for state, step, share in zip(
        solution.table.states, steps, solution.shares[1].tolist(), strict=True
    ):
        total[state.row, state.column] += share * step
        mass[state.row, state.column] += share
    found = arrows(axes)
    assert found
    for cell, arrow in found.items():
        assert arrow == pytest.approx(tuple(total[cell] / mass[cell]), abs=1e-12)


# --- Colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "log", "low"),
    [
        ([0.1, 0.2, 0.0, 0.7], False, 0.0),
        ([1e-3, 2e-3, 1e-2, 0.5], True, 1e-3),
        ([1e-9, 2e-3, 1e-2, 0.5], True, 0.5e-4),
        ([1.0, 0.0, 0.0, 0.0], False, 0.0),
    ],
)
def test_colours_are_logarithmic_where_shares_are_orders_of_magnitude_apart(values, log, low):
    norm = scale(np.array(values))
    assert (type(norm).__name__ == "LogNorm") == log
    assert norm.vmin == pytest.approx(low) and norm.vmax == max(values)


# --- Animations ----------------------------------------------------------------------------------


def test_frames_show_the_crowd_and_nothing_else_moves(tmp_path):
    path = animate_crowd(solved("beach_bar"), tmp_path / "crowd.gif")
    frames, times = [], []
    with Image.open(path) as picture:
        for k in range(picture.n_frames):
            picture.seek(k)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
            times.append(picture.info["duration"])
        assert picture.info["loop"] == 0
    assert times == [650, 650, 2150]
    orange = np.array([216, 112, 31])
    lengths = []
    for frame in frames:
        bars = (abs(frame - orange) < 6).all(-1)
        rows = np.flatnonzero(bars.any(1))
        starts = rows[np.diff(rows, prepend=-2) > 1]
        lengths.append([int(bars[start + 3].sum()) for start in starts])
    shares = solved("beach_bar").shares.numpy()
    unit = np.sum(lengths) / shares.sum()
    assert np.abs(np.array(lengths) - unit * shares).max() <= 2
    changed = np.any(frames[1] != frames[2], -1)
    assert 0 < changed.mean() < 0.1


def test_what_is_of_one_colour_stays_so(tmp_path):
    """No dithering, and white is white."""
    flat = np.full((20, 30, 3), 255, dtype=np.uint8)
    flat[5:10] = (243, 201, 77)
    path = tmp_path / "flat.gif"
    shades = np.array([[250, 200, 80], [0, 0, 255]]) / 255
    write_frames([flat, flat[::-1]], path, 50, "#d8701f", shades)
    with Image.open(path) as picture:
        first = np.asarray(picture.convert("RGB"))
    assert (first[5:10] == (250, 200, 80)).all() and (first[10:] == 255).all()


def test_of_many_times_some_are_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["vsg_ppl.plot_crowd"], "FRAMES", 7)
    with Image.open(animate_crowd(solved("a long time"), tmp_path / "x.gif")) as picture:
        assert picture.n_frames == 7


@pytest.mark.parametrize("name", ["x.png", "x", "gif"])
def test_an_animation_ends_in_gif(name, tmp_path):
    with pytest.raises(vsg.GameError, match=r"has not the name of a picture. Try: \.gif"):
        animate_crowd(solved("beach_bar"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_do_not_exist_are_errors(tmp_path):
    for draw, name in ((plot_crowd, "x.png"), (animate_crowd, "x.gif")):
        with pytest.raises(vsg.GameError, match="cannot be written"):
            draw(solved("beach_bar"), tmp_path / "none" / name)


# --- Files, names, errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")]
)
def test_solutions_plot_their_crowd(ending, start, tmp_path):
    figure = solved("beach_bar").plot(tmp_path / f"beach.{ending}")
    assert (tmp_path / f"beach.{ending}").read_bytes().startswith(start)
    assert "the crowd" in panels(figure)


@pytest.mark.parametrize("name", ["x.gif", "x", "x.safetensors"])
def test_other_endings_are_refused(name, tmp_path):
    with pytest.raises(vsg.GameError, match="an ending among .png, .svg, .pdf"):
        plot_crowd(solved("beach_bar"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_games_without_a_crowd_are_refused(tmp_path):
    solution = vsg.nash(models.StagHunt())
    for draw in (plot_crowd, lambda s: animate_crowd(s, tmp_path / "x.gif"), shares_of):
        with pytest.raises(vsg.GameError, match="StagHunt has no crowd"):
            draw(solution)


def test_without_a_history_there_is_none_in_the_picture():
    figure = plot_crowd(replace(solved("beach_bar"), history=[]))
    assert lines(figure) == {} and "bather: STAY" in panels(figure)


def test_curves_are_the_history():
    solution = vsg.mean_field_nash(models.BeachBar(), temperature=[1.0, 0.5], method="algorithm4")
    found = lines(plot_crowd(solution))
    for key in ("exploitability", "regularised", "temperature"):
        pairs = [(e["iteration"], e[key]) for e in solution.history if e[key] > 0]
        assert np.array_equal(np.transpose(found[key]), pairs)


def test_a_curve_of_rounding_errors_is_left_out():
    history = [{"iteration": k, "residual": 1e-15, "exploitability": 0.1**k} for k in (1, 2, 3)]
    assert set(lines(plot_crowd(replace(solved("beach_bar"), history=history)))) == {
        "exploitability"
    }


def test_pyplot_is_left_alone():
    code = "import sys, vsg_ppl.plot_crowd; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_shown_as_they_are():
    """No mathematics in dollars, in names of agents, actions and parts of states."""

    class Odd(Walk):
        agents = ("$\\frac$",)
        name = "$\\a{$"

        def step(self, place, crowd):
            go = vsg.act("$\\frac$", dist.Categorical(torch.ones(2)), labels=["$^$", "_"])
            vsg.optimality("$\\frac$", -crowd.at(place))
            return {"$x$": (place["$x$"] + go) % 4}

    solution = vsg.mean_field_nash(Odd({"$x$": zero()}, [], ()))
    figure = plot_crowd(solution)
    texts = {text.get_text() for text, _ in shown_texts(figure)}
    assert {"$\\frac$: $^$", "$\\frac$: _", "$x$"} <= texts
