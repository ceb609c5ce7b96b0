"""A study's pairs as a file of pairs: to be edited, or to be run on another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saeattr.behaviours.given.export import ExportedPairs, export_pairs
from saeattr.errors import UserError
from saeattr.files import write_text
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.settings import recorded_settings
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.pairs import stored_pairs

SUFFIXES = (".jsonl", ".json")


def export_study(study: StudyFolder, groups: Sequence[str], out: Path) -> ExportedPairs:
    """Write the pairs of some groups as JSON lines; the model's weights are not loaded.

    Raises:
        UserError: the file is of another kind or cannot be written, or the model's tokenizer is gone.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{out} cannot be written: pairs are exported as JSON lines, {' or '.join(SUFFIXES)}")
    settings = recorded_settings(read_record(study))
    tokenizer = load_tokenizer(find_model(settings.model, weights=False))
    found = export_pairs(tokenizer, stored_pairs(study, groups))
    if not found.rows:
        raise UserError(f"none of the {len(found.faults)} pairs of {study.root} can be a row; {found.faults[0]}")
    write_text(out, found.to_text())
    return found
