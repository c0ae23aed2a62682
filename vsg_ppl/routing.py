"""The oracle of routing games: equilibria by a convex programme per state, and exact NashConv.

An agent moves nothing but its own reward: the states come and go by themselves. Whatever is asked
of the whole game is therefore asked of each state, and weighted by how often play is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import discount, horizon
from vsg_ppl.models.routing import Routing, Traffic

Array = NDArray[np.float64]

GAP = 1e-10
"""Largest duality gap of a programme, times its largest path latency where that exceeds 1."""


@dataclass(frozen=True)
class RoutingEquilibrium:
    """The equilibrium in each of the S states that maximises the potential.

    Attributes:
        splits: (S, N, P) shares of paths, as the agents' actions; the same for all agents.
        path_flows: (S, N, P) flows on paths, in units of demand.
        edge_flows: (S, E) flows of all agents on edges.
        potential: (S,) the potential.
        gap: (S,) duality gap: the potential's maximum is at most this much more.
    """

    splits: Tensor
    path_flows: Tensor
    edge_flows: Tensor
    potential: Tensor
    gap: Tensor


@dataclass(frozen=True)
class RoutingNashConv:
    """What each agent would gain by a best response, in each of the S states, in one step.

    Attributes:
        gains: (S, N) gains of the responses, at least 0.
        responses: (S, N, P) the responses, shares of paths.
        gap: (S, N) duality gaps: no response gains more than this beyond ``gains``.
    """

    gains: Tensor
    responses: Tensor
    gap: Tensor

    @property
    def per_state(self) -> Tensor:
        """NashConv of each state, (S,): the sum of the gains."""
        return self.gains.sum(-1)


def routing_equilibrium(game: Routing) -> RoutingEquilibrium:
    """An equilibrium of every state: the flow of the largest potential.

    All agents have the same demand, so one of the maximisers is symmetric: a convex programme
    over the simplex of paths, solved by active sets and certified by its duality gap. Edge flows on
    edges whose slope is positive are the same in all equilibria.

    Raises:
        GameError: no routing game; numbers of too different size for a gap of 1e-10.

    >>> from vsg_ppl.models.routing import Routing
    >>> game = Routing("braess", demands=(1.0,), incidents=(1.0,))
    >>> found = routing_equilibrium(game)
    >>> [round(share, 4) for share in found.splits[0, 0].tolist()]  # the middle one is 9 / 11
    [0.0909, 0.8182, 0.0909]
    """
    _check(game)
    states, incidence = game.states, game.roads.incidence
    each = game.demand(states)
    slope, fixed = game.latencies(states).unbind(-2)
    again = 1 / game.n_agents if game.payoff == "splittable" else 0.0
    found = [
        minimise(incidence.numpy(), quadratic.numpy(), linear.numpy())
        for quadratic, linear in zip(
            (1 + again) * slope * each[:, None] ** 2, fixed * each[:, None], strict=True
        )
    ]
    share = torch.tensor(np.array([shares for shares, _ in found]))
    splits = share[:, None].expand(-1, game.n_agents, -1).clone()
    return RoutingEquilibrium(
        splits=splits,
        path_flows=splits * (each / game.n_agents)[:, None, None],
        edge_flows=each[:, None] * (share @ incidence.T),
        potential=routing_potential(game, splits),
        gap=torch.tensor([gap for _, gap in found], dtype=torch.float64),
    )


def routing_potential(game: Routing, splits: Tensor, state: Traffic | None = None) -> Tensor:
    """The exact potential φ of one step: any agent's change of split changes it as its reward.

    Args:
        game: a routing game.
        splits: shares of paths, (..., N, P); by default (S, N, P), or what expands to it.
        state: states (...), by default all S.

    Returns:
        φ (...), in units of reward; differentiable.

    >>> from vsg_ppl.models.routing import Routing
    >>> game = Routing("pigou", payoff="wardrop", demands=(1.0,), incidents=(1.0,))
    >>> routing_potential(game, torch.tensor([1.0, 0.0]).double())
    tensor([-0.5000], dtype=torch.float64)
    """
    _check(game)
    state = game.states if state is None else state
    each = (game.demand(state) / game.n_agents).to(splits)[..., None, None]
    paths = splits.expand(*splits.shape[:-2], game.n_agents, splits.shape[-1])
    flow = each * (paths @ game.roads.incidence.to(splits).mT)  # (..., N, E)
    total = flow.sum(-2)
    squares = total**2
    if game.payoff == "splittable":
        squares = squares + (flow**2).sum(-2)
    slope, fixed = game.latencies(state).to(splits).unbind(-2)
    return -(fixed * total + slope / 2 * squares).sum(-1)


def nash_conv(game: Routing, splits: Tensor, covariance: Tensor | None = None) -> RoutingNashConv:
    """Every agent's exact best response to the others' flows, and its gain, in every state.

    An agent's reward is concave in its own flow and linear in the others'. If they act at random
    and independently, only their mean split matters; an agent's own randomness costs it the
    latency's slope times its variance.

    Args:
        game: a routing game.
        splits: (mean) shares of paths, (S, N, P) or what expands to it, such as (P,).
        covariance: (S, N, P, P) of each agent's own split, if it is random.

    Raises:
        GameError: the splits have another shape or are not on the simplex.

    >>> from vsg_ppl.models.routing import Routing
    >>> game = Routing("braess", demands=(1.0,), incidents=(1.0,))
    >>> nash_conv(game, torch.full((3,), 1 / 3)).per_state
    tensor([0.1556], dtype=torch.float64)
    """
    splits = _splits(game, splits)
    states, incidence = game.states, game.roads.incidence
    each = (game.demand(states) / game.n_agents)[:, None, None]
    slope, fixed = game.latencies(states)[:, :, None].unbind(1)  # (S, 1, E)
    share = splits @ incidence.T
    others = each * (share.sum(1, keepdim=True) - share)
    quadratic = (2 if game.payoff == "splittable" else 1) * slope * each**2
    linear = (slope * others + fixed) * each
    quadratic = quadratic.expand_as(linear)
    found = [
        minimise(incidence.numpy(), *parts)
        for parts in zip(quadratic.flatten(0, 1).numpy(), linear.flatten(0, 1).numpy(), strict=True)
    ]
    responses = torch.tensor(np.array([shares for shares, _ in found])).reshape(splits.shape)
    best = responses @ incidence.T
    # as one product, for the two costs may agree to many digits; to stay as one is costs nothing
    gains = ((share - best) * (linear + quadratic * (share + best) / 2)).sum(-1).clamp(min=0)
    if covariance is not None:
        variance = torch.einsum("ep,snpq,eq->sne", incidence, covariance.double(), incidence)
        gains = gains + (quadratic * variance).sum(-1) / 2
    gaps = torch.tensor([gap for _, gap in found], dtype=torch.float64)
    return RoutingNashConv(gains, responses, gaps.reshape(gains.shape))


def expected_nash_conv(
    game: Routing, splits: Tensor, covariance: Tensor | None = None
) -> tuple[float, float]:
    """NashConv of the whole game, and of a step of it on average.

    The sum over agents of what a best response gains in all steps together, discounted, from the
    initial law. Divided by the discounted number of steps it is the second number.

    Args:
        game: a routing game.
        splits: as for `nash_conv`.
        covariance: as for `nash_conv`.

    >>> from vsg_ppl.models.routing import Routing
    >>> game = Routing(demands=(1.0,), incidents=(1.0,))
    >>> [round(number, 3) for number in expected_nash_conv(game, torch.full((8,), 1 / 8))]
    [12.148, 0.486]
    """
    gains = nash_conv(game, splits, covariance).per_state
    weights = visitation(game)
    return float(weights @ gains), float(weights @ gains / weights.sum())


def visitation(game: Routing) -> Tensor:
    """Discounted number of steps that play is in each state, from the initial law, (S,).

    >>> from vsg_ppl.models.routing import Routing
    >>> visitation(Routing(demands=(1.0,), happens=0.5, clears=0.5, horizon=3))
    tensor([2., 1.], dtype=torch.float64)
    """
    _check(game)
    law = torch.kron(game.demand_law, game.incident_law)
    now = (game.states.incident == 0).double() / len(game.demands)
    gamma, steps = discount(game), horizon(game)
    if steps is None:
        endless: Tensor = torch.linalg.solve(torch.eye(len(law)).to(law) - gamma * law.T, now)
        return endless
    weights = torch.zeros_like(now)
    for _ in range(steps):
        weights, now = weights + now, gamma * now @ law
    return weights


def minimise(incidence: Array, quadratic: Array, linear: Array) -> tuple[Array, float]:
    """Minimise Σ_e q_e y_e² / 2 + c_e y_e over edge flows y = A x of points x of the simplex.

    Fully corrective Frank–Wolfe, as P. Wolfe's of 1976: the path of least cost enters the support,
    and Newton's steps on the face minimise exactly; a path whose share gets to 0 leaves. Where
    there is no curvature, a step goes to the boundary.

    Args:
        incidence: A, (E, P).
        quadratic: q ≥ 0, (E,).
        linear: c, (E,).

    Returns:
        The point (P,), and its duality gap: the minimum is at most this much less.

    Raises:
        GameError: rounding keeps the gap above 1e-10, times the largest path cost if that is
            above 1.

    >>> minimise(np.eye(2), np.array([2.0, 0.0]), np.array([0.0, 1.0]))[0]
    array([0.5, 0.5])
    """
    size = max(1.0, float((incidence.T @ (quadratic + np.abs(linear))).max()))
    root = np.sqrt(quadratic)
    best, least = np.zeros(incidence.shape[1]), np.inf
    shares = np.zeros(incidence.shape[1])
    shares[np.argmin(incidence.T @ (linear + quadratic / 2))] = 1.0
    for _ in range(50 + 10 * len(shares)):
        cost = incidence.T @ (quadratic * (incidence @ shares) + linear)
        gap = float(cost @ shares - cost.min())
        if gap < least:
            best, least = shares.copy(), gap
        if gap <= GAP * size / 100:  # as near as is cheap
            break
        support = shares > 0
        support[np.argmin(cost)] = True
        while support.sum() > 1:
            face = np.flatnonzero(support)
            step, furthest = _direction(incidence[:, face], root, cost[face], size)
            room = np.full(len(face), np.inf)
            falls = step < 0
            room[falls] = -shares[face][falls] / step[falls]
            length = min(furthest, room.min())
            shares[face] += length * step
            out = face[room <= length]
            shares[out], support[out] = 0.0, False
            if not len(out):
                break
            cost = incidence.T @ (quadratic * (incidence @ shares) + linear)
        shares = shares / shares.sum()
    if least > GAP * size:
        raise GameError(
            f"the convex programme stops at a duality gap of {least:.3g}",
            hint="latencies and demands of more similar size.",
        )
    return best, max(least, 0.0)


def _direction(incidence: Array, root: Array, cost: Array, size: float) -> tuple[Array, float]:
    """The way to the minimum on a face, and how far it is: 1 for Newton's step, or without end."""
    basis = np.vstack([-np.ones(len(cost) - 1), np.eye(len(cost) - 1)])  # of sums of 0
    slope = basis.T @ cost
    _, values, axes = np.linalg.svd(root[:, None] * (incidence @ basis), full_matrices=False)
    curved = values > 1e-9 * max(values.max(initial=0.0), 1e-150)
    values, axes = values[curved], axes[curved]
    along = axes @ slope
    flat = slope - axes.T @ along
    if np.abs(flat).max() > 1e-13 * size:
        return -basis @ flat, np.inf
    return -basis @ (axes.T @ (along / values**2)), 1.0


def _splits(game: Routing, splits: Tensor) -> Tensor:
    """Shares of paths as (S, N, P) in double precision, on the simplex."""
    _check(game)
    shape = (len(game.states.demand), game.n_agents, len(game.roads.paths))
    if splits.dim() > 3 or any(
        size not in (1, wanted)
        for size, wanted in zip(splits.shape[::-1], shape[::-1], strict=False)
    ):
        raise GameError(
            f"the splits have the shape {tuple(splits.shape)}, not {shape} (states, agents, paths)"
        )
    splits = splits.detach().cpu().double().expand(shape)
    total = splits.sum(-1)
    if not ((splits >= 0).all() and ((total - 1).abs() < 1e-5).all()):
        raise GameError(
            "the splits are not shares: some are negative, or do not sum to 1 over the paths",
            hint="path flows divided by the agent's demand.",
        )
    return splits / total[..., None]  # float32 sums to 1 in seven digits


def _check(game: Routing) -> None:
    if not isinstance(game, Routing):
        raise GameError(
            f"{type(game).__name__} is not a routing game", hint="vsg_ppl.models.Routing()."
        )
