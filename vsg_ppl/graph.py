"""The directed graphical model of a game, read off its program (Def. 4.1, Fig. 1 and Fig. 3).

The data's way: `_slices` runs the program, sampled, every value carrying the names of the sites it
was computed from; `dependency_graph` makes nodes and edges of what each site read; `figure1` merges
them into the paper's variables; `draw_graph` draws either.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from vsg_ppl import structure
from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Game, Optimality, Signal, agents, call, role, title
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.handlers.at_time import at_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Names = frozenset[str]

KINDS = {Act: "action", Optimality: "optimality", Signal: "signal", type(None): "chance"}


def dependency_graph(
    game: Game, agent: str | None = None, *, steps: int = 2, conditional: bool = False
) -> nx.DiGraph:
    """The directed graphical model of a game program.

    Each step is run once and every value remembers the sites it was computed from, so an edge
    says that the program *reads* a value directly; no edge is a guarantee of independence. A value
    that leaves torch (``int(x)``, ``x.numpy()``) counts as read by all of the step that follows.
    Functions compiled by ``torch.jit`` are the exception: what they read is not seen.

    Nodes are named as the sites of `unroll` are: ``row_0``, ``O_row_0``, and ``weather_1`` for
    chance that makes the state of time 1; ``alive_t`` is left out. The state that the program hands
    from step to step is a node too: ``s_0``, ``s_1``, ... (``state_0``, ... in a game with a site
    named ``s``). Every node has the attributes

    * ``kind``: ``state``, ``action``, ``optimality``, ``chance`` or ``signal``;
    * ``agent``: who acts or is paid, None for the other kinds;
    * ``t``: its time, as in its name, and ``site``: its name without the time;
    * ``observed``: True for optimality, which is what the model is conditioned on.

    Args:
        game: the game program; its sites may be continuous.
        agent: None for the program as it is written, in which all act by their priors. With a name,
            the model of that agent (Fig. 1; Fig. 3 with signals): its optimality alone, and its
            opponents act by π^{-i}(·|s), which reads the state and the signals.
        steps: number of steps, at most the game's horizon. The state after them is shown as well,
            unless the horizon is over.
        conditional: the agent acts by π^i(·|s, a^{-i}), the guide's factorisation and the arrow
            a^{-i} → a^i of Fig. 1, instead of its prior u^i.

    Returns:
        A `networkx.DiGraph` without cycles, nodes in the order of the program.

    Raises:
        GameError: no such agent; a step that branches (``if``) on a value, that reads what an
            earlier step left behind instead of its state, or is no step of a game at all.

    >>> from vsg_ppl.models import StagHunt
    >>> graph = dependency_graph(StagHunt(), "row", steps=1)
    >>> sorted(graph.predecessors("O_row_0"))
    ['col_0', 'row_0', 's_0']
    >>> list(graph.predecessors("weather_1")), list(graph.predecessors("s_1"))
    (['s_0'], ['weather_1'])
    """
    _check(game, agent, steps, conditional)
    horizon = horizon_of(game)
    slices = _slices(game, steps if horizon is None else min(steps, horizon))
    graph = nx.DiGraph(game=title(game), focus=agent)
    stem = _stem({site.base for part in slices for site in part.sites})
    edges: list[tuple[str, str]] = []
    for part in slices:
        names = {part.state: f"{stem}_{part.t}"}
        signals = [site.name for site in part.sites if isinstance(site.part, Signal)]
        acts = [site for site in part.sites if isinstance(site.part, Act)]
        for site in part.sites:
            who, parents = site.agent, set(site.reads)
            if isinstance(site.part, Optimality) and agent not in (None, who):
                continue
            if isinstance(site.part, Act) and agent is not None and (conditional or who != agent):
                earlier = [act.name for act in acts[: acts.index(site)] if act.agent == who]
                parents = {part.state, *signals, *earlier}
                if who == agent:
                    parents |= {act.name for act in acts if act.agent != who}
            edges += [(names.get(parent, parent), site.name) for parent in parents]
            _add_node(graph, site.name, KINDS[type(site.part)], who)
        if horizon is None or part.t + 1 < horizon:
            after = f"{stem}_{part.t + 1}"
            edges += [(names.get(parent, parent), after) for parent in part.following]
            _add_node(graph, after, "state", None)
    order = {name: k for k, name in enumerate(graph)}
    graph.add_edges_from(sorted(edges, key=lambda edge: (order[edge[0]], order[edge[1]])))
    return graph


def figure1(game: Game, agent: str, *, steps: int = 2, conditional: bool = False) -> nx.DiGraph:
    """The graphical model of one agent in the paper's variables (Fig. 1; Fig. 3 with signals).

    It is `dependency_graph` with sites merged into ``s_t``, ``a^i_t``, ``a^-i_t``, ``O^i_t`` and,
    where there are signals, ``ω_t``. Chance that makes the next state is part of it, chance that
    only makes the reward is summed out. What is left are the figure's edges, and at most one more:
    ``s_{t+1} → O^i_t``, where the reward reads chance that also makes the next state. (The ELBO
    sees such a reward's average only, which is the paper's r^i(s, a).)

    Args:
        game: the game program.
        agent: whose model it is; the paper's i.
        steps: number of steps, at most the game's horizon.
        conditional: whether a^i reads a^{-i}, as the figure has it and the guide may, or comes from
            its prior, as in the generative model.

    Returns:
        A `networkx.DiGraph`; nodes have the attributes of `dependency_graph`, ``agent`` being None
        for a^{-i}, and ``sites``, the names of the nodes merged.

    Raises:
        GameError: as `dependency_graph`.

    >>> from vsg_ppl.models import PrisonersDilemma, StagHunt
    >>> for edge in figure1(PrisonersDilemma(), "row", conditional=True).edges:
    ...     print(*edge)
    s_0 a^i_0
    s_0 a^-i_0
    a^i_0 O^i_0
    a^-i_0 a^i_0
    a^-i_0 O^i_0
    >>> figure1(StagHunt(), "row", steps=1).nodes["s_1"]["sites"]
    ('weather_1', 's_1')
    """
    fine = dependency_graph(game, agent or "", steps=steps, conditional=conditional)
    states = {data["t"]: name for name, data in fine.nodes(data=True) if data["kind"] == "state"}
    merged: dict[str, str] = {}
    for name, data in list(fine.nodes(data=True)):
        kind, t = data["kind"], data["t"]
        if kind == "chance" and not (t in states and nx.has_path(fine, name, states[t])):
            # its children are chance of the same sort, and this agent's optimality: nothing is lost
            fine.add_edges_from([(a, b) for a in fine.pred[name] for b in fine.succ[name]])
            fine.remove_node(name)
        elif kind == "action":
            merged[name] = f"a^i_{t}" if data["agent"] == agent else f"a^-i_{t}"
        else:
            merged[name] = {"optimality": "O^i", "signal": "ω"}.get(kind, "s") + f"_{t}"
    graph = nx.DiGraph(**fine.graph)
    for name, node in merged.items():
        if node not in graph:
            kind = "state" if node.startswith("s") else fine.nodes[name]["kind"]
            who = None if node.startswith("a^-i") else fine.nodes[name]["agent"]
            _add_node(graph, node, kind, who, sites=())
        graph.nodes[node]["sites"] += (name,)
    graph.add_edges_from((merged[a], merged[b]) for a, b in fine.edges if merged[a] != merged[b])
    return graph


# --- Reading the program ---


@dataclass(frozen=True)
class _Site:
    """A random site of a step, and what its law (or its reward) reads."""

    name: str
    part: Act | Optimality | Signal | None
    reads: Names

    @property
    def base(self) -> str:
        return self.name[: self.name.rindex("_")]

    @property
    def agent(self) -> str | None:
        return getattr(self.part, "agent", None)


@dataclass(frozen=True)
class _Slice:
    """One step: its sites, and what the next state reads. The initial state's ``t`` is −1."""

    t: int
    sites: list[_Site]
    following: Names

    @property
    def state(self) -> str:
        """Stands for the state that the step is given; no site is so named."""
        return f"the state of time {self.t}"


class _Reads(TorchFunctionMode):
    """Provenance through every torch call, also where `ProvenanceTensor` alone would lose it.

    That is: tensors made of a list of values, values written in place into a constant, slices by a
    value, and Python numbers made of a value, which ``lost`` remembers.
    """

    LEAVING = {"item", "tolist", "numpy", "__array__", "__dlpack__"} | {
        f"__{number}__" for number in ("int", "float", "complex", "index")
    }
    BRANCHING = {"__bool__", "__contains__", "is_nonzero", "equal", "allclose"}

    def __init__(self) -> None:
        super().__init__()
        self.lost: Names = frozenset()
        # by address of the memory, with a tensor that keeps it from being used for another
        self._written: dict[int, tuple[Tensor, Names]] = {}

    def of(self, x: Any) -> Names:
        """Names of the sites that a tree of values was computed from."""
        found = frozenset[str]().union(*map(get_provenance, _flat(x)))
        if self._written:
            for leaf in _flat(_bare(x)):
                if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                    found |= self._written.get(_address(leaf), (leaf, frozenset[str]()))[1]
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(map(_is_wrapped, _flat((args, kwargs)))):
            raise GameError(
                "the step uses torch.vmap or torch.func, which hide what is read",
                hint="batched operations without them.",
            )
        read, name = self.of((args, kwargs)), getattr(func, "__name__", "")
        args, kwargs = _bare(args), _bare(kwargs)
        out = func(*args, **kwargs)
        if not read:
            return out
        if name in self.BRANCHING and not _is_library(sys._getframe(1)):
            raise GameError(
                "the step branches (`if`) on a value, so that one run shows one branch only",
                hint="indexing a tensor, or torch.where.",
            )
        if name in self.LEAVING:
            self.lost |= read
        changed = [kwargs.get("out"), args[0] if _in_place(name) else None]
        for tensor in tree_leaves(changed):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                before = self._written.get(_address(tensor), (tensor, frozenset[str]()))[1]
                self._written[_address(tensor)] = (tensor, before | read)
        tracks = any(isinstance(leaf, Tensor) for leaf in tree_leaves(out))
        return track_provenance(out, read) if tracks else out


class _Sites(Messenger):
    """Gives the value of every random site its own name as provenance: edges are direct."""

    def __init__(self, reads: _Reads, state: str) -> None:
        super().__init__()
        self.reads, self.state = reads, state
        self.found: list[_Site] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        part, name = role(msg), msg["name"]
        if site_is_subsample(msg) or (part is None and _is_deterministic(msg)):
            return
        if msg["is_observed"] and not isinstance(part, Optimality):
            raise GameError(
                "a step observes data, and a game is not conditioned on any",
                site=name,
                hint="vsg.optimality(agent, reward) for a reward.",
            )
        read = self.reads.of([msg["value"], msg["mask"], msg["scale"]])
        with suppress(NotImplementedError):  # a law without a density: its sample has read it all
            read |= self.reads.of(msg["fn"].log_prob(_bare(msg["value"])))
        lost = self.reads.lost
        if isinstance(part, Act | Signal):  # they read little, so most numbers cannot matter
            lost &= {self.state, *_may_read(part, self.found)}
        self.found.append(_Site(name, part, read | lost))
        msg["value"] = track_provenance(_bare(msg["value"]), frozenset({name}))


def _slices(game: Game, steps: int) -> list[_Slice]:
    """Run the program, sampled, its random numbers its own."""
    names, horizon = agents(game), horizon_of(game)
    reads, known = _Reads(), set[str]()
    slices: list[_Slice] = []
    state: Any = None
    with poutine.block(), torch.random.fork_rng(devices=[]), torch.no_grad():
        for t in range(-1, steps):
            part, what = _Slice(t, [], frozenset()), "initial" if t < 0 else "step"
            reads.lost = frozenset()
            with _speaking(game, what):
                with _Sites(reads, part.state) as sites, at_time(t), reads:
                    following = (
                        game.initial() if t < 0 else call(game.step, _mark(state, part.state), t=t)
                    )
            part.sites.extend(sites.found)
            if horizon is None or t + 1 < horizon:  # what the last step returns is not used
                part = replace(part, following=reads.of(following) | reads.lost)
                after = _plain(game, what, following)
                if t >= 0 and not structure.same_structure(state, after):
                    raise GameError(
                        f"the step of {title(game)} returns {structure.describe(after)} as the "
                        f"next state, but the initial state is {structure.describe(state)}",
                        hint="return the next state in the structure that `initial` returns.",
                    )
                state = after
            _check_slice(part, names, known)
            known |= {part.state, *(site.name for site in part.sites)}
            slices.append(part)
    return slices


def _plain(game: Game, what: str, state: Any) -> Any:
    """The state, its leaves tensors of their own, without provenance."""

    def leaf(x: Any) -> Any:
        if x is None:
            return None
        if not isinstance(x, Tensor | bool | int | float):
            raise GameError(
                f"`{what}` of {title(game)} returns a state with a {type(x).__name__}; a state is "
                "a tensor or a number, or a tuple, NamedTuple or dict of them"
            )
        return torch.as_tensor(x).clone()

    return tree_map(leaf, _bare(state))


def _mark(state: Any, name: str) -> Any:
    return tree_map(lambda leaf: track_provenance(leaf, frozenset({name})), state)


@contextmanager
def _speaking(game: Game, program: str) -> Iterator[None]:
    """Turn what the user's code raises into one sentence that says where."""
    try:
        yield
    except GameError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GameError(
            f"`{program}` of {title(game)} raises {type(error).__name__}: {text}"
        ) from error


def _check(game: Game, agent: str | None, steps: int, conditional: bool) -> None:
    names = agents(game)
    if agent is not None and agent not in names:
        raise GameError(f"{title(game)} has no agent '{agent}'", hint=f"one of {', '.join(names)}.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise GameError(f"steps is {steps!r}; it counts decisions, so it must be 1 or more")
    if conditional and agent is None:
        raise GameError(
            "the conditional factorisation is that of one agent, and none is named",
            hint=f'agent="{names[0]}".',
        )


def _check_slice(part: _Slice, names: tuple[str, ...], known: set[str]) -> None:
    """The rules of the language, as `tabulate` has them; ``known`` is what came before."""
    here: set[str] = set()
    for site in part.sites:
        if site.base in here or site.name in known:
            raise GameError("this name is used for two sites", site=site.name)
        here.add(site.base)
        if part.t < 0 and site.part is not None:
            raise GameError("the initial state is drawn by chance alone", site=site.name)
        if site.agent is not None and site.agent not in names:
            raise GameError(
                f"'{site.agent}' is not among the agents {', '.join(names)}", site=site.name
            )
        _check_memory(site.reads & known, site.name)
        if not isinstance(site.part, Act | Signal):
            continue
        if not site.reads <= {part.state, *_may_read(site.part, part.sites)}:
            raise GameError(
                "the signal's law reads an action or chance"
                if site.agent is None
                else f"the prior of '{site.agent}' reads another's action, or chance",
                site=site.name,
                hint="agents act simultaneously and see the state and the signals alone; what "
                "they should see belongs into the state.",
            )
    _check_memory(part.following & known, None)


def _may_read(part: Act | Signal, sites: list[_Site]) -> Names:
    """Beside the state, an act or a signal may read signals and what its own agent does."""
    agent = part.agent if isinstance(part, Act) else None
    return frozenset(
        site.name
        for site in sites
        if isinstance(site.part, Signal) or (isinstance(site.part, Act) and site.agent == agent)
    )


def _check_memory(old: Names, site: str | None) -> None:
    if old:
        raise GameError(
            f"{'this' if site else 'the next state'} reads {min(old)!r} of an earlier step, past "
            "the state",
            site=site,
            hint="make it a part of the state; a game must not remember by itself.",
        )


def _flat(x: Any) -> list[Any]:
    """The leaves of a tree, those of slices too."""
    parts = tree_leaves(x)
    if not any(isinstance(part, slice) for part in parts):
        return parts
    ends = [[p.start, p.stop, p.step] if isinstance(p, slice) else [p] for p in parts]
    return [end for part in ends for end in part]


def _bare(x: Any) -> Any:
    """The same tree without provenance."""

    def leaf(part: Any) -> Any:
        if isinstance(part, slice):
            return slice(*map(detach_provenance, (part.start, part.stop, part.step)))
        return detach_provenance(part) if isinstance(part, Tensor) else part

    return tree_map(leaf, x)


def _in_place(name: str) -> bool:
    if name.startswith("__i"):
        return name not in ("__int__", "__index__", "__invert__", "__iter__")
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _is_wrapped(x: Any) -> bool:
    return isinstance(x, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x)


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _is_library(frame: Any) -> bool:
    """Whether a branch is a distribution's own, such as the validation of its arguments."""
    module = str(frame.f_globals.get("__name__"))
    return module.startswith(("torch.distributions", "pyro."))


def _is_deterministic(msg: Any) -> bool:
    fn = msg["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return bool((msg["infer"] or {}).get("_deterministic")) or type(fn).__name__ == "Delta"


def _stem(bases: set[str]) -> str:
    """A name for the state that no site has."""
    stem = "s" if "s" not in bases else "state"
    while stem in bases:
        stem += "_"
    return stem


def _add_node(graph: nx.DiGraph, name: str, kind: str, agent: str | None, **more: Any) -> None:
    site, t = name.rsplit("_", 1)
    graph.add_node(
        name, kind=kind, agent=agent, t=int(t), site=site, observed=kind == "optimality", **more
    )


# --- Drawing ---

SIZE, PAD, HEIGHT = 14.0, 9.0, 30.0  # of letters, beside them, of nodes: points
GAP_X, GAP_Y, SHIFT = 34.0, 30.0, 20.0  # between columns, between rows; of rows of one kind
ORDER = ("optimality", "action", "signal", "chance", "state")  # of the rows, from the top
COLUMN = {"state": 0, "signal": 0, "action": 1, "optimality": 2, "chance": -1}  # of each four
GREY, COLOURS = "0.25", {"state": "0.25", "signal": "#8e44ad", "chance": "#b9770e"}
ACTION_COLOURS = ("#1f6fb4", "#c0392b", "#1e8449", "#6c3483", "#b7500f", "#117a8b")
PAPER = {"a^i": "a^{i}", "a^-i": "a^{-i}", "O^i": "O^{i}", "ω": r"\omega"}


def draw_graph(
    graph: nx.DiGraph, path: str | os.PathLike[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw a graph of `dependency_graph` or `figure1`.

    Time goes from left to right; rows are optimality, actions, signals, chance and states, from the
    top. Observed nodes are shaded. Arrows have the colour of what they come from and bend around
    nodes that are not theirs.

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
    assert figure is not None
    formats = figure.canvas.get_supported_filetypes()
    extension = os.path.splitext(os.fspath(path))[1][1:].lower() if path is not None else "png"
    if extension not in formats:
        raise GameError(f"a picture cannot be saved as '{path}'", hint="end it in .png or .svg.")
    ax = figure.add_axes((0, 0, 1, 1)) if ax is None else ax
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()

    colours = _colours(graph)
    for (one, other), curve, (_, head) in zip(graph.edges, curves, arrows, strict=True):
        line = PathPatch(curve, facecolor="none", edgecolor=colours[one], linewidth=1.2, zorder=1)
        line.set_gid(f"edge:{one}->{other}")
        ax.add_patch(line)
        ax.add_patch(Polygon(head, closed=True, color=colours[one], linewidth=0, zorder=1))
    for (name, data), text, (x, y, w, h) in zip(graph.nodes(data=True), texts, boxes, strict=True):
        fill = "0.82" if data["observed"] else "white"
        node = Ellipse(
            (x, y), w, h, facecolor=fill, edgecolor=colours[name], linewidth=1.4, zorder=2
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
    elif data["kind"] == "state":
        text = "s"
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
