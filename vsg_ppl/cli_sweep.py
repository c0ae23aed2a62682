"""The command ``vsg sweep``: every setting of a grid, learnt with many seeds."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsg_ppl.cli_errors import STOPPED, aside, careful
from vsg_ppl.cli_options import AsJson, Quiet, check_count, check_writable
from vsg_ppl.cli_print import new_console, new_sheet, print_json
from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from vsg_ppl.sweep import Sweep, SweepResult

FAILED = 1  # exit code, where some of the runs have no result


class ClusterKind(StrEnum):
    """The values of --cluster."""

    RAY = "ray"


def sweep(
    spec: Annotated[
        Path,
        typer.Argument(metavar="SPEC", help="A TOML file: what to run.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write the results here.")],
    jobs: Annotated[
        int | None,
        typer.Option(help="Runs at a time.", show_default="the cores, or what the cluster has"),
    ] = None,
    cluster: Annotated[
        ClusterKind | None,
        typer.Option(help="Run on a cluster that is there.", show_default="this machine"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Of the cluster.",
            show_default="the one that this machine is part of",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn a game with every setting of a grid, and many seeds.

    A run that ends is written at once to DIR/runs. The same command again goes on from there. At
    the end come results.csv, results.parquet (with pyarrow) and sweep.json. A SPEC:

    \b
    game = "differential"     # or routing; or a Python file, from SPEC's folder
    seeds = 24                # 0 to 23; or a list of them
    batch = 24                # seeds that are computed at once; 1 by default
    above = 9.0               # a final reward above it counts as a success

    \b
    [game_options]            # parameters of the game
    horizon = 25

    \b
    [options]                 # options of the method
    episodes = 200
    hidden = [64, 64]
    temperature = {first = 500.0, last = 0.1, rate = 0.1}   # falls, by episode

    \b
    [grid]                    # every list here is an axis, and nothing else is
    method = ["mai", "sac"]   # mai, masql, maddpg, iddpg, sac
    game_options.width = [3.0, 1.7320508]
    options.gamma = [0.0, 0.95]

    \b
    vsg sweep spec.toml --out results
    vsg sweep spec.toml --out results --cluster ray
    """  # noqa: D301 - help reads the character \b itself
    with careful():
        check_count("jobs", jobs)
        if address is not None and cluster is None:
            raise GameError("--address is of a cluster", hint=f"--cluster ray --address {address}.")
        check_writable(out)
        with aside(as_json):
            from vsg_ppl.sweep import Sweep
            from vsg_ppl.sweep import sweep as compute

            plan = Sweep.read(spec)
            try:
                found = compute(
                    plan,
                    out,
                    jobs=jobs,
                    backend="processes" if cluster is None else "ray",
                    address=address or "auto",
                    progress=not quiet and sys.stderr.isatty(),
                )
            except KeyboardInterrupt:
                _stopped(plan, out)
        if as_json:
            print_json({**found.summary, "reused": found.reused, "written": found.written})
        else:
            _print(found)
        for run, message in found.failures:
            axes = {**run.axes, "seeds": run.settings["seeds"]}
            where = ", ".join(f"{name} = {_cell(value)}" for name, value in axes.items())
            typer.echo(f"Failed: {where}: {message}", err=True)
        if found.failures:
            typer.echo(f"Error: {len(found.failures)} of {found.runs} runs failed", err=True)
            raise typer.Exit(FAILED)


def _print(found: SweepResult) -> None:
    rows: list[dict[str, Any]] = found.summary["results"]
    if rows:
        counts = ("experiments", "median", "low", "high", "success")
        axes = [name for name in rows[0] if name not in counts]
        judged = ("success", "95 % interval") if "success" in rows[0] else ()
        sheet = new_sheet(*axes, "experiments", "median reward", "10 %", "90 %", *judged)
        for row in rows:
            spread = (f"{row[name]:.3f}" for name in counts[1:4])
            cells = [*(_cell(row[axis]) for axis in axes), str(row["experiments"]), *spread]
            if judged:
                success = row["success"]
                interval = f"{success['low']:.0%} to {success['high']:.0%}"
                cells += [f"{success['rate']:.0%}", interval]
            sheet.add_row(*cells)
        new_console().print(sheet)
    there = f", {found.reused} of them there before" if found.reused else ""
    typer.echo(f"\n{found.summary['done']} of {found.runs} runs{there}")
    typer.echo(f"Written to {found.folder}: runs/, {', '.join(found.written)}")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _stopped(plan: Sweep, out: Path) -> None:
    """Say what there is, and leave."""
    from vsg_ppl.sweep_tables import read_record

    runs = plan.runs()
    done = sum(read_record(out, run) is not None for run in runs)
    typer.echo(f"Error: stopped; {done} of {len(runs)} runs are in {out}", err=True)
    typer.echo("Try: the same command, which goes on from there.", err=True)
    raise typer.Exit(STOPPED) from None
