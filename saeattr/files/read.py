"""Tables read whole or in part, with a clear word where they are damaged: what is damaged is not read at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saeattr.errors import UserError
from saeattr.files.sums import advice, check_whole, is_stored
from saeattr.tables import Table


def read_metadata(path: Path) -> dict[str, str]:
    """What ``write_table`` was given as metadata (and what pandas adds); nothing where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    if not is_stored(path):
        return {}
    with _parquet_errors(path):
        return {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}


def read_table(path: Path, table: Table | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, all of it or some columns.

    Args:
        table: what it must be.

    Raises:
        UserError: it is missing, damaged, or not that table.
    """
    with _parquet_errors(path):
        if table is not None:
            table.check(pq.read_schema(path), str(path), columns)
        names = None if columns is None else list(columns)
        return pd.read_parquet(path, columns=names, page_checksum_verification=True)


def iter_rows(path: Path, columns: Sequence[str], batch: int = 256) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, ``batch`` of them in memory; those of ``columns`` that it has.

    Raises:
        UserError: it is missing or damaged.
    """
    with _parquet_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        for part in file.iter_batches(batch, columns=there):
            yield from part.to_pylist()


def read_rows(path: Path, columns: Sequence[str] | None = None, **wanted: object) -> pd.DataFrame:
    """The rows of a Parquet file whose columns have the wanted values (a list: one of them); the others are not held.

    Args:
        columns: those read; all by default.

    Raises:
        UserError: it is missing or damaged.
    """
    filters = [(name, "in" if isinstance(value, list) else "=", value) for name, value in wanted.items()]
    names = None if columns is None else list(columns)
    with _parquet_errors(path):
        return pq.read_table(path, columns=names, filters=filters, page_checksum_verification=True).to_pandas()


def row_groups(path: Path, table: Table | None) -> Iterator[pa.Table]:
    """The row groups of a file, one after the other; one without rows of a file that has none.

    Raises:
        UserError: it is missing, damaged, or not that table.
    """
    with _parquet_errors(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        if table is not None:
            table.check(file.schema_arrow, str(path))
        if not file.num_row_groups:
            yield file.schema_arrow.empty_table()
        for number in range(file.num_row_groups):
            with _parquet_errors(path):
                part = file.read_row_group(number)
            yield part


def read_stored_text(path: Path) -> str:
    """A text file.

    Raises:
        UserError: it is missing or damaged.
    """
    check_whole(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): {advice(path)}") from error


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Refuses a damaged file before it is read; and what goes wrong in reading a Parquet file, in one line."""
    check_whole(path)
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run saeattr attribute into this folder first") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file: {advice(path)}") from error
