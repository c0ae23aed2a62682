"""Pictures of a network: where the traffic goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.models.routing import Network, latency
from vsg_ppl.plot_panels import ENDINGS, INK, PALE, write_picture

COLOURS = LinearSegmentedColormap.from_list("flow", ["#9ecae1", "#2171b5", "#08306b"])
THIN, THICK = 1.2, 7.0  # edges of no flow and of the largest, in points
NODE = 460.0  # area of a node, in square points
ACROSS, UP = 2.0, 1.1  # between layers, and from the middle to the upper row; units of the axes
INCH = 0.72  # inches of a unit
NEAR = 0.35  # an edge keeps this far from nodes that are not its own
PANELS = 6


def plot_network(
    network: Network | Sequence[Network],
    edge_flows: Tensor | Mapping[str, Tensor],
    path: str | Path | None = None,
) -> Figure:
    """A network with its flows: wide and dark edges carry much, dashed ones nothing.

    Nodes stand from left to right by topological layers. At an edge stand its latency, as a formula
    of its flow x, and the flow.

    Args:
        network: the network, or one for each panel, with the same edges.
        edge_flows: (E,) flows on edges; or several by the titles of their panels, up to 6.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: flows of another shape, negative or not finite; no panel or too many; a path
            that cannot be written.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models.routing import Routing
    >>> from vsg_ppl.routing import routing_equilibrium
    >>> game = Routing("braess", demands=(1.0,), incidents=(1.0,))
    >>> figure = plot_network(game.roads, routing_equilibrium(game).edge_flows[0])
    >>> [axes.get_label() for axes in figure.axes]
    ['network', '<colorbar>']
    """
    panels = edge_flows if isinstance(edge_flows, Mapping) else {"": edge_flows}
    networks = [network] * len(panels) if isinstance(network, Network) else list(network)
    flows = _checked(networks, panels, path)
    place = layout(networks[0])
    middle, roads = bends(networks[0], place), networks[0].edges
    spots = np.array(list(place.values()))
    low, high = spots.min(0) - 0.55, spots.max(0) + 0.55
    curves = np.array([_curve(place, *ways) for ways in zip(roads, middle, strict=True)])
    low = np.minimum(low, curves.min((0, 1)) - 0.35)
    high = np.maximum(high, curves.max((0, 1)) + 0.35)
    wide = max(len(latency(edge)) for network in networks for edge in network.edges)
    written = labels(curves, spots, 0.052 * max(wide, 5) + 0.06)

    columns = min(len(panels), 2 if high[0] - low[0] > 5 else 3)
    rows = -(-len(panels) // columns)
    wide, tall = (high - low) * INCH
    figure = Figure(
        figsize=(columns * wide + 0.9, rows * (tall + 0.35) + 0.3), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    most = max(float(flows.max()), 1e-12)
    for k, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if k >= len(panels):
            continue
        axis.set_label("network")
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axis.set_title(list(panels)[k], fontsize=10, color=INK, parse_math=False)
        _draw(axis, networks[k], flows[k], place, middle, written, most)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0.0, most), COLOURS),
        ax=axes,
        shrink=0.8,
        aspect=25,
        fraction=0.04,
        pad=0.01,
    )
    bar.set_label("flow", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2, colors=INK)
    bar.outline.set_visible(False)
    figure.supxlabel("at an edge: its latency at a flow of x, and its flow", fontsize=8, color=PALE)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def layout(network: Network) -> dict[str, NDArray[np.float64]]:
    """Where the nodes stand: every edge of a network without cycles goes to the right.

    Nodes that are equally few edges from the source stand above and below each other.

    >>> from vsg_ppl.models.routing import NETWORKS
    >>> {node: spot.tolist() for node, spot in layout(NETWORKS["pigou"]).items()}
    {'s': [0.0, 0.0], 't': [3.0, 0.0]}
    """
    graph = network.graph
    near = nx.single_source_shortest_path_length(graph, network.source)
    near = {node: near.get(node, 0) for node in graph}
    near[network.target] = 1 + max(near[node] for node in graph if node != network.target)
    layer = dict(near)
    if nx.is_directed_acyclic_graph(graph):
        for number, nodes in enumerate(nx.topological_generations(graph)):
            layer |= dict.fromkeys(nodes, number)
    groups: dict[int, list[str]] = defaultdict(list)
    for node in graph:
        groups[near[node]].append(node)
    width = ACROSS * (1.5 if len(graph) == 2 else 1.0)
    place = {}
    for group in groups.values():
        group.sort(key=lambda node: layer[node])
        for k, node in enumerate(group):
            height = UP * (len(group) - 1 - 2 * k) / (1 if len(group) < 4 else 1.6)
            place[node] = np.array([width * layer[node], height])
    return place


def bends(network: Network, place: Mapping[str, NDArray[np.float64]]) -> list[float]:
    """How far each edge bends, in parts of its length; to the left where it is positive.

    Parallel edges part; others bend no more than they must to pass by nodes that are not theirs.
    """
    found: list[float] = []
    twins: dict[frozenset[str], list[int]] = defaultdict(list)
    for number, edge in enumerate(network.edges):
        twins[frozenset(edge[:2])].append(number)
    for number, edge in enumerate(network.edges):
        same = twins[frozenset(edge[:2])]
        if len(same) > 1:
            side = 0.6 * (same.index(number) / (len(same) - 1) - 0.5)
            found.append(side if edge[:2] == network.edges[same[0]][:2] else -side)
            continue
        others = np.array([spot for node, spot in place.items() if node not in edge[:2]])
        tried = sorted(np.linspace(-0.8, 0.8, 33).round(3), key=abs)
        free = [bend for bend in tried if _clearance(_curve(place, edge, bend), others) > NEAR]
        found.append(float(free[0]) if free else 0.0)
    return found


def labels(
    curves: NDArray[np.float64], nodes: NDArray[np.float64], half: float
) -> NDArray[np.float64]:
    """Where the labels stand on their edges, (E, 2): near the middle, off each other and all else.

    Args:
        curves: (E, 33, 2) points along the edges.
        nodes: (V, 2) places of the nodes.
        half: half of a label's width.
    """
    box = np.array([half, 0.24])
    placed = np.empty((0, 2))
    for number, curve in enumerate(curves):
        others = np.delete(curves, number, axis=0).reshape(-1, 2)
        costs = []
        for k in range(7, 26):
            labelled = (np.abs(placed - curve[k]) < 2 * box).all(1).sum()
            touched = (np.abs(nodes - curve[k]) < box + 0.2).all(1).sum()
            crossed = (np.abs(others - curve[k]) < box).all(1).sum()
            costs.append(1000 * (labelled + touched) + 10 * crossed + abs(k - 16))
        placed = np.vstack([placed, curve[7 + int(np.argmin(costs))]])
    return placed


def _draw(
    axis: Axes,
    network: Network,
    flows: NDArray[np.float64],
    place: Mapping[str, NDArray[np.float64]],
    middle: Sequence[float],
    spots: NDArray[np.float64],
    most: float,
) -> None:
    """One panel."""
    graph = network.graph
    for number, edge in enumerate(network.edges):
        flow = float(flows[number])
        used = flow > 1e-6 * most
        width = THIN + (THICK - THIN) * flow / most
        style: dict[str, Any] = {
            "edgelist": [(edge.tail, edge.head, number)],
            "connectionstyle": f"arc3,rad={-middle[number]}",
        }
        arrow = nx.draw_networkx_edges(
            graph,
            place,
            ax=axis,
            width=width,
            edge_color=[COLOURS(flow / most) if used else PALE],
            style="solid" if used else (0, (4, 3)),
            arrowstyle="-|>",
            arrowsize=11 + 2 * width,
            node_size=NODE,
            **style,
        )
        arrow[0].set_gid(f"edge:{number}")
        amount = rf"$\mathbf{{{flow:.3g}}}$" if used else "0"
        axis.text(
            float(spots[number, 0]),
            float(spots[number, 1]),
            f"{latency(edge)}\n{amount}",
            fontsize=8,
            color=INK,
            ha="center",
            va="center",
            linespacing=1.25,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0},
            zorder=4,
        )
    nodes = nx.draw_networkx_nodes(
        graph, place, ax=axis, node_size=NODE, node_color="white", edgecolors=INK, linewidths=1.3
    )
    nodes.set_zorder(5)
    for text in nx.draw_networkx_labels(
        graph, place, ax=axis, font_size=10, font_color=INK, clip_on=False
    ).values():
        text.set_zorder(6)


def _curve(
    place: Mapping[str, NDArray[np.float64]], edge: Sequence[Any], bend: float
) -> NDArray[np.float64]:
    """33 points along an edge, as matplotlib's ``arc3`` has it."""
    start, end = place[edge[0]], place[edge[1]]
    across = np.array([start[1] - end[1], end[0] - start[0]])
    control = (start + end) / 2 + bend * across
    s = np.linspace(0, 1, 33)[:, None]
    return (1 - s) ** 2 * start + 2 * s * (1 - s) * control + s**2 * end


def _clearance(curve: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    if not len(others):
        return np.inf
    return float(np.linalg.norm(curve[:, None] - others, axis=-1).min())


def _checked(
    networks: Sequence[Network], panels: Mapping[str, Tensor], path: str | Path | None
) -> NDArray[np.float64]:
    """The flows (panels, E). Raises `GameError`."""
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise GameError(
            f"{path} has not the name of a picture", hint=f"an ending among {', '.join(ENDINGS)}."
        )
    if not 1 <= len(panels) <= PANELS:
        raise GameError(f"{len(panels)} panels; a picture has 1 to {PANELS}")
    roads = [[edge[:2] for edge in network.edges] for network in networks]
    if len(networks) != len(panels) or any(edges != roads[0] for edges in roads):
        raise GameError(
            f"{len(networks)} networks for {len(panels)} panels; one for each, with the same edges"
        )
    found = []
    for title, given in panels.items():
        flow = torch.as_tensor(given).detach().cpu().double()
        if flow.shape != (len(roads[0]),):
            hint = "a mapping from titles to flows." if flow.dim() > 1 else None
            raise GameError(
                f"the flows{f' of {title!r}' if title else ''} have the shape "
                f"{tuple(flow.shape)}, not one number for each of {len(roads[0])} edges",
                hint=hint,
            )
        if not (flow.isfinite().all() and flow.min() >= -1e-9):
            raise GameError("flows are negative or not finite")
        found.append(flow.clamp(min=0).numpy())
    return np.array(found)
