"""Growth of an iteration with its certificate: with the states of a torus crowd, and with time.

    python -m tests.benchmarks growth

It also draws docs/pictures/growth.png. A million states take a few minutes and 10 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, show
from vsg_ppl.models import TorusCrowd

SIZES = (10, 32, 100, 316, 1000)  # of a side: 10^2 ... 10^6 states
HORIZONS = (4, 8, 16, 32, 64)
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "growth.png"


def rows(repeat: int) -> Iterator[Row]:
    by_states = [_measured(TorusCrowd(size=size, horizon=4), repeat) for size in SIZES]
    by_time = [_measured(TorusCrowd(size=32, horizon=h), repeat) for h in HORIZONS]
    for size, (seconds, entries) in zip(SIZES, by_states, strict=True):
        task = f"torus crowd, {size * size:,} states, 4 decisions: {entries:,} kernel entries"
        yield Row(task, show(seconds), f"{1e9 * seconds / entries:.3g} ns an entry")
    for h, (seconds, entries) in zip(HORIZONS, by_time, strict=True):
        task = f"torus crowd, 1,024 states, {h} decisions: {entries:,} kernel entries"
        yield Row(task, show(seconds), f"{1e9 * seconds / entries:.3g} ns an entry")
    _draw(by_states, by_time)


def _measured(game: TorusCrowd, repeat: int) -> tuple[float, int]:
    """Seconds of an iteration of mirror descent with its exploitability, and kernel entries."""
    table = vsg.mean_field_table(game)
    kernel = table.kernel(table.even())
    entries = kernel.probabilities.expand(
        table.horizon, len(table.states), table.actions.size, -1
    ).numel()
    del kernel

    def run(count: int) -> float:
        return cpu(
            lambda: vsg.mean_field_nash(
                table, method="mirror_descent", tolerance=1e-300, max_steps=count
            )
        )

    count = max(3, min(100, int(3e6 / entries)))
    run(1)
    found = [(run(1 + count) - run(1)) / count for _ in range(1 if entries > 1e7 else repeat)]
    return float(np.median(found)), entries


def _draw(by_states: list[tuple[float, int]], by_time: list[tuple[float, int]]) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    parts = (
        ([size**2 for size in SIZES], by_states, "states, 4 decisions"),
        (list(HORIZONS), by_time, "decisions, 1,024 states"),
    )
    for axis, (x, found, label) in zip(figure.subplots(1, 2), parts, strict=True):
        seconds = [s for s, _ in found]
        axis.loglog(x, seconds, marker="o", color="#0072b2", label="an iteration")
        line = [seconds[-1] * k / x[-1] for k in x]
        axis.loglog(x, line, ls="--", lw=1, color="#8a8a8a", label="linear")
        if x[-1] < 1000:
            axis.minorticks_off()
            axis.set_xticks(x, [str(k) for k in x])
        axis.set_xlabel(label)
        axis.set_ylabel("seconds of CPU")
        axis.grid(color="#e4e4e4", linewidth=0.6)
        axis.legend(frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=150)
