"""Games from and to Gambit: its ``.nfg`` files, and `pygambit.Game`.

Format: Gambit's manual, "The strategic game (.nfg) file format"; as in `vsg_ppl.gambit`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.gambit import read_nfg
from vsg_ppl.game import Game
from vsg_ppl.models.arrays import ArrayGame, matrix_game
from vsg_ppl.table import Table
from vsg_ppl.tabulate import allowance, tabulate

LABEL = re.compile(r"[!-~]+( [!-~]+)*")
"""What Gambit takes as a label, from version 16.7 on."""


def from_gambit(source: Any) -> ArrayGame:
    """A game of Gambit's as a program: one step, players as agents, strategies as actions.

    Of a game in extensive form it is the reduced strategic form, with the names that Gambit gives
    its strategies. Payoffs are rounded once, to float64. A player or strategy without a name goes
    by its number, from 1.

    Args:
        source: the path of a ``.nfg`` file, for which pygambit is not needed, or a `pygambit.Game`.

    Raises:
        GameError: the file is none; two players or strategies have one name; a payoff is too large
            for float64, or there are too many.

    >>> import pygambit
    >>> game = from_gambit(pygambit.Game.from_arrays([[1, 0]], [[0, 2]], title="Gift"))
    >>> game.name, game.agents, game.labels, game.rewards[1].tolist()
    ('Gift', ('1', '2'), [['1'], ['1', '2']], [[[0.0, 2.0]]])
    """
    if isinstance(source, str | Path):
        if Path(source).suffix.lower() in (".efg", ".gbt", ".agg", ".bagg"):
            kind = Path(source).suffix.lower()[1:]
            raise GameError(
                f"{Path(source).name} is not a .nfg file",
                hint=f"from_gambit(pygambit.read_{kind}({str(source)!r})).",
            )
        return read_nfg(source)
    if not all(hasattr(source, name) for name in ("players", "to_arrays", "title")):
        raise GameError(
            f"a game of Gambit's is a path or a pygambit.Game, not a {type(source).__name__}"
        )
    players = list(source.players)
    labels = [[str(strategy.label) for strategy in player.strategies] for player in players]
    agents = _named([str(player.label) for player in players], "players")
    labels = [
        _named(names, f"strategies of '{agent}'")
        for agent, names in zip(agents, labels, strict=True)
    ]
    need = 8 * len(agents) * prod(map(len, labels))
    if need > allowance(None):
        raise GameError(f"the payoffs of '{source.title}' would take {need:,} bytes")
    try:
        payoffs = [np.vectorize(float, otypes=[float])(array) for array in source.to_arrays()]
    except OverflowError as error:
        raise GameError(f"a payoff of '{source.title}' is too large for float64") from error
    return matrix_game(
        *map(torch.from_numpy, payoffs),
        agents=agents,
        labels=labels,
        name=source.title or "game",
    )


def to_gambit(game: Game | Table, *, state: Any = None) -> Any:
    """A one-shot game as a `pygambit.Game` in strategic form.

    Payoffs are exact: the fractions that the float64 numbers are. Actions that are not available
    are left out.

    Args:
        game: a game program of one step, or its table.
        state: the state to play in, by its label, where there are several.

    Raises:
        GameError: more than one step, several states and none named, a label that Gambit does not
            take.
        MissingExtra: pygambit is not installed.

    >>> from vsg_ppl.models import PrisonersDilemma
    >>> theirs = to_gambit(PrisonersDilemma())
    >>> [strategy.label for strategy in list(theirs.players)[0].strategies]
    ['COOPERATE', 'DEFECT']
    """
    try:
        import pygambit
    except ImportError:
        raise MissingExtra("pygambit", extra="interop") from None
    shot = _one_shot(game, state)
    texts = [shot.name, *shot.agents, *(label for names in shot.labels for label in names)]
    for text in texts:
        if not LABEL.fullmatch(text):
            raise GameError(
                f"Gambit takes labels of printable ASCII characters and single spaces, and one is "
                f"{text!r}",
                hint="other labels, or `write_nfg`, whose files can have them.",
            )
    exact = np.vectorize(Fraction, otypes=[object])
    theirs = pygambit.Game.from_arrays(*map(exact, shot.payoffs), title=shot.name)
    # first names that no one has, since names must differ at all times
    spare = "_" * (1 + max(map(len, texts)))
    players = list(theirs.players)
    for player, names in zip(players, shot.labels, strict=True):
        strategies = list(player.strategies)
        for k, strategy in enumerate(strategies):
            strategy.label = f"{spare}{k}"
        for strategy, name in zip(strategies, names, strict=True):
            strategy.label = name
    for k, player in enumerate(players):
        player.label = f"{spare}{k}"
    for player, agent in zip(players, shot.agents, strict=True):
        player.label = agent
    return theirs


def write_nfg(game: Game | Table, path: str | Path, *, state: Any = None) -> None:
    """Write a one-shot game to a ``.nfg`` file, without Gambit; `from_gambit` reads it again.

    Payoffs are written with as many digits as float64 needs: what is read again has the same bits.
    Actions that are not available are left out. The text is in UTF-8; Gambit itself reads labels in
    ASCII only, and misreads two backslashes in a row.

    Args:
        game: a game program of one step, or its table.
        path: of the file, which is overwritten.
        state: the state to play in, by its label, where there are several.

    Raises:
        GameError: more than one step, several states and none named, a label that the format cannot
            hold.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> with tempfile.NamedTemporaryFile(suffix=".nfg") as file:
    ...     write_nfg(PrisonersDilemma(), file.name)
    ...     from_gambit(file.name).labels
    [['COOPERATE', 'DEFECT'], ['COOPERATE', 'DEFECT']]
    """
    shot = _one_shot(game, state)
    strategies = "\n".join(f"{{ {_quoted(names)} }}" for names in shot.labels)
    lines = [
        f"NFG 1 R {_quoted([shot.name])} {{ {_quoted(shot.agents)} }}",
        f"{{ {strategies} }}",
        '""',
        "",
    ]
    # the first player's strategies count fastest, as in Fortran
    rows = np.stack([payoff.reshape(-1, order="F") for payoff in shot.payoffs], -1)
    lines += [" ".join(map(_written, row)) for row in rows.tolist()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class _OneShot:
    name: str
    agents: tuple[str, ...]
    labels: list[list[str]]
    payoffs: list[np.ndarray[Any, Any]]  # (A_1, ..., A_N) of each agent


def _one_shot(game: Game | Table, state: Any) -> _OneShot:
    """The payoffs of the actions that are available in the state."""
    table = game if isinstance(game, Table) else tabulate(game)
    if table.horizon != 1:
        steps = "no horizon" if table.horizon is None else f"{table.horizon} steps"
        raise GameError(
            f"Gambit's strategic games are of one step, and {table.name} has {steps}",
            hint="`vsg.to_arrays`, for all of it; or a game of its last step.",
        )
    if table.batched:
        raise GameError(
            f"{table.name} is a batch of {table.batch} games, and one is needed",
            hint="`vsg.from_arrays` of one of them.",
        )
    if state is None and len(table.states) > 1:
        some = ", ".join(map(repr, table.states[:3])) + ", ..." * (len(table.states) > 3)
        raise GameError(
            f"{table.name} has {len(table.states)} states: {some}",
            hint=f"state={table.states[0]!r}, to play in one of them.",
        )
    s = 0 if state is None else int(table.states.index(state))
    free = [(prior[0, 0, s] > -torch.inf).cpu() for prior in table.log_priors]
    labels = []
    for agent, actions, mask in zip(table.agents, table.actions, free, strict=True):
        names = zip(actions.names(), mask.tolist(), strict=True)
        labels.append(_named([name for name, is_free in names if is_free], f"actions of '{agent}'"))
    kept = np.ix_(*(mask.numpy() for mask in free))
    payoffs = [_all(reward, table.sizes, s)[kept] for reward in table.rewards]
    return _OneShot(table.name or "game", table.agents, labels, payoffs)


def _all(reward: Tensor, sizes: tuple[int, ...], s: int) -> np.ndarray[Any, Any]:
    return np.asarray(reward[0, 0, s].expand(sizes).cpu().numpy())


def _named(names: list[str], what: str) -> list[str]:
    """The names, by number where there is none; all must differ."""
    names = [name or str(k + 1) for k, name in enumerate(names)]
    for k, name in enumerate(names):
        if name in names[:k]:
            raise GameError(f"two {what} are named '{name}'", hint="rename one of them.")
    return names


def _quoted(texts: Sequence[str]) -> str:
    """Texts of the format: quotation marks get a backslash, and all else is itself."""
    for text in texts:
        if not text or text.endswith("\\") or "\r" in text or "\0" in text:
            raise GameError(
                f"a .nfg file cannot hold the label {text!r}: it is empty, ends in a backslash or "
                "has a control character",
                hint="another label.",
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise GameError(f"the label {text!r} is no text in UTF-8") from error
    return " ".join('"' + text.replace('"', '\\"') + '"' for text in texts)


def _written(x: float) -> str:
    """The shortest decimal number that is x; Gambit reads no + in exponents."""
    return repr(x).removesuffix(".0").replace("e+", "e")
