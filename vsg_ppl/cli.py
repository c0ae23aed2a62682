"""Commands: ``vsg solve``, ``infer``, ``check``, ``render``, ``games``, ``reproduce``, ``sweep``.

Torch takes seconds to import, so everything but the reading of options is imported when needed.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vsg_ppl.cli_errors import aside, careful
from vsg_ppl.cli_infer import infer
from vsg_ppl.cli_options import (
    AsJson,
    GameName,
    Quiet,
    Settings,
    SolverOptions,
    assignments,
    check_writable,
)
from vsg_ppl.cli_print import (
    SHOWN,
    new_console,
    print_facts,
    print_games,
    print_json,
    print_population,
    print_solution,
)
from vsg_ppl.cli_reproduce import reproduce
from vsg_ppl.cli_sweep import sweep
from vsg_ppl.errors import GameError

PICTURES = (".png", ".svg", ".pdf")

app = typer.Typer(
    name="vsg",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Factorisation(StrEnum):
    """The values of --factorisation."""

    MARGINAL = "marginal"
    CONDITIONAL = "conditional"


class Entropy(StrEnum):
    """The values of --entropy."""

    OWN = "own"
    JOINT = "joint"
    NONE = "none"


class Concept(StrEnum):
    """The values of --concept."""

    NASH = "nash"
    CORRELATED = "correlated"
    MEAN_FIELD = "mean-field"


class SignalLaw(StrEnum):
    """The values of --signal."""

    GIVEN = "given"
    LEARNED = "learned"


class Method(StrEnum):
    """The values of --method: solvers by name, and methods of mean-field games."""

    ZERO_SUM = "zero-sum"
    POTENTIAL_NASH = "potential-nash"
    EXACT_NASH = "exact-nash"
    NASH = "nash"
    LOGIT_PATH = "logit-path"
    CORRELATED = "correlated"
    EXACT = "exact"
    ALGORITHM4 = "algorithm4"
    FICTITIOUS_PLAY = "fictitious-play"
    MIRROR_DESCENT = "mirror-descent"
    SVI = "svi"


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows another
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="vsg")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vsg {version('vsg_ppl')}")
        raise typer.Exit


@app.callback()
def vsg(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Write a game as a Pyro program; get an equilibrium of it, with a certificate.

    \b
    vsg games                           the games that come with the library
    vsg solve stag_hunt                 solve one of them
    vsg check mygame.py                 is my own game well-formed, and how large is it?
    vsg solve mygame.py --out run       solve it; policies, certificate and pictures go to run/
    vsg infer mygame.py play.csv        what do its agents want? inferred from play seen
    vsg render mygame.py --out g.svg    draw its graphical model
    vsg reproduce figure-2a --quick     run an experiment of the paper again
    vsg sweep spec.toml --out results   every setting of a grid, with many seeds

    \b
    Exit codes: 0 solved; 1 not converged, or stopped by Ctrl-C (the result is shown); 2 bad
    input; 3 a fault of vsg itself; 130 stopped by Ctrl-C before there was a result.
    """  # noqa: D301 - help reads the character \b itself


@app.command()
def solve(
    game: GameName,
    settings: Settings = None,
    concept: Annotated[
        Concept | None,
        typer.Option(help="Of equilibrium.", show_default="by the game"),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="The solver; for mean-field games exact, algorithm4, fictitious-play, "
            "mirror-descent or svi, for others one of the rest.",
            show_default="by the game, and says why",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="A fixed temperature, in units of reward; with --anneal-to the first one.",
            show_default="none: an equilibrium without entropy",
        ),
    ] = None,
    anneal_to: Annotated[
        float | None,
        typer.Option(
            help="Let the temperature fall to this one.", show_default="no further than needed"
        ),
    ] = None,
    target_gap: Annotated[
        float | None,
        typer.Option(
            help="Stop as soon as the gap, or the exploitability, is at most this.",
            show_default="by method",
        ),
    ] = None,
    factorisation: Annotated[
        Factorisation | None,
        typer.Option(
            help="Policies given the state, or also given the others' actions.",
            show_default="marginal",
        ),
    ] = None,
    entropy: Annotated[
        Entropy | None,
        typer.Option(
            help="Whose divergence from the prior the values pay for.", show_default="own"
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="adaptive, monotone, safe, or a number in (0, 1].", show_default="adaptive"
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Correlated: welfare, fairness, or the agent whose value is to be large.",
            show_default="welfare",
        ),
    ] = None,
    signals: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Correlated: add a public signal with N values, its law learned."
        ),
    ] = None,
    signal: Annotated[
        SignalLaw | None,
        typer.Option(
            help="Correlated: whether to keep the law of the game's public signal or choose it.",
            show_default="given, if the game has one",
        ),
    ] = None,
    move_prior: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Mean field, algorithm4: the prior becomes the last policy every N iterations.",
            show_default="never",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Mean field, mirror-descent.", show_default="1")
    ] = None,
    population: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="Mean field: the Nash gap if N agents play this; may be repeated.",
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            help="Iterations, with temperatures at each of them.", show_default="by method"
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Nash: on the distance of policies from soft best responses; exact-nash: on the "
            "gap; mean field: on the exploitability, with a temperature on the regularised one.",
            show_default="by method",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Start from random policies.", show_default="start from the priors"),
    ] = None,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write solution.safetensors, solution.json, solution.png and graph.png here; "
            "mean field: also the crowd over time, crowd.gif.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Find an equilibrium, by the method that suits the game, and say how far from one it is.

    \b
    vsg solve stag_hunt
    vsg solve chicken --signals 2 --objective fairness
    vsg solve grid --set size=4 --set start=corners --out run
    vsg solve mygame.py:Duel --temperature 0.1 --json
    vsg solve poker.nfg --target-gap 1e-6
    vsg solve beach_bar --out run
    """  # noqa: D301 - help reads the character \b itself
    with careful(game):
        options = SolverOptions(
            temperature=temperature,
            anneal_to=anneal_to,
            target_gap=target_gap,
            concept=concept,
            objective=objective,
            signals=signals,
            signal=signal,
            factorisation=factorisation,
            entropy=entropy,
            step=step,
            max_steps=max_steps,
            tolerance=tolerance,
            seed=seed,
            method=method,
            move_prior=move_prior,
            learning_rate=learning_rate,
            population=tuple(dict.fromkeys(population or ())),
        )
        values = assignments(settings)
        if out is not None:
            check_writable(out)
        with aside(as_json):
            from vsg_ppl.cli_work import as_dict, gaps_among, solve_game, write
            from vsg_ppl.loading import load_game

            progress = not quiet and sys.stderr.isatty()
            solution = solve_game(load_game(game, values), options, progress=progress)
            gaps = gaps_among(solution, options)
            answer = solution.to_dict()
            if options.population:
                answer["population"] = [as_dict(gap) for gap in gaps]
        if as_json:
            print_json(answer)
        else:
            print_solution(new_console(), solution)
            print_population(new_console(), gaps)
        if out is not None:
            with aside(as_json):
                written = write(solution, answer, gaps, out)
            if not as_json:
                typer.echo(f"\nWritten to {out}: {', '.join(written)}")
        raise typer.Exit(0 if solution.solved else 1)


app.command()(infer)
app.command()(reproduce)
app.command()(sweep)


@app.command()
def check(game: GameName, settings: Settings = None, as_json: AsJson = False) -> None:
    """Say whether a game is well-formed, how large, and of what kind.

    \b
    vsg check soccer
    vsg check mygame.py --set horizon=20
    """  # noqa: D301 - help reads the character \b itself
    with careful(game):
        values = assignments(settings)
        with aside(as_json):
            from vsg_ppl.cli_work import crowd_facts, facts
            from vsg_ppl.game import is_mean_field
            from vsg_ppl.loading import load_game
            from vsg_ppl.mean_field_table import mean_field_table
            from vsg_ppl.structure import to_json
            from vsg_ppl.tabulate import tabulate

            program = load_game(game, values)
            if is_mean_field(program):
                population = mean_field_table(program)
                table, known = population.shape(), crowd_facts(population)
            else:
                table = tabulate(program)
                known = facts(table)
            examples = [to_json(state) for state in table.states[:SHOWN]]
            answer: dict[str, Any] = {"well_formed": True, **known, "examples": examples}
        if as_json:
            print_json(answer)
        else:
            print_facts(new_console(), table, answer)


@app.command()
def render(
    game: GameName,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The picture: FILE.png, FILE.svg or FILE.pdf."),
    ],
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Draw this agent's model in the variables of the paper's Fig. 1.",
            show_default="the whole program, site by site",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to draw.")] = 2,
    settings: Settings = None,
) -> None:
    """Draw the directed graphical model of a game, read off its program.

    \b
    vsg render stag_hunt --out stag_hunt.png
    vsg render mygame.py --agent row --out row.svg
    """  # noqa: D301 - help reads the character \b itself
    with careful(game):
        if out.suffix.lower() not in PICTURES:
            raise GameError(
                f"{out} has not the name of a picture", hint=f"{out.with_suffix('.png')}."
            )
        values = assignments(settings)
        check_writable(out.parent, create=False)
        from vsg_ppl.draw import draw_graph
        from vsg_ppl.graph import dependency_graph, figure1
        from vsg_ppl.loading import load_game

        program = load_game(game, values)
        if agent is None:
            graph = dependency_graph(program, steps=steps)
        else:
            graph = figure1(program, agent, steps=steps)
        draw_graph(graph, out)
        typer.echo(f"Written to {out}: {len(graph)} variables, {graph.size()} arrows")


@app.command()
def games(as_json: AsJson = False) -> None:
    """List the games that come with the library, and their parameters.

    A parameter is set as in `vsg solve grid --set size=4`.
    """
    with careful():
        from inspect import getdoc

        from vsg_ppl.game import is_mean_field
        from vsg_ppl.loading import expected, parameters_of
        from vsg_ppl.models import GAMES

        listed = [
            {
                "name": name,
                "agents": list(made().agents),
                "mean_field": is_mean_field(made()),
                "description": (getdoc(made) or "").partition("\n")[0],
                "parameters": [
                    {"name": p.name, "type": expected(p.kind), "default": p.default}
                    for p in parameters_of(made)
                ],
            }
            for name, made in GAMES.items()
        ]
        if as_json:
            print_json(listed)
        else:
            print_games(new_console(), listed)


if __name__ == "__main__":
    main()
