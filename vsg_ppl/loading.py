"""Find the game that someone names: bundled, in a Python file, or in a Gambit file.

The data's way: `load_game` tells the three apart; `_run` runs a Python file; `_choose` picks the
game that is defined there; `_make` reads its parameters from text and makes it.
"""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import difflib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints
from zlib import crc32

from vsg_ppl.errors import GameError

if TYPE_CHECKING:
    from vsg_ppl.game import Game

FILE = re.compile(r"(?P<file>.*\.(?P<kind>py|nfg))(:(?P<name>.*))?", re.DOTALL)
MEMBERS = ("agents", "initial", "step")


def load_game(
    spec: str, parameters: Mapping[str, str] | None = None, *, learnt: bool = False
) -> Game:
    """The game of this name, with parameters given as text.

    Args:
        spec: a name in `vsg_ppl.models.GAMES`; or a Python file, ``FILE.py``, or ``FILE.py:NAME``
            where it defines several games, NAME being a class, an instance, or a function that
            needs no arguments; or a Gambit file, ``FILE.nfg``.
        parameters: text for some of the parameters: fields of a dataclass, or arguments of a
            constructor or function. It is read as the annotated type.
        learnt: whether bundled games that can only be learnt, of `CONTINUOUS_GAMES`, are meant too.

    Raises:
        GameError: no such game, several, or one that cannot be made; parameters that it does not
            have or cannot read.

    >>> load_game("stag_hunt", {"discount": "0.5"})
    StagHunt(discount=0.5)
    """
    parameters = parameters or {}
    parts = FILE.fullmatch(spec)
    if parts is None:
        return _bundled(spec, parameters, learnt)
    path, name = Path(parts["file"]), parts["name"]
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise GameError(f"the file {path} {what}", hint=_others_like(path))
    if parts["kind"] == "nfg":
        return _from_nfg(path, name, parameters)
    with _neighbours_of(path):
        module, tree = _run(path)
        chosen, target = _choose(module, tree, path, name)
        return _make(target, chosen, parameters, path)


def game_file(spec: str) -> Path | None:
    """The Python file that a specification names, if it does."""
    parts = FILE.fullmatch(spec)
    return Path(parts["file"]) if parts is not None and parts["kind"] == "py" else None


def line_at_fault(error: BaseException, path: Path) -> int | None:
    """The line of a file from which an error, or else one of its causes, was raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SyntaxError) and cause.filename == str(path):
            return cause.lineno
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if frame.filename == str(path):
                return frame.lineno
        cause = cause.__cause__
    return None


def with_line(error: BaseException, path: Path) -> GameError:
    """The error in one sentence that begins with the file and, where it is known, the line."""
    line = line_at_fault(error, path)
    where = f"{path.name}: " if line is None else f"{path.name}, line {line}: "
    if isinstance(error, GameError):
        text, hint = _apart(error)
        return GameError(text if text.startswith(path.name) else where + text, hint=hint)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return GameError(f"{where}this is not Python ({error.msg})")
    text = str(error).strip()
    return GameError(where + type(error).__name__ + (f": {text.splitlines()[0]}" if text else ""))


def _apart(error: GameError) -> tuple[str, str | None]:
    """The text of an error without its hint, and the hint."""
    text = str(error)
    return (text.removesuffix(f" Try: {error.hint}") if error.hint else text), error.hint


# --- Parameters, from text ---


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a game.

    Attributes:
        name: of the field or argument.
        kind: its type, as annotated; else that of its default; ``Any`` if neither says.
        default: `inspect.Parameter.empty` when there is none.
    """

    name: str
    kind: Any
    default: Any

    def read(self, text: str, owner: str) -> Any:
        """The value that the text stands for; raises `GameError` when it is of another type."""
        try:
            return _read(text, self.kind)
        except (ValueError, LookupError):
            raise GameError(
                f"the parameter '{self.name}' of {owner} is {expected(self.kind)}, not {text!r}"
            ) from None


def parameters_of(target: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a class or function that makes games.

    >>> from vsg_ppl.models import BattleOfTheSexes
    >>> [(p.name, p.kind.__name__, p.default) for p in parameters_of(BattleOfTheSexes)]
    [('favourite', 'float', 2.0), ('other', 'float', 1.0)]
    """
    annotated: Any = target
    if isinstance(target, type) and not dataclasses.is_dataclass(target):
        annotated = inspect.getattr_static(target, "__init__")
    if annotated is object.__init__:
        return []
    try:
        hints = get_type_hints(annotated)
    except Exception:  # an annotation that means nothing at run time
        hints = {}
    found = []
    for name, argument in inspect.signature(target).parameters.items():
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            kind = hints.get(name, Any)
            if kind is Any and isinstance(argument.default, bool | int | float | str):
                kind = type(argument.default)
            found.append(Parameter(name, kind, argument.default))
    return found


def expected(kind: Any) -> str:
    """A type in words.

    >>> expected(int), expected(float | None), expected(tuple[float, float])
    ('a whole number', 'a number or none', '2 numbers separated by commas')
    """
    inside = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(expected, inside))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, inside))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(kind.__members__)
    if _sequence(kind) is not None:
        many = {int: "whole numbers", str: "texts"}.get(inside[0] if inside else float, "numbers")
        fixed = _sequence(kind) is tuple and inside and ... not in inside
        return f"{len(inside)} {many} separated by commas" if fixed else f"{many}, with commas"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    words |= {NoneType: "none", Any: "a number or a text"}
    return words.get(kind, f"a {getattr(kind, '__name__', kind)}, which no text can be")


def _read(text: str, kind: Any) -> Any:
    """A text as a value of a type; raises `ValueError`."""
    inside = get_args(kind)
    if kind is Any or get_origin(kind) in (Union, UnionType):
        # narrow types first: any text is a str, and a choice may have a "none" of its own
        order = (Literal, NoneType, bool, int, float)
        inside = (int, float, str) if kind is Any else inside
        kinds = [(get_origin(k) or k, k) for k in inside]
        for _, k in sorted(kinds, key=lambda pair: (*order, pair[0]).index(pair[0])):
            with suppress(ValueError, LookupError):
                return _read(text, k)
    elif get_origin(kind) is Literal:
        return {str(option): option for option in inside}[text]
    elif isinstance(kind, type) and issubclass(kind, Enum):
        return kind[text]
    elif (make := _sequence(kind)) is not None:
        items = text.strip().strip("()[]").split(",")
        items = items[:-1] if not items[-1].strip() else items
        fixed = make is tuple and inside and ... not in inside
        inside = inside if fixed else (inside or (float,))[:1] * len(items)
        return make(_read(item.strip(), k) for item, k in zip(items, inside, strict=True))
    elif kind is str:
        return text
    elif kind is int:
        return int(text)
    elif kind is float and float(text) - float(text) == 0:  # finite
        return float(text)
    elif kind is bool and text.lower() in ("true", "yes", "1", "false", "no", "0"):
        return text.lower() in ("true", "yes", "1")
    elif kind is NoneType and text.lower() == "none":
        return None
    raise ValueError


def _sequence(kind: Any) -> type | None:
    """Whether to make a tuple or a list for a type; ``None`` for neither."""
    origin = get_origin(kind) or kind
    if origin is list:
        return list
    return tuple if origin in (tuple, collections.abc.Sequence) else None


# --- Bundled games and Gambit's ---


def _bundled(name: str, parameters: Mapping[str, str], learnt: bool) -> Game:
    from vsg_ppl.models import CONTINUOUS_GAMES, GAMES

    games = GAMES | CONTINUOUS_GAMES if learnt else GAMES
    if name in games:
        return _make(games[name], name, parameters, None)
    if Path(name + ".py").is_file():
        raise GameError(f"no game is named '{name}'", hint=f"{name}.py, for your file.")
    if Path(name).exists():
        raise GameError(f"{name} is not a Python file (.py) or a Gambit file (.nfg)")
    plain = {re.sub("[^a-z0-9]", "", known): known for known in games}
    close = difflib.get_close_matches(re.sub("[^a-z0-9]", "", name.lower()), plain, n=3)
    near = ", or ".join(plain[match] for match in close)
    raise GameError(
        f"no game is named '{name}'",
        hint=(f"{near}. " if near else "") + "`vsg games` lists those that come with the library; "
        "FILE.py names one of your own.",
    )


def _from_nfg(path: Path, name: str | None, parameters: Mapping[str, str]) -> Game:
    from vsg_ppl.gambit import read_nfg

    if name is not None:
        raise GameError(f"a Gambit file holds one game, without a name '{name}'", hint=f"{path}")
    if parameters:
        raise GameError(f"a Gambit file has no parameters, and '{next(iter(parameters))}' is set")
    return read_nfg(path)


def _others_like(path: Path) -> str | None:
    """Files of similar names, to suggest."""
    try:
        names = [other.name for other in path.parent.iterdir() if other.suffix in (".py", ".nfg")]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, names)
    return ", or ".join(str(path.with_name(name)) for name in close) or None


# --- Games in a Python file ---


@contextmanager
def _neighbours_of(path: Path) -> Iterator[None]:
    """Let a file import what lies beside it, as a program that is run can."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _run(path: Path) -> tuple[ModuleType, ast.Module]:
    """The module that a file makes, and its source as a tree."""
    full = str(path.resolve())
    module = ModuleType(f"_vsg_{path.stem}_{crc32(full.encode()):08x}")
    module.__file__ = full
    sys.modules[module.__name__] = module  # where a dataclass looks for its annotations
    try:
        tree = ast.parse(path.read_bytes(), str(path))
        exec(compile(tree, str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise with_line(error, path) from error
    return module, tree


def _choose(module: ModuleType, tree: ast.Module, path: Path, name: str | None) -> tuple[str, Any]:
    """The named game of a file, or its only one; with its name."""
    here = {key: vars(module)[key] for key in _defined(tree) if key in vars(module)}
    found = _games(here)
    if name is not None:
        if not hasattr(module, name):
            known = ", ".join(found) or "none"
            raise GameError(
                f"{path} has no '{name}'; its games: {known}", hint=_choices(path, found)
            )
        return name, getattr(module, name)
    if not found:
        raise GameError(f"{path} defines no game: {_nearest(here)}", hint=_makers(path, here))
    if len(found) > 1:
        raise GameError(
            f"{path} defines several games: {', '.join(found)}", hint=_choices(path, found)
        )
    return next(iter(found.items()))


def _games(here: Mapping[str, Any]) -> dict[str, Any]:
    """The games among what a file defines: instances, classes of none of these, else factories."""
    public = {name: thing for name, thing in here.items() if not name.startswith("_")}
    made = {name: thing for name, thing in public.items() if _is_game(thing)}
    used = {type(thing) for thing in made.values()}
    classes = {
        name: thing for name, thing in public.items() if _is_game_class(thing) and thing not in used
    }
    found = made | classes
    if not found:
        found = {name: thing for name, thing in public.items() if _is_factory(thing)}
    once: dict[int, str] = {}
    for name, thing in found.items():
        once.setdefault(id(thing), name)
    return {name: found[name] for name in public if name in once.values()}


def _defined(tree: ast.AST) -> Iterator[str]:
    """The names that a file itself binds at its top, in order; imported ones are not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda | ast.AsyncFunctionDef):
            yield from _defined(node)


def _is_game(thing: Any) -> bool:
    if isinstance(thing, type):
        return False
    # first the class, so that no property is run
    return all(hasattr(type(thing), member) or hasattr(thing, member) for member in MEMBERS)


def _is_game_class(thing: Any) -> bool:
    # the agents may be set by the constructor
    return (
        isinstance(thing, type)
        and all(hasattr(thing, member) for member in ("initial", "step"))
        and not inspect.isabstract(thing)
        and not getattr(thing, "_is_protocol", False)
    )


def _is_factory(thing: Any) -> bool:
    """A function that says it makes a game, and needs no arguments."""
    from vsg_ppl.game import Game

    if not inspect.isfunction(thing) or any(
        p.default is inspect.Parameter.empty for p in parameters_of(thing)
    ):
        return False
    try:
        made = get_type_hints(thing).get("return")
    except Exception:
        return False
    return made is Game or _is_game_class(made)


def _nearest(here: Mapping[str, Any]) -> str:
    """What comes nearest to a game, and what it lacks."""
    for name, thing in here.items():
        if isinstance(thing, type) and any(hasattr(thing, m) for m in ("initial", "step")):
            lacks = [f"`{m}`" for m in ("initial", "step") if not hasattr(thing, m)]
            if lacks:
                return f"the class {name} has no {lacks[0]}"
    return "no class has `initial` and `step`"


def _makers(path: Path, here: Mapping[str, Any]) -> str:
    """What to try where a file has no game that shows."""
    functions = [name for name, thing in here.items() if inspect.isfunction(thing)]
    if functions:
        return f"{path}:{functions[-1]}, if that function makes the game."
    return "a class with `agents`, `initial` and `step`, as those of `vsg games` are."


def _choices(path: Path, found: Mapping[str, Any]) -> str | None:
    return ", or ".join(f"{path}:{name}" for name in found) or None


def _make(target: Any, name: str, parameters: Mapping[str, str], path: Path | None) -> Game:
    """The game that a class or function makes with these parameters, or an instance with them."""
    makes = isinstance(target, type) or inspect.isroutine(target)
    known = {
        parameter.name: parameter
        for parameter in parameters_of(target if makes else type(target))
        if makes or dataclasses.is_dataclass(target)
    }
    for key in parameters:
        if key not in known:
            raise GameError(
                f"{name} has no parameter '{key}'",
                hint=f"one of {', '.join(known)}." if known else "no `--set`: it has none.",
            )
    values = {key: known[key].read(text, name) for key, text in parameters.items()}
    for key, parameter in known.items():
        if makes and key not in values and parameter.default is inspect.Parameter.empty:
            raise GameError(
                f"{name} needs the parameter '{key}', {expected(parameter.kind)}",
                hint=f"--set {key}=VALUE.",
            )
    try:
        game = target
        if makes:
            game = target(**values)
        elif values:
            game = dataclasses.replace(target, **values)
        lacks = [f"`{member}`" for member in MEMBERS if not hasattr(game, member)]
    except (Exception, SystemExit) as error:
        if path is None:
            raise
        raise with_line(error, path) from error
    if isinstance(game, type) or lacks:
        what = "is a class" if isinstance(game, type) else f"has no {' and no '.join(lacks)}"
        raise GameError(
            f"{name} makes a {type(game).__name__}, which {what}"
            if makes and type(game) is not target
            else f"{name} {what}, so it is no game",
            hint='`agents = ("row", "col")`, and methods `initial` and `step`.',
        )
    return game  # type: ignore[no-any-return]
