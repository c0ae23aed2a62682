"""`plot_network`: the picture says what the flows are, and texts do not touch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyArrowPatch
from PIL import Image

import vsg_ppl as vsg
from tests.models.test_routing import networks
from vsg_ppl.models import Network, Routing
from vsg_ppl.models.routing import NETWORKS, Traffic, latency
from vsg_ppl.plot_network import bends, labels, layout, plot_network
from vsg_ppl.routing import routing_equilibrium

CYCLE = Network(
    (
        ("s", "a", 1, 0),
        ("s", "b", 1, 0),
        ("a", "b", 0.1, 0),
        ("b", "a", 0.1, 0),
        ("a", "t", 0, 1),
        ("b", "t", 1, 0.5),
        ("s", "t", 1, 2),
    )
)
DRAWN = {**NETWORKS, "cycle": CYCLE}


def flows_of(network):
    return routing_equilibrium(Routing(network, demands=(1.0,))).edge_flows[0]


def shown(axes):
    """Texts of one panel with their boxes in pixels, the title left out."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in axes.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_every_edge_says_its_latency_and_flow(name):
    network = DRAWN[name]
    flows = flows_of(network)
    axes = plot_network(network, flows).axes[0]
    texts = sorted(text for text, _ in shown(axes))
    amounts = [rf"$\mathbf{{{flow:.3g}}}$" if flow > 1e-6 else "0" for flow in flows.tolist()]
    labels = [f"{latency(e)}\n{f}" for e, f in zip(network.edges, amounts, strict=True)]
    assert texts == sorted([*labels, *network.graph])


@pytest.mark.parametrize("name", DRAWN)
def test_texts_do_not_touch(name):
    network = DRAWN[name]
    figure = plot_network(network, flows_of(network))
    boxes = [box for _, box in shown(figure.axes[0])]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def test_more_flow_is_wider_and_none_is_dashed():
    flows = flows_of(NETWORKS["ladder6"])
    axes = plot_network(NETWORKS["ladder6"], flows).axes[0]
    arrows = {
        int(patch.get_gid().split(":")[1]): patch
        for patch in axes.patches
        if isinstance(patch, FancyArrowPatch)
    }
    assert sorted(arrows) == list(range(9))
    widths = [arrows[k].get_linewidth() for k in range(9)]
    assert max(widths) > min(widths) + 4
    order = np.argsort(flows.numpy(), kind="stable")
    assert (np.diff(np.array(widths)[order]) >= -1e-9).all()
    solid = [arrows[k].get_linestyle() in ("-", "solid") for k in range(9)]
    assert solid == (flows > 1e-6).tolist()


@pytest.mark.parametrize("name", DRAWN)
def test_labels_stand_on_their_edges(name):
    network = DRAWN[name]
    axes = plot_network(network, flows_of(network)).axes[0]
    FigureCanvasAgg(axes.figure).draw()
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    texts = [text for text in axes.texts if "\n" in text.get_text()]
    for arrow, text in zip(arrows, texts, strict=True):
        shaft = arrow.get_path().interpolated(1)
        line = np.concatenate([part for part in shaft.to_polygons(closed_only=False)][:1])
        steps = np.linspace(line[:-1], line[1:], 20).reshape(-1, 2)
        away = np.linalg.norm(steps - text.get_position(), axis=1).min()
        assert away < 0.1


def test_labels_keep_off_each_other_and_the_target_is_last():
    line = np.stack([np.linspace(0, 4, 33), np.zeros(33)], axis=-1)
    one, other, third = labels(np.stack([line, line, line]), line[[0, -1]], half=0.3)[:, 0]
    assert min(abs(one - other), abs(one - third), abs(other - third)) >= 0.6
    place = layout(CYCLE)
    assert all(place["t"][0] > place[node][0] for node in "sab")
    assert place["t"][1] == 0 and place["a"][1] == -place["b"][1] > 0


@given(networks())
@settings(max_examples=30)
def test_edges_go_to_the_right_and_past_other_nodes(network):
    place = layout(network)
    assert len({tuple(spot) for spot in place.values()}) == len(place)
    for edge in network.edges:
        assert place[edge.tail][0] < place[edge.head][0]
    found = bends(network, place)
    pairs = [(*edge[:2], bend) for edge, bend in zip(network.edges, found, strict=True)]
    assert len(set(pairs)) == len(pairs)  # parallel edges part


def test_states_beside_each_other(tmp_path):
    game = Routing("braess")
    found = routing_equilibrium(game)
    states = [Traffic(*parts) for parts in zip(*game.states, strict=True)]
    flows = {f"state {k}": found.edge_flows[k] for k in range(6)}
    figure = plot_network([game.network_in(s) for s in states], flows, tmp_path / "states.png")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == list(flows)
    drawn = [text.get_text() for text in figure.axes[1].texts]  # an incident: three times as slow
    assert any(text.startswith("3x\n") for text in drawn)
    with Image.open(tmp_path / "states.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_files(ending, tmp_path):
    path = tmp_path / f"pigou.{ending}"
    plot_network(NETWORKS["pigou"], torch.zeros(2), path)
    assert path.stat().st_size > 1000
    if ending == "svg":
        assert 'id="edge:0"' in path.read_text()


@pytest.mark.parametrize(
    ("flows", "words"),
    [
        (torch.ones(3), r"shape \(3,\), not one number for each of 2 edges"),
        (torch.ones(4, 2), "Try: a mapping from titles to flows"),
        ({"a": torch.ones(2), "b": torch.ones(1)}, "the flows of 'b' have"),
        (torch.tensor([1.0, -1.0]), "negative or not finite"),
        (torch.tensor([1.0, float("nan")]), "negative or not finite"),
        ({}, "0 panels"),
        ({str(k): torch.ones(2) for k in range(7)}, "7 panels"),
    ],
)
def test_bad_flows(flows, words):
    with pytest.raises(vsg.GameError, match=words):
        plot_network(NETWORKS["pigou"], flows)


def test_bad_networks_and_paths(tmp_path):
    pigou, braess = NETWORKS["pigou"], NETWORKS["braess"]
    with pytest.raises(vsg.GameError, match="2 networks for 1 panels"):
        plot_network([pigou, pigou], torch.ones(2))
    with pytest.raises(vsg.GameError, match="with the same edges"):
        plot_network([pigou, braess], {"a": torch.ones(2), "b": torch.ones(5)})
    with pytest.raises(vsg.GameError, match="Try: an ending among .png"):
        plot_network(pigou, torch.ones(2), "picture.gif")
    with pytest.raises(vsg.GameError, match="cannot be written"):
        plot_network(pigou, torch.ones(2), tmp_path / "nowhere" / "a.png")
