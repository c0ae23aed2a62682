"""Pictures of a solution: what the agents play, and how it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.simulate import simulate
from vsg_ppl.solution import Solution
from vsg_ppl.table import Table

ROWS = 30
"""States shown at most; half of them where heat maps stand above each other."""

PANELS = 12
"""Heat maps drawn at most."""

PLAYS, STEPS = 500, 200
"""Plays, and steps of each at most, that tell which states are visited."""

WRITTEN = 6
"""Columns up to which the probabilities are also written."""

ENDINGS = (".png", ".svg", ".pdf")
STORY = 5.0  # inches for the history
INK, PALE, NEVER = "#222222", "#8a8a8a", "#ececec"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's
CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("temperature", "temperature", {"color": PALE, "ls": "--", "lw": 1, "ds": "steps-pre"}),
    ("residual", "residual", {"color": LINES[0], "lw": 1.2}),
    ("nash_gap", "Nash gap", {"color": LINES[1], "lw": 1.2, "marker": "o", "ms": 3.5}),
)


@dataclass(frozen=True)
class Panel:
    """One heat map: probabilities, NaN where there is nothing to show."""

    title: str
    values: NDArray[np.float64]  # (rows, columns)
    rows: list[str]
    columns: list[str]
    down: str  # what the rows are
    across: str = ""  # what the columns are


def plot_solution(solution: Solution, path: str | Path | None = None) -> Figure:
    """Policies as heat maps; beside them gap, residual, temperature and ELBOs by iteration.

    A policy of a game with a horizon is drawn over time if the game is small, else at the first and
    the last time. Of many states, those are shown that play visits most.

    Args:
        solution: of one game.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: a batch of games; a path that cannot be written.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> figure = plot_solution(vsg.nash(StagHunt()))
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
    ['row', 'col']
    """
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise GameError(
            f"{path} has not the name of a picture", hint=f"an ending among {', '.join(ENDINGS)}."
        )
    if solution.table.batched:
        raise GameError(f"a picture is of one game, and this solution holds {solution.table.batch}")
    grid, notes = _panels(solution)
    cell, high = _inches(grid)
    wide = max(len(row) for row in grid) * cell + 1.0
    wide = max(wide, 4.0)
    story = STORY if solution.history else 0.0
    figure = Figure(figsize=(wide + story, high), layout="constrained")
    if story:
        parts: Any = figure.subfigures(1, 2, width_ratios=(wide, story), wspace=0.02)
        _draw_policies(parts[0], grid, cell, notes)
        _draw_history(parts[1], solution)
    else:
        _draw_policies(figure, grid, cell, notes)
    figure.suptitle(_heading(solution), fontsize=11, color=INK, parse_math=False)
    if path is not None:
        _write(figure, Path(path))
    return figure


def state_name(label: Any) -> str:
    """A state's label in short: its numbers.

    >>> state_name({"x": 1, "y": (2, 3)})
    '1, 2, 3'
    """
    return ", ".join(str(value) for _, value in _leaves(label, "")) or "–"


def _panels(solution: Solution) -> tuple[list[list[Panel]], list[str]]:
    """The heat maps, row by row, and notes on what they leave out."""
    table = solution.table
    policies = {agent: solution.policies[agent].detach().cpu() for agent in table.agents}
    if (table.horizon or 1) == 1:
        if table.horizon == 1:
            policies = {agent: policy[0] for agent, policy in policies.items()}
        return _at_times(solution, {None: policies})
    if _small_enough(table):
        return _over_time(table, policies), []
    ends = (0, (table.horizon or 1) - 1)
    return _at_times(solution, {t: {a: p[t] for a, p in policies.items()} for t in ends})


def _at_times(
    solution: Solution, policies: dict[int | None, dict[str, Tensor]]
) -> tuple[list[list[Panel]], list[str]]:
    """A panel, states by actions, for each agent and each of some times (none is always)."""
    table = solution.table
    agents = table.agents[: PANELS // len(policies)]
    notes = []
    if len(agents) < len(table.agents):
        notes.append(f"{len(agents)} of {len(table.agents)} agents")
    across = 1 if len(table.states) == 1 else 2 if len(policies) * len(agents) == 2 else 4
    most = ROWS if len(policies) * len(agents) <= across else ROWS // 2
    numbers = {t: _most_visited(solution, t or 0, most) for t in policies}
    panels = []
    for agent in agents:
        for t, now in policies.items():
            rows = numbers[t]
            panels.append(
                Panel(
                    agent if t is None else f"{agent}, t = {t}",
                    now[agent][rows].numpy(),
                    [state_name(table.states[k]) for k in rows],
                    _names(table, agent),
                    _parts(table),
                )
            )
    shown, there = max(map(len, numbers.values())), len(table.states)
    if shown == most < there:
        notes.append(f"the {shown} most visited of {there:,} states")
    elif shown < there:
        notes.append(f"the states that can occur, of {there:,}")
    return [panels[k : k + across] for k in range(0, len(panels), across)], notes


def _small_enough(table: Table) -> bool:
    """Whether a policy can be drawn over time: a panel for each agent, or for each action."""
    states = len(table.states)
    if states == 1:
        return len(table.agents) <= PANELS and sum(table.sizes) <= 2 * ROWS
    down = max(table.sizes) if len(table.agents) == 1 else len(table.agents)
    return max(table.sizes) <= 6 and down * states <= 2 * ROWS


def _over_time(table: Table, policies: dict[str, Tensor]) -> list[list[Panel]]:
    """Actions by time for each agent or, if there are several states, those for each action."""
    times = [str(t) for t in range(table.horizon or 1)]
    if len(table.states) == 1:
        return [
            [Panel(agent, policy[:, 0].T.numpy(), _names(table, agent), times, "", "time")]
            for agent, policy in policies.items()
        ]
    states = [state_name(label) for label in table.states]
    grid = []
    for agent, policy in policies.items():
        if table.reachable is not None:
            policy = policy.masked_fill(~table.reachable.cpu()[..., None], torch.nan)
        grid.append(
            [
                Panel(f"{agent}: {name}", now.T.numpy(), states, times, _parts(table), "time")
                for name, now in zip(_names(table, agent), policy.unbind(-1), strict=True)
            ]
        )
    return [[panel] for panel in grid[0]] if len(grid) == 1 else grid


def _most_visited(solution: Solution, t: int, most: int) -> list[int]:
    """Numbers of the states to show at time t, in order: those that occur, or occur most."""
    table = solution.table
    numbers = torch.arange(len(table.states))
    if table.reachable is not None:
        numbers = numbers[table.reachable[t].cpu()]
    if len(numbers) > most:
        steps = t + 1 if table.horizon is not None else STEPS
        plays = simulate(table, solution.policies, PLAYS, steps=steps)
        visited = plays.states if table.horizon is None else plays.states[:, t]
        visits = torch.bincount(visited.reshape(-1).cpu(), minlength=len(table.states))
        order = visits[numbers].argsort(descending=True, stable=True)
        numbers = numbers[order[:most]].sort().values
    return [int(k) for k in numbers]


def _parts(table: Table) -> str:
    """What the numbers of a state's label are."""
    names = [name for name, _ in _leaves(table.states.like, "")]
    return ", ".join(name or "state" for name in names) if any(names) else "state"


def _leaves(label: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(label, dict):
        for key, part in label.items():
            yield from _leaves(part, str(key))
    elif isinstance(label, tuple | list):
        names = getattr(label, "_fields", [name] * len(label))
        for key, part in zip(names, label, strict=True):
            yield from _leaves(part, key)
    elif label is not None:
        yield name, label


def _names(table: Table, agent: str) -> list[str]:
    return [_short(name) for name in table.actions[table.number(agent)].names()]


def _short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _inches(grid: list[list[Panel]]) -> tuple[float, float]:
    """The width of a panel, and the height of the figure."""
    panels = [panel for row in grid for panel in row]
    columns = max(len(panel.columns) for panel in panels)
    wide = max(len(row) for row in grid)
    each = (0.45 if wide > 1 else 0.8) if columns <= WRITTEN else 0.3
    cell = min(max(each * columns, 3.0 if wide == 1 else 1.6), 12.0 / wide, 6.0)
    high = sum(0.21 * max(len(panel.rows) for panel in row) + 0.5 for row in grid) + 1.2
    return cell, min(max(high, 4.2), 20.0)


def _draw_policies(
    part: Figure | SubFigure, grid: list[list[Panel]], cell: float, notes: Sequence[str]
) -> None:
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
            image = _draw_panel(axis, panel)
            _name_rows(axis, panel, beside is not None and beside.rows == panel.rows)
            same = below is not None and below.columns == panel.columns
            _name_columns(axis, panel, cell, same)
    assert image is not None
    bar = part.colorbar(image, ax=axes, shrink=0.9, fraction=0.05, aspect=30, pad=0.02)
    bar.set_label("probability", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2, colors=INK)
    bar.outline.set_visible(False)
    if notes:
        part.supxlabel("shown: " + "; ".join(notes), fontsize=8, color=PALE)


def _draw_panel(axis: Axes, panel: Panel) -> AxesImage:
    image = axis.imshow(panel.values, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
    axis.set_facecolor(NEVER)
    axis.set_title(_short(panel.title, 30), fontsize=9, color=INK, parse_math=False)
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
                axis.text(j, k, _number(value), ha="center", va="center", **style)
    return image


def _number(probability: float) -> str:
    """Two decimals; a probability that is not quite 0 or 1 does not read like it.

    >>> [_number(p) for p in (0.0, 0.001, 0.25, 0.999, 1.0)]
    ['0', '<.01', '.25', '>.99', '1']
    """
    if probability in (0.0, 1.0):
        return f"{probability:.0f}"
    if probability < 0.005:
        return "<.01"
    if probability > 0.995:
        return ">.99"
    return f"{probability:.2f}".removeprefix("0")


def _name_rows(axis: Axes, panel: Panel, hide: bool) -> None:
    """Name all rows, or every k-th; none if the panel beside has the same."""
    if hide or (len(panel.rows) == 1 and panel.down):
        axis.set_yticks([])
        return
    every = -(-len(panel.rows) // ROWS)
    places = list(range(0, len(panel.rows), every))
    axis.set_yticks(places, [panel.rows[k] for k in places], parse_math=False)
    axis.set_ylabel(panel.down, fontsize=8, color=INK, parse_math=False)


def _name_columns(axis: Axes, panel: Panel, cell: float, hide: bool) -> None:
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


def _draw_history(part: SubFigure, solution: Solution) -> None:
    elbo = any(entry.get("elbo") for entry in solution.history)
    axes = part.subplots(2 if elbo else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_gaps(axes[0], solution)
    if elbo:
        _draw_elbos(axes[1], solution)
    axes[-1].set_xlabel("iteration", fontsize=8, color=INK)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    for axis in axes:
        axis.tick_params(which="both", labelsize=7, colors=INK)
        axis.grid(color="#e4e4e4", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)


def _draw_gaps(axis: Axes, solution: Solution) -> None:
    """Gap, residual and temperature, on one logarithmic axis."""
    least = []
    for key, label, style in CURVES:
        points = _series(solution, [entry.get(key) for entry in solution.history])
        if key == "nash_gap":  # of what is returned, which the history may not have
            last = solution.history[-1].get("iteration", len(solution.history))
            points.append((float(last), float(solution.certificate.nash_gap)))
        points = [(x, y) for x, y in points if y > 0]
        if points:
            few = {"marker": "."} if len(points) == 1 else {}
            axis.plot(*zip(*points, strict=True), label=label, **{**few, **style})
            least.append(min(y for _, y in points))
    if least:
        axis.set_yscale("log")
        _legend(axis)
        if min(least) < 1e-10 < max(least):  # rounding errors are nothing to look at
            axis.set_ylim(bottom=1e-10)


def _draw_elbos(axis: Axes, solution: Solution) -> None:
    agents = solution.table.agents
    for k, agent in enumerate(agents):
        elbos = [(entry.get("elbo") or {}).get(agent) for entry in solution.history]
        points = _series(solution, elbos)
        if points:
            axis.plot(
                *zip(*points, strict=True),
                label=_short(agent, 12) if k < 6 else None,
                color=LINES[k % len(LINES)],
                lw=2.4 - 1.4 * k / max(len(agents) - 1, 1),  # equal ones stay visible
                ls="-" if k == 0 else (0, (4, 1 + k % 3)),
                marker="." if len(points) == 1 else None,
            )
    axis.set_title("ELBO", fontsize=8, color=INK, loc="left")
    _legend(axis)


def _legend(axis: Axes) -> None:
    """Names of the lines, above the axes."""
    lines = [line for line in axis.lines if not str(line.get_label()).startswith("_child")]
    legend = axis.legend(
        lines,
        [str(line.get_label()) for line in lines],
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=3 if len(lines) in (3, 5, 6) else 4,
        fontsize=7,
        frameon=False,
        borderaxespad=0.0,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _series(solution: Solution, values: list[Any]) -> list[tuple[float, float]]:
    """Iterations and values, where there is one and it is finite."""
    return [
        (float(entry.get("iteration", k + 1)), float(value))
        for k, (entry, value) in enumerate(zip(solution.history, values, strict=True))
        if value is not None and isfinite(value)
    ]


def _heading(solution: Solution) -> str:
    gap = float(solution.certificate.nash_gap)
    concept = {"nash": "Nash equilibrium"}.get(solution.concept, solution.concept)
    return (
        f"{_short(solution.table.name, 60)}: {concept}, {solution.status}\n"
        f"Nash gap {gap:.3g} at temperature {solution.temperature:.3g}"
    )


def _write(figure: Figure, path: Path) -> None:
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    try:
        figure.savefig(path, dpi=150, metadata=metadata)
    except OSError as error:
        raise GameError(
            f"{path} cannot be written ({error.strerror})", hint="a file in a folder that exists."
        ) from error
