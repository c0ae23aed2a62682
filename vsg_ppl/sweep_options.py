"""What the method and the game of a sweep are told, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from vsg_ppl.errors import GameError
from vsg_ppl.loading import Parameter, parameters_of
from vsg_ppl.mai import Cooling
from vsg_ppl.methods import METHODS
from vsg_ppl.settings import Settings
from vsg_ppl.sweep_backends import text_of

TAKEN = ("plays", "seed", "progress", "checkpoint", "every", "watch", "watch_every")
"""Options of methods that are not a sweep's."""


def options_of(method: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options of a method, read as their types.

    Defaults are left to the method, which may choose them by the game.
    """
    if method not in METHODS:
        raise GameError(f"the method is {method!r}", hint=f"one of {', '.join(METHODS)}.")
    known = {p.name: p for p in (*parameters_of(Settings), *parameters_of(METHODS[method]))}
    for name in ("game", *TAKEN):
        known.pop(name, None)
    for name in given:
        if name in TAKEN:
            hint = "`seeds` and `batch`, at the top." if name in ("plays", "seed") else None
            raise GameError(f"options.{name} is not for a sweep to set", hint=hint)
        if name not in known:
            hint = f"one of {', '.join(known)}."
            raise GameError(f"`{method}` has no option '{name}'", hint=hint)
    options = {name: _value(known[name], value, method) for name, value in given.items()}
    shared = {part.name for part in dataclasses.fields(Settings)}
    Settings(**{name: value for name, value in options.items() if name in shared})
    return options


def parameters_in(game: Any) -> dict[str, Any]:
    """Fields of a game that JSON can say, so that a default that is spelt out changes no key."""
    found = {}
    for part in dataclasses.fields(game) if dataclasses.is_dataclass(game) else ():
        value = getattr(game, part.name, None)
        if isinstance(value, bool | int | float | str | None) or (
            isinstance(value, list | tuple)
            and all(isinstance(x, bool | int | float | str) for x in value)
        ):
            found[part.name] = value
    return found


def source_of(path: str) -> str:
    """What is in the file of a game."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise GameError(f"cannot read the game {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise GameError(f"{path} is not Python in UTF-8") from None


def _value(parameter: Parameter, value: Any, method: str) -> Any:
    if not isinstance(value, dict):
        return parameter.read(text_of(value), f"`{method}`")
    if not any(get_origin(kind) is Callable for kind in get_args(parameter.kind)):
        raise GameError(f"options.{parameter.name} is a table", hint="a value.")
    known = {part.name: part for part in parameters_of(Cooling)}
    for name in value:
        if name not in known:
            raise GameError(
                f"options.{parameter.name} has no '{name}'", hint=f"{', '.join(known)}."
            )
    read = {name: known[name].read(str(x), parameter.name) for name, x in value.items()}
    return dataclasses.asdict(Cooling(**read))
