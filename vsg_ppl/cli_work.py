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
    from vsg_ppl.nash import nash, random_policies
    from vsg_ppl.tabulate import tabulate

    if is_mean_field(program):
        arguments = options.amid_a_crowd(title(program))
        crowd = mean_field_table(program)
        if options.seed is not None:
            arguments["initial"] = random_policies(crowd.shape(), options.seed)[crowd.agent][0]
        solution = mean_field_nash(crowd, progress=progress, **arguments)
    else:
        arguments = options.among_agents(title(program))
        table = tabulate(program)
        if options.seed is not None:
            arguments["initial"] = random_policies(table, options.seed)
        solution = nash(table, progress=progress, **arguments)
    return replace(solution, game=program)


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
    return {"mean_field": False, **table.summary(), **_kind(table)}


def _kind(table: Table) -> dict[str, bool]:
    """Whether a game is zero-sum, of identical interest, symmetric: in every state, exactly."""
    import torch

    from vsg_ppl.bellman import following

    rewards, n = table.rewards, len(table.agents)
    scale = 1e-9 * max(1.0, *(float(reward.abs().max()) for reward in rewards))

    def same(one: Any, other: Any) -> bool:
        off = one - other
        if table.reachable is not None:  # only where play can come
            seen = table.reachable if off.shape[1] > 1 else table.reachable.any(0, keepdim=True)
            off = off * seen.reshape(1, *seen.shape, *[1] * (off.ndim - 3))
        return bool((off.abs() <= scale).all())

    def swapped(x: Any, i: int) -> Any:
        return x.transpose(3 + i, 4 + i)

    def alike(i: int) -> bool:
        """Whether agents i and i + 1 may change places."""
        priors = table.log_priors
        places = list(range(n))
        places[i], places[i + 1] = i + 1, i
        return (
            table.sizes[i] == table.sizes[i + 1]
            and same(priors[i].exp(), priors[i + 1].exp())
            and all(same(rewards[j], swapped(rewards[k], i)) for j, k in enumerate(places))
            # laws that agree in the mean of random numbers agree
            and all(same(ahead, swapped(ahead, i)) for ahead in aheads)
        )

    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, len(table.states), 2, generator=generator, dtype=torch.float64)
    features = features.to(table.device)
    aheads = [
        following(table, features, t)[..., k]
        for t in range(table.probabilities.shape[1] if table.horizon != 1 else 0)
        for k in range(2)
    ]
    return {
        "zero_sum": n > 1 and same(sum(rewards), 0.0 * rewards[0]),
        "identical_interest": n > 1 and all(same(rewards[0], other) for other in rewards[1:]),
        "symmetric": n > 1 and all(alike(i) for i in range(n - 1)),
    }
