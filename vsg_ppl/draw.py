"""Draw the graphical model of a game."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP_X, GAP_Y, SHIFT = 34.0, 30.0, 20.0  # between columns, between rows; of rows of one kind
SIZE, PAD, HEIGHT = 14.0, 9.0, 30.0  # of letters, beside them, of nodes: points
ORDER = ("optimality", "action", "signal", "chance", "state", "crowd")  # of rows, from the top
COLUMN = {"state": 0, "signal": 0, "crowd": 0, "action": 1, "optimality": 2, "chance": -1}  # of 4
GREY, COLOURS = "0.25", {"signal": "#8e44ad", "chance": "#b9770e", "crowd": "#00796b"}
ACTION_COLOURS = ("#1f6fb4", "#c0392b", "#1e8449", "#6c3483", "#b7500f", "#117a8b")
PAPER = {"a^i": "a^{i}", "a^-i": "a^{-i}", "O^i": "O^{i}", "ω": r"\omega"}


def draw_graph(
    graph: nx.DiGraph, path: str | os.PathLike[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw a graph of `dependency_graph` or `figure1`.

    Time goes from left to right; rows are optimality, actions, signals, chance, states and the
    crowd, from the top. Observed nodes are shaded. Arrows have the colour of what they come from
    and bend around nodes that are not theirs.

    Args:
        graph: what to draw.
        path: a file to save the picture to; the extension says the format (``.png``, ``.svg``,
            ``.pdf``).
        ax: axes to draw into, by default those of a new figure of the right size.

    Returns:
        The figure. Each node's outline has the ``gid`` ``node:NAME`` and each arrow's line
        ``edge:FROM->TO``, in an SVG too.

    Raises:
        GameError: the graph has no nodes or is not one of this module; a format that is not known.

    >>> from vsg_ppl.models import StagHunt
    >>> from vsg_ppl.graph import figure1
    >>> figure = draw_graph(figure1(StagHunt(), "row"))
    >>> len(figure.axes)
    1
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse, PathPatch, Polygon
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    if not len(graph) or any("kind" not in data for _, data in graph.nodes(data=True)):
        raise GameError(
            "this is not a graph of a game",
            hint="draw_graph(dependency_graph(game)), or figure1(game, agent).",
        )
    texts, boxes = _layout(graph)
    order = {name: k for k, name in enumerate(graph)}
    arrows = _route([(order[one], order[other]) for one, other in graph.edges], boxes)
    curves = [Path(line, [Path.MOVETO, Path.CURVE3, Path.CURVE3]) for line, _ in arrows]
    spans = np.array([curve.get_extents().get_points() for curve in curves]).reshape(-1, 2, 2)
    low = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, spans[:, 0]]).min(0) - 12
    high = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, spans[:, 1]]).max(0) + 12
    figure = Figure(figsize=tuple((high - low) / 72)) if ax is None else ax.figure.figure
    formats = figure.canvas.get_supported_filetypes()
    extension = os.path.splitext(os.fspath(path))[1][1:].lower() if path is not None else "png"
    if extension not in formats:
        raise GameError(f"a picture cannot be saved as '{path}'", hint="end it in .png or .svg.")
    ax = figure.add_axes((0, 0, 1, 1)) if ax is None else ax
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    # in small axes everything shrinks, lines too
    thin = min(np.array(ax.get_window_extent().size) / figure.dpi * 72 / (high - low))

    colours = _colours(graph)
    for (one, other), curve, (_, head) in zip(graph.edges, curves, arrows, strict=True):
        line = PathPatch(
            curve, facecolor="none", edgecolor=colours[one], linewidth=1.2 * thin, zorder=1
        )
        line.set_gid(f"edge:{one}->{other}")
        ax.add_patch(line)
        ax.add_patch(Polygon(head, closed=True, color=colours[one], linewidth=0, zorder=1))
    for (name, data), text, (x, y, w, h) in zip(graph.nodes(data=True), texts, boxes, strict=True):
        fill = "0.82" if data["observed"] else "white"
        node = Ellipse(
            (x, y), w, h, facecolor=fill, edgecolor=colours[name], linewidth=1.4 * thin, zorder=2
        )
        node.set_gid(f"node:{name}")
        ax.add_patch(node)
        extent = text.get_extents()
        centre = Affine2D().translate(
            x - (extent.x0 + extent.x1) / 2, y - (extent.y0 + extent.y1) / 2
        )
        ax.add_patch(PathPatch(centre.transform_path(text), color="black", linewidth=0, zorder=3))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _layout(graph: nx.DiGraph) -> tuple[list[Any], Any]:
    """The outlines of the labels, and an array of (x, y, width, height) of nodes, in points."""
    from matplotlib.textpath import TextPath

    nodes = [data for _, data in graph.nodes(data=True)]
    texts = [TextPath((0, 0), _label(data), size=SIZE) for data in nodes]
    widths = [max(HEIGHT, text.get_extents().width + 2 * PAD) for text in texts]
    rows = list(dict.fromkeys((data["kind"], data["site"]) for data in nodes))
    rows.sort(key=lambda row: ORDER.index(row[0]))
    firsts = {kind: [row[0] for row in rows].index(kind) for kind, _ in rows}
    places = [rows.index((data["kind"], data["site"])) for data in nodes]
    shifts = [SHIFT * (k - firsts[data["kind"]]) for data, k in zip(nodes, places, strict=True)]
    columns = [4 * data["t"] + COLUMN[data["kind"]] for data in nodes]
    left, centres = 0.0, {}
    for column in sorted(set(columns)):
        here = [(w, d) for w, d, c in zip(widths, shifts, columns, strict=True) if c == column]
        centres[column] = left + max(w / 2 - d for w, d in here)
        left = centres[column] + max(w / 2 + d for w, d in here) + GAP_X
    boxes = [
        (centres[column] + shift, -(HEIGHT + GAP_Y) * place, width, HEIGHT)
        for column, shift, place, width in zip(columns, shifts, places, widths, strict=True)
    ]
    return texts, np.array(boxes)


def _route(edges: list[tuple[int, int]], boxes: Any) -> list[tuple[Any, Any]]:
    """A quadratic curve and a head for each edge.

    Those along a row are laid first, then short ones. Each bends no more than it must to touch no
    third node and not to run along another curve.
    """
    s = np.linspace(0, 1, 65)[:, None]
    laid, ends = np.empty((0, 2)), np.empty((0, 2))
    middles: dict[tuple[int, int], Any] = {}
    spans = {edge: np.abs(boxes[edge[0], :2] - boxes[edge[1], :2]) for edge in edges}
    for edge in sorted(edges, key=lambda edge: (spans[edge][1] > 0, sum(spans[edge]))):
        start, end = boxes[list(edge), :2]
        across = np.array([start[1] - end[1], end[0] - start[0]])
        best = np.inf
        for bend in sorted(np.linspace(-1.2, 1.2, 49), key=abs):
            middle = (start + end) / 2 + bend * across
            curve = _curve(s, start, middle, end)
            hits = _within(curve[:, None], np.delete(boxes, edge, axis=0), 6.0).sum()
            cost = 1000 * hits + 40 * abs(bend) + 100 * max(0.0, abs(bend) - 0.5)
            if cost >= best:
                continue
            free = curve[~_within(curve[:, None], boxes[list(edge)], 0.0).any(1)]
            cost += _near(free, laid, 6) + 20 * _near(free[[0, -1]], ends, 8)
            if cost < best:
                best, middles[edge], chosen = cost, middle, free
        laid, ends = np.concatenate([laid, chosen]), np.concatenate([ends, chosen[[0, -1]]])
    return [_arrow(boxes[one], boxes[other], middles[one, other]) for one, other in edges]


def _arrow(one: Any, other: Any, middle: Any) -> tuple[Any, Any]:
    """The curve from node to node by its three control points, and its head."""
    start, end = one[:2], other[:2]
    s = np.linspace(0, 1, 2001)[:, None]
    curve = _curve(s, start, middle, end)
    free = np.flatnonzero(~_within(curve, one, 0.0) & ~_within(curve, other, 1.0))
    tip, first = curve[free[-1]], s[free[0]]
    neck = free[np.linalg.norm(curve[free] - tip, axis=1) > 8][-1]
    along = (tip - curve[neck]) / np.linalg.norm(tip - curve[neck])
    side = 3.2 * np.array([-along[1], along[0]])
    head = [tip, curve[neck] + side, curve[neck] - side]
    last = s[neck]
    control = (1 - first) * ((1 - last) * start + last * middle) + first * (
        (1 - last) * middle + last * end
    )
    return [curve[free[0]], control, curve[neck]], head


def _near(points: Any, others: Any, distance: float) -> Any:
    """How many of these points have one of the others within the distance."""
    return (np.linalg.norm(points[:, None] - others, axis=-1) < distance).any(1).sum()


def _curve(s: Any, start: Any, middle: Any, end: Any) -> Any:
    return (1 - s) ** 2 * start + 2 * s * (1 - s) * middle + s**2 * end


def _within(points: Any, boxes: Any, margin: float) -> Any:
    """Which points lie inside the ellipses of these boxes, or nearer than the margin."""
    reach = boxes[..., 2:] / 2 + margin
    return (((points - boxes[..., :2]) / reach) ** 2).sum(-1) < 1


def _colours(graph: nx.DiGraph) -> dict[str, str]:
    """By kind, and actions by agent."""
    acting = dict.fromkeys(
        data["site"] if data["agent"] is None else data["agent"]
        for _, data in graph.nodes(data=True)
        if data["kind"] == "action"
    )
    own = {who: ACTION_COLOURS[k % len(ACTION_COLOURS)] for k, who in enumerate(acting)}
    return {
        name: own[data["agent"] or data["site"]]
        if data["kind"] == "action"
        else COLOURS.get(data["kind"], GREY)
        for name, data in graph.nodes(data=True)
    }


def _label(data: dict[str, Any]) -> str:
    """A node's name in mathtext, its time below."""
    site = data["site"]
    if "sites" in data:
        text = PAPER.get(site, site)
    elif data["kind"] in ("state", "crowd"):
        text = "s" if data["kind"] == "state" else "L"
    elif data["kind"] == "optimality":
        text = rf"O^{{\mathrm{{{_escape(site[2:])}}}}}"
    else:
        text = rf"\mathrm{{{_escape(site)}}}"
    return f"${text}_{{{data['t']}}}$"


def _escape(text: str) -> str:
    """Text for mathtext; what it cannot spell becomes the nearest it can."""
    spelt = {c: f"\\{c}" for c in "_$%{} "} | dict(zip('^~\\.#"`', "ˆ∼∖․♯″‵", strict=True))
    # in braces a hyphen stands without the spaces of a minus
    return "".join(spelt.get(c, c if c.isalnum() else f"{{{c}}}") for c in text)
