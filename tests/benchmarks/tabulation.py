"""A two-agent grid of 20 × 20 cells, 160,000 states: program to table.

The first call in a fresh process, and that process's peak memory, libraries included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.measure import Row, cpu, show

SECONDS, BYTES = 1.0, 2e9


def rows(repeat: int) -> Iterator[Row]:
    runs = [_fresh() for _ in range(repeat)]
    seconds, peak = (median(run[key] for run in runs) for key in ("seconds", "peak"))
    task = f"tabulate {runs[0]['states']:,} states"
    yield Row(task, show(seconds), f"≤ {show(SECONDS)}", met=seconds <= SECONDS)
    yield Row(
        "  its peak memory", f"{peak / 1e9:.3g} GB", f"≤ {BYTES / 1e9:g} GB", met=peak <= BYTES
    )


def _fresh() -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.tabulation"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout)


def _measure() -> dict[str, float]:
    import torch

    import vsg_ppl as vsg
    from vsg_ppl.models import GridGame

    torch.set_num_threads(1)
    tables = []
    seconds = cpu(lambda: tables.append(vsg.tabulate(GridGame(size=20, start="anywhere"))))
    return {"seconds": seconds, "peak": _peak(), "states": len(tables[0].states)}


def _peak() -> float:
    """Peak bytes of this process; `getrusage` would also count what its parent held at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * float(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    print(json.dumps(_measure()))
