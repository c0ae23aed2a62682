"""The command ``vsg infer``: what do agents want, by what they were seen to do?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsg_ppl.cli_errors import aside, careful
from vsg_ppl.cli_options import (
    AsJson,
    GameName,
    Quiet,
    Settings,
    assignments,
    check_count,
    check_positive,
    check_writable,
    option,
)
from vsg_ppl.cli_print import new_console, print_json
from vsg_ppl.cli_print_inference import print_comparison, print_inference, print_play
from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from vsg_ppl.compare import Comparison
    from vsg_ppl.game import Game
    from vsg_ppl.inference import OpponentInference
    from vsg_ppl.observations import Observations


class Reward(StrEnum):
    """The values of --reward."""

    PROGRAM = "program"
    WELFARE = "welfare"
    RANDOM = "random"
    ACTION = "action"
    JOINT = "joint"
    STATE = "state"


class Method(StrEnum):
    """The values of --method."""

    LAPLACE = "laplace"
    MAP = "map"
    SVI = "svi"
    NUTS = "nuts"


@dataclass(frozen=True)
class InferOptions:
    """The options of ``vsg infer``; ``None`` for what is not given.

    Raises:
        GameError: a value that no game allows, or options that do not go together.
    """

    agents: tuple[str, ...] = ()
    reward: str | None = None
    temperature: float | None = None
    others: str | None = None
    lapse: float | None = None
    method: str | None = None
    samples: int | None = None
    warmup: int | None = None
    steps: int | None = None
    seed: int | None = None
    level: float = 0.9
    compare: bool = False

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature, "1")
        for name in ("samples", "warmup", "steps"):
            check_count(name, getattr(self, name))
        if self.lapse is not None and not (isfinite(self.lapse) and 0 <= self.lapse < 1):
            raise GameError(
                f"--lapse is {self.lapse:g}; a probability below 1 is needed", hint="--lapse 0.05."
            )
        if not 0 < self.level < 1:
            raise GameError(
                f"--level is {self.level:g}; it lies between 0 and 1", hint="--level 0.9."
            )
        method = self.method or "laplace"
        for name, wanted in (("warmup", "nuts"), ("steps", "svi")):
            if getattr(self, name) is not None and method != wanted:
                raise GameError(
                    f"{option(name)} is for --method {wanted}, and the method is {method}",
                    hint=f"--method {wanted}.",
                )
        if self.compare and method in ("map", "nuts"):
            raise GameError(
                f"--compare goes by the evidence, and --method {method} gives none",
                hint="--method laplace, or --method svi.",
            )
        _others(self.others)

    def arguments(self) -> dict[str, Any]:
        """Those of `infer_opponent` that `compare_hypotheses` takes too."""
        given = {
            "temperature": self.temperature,
            "others": _others(self.others),
            "lapse": self.lapse,
            "method": self.method and str(self.method),
            "samples": self.samples,
            "warmup": self.warmup,
            "steps": self.steps,
            "seed": self.seed,
        }
        return {name: value for name, value in given.items() if value is not None}


def infer(
    game: GameName,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="The play that was seen, a row for each step: a CSV or Parquet file with columns "
            "such as episode,t,state,row,col; a field is empty where an action was not seen.",
            show_default=False,
        ),
    ],
    settings: Settings = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Whose wants to infer; may be repeated.",
            show_default="the only one whose actions were seen",
        ),
    ] = None,
    reward: Annotated[
        Reward | None,
        typer.Option(
            help="What it may want: what the program pays it, or pays everybody; nothing; or an "
            "unknown number for each state and action, state and joint action, or state.",
            show_default="program if that has unknowns or for --others equilibrium or N, else "
            "action",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="A fixed temperature, in units of reward.",
            show_default="inferred; 1 for action, joint and state",
        ),
    ] = None,
    others: Annotated[
        str | None,
        typer.Option(
            metavar="observed|equilibrium|N",
            help="How the others act in its eyes: as was seen; in a logit equilibrium with it; or "
            "thinking N steps, 0 being their priors.",
            show_default="observed",
        ),
    ] = None,
    lapse: Annotated[
        float | None,
        typer.Option(help="Probability of acting by the prior instead.", show_default="0"),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How to infer.", show_default="laplace")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Draws from the posterior.", show_default="500")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Of nuts: steps before the first draw.", show_default="300")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of svi: gradient steps.", show_default="2000")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all that is random.", min=0, show_default="0")
    ] = None,
    level: Annotated[float, typer.Option(help="Of the credible intervals.")] = 0.9,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also say what explains the play best: its own reward, everybody's, or none.",
        ),
    ] = False,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write inference.safetensors, inference.json and inference.png here.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Infer what an agent wants, and how it acts, from play that was seen.

    Unknowns are the continuous pyro.sample and pyro.param sites of the game's program and of the
    reward, and the temperature.

    \b
    vsg infer stag_hunt play.csv --agent col
    vsg infer mygame.py play.csv --agent row --out run
    vsg infer mygame.py play.csv --agent row --compare
    vsg infer grid play.csv --agent a --reward state --method svi --json
    """  # noqa: D301 - help reads the character \b itself
    with careful(game):
        options = InferOptions(
            agents=tuple(dict.fromkeys(agent or ())),
            reward=reward,
            temperature=temperature,
            others=others,
            lapse=lapse,
            method=method,
            samples=samples,
            warmup=warmup,
            steps=steps,
            seed=seed,
            level=level,
            compare=compare,
        )
        values = assignments(settings)
        if out is not None:
            check_writable(out)
        with aside(as_json):
            from vsg_ppl.cli_work import write_files
            from vsg_ppl.loading import load_game

            progress = not quiet and sys.stderr.isatty()
            program = load_game(game, values)
            seen, found, compared = _inferred(program, data, options, progress)
            answer = _answer(data, seen, found, compared, options.level)
        if as_json:
            print_json(answer)
        else:
            console = new_console()
            print_play(console, data.name, seen)
            print_inference(console, found, options.level)
            for who, comparison in compared.items():
                print_comparison(console, who, comparison)
        if out is not None:
            with aside(as_json):
                pictures = {"inference.png": found.plot}
                written = write_files(found, "inference", answer, pictures, out)
            if not as_json:
                typer.echo(f"\nWritten to {out}: {', '.join(written)}")
        raise typer.Exit(0 if found.solved else 1)


def _inferred(
    program: Game, data: Path, options: InferOptions, progress: bool
) -> tuple[Observations, OpponentInference, dict[str, Comparison]]:
    """What was seen, what it says, and hypotheses by agent if they are to be compared."""
    from vsg_ppl.compare import compare_hypotheses
    from vsg_ppl.family import TableFamily
    from vsg_ppl.game import is_mean_field, title
    from vsg_ppl.infer import infer_opponent
    from vsg_ppl.observed_files import read_play

    if is_mean_field(program):
        raise GameError(
            f"{title(program)} is a mean-field game, and this is for those among agents"
        )
    family = TableFamily(program)
    seen = read_play(data, family.table)
    agents = _agents(seen, options.agents, data.name)
    subject = program if family.names else family.table  # which need not be made again
    common = {**options.arguments(), "progress": progress}
    wanted = None if options.reward is None else str(options.reward)
    found = infer_opponent(subject, agents, seen, reward=wanted, **common)
    compared = {
        agent: compare_hypotheses(subject, agent, seen, **common)
        for agent in (agents if options.compare else ())
    }
    return seen, replace(found, game=program), compared


def _agents(seen: Observations, wanted: Sequence[str], file: str) -> list[str]:
    """Whose wants to infer: who is asked for, or the only one whose actions were seen."""
    known = [agent for agent, counts in seen.counts.items() if bool(counts.any())]
    if not known:
        columns = ", ".join(seen.table.agents)
        raise GameError(f"{file} has no action of anybody", hint=f"a column of actions: {columns}.")
    for agent in wanted:
        seen.table.number(agent)
        if agent not in known:
            raise GameError(f"{file} has no action of '{agent}'", hint=f"--agent {known[0]}.")
    if not wanted and len(known) > 1:
        raise GameError(
            f"{file} has actions of {', '.join(known)}, and nothing says whose wants to infer",
            hint=f"--agent {known[0]}; it may be repeated.",
        )
    return list(wanted or known)


def _answer(
    data: Path,
    seen: Observations,
    found: OpponentInference,
    compared: dict[str, Comparison],
    level: float,
) -> dict[str, Any]:
    """All of it in plain JSON values."""
    answer = {
        **found.to_dict(),
        "unknowns": found.summary(level),
        "level": level,
        "play": {
            "file": str(data),
            "steps": seen.steps,
            "states": len(seen.table.states),
            "states_seen": int((seen.visits > 0).any(0).sum()),
        },
    }
    if compared:
        answer["comparison"] = {
            agent: {
                "best": comparison.best,
                "log_evidence": comparison.log_evidence,
                "probabilities": comparison.probabilities,
                "status": {name: one.status for name, one in comparison.found.items()},
            }
            for agent, comparison in compared.items()
        }
    return answer


def _others(text: str | None) -> str | int | None:
    """How the others act, as `infer_opponent` takes it."""
    if text is None or text in ("observed", "equilibrium"):
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    raise GameError(
        f"--others is '{text}'",
        hint="observed, equilibrium, or how many steps they think: 0, 1, ...",
    )
