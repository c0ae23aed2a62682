"""Tables from dense arrays, and dense arrays of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.states import States
from vsg_ppl.structure import describe, leaves, same_structure
from vsg_ppl.table import Actions, Table, check_simplex
from vsg_ppl.tabulate import allowance, tabulate

ROUNDING = 1e-12
"""Sums that are this close to 1 are left as they are."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A finite game as dense arrays, named as the arguments of `from_arrays` are.

    N agents, S states, A_i actions of agent i. What depends on time has a dimension H where shown,
    and lacks it otherwise. Of a batch, a dimension B comes first in rewards, transitions, priors
    and the initial law; it has size 1 in what all games share.

    Attributes:
        rewards: r^i(s, a), (N, [H,] S, A_1, ..., A_N).
        transitions: P(s'|s, a), ([H,] S, A_1, ..., A_N, S); ``None`` with horizon 1.
        initial: P(s_0), (S,).
        discount: γ.
        horizon: number of decisions, ``None`` for infinite.
        agents: names.
        labels: names of each agent's actions. Of several sites, they are joined by commas.
        states: labels of the states.
        priors: u^i(a|s) of each agent, ([H,] S, A_i); 0 where an action is not available.
        batched: whether a dimension B comes first.
        name: of the game.
        reachable: (H, S), whether a state can occur at a time; ``None`` when all can.
        acting: (H, N), whether an agent acts at a time; ``None`` when all always do.
        signals: public signals in the states, as the table has them.
        signal_law: their law.
    """

    rewards: Tensor
    transitions: Tensor | None
    initial: Tensor
    discount: float
    horizon: int | None
    agents: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    states: tuple[Any, ...]
    priors: tuple[Tensor, ...]
    batched: bool
    name: str
    reachable: Tensor | None = None
    acting: Tensor | None = None
    signals: tuple[tuple[str, int], ...] = ()
    signal_law: Tensor | None = None

    def table(self) -> Table:
        """The table again: the game is the same, with every agent's actions at one site.

        >>> from vsg_ppl.models import StagHunt
        >>> to_arrays(StagHunt()).table().actions[0].names()
        ['STAG', 'HARE']
        """
        table = from_arrays(
            self.rewards,
            self.transitions,
            discount=self.discount,
            horizon=self.horizon,
            initial=self.initial,
            agents=self.agents,
            labels=self.labels,
            states=self.states,
            priors=self.priors,
            batched=self.batched,
            name=self.name,
        )
        return replace(
            table,
            reachable=self.reachable,
            acting=self.acting,
            signals=self.signals,
            signal_law=self.signal_law,
        )


def to_arrays(game: Game | Table, *, max_bytes: float | None = None) -> Arrays:
    """The dense arrays of a finite game, for other software; `Arrays.table` is the way back.

    A table lacks probability where play cannot come: from states at which the horizon ends play,
    and after actions that are not available. Here the state stays as it is then, so that all laws
    sum to 1.

    Args:
        game: a game program or its table.
        max_bytes: memory the arrays may take, by default three quarters of the machine's.

    Raises:
        GameError: the game cannot be tabulated, or the arrays are too large.

    >>> from vsg_ppl.models import StagHunt
    >>> arrays = to_arrays(StagHunt())
    >>> arrays.rewards.shape, arrays.transitions.shape, arrays.labels[1]
    (torch.Size([2, 2, 2, 2]), torch.Size([2, 2, 2, 2]), ('STAG', 'HARE'))
    """
    table = game if isinstance(game, Table) else tabulate(game)
    n, sizes = len(table.states), table.sizes
    paid = torch.broadcast_shapes(*(reward.shape[:2] for reward in table.rewards))
    moved = tuple(table.probabilities.shape[:2])
    if table.successors is not None:
        moved = (moved[0], max(moved[1], len(table.successors)))
    one_shot = table.horizon == 1
    cells = n * prod(sizes)
    need = 8 * cells * (len(sizes) * prod(paid) + (0 if one_shot else n * prod(moved)))
    if need > (budget := allowance(max_bytes)):
        raise GameError(
            f"the arrays of {table.name}, of {n:,} states and {prod(sizes):,} joint actions, would "
            f"take {need:,} bytes, and {int(budget):,} are allowed",
            hint="its table (`vsg.tabulate`), which lists possible next states only, or "
            "`max_bytes=`.",
        )

    def shown(x: Tensor, time: int = 1) -> Tensor:
        """Without the dimensions that say nothing; that of time is at ``time``."""
        x = x.squeeze(time) if x.shape[time] == 1 else x
        return x if table.batched else x.squeeze(0)

    rewards = [reward.expand(*paid, n, *sizes) for reward in table.rewards]
    return Arrays(
        rewards=shown(torch.stack(rewards, 1), time=2),
        transitions=None if one_shot else shown(_transitions(table, moved)),
        initial=table.initial if table.batched else table.initial[0],
        discount=table.discount,
        horizon=table.horizon,
        agents=table.agents,
        labels=tuple(tuple(actions.names()) for actions in table.actions),
        states=tuple(table.states),
        priors=tuple(shown(prior.exp()) for prior in table.log_priors),
        batched=table.batched,
        name=table.name,
        reachable=table.reachable,
        acting=table.acting,
        signals=table.signals,
        signal_law=table.signal_law,
    )


def from_arrays(
    rewards: Any,
    transitions: Any = None,
    *,
    discount: float = 1.0,
    horizon: int | None = None,
    initial: Any = None,
    agents: Sequence[str] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
    states: Sequence[Any] | None = None,
    priors: Sequence[Any] | None = None,
    batched: bool = False,
    name: str = "arrays",
) -> Table:
    """A table from dense arrays, many games at once with ``batched=True``.

    Rewards, transitions and priors may depend on time: a dimension of ``horizon`` entries then
    comes before S.

    Args:
        rewards: r^i(s, a), shape (N, S, A_1, ..., A_N); with ``batched`` a leading (B,).
        transitions: P(s'|s, a), shape (S, A_1, ..., A_N, S), or (B, ...); ``None`` for one-shot
            games, which then have horizon 1.
        discount: γ.
        horizon: number of decisions, ``None`` for infinite.
        initial: P(s_0), shape (S,) or (B, S); uniform by default.
        agents: names; ``agent1, agent2, ...`` by default.
        labels: for each agent the names of its actions; ``0, 1, ...`` by default.
        states: labels of the states, in ascending order: integers, or tuples or dicts of integers,
            all of one structure; ``0, 1, ...`` by default.
        priors: u^i(a|s), for each agent an array of shape (S, A_i), or (B, ...); 0 where an action
            is not available. Uniform by default.
        batched: whether a batch dimension leads.
        name: of the game.

    Raises:
        GameError: wrong shapes, entries that are not finite, probabilities off the simplex, states
            out of order.

    >>> table = from_arrays(torch.rand(1000, 2, 1, 10, 10), batched=True)
    >>> table.batch, table.sizes, table.horizon
    (1000, (10, 10), 1)
    """
    rewards = _rewards(rewards, batched)
    n_agents, n_states, sizes = rewards.shape[1], rewards.shape[3], tuple(rewards.shape[4:])
    device = rewards.device

    def law(value: Any, what: str, shape: tuple[int, ...], long: str) -> Tensor:
        return _law(value, what, long, shape, batched).to(device)

    if transitions is None:
        if (n_states != 1 and horizon != 1) or rewards.shape[2] != 1:
            raise GameError(
                f"{n_states} states and no transitions", hint="pass transitions, or horizon=1."
            )
        horizon = 1
        probabilities = torch.zeros(
            (1, 1, n_states) + (1,) * n_agents + (n_states,), dtype=torch.float64, device=device
        )
        probabilities[..., 0] = 1.0
    else:
        shape = (n_states, *sizes, n_states)
        probabilities = law(transitions, "the transitions", shape, "the transition probabilities")
    if initial is None:
        first = torch.full((1, n_states), 1.0 / n_states, dtype=torch.float64, device=device)
    else:
        first = _initial(initial, n_states, batched).to(device)
    _check_ends(discount, horizon)
    names = tuple(agents) if agents is not None else tuple(f"agent{i + 1}" for i in range(n_agents))
    if len(names) != n_agents or len(set(names)) != n_agents:
        raise GameError(f"the names {', '.join(names)} are not {n_agents} different ones")
    if priors is None:
        logs = [rewards.new_full((1, 1, n_states, size), -log(size)) for size in sizes]
    elif len(priors) != n_agents:
        raise GameError(f"there are {len(priors)} priors of {n_agents} agents")
    else:
        logs = [
            law(
                prior, f"the priors of '{agent}'", (n_states, size), f"the priors of '{agent}'"
            ).log()
            for agent, size, prior in zip(names, sizes, priors, strict=True)
        ]
    _check_times(horizon, rewards=[rewards[:, 0]], transitions=[probabilities], priors=logs)
    table = Table(
        agents=names,
        actions=_actions(labels, names, sizes),
        states=_states(states, n_states),
        log_priors=tuple(logs),
        rewards=tuple(rewards.unbind(1)),
        successors=None,
        probabilities=probabilities,
        initial=first,
        discount=float(discount),
        horizon=horizon,
        batched=batched,
        name=name,
    )
    parts = (*table.rewards, *table.log_priors, probabilities, first)
    if any(part.shape[0] not in (1, table.batch) for part in parts):
        found = sorted({part.shape[0] for part in parts} - {1})
        raise GameError(f"the batch has {' and '.join(map(str, found))} games")
    return table


def _numbers(value: Any, what: str) -> Tensor:
    """An array of numbers, in float64."""
    try:
        if isinstance(value, list | tuple) and any(isinstance(part, np.ndarray) for part in value):
            value = np.array(value, dtype=np.float64)
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GameError(f"{what} are no array of numbers: {error}") from error


def _rewards(value: Any, batched: bool) -> Tensor:
    """(B, N, H|1, S, A_1, ..., A_N)."""
    rewards = _numbers(value, "the rewards")
    rewards = rewards if batched else rewards[None]
    n_agents = rewards.shape[1] if rewards.ndim > 1 else 0
    if rewards.ndim - n_agents not in (3, 4) or n_agents == 0:
        raise GameError(
            f"the rewards have shape {tuple(rewards.shape[0 if batched else 1 :])}; expected "
            f"{'(B, ' if batched else '('}N, S, A_1, ..., A_N), one action dimension for each of "
            "the N agents"
        )
    if 0 in rewards.shape:
        shape = tuple(rewards.shape[0 if batched else 1 :])
        raise GameError(f"the rewards have shape {shape}, without an entry")
    if not torch.isfinite(rewards).all():
        bad = (~torch.isfinite(rewards)).nonzero()[0].tolist()[0 if batched else 1 :]
        raise GameError(f"the reward at index {tuple(bad)} is not finite")
    return rewards if rewards.ndim - n_agents == 4 else rewards.unsqueeze(2)


def _law(value: Any, what: str, long: str, shape: tuple[int, ...], batched: bool) -> Tensor:
    """Probabilities (B|1, H|1, *shape) that sum to 1."""
    law = _numbers(value, what)
    more = law.ndim - len(shape)
    if more not in range(3 if batched else 2) or tuple(law.shape[more:]) != shape:
        raise GameError(f"{what} have shape {tuple(law.shape)}; expected {shape}")
    missing = {0: (0, 1), 1: (1,) if batched else (0,), 2: ()}[more]
    for dim in missing:
        law = law.unsqueeze(dim)
    check_simplex(law, long, _where(missing))
    return _normalised(law)


def _initial(value: Any, n_states: int, batched: bool) -> Tensor:
    """P(s_0), (B|1, S)."""
    law = _numbers(value, "the initial law")
    if law.ndim == 0:
        raise GameError(f"the initial law is one number; expected shape {(n_states,)}")
    alone = law.ndim == 1
    law = law[None] if alone else law
    if law.shape[-1] != n_states:
        raise GameError(f"the initial law has {law.shape[-1]} entries for {n_states} states")
    if law.ndim != 2 or (not batched and len(law) > 1):
        shape = tuple(law.shape)
        raise GameError(f"the initial law has shape {shape}; expected {(n_states,)}")
    missing = (0,) if alone or not batched else ()
    check_simplex(law, "the probabilities of the initial law", _where(missing))
    return _normalised(law)


def _normalised(law: Tensor) -> Tensor:
    total = law.sum(-1, keepdim=True)
    return torch.where((total - 1).abs() > ROUNDING, law / total, law)


def _where(missing: tuple[int, ...]) -> Callable[[tuple[int, ...]], str]:
    """Says an index without the dimensions that the user's array does not have."""

    def where(place: tuple[int, ...]) -> str:
        shown = tuple(k for dim, k in enumerate(place) if dim not in missing)
        return f"at index {shown}" if shown else ""

    return where


def _check_ends(discount: float, horizon: int | None) -> None:
    if not 0 <= discount <= 1:
        raise GameError(f"the discount is {discount:g}, not in [0, 1]")
    if horizon is not None and (not float(horizon).is_integer() or horizon < 1):
        raise GameError(f"the horizon is {horizon!r}; it counts decisions, 1 or more")
    if horizon is None and discount == 1:
        raise GameError(
            f"discount {discount:g} and no horizon: the game never ends",
            hint="discount=0.9, or horizon=10.",
        )


def _check_times(horizon: int | None, **parts: list[Tensor]) -> None:
    for what, tensors in parts.items():
        times = max(tensor.shape[1] for tensor in tensors)
        if times not in (1, horizon):
            so = "no horizon" if horizon is None else f"a horizon of {horizon}"
            raise GameError(
                f"the {what} are given for {times} times, and the game has {so}",
                hint=f"horizon={times}, or no dimension of time.",
            )


def _actions(
    labels: Sequence[Sequence[str]] | None, agents: tuple[str, ...], sizes: tuple[int, ...]
) -> tuple[Actions, ...]:
    if labels is None:
        labels = [[str(k) for k in range(size)] for size in sizes]
    if len(labels) != len(agents):
        raise GameError(f"there are labels of the actions of {len(labels)} of {len(agents)} agents")
    for agent, named, size in zip(agents, labels, sizes, strict=True):
        if isinstance(named, str):
            raise GameError(
                f"the labels are one text, {named!r}", hint=f"{list(named)}.", site=agent
            )
        if len(named) != size:
            raise GameError(f"{len(named)} labels {tuple(named)} for {size} actions", site=agent)
    return tuple(
        Actions((agent,), (size,), (tuple(map(str, named)),))
        for agent, named, size in zip(agents, labels, sizes, strict=True)
    )


def _states(labels: Sequence[Any] | None, count: int) -> States:
    if labels is None:
        return States(torch.tensor(0), torch.arange(count)[:, None])
    labels = list(labels)
    if len(labels) != count:
        raise GameError(f"there are labels of {len(labels)} states, and rewards in {count}")
    like, rows = labels[0], []
    for label in labels:
        parts = leaves(label)
        if not same_structure(like, label):
            raise GameError(
                f"the label of one state is {describe(like)}, that of another {describe(label)}"
            )
        if any(part.numel() != 1 for part in parts):
            raise GameError(f"the state {label} has a part that is not one integer")
        rows.append([int(part) for part in parts])
    for k in range(1, count):
        if rows[k - 1] >= rows[k]:
            raise GameError(
                f"the state {labels[k]} comes after {labels[k - 1]}; a table has each of its "
                "states once, in ascending order",
                hint="bring the states into order, and with them the rows of all arrays.",
            )
    return States(like, torch.tensor(rows, dtype=torch.long).reshape(count, -1))


def _transitions(table: Table, leading: tuple[int, ...]) -> Tensor:
    """P(s'|s, a), (*leading, S, A_1, ..., A_N, S); the state stays where the table lacks it."""
    n = len(table.states)
    shape = (*leading, n, *table.sizes)
    probabilities = table.probabilities.expand(*shape, -1)
    if table.successors is None:
        dense = probabilities.clone()
    else:
        dense = probabilities.new_zeros(*shape, n)
        dense.scatter_add_(-1, table.successors.expand_as(probabilities), probabilities)
    lacking = 1 - dense.sum(-1)
    lacking = torch.where(lacking > 1e-9, lacking, 0.0)
    same = torch.arange(n, device=dense.device).reshape(n, *(1,) * (len(table.sizes) + 1))
    return dense.scatter_add_(-1, same.expand(*shape, 1), lacking[..., None])
