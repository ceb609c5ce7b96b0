"""The report of a study: its tables, figures and feature pages in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.errors import UserError
from saeattr.features.activity import Context, keep_used, table_activities
from saeattr.features.detail import feature_details
from saeattr.features.recurrence import largest_features
from saeattr.neuronpedia.links import read_links
from saeattr.progress import OnStep, quiet
from saeattr.reporting.evidence import power_lines, untested_lines
from saeattr.reporting.lines import part_lines
from saeattr.reporting.page.details import activity_values, context_rows, detail_values
from saeattr.reporting.page.figures import report_figures, sections_with_figures
from saeattr.reporting.page.parts import BEFORE
from saeattr.reporting.page.rows import check_rows, feature_rows, group_rows
from saeattr.reporting.page.summary import facts, findings, question, study_name, table_note
from saeattr.reporting.page.write import Report, write_report
from saeattr.runs.task import Task
from saeattr.study.results import Study

#: Features in a group's set at a site, as in the figures.
DEPTH = 30


def make_report(
    study: Study,
    task: Task | None = None,
    *,
    top: int = 100,
    layer_choice: str | None = None,
    on_step: OnStep = quiet,
) -> Path:
    """Write report.html of a study; without features it shows the other parts.

    Args:
        task: the study's model, SAEs and pairs. Without it feature pages show what the tables know: where a feature
            fires from the first changed token to the last decision point, and its effects.
        top: features with a page: those of largest |effect_mean| averaged over groups.
        layer_choice: why these layers, in a sentence.

    Raises:
        UserError: the study has nothing to show, the model or an SAE is not the study's, or a file is damaged or in the
            way.
    """
    features = study.features()
    if features.empty:
        report = _without_features(study, layer_choice, on_step)
    else:
        report = _with_features(study, features, task, top, layer_choice, on_step)
    written = write_report(report, study.folder.root / "report.html")
    on_step("report", 1, 1)
    return written


def _without_features(study: Study, layer_choice: str | None, on_step: OnStep) -> Report:
    """The page of a study in which no feature was attributed: its parts, with their lines and figures.

    Raises:
        UserError: it has none of them either.
    """
    names, lines = {part.name for part in BEFORE}, part_lines(study)
    if not lines and not names & sections_with_figures(study):
        raise UserError(
            f"{study.folder.root} holds no feature to report, and no other part: run saeattr attribute into it, with "
            "more pairs or groups"
        )
    on_step("report", 0, 1)
    return Report(
        title=f"saeattr: {study_name(study)}",
        question=question(study, with_features=False),
        findings=[],
        facts=facts(study, layer_choice),
        notes=list(study.warnings),
        groups=[],
        features=[],
        contexts=[],
        checks=[],
        figures=list(report_figures(study, lambda _, step, done, total: on_step(step, done, total), names)),
        table_note="",
        lines=lines,
    )


def _with_features(
    study: Study, features: pd.DataFrame, task: Task | None, top: int, layer_choice: str | None, on_step: OnStep
) -> Report:
    links = read_links(study.folder)
    labels, validation = links.labels, study.validation()
    chosen = largest_features(features, top)
    rows = feature_rows(features, chosen, study.groups, DEPTH, labels, validation)
    groups = group_rows(study.metric_by_point(), study.groups, validation)
    contexts, details = _table_details(study, chosen) if task is None else _model_details(task, chosen)
    rows = [{**row, "detail": details.get((row["layer"], row["kind"], row["feature"]))} for row in rows]
    on_step("report", 0, 1)
    return Report(
        title=f"saeattr: {study_name(study)}",
        question=question(study),
        findings=[*findings(rows, groups, validation), *untested_lines(study)],
        facts=facts(study, layer_choice, links.notes),
        notes=list(study.warnings),
        groups=groups,
        features=rows,
        contexts=context_rows(contexts, study.groups),
        checks=check_rows(study.site_effects()),
        figures=list(report_figures(study, lambda _, step, done, total: on_step(step, done, total))),
        table_note=table_note(len(groups), len(rows), DEPTH, tested=not validation.empty),
        evidence=power_lines(study),
        lines=part_lines(study),
    )


def _table_details(study: Study, chosen: pd.DataFrame) -> tuple[list[Context], dict[tuple[int, str, int], Any]]:
    """Contexts, and values for each feature's page, from the study's tables."""
    tables = ((study.attributions(group), study.pairs(group)) for group in study.groups)
    contexts, activities = table_activities(tables, chosen, study.record["settings"]["base"])
    contexts, activities = keep_used(contexts, activities)
    return contexts, {key: activity_values(activity) for key, activity in activities.items()}


def _model_details(task: Task, chosen: pd.DataFrame) -> tuple[list[Context], dict[tuple[int, str, int], Any]]:
    """The same with the model: whole pairs, logits, neighbours and upstream features."""
    contexts, details = feature_details(task, chosen)
    by_key = {(one.site.layer, str(one.site.kind), one.feature): one for one in details}
    shown, activities = keep_used(contexts, {key: one.activity for key, one in by_key.items()})
    values = {key: detail_values(one, contexts) | activity_values(activities[key]) for key, one in by_key.items()}
    return shown, values
