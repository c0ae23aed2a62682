"""What pictures are made of: heat maps of probabilities, names of states, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from vsg_ppl.errors import GameError
from vsg_ppl.solution import Solution
from vsg_ppl.table import Table

ROWS = 30
"""States shown at most; half of them where heat maps stand above each other."""

WRITTEN = 6
"""Columns up to which the probabilities are also written."""

ENDINGS = (".png", ".svg", ".pdf")
INK, PALE, NEVER = "#222222", "#8a8a8a", "#ececec"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's


@dataclass(frozen=True)
class Panel:
    """One heat map: probabilities, NaN where there is nothing to show."""

    title: str
    values: NDArray[np.float64]  # (rows, columns)
    rows: list[str]
    columns: list[str]
    down: str  # what the rows are
    across: str = ""  # what the columns are


def check_picture(
    solution: Solution, path: str | Path | None, endings: Sequence[str] = ENDINGS
) -> None:
    """Raise `GameError` for a batch of games, and for a path that is no picture's."""
    if path is not None and Path(path).suffix.lower() not in endings:
        many = f"an ending among {', '.join(endings)}." if len(endings) > 1 else f"{endings[0]}."
        raise GameError(f"{path} has not the name of a picture", hint=many)
    if solution.table.batched:
        raise GameError(f"a picture is of one game, and this solution holds {solution.table.batch}")


def state_name(label: Any) -> str:
    """A state's label in short: its numbers.

    >>> state_name({"x": 1, "y": (2, 3)})
    '1, 2, 3'
    """
    return ", ".join(str(value) for _, value in leaves_by_name(label, "")) or "–"


def parts_in_words(table: Table) -> str:
    """What the numbers of a state's label are."""
    names = [name for name, _ in leaves_by_name(table.states.like, "")]
    return ", ".join(name or "state" for name in names) if any(names) else "state"


def leaves_by_name(label: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a state's label, each with the name that it has, if any."""
    if isinstance(label, dict):
        for key, part in label.items():
            yield from leaves_by_name(part, str(key))
    elif isinstance(label, tuple | list):
        names = getattr(label, "_fields", [name] * len(label))
        for key, part in zip(names, label, strict=True):
            yield from leaves_by_name(part, key)
    elif label is not None:
        yield name, label


def action_names(table: Table, agent: str) -> list[str]:
    """Names of an agent's actions, short ones."""
    return [short(name) for name in table.actions[table.number(agent)].names()]


def short(text: str, length: int = 18) -> str:
    """A text that is cut where it is longer.

    >>> short("the quality of mercy", 12)
    'the quality…'
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def inches(grid: list[list[Panel]]) -> tuple[float, float]:
    """The width of a panel, and the height of the figure."""
    panels = [panel for row in grid for panel in row]
    columns = max(len(panel.columns) for panel in panels)
    wide = max(len(row) for row in grid)
    each = (0.45 if wide > 1 else 0.8) if columns <= WRITTEN else 0.3
    cell = min(max(each * columns, 3.0 if wide == 1 else 1.6), 12.0 / wide, 6.0)
    rows = [min(max(len(panel.rows) for panel in row), ROWS) for row in grid]
    high = sum(0.21 * count + 0.5 for count in rows) + 1.2
    return cell, min(max(high, 4.2), 20.0)


def draw_panels(
    part: Figure | SubFigure, grid: list[list[Panel]], cell: float, notes: Sequence[str]
) -> None:
    """Draw heat maps, with one colour bar."""
    across = max(len(row) for row in grid)
    axes = part.subplots(len(grid), across, squeeze=False)
    image = None
    for k, row in enumerate(axes):
        for j, axis in enumerate(row):
            if j >= len(grid[k]):
                axis.set_visible(False)
                continue
            panel = grid[k][j]
            beside = grid[k][j - 1] if j > 0 else None
            below = grid[k + 1][j] if k + 1 < len(grid) and j < len(grid[k + 1]) else None
            image = draw_panel(axis, panel)
            name_rows(axis, panel, beside is not None and beside.rows == panel.rows)
            same = below is not None and below.columns == panel.columns
            name_columns(axis, panel, cell, same)
    assert image is not None
    bar = part.colorbar(image, ax=axes, shrink=0.9, fraction=0.05, aspect=30, pad=0.02)
    bar.set_label("probability", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2, colors=INK)
    bar.outline.set_visible(False)
    if notes:
        part.supxlabel("shown: " + "; ".join(notes), fontsize=8, color=PALE)


def draw_panel(axis: Axes, panel: Panel) -> AxesImage:
    """Draw one heat map, without names."""
    image = axis.imshow(panel.values, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
    axis.set_facecolor(NEVER)
    axis.set_title(short(panel.title, 30), fontsize=9, color=INK, parse_math=False)
    axis.spines[:].set_visible(False)
    rows, columns = panel.values.shape
    if rows <= ROWS and columns <= 2 * ROWS:  # lines between the cells
        axis.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axis.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=0.8)
    axis.tick_params(which="both", length=0, labelsize=7, colors=INK)
    if columns <= WRITTEN and rows <= ROWS:
        for (k, j), value in np.ndenumerate(panel.values):
            if isfinite(value):
                style: dict[str, Any] = {"color": "white" if value > 0.6 else INK, "fontsize": 7}
                axis.text(j, k, in_two_digits(value), ha="center", va="center", **style)
    return image


def in_two_digits(probability: float) -> str:
    """Two decimals; a probability that is not quite 0 or 1 does not read like it.

    >>> [in_two_digits(p) for p in (0.0, 0.001, 0.25, 0.999, 1.0)]
    ['0', '<.01', '.25', '>.99', '1']
    """
    if probability in (0.0, 1.0):
        return f"{probability:.0f}"
    if probability < 0.005:
        return "<.01"
    if probability > 0.995:
        return ">.99"
    return f"{probability:.2f}".removeprefix("0")


def name_rows(axis: Axes, panel: Panel, hide: bool) -> None:
    """Name all rows, or every k-th; none if the panel beside has the same."""
    if hide or (len(panel.rows) == 1 and panel.down):
        axis.set_yticks([])
        return
    every = -(-len(panel.rows) // ROWS)
    places = list(range(0, len(panel.rows), every))
    axis.set_yticks(places, [panel.rows[k] for k in places], parse_math=False)
    axis.set_ylabel(panel.down, fontsize=8, color=INK, parse_math=False)


def name_columns(axis: Axes, panel: Panel, cell: float, hide: bool) -> None:
    """Name all columns, or every k-th, askew if they are long; none if the panel below has."""
    if hide:
        axis.set_xticks([])
        return
    every = -(-len(panel.columns) // 12)
    places = list(range(0, len(panel.columns), every))
    names = [panel.columns[k] for k in places]
    needed = 0.075 * max(map(len, names)) + 0.06  # inches, at 7 points
    style: dict[str, Any] = {"parse_math": False}
    if needed > 0.85 * cell / len(names):
        style |= {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(places, names, **style)
    axis.set_xlabel(panel.across, fontsize=8, color=INK)


def write_picture(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its ending says the format."""
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    try:
        figure.savefig(path, dpi=150, metadata=metadata)
    except OSError as error:
        raise GameError(
            f"{path} cannot be written ({error.strerror})", hint="a file in a folder that exists."
        ) from error
