"""From the options of the command line to the arguments of the library; nothing imports torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from vsg_ppl.errors import GameError
from vsg_ppl.schedule import Annealing

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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", "--no-progress", help="Show no progress.")]

OPTION_OF = {
    "`max_steps`": "--max-steps",
    "`temperature`": "--temperature",
    "`initial`": "--seed",
    "`method`": "--method",
    "`learning_rate`": "--learning-rate",
    "`steps`": "--steps",
    "`samples`": "--samples",
    "`warmup`": "--warmup",
    "`lapse`": "--lapse",
    "method='exact'": "--method exact",
    'method="path"': "--method exact-nash",
    "`method='exact_nash'`": "--method exact-nash",
    "`method='nash'`": "--method nash",
    "`method='correlated'`": "--method correlated",
    "`target_gap`": "--target-gap",
    "`signals=2`": "--signals 2",
    'signal="given"': "--signal given",
    "`seed=0`": "--seed 0",
    "`seed`": "--seed",
    "`concept='mean_field'`": "--concept mean-field",
    "`concept='nash'`": "--concept nash",
}
"""What the library's advice says, and what the command line calls it."""

AMONG_AGENTS = ("factorisation", "entropy", "step", "objective", "signals", "signal")
AMID_A_CROWD = ("move_prior", "learning_rate", "population")
CROWD_METHODS = ("exact", "algorithm4", "fictitious-play", "mirror-descent", "svi")


def advice(message: str) -> str:
    """A message of the library in the words of the command line.

    >>> advice("raise `max_steps`, or another `method`")
    'raise --max-steps, or another --method'
    """
    for argument, flag in OPTION_OF.items():
        message = message.replace(argument, flag)
    return message


@dataclass(frozen=True)
class SolverOptions:
    """The options of ``vsg solve``; ``None`` for what is not given.

    Raises:
        GameError: a value that no game allows.
    """

    temperature: float | None = None
    anneal_to: float | None = None
    target_gap: float | None = None
    factorisation: str | None = None
    entropy: str | None = None
    step: str | None = None
    max_steps: int | None = None
    tolerance: float | None = None
    seed: int | None = None
    concept: str | None = None
    objective: str | None = None
    signals: int | None = None
    signal: str | None = None
    method: str | None = None
    move_prior: int | None = None
    learning_rate: float | None = None
    population: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, example in (
            ("temperature", "0.01"),
            ("anneal_to", "0.01"),
            ("target_gap", "0.01"),
            ("tolerance", "1e-9"),
            ("learning_rate", "0.1"),
        ):
            value = getattr(self, name)
            check_positive(name, value, example)
        for name in ("max_steps", "move_prior", "signals"):
            check_count(name, getattr(self, name))
        for n in self.population:
            if n < 1:
                raise GameError(f"--population is {n}; at least 1 agent is needed")
        start, stop = self.temperature, self.anneal_to
        if start is not None and stop is not None and start < stop:
            raise GameError(
                f"the temperature would rise from {start:g} to {stop:g}",
                hint="--anneal-to below --temperature.",
            )
        _step(self.step)
        if self.seed is not None and self.factorisation == "conditional":
            raise GameError(
                "--seed draws marginal policies, and conditional ones do not start from them",
                hint="leave --seed out, or --factorisation marginal.",
            )

    def among_agents(self, game: str) -> dict[str, Any]:
        """Arguments of `solve`; raises `GameError` for options that no solver of it has."""
        self._refuse(AMID_A_CROWD, "mean-field games", f"{game} is not one")
        if self.method in CROWD_METHODS:
            raise GameError(
                f"--method {self.method} is for mean-field games, and {game} is not one",
                hint="no --method, or one of the others.",
            )
        cooling = self.temperature is not None or self.anneal_to is not None
        arguments: dict[str, Any] = {
            "concept": self.concept and str(self.concept).replace("-", "_"),
            "method": self.method and str(self.method).replace("-", "_"),
            "temperature": self._schedule() if cooling else None,
            "target_gap": None if cooling else self.target_gap,
            "factorisation": self.factorisation and str(self.factorisation),
            "entropy": self.entropy and str(self.entropy),
            "step": None if self.step is None else _step(self.step),
            "objective": self.objective,
            "signals": self.signals,
            "signal": self.signal and str(self.signal),
            "max_steps": self.max_steps,
            "tolerance": self.tolerance,
            "seed": self.seed,
        }
        return {key: value for key, value in arguments.items() if value is not None}

    def amid_a_crowd(self, game: str) -> dict[str, Any]:
        """Arguments of `mean_field_nash`; raises `GameError` for options that it does not have."""
        self._refuse(AMONG_AGENTS, "games among agents", f"{game} is a mean-field game")
        if self.concept not in (None, "mean-field"):
            raise GameError(
                f"--concept is {self.concept}, and {game} is a mean-field game",
                hint="no --concept.",
            )
        if self.method not in (None, *CROWD_METHODS):
            raise GameError(
                f"--method {self.method} is for games among agents, and {game} is a mean-field "
                "game",
                hint=f"{', '.join(CROWD_METHODS)}.",
            )
        method = str(self.method or "exact")
        soft = self.temperature is not None or self.anneal_to is not None
        for name, wanted in (("move_prior", "algorithm4"), ("learning_rate", "mirror-descent")):
            if getattr(self, name) is not None and method != wanted:
                raise GameError(
                    f"{option(name)} is for --method {wanted}, and the method is {method}",
                    hint=f"--method {wanted}.",
                )
        if method in ("algorithm4", "svi") and not soft:
            raise GameError(
                f"--method {method} climbs a soft objective, and needs a temperature",
                hint="--temperature 0.1; or --method exact for the equilibrium itself.",
            )
        if method in ("fictitious-play", "mirror-descent") and self.anneal_to is not None:
            raise GameError(
                f"--method {method} stays at one temperature", hint="--temperature alone."
            )
        if self.target_gap is not None and self.tolerance is not None:
            raise GameError(
                "--target-gap and --tolerance are one thing in a mean-field game, the "
                "exploitability to reach",
                hint="one of the two.",
            )
        if self.target_gap is not None and soft and self.move_prior is None:
            raise GameError(
                "--target-gap is on the exploitability, which a temperature keeps from vanishing",
                hint="no temperature; or --tolerance, on the regularised exploitability.",
            )
        arguments: dict[str, Any] = {
            "temperature": self.temperature
            if self.anneal_to is None
            else Annealing(start=self.temperature, stop=self.anneal_to),
            "method": method.replace("-", "_"),
            "move_prior": self.move_prior,
            "max_steps": self.max_steps,
            "tolerance": self.target_gap or self.tolerance,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }
        return {key: value for key, value in arguments.items() if value is not None}

    def _refuse(self, names: Sequence[str], kind: str, why: str) -> None:
        for name in names:
            if getattr(self, name) not in (None, ()):
                flag = option(name)
                raise GameError(f"{flag} is for {kind}, and {why}", hint=f"without {flag}.")

    def _schedule(self) -> float | Annealing:
        start, stop, gap = self.temperature, self.anneal_to, self.target_gap
        if stop is not None:
            return Annealing(start=start, stop=stop, target_gap=gap)
        assert start is not None
        if gap is not None:
            raise GameError(
                "--target-gap stops a temperature that falls, and --temperature alone is a fixed "
                "one",
                hint="leave one of the two out, or add --anneal-to.",
            )
        return start


def assignments(settings: Sequence[str] | None) -> dict[str, str]:
    """The texts that ``--set NAME=VALUE`` gives."""
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


def check_positive(name: str, value: float | None, example: str) -> None:
    """Raise `GameError` for an option that is given and not a positive number."""
    if value is not None and not (isfinite(value) and value > 0):
        hint = f"{option(name)} {example}."
        raise GameError(f"{option(name)} is {value:g}; it must be positive", hint=hint)


def check_count(name: str, value: int | None) -> None:
    """Raise `GameError` for an option that is given and below 1."""
    if value is not None and value < 1:
        raise GameError(f"{option(name)} is {value}; at least 1 is needed")


def check_writable(folder: Path, *, create: bool = True) -> None:
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


def option(name: str) -> str:
    """What the command line calls an argument.

    >>> option("max_steps")
    '--max-steps'
    """
    return "--" + name.replace("_", "-")


def _step(text: str | None) -> Any:
    if text is None or text in ("adaptive", "monotone", "safe"):
        return text or "adaptive"
    try:
        beta = float(text)
    except ValueError:
        beta = float("nan")
    if not 0 < beta <= 1:
        raise GameError(
            f"--step is '{text}'", hint="adaptive, monotone, safe, or a number in (0, 1]."
        )
    return beta
