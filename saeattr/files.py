"""Texts and tables written whole or not at all, and read with a clear word where they are damaged."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saeattr.errors import UserError
from saeattr.tables import Table

LONGEST_SLUG = 60


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame | pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file whole or not at all; ``metadata`` goes into its schema."""
    arrow = pa.Table.from_pandas(table, preserve_index=False) if isinstance(table, pd.DataFrame) else table
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **(metadata or {})})
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def write_tables(folder: Path, tables: Mapping[Table, pd.DataFrame]) -> None:
    """Write tables for other programs too: each under its name, as Parquet and CSV, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    for table, rows in tables.items():
        write_table(folder / f"{table.name}.parquet", rows)
        write_text(folder / f"{table.name}.csv", rows.to_csv(index=False))


def read_metadata(path: Path) -> dict[str, str]:
    """What ``write_table`` was given as metadata (and what pandas adds); nothing where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
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
        return pd.read_parquet(path, columns=None if columns is None else list(columns))


def iter_rows(path: Path, columns: Sequence[str], batch: int = 256) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, ``batch`` of them in memory; those of ``columns`` that it has.

    Raises:
        UserError: it is missing or damaged.
    """
    with _parquet_errors(path), pq.ParquetFile(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        for part in file.iter_batches(batch, columns=there):
            yield from part.to_pylist()


def write_part(
    folder: Path, tables: Mapping[str, pd.DataFrame | Sequence[Path]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write all tables of a group's stage at once: the folder appears, or is replaced, when every table is written.

    Args:
        tables: by name; of one that is too large to be held, the folders whose tables of that name make it up.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        try:
            for name, table in tables.items():
                path = temporary / f"{name}.parquet"
                if isinstance(table, pd.DataFrame):
                    write_table(path, table, metadata)
                else:
                    join_parts(path, table, metadata or {})
            os.chmod(temporary, 0o755)
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def join_parts(path: Path, parts: Sequence[Path], metadata: Mapping[str, str], table: Table | None = None) -> None:
    """Write a table from its parts, row group by row group, without holding them in memory.

    Args:
        parts: folders with a file of the same name.
        table: what each of them must be.

    Raises:
        UserError: a part is missing, damaged, or not that table, or the disk is full.
    """
    with replacing(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for folder in parts:
                for part in _row_groups(folder / path.name, table):
                    # The text columns of a part without rows have no type: it is written if there is no other.
                    if not part.num_rows and (writer is not None or folder != parts[-1]):
                        continue
                    if writer is None:
                        schema = part.schema.with_metadata({**(part.schema.metadata or {}), **metadata})
                        writer = pq.ParquetWriter(temporary, schema, compression="zstd")
                    writer.write_table(part.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


def _row_groups(path: Path, table: Table | None) -> Iterator[pa.Table]:
    """The row groups of a file, one after the other; one without rows of a file that has none."""
    with _parquet_errors(path):
        file = pq.ParquetFile(path)
    with file:
        if table is not None:
            table.check(file.schema_arrow, str(path))
        if not file.num_row_groups:
            yield file.schema_arrow.empty_table()
        for number in range(file.num_row_groups):
            with _parquet_errors(path):
                part = file.read_row_group(number)
            yield part


def read_rows(path: Path, columns: Sequence[str] | None = None, **wanted: object) -> pd.DataFrame:
    """The rows of a Parquet file whose columns have the wanted values (a list: one of them); the others are not held.

    Args:
        columns: those read; all by default.

    Raises:
        UserError: it is missing or damaged.
    """
    filters = [(name, "in" if isinstance(value, list) else "=", value) for name, value in wanted.items()]
    with _parquet_errors(path):
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=filters).to_pandas()


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """What goes wrong in reading a Parquet file, in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run saeattr attribute into this folder first") from error
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file: delete it and run again") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): free space or choose another folder with --out"
        ) from error


def slug(name: str) -> str:
    """A group's name in file names: lower-case ASCII letters, digits and hyphens, and different for different names.

    Where these alone would not tell the name from another one, ``_`` and a hash of the name follow.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    # Only a name that is spelt out in full goes without a hash: no two of those share a slug.
    if plain and name == plain.replace("-", " ") and len(plain) <= LONGEST_SLUG:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[:LONGEST_SLUG] or 'group'}_{digest}"
