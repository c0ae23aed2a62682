"""Which column of a table of play is what, and what the text in it stands for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.observations import UNSEEN
from vsg_ppl.structure import rebuild
from vsg_ppl.table import Actions, Table

MISSING = ("", "NA", "NaN", "nan", "None", "null", "?")
"""What a field holds where an action was not seen."""

WHOLE = re.compile(r"([+-]?\d{1,18})(\.0*)?", re.ASCII)  # 3.0 is how columns with gaps write 3
TIMES = ("time", "step", "timestep", "stage")  # what else people call t
ALIKE, SAME = 0.7, 0.8  # how near a name must be to be suggested; to be taken for misspelt


class Fault(Exception):
    """What is wrong with some row, in which columns, and what to try."""

    def __init__(self, columns: Sequence[str], what: str, hint: str) -> None:
        super().__init__(what)
        named = ", ".join(f"'{column}'" for column in columns)
        self.where = f"column{'s' if len(columns) > 1 else ''} {named}"
        self.hint = hint


class Layout:
    """Where the header has the parts of a row, and how they become numbers.

    Attributes:
        used: the places in the header of all columns that are read.
        episode: the place of the column ``episode``, if there is one.
    """

    def __init__(self, table: Table, file: str, header: Sequence[str]) -> None:
        self.table, self.file = table, file
        self.header = [name.strip() for name in header]
        self.episode, self.t = self._find("episode"), self._find("t")
        self.parts = self._parts()
        found = {
            agent: self._sites(agent, actions)
            for agent, actions in zip(table.agents, table.actions, strict=True)
        }
        self.sites = {agent: sites for agent, sites in found.items() if sites}
        read = [k for k in (self.episode, self.t, *self.parts) if k is not None]
        read += [k for sites in self.sites.values() for k, _ in sites]
        self.used: list[int] = sorted(set(read))
        self._check()

    def numbers(
        self, columns: Mapping[int, Sequence[str]]
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """The states, times and actions of rows, (n,) each; raises `Fault`."""
        states = self._states([columns[k] for k in self.parts], len(columns[self.used[0]]))
        times = torch.zeros_like(states) if self.table.horizon is not None else None
        if self.t is not None:
            times = self._times(columns[self.t], self.header[self.t])
        actions = {}
        for agent, sites in self.sites.items():
            joint = np.zeros(len(states), dtype=np.int64)
            unseen = np.zeros(len(states), dtype=bool)
            for k, numbers in sites:
                done = _mapped(numbers, columns[k])
                unseen |= done == UNSEEN
                joint = joint * numbers.size + done
            joint[unseen] = UNSEEN
            actions[agent] = self._tensor(joint)
        return states, times, actions

    def blame(
        self, lines: Sequence[int], columns: Mapping[int, Sequence[str]], unit: str
    ) -> NoReturn:
        """Raise `GameError` for the first row at fault, found by halving what holds it."""
        low, high = 0, len(lines)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self.numbers({k: values[low:middle] for k, values in columns.items()})
                low = middle
            except Fault:
                high = middle
        try:
            self.numbers({k: values[low:high] for k, values in columns.items()})
        except Fault as fault:
            raise GameError(
                f"{self.file}, {unit} {lines[low]}, {fault.where}: {fault}", hint=fault.hint
            ) from None
        raise AssertionError("no row is at fault")

    def _times(self, texts: Sequence[str], column: str) -> Tensor:
        horizon = self.table.horizon
        last = "" if horizon is None else f" to {horizon - 1}"
        times = _mapped(_Wholes(column, "time", f"whole numbers from 0{last}."), texts)
        bad = times < 0 if horizon is None else (times < 0) | (times >= horizon)
        if bad.any():
            time = int(times[bad][0])
            what, hint = f"the time is {time}", f"whole numbers from 0{last}."
            if time >= 0:
                what += f", and {self.table.name} ends after {horizon} "
                what += "decision" if horizon == 1 else "decisions"
                hint = f"whole numbers from 0{last}; subtract 1 if the file counts from 1."
            if horizon == 1:
                hint = "leaving 't' out: who plays again plays another episode."
            raise Fault([column], what, hint)
        return self._tensor(times)

    def _states(self, texts: Sequence[Sequence[str]], n: int) -> Tensor:
        states = self.table.states
        if not self.parts:
            return torch.zeros(n, dtype=torch.long, device=self.table.device)
        names = [self.header[k] for k in self.parts]
        parts = [
            _mapped(_Wholes(name, "state", "the state as whole numbers."), values)
            for name, values in zip(names, texts, strict=True)
        ]
        found = states.locate(rebuild(states.like, [self._tensor(part) for part in parts]))
        bad = (found < 0).nonzero()
        if len(bad):
            row = [int(part[int(bad[0])]) for part in parts]
            spans = zip(names, row, states.codec.low, states.codec.span, strict=True)
            outside = [
                f"'{name}' from {low} to {low + span - 1}"
                for name, value, low, span in spans
                if not low <= value < low + span
            ]
            raise Fault(
                names,
                f"the state {rebuild(states.like, row)} is not one of the {len(states):,} states "
                "reachable from the initial one",
                f"{', '.join(outside) or f'a state such as {states[0]}'}.",
            )
        return found

    def _tensor(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        return torch.from_numpy(numbers).to(self.table.device)

    # The header:

    def _find(self, *names: str) -> int | None:
        """The place of the first of these names that the header has."""
        for name in names:
            if name in self.header:
                if self.header.count(name) > 1:
                    raise GameError(
                        f"{self.file} has two columns '{name}'", hint="leaving one out."
                    )
                return self.header.index(name)
        return None

    def _parts(self) -> list[int]:
        """The columns of the state's parts; none where there is only one state."""
        names = _state_names(self.table)
        places = [self._find(options[-1], *options) for options in names]
        found = [place for place in places if place is not None]
        if len(found) == len(places):
            return found
        if len(self.table.states) == 1:
            return []
        self._lacks(
            names[places.index(None)][0],
            f"{self.table.name} has {len(self.table.states):,} states, and every row needs its own",
        )

    def _sites(self, agent: str, actions: Actions) -> list[tuple[int, _Numbers]]:
        """The columns of an agent's sites, or the one of its joint actions, or none."""
        others = {"t", "episode", "state", *self.table.agents} - {agent}
        sites = actions.sites if len(actions.sites) > 1 else ()
        names = [[f"action.{site}"] + [site] * (site not in others) for site in sites]
        places = [self._find(*options) for options in names]
        found = [place for place in places if place is not None]
        if found and len(found) == len(sites):
            labelled = zip(found, actions.labels, strict=True)
            return [(k, _Numbers(self.header[k], agent, labels)) for k, labels in labelled]
        joint = self._find(*_agent_names(agent))
        if joint is not None:
            return [(joint, _Numbers(self.header[joint], agent, actions.names()))]
        if found:
            lacks = names[places.index(None)][-1]
            self._lacks(lacks, f"'{agent}' acts at {len(sites)} sites, and only some have a column")
        return []

    def _check(self) -> None:
        """Raise `GameError` where too little is there, or a name that may be misspelt."""
        table = self.table
        if self.t is None and table.horizon is not None and table.horizon > 1:
            self._lacks("t", f"{table.name} has a horizon, and every row needs its time")
        agents = [_agent_names(agent)[-1] for agent in table.agents]
        if not self.sites:
            others = ", nor is another agent's column there" * (len(agents) > 1)
            self._lacks(agents[0], f"nobody is seen to act{others}")
        absent = {"episode": self.episode is None, "t": self.t is None}
        absent |= {
            name: agent not in self.sites for name, agent in zip(agents, table.agents, strict=True)
        }
        for name, lacks in absent.items():
            near = self._near(name, SAME) if lacks else None
            if near is not None:
                raise GameError(
                    f"{self.file} has no column '{name}', but one '{near}'",
                    hint=f"'{name}', if that is meant; if not, another name, or no such column.",
                )

    def _lacks(self, name: str, why: str) -> NoReturn:
        near = self._near(name, ALIKE)
        hint = f"'{name}' in place of '{near}', if that is meant; " if near is not None else ""
        have = ", ".join(f"'{column}'" for column in self.header[:12])
        have += f" and {len(self.header) - 12} more" if len(self.header) > 12 else ""
        raise GameError(
            f"{self.file} has no column '{name}': {why}. It has {have}",
            hint=f"{hint}a header such as {','.join(header_of(self.table))}",
        )

    def _near(self, name: str, cutoff: float) -> str | None:
        """A column not used that is named much like this."""
        known = set(chain.from_iterable(_state_names(self.table))) | {"episode", "t"}
        for agent, actions in zip(self.table.agents, self.table.actions, strict=True):
            known.update(name for part in (agent, *actions.sites) for name in _agent_names(part))
        spare = {column.casefold(): column for column in self.header if column not in known}
        if name == "t":
            others = ("t", *TIMES) if cutoff == ALIKE else ("t",)
            return next((spare[other] for other in others if other in spare), None)
        found = difflib.get_close_matches(name.casefold(), spare, 1, cutoff)
        return spare[found[0]] if found else None


def header_of(table: Table) -> list[str]:
    """The columns of a game's play, as they are written."""
    states = [options[0] for options in _state_names(table)]
    return ["episode", "t", *states, *(_agent_names(agent)[-1] for agent in table.agents)]


def _state_names(table: Table) -> list[list[str]]:
    """For each part of the state the names its column may have, the usual one first."""
    like = table.states.like
    full = _paths(like, "state")
    if len(set(full)) < len(full):
        raise GameError(f"two parts of the states of {table.name} go by one name")
    taken = {"t", "episode", "state", *table.agents}
    taken.update(
        site for actions in table.actions if len(actions.sites) > 1 for site in actions.sites
    )
    names = [["state"] * (len(full) == 1) for _ in full]
    for options, path in zip(names, full, strict=True):
        short = path.removeprefix("state.")
        fields = isinstance(like, dict) or hasattr(like, "_fields")
        options += [short] * (fields and short not in taken)
        options += [path] * (path not in options)
    return names


def _agent_names(agent: str) -> list[str]:
    """The names that an agent's column may have, the usual one last."""
    return [f"action.{agent}"] + [agent] * (agent not in ("t", "episode", "state"))


def _paths(like: Any, path: str) -> list[str]:
    """The parts of a state by name: ``state.position.x``."""
    if like is None:
        return []
    if isinstance(like, dict):
        inside = list(like.items())
    elif isinstance(like, tuple | list):
        inside = list(zip(getattr(like, "_fields", range(len(like))), like, strict=True))
    else:
        return [path]
    return [name for key, part in inside for name in _paths(part, f"{path}.{key}")]


# --- Text as numbers ---


class _Wholes(dict[str, int]):
    """Whole numbers by their text, each text read once."""

    def __init__(self, column: str, what: str, hint: str) -> None:
        super().__init__()
        self.column, self.what, self.hint = column, what, hint

    def __missing__(self, text: str) -> int:
        plain = text.strip()
        whole = WHOLE.fullmatch(plain)
        if whole is None:
            what, hint = f"{plain!r} is not a whole number", self.hint
            what += " of at most 18 digits" * (len(plain) > 18)
            if plain in MISSING:
                what, hint = f"the {self.what} is missing", "filling it in, or leaving the row out."
            raise Fault([self.column], what, hint)
        self[text] = int(whole[1])
        return self[text]


class _Numbers(dict[str, int]):
    """Numbers of an agent's actions, or of those at one of its sites, by their text."""

    def __init__(self, column: str, agent: str, names: Sequence[str]) -> None:
        super().__init__((text, UNSEEN) for text in MISSING)
        self.update((str(k), k) for k in range(len(names)))
        self.update((name.strip(), k) for k, name in reversed(list(enumerate(names))))
        self.column, self.agent, self.names, self.size = column, agent, names, len(names)

    def __missing__(self, text: str) -> int:
        plain = re.sub(r"\s*,\s*", ",", text.strip())
        whole = WHOLE.fullmatch(plain)
        key = str(int(whole[1])) if whole else plain
        if key not in self:
            self._fail(plain)
        self[text] = self[key]
        return self[text]

    def _fail(self, text: str) -> NoReturn:
        folded = {name.casefold(): name for name in self.names}
        near = difflib.get_close_matches(text.casefold(), folded, 1)
        hint = f"{folded[near[0]]}, or another of " if near else "one of "
        shown = [name for name in self.names[:9] if not near or name != folded[near[0]]]
        hint += ", ".join(shown) + ", ..." * (self.size > 9)
        raise Fault(
            [self.column],
            f"'{self.agent}' has no action {text!r}",
            f"{hint}, or a number from 0 to {self.size - 1}; nothing where it was not seen.",
        )


def _mapped(numbers: dict[str, int], texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))
