"""`plot_finite`: the picture shows the gaps, their intervals and the promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import vsg_ppl as vsg
from vsg_ppl.plot_finite import plot_finite


def gap(n, height, *, exact=True, blind=None, low=None, high=None):
    blind = height if blind is None else blind
    low, high = (height if x is None else x for x in (low, high))
    return vsg.FiniteGap(n, height, low, high, exact, 0.0, blind, torch.ones(1, 1, 1))


GAPS = [
    gap(2, 0.3, blind=0.2),
    gap(10, 0.1, blind=0.04),
    gap(100, 3e-3, exact=False, low=2e-3, high=4e-3),
    gap(1000, 0.0, exact=False, low=0.0, high=1e-3),
]


def curves(figure):
    """Points of each line of the legend."""
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in figure.axes[0].get_lines()
        if not line.get_label().startswith("_")
    }


def test_curves():
    figure = plot_finite(GAPS[::-1], 0.05)
    found = curves(figure)
    assert found["sees the others (exact)"] == [(2, 0.3), (10, 0.1)]
    assert found["sees its own state only"] == [(2, 0.2), (10, 0.04), (100, 3e-3)]
    (guide,) = [name for name in found if name.endswith("/√N")]
    assert guide == "0.42/√N"
    for n, y in found[guide]:
        assert y == pytest.approx(0.3 * np.sqrt(2 / n))
    assert [n for n, _ in found[guide]] == [2, 1000]
    assert {y for _, y in found["mean-field exploitability 0.05"]} == {0.05}


def test_intervals_and_arrows():
    axis = plot_finite(GAPS, 0.05).axes[0]
    bottom, top = axis.get_ylim()
    bars = [
        line for line in axis.get_lines() if line.get_linewidth() == 5 and len(line.get_xdata())
    ]
    ends = {line.get_xdata()[0]: tuple(line.get_ydata()) for line in bars}
    assert ends == {100: (2e-3, 4e-3), 1000: (pytest.approx(bottom), 1e-3)}
    arrows = [line for line in axis.get_lines() if line.get_marker() == "v"]
    at = [(n, y) for line in arrows for n, y in zip(*line.get_data(), strict=True)]
    assert [n for n, _ in at] == [1000]
    assert all(bottom < y < 1.5 * bottom for _, y in at)
    assert bottom < 3e-3 and top > 0.3


def test_an_equilibrium_that_is_none_to_speak_of():
    """An exploitability of 1e-12 does not squeeze the gaps into the top of the picture."""
    figure = plot_finite(GAPS[:3], 1e-12)
    bottom, top = figure.axes[0].get_ylim()
    assert top / bottom < 1e4
    assert curves(figure)["mean-field exploitability 1e-12 (below)"] == []


@pytest.mark.parametrize(
    "gaps",
    [
        [gap(1, 0.0)],
        [gap(5, 2.0)],
        [gap(2, 0.0), gap(3, 0.0, exact=False, high=0.0)],
        [gap(7, 1e-300), gap(9, 1e12)],
        [gap(3, 1e-3, exact=False, low=0, high=1.0)],
    ],
)
@pytest.mark.parametrize("exploitability", [0.0, 1e-9, 3.0])
def test_everything_can_be_drawn(gaps, exploitability):
    figure = plot_finite(gaps, exploitability)
    FigureCanvasAgg(figure).draw()
    axis = figure.axes[0]
    bottom, top = axis.get_ylim()
    assert 0 < bottom < top < np.inf
    assert axis.get_xscale() == axis.get_yscale() == "log"
    renderer = figure.canvas.get_renderer()
    box = axis.get_legend().get_window_extent(renderer)
    assert box.x0 >= 0 and box.y0 >= 0
    assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert not box.overlaps(axis.get_window_extent(renderer))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_files(tmp_path, ending):
    path = tmp_path / f"gaps.{ending}"
    plot_finite(GAPS, 0.1, path)
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("gaps", "exploitability", "path", "says"),
    [
        ([], 0.1, None, "no gaps to draw"),
        ([GAPS[0], replace(GAPS[1], n=2)], 0.1, None, "two gaps of 2 agents"),
        (GAPS, -1.0, None, "the exploitability is -1"),
        (GAPS, float("nan"), None, "the exploitability is nan"),
        (GAPS, 0.1, "gaps.txt", "has not the name of a picture"),
    ],
)
def test_errors(gaps, exploitability, path, says):
    with pytest.raises(vsg.GameError, match=says):
        plot_finite(gaps, exploitability, path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(vsg.GameError, match="cannot be written"):
        plot_finite(GAPS, 0.1, tmp_path / "nowhere" / "gaps.png")
