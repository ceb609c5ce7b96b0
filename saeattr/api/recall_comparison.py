"""Two recall studies beside each other, of models of any depth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from saeattr.errors import UserError
from saeattr.files import write_tables
from saeattr.recall.phases.compare import RecallComparison, RecallRun, compare_runs
from saeattr.study.results import Study, load_study
from saeattr.tables import (
    RECALL_ANSWERS,
    RECALL_COMPARED,
    RECALL_COMPARED_CURVES,
    RECALL_CURVES,
    RECALL_RELEASE,
    WINDOW_PATCHES,
)


def compare_recall(
    a: str | Path | Study, b: str | Path | Study, *, out: str | Path | None = None, figures: bool = True
) -> RecallComparison:
    """How two models recall facts, by fraction of depth: curves, release, crossing, jump, concentration, redundancy.

    No model is opened. Facts of the same category and pair_id in both studies are drawn together, so that differences
    have the interval of paired facts; others are drawn on their own.

    Args:
        a, b: folders of ``run_recall``, or what it returned, with the parts localisation and phases.
        out: a folder for tables (Parquet and CSV) and the figure; without one nothing is written.
        figures: draw it.

    Raises:
        UserError: one is no such study, or the folder holds something else.
    """
    studies = [one if isinstance(one, Study) else load_study(one) for one in (a, b)]
    found = compare_runs(*_named(studies))
    if out is None:
        return found
    found = dataclasses.replace(found, folder=Path(out))
    _write(found, Path(out))
    if figures:
        from saeattr.reporting.figures.recall_compare import draw_recall_comparison

        draw_recall_comparison(found)
    return found


def _named(studies: list[Study]) -> list[RecallRun]:
    """The tables of both, each with its model's name, and with its folder where both have the same."""
    names = [str(study.record["model"]["name"]) for study in studies]
    if names[0] == names[1]:
        names = [f"{name} ({study.folder.root})" for name, study in zip(names, studies, strict=True)]
    return [_tables_of(study, name) for name, study in zip(names, studies, strict=True)]


def _tables_of(study: Study, name: str) -> RecallRun:
    curves, release, answers = (study.recall(table) for table in (RECALL_CURVES, RECALL_RELEASE, RECALL_ANSWERS))
    return RecallRun(name, curves, release, answers, study.recall(WINDOW_PATCHES))


def _write(found: RecallComparison, folder: Path) -> None:
    """Write both tables.

    Raises:
        UserError: the folder holds something else, or it cannot be written.
    """
    tables = {RECALL_COMPARED: found.rows, RECALL_COMPARED_CURVES: found.curves}
    known = (folder / f"{RECALL_COMPARED.name}.parquet").exists()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not known)):
        raise UserError(f"{folder} exists and holds no comparison of recall: give another folder with --out")
    write_tables(folder, tables)
