"""Tables in files, CSV or Parquet, by chunks of rows as columns of text."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol, TypeAlias

from vsg_ppl.errors import GameError, MissingExtra

CHUNK = 100_000
"""Rows that are read at once."""

FEW = 500  # rows that are lists: more of them would keep Python's garbage collector busy

Chunk: TypeAlias = tuple[Sequence[int], Mapping[int, Sequence[str]]]
"""For n rows where each is in the file, and the values of some columns by place in the header."""


class TextColumns(Protocol):
    """A table in an open file.

    Attributes:
        header: the names of all columns.
        unit: what rows are counted in: "line" of the file, from 1, or "row" below the header.
    """

    header: list[str]
    unit: str

    def chunks(self, used: Sequence[int]) -> Iterator[Chunk]:
        """All rows, with the columns at these places."""


@contextmanager
def text_columns(path: Path) -> Iterator[TextColumns]:
    r"""Open a table; in the context, what goes wrong on reading is told in one sentence.

    Args:
        path: of a Parquet file if it ends in ``.parquet`` or ``.pq``, else of a CSV file in UTF-8
            with commas, semicolons or tabs, packed if it ends in ``.gz``.

    Raises:
        GameError: the file cannot be read, or a row has more or fewer fields than the header.
        MissingExtra: a Parquet file, and pyarrow is not installed.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("x;y\n1;2\n3;4\n")
    ...     file.flush()
    ...     with text_columns(Path(file.name)) as table:
    ...         table.header, list(table.chunks([1]))
    (['x', 'y'], [([2, 3], {1: ['2', '4']})])
    """
    if path.is_dir() or not path.exists():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise GameError(f"the file {path} {what}")
    try:
        if is_parquet(path):
            with path.open("rb") as file:
                yield _Parquet(path.name, file)
        else:
            opened = gzip.open if path.suffix.lower() == ".gz" else open
            with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
                yield _Csv(path.name, text)
    except UnicodeDecodeError as error:
        hint = "saving it as UTF-8; a Parquet file is known by a name that ends in .parquet."
        raise GameError(f"{path.name} is not text in UTF-8", hint=hint) from error
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise GameError(f"{path.name} cannot be read: {why}") from error


def is_parquet(path: Path) -> bool:
    """Whether the file is taken for a Parquet file, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


class _Csv:
    """A CSV file."""

    unit = "line"

    def __init__(self, name: str, text: IO[str]) -> None:
        self.name = name
        first = text.readline()
        if not first.strip():
            what = "has an empty first line" if first else "is empty"
            raise GameError(f"{self.name} {what}", hint="a first line that names the columns.")
        self.delimiter = max(
            ",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark)))
        )
        self.reader = csv.reader(
            chain([first], text), delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        self.rows = self._rows()
        self.header = next(self.rows)[1]

    def chunks(self, used: Sequence[int]) -> Iterator[Chunk]:
        """All rows, with the columns at these places."""
        lines: list[int] = []
        columns: dict[int, list[str]] = {k: [] for k in used}
        while rows := list(islice(self.rows, min(CHUNK - len(lines), FEW))):
            numbers, values = zip(*rows, strict=True)
            if any(len(row) != len(self.header) for row in values):
                self._fail_on_width(rows)
            every = list(zip(*values, strict=True))
            lines += numbers
            for k, column in columns.items():
                column += every[k]
            if len(lines) == CHUNK:
                yield lines, columns
                lines, columns = [], {k: [] for k in used}
        if lines:
            yield lines, columns

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows that are not empty, each with the line it begins in."""
        line = 1
        try:
            for row in self.reader:
                if row:
                    yield line, row
                line = self.reader.line_num + 1
        except csv.Error as error:
            raise GameError(
                f"{self.name}, line {line}: {error}",
                hint='a quotation mark (") at both ends of a field, or none.',
            ) from error

    def _fail_on_width(self, rows: list[tuple[int, list[str]]]) -> NoReturn:
        line, row = next(entry for entry in rows if len(entry[1]) != len(self.header))
        mark = "a tab" if self.delimiter == "\t" else f"'{self.delimiter}'"
        raise GameError(
            f"{self.name}, line {line}: {len(row)} field{'s' * (len(row) != 1)}, and the header "
            f"has {len(self.header)}",
            hint=f'quotation marks (") around a field that contains {mark}.'
            if len(row) > len(self.header)
            else f"{mark} before every field but the first, even where an action was not seen.",
        )


class _Parquet:
    """A Parquet file."""

    unit = "row"

    def __init__(self, name: str, file: IO[bytes]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise MissingExtra("pyarrow", "parquet") from None
        self.name, self.arrow = name, pyarrow
        with self._told():
            self.file = parquet.ParquetFile(file)
            self.header: list[str] = self.file.schema_arrow.names

    def chunks(self, used: Sequence[int]) -> Iterator[Chunk]:
        """All rows, with the columns at these places."""
        names, n = [self.header[k] for k in used], 0
        with self._told():
            for batch in self.file.iter_batches(batch_size=CHUNK, columns=names):
                rows = range(n + 1, n + 1 + batch.num_rows)
                yield rows, {k: self._text(batch, self.header[k]) for k in used}
                n += batch.num_rows

    def _text(self, batch: Any, name: str) -> list[str]:
        column = batch.column(name)
        try:
            texts: list[str] = column.cast(self.arrow.string()).fill_null("").to_pylist()
        except self.arrow.ArrowException:
            raise GameError(
                f"{self.name}: the column '{name}' is of type {column.type}",
                hint="whole numbers or text.",
            ) from None
        return texts

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.arrow.ArrowException as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GameError(f"{self.name} cannot be read: {why}") from error
