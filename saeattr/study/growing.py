"""More pairs into a study that is there: those it has are kept, and whatever was made of them is made again of all.

Groups can be compared while each has as many pairs as the others, so all of them grow. The tables go first and the
record follows: whatever stops in between leaves a study whose tables are all of as many pairs as its record says, or
are missing. What is still to be made again stands in the record until it is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.errors import UserError
from saeattr.files import disk_errors, remove_stored
from saeattr.study.folder import StudyFolder, differences, read_record, write_record
from saeattr.study.prepare import Prepared
from saeattr.study.run import STAGES
from saeattr.study.stage import Stage


def grows(study: StudyFolder, prepared: Prepared) -> bool:
    """Whether the folder holds the same study with fewer drawn pairs.

    Raises:
        UserError: it holds more than are asked for.
    """
    if not study.record_path.exists() or not prepared.behaviour.draws_pairs(prepared.settings):
        return False
    known = read_record(study)
    there, asked = known["settings"]["n_pairs"], prepared.settings.n_pairs
    if there == asked or list(differences(_with_pairs(known, asked), prepared.record)):
        # Where other settings differ too, it is another study, and opening it says so.
        return False
    if asked < there:
        raise UserError(
            f"{study.root} holds {there} {prepared.behaviour.unit}s of each group and {asked} are asked for: give "
            f"--lists {there} or more, or another folder with --out"
        )
    return True


def grow(root: Path, prepared: Prepared) -> None:
    """Where ``root`` holds the same study with fewer drawn pairs, let it take more: only the pairs' sources are kept.

    Raises:
        UserError: it holds more than are asked for, or cannot be written.
    """
    study = StudyFolder(root)
    if not grows(study, prepared):
        return
    known, asked = read_record(study), prepared.settings.n_pairs
    there = known["settings"]["n_pairs"]
    before = known.get("growing", {"n_pairs": there, "stages": []})
    stages = [stage.name for stage in STAGES if (root / stage.name).exists() or stage.name in before["stages"]]
    with disk_errors(root):
        _forget(study)
    write_record(study, {**_with_pairs(known, asked), "growing": {"n_pairs": before["n_pairs"], "stages": stages}})


def with_grown(prepared: Prepared, study: StudyFolder, stages: Sequence[Stage]) -> tuple[Prepared, list[str]]:
    """All groups of a study that is growing, those asked among them; and what a reader should know, one line each.

    Args:
        stages: those that are wanted now.
    """
    record = read_record(study)
    growing = record.get("growing")
    if growing is None:
        return prepared, []
    groups = tuple(dict.fromkeys([*record["groups"], *prepared.groups]))
    unit, had = prepared.behaviour.unit, growing["n_pairs"]
    told = [
        f"{study.root} held {had} {unit}s of each group and grows to {prepared.settings.n_pairs}: those {had} are "
        f"kept, and what was made of them is made again for {', '.join(groups)}"
    ]
    lost = set(growing["stages"]) - {stage.name for stage in stages} - _MADE_ON_THE_WAY
    if lost:
        told.append(f"what was made of {had} {unit}s is gone, and its own command makes it again: {_in_order(lost)}")
    return dataclasses.replace(prepared, groups=groups), told


#: Stages that others call for.
_MADE_ON_THE_WAY = {"pairs", "test_pairs", "selection"}


def _in_order(names: set[str]) -> str:
    return ", ".join(stage.name for stage in STAGES if stage.name in names)


def _with_pairs(record: dict[str, Any], n_pairs: int) -> dict[str, Any]:
    return {**record, "settings": {**record["settings"], "n_pairs": n_pairs}}


def _forget(study: StudyFolder) -> None:
    """Remove what was made of the pairs, the joined tables first: they would otherwise speak of what is gone."""
    for stage in STAGES:
        for table in stage.joined:
            remove_stored(study.table_path(table.name))
    for file in (study.table_path("overlap"), study.root / "report.html", study.plan_path, study.notes_path):
        remove_stored(file)
    for folder in (study.figures, *(study.root / stage.name for stage in STAGES)):
        remove_stored(folder)
