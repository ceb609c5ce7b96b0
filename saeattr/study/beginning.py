"""A study folder looked at, and then made, opened or grown: nothing is written while a refusal may still come.

What can be refused only later (no pair of use, SAEs that are chosen and then damaged) finds pairs stored, or leaves a
record that stands for no work: such a one yields to other settings, and a folder that was made for nothing is removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from saeattr.errors import note_on
from saeattr.files import SUMS
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnProgress, quiet
from saeattr.study.bare import clear, forget_partial, holds_saes_work, yields
from saeattr.study.folder import (
    StudyFolder,
    check_record,
    open_study,
    read_record,
    remove_leftovers,
    write_record,
)
from saeattr.study.growing import grow, grows
from saeattr.study.hands import open_model
from saeattr.study.mending import mend, rescue
from saeattr.study.pairs import store_given
from saeattr.study.prepare import Prepared
from saeattr.study.run import missing_stages
from saeattr.study.selection import check_limits
from saeattr.study.stage import Stage
from saeattr.study.stored import stored_text


def check_study(study: StudyFolder, prepared: Prepared) -> list[str]:
    """Refuse what the folder cannot go on with; nothing is written but a damaged record, where its tables prove it.

    Returns:
        what a reader should know of that, one line each.

    Raises:
        UserError: it holds another study, more pairs than are asked for, or sites that were chosen within other limits.
    """
    told = rescue(study.root, prepared)
    if not study.record_path.exists() or yields(study, prepared.record):
        return told
    if not grows(study, prepared):
        known = read_record(study)
        check_record(study, known if holds_saes_work(study) else _without_saes(known), prepared.record)
    check_limits(study, prepared)
    return told


def model_for(
    study: StudyFolder, prepared: Prepared, stages: Sequence[Stage], on_progress: OnProgress
) -> LanguageModel | None:
    """The study's model, opened while the folder is as it was; None where all is stored.

    Raises:
        UserError: it cannot be opened.
    """
    grown = study.record_path.exists() and not yields(study, prepared.record) and grows(study, prepared)
    missing, _ = missing_stages(prepared, study, stages, quiet)
    if not missing and not grown:
        return None
    return open_model(prepared, next(iter(missing), prepared.groups[0]), on_progress)


def begin_study(study: StudyFolder, prepared: Prepared) -> list[str]:
    """Make, open or grow the study, without what an interrupted run left half done, and mend what is damaged.

    Returns:
        what was mended, one line each.

    Raises:
        UserError: as ``check_study``, or it cannot be written.
    """
    if yields(study, prepared.record):
        write_record(study, prepared.record)
        clear(study)
    elif study.record_path.exists() and not holds_saes_work(study):
        _take_other_saes(study, prepared)
    grow(study.root, prepared)
    open_study(study.root, prepared.record)
    remove_leftovers(study)
    store_given(study, prepared.behaviour)
    return mend(study, prepared)


@contextmanager
def answering_for(study: StudyFolder, groups: Sequence[str]) -> Iterator[None]:
    """Where the block fails or is interrupted, the exception says what is kept.

    Of a new study of which no table is stored nothing is.
    """
    new = not study.record_path.exists()
    try:
        yield
    except BaseException as error:
        # Whatever else goes wrong now (a full disk) is not to hide why.
        with suppress(Exception):
            if new and not any(study.root.rglob("*.parquet")):
                clear(study)
                for path in (study.record_path, study.root / SUMS):
                    path.unlink(missing_ok=True)
            note_on(error, folder=study.root, kept=stored_text(study, groups))
        raise


def _take_other_saes(study: StudyFolder, prepared: Prepared) -> None:
    """Let SAEs be replaced with which nothing was completed, such as those that turned out to be damaged."""
    known = read_record(study)
    if "saes" in known and "saes" in prepared.record and known["saes"] != prepared.record["saes"]:
        forget_partial(study)
        write_record(study, {**known, "saes": prepared.record["saes"]})


def _without_saes(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "saes"}
