"""The picture of what a mean-field policy promises among N real agents."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log10
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vsg_ppl.errors import GameError
from vsg_ppl.finite_population import FiniteGap
from vsg_ppl.plot_panels import ENDINGS, INK, LINES, PALE, write_picture

SMALL = 1e-9
"""A gap at most so large, compared with the largest, is drawn at the bottom: as good as none."""


def plot_finite(
    gaps: Sequence[FiniteGap], exploitability: float, path: str | Path | None = None
) -> Figure:
    """Gaps among N agents against N, on logarithmic axes, beside the exploitability.

    The gap of a deviation that sees the others is drawn where it is exact, the gain of the one that
    sees its own state only for every N, with its confidence interval where it is simulated. A
    dashed line falls like 1/√N from the first gap; an arrow at the bottom stands for no gap.

    Args:
        gaps: of the same policy, for one N or several; see `finite_nash_gap`.
        exploitability: of the policy amid its own mean field.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: no gaps, or two for the same N; an exploitability that is none; a path that
            cannot be written.

    >>> import torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import LeftRight
    >>> policy = torch.tensor([[0.5, 0.5]]).expand(3, 2)
    >>> gaps = [vsg.finite_nash_gap(LeftRight(), policy, n) for n in (2, 20, 200)]
    >>> figure = plot_finite(gaps, vsg.mean_field_certify(LeftRight(), policy).exploitability)
    >>> figure.axes[0].get_xlabel()
    'number of agents N'
    """
    gaps = sorted(gaps, key=lambda gap: gap.n)
    _check(gaps, exploitability, path)
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set_xscale("log")
    axis.set_yscale("log")
    bottom = _scale(axis, gaps, exploitability)
    exact = [gap for gap in gaps if gap.exact]
    if exact:
        _draw(axis, exact, [gap.gap for gap in exact], bottom, "sees the others (exact)", "o")
    _draw_blind(axis, gaps, bottom)
    _guide(axis, gaps, bottom)
    label = f"mean-field exploitability {exploitability:.2g}"
    if exploitability > bottom:
        axis.axhline(exploitability, color=LINES[2], lw=1.2, label=label, zorder=1)
    else:
        axis.plot([], [], color=LINES[2], lw=1.2, label=f"{label} (below)")
    axis.set_xlabel("number of agents N", fontsize=9, color=INK)
    axis.set_ylabel("gain of one who deviates", fontsize=9, color=INK)
    axis.tick_params(which="both", labelsize=8, colors=INK)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def _check(gaps: Sequence[FiniteGap], exploitability: float, path: str | Path | None) -> None:
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise GameError(
            f"{path} has not the name of a picture", hint=f"an ending among {', '.join(ENDINGS)}."
        )
    if not gaps:
        raise GameError("there are no gaps to draw", hint="finite_nash_gap(game, policy, n).")
    for one, other in zip(gaps, gaps[1:], strict=False):
        if one.n == other.n:
            raise GameError(f"there are two gaps of {one.n:,} agents", hint="one for each N.")
    if not (isfinite(exploitability) and exploitability >= 0):
        raise GameError(f"the exploitability is {exploitability:g}; it is never negative")


def _scale(axis: Axes, gaps: Sequence[FiniteGap], exploitability: float) -> float:
    """Set the limits; what the least height is at which something is drawn."""
    heights = [x for gap in gaps for x in (gap.gap, gap.blind, gap.high)]
    most = max([*heights, exploitability])
    drawn = [x for gap in gaps for x in (gap.gap, gap.blind) if x > SMALL * most]
    if exploitability > 1e-3 * most:
        drawn.append(exploitability)
    least = min(drawn, default=1.0)
    most = max(most, least)
    axis.set_ylim(bottom := 10 ** (log10(least) - 0.7), 10 ** (log10(most) + 0.25))
    axis.set_xlim(gaps[0].n / 1.4, gaps[-1].n * 1.4)
    return bottom


def _draw(
    axis: Axes,
    gaps: Sequence[FiniteGap],
    heights: Sequence[float],
    bottom: float,
    label: str,
    marker: str,
) -> None:
    """Dots, joined where there is a gap at all, and arrows at the bottom where there is none."""
    above = [(gap.n, y) for gap, y in zip(gaps, heights, strict=True) if y > bottom]
    below = [gap.n for gap, y in zip(gaps, heights, strict=True) if y <= bottom]
    # rings around what may lie upon them
    style: dict[str, Any] = {"color": LINES[0], "ms": 4.5, "zorder": 4}
    if marker == "o":
        style = {"color": LINES[1], "ms": 8.5, "mfc": "white", "zorder": 3}
    xs, ys = zip(*above, strict=True) if above else ((), ())
    axis.plot(xs, ys, lw=1.2, marker=marker, label=label, **style)
    axis.plot(below, [bottom * 1.12] * len(below), ls="", marker="v", **style)


def _draw_blind(axis: Axes, gaps: Sequence[FiniteGap], bottom: float) -> None:
    """The deviation that does not see the others."""
    _draw(axis, gaps, [g.blind for g in gaps], bottom, "sees its own state only", "s")
    simulated = [gap for gap in gaps if not gap.exact]
    style: dict[str, Any] = {"color": LINES[0], "lw": 5, "alpha": 0.35, "zorder": 2}
    style["solid_capstyle"] = "butt"
    for gap in simulated:
        low, high = max(gap.low, bottom), max(gap.high, bottom)
        axis.plot([gap.n, gap.n], [low, high], **style)
    if simulated:
        axis.plot([], [], label="its confidence interval", **style)


def _guide(axis: Axes, gaps: Sequence[FiniteGap], bottom: float) -> None:
    """A line that falls like 1/√N from the first gap."""
    first, last = gaps[0], gaps[-1]
    if first.gap <= bottom or first is last:
        return
    scale = first.gap * first.n**0.5
    ends = [first.n, last.n]
    heights = [scale / n**0.5 for n in ends]
    axis.plot(ends, heights, color=PALE, ls="--", lw=1, zorder=1, label=f"{scale:.2g}/√N")
