"""Crowds on a grid: which parts of the state are a place, and where people go from there."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.plot_panels import leaves_by_name
from vsg_ppl.states import States
from vsg_ppl.table import Table

FACETS = 6
"""Grids that are drawn beside each other at most; of more, the crowds are added up."""

FULL = 0.3
"""Share of a grid's cells that are states, at least; else it is none."""

NAMED = (("row", "column"), ("row", "col"), ("y", "x"))
"""Names of parts that are a place, the one that goes down or up first."""


@dataclass(frozen=True)
class Grid:
    """Places in two directions, and what else a state is.

    Attributes:
        down: name of the part that goes down, or up if it is ``y``.
        across: name of the part that goes across.
        first: least number of a row and of a column.
        shape: numbers of rows and columns.
        facets: titles of what is drawn on grids of their own; one empty title if nothing is.
        facet: (S,) on which of these grids each state is.
        row: (S,) its row, from 0.
        column: (S,) its column, from 0.
        summed: names of the parts over which the crowds are added up.
    """

    down: str
    across: str
    first: tuple[int, int]
    shape: tuple[int, int]
    facets: list[str]
    facet: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    summed: tuple[str, ...] = ()

    @property
    def upward(self) -> bool:
        """Whether greater numbers of rows lie higher."""
        return self.down == "y"

    def image(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of values of the states (S, ...) at each place, (facets, rows, columns, ...)."""
        image = np.zeros((len(self.facets), *self.shape, *values.shape[1:]))
        np.add.at(image, (self.facet, self.row, self.column), values)
        return image

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Which places are those of a state, (facets, rows, columns)."""
        return self.image(np.ones(len(self.row))) > 0


def grid_of(states: States) -> Grid | None:
    """The grid on which these states are places, if they are.

    >>> from vsg_ppl.models import TorusCrowd
    >>> from vsg_ppl import mean_field_table
    >>> grid = grid_of(mean_field_table(TorusCrowd(size=4)).states)
    >>> grid.down, grid.across, grid.shape
    ('row', 'column', (4, 4))
    """
    values = states.values.cpu().numpy()
    names = [name for name, _ in leaves_by_name(states.like)]
    spans = (values.max(0) - values.min(0) + 1).tolist() if len(values) else []
    wide = [k for k, span in enumerate(spans) if span > 1]
    if len(wide) < 2:
        return None
    found = [pair for pair in NAMED if set(pair) <= set(names) and len(set(names)) == len(names)]
    if found:
        place = [names.index(name) for name in found[0]]
    else:
        place = sorted(sorted(wide, key=lambda k: -spans[k])[:2])
    if min(spans[k] for k in place) < 2:
        return None
    others = [k for k in wide if k not in place]
    kinds, facet = np.unique(values[:, others], axis=0, return_inverse=True)
    summed: tuple[str, ...] = ()
    titles = [
        ", ".join(f"{names[k]} {v}".strip() for k, v in zip(others, kind, strict=True))
        for kind in kinds
    ]
    if len(kinds) > FACETS:
        summed = tuple(names[k] or f"part {k + 1}" for k in others)
        titles, facet = [""], np.zeros(len(values), dtype=np.int64)
    grid = Grid(
        down=names[place[0]],
        across=names[place[1]],
        first=(int(values[:, place[0]].min()), int(values[:, place[1]].min())),
        shape=(spans[place[0]], spans[place[1]]),
        facets=titles,
        facet=facet.reshape(-1),
        row=values[:, place[0]] - values[:, place[0]].min(),
        column=values[:, place[1]] - values[:, place[1]].min(),
        summed=summed,
    )
    return grid if grid.exists.sum() >= FULL * prod(grid.exists.shape) else None


def motion(grid: Grid, table: Table, policy: Tensor, t: int) -> NDArray[np.float64] | None:
    """How far the people of each state move on average, (S, 2) in rows and columns.

    Where the grid closes to a torus or a cylinder, the way across its edge is the short one.

    Returns:
        ``None`` where one cannot tell which way people go.
    """
    number = t if table.probabilities.shape[1] > 1 else 0
    law = table.probabilities[0, number].cpu()  # (S, A|1, K)
    if table.successors is None:
        successors = torch.arange(law.shape[-1]).expand(law.shape)
    else:
        now = t if len(table.successors) > 1 else 0
        successors = table.successors[now].cpu().expand(len(law), -1, law.shape[-1])
    weight = (policy.cpu()[..., None] * law).numpy()
    law = law.expand(weight.shape)
    steps = []
    for places, span in ((grid.row, grid.shape[0]), (grid.column, grid.shape[1])):
        step = places[successors.numpy()] - places[:, None, None]
        step = np.broadcast_to(step, weight.shape)
        far = np.unique(np.abs(step)[law.numpy() > 0])
        if 2 * far.max() > span:  # across an edge, or a long way
            gaps = np.diff(far)
            if gaps.max(initial=0) <= 1:
                return None
            reach = far[gaps.argmax()]
            step = step - span * np.sign(step) * (np.abs(step) > reach)
        steps.append((weight * step).sum((1, 2)))
    return np.stack(steps, -1)
