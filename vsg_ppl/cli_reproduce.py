"""The command ``vsg reproduce``: the paper's experiments, run again."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vsg_ppl.cli_errors import aside, careful
from vsg_ppl.cli_options import AsJson, Quiet, check_count, check_writable
from vsg_ppl.cli_print import new_console, new_sheet, print_json


class Experiment(StrEnum):
    """What there is to reproduce."""

    FIGURE_2A = "figure-2a"


def reproduce(
    experiment: Annotated[Experiment, typer.Argument(help="Which figure.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method to compare; may be repeated.", show_default="all"),
    ] = None,
    start: Annotated[
        str, typer.Option(help="How learners begin: uniform, bad or networks.")
    ] = "uniform",
    seeds: Annotated[
        int | None, typer.Option(help="Experiments of each method.", show_default="24")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Of each experiment.", show_default="200")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="3 experiments of 40 episodes: does it run?")
    ] = False,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write curves.csv, figure-2a.json, figure-2a.png and .svg here."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment of the paper again, with many seeds.

    \b
    vsg reproduce figure-2a --quick
    vsg reproduce figure-2a --seeds 100 --start bad --out figure
    """  # noqa: D301 - help reads the character \b itself
    with careful():
        check_count("seeds", seeds)
        check_count("episodes", episodes)
        if out is not None:
            check_writable(out)
        with aside(as_json):
            from vsg_ppl.reproduce import METHODS, Figure2a

            figure = Figure2a(
                methods=tuple(method or METHODS),
                start=start,
                seeds=seeds or (3 if quick else 24),
                episodes=episodes or (40 if quick else 200),
                seed=seed,
            )
            learnings = figure.run(progress=not quiet and sys.stderr.isatty())
            answer = figure.summary(learnings)
            written = [] if out is None else figure.write(learnings, out)
        if as_json:
            print_json(answer)
            return
        sheet = new_sheet("method", "success", "95 % interval", "median reward", "CPU-s each")
        for name, found in answer["results"].items():
            success = found["success"]
            sheet.add_row(
                name,
                f"{success['rate']:.0%}",
                f"{success['low']:.0%} to {success['high']:.0%}",
                f"{found['final_median']:.2f}",
                f"{found['cpu_seconds_per_experiment']:.1f}",
            )
        new_console().print(sheet)
        if written:
            typer.echo(f"\nWritten to {out}: {', '.join(written)}")
