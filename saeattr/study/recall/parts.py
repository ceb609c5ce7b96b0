"""Every part of a recall study, in order; and the tables that are derived of them, in the study's folder ``recall``."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.errors import UserError
from saeattr.files import write_tables
from saeattr.recall.claims import claims_table
from saeattr.study.recall import localisation, mlps, movers, phases, shots, steering, suppression
from saeattr.study.recall.part import Reading, RecallPart
from saeattr.study.results import RECALL_FOLDER, Study
from saeattr.tables import RECALL_CLAIMS

#: A later part may read what an earlier one derived.
PARTS: tuple[RecallPart, ...] = (
    localisation.PART,
    phases.PART,
    movers.PART,
    suppression.PART,
    mlps.PART,
    shots.PART,
    steering.PART,
)


def find_parts(names: Sequence[str]) -> list[RecallPart]:
    """The parts of some names, in their own order; all where none is named.

    Raises:
        UserError: there is no such part.
    """
    known = {part.name: part for part in PARTS}
    for name in names:
        if name not in known:
            raise UserError(f"{name!r} is not a part of recall: choose from {', '.join(known)}")
    return [part for part in PARTS if not names or part.name in names]


def write_derived(study: Study, parts: Sequence[RecallPart], reading: Reading) -> None:
    """Write what is derived of some parts, each table as Parquet and CSV, and the claims of every part that is there.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    folder = study.folder.root / RECALL_FOLDER
    for part in parts:
        write_tables(folder, part.derive(study, reading))
    write_tables(folder, {RECALL_CLAIMS: claims_table([claim for part in PARTS for claim in part.claims(study)])})
