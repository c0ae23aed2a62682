"""Carriers split their traffic over the paths of a network whose edges slow down as they fill."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import isfinite
from typing import Literal, NamedTuple

import networkx as nx
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality

MOST_PATHS = 4096


class Edge(NamedTuple):
    """A road from ``tail`` to ``head``; its latency at a flow of x is ``slope`` x + ``fixed``."""

    tail: str
    head: str
    slope: float
    fixed: float


@dataclass(frozen=True)
class Network:
    """A directed network with affine latencies, from a source to a target.

    Edges may be parallel. A path visits no node twice.

    Attributes:
        edges: the edges, ``(tail, head, slope, fixed)``; slope and fixed latency are at least 0.
        source: where all traffic starts.
        target: where all traffic goes.

    Raises:
        GameError: a latency that is negative or not finite, no path, or more than 4,096.

    >>> NETWORKS["braess"].paths  # numbers of edges: s-v-t, s-v-w-t, s-w-t
    ((0, 2), (0, 4, 3), (1, 3))
    """

    edges: tuple[Edge, ...]
    source: str = "s"
    target: str = "t"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(Edge(*edge) for edge in self.edges))
        for edge in self.edges:
            if not all(isfinite(part) and part >= 0 for part in edge[2:]):
                raise GameError(
                    f"the latency of {edge.tail}→{edge.head} is {latency(edge)}; slope and fixed "
                    "latency must be finite and at least 0"
                )
        if not self.paths:
            raise GameError(
                f"no path leads from '{self.source}' to '{self.target}'",
                hint='Network(edges, source="s", target="t"), two nodes that edges name.',
            )
        if len(self.paths) > MOST_PATHS:
            raise GameError(f"the network has more than {MOST_PATHS} paths", hint="fewer edges.")

    @cached_property
    def graph(self) -> nx.MultiDiGraph:
        """The network for networkx: the key of an edge is its number in ``edges``."""
        graph = nx.MultiDiGraph()
        for number, (tail, head, slope, fixed) in enumerate(self.edges):
            graph.add_edge(tail, head, key=number, slope=slope, fixed=fixed)
        return graph

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """The simple paths, each as the numbers of its edges."""
        if self.source == self.target or not {self.source, self.target} <= set(self.graph):
            return ()
        found = nx.all_simple_edge_paths(self.graph, self.source, self.target)
        return tuple(tuple(edge[2] for edge in path) for path in islice(found, MOST_PATHS + 1))

    @cached_property
    def incidence(self) -> Tensor:
        """Which edge is on which path, (E, P) of 0 and 1."""
        incidence = torch.zeros(len(self.edges), len(self.paths), dtype=torch.float64)
        for number, path in enumerate(self.paths):
            incidence[list(path), number] = 1
        return incidence

    @cached_property
    def latencies(self) -> Tensor:
        """Slopes and fixed latencies, (2, E)."""
        return torch.tensor([edge[2:] for edge in self.edges], dtype=torch.float64).T


def latency(edge: Edge) -> str:
    """An edge's latency as a formula.

    >>> [latency(Edge("s", "t", *affine)) for affine in [(1, 0), (0.5, 0.2), (0, 1)]]
    ['x', '0.5x + 0.2', '1']
    """
    rise = ("" if edge.slope == 1 else f"{edge.slope:g}") + "x"
    return " + ".join([rise] * (edge.slope != 0) + [f"{edge.fixed:g}"] * (edge.fixed != 0)) or "0"


def _network(**latencies: tuple[float, float]) -> Network:
    """Edges between nodes of one letter; a figure tells parallel ones apart."""
    return Network(tuple(Edge(name[0], name[1], *part) for name, part in latencies.items()))


#: Named networks from s to t. Pigou's and Braess's are those of T. Roughgarden and É. Tardos, 2002.
NETWORKS: dict[str, Network] = {
    "pigou": _network(st1=(1, 0), st2=(0, 1)),
    "braess": _network(sv=(1, 0), sw=(0, 1), vt=(0, 1), wt=(1, 0), vw=(0, 0)),
    "ladder6": _network(
        sa=(1, 0),
        sb=(0, 1),
        ab=(0.2, 0),
        ac=(0, 1),
        bd=(1, 0),
        bc=(0.5, 0.2),
        cd=(0.1, 0.1),
        ct=(1, 0),
        dt=(0, 1),
    ),
}


class Traffic(NamedTuple):
    """The state of the game: which demand level, which incident."""

    demand: Tensor
    incident: Tensor


@dataclass(frozen=True)
class Routing:
    """Each agent splits its part of the demand over the paths of a network.

    The demand level d is divided equally: agent i sends d / N, of which it puts the shares of its
    action, a point of the simplex over paths. With f_ie its flow on edge e and F_e that of all,
    the reward is, if traffic is *splittable*, the agent's own delay −Σ_e f_ie ℓ_e(F_e); in the
    *wardrop* payoff it is −Σ_e ∫ ℓ_e from F_e − f_ie to F_e. Actions are continuous: the game has
    no table, and `vsg_ppl.routing` has its oracle.

    The state is a Markov chain that nobody moves. The demand is uniform over its levels at first
    and then leaves its level with probability ``wander`` to one beside it, up or down alike. There
    is no incident at first; one of them begins with probability ``happens`` and ends with
    probability ``clears``. It multiplies the latency of one edge.

    Equilibria: in each state the game has the exact potential −Σ_e [b_e F_e + a_e/2 (F_e² +
    Σ_i f_ie²)] for latencies a_e x + b_e, or −Σ_e ∫_0^{F_e} ℓ_e (Beckmann's) in the wardrop payoff.
    It is concave, and the chain is exogenous, so an equilibrium is one convex programme per state.
    In Braess's network at demand 1 a share (N − 1) / (N + 1) takes the shortcut if traffic is
    splittable, and all of it in the wardrop payoff, whose equilibria are Wardrop's for every N.

    Source: the game is in kind that of D. Mguni et al., 2021, "Learning in nonzero-sum stochastic
    games with potentials"; networks and chain are made for this library. Potentials: M.
    Beckmann, C. McGuire and C. Winsten, 1956; R. Cominetti, J. Correa and N. Stier-Moses, 2009,
    "The impact of oligopolistic competition in networks".

    Attributes:
        network: a name in `NETWORKS`, or a `Network`.
        n_agents: N.
        payoff: "splittable" or "wardrop".
        demands: demand levels, in units of flow.
        wander: probability per step that the demand leaves its level.
        incidents: by what the latency is multiplied, without an incident first.
        incident_edge: number of the edge to which that happens.
        happens: probability per step that an incident begins.
        clears: probability per step that it ends.
        discount: γ, per step.
        horizon: number of decisions, ``None`` without end.

    >>> game = Routing("braess", n_agents=2)
    >>> state = Traffic(torch.tensor(1), torch.tensor(0))  # demand 1, no incident
    >>> zigzag = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).double()
    >>> game.rewards(state, zigzag)
    tensor([-1., -1.], dtype=torch.float64)
    """

    network: str | Network = "ladder6"
    n_agents: int = 10
    payoff: Literal["splittable", "wardrop"] = "splittable"
    demands: tuple[float, ...] = (0.5, 1.0, 1.5)
    wander: float = 0.3
    incidents: tuple[float, ...] = (1.0, 3.0)
    incident_edge: int = 0
    happens: float = 0.1
    clears: float = 0.4
    discount: float = 1.0
    horizon: int | None = 25

    def __post_init__(self) -> None:
        if isinstance(self.network, str) and self.network not in NETWORKS:
            raise GameError(
                f"there is no network '{self.network}'",
                hint=f"one of {', '.join(NETWORKS)}, or a Network.",
            )
        if self.n_agents < 1:
            raise GameError(f"{self.n_agents} agents; at least one")
        if self.payoff not in ("splittable", "wardrop"):
            raise GameError(
                f"there is no payoff '{self.payoff}'", hint='"splittable" or "wardrop".'
            )
        for name, levels in (("demands", self.demands), ("incidents", self.incidents)):
            if not levels or not all(isfinite(level) and level > 0 for level in levels):
                raise GameError(f"the {name} are {levels}, not one or more positive numbers")
        for name in ("wander", "happens", "clears"):
            if not 0 <= getattr(self, name) <= 1:
                raise GameError(f"`{name}` is {getattr(self, name)}, not a probability")
        if not 0 <= self.incident_edge < len(self.roads.edges):
            raise GameError(
                f"the incident is on edge {self.incident_edge}, and the network has edges 0 to "
                f"{len(self.roads.edges) - 1}"
            )

    @property
    def agents(self) -> tuple[str, ...]:
        """Their names, ``agent1`` and so on."""
        return tuple(f"agent{i + 1}" for i in range(self.n_agents))

    @property
    def roads(self) -> Network:
        """The network itself."""
        return NETWORKS[self.network] if isinstance(self.network, str) else self.network

    @property
    def states(self) -> Traffic:
        """All S states in order, the incident changing fastest: two tensors (S,)."""
        demands, incidents = torch.arange(len(self.demands)), torch.arange(len(self.incidents))
        return Traffic(
            *(part.flatten() for part in torch.meshgrid(demands, incidents, indexing="ij"))
        )

    def network_in(self, state: Traffic) -> Network:
        """The network with the latencies of one state."""
        slopes, fixed = (part.tolist() for part in self.latencies(state).unbind(-2))
        edges = zip(self.roads.edges, slopes, fixed, strict=True)
        return Network(
            tuple(Edge(old.tail, old.head, a, b) for old, a, b in edges),
            self.roads.source,
            self.roads.target,
        )

    def latencies(self, state: Traffic) -> Tensor:
        """Slopes and fixed latencies in states (...), (..., 2, E)."""
        times = self._times.to(state.incident.device)[state.incident]
        return self.roads.latencies.to(times.device) * times[..., None, :]

    def demand(self, state: Traffic) -> Tensor:
        """The demand of all agents together in states (...), in units of flow."""
        return self._levels.to(state.demand.device)[state.demand]

    def rewards(self, state: Traffic, actions: Tensor) -> Tensor:
        """Every agent's reward of one step, differentiable, in the actions' dtype and device.

        Args:
            state: states (...).
            actions: shares of paths, (..., N, P); leading dimensions broadcast against the state's.

        Returns:
            Rewards (..., N): minus flow times latency.

        Raises:
            GameError: the actions have another shape.
        """
        if actions.shape[-2:] != (self.n_agents, len(self.roads.paths)):
            raise GameError(
                f"actions have the shape {tuple(actions.shape)}, not (..., {self.n_agents} agents, "
                f"{len(self.roads.paths)} paths)"
            )
        each = (self.demand(state) / self.n_agents).to(actions)[..., None, None]
        flow = each * (actions @ self.roads.incidence.to(actions).mT)  # (..., N, E)
        others = flow.sum(-2, keepdim=True) - flow
        slope, fixed = self.latencies(state).to(actions)[..., None, :].unbind(-3)
        own = 1.0 if self.payoff == "splittable" else 0.5  # of an agent's flow slows itself down
        return -(flow * (slope * (others + own * flow) + fixed)).sum(-1)

    @cached_property
    def _levels(self) -> Tensor:
        return torch.tensor(self.demands, dtype=torch.float64)

    @cached_property
    def _times(self) -> Tensor:
        """By what each incident multiplies the edges' latencies, (I, E)."""
        times = torch.ones(len(self.incidents), len(self.roads.edges), dtype=torch.float64)
        times[:, self.incident_edge] = torch.tensor(self.incidents, dtype=torch.float64)
        return times

    @cached_property
    def demand_law(self) -> Tensor:
        """Probability of the next demand level given this one, (D, D)."""
        last = len(self.demands) - 1
        law = torch.zeros(last + 1, last + 1, dtype=torch.float64)
        for level in range(last + 1):
            beside = [k for k in (level - 1, level + 1) if 0 <= k <= last]
            law[level, beside] = self.wander / max(len(beside), 1)
            law[level, level] = 1 - self.wander if beside else 1
        return law

    @cached_property
    def incident_law(self) -> Tensor:
        """Probability of the next incident given this one, (I, I)."""
        others = len(self.incidents) - 1
        law = torch.eye(others + 1, dtype=torch.float64)
        if others:
            law[1:] *= 1 - self.clears
            law[1:, 0] = self.clears
            law[0, 0] = 1 - self.happens
            law[0, 1:] = self.happens / others
        return law

    def initial(self) -> Traffic:
        """Any demand, no incident."""
        levels = torch.ones(len(self.demands), dtype=torch.float64)
        demand = pyro.sample("demand", dist.Categorical(levels))
        return Traffic(demand, torch.zeros_like(demand))

    def step(self, state: Traffic) -> Traffic:
        """All split their demand at once; the chain goes on by itself."""
        prior = dist.Dirichlet(torch.ones(len(self.roads.paths), dtype=torch.float64))
        splits = torch.broadcast_tensors(*(act(agent, prior) for agent in self.agents))
        rewards = self.rewards(state, torch.stack(splits, dim=-2))
        for agent, reward in zip(self.agents, rewards.unbind(-1), strict=True):
            optimality(agent, reward)
        demand = pyro.sample("demand", dist.Categorical(self.demand_law[state.demand]))
        incident = pyro.sample("incident", dist.Categorical(self.incident_law[state.incident]))
        return Traffic(demand, incident)
