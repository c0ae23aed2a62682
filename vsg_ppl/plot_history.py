"""The picture of how a solution was found: gaps, residual, temperature and ELBOs by iteration."""

from __future__ import annotations

from math import isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from vsg_ppl.certificate import Certificate
from vsg_ppl.correlated_certificate import CorrelatedCertificate
from vsg_ppl.mean_field_certificate import MeanFieldCertificate
from vsg_ppl.plot_panels import INK, LINES, PALE, short
from vsg_ppl.solution import Solution

STORY = 5.0
"""Inches for the history."""

Curve = tuple[str, dict[str, Any], list[tuple[float, float]]]
"""Label, style, and points."""

GAP: dict[str, Any] = {"color": LINES[1], "lw": 1.2, "marker": "o", "ms": 3.5}
CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("temperature", "temperature", {"color": PALE, "ls": "--", "lw": 1, "ds": "steps-pre"}),
    ("residual", "residual", {"color": LINES[0], "lw": 1.2}),
    ("regularised", "regularised", {"color": LINES[2], "lw": 1.2, "marker": "s", "ms": 3}),
    ("exploitability", "exploitability", GAP),
    ("nash_gap", "Nash gap", GAP),
)


GAPS = {
    Certificate: "Nash gap",
    CorrelatedCertificate: "correlated gap",
    MeanFieldCertificate: "exploitability",
}


def draw_history(part: SubFigure, solution: Solution) -> None:
    """Draw what the history has; there must be one."""
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


def tells(solution: Solution) -> bool:
    """Whether the history has something to draw."""
    return bool(_curves(solution)) or any(entry.get("elbo") for entry in solution.history)


def _curves(solution: Solution) -> list[Curve]:
    """Gap, residual and temperature where they are positive."""
    if not solution.history:
        return []
    curves: list[Curve] = []
    for key, label, style in CURVES:
        points = _series(solution, [entry.get(key) for entry in solution.history])
        if key == "nash_gap" and isinstance(solution.certificate, Certificate):
            # of what is returned, which the history may not have
            last = solution.history[-1].get("iteration", len(solution.history))
            points.append((float(last), float(solution.certificate.nash_gap)))
        points = [(x, y) for x, y in points if y > 0]
        if points:
            curves.append(
                (label, {**({"marker": "."} if len(points) == 1 else {}), **style}, points)
            )
    return curves


def _draw_gaps(axis: Axes, solution: Solution) -> None:
    """Draw the curves on one logarithmic axis."""
    curves = _curves(solution)
    if not curves:
        return
    floor = _floor(curves)
    curves = [curve for curve in curves if any(y >= floor for _, y in curve[2])]
    for label, style, points in curves:
        axis.plot(*zip(*points, strict=True), label=label, **style)
    axis.set_yscale("log")
    legend(axis)
    if any(y < floor for *_, points in curves for _, y in points):
        axis.set_ylim(bottom=floor)


def _floor(curves: list[Curve]) -> float:
    """Below it are rounding errors, which are nothing to look at; 0 if nothing is above."""
    most = max(y for *_, points in curves for _, y in points)
    gaps = [
        y
        for label, _, points in curves
        if label in ("Nash gap", "exploitability")
        for _, y in points
    ]
    floor = min(1e-10, max(1e-14, 0.3 * min(gaps, default=1.0)))
    return floor if most > floor else 0.0


def _draw_elbos(axis: Axes, solution: Solution) -> None:
    agents = solution.table.agents
    for k, agent in enumerate(agents):
        elbos = [(entry.get("elbo") or {}).get(agent) for entry in solution.history]
        points = _series(solution, elbos)
        if points:
            axis.plot(
                *zip(*points, strict=True),
                label=short(agent, 12) if k < 6 else None,
                color=LINES[k % len(LINES)],
                lw=2.4 - 1.4 * k / max(len(agents) - 1, 1),  # equal ones stay visible
                ls="-" if k == 0 else (0, (4, 1 + k % 3)),
                marker="." if len(points) == 1 else None,
            )
    axis.set_title("ELBO", fontsize=8, color=INK, loc="left")
    legend(axis)


def legend(axis: Axes) -> None:
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


def heading(solution: Solution) -> str:
    """What the picture is of: the game, the concept, the status and the gap."""
    concepts = {
        "nash": "Nash equilibrium",
        "correlated": "correlated equilibrium",
        "mean_field": "mean-field equilibrium",
    }
    concept = concepts.get(solution.concept, solution.concept)
    gap = GAPS[type(solution.certificate)]
    what = f"{gap} {solution.certificate.largest_gap:.3g}"
    if solution.temperature:
        what += f" at temperature {solution.temperature:.3g}"
    return f"{short(solution.table.name, 60)}: {concept}, {solution.status}\n{what}"
