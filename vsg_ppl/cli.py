"""The command line: ``vsg solve``, ``check``, ``render``, ``games``.

Torch takes seconds to import, so everything but the reading of options is imported when needed.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vsg_ppl.errors import GameError, MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

    from vsg_ppl.game import Game
    from vsg_ppl.schedule import Annealing
    from vsg_ppl.solution import Solution
    from vsg_ppl.table import Table

SHOWN = 12
"""States of which policies are printed."""

ACTIONS = 5
"""Actions of a policy that are printed, if it has many."""

PICTURES = (".png", ".svg", ".pdf")
STOPPED, FAULT = 130, 3  # exit codes
OPTION_OF = {"max_steps": "--max-steps", "temperature": "--temperature", "initial": "--seed"}

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


GameName = Annotated[
    str,
    typer.Argument(
        metavar="GAME",
        help="A bundled game (see `vsg games`), FILE.py, FILE.py:NAME, or FILE.nfg of Gambit.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the game; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


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
    r"""Write a game as a Pyro program; get an equilibrium of it, with a certificate.

    \b
    vsg games                         the games that come with the library
    vsg solve stag_hunt               solve one of them
    vsg check mygame.py               is my own game well-formed, and how large is it?
    vsg solve mygame.py --out run     solve it; policies, certificate and pictures go to run/
    vsg render mygame.py --out g.svg  draw its graphical model

    \b
    Exit codes: 0 solved; 1 not converged, or stopped by Ctrl-C (the result is shown); 2 bad
    input; 3 a fault of vsg itself; 130 stopped by Ctrl-C before there was a result.
    """


@app.command()
def solve(
    game: GameName,
    settings: Settings = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="A fixed temperature, in units of reward; with --anneal-to the first one.",
            show_default="it falls until the Nash gap is at most 0.001",
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
            help="Stop as soon as the Nash gap is at most this.",
            show_default="0.001, if neither temperature is given",
        ),
    ] = None,
    factorisation: Annotated[
        Factorisation,
        typer.Option(help="Policies given the state, or also given the others' actions."),
    ] = Factorisation.MARGINAL,
    entropy: Annotated[
        Entropy, typer.Option(help="Whose divergence from the prior the values pay for.")
    ] = Entropy.OWN,
    step: Annotated[
        str, typer.Option(help="adaptive, monotone, safe, or a number in (0, 1].")
    ] = "adaptive",
    max_steps: Annotated[int, typer.Option(help="Iterations at each temperature.")] = 2000,
    tolerance: Annotated[
        float, typer.Option(help="On the distance of policies from best responses.")
    ] = 1e-9,
    seed: Annotated[
        int | None,
        typer.Option(help="Start from random policies.", show_default="start from the priors"),
    ] = None,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write solution.safetensors, solution.json, solution.png and graph.png here.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", "--no-progress", help="Show no progress.")
    ] = False,
) -> None:
    r"""Find a Nash equilibrium and say how far from one it is.

    \b
    vsg solve stag_hunt
    vsg solve grid --set size=4 --set start=corners --out run
    vsg solve mygame.py:Duel --temperature 0.1 --json
    vsg solve poker.nfg --target-gap 1e-6
    """
    with _careful(game):
        schedule = _schedule(temperature, anneal_to, target_gap)
        beta = _step(step)
        if not tolerance > 0:
            raise GameError(f"--tolerance is {tolerance:g}; it must be positive")
        if max_steps < 1:
            raise GameError(f"--max-steps is {max_steps}; at least 1 is needed")
        if seed is not None and factorisation is Factorisation.CONDITIONAL:
            raise GameError(
                "--seed draws marginal policies, and conditional ones do not start from them",
                hint="leave --seed out, or --factorisation marginal.",
            )
        values = _assignments(settings)
        if out is not None:
            _check_writable(out)
        with _aside(as_json):
            program, solution = _solve(
                game,
                values,
                seed=seed,
                temperature=schedule,
                factorisation=factorisation.value,
                entropy=entropy.value,
                step=beta,
                max_steps=max_steps,
                tolerance=tolerance,
                progress=not quiet and sys.stderr.isatty(),
            )
        if as_json:
            _print_json(solution.to_dict())
        else:
            _print_solution(_console(), solution)
        if out is not None:
            with _aside(as_json):
                written = _write(program, solution, out)
            if not as_json:
                typer.echo(f"\nWritten to {out}: {', '.join(written)}")
        raise typer.Exit(0 if solution.solved else 1)


@app.command()
def check(game: GameName, settings: Settings = None, as_json: AsJson = False) -> None:
    r"""Say whether a game is well-formed, how large, and of what kind.

    \b
    vsg check soccer
    vsg check mygame.py --set horizon=20
    """
    with _careful(game):
        values = _assignments(settings)
        with _aside(as_json):
            from vsg_ppl.loading import load_game
            from vsg_ppl.structure import to_json
            from vsg_ppl.tabulate import tabulate

            table = tabulate(load_game(game, values))
            facts: dict[str, Any] = {"well_formed": True, **table.summary(), **_kind(table)}
            facts["examples"] = [to_json(state) for state in table.states[:SHOWN]]
        if as_json:
            _print_json(facts)
        else:
            _print_facts(_console(), table, facts)


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
    r"""Draw the directed graphical model of a game, read off its program.

    \b
    vsg render stag_hunt --out stag_hunt.png
    vsg render mygame.py --agent row --out row.svg
    """
    with _careful(game):
        if out.suffix.lower() not in PICTURES:
            raise GameError(
                f"{out} has not the name of a picture", hint=f"{out.with_suffix('.png')}."
            )
        values = _assignments(settings)
        _check_writable(out.parent, create=False)
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
    with _careful():
        from inspect import getdoc

        from vsg_ppl.loading import expected, parameters_of
        from vsg_ppl.models import GAMES

        listed = [
            {
                "name": name,
                "agents": list(made().agents),
                "description": (getdoc(made) or "").partition("\n")[0],
                "parameters": [
                    {"name": p.name, "type": expected(p.kind), "default": p.default}
                    for p in parameters_of(made)
                ],
            }
            for name, made in GAMES.items()
        ]
        if as_json:
            _print_json(listed)
        else:
            _print_games(_console(), listed)


# --- From options to arguments ---


def _schedule(
    temperature: float | None, anneal_to: float | None, target_gap: float | None
) -> float | Annealing:
    from vsg_ppl.schedule import Annealing

    for option, value in (
        ("--temperature", temperature),
        ("--anneal-to", anneal_to),
        ("--target-gap", target_gap),
    ):
        if value is not None and not (isfinite(value) and value > 0):
            raise GameError(f"{option} is {value:g}; it must be positive", hint=f"{option} 0.01.")
    if anneal_to is not None:
        if temperature is not None and temperature < anneal_to:
            raise GameError(
                f"the temperature would rise from {temperature:g} to {anneal_to:g}",
                hint="--anneal-to below --temperature.",
            )
        return Annealing(start=temperature, stop=anneal_to, target_gap=target_gap)
    if temperature is None:
        return Annealing() if target_gap is None else Annealing(target_gap=target_gap)
    if target_gap is not None:
        raise GameError(
            "--target-gap stops a temperature that falls, and --temperature alone is a fixed one",
            hint="leave one of the two out, or add --anneal-to.",
        )
    return temperature


def _step(text: str) -> Any:
    if text in ("adaptive", "monotone", "safe"):
        return text
    try:
        beta = float(text)
    except ValueError:
        beta = float("nan")
    if not 0 < beta <= 1:
        raise GameError(
            f"--step is '{text}'", hint="adaptive, monotone, safe, or a number in (0, 1]."
        )
    return beta


def _assignments(settings: Sequence[str] | None) -> dict[str, str]:
    values: dict[str, str] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise GameError(f"--set {setting} is not NAME=VALUE", hint="--set discount=0.9.")
        if name in values:
            raise GameError(f"--set gives '{name}' twice, {values[name]} and {value}")
        values[name] = value.strip()
    return values


def _check_writable(folder: Path, *, create: bool = True) -> None:
    """Raise now what writing a file here would raise later."""
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise GameError(
            f"cannot write to {folder}: {error.strerror}", hint="another place for --out."
        ) from None


# --- The work ---


def _solve(
    spec: str, values: dict[str, str], seed: int | None, **options: Any
) -> tuple[Game, Solution]:
    from dataclasses import replace

    from vsg_ppl.loading import load_game
    from vsg_ppl.nash import nash, random_policies
    from vsg_ppl.tabulate import tabulate

    program = load_game(spec, values)
    table = tabulate(program)
    start = None if seed is None else random_policies(table, seed)
    return program, replace(nash(table, initial=start, **options), game=program)


def _write(program: Game, solution: Solution, folder: Path) -> list[str]:
    """The files written. A picture that cannot be drawn takes nothing else with it."""
    from vsg_ppl.draw import draw_graph
    from vsg_ppl.graph import figure1

    def graph(path: Path) -> None:
        model = figure1(
            program,
            solution.table.agents[0],
            conditional=solution.factorisation == "conditional",
        )
        draw_graph(model, path)

    solution.save(folder / "solution.safetensors")
    text = _json_text(solution.to_dict()) + "\n"
    (folder / "solution.json").write_text(text, encoding="utf-8")
    written = ["solution.safetensors", "solution.json"]
    for name, draw in (("solution.png", solution.plot), ("graph.png", graph)):
        try:
            draw(folder / name)
            written.append(name)
        except GameError as error:
            typer.echo(f"Warning: no {name}: {error}", err=True)
    return written


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


# --- Words for people ---


def _console() -> Console:
    from rich.console import Console

    # a pipe has no width; rich would take it for 80 columns and cut what is wider
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if narrow else 160, highlight=False, emoji=False)


def _print_solution(console: Console, solution: Solution) -> None:
    from rich.table import Table as Sheet
    from rich.text import Text

    table, certificate = solution.table, solution.certificate
    message = solution.message
    for argument, option in OPTION_OF.items():
        message = message.replace(f"`{argument}`", option)
    style = "bold green" if solution.solved else "bold yellow"
    status = Text.assemble((f"{table.name}: {solution.status}", style), f". {message}")
    console.print(status, soft_wrap=True)
    unit = "iteration" if solution.iterations == 1 else "iterations"
    console.print(f"{solution.iterations} {unit}, {solution.seconds:.1f} s\n")

    sheet = _sheet("agent", "value", "gains by deviating")
    for column in sheet.columns[1:]:
        column.justify = "right"
    for agent in table.agents:
        value, gain = certificate.values[agent], certificate.per_agent[agent]
        sheet.add_row(Text(agent), f"{float(value):.6g}", f"{float(gain):.3g}")
    console.print(sheet)
    console.print()

    sheet = Sheet.grid(padding=(0, 2))
    sheet.add_row("Nash gap", f"{float(certificate.nash_gap):.3g}", "from the initial law")
    worst = float(certificate.nash_gap_worst_state)
    sheet.add_row("", f"{worst:.3g}", "from the worst state")
    if certificate.bound is not None:
        where = f"bound of Theorem 4.2 at temperature {solution.temperature:.3g}"
        held = "" if certificate.within_bound() else "; not reached"
        sheet.add_row("", f"{certificate.bound:.3g}", where + held)
    console.print(sheet)
    console.print()
    _print_policies(console, solution)


def _print_policies(console: Console, solution: Solution) -> None:
    """A column for each agent if there is room, else a row."""
    from rich.text import Text

    table = solution.table
    places, total = _places(table)
    keys = ["t"] if table.horizon not in (None, 1) else []
    keys += ["state"] if len(table.states) > 1 else []
    names = [actions.names() for actions in table.actions]
    rows: list[tuple[list[str], list[str]]] = []
    for k, t in places:
        key = [str(t)] if "t" in keys else []
        key += [_label(table.states[k])] if "state" in keys else []
        parts = [solution.policies[agent] for agent in table.agents]
        chances = [(part if t is None else part[t])[k].tolist() for part in parts]
        rows.append((key, list(map(_law, names, chances))))

    columns = list(zip(*(key + laws for key, laws in rows), strict=True))
    heads = [*keys, *table.agents]
    width = sum(
        3 + max(len(head), *map(len, column)) for head, column in zip(heads, columns, strict=True)
    )
    if width <= console.width:
        sheet = _sheet(*heads)
        for key, laws in rows:
            sheet.add_row(*map(Text, key + laws))
    else:
        sheet = _sheet(*keys, "agent", "policy")
        for key, laws in rows:
            for i, law in enumerate(laws):
                sheet.add_row(
                    *(Text(part if i == 0 else "") for part in key),
                    Text(table.agents[i]),
                    Text(law),
                    end_section=i == len(laws) - 1,
                )
    console.print(sheet)
    if total > len(places):
        what = "states and times" if "t" in keys else "states"
        console.print(
            f"and {total - len(places):,} more {what}; --json prints all of them, --out writes them"
        )


def _places(table: Table) -> tuple[list[tuple[int, int | None]], int]:
    """The first states, with times if there is a horizon, that have policies to show."""
    if table.horizon is None:
        return [(k, None) for k in range(min(SHOWN, len(table.states)))], len(table.states)
    if table.reachable is None:
        total = table.horizon * len(table.states)
        return [divmod(j, len(table.states))[::-1] for j in range(min(SHOWN, total))], total
    places = table.reachable.nonzero()
    return [(k, t) for t, k in places[:SHOWN].tolist()], len(places)


def _law(names: Sequence[str], probabilities: Sequence[float]) -> str:
    """The actions that are played, and how often."""
    law = [(name, p) for name, p in zip(names, probabilities, strict=True) if p >= 5e-4]
    rest = ""
    if len(law) > ACTIONS + 1:
        law.sort(key=lambda entry: -entry[1])
        rest = f"  {len(law) - ACTIONS} others {sum(p for _, p in law[ACTIONS:]):.3f}"
        law = law[:ACTIONS]
    return "  ".join(f"{name} {p:.3f}" for name, p in law) + rest


def _label(state: Any) -> str:
    """A state as people read it."""
    from vsg_ppl.structure import to_json

    plain = to_json(state)
    if isinstance(plain, dict):
        return " ".join(f"{key}={_label(value)}" for key, value in plain.items())
    if isinstance(plain, list):
        return "(" + ", ".join(map(_label, plain)) + ")"
    return "-" if plain is None else str(plain)


def _print_facts(console: Console, table: Table, facts: dict[str, Any]) -> None:
    from rich.table import Table as Sheet
    from rich.text import Text

    kinds = {"zero_sum": "zero-sum", "identical_interest": "identical interest"}
    kind = [words for key, words in kinds.items() if facts[key]] or ["general-sum"]
    kind += ["symmetric"] if facts["symmetric"] else []
    labels = ", ".join(_label(state) for state in table.states[:4])
    more = ", ..." if len(table.states) > 4 else ""
    horizon = "infinite" if table.horizon is None else f"{table.horizon} decisions"
    horizon = "1 decision" if table.horizon == 1 else horizon
    lines = [("agents", ", ".join(table.agents))]
    for agent, actions in zip(table.agents, table.actions, strict=True):
        names = actions.names()
        shown = ", ".join(names[:ACTIONS]) + (", ..." if len(names) > ACTIONS else "")
        lines.append((f"actions of {agent}", f"{len(names)}: {shown}"))
    lines += [
        ("joint actions", f"{facts['joint_actions']:,}"),
        ("states", f"{len(table.states):,}: {labels}{more}"),
        ("successors", f"at most {facts['successors']:,} of a state and joint action"),
        ("horizon", horizon + (", changing with time" if facts["time_dependent"] else "")),
        ("discount", f"{table.discount:g}"),
        ("memory", _bytes(facts["bytes"])),
    ]
    if len(table.agents) > 1:
        lines.append(("kind", ", ".join(kind)))
    console.print(Text(f"{table.name} is well-formed.", style="bold green"))
    sheet = Sheet.grid(padding=(0, 2))
    for name, value in lines:
        sheet.add_row(Text(name), Text(value))
    console.print(sheet)


def _print_games(console: Console, listed: list[dict[str, Any]]) -> None:
    from rich.text import Text

    sheet = _sheet("game", "agents", "parameters", "what it is")
    for entry in listed:
        agents = entry["agents"]
        shown = ", ".join(agents) if len(agents) < 4 else f"{agents[0]} to {agents[-1]}"
        parameters = [f"{p['name']}={p['default']}" for p in entry["parameters"]]
        cells = (entry["name"], shown, "\n".join(parameters), entry["description"])
        sheet.add_row(*map(Text, cells))
    console.print(sheet)


def _sheet(*heads: str) -> Any:
    """A table with these columns, its text printed as it is."""
    from rich import box
    from rich.table import Table as Sheet
    from rich.text import Text

    sheet = Sheet(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        sheet.add_column(Text(head), overflow="fold")
    return sheet


def _bytes(count: float) -> str:
    units = ["bytes", "kB", "MB", "GB"]
    while count >= 1000 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def _print_json(value: Any) -> None:
    typer.echo(_json_text(value))


def _json_text(value: Any) -> str:
    """Strict JSON: a number that is not finite becomes null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


# --- When something goes wrong ---


@contextmanager
def _aside(wanted: bool) -> Iterator[None]:
    """Send what a game prints to standard error, so that standard output is the answer alone."""
    with redirect_stdout(sys.stderr) if wanted else nullcontext():
        yield


@contextmanager
def _careful(spec: str = "") -> Iterator[None]:
    """Turn every exception into a sentence on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise  # rich leaves so when the reader of standard output has gone
        _fail("the game's program ends the process (SystemExit)")
    except KeyboardInterrupt:
        _fail("stopped before there was a result", code=STOPPED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # the reader of standard output has gone
        _explain(error, spec)


def _explain(error: Exception, spec: str) -> NoReturn:
    """The sentence, with the line of the game's file if the error comes from there."""
    from vsg_ppl.loading import game_file, line_at_fault, with_line

    path = game_file(spec)
    if path is not None and line_at_fault(error, path) is not None:
        error = with_line(error, path)
    if isinstance(error, GameError):
        text = str(error)
        _fail(text.removesuffix(f" Try: {error.hint}") if error.hint else text, error.hint)
    if isinstance(error, MissingExtra):
        _fail(str(error))
    if isinstance(error, OSError) and error.strerror:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        _fail("there is not enough memory for this game", "fewer states or actions.")
    if os.environ.get("VSG_TRACEBACK"):
        raise error
    text = str(error).strip().partition("\n")[0]
    _fail(
        f"vsg has a fault: {type(error).__name__}: {text}",
        "VSG_TRACEBACK=1 to see where, and please report it.",
        code=FAULT,
    )


def _fail(message: str, hint: str | None = None, code: int = 2) -> NoReturn:
    typer.echo("Error: " + " ".join(message.splitlines()), err=True)
    if hint:
        typer.echo("Try: " + " ".join(hint.splitlines()), err=True)
    raise typer.Exit(code) from None


if __name__ == "__main__":
    main()
