"""What the metadata of a stored part say it is: of which group and study, and what it was made of.

A part whose SHA-256 fits may still lie in the wrong place: copied from another study or another group's folder, or made
of pairs that have been made anew since. Its own metadata tell.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from saeattr.errors import UserError
from saeattr.files import SUMS, advice, read_metadata, read_stored_text, sha256_of
from saeattr.settings import recorded_settings
from saeattr.study.folder import StudyFolder

PLACE, STUDY, MADE_OF, GROUP_NAME = "saeattr.place", "saeattr.study", "saeattr.made_of", "saeattr.group"


def place_marks(study: StudyFolder, folder: Path, group: str, saes: bool, sites: bool) -> dict[str, str]:
    """Where a part belongs: to its folder, its group and its study.

    Args:
        saes: whether its numbers depend on the settings of SAEs; sites: and on which SAEs of which sites.
    """
    place = folder.relative_to(study.root).as_posix()
    return {PLACE: place, GROUP_NAME: group, STUDY: study_mark(study, saes, sites)}


def study_mark(study: StudyFolder, saes: bool = True, sites: bool = True) -> str:
    """Changes with everything in study.yaml that numbers depend on; blank without one.

    Raises:
        UserError: study.yaml is damaged.
    """
    if not study.record_path.exists():
        return ""
    return _study_mark(read_stored_text(study.record_path), saes, sites)


@functools.lru_cache(maxsize=64)
def _study_mark(text: str, saes: bool, sites: bool) -> str:
    return mark_of(yaml.safe_load(text), saes, sites)


def mark_of(record: Mapping[str, Any], saes: bool, sites: bool) -> str:
    """``study_mark`` of a record."""
    parts = [
        recorded_settings(record).identity(saes),
        record["model"]["sha256"] or record["model"]["name"],
        record.get("pairs"),
        record.get("inputs"),
        record.get("saes") if sites else None,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def made_of(study: StudyFolder, folders: Iterable[Path], files: Iterable[Path]) -> str:
    """The sums of the parts and files that something is made of, as far as they are there, as text."""
    found = {folder: folder / SUMS for folder in folders} | {file: file for file in files}
    there = {what: path for what, path in found.items() if path.is_file()}
    return json.dumps({what.relative_to(study.root).as_posix(): sha256_of(path) for what, path in there.items()})


def check_place(study: StudyFolder, path: Path, marks: Mapping[str, str]) -> None:
    """Refuse a table that is of another group or study than its folder says.

    Raises:
        UserError: it is damaged, or another's.
    """
    known = read_metadata(path)
    if any(known.get(name) != value for name, value in marks.items()):
        told = f"it says {known[PLACE]}" if PLACE in known and known[PLACE] != marks[PLACE] else "of another study"
        raise UserError(f"{path} is not what belongs there ({told}): {advice(path)}")
