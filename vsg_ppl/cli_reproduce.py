"""The command ``vsg reproduce``: the paper's experiments, run again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsg_ppl.cli_errors import aside, careful
from vsg_ppl.cli_options import AsJson, Quiet, check_count, check_writable
from vsg_ppl.cli_print import new_console, new_sheet, print_json
from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from vsg_ppl.reproduce import Reproduction


class Experiment(StrEnum):
    """What there is to reproduce."""

    FIGURE_2A = "figure-2a"
    FIGURE_2B = "figure-2b"


def reproduce(
    experiment: Annotated[Experiment, typer.Argument(help="Which figure.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method to compare; may be repeated.", show_default="the five"),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(help="2a: uniform, bad or networks; may be repeated.", show_default="uniform"),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="falling or constant; may be repeated.", show_default="falling"),
    ] = None,
    payoff: Annotated[
        list[str] | None,
        typer.Option(help="2a: printed or code; may be repeated.", show_default="printed"),
    ] = None,
    game: Annotated[
        list[str] | None,
        typer.Option(help="2a: paper, or a changed one; may be repeated.", show_default="paper"),
    ] = None,
    agents: Annotated[
        list[int] | None,
        typer.Option(help="2b: how many; may be repeated.", show_default="10"),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="2b: pigou, braess or ladder6.", show_default="ladder6")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Experiments of each method.", show_default="24; 2b: 10")
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
            metavar="DIR", help="Write curves, settings and results, and the picture here."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what a stopped run left in DIR.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment of the paper again, with many seeds.

    With --out, a run that is stopped or killed loses two minutes at most: the same command with
    --resume goes on, to the same numbers.

    \b
    vsg reproduce figure-2a --quick
    vsg reproduce figure-2a --seeds 100 --start uniform --start bad --out figure
    vsg reproduce figure-2a --method mai --method mai-inferred --schedule constant
    vsg reproduce figure-2b --agents 2 --agents 10 --out routing
    """  # noqa: D301 - help reads the character \b itself
    with careful():
        check_count("seeds", seeds)
        check_count("episodes", episodes)
        if resume and out is None:
            raise GameError("there is nothing to resume without a folder", hint="--out DIR.")
        if out is not None:
            check_writable(out)
        given: dict[str, Any] = {
            "starts": start,
            "schedules": schedule,
            "payoffs": payoff,
            "games": game,
            "agents": agents,
        }
        with aside(as_json):
            figure = _figure(
                experiment,
                **{name: tuple(values) for name, values in given.items() if values},
                **({"network": network} if network else {}),
                **({"methods": tuple(method)} if method else {}),
                **({"seeds": seeds or 3} if seeds or quick else {}),
                **({"episodes": episodes or 40} if episodes or quick else {}),
                seed=seed,
            )
            try:
                panels = figure.run(
                    progress=not quiet and sys.stderr.isatty(), folder=out, resume=resume
                )
            except KeyboardInterrupt:
                if out is not None:
                    typer.echo("The same command with --resume goes on from here.", err=True)
                raise
            answer = figure.summary(panels)
            written = [] if out is None else figure.write(panels, out)
        if as_json:
            print_json(answer)
            return
        _print(answer)
        if written:
            typer.echo(f"\nWritten to {out}: {', '.join(written)}")


OPTIONS = {
    "methods": "method",
    "starts": "start",
    "schedules": "schedule",
    "payoffs": "payoff",
    "games": "game",
    "agents": "agents",
    "network": "network",
}
"""Of the command line, by what they are to an experiment."""


def _figure(experiment: Experiment, **options: Any) -> Reproduction:
    from vsg_ppl.figure_2a import Figure2a
    from vsg_ppl.figure_2b import Figure2b

    figure: type[Reproduction] = Figure2a if experiment is Experiment.FIGURE_2A else Figure2b
    fields = figure.__dataclass_fields__
    there = {name: f"--{said}" for name, said in OPTIONS.items() if name in fields}
    for name in options.keys() & OPTIONS.keys():
        if name not in there:
            raise GameError(
                f"{experiment.value} has no --{OPTIONS[name]}",
                hint=f"{', '.join(there.values())}.",
            )
    return figure(**options)


def _print(answer: Mapping[str, Any]) -> None:
    """A line for each method under each condition."""
    rows = answer["results"]
    differ = [
        name
        for name in ("start", "schedule", "payoff", "game", "agents")
        if len({row[name] for row in rows if name in row}) > 1
    ]
    judged = _judged_2a if "success" in rows[0] else _judged_2b
    sheet = new_sheet("method", *differ, *judged(rows[0]), "CPU-s")
    for row in rows:
        cpu = f"{row['cpu_seconds_per_experiment']:.1f}"
        sheet.add_row(
            row["method"], *(str(row[name]) for name in differ), *judged(row).values(), cpu
        )
    new_console().print(sheet)


def _judged_2a(row: Mapping[str, Any]) -> dict[str, str]:
    found = row["success"]
    return {
        "success": f"{found['rate']:.0%}",
        "95 % interval": f"{found['low']:.0%} to {found['high']:.0%}",
        "median reward": f"{row['final_median']:.2f}",
    }


def _judged_2b(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "NashConv": f"{row['nash_conv']:.4f}",
        **(
            {"95 % interval": f"{row['nash_conv_low']:.4f} to {row['nash_conv_high']:.4f}"}
            if "nash_conv_low" in row
            else {}
        ),
        "on the way": f"{row['nash_conv_on_the_way']:.4f}",
        "reward": f"{row['reward']:.4f}",
        "equilibrium": f"{row['equilibrium_reward']:.4f}",
    }
