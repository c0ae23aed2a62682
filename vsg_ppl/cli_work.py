"""What the commands do: solve a game, write the files, say what kind of game it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vsg_ppl.cli_options import SolverOptions
from vsg_ppl.cli_print import json_text
from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from vsg_ppl.finite_population import FiniteGap
    from vsg_ppl.game import Game
    from vsg_ppl.inference import OpponentInference
    from vsg_ppl.mean_field_table import MeanFieldTable
    from vsg_ppl.solution import Solution
    from vsg_ppl.table import Table


def solve_game(program: Game, options: SolverOptions, *, progress: bool) -> Solution:
    """The solution, by the solver for this kind of game."""
    from vsg_ppl.game import is_mean_field, title
    from vsg_ppl.mean_field import mean_field_nash
    from vsg_ppl.mean_field_table import mean_field_table
    from vsg_ppl.nash import random_policies
    from vsg_ppl.solve import solve

    if not is_mean_field(program):
        return solve(program, progress=progress, **options.among_agents(title(program)))
    arguments = options.amid_a_crowd(title(program))
    crowd = mean_field_table(program)
    if options.seed is not None:
        arguments["initial"] = random_policies(crowd.shape(), options.seed)[crowd.agent][0]
    return replace(mean_field_nash(crowd, progress=progress, **arguments), game=program)


def gaps_among(solution: Solution, options: SolverOptions) -> list[FiniteGap]:
    """Nash gaps among as many agents as ``--population`` says; what fails is said, no more."""
    from vsg_ppl.finite_population import finite_nash_gap

    policy, gaps = next(iter(solution.policies.values())), []
    for n in options.population:
        try:
            gaps.append(finite_nash_gap(solution.game, policy, n, seed=options.seed or 0))
        except GameError as error:
            typer.echo(f"Warning: no gap among {n} agents: {error}", err=True)
        except KeyboardInterrupt:
            typer.echo(f"Warning: stopped before the gap among {n} agents was known", err=True)
            break
    return gaps


def as_dict(gap: FiniteGap) -> dict[str, Any]:
    """A gap among N agents in plain JSON values."""
    return {key: value for key, value in vars(gap).items() if key != "deviation"}


def write(
    solution: Solution, answer: dict[str, Any], gaps: list[FiniteGap], folder: Path
) -> list[str]:
    """The files written of a solution."""
    return write_files(solution, "solution", answer, _pictures(solution, gaps), folder)


def write_files(
    result: Solution | OpponentInference,
    name: str,
    answer: dict[str, Any],
    pictures: Mapping[str, Callable[[Path], object]],
    folder: Path,
) -> list[str]:
    """The files written. A picture that cannot be drawn takes nothing else with it."""
    written = [f"{name}.safetensors", f"{name}.json"]
    result.save(folder / written[0])
    (folder / written[1]).write_text(json_text(answer) + "\n", encoding="utf-8")
    for name, draw in pictures.items():
        try:
            draw(folder / name)
            written.append(name)
        except GameError as error:
            typer.echo(f"Warning: no {name}: {error}", err=True)
    return written


def _pictures(solution: Solution, gaps: list[FiniteGap]) -> dict[str, Callable[[Path], object]]:
    """What to draw, by the name of the file."""
    from vsg_ppl.draw import draw_graph
    from vsg_ppl.graph import figure1

    def graph(path: Path) -> None:
        conditional = solution.factorisation == "conditional"
        model = figure1(solution.game, solution.table.agents[0], conditional=conditional)
        draw_graph(model, path)

    pictures: dict[str, Callable[[Path], object]] = {"solution.png": solution.plot}
    if solution.crowd is not None:
        from vsg_ppl.plot_crowd import animate_crowd, plot_crowd

        if (solution.table.horizon or 1) > 1:
            pictures["crowd.gif"] = partial(animate_crowd, solution)
        else:
            pictures["crowd.png"] = partial(plot_crowd, solution, alone=True)
    if gaps:
        from vsg_ppl.plot_finite import plot_finite

        gap = solution.certificate.largest_gap
        pictures["population.png"] = partial(plot_finite, gaps, gap)
    return pictures | {"graph.png": graph}


def crowd_facts(table: MeanFieldTable) -> dict[str, Any]:
    """What there is to know of a mean-field game before it is solved."""
    from vsg_ppl.mean_field_certificate import mean_field_certify

    try:
        prior = mean_field_certify(table, table.prior).exploitability
    except GameError:  # the crowd that the prior makes does not come to rest
        prior = None
    return {
        "mean_field": True,
        **table.shape().summary(),
        "crowd_moves_states": table.moving,
        "prior_exploitability": prior,
    }


def facts(table: Table) -> dict[str, Any]:
    """The same of a game among agents."""
    from vsg_ppl.kinds import kind

    return {"mean_field": False, **table.summary(), **kind(table).to_dict()}
