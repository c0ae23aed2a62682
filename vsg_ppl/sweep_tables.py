"""The results of a sweep in its folder: a record of each run, and tables of all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.row_files import as_csv, as_parquet
from vsg_ppl.sweep_spec import Run, Sweep, compact


def read_record(folder: Path, run: Run) -> dict[str, Any] | None:
    """What `compute` gave for a run, if its file is there and whole."""
    try:
        record = json.loads(_place(folder, run.key).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(record, dict) and record.get("settings") == run.settings
    return record if whole else None


def write_record(folder: Path, key: str, record: Mapping[str, Any]) -> None:
    """Keep what `compute` gave for the run of this key, whole or not at all."""
    _write(_place(folder, key), compact(record).encode() + b"\n")


def write_tables(
    spec: Sweep,
    runs: list[Run],
    failures: tuple[tuple[Run, str], ...],
    folder: Path,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the tables of a sweep. The summary, and the names of the files."""
    rows: list[dict[str, Any]] = []
    points: dict[str, tuple[dict[str, Any], list[float]]] = {}
    versions: list[dict[str, str]] = []
    done = 0
    for run in runs:
        record = read_record(folder, run)
        if record is None:
            continue
        done += 1
        point = {"method": run.settings["method"], "game": run.settings["game"], **run.axes}
        points.setdefault(compact(point), (point, []))[1].extend(record["reward"])
        if record["versions"] not in versions:
            versions.append(record["versions"])
        for i, seed in enumerate(run.settings["seeds"]):
            returns = {f"return.{agent}": of[i] for agent, of in record["returns"].items()}
            row = {"seed": seed, "run": run.key, "reward": record["reward"][i]}
            rows.append({**point, **row, **returns})
    summary = {
        "spec": spec.to_dict(),
        "versions": versions,
        "runs": len(runs),
        "done": done,
        "failures": [{"settings": run.settings, "message": text} for run, text in failures],
        "results": [{**point, **_spread(final, spec.above)} for point, final in points.values()],
    }
    first = ["method", "game", *spec.grid, "seed", "run", "reward"]
    names = dict.fromkeys([*first, *(name for row in rows for name in row)])
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    tables = {"results.csv": as_csv(columns), "results.parquet": as_parquet(columns)}
    tables["sweep.json"] = json.dumps(summary, indent=2, allow_nan=False).encode() + b"\n"
    for name, content in tables.items():
        if content is not None:
            _write(folder / name, content)
        else:
            (folder / name).unlink(missing_ok=True)  # of another sweep
    return summary, tuple(name for name, content in tables.items() if content is not None)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise GameError(
            f"cannot write {path}: {error.strerror}",
            hint="the same sweep again when that is mended: it goes on from what is there.",
        ) from None


def _spread(final: list[float], above: float | None) -> dict[str, Any]:
    """Of final rewards: how many, median and quantiles, and how many succeed."""
    rewards = torch.tensor(final, dtype=torch.float64)
    low, median, high = rewards.quantile(torch.tensor([0.1, 0.5, 0.9]).double()).tolist()
    spread = {"experiments": len(final), "median": median, "low": low, "high": high}
    if above is None:
        return spread
    return spread | {"success": Learning(None, "", ("all",), rewards[None, :, None]).success(above)}


def _column(values: list[Any]) -> list[Any]:
    """Values of one type, and of one that tables have."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {float} or kinds in ({int}, {bool}, {str}):
        return values
    return [value if isinstance(value, str | None) else compact(value) for value in values]


def _place(folder: Path, key: str) -> Path:
    return folder / "runs" / f"{key}.json"
