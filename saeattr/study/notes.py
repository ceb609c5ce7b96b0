"""notes.json of a study: what a reader should know of its tables, stage by stage, whichever run shows them.

A note is kept before the tables it is about are stored, so that no interruption loses it; done again, a stage replaces
its notes, and those of a stage or group that is gone are not shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from saeattr.files import alone, fault, slug, write_text
from saeattr.study.folder import StudyFolder


@dataclass(frozen=True)
class StageNotes:
    """What is to be known of one stage of one group.

    Attributes:
        stage: its name, or of what no stage says: ``model``, ``device``, ``agreement``, ``study``, ``recall``.
        stored: whether the stage has tables in the study, without which the notes are of nothing.
        lines: one line each.
    """

    stage: str
    variant: str
    group: str
    stored: bool
    lines: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.stage, self.variant, self.group


def keep_notes(study: StudyFolder, notes: StageNotes) -> None:
    """Put notes in place of those that the same stage of the same group had.

    Raises:
        UserError: the folder cannot be written.
    """
    # Workers keep notes at the same time.
    with alone(study.root):
        _keep(study, notes)


def _keep(study: StudyFolder, notes: StageNotes) -> None:
    known, _ = _read(study)
    kept = [notes if one.key == notes.key else one for one in known]
    kept += [] if notes.key in {one.key for one in known} else [notes]
    kept = [one for one in kept if one.lines]
    if kept != known:
        write_text(study.notes_path, json.dumps([asdict(one) for one in kept], indent=1, ensure_ascii=False) + "\n")


def stored_notes(study: StudyFolder) -> tuple[str, ...]:
    """The lines of all notes whose tables are there, each once."""
    known, lost = _read(study)
    there = (one for one in known if not one.stored or _folder_is_there(study, one))
    return tuple(dict.fromkeys([*lost, *(line for one in there for line in one.lines)]))


def _folder_is_there(study: StudyFolder, notes: StageNotes) -> bool:
    return (study.root / notes.stage / notes.variant / slug(notes.group)).is_dir()


def _read(study: StudyFolder) -> tuple[list[StageNotes], list[str]]:
    """The notes, and a line on those that cannot be read: they stand in the way of nothing."""
    if not study.notes_path.exists():
        return [], []
    lost = [f"{study.notes_path} cannot be read, so what earlier runs had to say is not shown"]
    if fault(study.notes_path) is not None:
        return [], lost
    try:
        rows = json.loads(study.notes_path.read_text(encoding="utf-8"))
        found = [
            StageNotes(str(row["stage"]), str(row["variant"]), str(row["group"]), row["stored"] is True, _lines(row))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [], lost
    return found, []


def _lines(row: dict[str, Sequence[str]]) -> tuple[str, ...]:
    """One line each, of letters that can be shown: the file may come from anywhere."""
    lines = ("".join(letter if letter.isprintable() else "\ufffd" for letter in str(line)) for line in row["lines"])
    return tuple(lines)
