"""The study folder: tables and records written whole or not at all, topic by topic, so that work can resume."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from saeattr.errors import UserError

FORMAT = 1

#: Parts of study.yaml that may differ when a study goes on: topics are added, libraries are updated.
NOT_COMPARED = ("topics", "versions")


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk.

    ``topics/SLUG/TABLE.parquet`` holds what attributing one topic gave, ``validation/SLUG/TABLE.parquet`` what
    validating it gave, ``generation/SLUG/TABLE.parquet`` what its lists became under ablation; ``TABLE.parquet`` joins
    the topics. ``lists/SLUG.parquet`` holds the sampled lists; the folder ``lists`` opens as a Hugging Face dataset.
    """

    root: Path

    @property
    def record_path(self) -> Path:
        return self.root / "study.yaml"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def lists_path(self, slug: str) -> Path:
        return self.root / "lists" / f"{slug}.parquet"

    def topic_folder(self, slug: str) -> Path:
        return self.root / "topics" / slug

    def validation_folder(self, slug: str) -> Path:
        return self.root / "validation" / slug

    def generation_folder(self, slug: str) -> Path:
        return self.root / "generation" / slug

    def table_path(self, table: str) -> Path:
        return self.root / f"{table}.parquet"


def open_study(root: Path, record: Mapping[str, Any]) -> StudyFolder:
    """Make the folder, or open it if it holds a study with the same ``record`` (settings and fingerprints).

    Raises:
        UserError: the folder cannot be written, is not a study, or holds a study that differs (and where).
    """
    study = StudyFolder(root)
    if study.record_path.exists():
        differences = list(_differences(read_record(study), record))
        if differences:
            raise UserError(
                f"{root} holds a study with other settings ({'; '.join(differences)}): "
                "give the same settings, or another folder with --out"
            )
        return study
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} exists and is not a study folder: give another folder with --out")
    with _disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    write_record(study, record)
    return study


def read_record(study: StudyFolder) -> dict[str, Any]:
    """study.yaml.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        record = yaml.safe_load(study.record_path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{study.root} is not a study folder: it has no study.yaml") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{study.record_path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{study.record_path} is not the record of a study that this version can read")
    return record


def write_record(study: StudyFolder, record: Mapping[str, Any]) -> None:
    write_text(study.record_path, yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file whole or not at all; ``metadata`` goes into its schema."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **(metadata or {})})
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_metadata(path: Path) -> dict[str, str]:
    """What ``write_table`` was given as metadata (and what pandas adds); nothing where there is no such file."""
    if not path.exists():
        return {}
    return {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, all of it or some columns.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run saeattr attribute into this folder first") from error
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file: delete it and run again") from error


def write_part(folder: Path, tables: Mapping[str, pd.DataFrame], metadata: Mapping[str, str] | None = None) -> None:
    """Write all tables of a topic's stage at once: the folder appears, or is replaced, when every table is written."""
    with _disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        try:
            for name, table in tables.items():
                write_table(temporary / f"{name}.parquet", table, metadata)
            os.chmod(temporary, 0o755)
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def join_parts(path: Path, parts: Sequence[Path], metadata: Mapping[str, str]) -> None:
    """Write a table from the topics' parts, one row group a topic, without holding them all in memory."""
    with replacing(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for folder in parts:
                part = pq.read_table(folder / path.name)
                if writer is None:
                    schema = part.schema.with_metadata({**(part.schema.metadata or {}), **metadata})
                    writer = pq.ParquetWriter(temporary, schema, compression="zstd")
                writer.write_table(part.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(study: StudyFolder) -> None:
    """Delete what an interrupted run left under temporary names."""
    for leftover in study.root.glob("*/.unfinished-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in study.root.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): free space or choose another folder with --out"
        ) from error


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where two records differ, as ``settings.lists is 10 there and 5 here``."""
    if isinstance(old, dict) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if not where and key in NOT_COMPARED:
                continue
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    elif old != new:
        yield f"{where} is {old!r} there and {new!r} here"
