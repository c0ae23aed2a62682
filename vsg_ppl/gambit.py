"""Gambit's files of one-shot games (``.nfg``), read without Gambit.

The format, in its two kinds, is that of Gambit's manual, "The strategic game (.nfg) file format".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, prod
from pathlib import Path
from typing import NoReturn

import torch

from vsg_ppl.errors import GameError
from vsg_ppl.models.arrays import ArrayGame, matrix_game

# In a quoted text \" is a quotation mark; any other backslash is itself.
TOKEN = re.compile(r'(?P<text>"(?:\\"|[^"])*+")|(?P<brace>[{}])|(?P<word>[^\s{},"]+)')
NUMBER = re.compile(r"[+-]?(\d+/\d+|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)")
WHOLE = re.compile(r"\d{1,9}")


def read_nfg(path: str | Path) -> ArrayGame:
    """The game in a ``.nfg`` file: one step, one state, players as agents, strategies as actions.

    Both kinds of the format are read: a list of payoffs, and a list of outcomes with a number for
    each joint strategy. Numbers are whole, decimal or rational (1/3), and rounded once, to float64;
    a comma is a space. A player or strategy without a name goes by its number, from 1.

    Args:
        path: of the file.

    Raises:
        GameError: not such a file, cut short, or with two players or two strategies of one name;
            it says in which line.
        OSError: the file cannot be read.

    >>> import tempfile, vsg_ppl as vsg
    >>> with tempfile.NamedTemporaryFile("w", suffix=".nfg") as file:
    ...     _ = file.write('NFG 1 R "Pennies" { "Eve" "Odd" } { 2 2 } 1 -1 -1 1 -1 1 1 -1')
    ...     file.flush()
    ...     game = read_nfg(file.name)
    >>> game.agents, game.rewards[0, 0].tolist()
    (('Eve', 'Odd'), [[1.0, -1.0], [-1.0, 1.0]])
    """
    path = Path(path)
    try:
        source = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise GameError(f"{path.name} is not text in UTF-8") from error
    return _Reader(path.name, source).game()


@dataclass(frozen=True)
class _Token:
    kind: str  # text, brace, word or end
    value: str
    at: int

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 30 else self.value[:27] + "..."
        if self.kind == "text":
            return f'the text "{shown}"'
        return "the end of the file" if self.kind == "end" else f"'{shown}'"


class _Reader:
    """Goes through a file token by token; every complaint says where."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source, self.next = name, source, 0
        self.tokens: list[_Token] = []
        reached = 0
        for match in TOKEN.finditer(source):
            self._check_gap(reached, match.start())
            kind, value = str(match.lastgroup), match.group()
            if kind == "text":
                value = value[1:-1].replace('\\"', '"')
            self.tokens.append(_Token(kind, value, match.start()))
            reached = match.end()
        self._check_gap(reached, len(source))
        self.tokens.append(_Token("end", "", len(source.rstrip())))

    def game(self) -> ArrayGame:
        """The whole file."""
        if self.peek.value != "NFG" or self.peek.kind != "word":
            self.fail("a file of a one-shot game begins with NFG", self.peek)
        self.take()
        version, numbers = self.take(), self.take()
        if version.value != "1":
            self.fail("expected version 1 of the format", version)
        if numbers.value not in ("R", "D"):
            self.fail("expected R or D, the kind of numbers", numbers)
        title = self.text("the game's title, in quotation marks")
        at = self.peek
        players = self.names("player")
        self.check_distinct(players, "players", at)
        strategies = self.strategies(players)
        sizes = [len(names) for names in strategies]
        if self.peek.kind == "text":
            self.take()  # a comment
        by_outcome = self.peek.value == "{" and self.peek.kind == "brace"
        payoffs = (self.outcomes if by_outcome else self.payoffs)(len(players), prod(sizes))
        if self.peek.kind != "end":
            what = "outcome numbers" if by_outcome else "payoffs"
            strategic = " × ".join(map(str, sizes))
            self.fail(f"the {what} of all {strategic} joint strategies are given", self.peek)
        # the first player's strategies count fastest, in an array they are the slowest dimension
        backwards = list(range(len(sizes)))[::-1]
        arrays = torch.tensor(payoffs, dtype=torch.float64).T.reshape(-1, *sizes[::-1])
        return matrix_game(
            *(array.permute(backwards) for array in arrays),
            agents=players,
            labels=strategies,
            name=title or self.name,
        )

    def strategies(self, players: list[str]) -> list[list[str]]:
        """Each player's strategies, from a list of lists of names or a list of numbers."""
        self.brace("{", "the list of strategies")
        found: list[list[str]] = []
        start = self.peek
        while self.peek.value != "}" or self.peek.kind != "brace":
            at = self.peek
            if at.kind == "brace":
                names = self.names("strategy")
                whose = f" of '{players[len(found)]}'" if len(found) < len(players) else ""
                self.check_distinct(names, f"strategies{whose}", at)
            else:
                count = self.whole("a number of strategies, or their names in braces")
                if count > len(self.tokens):  # before a list of names is made
                    self.fail("the file has fewer payoffs than this player has strategies", at)
                names = [str(k + 1) for k in range(count)]
            if not names:
                self.fail("a player needs at least one strategy", at)
            found.append(names)
        self.take()
        if len(found) != len(players):
            self.fail(f"strategies of {len(found)} players, and {len(players)} are named", start)
        return found

    def payoffs(self, players: int, contingencies: int) -> list[list[float]]:
        """A payoff for each player, for each joint strategy in order."""
        rows = []
        for row in range(contingencies):
            if self.peek.kind != "word":
                self.fail(f"payoffs of {row} of {contingencies} joint strategies", self.peek)
            rows.append([self.number(f"payoff {i + 1} of {players}") for i in range(players)])
        return rows

    def outcomes(self, players: int, contingencies: int) -> list[list[float]]:
        """The same from a list of outcomes, then a number of one for each; 0 is no payoffs."""
        known = [[0.0] * players]
        self.brace("{", "the list of outcomes")
        while self.peek.value != "}" or self.peek.kind != "brace":
            self.brace("{", "an outcome, or } after the last")
            self.text("the outcome's name, in quotation marks")
            known.append([self.number(f"payoff {i + 1} of {players}") for i in range(players)])
            self.brace("}", f"the end of the outcome after {players} payoffs")
        self.take()
        rows = []
        for row in range(contingencies):
            at = self.peek
            if at.kind != "word":
                self.fail(f"outcomes of {row} of {contingencies} joint strategies", at)
            k = self.whole("the number of an outcome")
            if k >= len(known):
                self.fail(f"there are {len(known) - 1} outcomes", at)
            rows.append(known[k])
        return rows

    def names(self, what: str) -> list[str]:
        """Texts in braces; an empty one becomes its number."""
        self.brace("{", f"the list of {what} names")
        found: list[str] = []
        while self.peek.kind == "text":
            found.append(self.take().value or str(len(found) + 1))
        if not found:
            self.fail(f"expected a {what}'s name, in quotation marks", self.peek)
        self.brace("}", f"another {what} or the end of the list")
        return found

    def check_distinct(self, names: Sequence[str], what: str, at: _Token) -> None:
        """A name stands for one player, or for one strategy of a player."""
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise GameError(
                f"{self._place(at.at)}: two {what} are named '{twice}'", hint="rename one of them."
            )

    @property
    def peek(self) -> _Token:
        """The token to be read next."""
        return self.tokens[self.next]

    def take(self) -> _Token:
        """Read one token; the end can be read again and again."""
        token = self.peek
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def brace(self, which: str, what: str) -> None:
        """Read a brace."""
        if self.peek.kind != "brace" or self.peek.value != which:
            self.fail(f"expected '{which}': {what}", self.peek)
        self.take()

    def text(self, what: str) -> str:
        """Read a text in quotation marks."""
        if self.peek.kind != "text":
            self.fail(f"expected {what}", self.peek)
        return self.take().value

    def whole(self, what: str) -> int:
        """Read a whole number, 0 or more."""
        if self.peek.kind != "word" or not WHOLE.fullmatch(self.peek.value):
            self.fail(f"expected {what}", self.peek)
        return int(self.take().value)

    def number(self, what: str) -> float:
        """Read a payoff."""
        token = self.peek
        if token.kind != "word" or not NUMBER.fullmatch(token.value):
            self.fail(f"expected {what}, a number such as 2, 0.5 or 1/3", token)
        try:
            value = float(Fraction(token.value) if "/" in token.value else token.value)
        except (ZeroDivisionError, OverflowError, ValueError):
            value = float("nan")
        if not isfinite(value):
            self.fail("this payoff is not a finite number", token)
        self.take()
        return value

    def fail(self, message: str, token: _Token) -> NoReturn:
        """Raise, with the place."""
        raise GameError(f"{self._place(token.at)}: {message}; found {token}")

    def _check_gap(self, start: int, end: int) -> None:
        """Between tokens there are spaces and commas; anything else is a text that never ends."""
        gap = self.source[start:end]
        if gap.strip(" \t\r\n\v\f,"):
            at = start + len(gap) - len(gap.lstrip(" \t\r\n\v\f,"))
            raise GameError(f"{self._place(at)}: this quotation mark is never closed")

    def _place(self, at: int) -> str:
        line = self.source.count("\n", 0, at) + 1
        column = at - (self.source.rfind("\n", 0, at) + 1) + 1
        return f"{self.name}, line {line}, column {column}"
