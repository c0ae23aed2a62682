"""Pictures of a mean-field game's crowd: where everybody is, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vsg_ppl.errors import GameError
from vsg_ppl.plot_frames import Pixels, write_frames
from vsg_ppl.plot_history import STORY, draw_history, heading
from vsg_ppl.plot_maps import draw_maps, fill_maps, maps_frame, maps_inches
from vsg_ppl.plot_panels import INK, check_picture, draw_panels, inches, short, write_picture
from vsg_ppl.plot_rows import draw_rows, fill_rows, policy_panels, rows_frame, rows_inches, rows_of
from vsg_ppl.plot_shares import BAR, Shares, colours, shares_of, spread
from vsg_ppl.solution import Solution

FRAMES = 100
"""Frames of an animation at most."""

SECONDS = 8.0
"""What a long animation takes."""


def plot_crowd(
    solution: Solution, path: str | Path | None = None, *, alone: bool = False
) -> Figure:
    """The crowd over time; beside it the policy, where it is small, and how it was found.

    Where the state is a place on a grid, there is a map for each time, or for some of many; an
    arrow shows where the people of a cell go on average, one cell long for one cell. Else states
    are rows, and times columns. Without times a bar is a state's share. Colours are logarithmic
    where shares differ by orders of magnitude.

    Args:
        solution: of a mean-field game.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.
        alone: leave out everything but the crowd.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: no mean-field game; a path that cannot be written.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import LeftRight
    >>> figure = plot_crowd(vsg.mean_field_nash(LeftRight()))
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
    ['the crowd', 'walker: LEFT', 'walker: RIGHT']
    """
    check_picture(solution, path)
    crowd = shares_of(solution)
    rows, notes = rows_of(crowd)
    grid = crowd.grid
    wide, high = rows_inches(crowd, rows) if grid is None else maps_inches(crowd, grid)
    panels, left_out = policy_panels(crowd, rows) if grid is None and not alone else ([], [])
    widths = [wide]
    if panels:
        cell, tall = inches(panels)
        widths.append(max(len(row) for row in panels) * cell + 1.0)
        high = max(high, tall)
    if solution.history and not alone:
        widths.append(STORY)
        high = max(high, 4.2)
    figure = Figure(figsize=(max(sum(widths), 4.0), high), layout="constrained")
    parts: Any = [figure]
    if len(widths) > 1:
        parts = figure.subfigures(1, len(widths), width_ratios=widths, wspace=0.02)
    if grid is None:
        draw_rows(parts[0], crowd, rows, notes, wide)
    else:
        draw_maps(parts[0], crowd, grid)
    if panels:
        draw_panels(parts[1], panels, cell, left_out)
    if solution.history and not alone:
        draw_history(parts[-1], solution)
    figure.suptitle(heading(solution), fontsize=11, color=INK, parse_math=False)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def animate_crowd(solution: Solution, path: str | Path) -> Path:
    """The crowd over time as an animated GIF: maps as those of `plot_crowd`, or bars.

    Args:
        solution: of a mean-field game with several times.
        path: where to write it; it ends in ``.gif``.

    Returns:
        The path.

    Raises:
        GameError: no mean-field game, or one without times; a path that cannot be written.
    """
    check_picture(solution, path, (".gif",))
    crowd, path = shares_of(solution), Path(path)
    if not crowd.moves:
        raise GameError(
            f"the crowd of {solution.table.name} does not move: there is one time",
            hint="plot_crowd(solution, alone=True).",
        )
    times = spread(len(crowd.values), FRAMES)
    each = int(np.clip(SECONDS * 1000 / len(times), 100, 650))
    shades = colours()(np.linspace(0, 1, 150))[:, :3]
    write_frames(_frames(crowd, times), path, each, BAR, shades)
    return path


def _frames(crowd: Shares, times: list[int]) -> Iterator[Pixels]:
    """The picture of each of these times."""
    if crowd.grid is not None:
        figure, axes, norm = maps_frame(crowd, crowd.grid)
    else:
        rows, notes = rows_of(crowd)
        figure, axis = rows_frame(crowd, rows, notes)
    canvas: Any = FigureCanvasAgg(figure)
    title = figure.suptitle("", fontsize=11, color=INK, parse_math=False)
    for t in times:
        title.set_text(f"{short(crowd.solution.table.name, 40)}, t = {t}")
        if crowd.grid is not None:
            fill_maps(axes, crowd, crowd.grid, t, norm)
        else:
            fill_rows(axis, crowd, rows, t)
        canvas.draw()
        figure.set_layout_engine("none")  # after the first, nothing moves but the crowd
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
