"""The directed graphical model of a game, read off its program (Def. 4.1, Fig. 1 and Fig. 3).

The data's way: `provenance.slices` runs the program and says what each site read;
`dependency_graph` makes nodes and edges of that; `figure1` merges them into the paper's variables;
`draw.draw_graph` draws either.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
from pyro.ops.provenance import track_provenance

from vsg_ppl.errors import GameError
from vsg_ppl.facing import Facing, facing
from vsg_ppl.game import Act, Game, Optimality, Signal, agents, is_mean_field, title
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.mean_field_table import mean_field_table
from vsg_ppl.provenance import slices

Names = frozenset[str]

CROWD = "the crowd"
"""Stands for the law of the population at the time of a step; no site is so named."""

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
    named ``s``). So is the crowd of a mean-field game, where it is read: ``L_0``, ``L_1``, ...
    (``crowd_0``, ...). Every node has the attributes

    * ``kind``: ``state``, ``action``, ``optimality``, ``chance``, ``signal`` or ``crowd``;
    * ``agent``: who acts or is paid, None for the other kinds;
    * ``t``: its time, as in its name, and ``site``: its name without the time;
    * ``observed``: True for optimality, which is what the model is conditioned on.

    Args:
        game: the game program; its sites may be continuous. A mean-field game's are finite: it is
            read as one agent's against a crowd spread evenly.
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
    >>> from vsg_ppl.models import BeachBar
    >>> list(dependency_graph(BeachBar(), steps=1).predecessors("O_bather.crowd_0"))
    ['s_0', 'L_0']
    """
    _check(game, agent, steps, conditional)
    if is_mean_field(game):
        game = _among_others(game)
    horizon = horizon_of(game)
    found = slices(game, steps if horizon is None else min(steps, horizon))
    graph = nx.DiGraph(game=title(game), focus=agent)
    bases = {site.base for part in found for site in part.sites}
    stem, crowd = _stem(bases, "s", "state"), _stem(bases, "L", "crowd")
    edges: list[tuple[str, str]] = []
    for part in found:
        names = {part.state: f"{stem}_{part.t}", CROWD: f"{crowd}_{part.t}"}
        if any(CROWD in reads for reads in (part.following, *(site.reads for site in part.sites))):
            _add_node(graph, names[CROWD], "crowd", None)
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
    where there are signals, ``ω_t``, or a crowd, ``L_t``. Chance that makes the next state is part
    of it, chance that only makes the reward is summed out. What is left are the figure's edges, and
    at most one more: ``s_{t+1} → O^i_t``, where the reward reads chance that also makes the next
    state. (The ELBO sees such a reward's average only, which is the paper's r^i(s, a).)

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
            letters = {"optimality": "O^i", "signal": "ω", "crowd": "L"}
            merged[name] = letters.get(kind, "s") + f"_{t}"
    graph = nx.DiGraph(**fine.graph)
    for name, node in merged.items():
        if node not in graph:
            kind = "state" if node.startswith("s") else fine.nodes[name]["kind"]
            who = None if node.startswith("a^-i") else fine.nodes[name]["agent"]
            _add_node(graph, node, kind, who, sites=())
        graph.nodes[node]["sites"] += (name,)
    graph.add_edges_from((merged[a], merged[b]) for a, b in fine.edges if merged[a] != merged[b])
    return graph


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


def _among_others(game: Game) -> Facing:
    """A mean-field game as one agent's, against a crowd that remembers that it is one."""
    table = mean_field_table(game)
    others = facing(table, table.even())
    others.crowd = track_provenance(others.crowd, frozenset({CROWD}))
    return others


def _stem(bases: set[str], short: str, long: str) -> str:
    """A name for the state or the crowd that no site has."""
    stem = short if short not in bases else long
    while stem in bases:
        stem += "_"
    return stem


def _add_node(graph: nx.DiGraph, name: str, kind: str, agent: str | None, **more: Any) -> None:
    site, t = name.rsplit("_", 1)
    graph.add_node(
        name, kind=kind, agent=agent, t=int(t), site=site, observed=kind == "optimality", **more
    )
