"""What a sweep runs: its specification, read and checked, and the runs that it has."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from vsg_ppl.errors import GameError
from vsg_ppl.loading import FILE
from vsg_ppl.sweep_backends import load
from vsg_ppl.sweep_options import options_of, parameters_in, source_of


@dataclass(frozen=True)
class Run:
    """Experiments that are computed at once.

    Attributes:
        settings: in JSON values: version of the library, whose defaults hold for what is not said;
            the method and its options, the game and its parameters, and the seeds.
        axes: the values of the sweep's axes.
        given: parameters of the game, as TOML has them.
        path: of the game's file, if it has one.
        source: what is in it.
    """

    settings: Mapping[str, Any]
    axes: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    source: str = ""

    @cached_property
    def key(self) -> str:
        """A name that no other settings have: 20 digits of their SHA-256."""
        return hashlib.sha256(compact(self.settings, sort_keys=True).encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to run: the product of settings and seeds.

    In a TOML file::

        method = "mai"            # mai, masql, maddpg, iddpg or sac
        game = "differential"     # or routing; or a Python file, from the TOML file's folder
        seeds = 24                # 0 to 23; or a list of them
        batch = 24                # seeds that are computed at once; 1 by default
        above = 9.0               # optional: a final reward above it counts as a success

        [game_options]            # parameters of the game
        horizon = 25

        [options]                 # options of the method
        hidden = [64, 64]
        temperature = {first = 500.0, last = 0.1, rate = 0.1}    # as of `Cooling`

        [grid]                    # the axes: every list here is one, and nothing else is
        method = ["mai", "sac"]
        game_options.width = [3.0, 1.7320508]
        options.gamma = [0.0, 0.95]

    Attributes:
        method: of `METHODS`.
        game: the name of a bundled game, or a Python file.
        seeds: how many, or which.
        batch: how many seeds are computed at once. The first of them seeds the random numbers of
            all, so seed 5 of a batch is not seed 5 alone.
        above: a final reward that counts as a success.
        game_options: parameters of the game.
        options: of the method. A number by episode may be a table with the parts of `Cooling`.
        grid: lists of values by the name of the axis: "method", "game", "game_options.NAME" or
            "options.NAME".
        folder: where a game's file is looked for.

    Raises:
        GameError: no method, game or seeds, an axis without values.

    >>> spec = Sweep(game="differential", seeds=4, batch=2, grid={"method": ["mai", "sac"]})
    >>> [(run.axes["method"], run.settings["seeds"]) for run in spec.runs()]
    [('mai', [0, 1]), ('mai', [2, 3]), ('sac', [0, 1]), ('sac', [2, 3])]
    """

    method: str | None = None
    game: str | None = None
    seeds: int | Sequence[int]
    batch: int = 1
    above: float | None = None
    game_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    folder: Path = Path()

    def __post_init__(self) -> None:
        for name in ("game_options", "options", "grid"):
            if not isinstance(getattr(self, name), Mapping):
                raise GameError(f"{name} is no table", hint=f"[{name}], and a line for each.")
        for name in ("method", "game"):
            _check_name(name, getattr(self, name), name in self.grid)
        for axis, values in self.grid.items():
            self._check_axis(axis, values)
        seeds: Any = self.seeds
        seeds = list(range(seeds)) if _whole(seeds) else seeds
        if not isinstance(seeds, list | tuple) or not all(_whole(s) and s >= 0 for s in seeds):
            raise GameError(f"seeds is {self.seeds!r}", hint="seeds = 24, or seeds = [0, 1, 5].")
        if not seeds:
            raise GameError(f"seeds is {self.seeds}: there is nothing to run", hint="seeds = 24.")
        if len(set(seeds)) < len(seeds):
            raise GameError("a seed is listed twice")
        object.__setattr__(self, "seeds", tuple(seeds))
        if not _whole(self.batch) or self.batch < 1:
            raise GameError(f"batch is {self.batch!r}; it counts seeds, so at least 1 is needed")
        if self.above is not None and not isinstance(self.above, int | float):
            raise GameError(f"above is {self.above!r}, not a number")

    @staticmethod
    def read(path: str | Path) -> Sweep:
        """The sweep of a TOML file.

        Raises:
            GameError: no such file, not TOML, or not a sweep.
        """
        path = Path(path)
        try:
            spec = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GameError(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:  # of TOML, or of UTF-8
            raise GameError(f"{path} is not TOML: {error}") from None
        known = [part.name for part in dataclasses.fields(Sweep) if part.name != "folder"]
        for key in spec:
            if key not in known:
                hint = f"{', '.join(known)}; what the method is told goes under [options]."
                raise GameError(f"{path} sets '{key}', which a sweep has not", hint=hint)
        if "seeds" not in spec:
            raise GameError(f"{path} has no seeds", hint="seeds = 24.")
        if isinstance(spec.get("grid"), dict):
            spec["grid"] = dict(_flat(spec["grid"]))
        return Sweep(**spec, folder=path.parent)

    def runs(self) -> list[Run]:
        """All runs, in the order of the grid and the seeds.

        Raises:
            GameError: an unknown method, game or option; a value of the wrong type; a setting that
                is there twice.
        """
        seeds: Any = self.seeds
        batches = [list(seeds[i : i + self.batch]) for i in range(0, len(seeds), self.batch)]
        runs: dict[str, Run] = {}
        for values in product(*self.grid.values()):
            for run in self._runs_at(dict(zip(self.grid, values, strict=True)), batches):
                if run.key in runs:
                    raise GameError(
                        f"the grid has a setting twice: {_words(run.axes)}", hint="each value once."
                    )
                runs[run.key] = run
        return list(runs.values())

    def to_dict(self) -> dict[str, Any]:
        """What a TOML file would say, in JSON values."""
        parts = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        del parts["folder"]
        return json.loads(compact(parts))  # type: ignore[no-any-return]

    def _runs_at(self, values: Mapping[str, Any], batches: list[list[int]]) -> Iterator[Run]:
        """The runs at one point of the grid."""
        chosen: dict[str, Any] = {
            "method": self.method,
            "game": self.game,
            "game_options": dict(self.game_options),
            "options": dict(self.options),
        }
        for axis, value in values.items():
            part, _, name = axis.partition(".")
            (chosen[part] if name else chosen)[name or part] = value
        options = options_of(chosen["method"], chosen["options"])
        given, path, source = chosen["game_options"], None, ""
        settings = {"version": version("vsg_ppl"), "method": chosen["method"]}
        settings["game"] = chosen["game"]
        parts = FILE.fullmatch(chosen["game"])
        if parts is not None and parts["kind"] == "py":
            path = str((self.folder / parts["file"]).resolve())
            source = source_of(path)
            # a file may be moved, and must not be changed
            settings["game"] = Path(chosen["game"]).name
            settings["source"] = hashlib.sha256(source.encode()).hexdigest()
        game = load(chosen["game"], given, path, source)
        settings |= {"game_options": given | parameters_in(game), "options": options}
        for seeds in batches:
            plain = json.loads(compact(settings | {"seeds": seeds}))
            axes = dict(values)
            for axis in axes:
                part, _, name = axis.partition(".")
                axes[axis] = plain[part][name] if name else values[axis]
            yield Run(plain, axes, given, path, source)

    def _check_axis(self, axis: str, values: Any) -> None:
        part, _, name = axis.partition(".")
        if (part not in ("options", "game_options") or not name) and axis not in ("method", "game"):
            raise GameError(
                f"the grid has an axis '{axis}'",
                hint="method, game, options.NAME or game_options.NAME.",
            )
        if not isinstance(values, list | tuple) or not values:
            raise GameError(
                f"the axis {axis} is {values!r}, not a list of values",
                hint=f"{axis} = {compact([values])}." if isinstance(values, str) else None,
            )
        if name and name in getattr(self, part):
            raise GameError(f"{axis} is set in the grid and outside", hint="one of the two.")


def compact(value: Any, **options: Any) -> str:
    """JSON without spaces.

    >>> compact({"seeds": [0, 1]})
    '{"seeds":[0,1]}'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False, **options)


def _check_name(name: str, value: Any, axis: bool) -> None:
    if axis and value is not None:
        raise GameError(f"{name} is set in the grid and outside", hint="one of the two.")
    if isinstance(value, list):
        raise GameError(f"{name} is a list", hint=f"{name} = {compact(value)} under [grid].")
    if not axis and not isinstance(value, str):
        hint = '"mai".' if name == "method" else '"differential".'
        raise GameError(f"the sweep has no {name}", hint=f"{name} = {hint}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flat(grid: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Axes by dotted names, of the tables that TOML makes of these."""
    for name, values in grid.items():
        if isinstance(values, dict):
            yield from ((f"{name}.{inner}", found) for inner, found in values.items())
        else:
            yield name, values


def _words(axes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {compact(value)}" for name, value in axes.items())
