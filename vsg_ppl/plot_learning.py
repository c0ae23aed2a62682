"""The picture of learning curves: medians and bands over experiments, of one method or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.plot_panels import ENDINGS, INK, LINES, write_picture

BAND = (0.1, 0.9)
"""The quantiles over experiments between which the band lies."""


def plot_learning(
    learnings: Learning | Sequence[Learning],
    path: str | Path | None = None,
    *,
    above: float | None = None,
) -> Figure:
    """Mean reward of a step against the episode: the median of the experiments, and a band.

    The band holds four fifths of them. Rewards are means over the agents.

    Args:
        learnings: of one game, one or several methods.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.
        above: draw this reward, and say how many experiments end above it.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: nothing to draw, or a path that cannot be written.

    >>> from vsg_ppl.mai import mai
    >>> from vsg_ppl.models import Differential
    >>> figure = plot_learning(mai(Differential(), episodes=2, plays=2))
    >>> figure.axes[0].get_xlabel()
    'episode'
    """
    learnings = [learnings] if isinstance(learnings, Learning) else list(learnings)
    if not learnings:
        raise GameError("there is nothing to draw", hint="one learning or several.")
    return plot_panels([{"learnings": learnings, "above": above}], path)


def plot_panels(panels: Sequence[Mapping[str, Any]], path: str | Path | None = None) -> Figure:
    """Learning curves of several conditions, a panel each.

    Args:
        panels: of each the ``learnings``, and if need be a ``title``; ``above``, a reward to draw;
            ``watched``, the name of what to draw instead of rewards, and its ``label``;
            ``logarithmic``, whether its axis is.
        path: where to write the picture.

    Returns:
        The figure.
    """
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise GameError(f"{path} has not the name of a picture", hint="a name that ends in .png.")
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    size = (6.4 if columns == 1 else 5.2 * columns, 4.0 if rows == 1 else 3.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, **panel)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def _draw(
    axis: Any,
    learnings: Sequence[Learning],
    *,
    title: str = "",
    above: float | None = None,
    watched: str | None = None,
    label: str = "mean reward of a step",
    logarithmic: bool = False,
) -> None:
    for k, learning in enumerate(learnings):
        curves = learning.rewards.mean(-1) if watched is None else learning.watched[watched]
        every = tuple(range(1, len(learning.rewards) + 1))
        episodes = every if watched is None else learning.watched_at
        low, middle, high = torch.quantile(
            curves.double(), torch.tensor([BAND[0], 0.5, BAND[1]], dtype=torch.float64), dim=1
        )
        colour, name = LINES[k % len(LINES)], learning.method
        if above is not None:
            ended = int((learning.final() > above).sum())
            name += f": {ended} of {curves.shape[1]} end above {above:g}"
        axis.plot(episodes, middle, color=colour, lw=1.4, label=name)
        if curves.shape[1] > 1:
            axis.fill_between(episodes, low, high, color=colour, alpha=0.18, lw=0)
    if above is not None:
        axis.axhline(above, color=INK, lw=0.8, ls=":")
    if logarithmic:
        axis.set_yscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(title, fontsize=9, color=INK)
    axis.set_xlabel("episode", fontsize=9, color=INK)
    axis.set_ylabel(label, fontsize=9, color=INK)
    axis.tick_params(which="both", labelsize=8, colors=INK)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    place = "upper right" if logarithmic else "lower right"
    axis.legend(fontsize=8, frameon=False, loc=place)
