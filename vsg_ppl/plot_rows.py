"""Crowds whose states are rows: by time, as bars, as curves; and the policies beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from vsg_ppl.plot_history import legend
from vsg_ppl.plot_panels import (
    INK,
    LINES,
    NEVER,
    ROWS,
    WRITTEN,
    Panel,
    action_names,
    inches,
    name_columns,
    name_rows,
    parts_in_words,
    state_name,
)
from vsg_ppl.plot_shares import BAR, Shares, colour_bar, colours, scale, write_notes

STATES = 60
"""States that are drawn at most, where they have no order."""

ACTIONS = 12
"""Actions up to which the policy is drawn over time."""

RARE = 0.005
"""Probability of an action that counts as taken, at least."""

CURVES = 4
"""States up to which the crowd is drawn as curves, if times are many."""

TALL = 9.0
"""Inches of height up to which maps are drawn below each other."""


def rows_of(crowd: Shares) -> tuple[list[int], list[str]]:
    """Numbers of the states to draw as rows, and notes on what is left out."""
    table = crowd.solution.table
    there = len(table.states)
    if there <= STATES or table.states.values.shape[1] == 1:
        return list(range(there)), []
    visits = crowd.values.sum(0)
    order = np.argsort(-visits, kind="stable")[: min(STATES, int((visits > 0).sum()))]
    which = "most visited of" if len(order) == STATES else "states that are visited, of"
    return sorted(order.tolist()), [f"shown: the {len(order)} {which} {there:,} states"]


def rows_inches(crowd: Shares, rows: list[int]) -> tuple[float, float]:
    """Width and height of the crowd's picture."""
    times = len(crowd.values)
    if _as_curves(crowd, rows):
        return 5.0, 4.2
    wide = min(max((0.55 if times <= WRITTEN else 0.25) * times + 1.6, 3.4), 8.0)
    return wide, min(max(0.21 * len(rows) + 1.6, 4.2), TALL)


def draw_rows(
    part: Figure | SubFigure, crowd: Shares, rows: list[int], notes: list[str], wide: float
) -> None:
    """Draw the crowd, states by time; as curves if there are few, as bars if time is one."""
    if _as_curves(crowd, rows):
        _draw_curves(part.subplots(), crowd, rows)
    elif crowd.moves:
        _draw_times(part, crowd, rows, wide)
        notes = [*notes, *(["grey: nobody"] if (crowd.values[:, rows] == 0).any() else [])]
    else:
        _draw_bars(part.subplots(), crowd, rows)
    write_notes(part, notes)


def rows_frame(crowd: Shares, rows: list[int], notes: list[str]) -> tuple[Figure, Axes]:
    """A picture of bars, to be filled."""
    high = min(max(0.21 * len(rows) + 1.4, 2.6), 10.0)
    figure = Figure(figsize=(5.0, high), layout="constrained")
    axis = figure.subplots()
    _draw_bars(axis, crowd, rows)
    axis.set_title("")
    write_notes(figure, notes)
    return figure, axis


def fill_rows(axis: Axes, crowd: Shares, rows: list[int], t: int) -> None:
    """Make the bars as long as the shares at a time."""
    for bar, share in zip(axis.patches, crowd.values[t, rows], strict=True):
        bar.set_width(share)  # type: ignore[attr-defined]


def policy_panels(crowd: Shares, rows: list[int]) -> tuple[list[list[Panel]], list[str]]:
    """Maps of the policy where somebody is, and notes on what they leave out.

    For each action that is taken there is one, states by time; without times one of all actions.
    """
    table = crowd.solution.table
    agent, parts = table.agents[0], parts_in_words(table)
    names = action_names(table, agent)
    policy = crowd.solution.policies[agent].detach().cpu().reshape(*crowd.values.shape, len(names))
    policy = policy.masked_fill(torch.from_numpy(crowd.values == 0)[..., None], torch.nan)[:, rows]
    states = [state_name(table.states[k]) for k in rows]
    if not crowd.moves:
        return [[Panel(agent, policy[0].numpy(), states, names, parts)]], []
    times = [str(t) for t in range(len(policy))]
    taken = [k for k, now in enumerate(policy.unbind(-1)) if float(now.nan_to_num().max()) >= RARE]
    if len(taken) > ACTIONS:
        return [], []
    panels = [
        Panel(f"{agent}: {names[k]}", policy[..., k].T.numpy(), states, times, parts, "time")
        for k in taken
    ]
    notes = [f"the {len(taken)} of {len(names)} actions that are taken"]
    for across in (1, 2, 3, 4):
        grid = [panels[k : k + across] for k in range(0, len(panels), across)]
        if inches(grid)[1] <= TALL:
            break
    return grid, notes if len(taken) < len(names) else []


def _as_curves(crowd: Shares, rows: list[int]) -> bool:
    return len(rows) <= CURVES and len(crowd.values) > 2 * WRITTEN


def _draw_curves(axis: Axes, crowd: Shares, rows: list[int]) -> None:
    """A curve over time for each state."""
    table = crowd.solution.table
    for k, colour in zip(rows, LINES, strict=False):
        name = f"{parts_in_words(table)} {state_name(table.states[k])}"
        axis.plot(crowd.values[:, k], label=name, color=colour, lw=1.4, marker=".", ms=3)
    axis.set_ylim(0.0, 1.04 * float(crowd.values[:, rows].max()))
    axis.set_title("the crowd", fontsize=9, color=INK, loc="left")
    axis.set_xlabel("time", fontsize=8, color=INK)
    axis.set_ylabel("share of the crowd", fontsize=8, color=INK)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.tick_params(which="both", labelsize=7, colors=INK)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    legend(axis)


def _draw_times(part: Figure | SubFigure, crowd: Shares, rows: list[int], wide: float) -> None:
    """States by time."""
    table, values = crowd.solution.table, crowd.values[:, rows].T
    axis, norm = part.subplots(), scale(values)
    axis.imshow(np.ma.masked_equal(values, 0.0), norm=norm, cmap=colours(), aspect="auto")
    axis.set_facecolor(NEVER)
    axis.spines[:].set_visible(False)
    axis.tick_params(which="both", length=0, labelsize=7, colors=INK)
    axis.set_title("the crowd", fontsize=9, color=INK)
    names = [state_name(table.states[k]) for k in rows]
    times = [str(t) for t in range(values.shape[1])]
    panel = Panel("", values, names, times, parts_in_words(table), "time")
    name_rows(axis, panel, False)
    name_columns(axis, panel, wide - 1.3, False)
    if values.shape[1] <= WRITTEN and len(rows) <= ROWS:
        for (k, j), value in np.ndenumerate(values):
            dark = value > 0 and norm(value) > 0.75
            style: dict[str, Any] = {"color": "white" if dark else INK, "fontsize": 7}
            axis.text(j, k, _share(value), ha="center", va="center", **style)
    colour_bar(part, axis, norm)


def _share(value: float) -> str:
    """Two digits that count.

    >>> [_share(x) for x in (0.0, 1e-12, 0.000123, 0.25, 0.3333, 1.0)]
    ['0', '<.0001', '.00012', '.25', '.33', '1']
    """
    if 0 < value < 1e-4:
        return "<.0001"
    text = f"{value:.2g}"
    return text[1:] if text.startswith("0.") else text


def _draw_bars(axis: Axes, crowd: Shares, rows: list[int]) -> None:
    """A bar for each state, as long as its share at the first time; room for all times."""
    table = crowd.solution.table
    axis.barh(range(len(rows)), crowd.values[0, rows], color=BAR, height=0.8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0.0, 1.04 * float(crowd.values[:, rows].max()))
    names = [state_name(table.states[k]) for k in rows]
    name_rows(axis, Panel("", crowd.values, names, [], parts_in_words(table)), False)
    axis.set_title("the crowd", fontsize=9, color=INK)
    axis.set_xlabel("share of the crowd", fontsize=8, color=INK)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.tick_params(which="both", length=0, labelsize=7, colors=INK)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
