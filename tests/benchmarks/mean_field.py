"""Mean-field games: an iteration with its certificate, and the way to an exploitability of .046.

The peer is MFGLib (`pip install mfglib`), in this environment or another:

    VSG_MFGLIB_PYTHON=~/mfglib/bin/python make bench

Its iterations are those of online mirror descent and prior descent, in float32; ours the same, in
float64. On susceptible_infected the peer's best method is MFOMO.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import vsg_ppl as vsg
from tests.benchmarks.measure import Row, cpu, faster, in_turn, show
from vsg_ppl.models import GAMES

PEER = Path(__file__).with_name("mfglib_peer.py")
ITERATIONS, TIMES = 10, 20
NEVER = 1e-300
SICK, SOONER = 0.046, 5

# name, the peer's algorithm, ours
TASKS: list[tuple[str, str, dict[str, Any]]] = [
    ("crowd_motion", "omd", {"method": "mirror_descent"}),
    (
        "linear_quadratic",
        "pd",
        {"method": "algorithm4", "temperature": 1.0, "move_prior": 1},
    ),
    ("building_evacuation", "omd", {"method": "mirror_descent"}),
]


def rows(repeat: int) -> Iterator[Row]:
    interpreter = os.environ.get("VSG_MFGLIB_PYTHON")
    if interpreter is None and find_spec("mfglib") is not None:
        interpreter = sys.executable
    for name, algorithm, options in TASKS:
        table = vsg.mean_field_table(GAMES[name]())

        def ours(table: Any = table, options: Any = options) -> float:
            count = 10 * ITERATIONS
            return (
                cpu(lambda: vsg.mean_field_nash(table, tolerance=NEVER, max_steps=count, **options))
                / count
            )

        ours()
        task = f"{name}: one iteration with certificate ({algorithm})"
        if interpreter is None:
            yield Row(task, show(ours()), f"{TIMES}× faster", peer="mfglib: see --help")
            continue
        words = ["iterate", name, algorithm, str(ITERATIONS)]
        mine, theirs = in_turn(ours, lambda words=words: _peer(interpreter, words), repeat=repeat)
        yield faster(task, mine, f"mfglib {algorithm}", theirs, TIMES)

    sick = vsg.mean_field_table(GAMES["susceptible_infected"]())

    def reach() -> float:
        found: list[vsg.Solution] = []
        seconds = cpu(lambda: found.append(vsg.mean_field_nash(sick, tolerance=SICK)))
        assert found[0].certificate.exploitability <= SICK
        return seconds

    task = f"susceptible_infected: exploitability ≤ {SICK}"
    reach()
    if interpreter is None:
        yield Row(task, show(reach()), f"{SOONER}× faster", peer="mfglib: see --help")
        return
    words = ["reach", "susceptible_infected", "mfomo", str(SICK), "1000"]
    mine, theirs = in_turn(reach, lambda: _peer(interpreter, words), repeat=repeat)
    yield faster(task, mine, "mfglib MFOMO", theirs, SOONER)


def _peer(interpreter: str, words: list[str]) -> float:
    done = subprocess.run(
        [interpreter, PEER, *words], check=True, timeout=600, capture_output=True, text=True
    )
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])
