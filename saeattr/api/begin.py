"""What operations share: the settings of a call prepared, its folder, and the stages run in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from saeattr.behaviours.given.source import read_source
from saeattr.cluster.asked import asks_for_workers, check_workers, hands_for
from saeattr.errors import UserError, during
from saeattr.neuronpedia.links import link_study
from saeattr.progress import OnProgress
from saeattr.settings import make_settings
from saeattr.study.beginning import answering_for, begin_study, check_study, model_for
from saeattr.study.borrowed import with_borrowed
from saeattr.study.folder import StudyFolder, check_place
from saeattr.study.growing import with_grown
from saeattr.study.lock import locked
from saeattr.study.mending import with_damaged
from saeattr.study.notes import StageNotes, keep_notes, stored_notes
from saeattr.study.pairs import MakingTestPairs
from saeattr.study.passed import take_passed
from saeattr.study.prepare import Prepared, default_folder, prepare
from saeattr.study.results import Study
from saeattr.study.run import join_stages, run_stages
from saeattr.study.stage import WHOLE, Stage
from saeattr.study.validation import Validation
from saeattr.validation.agreement import agreement_warnings
from saeattr.validation.group import ValidationPlan


def prepared_for(
    group: str | Sequence[str] | None,
    config: str | Path | None,
    settings: dict[str, Any],
    weights: bool = True,
    with_saes: bool = True,
) -> Prepared:
    """What ``prepare`` makes of an operation's arguments, objects in place of names among them."""
    names = (group,) if isinstance(group, str) else None if group is None else tuple(group)
    passed, settings = take_passed(settings)
    settings |= passed.names
    asked = settings if names is None else {**settings, "group": names}
    rows = None
    if not isinstance(asked.get("pairs"), (str, Path, NoneType)):
        rows = read_source(asked["pairs"], asked.get("columns") or ())
        asked = {**asked, "pairs": rows.name}
    elif asked.get("pairs") is not None:
        asked = {**asked, "pairs": str(asked["pairs"])}
    wanted = make_settings(asked, None if config is None else Path(config))
    if wanted.pairs_of is not None:
        wanted, rows = with_borrowed(wanted)
    prepared = prepare(wanted, weights=weights, given=rows, passed=passed, with_saes=with_saes)
    check_workers(prepared)
    return prepared


def validation_stages(prepared: Prepared) -> list[Stage]:
    """Fresh pairs where the behaviour draws them, and what is tested on them."""
    settings = prepared.settings
    plan = ValidationPlan(
        top=settings.validate_top,
        n_controls=settings.controls,
        smallest=settings.smallest,
        positions=settings.positions,
        longest_curve=ValidationPlan.longest_curve if settings.curves else 0,
        most_pairs=settings.validate_pairs or ValidationPlan.most_pairs,
    )
    if not prepared.behaviour.draws_pairs(settings):
        return [Validation(plan)]
    fresh = settings.validate_pairs or min(settings.n_pairs, plan.most_pairs)
    return [MakingTestPairs(fresh), Validation(plan, fresh)]


def root_for(prepared: Prepared, out: str | Path | None) -> Path:
    """Where the operation's study lies, or will.

    Raises:
        UserError: it is blank, or something else than a study is there.
    """
    if out == "":
        raise UserError("--out is blank: name a folder, or leave it out")
    root = Path(out) if out is not None else default_folder(prepared)
    check_place(root)
    return root


def run_and_draw(
    prepared: Prepared, root: Path, stages: Sequence[Stage], figures: bool, on_progress: OnProgress
) -> Study:
    """Alone in the folder: run what is missing of every group, join the tables, draw the figures.

    Raises:
        UserError: another run works there, or the input cannot be used.
    """
    folder = StudyFolder(root)
    with locked(root, prepared.settings.wait, on_progress) as notes, answering_for(folder, prepared.groups):
        told = check_study(folder, prepared)
        # Workers open it themselves.
        lm = None if asks_for_workers(prepared.settings) else model_for(folder, prepared, stages, on_progress)
        told += begin_study(folder, prepared)
        prepared, grown = with_grown(with_damaged(prepared, folder, stages), folder, stages)
        with hands_for(prepared, folder, on_progress, lm) as hands:
            ran = run_stages(prepared, folder, stages, on_progress, hands)
        study = Study(folder, join_stages(folder, prepared.groups, ran))
        keep_notes(folder, StageNotes("agreement", "", WHOLE, False, tuple(agreement_warnings(study.agreement()))))
        lines = dict.fromkeys([*notes, *told, *grown, *ran, *stored_notes(folder)])
        study = dataclasses.replace(study, warnings=tuple(lines))
        link_study(study)
        if figures:
            from saeattr.reporting.figures.study import draw_study

            with during("drawing the figures"):
                draw_study(study, on_progress)
        return study


def noted(study: Study, operation: str, lines: Sequence[str]) -> Study:
    """The study with what an operation has to say of itself, kept in place of what it said before."""
    before = stored_notes(study.folder)
    keep_notes(study.folder, StageNotes(operation, "", WHOLE, False, tuple(lines)))
    of_this_run = [line for line in study.warnings if line not in before]
    return dataclasses.replace(study, warnings=tuple(dict.fromkeys([*of_this_run, *stored_notes(study.folder)])))
