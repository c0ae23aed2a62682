"""The crowd as pictures show it: its shares, and their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from vsg_ppl.plot_grid import Grid, grid_of
from vsg_ppl.plot_panels import INK, PALE
from vsg_ppl.solution import Solution

APART = 10.0
"""The largest share is so many times the median one where colours are logarithmic."""

DEPTH = 1e4
"""What logarithmic colours span at most."""

BAR, WALL = "#d8701f", "#b5b5b5"
SHADES = [(1.0, 0.98, 0.94), (0.99, 0.75, 0.45), (0.93, 0.43, 0.1), (0.7, 0.22, 0.0)]


@dataclass(frozen=True)
class Shares:
    """What there is to draw of a crowd.

    Attributes:
        solution: of a mean-field game.
        values: μ_t(s), (H, S).
        grid: where the states are places, if they are.
    """

    solution: Solution
    values: NDArray[np.float64]
    grid: Grid | None

    @property
    def moves(self) -> bool:
        """Whether there are several times."""
        return len(self.values) > 1


def shares_of(solution: Solution) -> Shares:
    """The shares of a solution; raises `GameError` if that of no mean-field game."""
    values = solution.shares.detach().cpu()
    values = values if values.ndim == 2 else values[None]
    return Shares(solution, values.numpy(), grid_of(solution.table.states))


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below a count, with the first and the last one.

    >>> spread(51, 4), spread(3, 10)
    ([0, 17, 33, 50], [0, 1, 2])
    """
    return sorted({round(t) for t in np.linspace(0, count - 1, min(count, most))})


def scale(values: NDArray[np.float64]) -> Normalize:
    """Colours for shares: linear, or logarithmic where they differ by orders of magnitude."""
    some = values[values > 0]
    top = float(some.max())
    if top < APART * float(np.median(some)):
        return Normalize(0.0, top)
    return LogNorm(max(float(some.min()), top / DEPTH), top, clip=True)


def colours() -> Colormap:
    """Oranges without the darkest ones, so that arrows show."""
    map_: Colormap = LinearSegmentedColormap.from_list("shares", SHADES)
    return map_


def colour_bar(part: Figure | SubFigure, axes: Any, norm: Normalize) -> None:
    """What the colours of shares say."""
    bar = part.colorbar(
        ScalarMappable(norm, colours()),
        ax=axes,
        shrink=0.9,
        fraction=0.05,
        aspect=30,
        pad=0.02,
        extend="min" if isinstance(norm, LogNorm) else "neither",
    )
    bar.set_label("share of the crowd", fontsize=8, color=INK)
    bar.ax.tick_params(which="both", labelsize=7, length=2, colors=INK)
    bar.outline.set_visible(False)


def write_notes(part: Figure | SubFigure, notes: Sequence[str]) -> None:
    """Say below a picture what it leaves out, and what greys are."""
    if notes:
        part.supxlabel("; ".join(notes), fontsize=8, color=PALE, parse_math=False)
