"""The study folder: tables and records written whole or not at all, group by group, so that work can resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saeattr.errors import UserError
from saeattr.files import (
    UNLISTED,
    advice,
    check_ordinary,
    check_whole,
    disk_errors,
    fault,
    is_stored,
    read_stored_text,
    write_text,
)
from saeattr.settings.yaml_files import FAULTS
from saeattr.study.lock import is_content

FORMAT = 5

#: Parts of study.yaml that may differ when a study goes on: groups are added, libraries are updated, and the label is
#: that of the pairs once there are some.
NOT_COMPARED = ("groups", "versions", "metric_label", "source", "growing", "chosen_by")

#: What the parts of study.yaml are, where they are there.
_TYPES: dict[str, type] = {
    "settings": dict,
    "model": dict,
    "metric_label": str,
    "versions": dict,
    "groups": list,
    "saes": dict,
    "pairs": dict,
    "source": str,
    "inputs": dict,
    "growing": dict,
    "chosen_by": list,
}


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk.

    ``STAGE/SLUG/TABLE.parquet`` holds what a stage gave for one group (``saeattr.study.stage``), ``TABLE.parquet``
    joins the groups. ``lists/SLUG.parquet`` holds the sampled lists; that folder opens as a Hugging Face dataset.
    """

    root: Path

    @property
    def record_path(self) -> Path:
        return self.root / "study.yaml"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def lists(self) -> Path:
        return self.root / "lists"

    @property
    def given_path(self) -> Path:
        """The user's own pairs, as they were read."""
        return self.root / "given.jsonl"

    @property
    def plan_path(self) -> Path:
        return self.root / "plan.json"

    @property
    def notes_path(self) -> Path:
        """What a reader should know (``study.notes``)."""
        return self.root / "notes.json"

    def table_path(self, table: str) -> Path:
        return self.root / f"{table}.parquet"


def open_study(root: Path, record: Mapping[str, Any]) -> StudyFolder:
    """Make the folder, or open it if it holds a study with the same ``record`` (settings and fingerprints).

    Raises:
        UserError: the folder cannot be written, is not a study, or holds a study that differs (and where).
    """
    study = StudyFolder(root)
    if study.record_path.exists():
        known = read_record(study)
        check_record(study, known, record)
        if _of_saes(record) and not _of_saes(known):
            kept = {key: known[key] for key in ("groups", "metric_label", "growing", "chosen_by") if key in known}
            write_record(study, {**record, **kept})
        return study
    check_place(root)
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    write_record(study, record)
    return study


def check_record(study: StudyFolder, known: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Refuse to go on with a study under another record.

    Args:
        known: the study's own.

    Raises:
        UserError: they differ, and where.
    """
    found = list(differences(known, record))
    if found:
        raise UserError(
            f"{study.root} holds a study with other settings ({'; '.join(found)}): "
            "give the same settings, or another folder with --out"
        )


def check_place(root: Path) -> None:
    """Refuse to make a study where something else is.

    Raises:
        UserError: it is a file, or a folder that holds something and no study.
    """
    if root.is_dir():
        taken = not is_stored(StudyFolder(root).record_path) and any(map(is_content, root.iterdir()))
    else:
        taken = root.exists()
    if taken:
        raise UserError(f"{root} exists and is not a study folder: give another folder with --out")


def read_record(study: StudyFolder) -> dict[str, Any]:
    """study.yaml.

    Raises:
        UserError: it is missing or damaged, or the folder holds what is no file.
    """
    path = study.record_path
    check_ordinary(study.root)
    found = fault(path)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        check_whole(path)
        raise UserError(f"{study.root} is not a study folder: it has no study.yaml") from error
    except (OSError, *FAULTS) as error:
        check_whole(path)
        raise UserError(f"{path} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    known = record.get("format") if isinstance(record, dict) else None
    if is_earlier(known, found):
        raise UserError(
            f"{path} is of format {known}, which an earlier version wrote, and this one reads format "
            f"{FORMAT}: make the study again with another --out"
        )
    if found is not None:
        check_whole(path)
    if known != FORMAT:
        raise UserError(f"{path} is not the record of a study that this version can read")
    for name, kind in _TYPES.items():
        if name in record and not isinstance(record[name], kind):
            raise UserError(f"{path} has {name} as {type(record[name]).__name__}: {advice(path)}")
    return record


def is_earlier(known: object, found: str | None) -> bool:
    """Whether a record of the format ``known`` is an earlier version's, and not damaged (``found``: its fault)."""
    return isinstance(known, int) and 0 < known < FORMAT and found in (None, UNLISTED)


def write_record(study: StudyFolder, record: Mapping[str, Any]) -> None:
    write_text(study.record_path, yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True))


def read_plan(study: StudyFolder) -> dict[str, Any]:
    """plan.json; nothing where the study has none.

    Raises:
        UserError: it is damaged.
    """
    path = study.plan_path
    if not is_stored(path):
        return {}
    try:
        plan = json.loads(read_stored_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {advice(path)}") from error
    if not isinstance(plan, dict) or not all(isinstance(plan.get(name, {}), dict) for name in ("sites", "groups")):
        raise UserError(f"{path} is not the plan of a study: {advice(path)}")
    return plan


def remove_leftovers(study: StudyFolder) -> None:
    """Delete what an interrupted run left under temporary names."""
    for leftover in study.root.rglob(".unfinished-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in study.root.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def differences(known: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    """Where two records of one study may not differ and do, as ``settings.n_pairs is 10 there and 5 here``."""
    return _differences(*_comparable(known, record))


def _comparable(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two records as far as both speak of it.

    What needs no SAE says nothing of SAEs and of their features; which SAEs they are is known once they are chosen.
    """
    names = set(old["settings"]) | set(new["settings"])
    shared = names if _of_saes(old) == _of_saes(new) else old["settings"].keys() & new["settings"].keys()
    left = set() if "saes" in old and "saes" in new else {"saes"}

    def part(record: Mapping[str, Any]) -> dict[str, Any]:
        settings = {name: value for name, value in record["settings"].items() if name in shared}
        return {key: value for key, value in record.items() if key not in left} | {"settings": settings}

    return part(old), part(new)


def _of_saes(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a study with SAEs, chosen or to be chosen."""
    return "saes" in record["settings"]


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where two records differ, as ``settings.n_pairs is 10 there and 5 here``."""
    if isinstance(old, dict) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if not where and key in NOT_COMPARED:
                continue
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    elif old != new:
        yield f"{where} is {old!r} there and {new!r} here"
