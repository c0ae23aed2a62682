"""Public signals on tables: add one, take its values apart from the states, change its law (§5.3).

With Ω joint values of the signals, state s and value ω of the program are state s·Ω + ω of the
table, and P((s', ω') | (s, ω), a) = σ(ω'|s') P(s'|s, ω, a).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.join import signal_states, with_reachable
from vsg_ppl.states import States
from vsg_ppl.structure import leaves, to_json
from vsg_ppl.table import Table


def signal_size(table: Table) -> int:
    """Ω, the number of joint values of the signals; 1 without signals."""
    return prod(size for _, size in table.signals)


def base_states(table: Table) -> States:
    """The states without their signals."""
    if not table.signals:
        return table.states
    like = table.states.like[0]
    return States(like, table.states.values[:: signal_size(table), : len(leaves(like))])


def signal_labels(table: Table) -> list[str]:
    """A name for every joint value of the signals, in order.

    >>> from vsg_ppl.models import Chicken
    >>> from vsg_ppl.tabulate import tabulate
    >>> signal_labels(with_signal(tabulate(Chicken()), 2, "light"))
    ['light=0', 'light=1']
    """
    names = [name for name, _ in table.signals]
    drawn = product(*(range(size) for _, size in table.signals))
    return [
        ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        for values in drawn
    ]


def signal_rows(table: Table) -> list[dict[str, Any]]:
    """σ in plain JSON values: the state, the time if it depends on it, and the probabilities.

    >>> from vsg_ppl.models import Chicken
    >>> from vsg_ppl.tabulate import tabulate
    >>> signal_rows(with_signal(tabulate(Chicken()), 2, "light"))
    [{'state': 0, 'probabilities': {'light=0': 0.5, 'light=1': 0.5}}]
    """
    assert table.signal_law is not None
    labels = signal_labels(table)
    states = [to_json(label) for label in base_states(table)]
    timed = len(table.signal_law) > 1
    return [
        {"state": label}
        | ({"t": t} if timed else {})
        | {"probabilities": dict(zip(labels, row, strict=True))}
        for t, rows in enumerate(table.signal_law.tolist())
        for label, row in zip(states, rows, strict=True)
    ]


def with_signal(table: Table, size: int, name: str = "signal") -> Table:
    """The same game with a public signal that nothing depends on, uniform at first.

    Args:
        table: of one game without signals.
        size: number of its values.
        name: of the signal.

    Raises:
        GameError: there are signals already.
    """
    if table.signals:
        known = ", ".join(known for known, _ in table.signals)
        raise GameError(f"{table.name} has a public signal already: {known}")

    def again(x: Tensor, dim: int) -> Tensor:
        return x.repeat_interleave(size, dim)

    law = torch.full((1, len(table.states), size), 1 / size, dtype=torch.float64)
    states = signal_states(table.states, [(name, list(range(size)))])
    successors, probabilities = table.successors, again(table.probabilities, 2)
    if successors is None:
        probabilities = again(probabilities, probabilities.ndim - 1) / size
    else:
        values = torch.arange(size, device=successors.device)
        successors = (again(successors, 1)[..., None] * size + values).flatten(-2)
        probabilities = (probabilities[..., None] / size).expand(*probabilities.shape, size)
        probabilities = probabilities.flatten(-2)
    return replace(
        table,
        states=states,
        log_priors=tuple(again(prior, 2) for prior in table.log_priors),
        rewards=tuple(again(reward, 2) for reward in table.rewards),
        successors=successors,
        probabilities=probabilities,
        initial=again(table.initial, 1) / size,
        reachable=None if table.reachable is None else again(table.reachable, 1),
        signals=((name, size),),
        signal_law=law.to(table.device),
    )


def folded(table: Table) -> Table:
    """The table with the signals of next states summed out: rows (s, ω), successors s'.

    Its ``states`` are those of the rows; only `bellman.following` makes sense of it.
    """
    omega = signal_size(table)
    if omega == 1:
        return table
    shape = table.probabilities.shape
    probabilities = table.probabilities.reshape(*shape[:-1], shape[-1] // omega, omega).sum(-1)
    successors = table.successors
    if successors is not None:
        successors = successors[..., ::omega] // omega
    return replace(table, successors=successors, probabilities=probabilities)


def with_law(table: Table, law: Tensor) -> Table:
    """The game with another law of its signals.

    Args:
        table: with signals.
        law: σ(ω|s), (H|1, S/Ω, Ω).
    """
    assert table.signal_law is not None
    omega, base = signal_size(table), folded(table)
    following = law if len(law) == 1 else torch.cat([law[1:], law[-1:]])
    if base.successors is None:
        wide = following.reshape(1, len(law), *[1] * (base.probabilities.ndim - 3), -1, omega)
        probabilities = (base.probabilities[..., None] * wide).flatten(-2)
    else:
        times = max(len(law), len(base.successors))
        steps = [
            following[min(t, len(law) - 1)][base.successors[min(t, len(base.successors) - 1)]]
            for t in range(times)
        ]
        probabilities = (base.probabilities[..., None] * torch.stack(steps)[None]).flatten(-2)
    initial = table.initial.reshape(1, -1, omega).sum(-1, keepdim=True) * law[0]
    found = replace(
        table,
        probabilities=probabilities,
        initial=initial.reshape(1, -1),
        signal_law=law,
        reachable=None,
    )
    return found if table.horizon is None else with_reachable(found, table.horizon)


def check_only_a_signal(table: Table) -> None:
    """Raise `GameError` if rewards, actions or chance read the signals: their law is then given."""
    omega, base = signal_size(table), folded(table)

    def reads(x: Tensor, dim: int) -> bool:
        by_signal = x.unflatten(dim, (-1, omega))
        first = by_signal.narrow(dim + 1, 0, 1)
        return not bool((by_signal == first).all())

    parts = {
        "the rewards": [(reward, 2) for reward in table.rewards],
        "the priors": [(prior, 2) for prior in table.log_priors],
        "the next state": [(base.probabilities, 2)]
        + ([] if base.successors is None else [(base.successors, 1)]),
    }
    for what, tensors in parts.items():
        if any(reads(x, dim) for x, dim in tensors):
            raise GameError(
                f"in {table.name} {what} of a step read the public signal: it is a part of nature, "
                "and its law is not to be chosen",
                hint='signal="given".',
            )
