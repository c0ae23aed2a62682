"""Tables written for other programs: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write rows of the same columns beside each other as CSV and Parquet.

    Args:
        path: without an ending.
        rows: at least one, values by column.

    Returns:
        The names of the files.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     names = write_rows(Path(folder) / "curves", [{"episode": 1, "reward": -2.5}])
    ...     (Path(folder) / "curves.csv").read_text().splitlines()
    ['episode,reward', '1,-2.5']
    """
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    written = []
    for ending, content in (("csv", as_csv(columns)), ("parquet", as_parquet(columns))):
        if content is not None:
            place = path.with_name(f"{path.name}.{ending}")
            place.write_bytes(content)
            written.append(place.name)
    return written


def as_csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Columns as a CSV file, with their names in the first line."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def as_parquet(columns: Mapping[str, Sequence[Any]]) -> bytes | None:
    """The same as a Parquet file, ``None`` where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(dict(columns)), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
