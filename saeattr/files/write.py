"""Texts and tables written whole or not at all; those of a study are listed with their SHA-256."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saeattr.digests import hashed
from saeattr.errors import UserError
from saeattr.files.read import row_groups
from saeattr.files.sums import SUMS, UNFINISHED, folder_sums, listed, sums_text
from saeattr.tables import Table


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame | pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file whole or not at all; ``metadata`` goes into its schema."""
    arrow = pa.Table.from_pandas(table, preserve_index=False) if isinstance(table, pd.DataFrame) else table
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **(metadata or {})})
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd", write_page_checksum=True)


def write_tables(folder: Path, tables: Mapping[Table, pd.DataFrame]) -> None:
    """Write tables for other programs too: each under its name, as Parquet and CSV, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    for table, rows in tables.items():
        write_table(folder / f"{table.name}.parquet", rows)
        write_text(folder / f"{table.name}.csv", rows.to_csv(index=False))


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """List files outside of a study with their SHA-256, beside them: what reads one of them again checks it."""
    write_text(folder / SUMS, sums_text({name: [hashed(folder / name)] for name in names}))


def write_part(
    folder: Path, tables: Mapping[str, pd.DataFrame | Sequence[Path]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write all tables of a group's stage at once: the folder appears, or is replaced, when every table is written.

    The SHA-256 of each lies beside them.

    Args:
        tables: by name; of one that is too large to be held, the folders whose tables of that name make it up.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
        try:
            for name, table in tables.items():
                path = temporary / f"{name}.parquet"
                if isinstance(table, pd.DataFrame):
                    write_table(path, table, metadata)
                else:
                    join_parts(path, table, metadata or {})
            (temporary / SUMS).write_text(folder_sums(temporary), encoding="utf-8")
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
                for part in row_groups(folder / path.name, table):
                    # The text columns of a part without rows have no type: it is written if there is no other.
                    if not part.num_rows and (writer is not None or folder != parts[-1]):
                        continue
                    if writer is None:
                        schema = part.schema.with_metadata({**(part.schema.metadata or {}), **metadata})
                        writer = pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True)
                    writer.write_table(part.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    Of a study's file the SHA-256 is listed (``saeattr.files.sums``).

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Processes on several machines may have the same id.
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            yield temporary
            with listed(path, temporary):
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
