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
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.simulate import simulate
from vsg_ppl.solution import Solution
from vsg_ppl.table import Table

ROWS = 30
"""States shown at most."""

PANELS = 12
"""Heat maps drawn at most."""

ENDINGS = (".png", ".svg", ".pdf")
INK, PALE, SEEN_NEVER = "#222222", "#8a8a8a", "#ececec"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
PLAYS, LONGEST = 500, 200


@dataclass(frozen=True)
class Panel:
    """One heat map: probabilities between 0 and 1, NaN where there is nothing to show."""

    title: str
    values: np.ndarray[Any, np.dtype[np.float64]]  # (rows, columns)
    rows: list[str]
    columns: list[str]
    down: str  # what the rows are
    across: str  # what the columns are


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
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()][:2]
    ['row', 'col']
    """
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise GameError(
            f"{path} has not the name of a picture", hint=f"an ending among {', '.join(ENDINGS)}."
        )
    if solution.table.batched:
        raise GameError(
            f"a picture is of one game, and this solution holds {solution.table.batch}"
        )
    panels, notes = _panels(solution)
    grid = _grid(solution.table, panels)
    wide, high = _size(panels, grid)
    story = bool(solution.history)
    figure = Figure(figsize=(wide + (5.0 if story else 0.0), high), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(wide, 5.0)) if story else [figure]
    _draw_policies(parts[0], panels, grid, notes)
    if story:
        _draw_history(parts[1], solution)
    figure.suptitle(_heading(solution), fontsize=11, color=INK, parse_math=False)
    if path is not None:
        _write(figure, Path(path))
    return figure


def _panels(solution: Solution) -> tuple[list[Panel], list[str]]:
    """The heat maps in reading order, and notes on what is left out."""
    table = solution.table
    agents = list(table.agents)
    notes: list[str] = []
    policies = {agent: solution.policies[agent].detach().cpu() for agent in agents}
    horizon = table.horizon or 1
    if horizon > 1 and (len(table.states) == 1 or _fits_over_time(table)):
        return _over_time(table, policies), notes
    times = [0, horizon - 1] if horizon > 1 else [0]
    if len(agents) * len(times) > PANELS:
        agents = agents[: PANELS // len(times)]
        notes.append(f"{len(agents)} of {len(table.agents)} agents")
    panels = []
    for agent in agents:
        for t in times:
            policy = policies[agent] if table.horizon is None else policies[agent][t]
            rows = _most_visited(solution, t)
            panels.append(
                Panel(
                    f"{agent}, t = {t}" if horizon > 1 else agent,
                    policy[rows].numpy(),
                    [state_name(table.states[k]) for k in rows],
                    _names(table, agent),
                    _parts(table),
                    "",
                )
            )
    shown = max(len(panel.rows) for panel in panels)
    there = len(table.states)
    if shown < there and shown >= ROWS:
        notes.append(f"the {shown} most visited of {there:,} states")
    elif shown < there:
        notes.append(f"states that can occur, of {there:,}")
    return panels, notes


def _fits_over_time(table: Table) -> bool:
    return len(table.states) <= ROWS and sum(table.sizes) <= PANELS


def _over_time(table: Table, policies: dict[str, Tensor]) -> list[Panel]:
    """A panel for each agent (actions by time) or, with several states, for each action too."""
    times = [str(t) for t in range(table.horizon or 1)]
    panels = []
    for agent, policy in policies.items():
        if len(table.states) == 1:
            values = policy[:, 0].T.numpy()
            panels.append(Panel(agent, values, _names(table, agent), times, "", "time"))
            continue
        if table.reachable is not None:
            policy = policy.masked_fill(~table.reachable.cpu()[..., None], torch.nan)
        states = [state_name(label) for label in table.states]
        for k, name in enumerate(_names(table, agent)):
            values = policy[..., k].T.numpy()
            panels.append(
                Panel(f"{agent}: {name}", values, states, times, _parts(table), "time")
            )
    return panels


def _most_visited(solution: Solution, t: int) -> list[int]:
    """Numbers of the states to show at time t, in order: those that occur, or occur most."""
    table = solution.table
    possible = torch.ones(len(table.states), dtype=torch.bool)
    if table.reachable is not None:
        possible = table.reachable[t].cpu()
    numbers = possible.nonzero()[:, 0]
    if len(numbers) <= ROWS:
        return [int(k) for k in numbers]
    steps = t + 1 if table.horizon is not None else LONGEST
    plays = simulate(table, solution.policies, PLAYS, steps=steps)
    visited = plays.states if table.horizon is None else plays.states[:, t]
    visits = torch.bincount(visited.reshape(-1).cpu(), minlength=len(possible))
    most = visits[numbers].argsort(descending=True, stable=True)[:ROWS]
    return sorted(int(k) for k in numbers[most])


def state_name(label: Any) -> str:
    """A state's label in short: its numbers.

    >>> state_name({"x": 1, "y": (2, 3)})
    '1, 2, 3'
    """
    return ", ".join(str(value) for _, value in _leaves(label, "")) or "–"


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


def _grid(table: Table, panels: Sequence[Panel]) -> tuple[int, int]:
    """Rows and columns of the heat maps."""
    n = len(panels)
    if (table.horizon or 1) > 1:
        if len(table.states) == 1:
            return n, 1
        if _fits_over_time(table):  # a row for each agent, or for its actions a column
            if len(table.agents) == 1:
                return n, 1
            return len(table.agents), max(table.sizes)
        return -(-n // 4), min(n, 4)
    if len(table.states) == 1:
        return n, 1
    columns = min(n, 4) if n != 6 and n != 5 else 3
    return -(-n // columns), columns


def _size(panels: Sequence[Panel], grid: tuple[int, int]) -> tuple[float, float]:
    """Inches for the heat maps."""
    rows = max(len(panel.rows) for panel in panels)
    columns = max(len(panel.columns) for panel in panels)
    label = max(len(name) for panel in panels for name in panel.rows)
    across = min(max(0.45 * columns, 1.4), 6.0) if grid[1] > 1 else min(max(0.6 * columns, 3), 6)
    down = max(0.21 * rows + 0.9, 1.1)
    wide = grid[1] * across + 0.08 * label + 1.2
    return max(wide, 4.0), min(max(grid[0] * down + 0.9, 4.2), 16.0)


def _draw_policies(
    part: Figure | SubFigure, panels: Sequence[Panel], grid: tuple[int, int], notes: Sequence[str]
) -> None:
    axes = part.subplots(*grid, squeeze=False)
    image = None
    shown = [axis for row in axes for axis in row]
    for axis, panel in zip(shown, panels, strict=False):
        image = _draw_panel(axis, panel)
    for axis in shown[len(panels) :]:
        axis.set_visible(False)
    assert image is not None
    bar = part.colorbar(image, ax=shown, shrink=0.9, fraction=0.05, aspect=30)
    bar.set_label("probability", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator]
    if notes:
        part.supxlabel("shown: " + "; ".join(notes), fontsize=8, color=PALE)


def _draw_panel(axis: Axes, panel: Panel) -> AxesImage:
    image = axis.imshow(panel.values, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
    axis.set_facecolor(SEEN_NEVER)
    axis.set_title(_short(panel.title, 30), fontsize=9, color=INK, parse_math=False)
    rows, columns = panel.values.shape
    _ticks(axis, "x", panel.columns)
    _ticks(axis, "y", panel.rows)
    axis.tick_params(length=0, labelsize=7, colors=INK)
    axis.set_ylabel(panel.down, fontsize=8, color=INK, parse_math=False)
    axis.set_xlabel(panel.across, fontsize=8, color=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=0.8)
    axis.tick_params(which="minor", length=0)
    if columns <= 6 and rows <= ROWS:
        for k, row in enumerate(panel.values):
            for j, value in enumerate(row):
                if isfinite(value):
                    color = "white" if value > 0.6 else INK
                    axis.text(
                        j, k, _number(value), ha="center", va="center", fontsize=7, color=color
                    )
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


def _ticks(axis: Axes, which: str, names: Sequence[str]) -> None:
    """Name rows or columns, all or every k-th."""
    limit = ROWS if which == "y" else 12
    every = -(-len(names) // limit)
    places = list(range(0, len(names), every))
    shown = [names[k] for k in places]
    turn = 0
    if which == "x" and max(len(name) for name in shown) > 3:
        turn = 90 if len(shown) > 8 else 40
    if which == "x":
        side = "right" if turn == 40 else "center"
        axis.set_xticks(
            places, shown, rotation=turn, ha=side, rotation_mode="anchor" if turn == 40 else None,
            parse_math=False,
        )
    else:
        axis.set_yticks(places, shown, parse_math=False)


def _draw_history(part: SubFigure, solution: Solution) -> None:
    elbo = any(entry.get("elbo") for entry in solution.history)
    axes: Any = part.subplots(2 if elbo else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_gaps(axes[0], solution)
    if elbo:
        _draw_elbos(axes[1], solution)
    axes[-1].set_xlabel("iteration", fontsize=8, color=INK)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.tick_params(labelsize=7, colors=INK)
        axis.grid(color="#e4e4e4", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)


def _draw_gaps(axis: Axes, solution: Solution) -> None:
    """Gap, residual and temperature, on one logarithmic axis."""
    drawn = False
    for key, label, style in (
        ("temperature", "temperature", {"color": PALE, "linestyle": "--", "linewidth": 1.0}),
        ("residual", "residual", {"color": LINES[0], "linewidth": 1.2}),
        ("nash_gap", "Nash gap", {"color": LINES[1], "linewidth": 1.2, "marker": "o"}),
    ):
        x, y = _series(solution, lambda entry, key=key: entry.get(key))
        if key == "nash_gap":
            x.append(_last(solution))
            y.append(float(solution.certificate.nash_gap))
        positive = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
        if positive:
            drawn = True
            axis.plot(*zip(*positive, strict=True), label=label, markersize=3.5, **style)
    if drawn:
        axis.set_yscale("log")
        axis.legend(fontsize=7, frameon=False, loc="best")
    axis.set_title("gap, residual and temperature", fontsize=9, color=INK)


def _draw_elbos(axis: Axes, solution: Solution) -> None:
    agents = solution.table.agents
    for k, agent in enumerate(agents):
        x, y = _series(solution, lambda entry, agent=agent: (entry.get("elbo") or {}).get(agent))
        axis.plot(
            x,
            y,
            color=LINES[k % len(LINES)],
            linewidth=2.4 - 1.4 * k / max(len(agents) - 1, 1),
            linestyle="-" if k == 0 else (0, (4, 1 + k % 3)),
            marker="o" if len(x) == 1 else None,
            markersize=3.5,
        )
    shown = list(zip(axis.lines, agents, strict=True))[:8]
    names = [_short(agent) for _, agent in shown]
    legend = axis.legend([line for line, _ in shown], names, fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    axis.set_title("ELBO of each agent (in units of reward)", fontsize=9, color=INK)


def _series(solution: Solution, read: Any) -> tuple[list[float], list[float]]:
    """Iterations and finite values of one entry of the history."""
    pairs = [(entry.get("iteration", k + 1), read(entry)) for k, entry in
             enumerate(solution.history)]
    kept = [(float(x), float(y)) for x, y in pairs if y is not None and isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _last(solution: Solution) -> float:
    return float(solution.history[-1].get("iteration", len(solution.history)))


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
