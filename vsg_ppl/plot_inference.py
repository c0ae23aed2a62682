"""The picture of an inference: unknowns, policies beside what was seen, how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from vsg_ppl.inference import OpponentInference
from vsg_ppl.plot_history import legend
from vsg_ppl.plot_panels import (
    INK,
    LINES,
    PALE,
    ROWS,
    WRITTEN,
    Panel,
    action_names,
    check_picture,
    name_columns,
    name_rows,
    parts_in_words,
    short,
    state_name,
    write_picture,
)

LEVEL = 0.9
"""Of all intervals."""

Z = 1.6449
"""The normal distribution's, for that level."""

CARDS = 8
"""Unknowns drawn at most."""

CELLS = 12
"""Cells up to which a tensor's intervals are drawn; of more, the means are, as a map."""

AGENTS, STATES, ACTIONS, LONG = 4, 6, 12, 32
"""What the policies show at most: agents, states and actions of each, and rows."""

WIDE, STORY = 3.5, 3.6
"""Inches across of a panel, and of the panel that says how well it fits."""


@dataclass(frozen=True)
class Card:
    """One unknown: its draws, cell by cell, and what the cells are."""

    name: str
    draws: NDArray[np.float64]  # (n, rows, columns)
    rows: list[str]
    columns: list[str]
    down: str = ""
    note: str = ""

    @property
    def high(self) -> float:
        """Inches."""
        cells = len(self.rows) * len(self.columns)
        return 1.5 if cells == 1 else 0.21 * (len(self.rows) if cells > CELLS else cells) + 1.1


def plot_inference(found: OpponentInference, path: str | Path | None = None) -> Figure:
    """What play says of the unknowns, the policies, and how well these explain it.

    Left, the unknowns: of one number a histogram of its draws, of several their intervals, of many
    (a reward table) a map of the means. In the middle, the inferred probabilities with credible
    intervals beside the frequencies that were seen with Wilson's, in the states seen most. Right,
    −log probability of what was seen, in nats per action, under the prior, the inferred policy and
    the frequencies themselves; and the losses of SVI. All intervals are 90 % ones.

    Args:
        found: what `infer_opponent` returns.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: a path that cannot be written.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> plays = vsg.nash(StagHunt(), temperature=2.0).simulate(50, steps=10)
    >>> found = vsg.infer_opponent(StagHunt(), "col", plays, reward="program")
    >>> figure = plot_inference(found)
    >>> [axes.get_title("left") for axes in figure.axes if axes.get_title("left")][1:]
    ['col', 'nats per action']
    """
    checked: Any = found
    check_picture(checked, path)
    cards = [_card(found, site, draws) for site, draws in found.posterior.items()]
    tables = [_Rows(found, agent) for agent in found.agents[:AGENTS]]
    columns = _arranged(cards[:CARDS])
    grid = [tables[k : k + 2] for k in range(0, len(tables), 2)]
    widths = [WIDE * len(columns)] if columns else []
    widths += [WIDE * len(grid[0]), STORY]
    high = max(
        *(sum(card.high for card in column) for column in columns),
        sum(max(table.high for table in row) for row in grid),
        _bars_high(found) + (2.4 if "losses" in found.diagnostics else 0.0),
    )
    figure = Figure(figsize=(sum(widths), high + 0.7), layout="constrained")
    parts: Any = figure.subfigures(1, len(widths), width_ratios=widths, wspace=0.02)
    if columns:
        _draw_cards(parts[0], columns, high, len(cards))
    _draw_policies(parts[-2], grid, high, len(found.agents))
    _draw_fit(parts[-1], found, high)
    figure.suptitle(_heading(found), fontsize=11, color=INK, parse_math=False)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def _heading(found: OpponentInference) -> str:
    who = short(", ".join(found.agents), 40)
    first = f"{short(found.table.name, 40)}: {who} by {found.method}, {found.status}"
    second = short(found.message, 90)
    if found.method == "laplace":
        second += f"; log evidence {found.log_evidence:.4g}".replace("-", "−")
    return f"{first}\n{second}"


# --- Unknowns -------------------------------------------------------------------------------------


def _card(found: OpponentInference, site: str, draws: Tensor) -> Card:
    """An unknown with the names of its cells, where it is a table of states and actions."""
    table, shape = found.table, draws.shape[1:]
    values = draws.detach().cpu().double().numpy()
    n = len(table.states)
    if len(shape) != 1 + len(table.sizes) or any(
        a not in (1, b) for a, b in zip(shape, (n, *table.sizes), strict=True)
    ):
        first = shape[0] if len(shape) else 1
        values = values.reshape(len(values), first, -1)[:, :ROWS]
        note = f"the first {ROWS} of {first}" if first > ROWS else ""
        rows = [f"[{k}]" for k in range(values.shape[1])]
        return Card(site, values, rows, [f"[{k}]" for k in range(values.shape[2])], "", note)
    values = values.reshape(len(values), shape[0], -1)
    names = [
        action_names(table, agent) if size > 1 else [""]
        for agent, size in zip(table.agents, shape[1:], strict=True)
    ]
    columns = [", ".join(name for name in joint if name) for joint in product(*names)]
    numbers, note = list(range(shape[0])), ""
    if shape[0] > ROWS:
        visits = torch.stack([found.counts[agent].sum((0, 2)) for agent in found.agents]).sum(0)
        order = visits.cpu().argsort(descending=True, stable=True)
        numbers = sorted(order[:ROWS].tolist())
        note = f"the {ROWS} most visited of {n:,} states"
    rows = [state_name(table.states[k]) for k in numbers] if shape[0] > 1 else [""]
    return Card(site, values[:, numbers], rows, columns, parts_in_words(table), note)


def _arranged(cards: list[Card]) -> list[list[Card]]:
    """In one column, or if there are many in two about as high."""
    columns: list[list[Card]] = [[] for _ in range(min(len(cards), 1 if len(cards) <= 3 else 2))]
    for card in cards:
        min(columns, key=lambda column: sum(c.high for c in column)).append(card)
    return columns


def _draw_cards(part: SubFigure, columns: list[list[Card]], high: float, there: int) -> None:
    beside = part.subfigures(1, len(columns), squeeze=False)[0]
    for one, column in zip(beside, columns, strict=True):
        axes = _stacked(one, [card.high for card in column], high, 1)
        for (axis,), card in zip(axes, column, strict=True):
            if card.draws[0].size == 1:
                _draw_one(axis, card)
            elif _as_intervals(card):
                _draw_intervals(axis, card)
            else:
                _draw_map(one, axis, card)
            axis.set_title(_title(card), fontsize=9, color=INK, loc="left", parse_math=False)
    drawn = sum(map(len, columns))
    if drawn < there:
        part.supxlabel(f"shown: {drawn} of {there} unknowns", fontsize=8, color=PALE)


def _as_intervals(card: Card) -> bool:
    return len(card.rows) * len(card.columns) <= CELLS or len(card.columns) == 1


def _title(card: Card) -> str:
    name = short(card.name, 24)
    if card.draws[0].size > 1:
        return name if _as_intervals(card) else f"{name}, means"
    low, high = _ends(card.draws[:, 0, 0])
    return f"{name}: {card.draws.mean():.3g} [{low:.3g}, {high:.3g}]".replace("-", "−")


def _draw_one(axis: Axes, card: Card) -> None:
    """A histogram; its tails are cut where next to nothing is."""
    draws = card.draws[:, 0, 0]
    low, high = _ends(draws)
    ends = np.quantile(draws, (0.002, 0.998))
    if ends[1] - ends[0] > 1e-9 * abs(ends).max():
        bins = min(30, max(8, int(1.3 * len(draws) ** 0.5)))
        axis.hist(draws, bins=bins, range=tuple(ends), color=LINES[5], alpha=0.55)
        axis.axvspan(low, high, color=LINES[0], alpha=0.12, lw=0)
    else:
        room = 0.5 * abs(float(low)) or 1.0
        axis.set_xlim(low - room, high + room)
    axis.axvline(float(draws.mean()), color=LINES[0], lw=1.6)
    axis.set_yticks([])
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.get_offset_text().set_fontsize(7)
    _plain(axis)
    axis.spines["left"].set_visible(False)


def _draw_intervals(axis: Axes, card: Card) -> None:
    """Means and intervals of all cells, one below the other."""
    draws = card.draws.reshape(len(card.draws), -1)
    names = [
        ", ".join(name for name in (row, column) if name)
        for row in card.rows
        for column in (card.columns if len(card.columns) > 1 else [""])
    ]
    low, high = _ends(draws)
    places = np.arange(len(names))
    axis.axvline(0.0, color=PALE, lw=0.8, ls="--")
    axis.hlines(places, low, high, color=LINES[0], lw=2.4, alpha=0.45)
    axis.plot(draws.mean(0), places, "o", color=LINES[0], ms=4)
    axis.set_yticks(places, [short(name, 24) for name in names], parse_math=False)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel(card.note, fontsize=8, color=INK)
    _plain(axis)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)


def _draw_map(part: SubFigure, axis: Axes, card: Card) -> None:
    """Means as colours: blue below nothing, red above it."""
    mean = card.draws.mean(0)
    most = max(float(np.abs(mean).max()), 1e-12)
    image = axis.imshow(mean, vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
    axis.spines[:].set_visible(False)
    axis.tick_params(which="both", length=0, labelsize=7, colors=INK)
    panel = Panel("", mean, card.rows, card.columns, card.down, card.note)
    name_rows(axis, panel, False)
    name_columns(axis, panel, WIDE - 1.2, False)
    if mean.shape[1] <= WRITTEN:
        digits = 2 if most < 10 else 0
        for (k, j), value in np.ndenumerate(mean):
            style: dict[str, Any] = {"color": "white" if abs(value) > 0.6 * most else INK}
            axis.text(j, k, f"{value:.{digits}f}", ha="center", va="center", fontsize=7, **style)
    bar = part.colorbar(image, ax=axis, fraction=0.06, aspect=25, pad=0.02)
    bar.ax.tick_params(labelsize=7, length=2, colors=INK)
    bar.outline.set_visible(False)


# --- Policies -------------------------------------------------------------------------------------


class _Rows:
    """What is drawn of one agent's policy: a heading for each state, below it the actions."""

    def __init__(self, found: OpponentInference, agent: str) -> None:
        self.agent, self.down = agent, parts_in_words(found.table)
        table, counts = found.table, found.counts[agent].cpu()
        draws = found.policy_draws[agent].cpu()
        policy = found.policies[agent].cpu().reshape(-1, *counts.shape[1:])
        visits = counts.sum(-1).reshape(-1)
        size = counts.shape[-1]
        often = (policy.amax((0, 1)) + (counts > 0).double().amax((0, 1))).argsort(
            descending=True, stable=True
        )
        self.shown = sorted(often[:ACTIONS].tolist())
        most = max(1, min(STATES, LONG // (len(self.shown) + 1)))
        order = visits.argsort(descending=True, stable=True)[:most]
        places = sorted(int(k) for k in order if visits[k] > 0)
        self.names: list[str] = []
        self.heads: list[int] = []
        found_rows: list[tuple[float, ...]] = []
        actions, timed = action_names(table, agent), (table.horizon or 1) > 1
        for place in places:
            t, k = divmod(place, counts.shape[1])
            label = short(state_name(table.states[k]), 18)
            label = f"{label} at t = {t}" if timed else label
            self.heads.append(len(self.names))
            self.names.append(f"{label}: seen {int(visits[place])}")
            for a in self.shown:
                n, here = float(counts[t, k, a]), draws[:, t, k, a].numpy()
                self.names.append(actions[a])
                found_rows.append(
                    (len(self.names) - 1, float(policy[t, k, a]), *_ends(here))
                    + wilson(n, float(visits[place]))
                )
        self.values = np.array(found_rows)  # row, inferred, its ends, seen, its ends
        self.notes = []
        if len(self.shown) < size:
            self.notes.append(f"{len(self.shown)} of {size} actions")
        if len(places) < (seen := int((visits > 0).sum())):
            self.notes.append(f"the {len(places)} states seen most, of {seen:,}")

    @property
    def high(self) -> float:
        """Inches."""
        return 0.2 * len(self.names) + 1.0


def wilson(k: float, n: float) -> tuple[float, float, float]:
    """A frequency and Wilson's (1927) interval of 90 % for its probability.

    >>> [round(x, 3) for x in wilson(0.0, 10.0)]
    [0.0, 0.0, 0.213]
    """
    share, weight = k / n, Z * Z / n
    middle = (share + weight / 2) / (1 + weight)
    half = Z * ((share * (1 - share) + weight / 4) / n) ** 0.5 / (1 + weight)
    return share, max(0.0, middle - half), min(1.0, middle + half)


def _draw_policies(part: SubFigure, grid: list[list[_Rows]], high: float, there: int) -> None:
    ratios = [max(table.high for table in row) for row in grid]
    axes = _stacked(part, ratios, high, len(grid[0]))
    for axis in axes[-1][len(grid[-1]) :]:
        axis.set_visible(False)
    tables = [table for row in grid for table in row]
    for axis, table in zip([axis for row in axes for axis in row], tables, strict=False):
        rows, inferred, low, top, seen, least, most = table.values.T
        axis.hlines(rows - 0.16, low, top, color=LINES[0], lw=2.6, alpha=0.45)
        axis.plot(inferred, rows - 0.16, "o", color=LINES[0], ms=4, label="inferred")
        axis.hlines(rows + 0.2, least, most, color=LINES[1], lw=0.9)
        axis.plot(seen, rows + 0.2, "D", color=LINES[1], ms=3.4, mfc="white", label="seen")
        axis.set_yticks(range(len(table.names)), table.names, parse_math=False)
        _plain(axis)
        for k in table.heads:
            axis.get_yticklabels()[k].set_color(PALE)
            if k:
                axis.axhline(k - 0.5, color="#d0d0d0", lw=0.6)
        right = 1.0 if max(top.max(), most.max()) > 0.5 else 1.1 * max(top.max(), most.max())
        axis.set_xlim(-0.03 * right, 1.03 * right)
        axis.set_ylim(len(table.names) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axis.set_xlabel(
            "\n".join(["probability, with 90 % intervals", *table.notes]), fontsize=8, color=INK
        )
        axis.set_ylabel(table.down, fontsize=8, color=INK, parse_math=False)
        axis.set_title(short(table.agent, 14), fontsize=9, color=INK, loc="left", parse_math=False)
        legend(axis)
    if len(tables) < there:
        part.supxlabel(f"shown: {len(tables)} of {there} agents", fontsize=8, color=PALE)


# --- Fit ------------------------------------------------------------------------------------------

BARS = (
    ("prior_log_loss", "prior", PALE),
    ("log_loss", "inferred", LINES[0]),
    ("best_log_loss", "frequencies", LINES[2]),
)


def _bars_high(found: OpponentInference) -> float:
    return 0.22 * len(BARS) * len(found.agents[:CARDS]) + 1.0


def _draw_fit(part: SubFigure, found: OpponentInference, high: float) -> None:
    losses = found.diagnostics.get("losses")
    ratios = [_bars_high(found)] + ([2.4] if losses else [])
    axes = _stacked(part, ratios, high, 1)
    axis, names, values, colours = axes[0][0], [], [], []
    for agent in found.agents[:CARDS]:
        statistics = found.statistics(agent)
        for key, name, colour in BARS:
            names.append(name if len(found.agents) == 1 else f"{short(agent, 14)}: {name}")
            values.append(statistics[key])
            colours.append(colour)
    places = np.arange(len(values))
    drawn = [value if isfinite(value) else 0.0 for value in values]
    axis.barh(places, drawn, color=colours, height=0.7)
    for k, (value, length) in enumerate(zip(values, drawn, strict=True)):
        text = f"{value:.3f}" if isfinite(value) else "∞"
        axis.text(length, k, f" {text}", va="center", fontsize=7, color=INK)
    axis.set_yticks(places, names, parse_math=False)
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.set_xlim(0, 1.22 * max(*drawn, 1e-3))
    axis.set_title("nats per action", fontsize=9, color=INK, loc="left")
    _plain(axis)
    if losses:
        _draw_losses(axes[1][0], losses)


def _draw_losses(axis: Axes, losses: list[float]) -> None:
    """The losses of SVI, which are noisy, and their running mean; without the first fall."""
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    axis.plot(losses, color=LINES[5], lw=0.6, alpha=0.6)
    axis.plot(np.arange(len(smooth)) + width - 1, smooth, color=LINES[0], lw=1.4)
    later = np.array(losses[len(losses) // 10 :])
    later = later[np.isfinite(later)]
    if len(later) and later.max() > later.min():
        room = 0.08 * (later.max() - later.min())
        axis.set_ylim(later.min() - room, later.max() + room)
    axis.set_title("−ELBO by step of SVI", fontsize=9, color=INK, loc="left")
    _plain(axis)
    axis.grid(color="#e4e4e4", linewidth=0.6)


# --- Shared ---------------------------------------------------------------------------------------


def _stacked(part: SubFigure, ratios: list[float], high: float, across: int) -> list[list[Axes]]:
    """Axes of these heights from the top; what is left below stays empty."""
    rest = high - sum(ratios)
    full = [*ratios, rest] if rest > 0.3 else ratios
    axes = part.subplots(len(full), across, squeeze=False, height_ratios=full)
    for axis in axes[len(ratios) :].flat:
        axis.set_visible(False)
    return [list(row) for row in axes[: len(ratios)]]


def _plain(axis: Axes) -> None:
    axis.tick_params(which="both", labelsize=7, colors=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _ends(draws: NDArray[np.float64]) -> tuple[Any, Any]:
    """The central interval, over the first dimension."""
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return low, high
