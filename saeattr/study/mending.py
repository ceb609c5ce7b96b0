"""What is damaged at the root of a study, made again from what is whole: study.yaml, plan.json, given rows, tables.

study.yaml says what numbers depend on, and so do the metadata of every stored table, by a digest: a command with the
same settings proves itself by them, and writes a damaged study.yaml anew. The tables of stages are looked after by
their stages, lists by the stages that keep them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from saeattr.errors import UserError
from saeattr.files import SUMS, check_ordinary, fault, list_again, listed_sums, read_metadata, remove_stored
from saeattr.settings.yaml_files import FAULTS
from saeattr.study.folder import StudyFolder, is_earlier, read_record, write_record
from saeattr.study.marks import GROUP_NAME, MADE_OF, STUDY, mark_of
from saeattr.study.memory import note_sites
from saeattr.study.pairs import MakingPairs, store_given
from saeattr.study.prepare import Prepared
from saeattr.study.run import STAGES
from saeattr.study.selection import with_choice
from saeattr.study.stage import JOINED_GROUPS, Stage
from saeattr.tables import PAIRS

#: Files that are only drawn or written again from tables.
_DRAWN = ("figures/", "report.html", "neuronpedia.json", "overlap.parquet")


def rescue(root: Path, prepared: Prepared) -> list[str]:
    """Where study.yaml is damaged or gone, write it anew if the stored tables are of what is asked for now.

    Returns:
        what a reader should know, one line each.

    Raises:
        UserError: they are of something else.
    """
    study = StudyFolder(root)
    found, known = fault(study.record_path), _readable(study)
    if found is None or is_earlier(known.get("format"), found):
        # Opening a study of an earlier version says so.
        return []
    parts = list(_parts(study))
    record = {**prepared.record, "groups": _groups(study, known, parts)}
    if isinstance(known.get("saes"), dict) and not record.get("saes"):
        record["saes"] = known["saes"]
    marks = {mark_of(record, saes, sites) for saes, sites in ((False, False), (True, False), (True, True))}
    if any(part[STUDY] not in marks for part in parts):
        raise UserError(
            f"{study.record_path} is damaged ({found}), and its tables are of other settings, another model or other "
            "SAEs than these: give the same ones and it is written anew, put back a copy, or give another folder "
            "with --out"
        )
    write_record(study, record)
    # The tables made of lists say which these were.
    for name, digest in {item for part in parts for item in json.loads(part[MADE_OF]).items()}:
        if (root / name).is_file():
            list_again(root / name, digest)
    return [f"study.yaml was damaged ({found}): written anew, with the settings that the stored tables are of"]


def mend(study: StudyFolder, prepared: Prepared) -> list[str]:
    """Make what is damaged at a study's root again, or clear it away for what makes it; a line says what.

    Raises:
        UserError: the folder cannot be written.
    """
    told = []
    for name in sorted({*listed_sums(study.root), *(path.name for path in study.root.iterdir() if path.is_file())}):
        path = study.root / name
        found = fault(path)
        if found is None:
            continue
        if name.startswith(_DRAWN):
            # A user may delete a page or a figure.
            told += [f"{name} is damaged ({found}): made again where it is wanted"] if path.exists() else []
            remove_stored(path)
        elif path == study.plan_path:
            told.append(f"{name} is damaged ({found}): what earlier stages took of memory is lost")
            remove_stored(path)
            _note_sites(study, prepared)
        elif path == study.notes_path:
            told.append(f"{name} is damaged ({found}): what earlier runs had to say is lost")
            remove_stored(path)
        elif path == study.given_path:
            told.append(f"{name} is damaged ({found}): written again")
            path.unlink(missing_ok=True)
            store_given(study, prepared.behaviour)
        elif name in _joined(study):
            told.append(f"{name} is damaged ({found}): joined again")
    return told


def with_damaged(prepared: Prepared, study: StudyFolder, stages: Sequence[Stage]) -> Prepared:
    """The groups asked for, and those of the study whose tables of these stages are damaged: all are joined."""
    wanted = [MakingPairs(), *(stage for stage in stages if not stage.of_all)]
    others = [group for group in read_record(study)["groups"] if group not in prepared.groups]
    damaged = [group for group in others if any(stage.damage(study, group) for stage in wanted)]
    return dataclasses.replace(prepared, groups=(*prepared.groups, *damaged)) if damaged else prepared


def _note_sites(study: StudyFolder, prepared: Prepared) -> None:
    at_sites = prepared if prepared.settings.names_sites else with_choice(prepared, study)
    if at_sites is not prepared or prepared.settings.names_sites:
        note_sites(study, at_sites)


def _joined(study: StudyFolder) -> set[str]:
    """The files of joined tables whose parts are there."""
    stages = [stage for stage in STAGES if (study.root / stage.name).is_dir()]
    return {f"{table.name}.parquet" for stage in stages for table in stage.joined}


def _readable(study: StudyFolder) -> dict[str, Any]:
    """What can still be read of study.yaml."""
    check_ordinary(study.root)
    try:
        known = yaml.safe_load(study.record_path.read_text(encoding="utf-8"))
    except (OSError, *FAULTS):
        return {}
    return known if isinstance(known, dict) else {}


def _parts(study: StudyFolder) -> Iterator[dict[str, str]]:
    """The metadata of every stored part that is whole."""
    for stage in STAGES:
        for sums in sorted((study.root / stage.name).glob(f"{'*/' * (1 + stage.has_variants)}{SUMS}")):
            path = sums.parent / f"{stage.joined[0].name}.parquet"
            if path.exists() and fault(path) is None:
                known = read_metadata(path)
                if STUDY in known:
                    yield known


def _groups(study: StudyFolder, known: dict[str, Any], parts: list[dict[str, str]]) -> list[str]:
    """The groups that the stored tables are of, in the order of the joined pairs, or else of what can be read."""
    there = [group for group in dict.fromkeys(part[GROUP_NAME] for part in parts) if group != "study"]
    joined = study.table_path(PAIRS.name)
    order = json.loads(read_metadata(joined).get(JOINED_GROUPS, "[]")) if fault(joined) is None else []
    listed = known.get("groups")
    order += [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [group for group in dict.fromkeys([*order, *there]) if group in there]
