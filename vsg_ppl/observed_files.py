"""Play that was observed, from a table in a file: CSV or Parquet, of any length.

The data's way: `text_columns.py` gives rows by chunks, as columns of text; `observed_columns.py`
makes numbers of them; `_Twice` looks for what is there twice; `Observations` counts.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsg_ppl.errors import GameError
from vsg_ppl.family import TableFamily
from vsg_ppl.observations import Observations
from vsg_ppl.observed_columns import Fault, Layout, header_of
from vsg_ppl.table import Table
from vsg_ppl.text_columns import is_parquet, text_columns

if TYPE_CHECKING:
    from vsg_ppl.game import Game
    from vsg_ppl.simulate import Plays


def read_play(path: str | Path, game: Game | Table) -> Observations:
    r"""Count the play in a file, one row for each step.

    A column is known by its name in the header, and other columns are ignored:

    * ``state``, a whole number; or one column for each part of the state, by the names of its
      fields or keys (``ball``, and ``position.x`` in a part that has parts) or, of a plain tuple,
      ``state.0``, ``state.1``, .... Any part goes by ``state.ball`` too, and must where an agent
      is named ``ball``. A game with one state needs no such column.
    * each agent's action under the agent's name, as a name or number of the action. An agent with
      several sites has a column for each, or one of joint actions (``"LEFT,UP"``). An agent named
      ``t``, ``episode`` or ``state`` goes by ``action.t``; any agent or site may.
    * ``t``, the time from 0. Only a game that takes several decisions until its horizon needs it.
    * ``episode``, any text that tells one play from the next; may be left out.

    An action is not seen where its field is empty, ``NA``, ``NaN``, ``nan``, ``None``, ``null`` or
    ``?``, or where its agent has no column; a joint action where one of its sites is not.

    With both ``episode`` and ``t``, no two of the neighbouring rows of an episode may be of one
    time; gaps and any order are fine. Rows of an episode that come after another episode's are not
    compared with its earlier ones, so the file takes no memory beyond the counts if every episode
    counts its times up by one; else as much as its longest episode needs.

    Args:
        path: of a CSV file in UTF-8, with commas, semicolons or tabs, perhaps packed (``.csv.gz``);
            or of a Parquet file (``.parquet``, ``.pq``), for which pyarrow must be installed.
        game: the game that was played, or its table.

    Raises:
        GameError: a file that cannot be read or has no play in it; columns that are missing; a row
            that is not of this game, with its line in the CSV file (the header being line 1) or
            its number in the Parquet file.
        MissingExtra: a Parquet file, and pyarrow is not installed.

    >>> import tempfile
    >>> from vsg_ppl.models import StagHunt
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("episode,t,state,row,col\n1,0,0,STAG,HARE\n1,1,1,HARE,\n")
    ...     file.flush()
    ...     seen = read_play(file.name, StagHunt())
    >>> seen.counts["row"]
    tensor([[[1., 0.],
             [0., 1.]]], dtype=torch.float64)
    """
    table = game if isinstance(game, Table) else TableFamily(game).table
    path, seen = Path(path), Observations(table)
    with text_columns(path) as source:
        layout = Layout(table, path.name, source.header)
        twice = _Twice(path.name, source.unit)
        for lines, columns in source.chunks(layout.used):
            try:
                states, times, actions = layout.numbers(columns)
            except Fault:
                layout.blame(lines, columns, source.unit)
            if layout.episode is not None and layout.t is not None and times is not None:
                twice.check(columns[layout.episode], times.tolist(), lines)
            seen.add(states=states, times=times, actions=actions)
    if not seen.steps:
        raise GameError(f"{path.name} has {'' if is_parquet(path) else 'a header and '}no rows")
    return seen


def write_play(path: str | Path, plays: Plays) -> None:
    """Write plays as a CSV file (packed if the name ends in ``.gz``) that `read_play` reads.

    Args:
        path: of the file.
        plays: what `simulate` gives.

    Raises:
        GameError: a Parquet file is asked for.
        OSError: the file cannot be written.

    >>> import tempfile, vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> with tempfile.NamedTemporaryFile("r", suffix=".csv") as file:
    ...     write_play(file.name, vsg.nash(PrisonersDilemma()).simulate(2))
    ...     print(file.read().strip())
    episode,t,state,row,col
    0,0,0,DEFECT,DEFECT
    1,0,0,DEFECT,DEFECT
    """
    path, table = Path(path), plays.table
    if is_parquet(path):
        raise GameError(f"{path.name}: plays are written as CSV", hint="a name that ends in .csv.")
    names = {
        agent: np.array(actions.names(), dtype=object)
        for agent, actions in zip(table.agents, table.actions, strict=True)
    }
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header_of(table))
        for k, states in enumerate(plays.states.cpu()):
            parts = table.states.values.cpu()[states].T.tolist()
            done = [
                names[agent][chosen[k].cpu().numpy()] for agent, chosen in plays.actions.items()
            ]
            writer.writerows(zip([k] * len(states), range(len(states)), *parts, *done, strict=True))


class _Twice:
    """Looks for two rows of one time among the neighbouring rows of an episode.

    The rows from the first of the episode on that count time up by one need no memory.
    """

    def __init__(self, file: str, unit: str) -> None:
        self.file, self.unit = file, unit
        self.episode: str | None = None
        self.time = self.line = self.n = 0
        self.others: dict[int, int] = {}

    def check(self, episodes: Sequence[str], times: Sequence[int], lines: Sequence[int]) -> None:
        """Take more rows; raises `GameError` for one that was there before."""
        for episode, time, line in zip(episodes, times, lines, strict=True):
            if episode != self.episode:
                self.episode, self.time, self.line, self.n = episode, time, line, 0
                self.others = {}
            after = time - self.time
            if time in self.others or 0 <= after < self.n:
                before = self.others.get(time, self.line + after)
                raise GameError(
                    f"{self.file}, {self.unit}s {before} and {line}: both are of episode "
                    f"{episode!r} at time {time}",
                    hint="one row for each step; another play is another episode.",
                )
            if after == self.n == line - self.line:
                self.n += 1
            else:
                self.others[time] = line
