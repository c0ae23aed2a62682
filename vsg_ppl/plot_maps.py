"""Crowds whose states are places on grids: a map for each time, with arrows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from vsg_ppl.plot_grid import Grid, motion
from vsg_ppl.plot_panels import INK, NEVER
from vsg_ppl.plot_shares import WALL, Shares, colour_bar, colours, scale, spread, write_notes

TIMES = 10
"""Times that are drawn at most; half of them if there are several grids at a time."""

STRIP = 4
"""How many times as long as wide a grid is that is a strip."""

ARROWS = 24
"""Arrows in a row or column at most."""

SHORT = 0.2
"""Cells below which a motion is not drawn."""

FAINT = 0.02
"""Share of the largest share below which a cell's motion is not drawn."""


def maps_inches(crowd: Shares, grid: Grid) -> tuple[float, float]:
    """Width and height of the crowd's picture."""
    down, across = _arrangement(crowd, grid)
    wide, high = _cell(grid, across)
    return across * wide + 1.3, min(down * (high + 0.25) + 1.1, 20.0)


def draw_maps(part: Figure | SubFigure, crowd: Shares, grid: Grid) -> None:
    """Draw a map for each time, below each other those of the facets."""
    down, across = _arrangement(crowd, grid)
    facets, norm = len(grid.facets), scale(_all(crowd, grid))
    times = spread(len(crowd.values), across if facets > 1 else TIMES)
    axes = part.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(times) * facets :]:
        axis.set_visible(False)
    for j, t in enumerate(times):
        column = list(axes[:, j] if facets > 1 else axes.flat[j : j + 1])
        for k, axis in enumerate(column):
            where = [text for text in (grid.facets[k], f"t = {t}" if crowd.moves else "") if text]
            _prepare(axis, grid, k, ", ".join(where))
            lowest = facets == k + 1 and j + across >= len(times)
            _name_places(axis, grid, side=j % across == 0, foot=lowest)
        fill_maps(column, crowd, grid, t, norm)
    colour_bar(part, axes, norm)
    few = len(times) < len(crowd.values)
    notes = [f"shown: {len(times)} of {len(crowd.values)} times"] if few else []
    write_notes(part, notes + _notes(crowd, grid))


def maps_frame(crowd: Shares, grid: Grid) -> tuple[Figure, list[Axes], Normalize]:
    """A picture of the facets at one time, to be filled; and its colours."""
    facets, norm = len(grid.facets), scale(_all(crowd, grid))
    across = min(facets, 3)
    down = -(-facets // across)
    wide, high = _cell(grid, across)
    figure = Figure(figsize=(across * wide + 1.4, down * (high + 0.3) + 0.9), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for k, axis in enumerate(axes.flat):
        if k < facets:
            _prepare(axis, grid, k, grid.facets[k])
            _name_places(axis, grid, side=k % across == 0, foot=k + across >= facets)
        else:
            axis.set_visible(False)
    colour_bar(figure, axes, norm)
    write_notes(figure, _notes(crowd, grid))
    return figure, list(axes.flat[:facets]), norm


def fill_maps(axes: list[Axes], crowd: Shares, grid: Grid, t: int, norm: Normalize) -> None:
    """Colour the places by the crowd of a time, and show where it goes; what was there goes."""
    image = grid.image(crowd.values[t])
    steps = _steps(crowd, grid, t)
    for k, axis in enumerate(axes):
        for old in [*axis.images[1:], *axis.collections]:
            old.remove()
        places = np.ma.masked_equal(image[k], 0.0)
        axis.imshow(places, norm=norm, cmap=colours(), aspect=axis.get_aspect())
        if steps is not None and _square(grid):
            _draw_arrows(axis, steps[k], image[k] >= FAINT * image.max())


def _steps(crowd: Shares, grid: Grid, t: int) -> NDArray[np.float64] | None:
    """How far the people of each place go on average, (facets, rows, columns, 2)."""
    table = crowd.solution.table
    if table.horizon is not None and t + 1 == table.horizon:
        return None  # the last step leads nowhere
    policy = crowd.solution.policies[table.agents[0]].detach()
    steps = motion(grid, table, policy if table.horizon is None else policy[t], t)
    if steps is None:
        return None
    here = grid.image(crowd.values[t])
    total = grid.image(crowd.values[t][:, None] * steps)
    return total / np.where(here > 0, here, 1.0)[..., None]


def _draw_arrows(axis: Axes, steps: NDArray[np.float64], seen: NDArray[np.bool_]) -> None:
    every = [-(-count // ARROWS) for count in seen.shape]
    chosen = np.add.outer(*(np.arange(n) % k for n, k in zip(seen.shape, every, strict=True))) == 0
    seen = chosen & seen & (np.hypot(steps[..., 0], steps[..., 1]) > SHORT)
    if not seen.any():
        return
    rows, columns = np.nonzero(seen)
    axis.quiver(
        columns,
        rows,
        steps[seen][:, 1],
        steps[seen][:, 0],
        angles="xy",
        scale_units="xy",
        scale=1.0,
        pivot="mid",
        color=INK,
        units="xy",
        width=0.08 * max(every),
        headwidth=4,
        headlength=4,
        headaxislength=3.5,
        minlength=0.5,
    )


def _arrangement(crowd: Shares, grid: Grid) -> tuple[int, int]:
    """How many grids are drawn below and beside each other."""
    times, facets = len(crowd.values), len(grid.facets)
    if facets > 1:
        return facets, min(times, TIMES // 2)
    rows, columns = grid.shape
    across = min(times, 1 if columns > STRIP * rows else TIMES if rows > STRIP * columns else 5)
    return -(-min(times, TIMES) // across), across


def _cell(grid: Grid, across: int) -> tuple[float, float]:
    """Width and height of one grid in inches."""
    rows, columns = grid.shape
    most = min(max(0.13 * max(rows, columns), 1.9 if across > 3 else 2.4), 3.2)
    if across == 1 and columns > STRIP * rows:
        most = 6.0
    unit = most / max(rows, columns)
    return max(columns * unit, 0.55), max(rows * unit, 0.3)


def _square(grid: Grid) -> bool:
    """Whether cells are drawn as squares; those of the longest strips are not."""
    return max(grid.shape) <= 5 * STRIP * min(grid.shape)


def _all(crowd: Shares, grid: Grid) -> NDArray[np.float64]:
    """Shares of all places at all times."""
    return np.stack([grid.image(now) for now in crowd.values])


def _notes(crowd: Shares, grid: Grid) -> list[str]:
    """What is added up, and what greys are."""
    notes = [f"crowds added up over {', '.join(grid.summed)}"] if grid.summed else []
    if (_all(crowd, grid)[:, grid.exists] == 0).any():
        notes.append("grey: nobody")
    return notes + ([] if grid.exists.all() else ["dark grey: no state"])


def _prepare(axis: Axes, grid: Grid, k: int, title: str) -> None:
    """An empty grid, with what is no place of it."""
    rows, columns = grid.shape
    axis.set_xlim(-0.5, columns - 0.5)
    axis.set_ylim(*((-0.5, rows - 0.5) if grid.upward else (rows - 0.5, -0.5)))
    axis.set_aspect("equal" if _square(grid) else "auto")
    axis.set_facecolor(NEVER)
    walls = np.ma.masked_equal(~grid.exists[k], False)
    axis.imshow(walls, cmap=ListedColormap([WALL]), aspect=axis.get_aspect())
    axis.set_title(title, fontsize=8, color=INK, pad=3, parse_math=False)
    axis.spines[:].set_color("#d0d0d0")
    axis.tick_params(which="both", length=0, labelsize=7, colors=INK)
    axis.set_xticks([])
    axis.set_yticks([])


def _name_places(axis: Axes, grid: Grid, *, side: bool, foot: bool) -> None:
    """Numbers of some rows at the side, of some columns at the foot."""
    if side:
        places = range(0, grid.shape[0], -(-grid.shape[0] // 6))
        axis.set_yticks(places, [str(grid.first[0] + k) for k in places])
        axis.set_ylabel(grid.down, fontsize=8, color=INK, parse_math=False)
    if foot:
        places = range(0, grid.shape[1], -(-grid.shape[1] // 6))
        axis.set_xticks(places, [str(grid.first[1] + k) for k in places])
        axis.set_xlabel(grid.across, fontsize=8, color=INK, parse_math=False)
