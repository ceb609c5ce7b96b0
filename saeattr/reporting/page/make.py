"""The report of a study: its tables, figures and feature pages in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.behaviours.lists.topics import group_slug
from saeattr.errors import UserError
from saeattr.features.activity import Context, keep_used, table_activities
from saeattr.features.detail import feature_details
from saeattr.features.recurrence import largest_features
from saeattr.files import read_table
from saeattr.model.loading import LanguageModel
from saeattr.neuronpedia.links import read_links
from saeattr.reporting.page.details import activity_values, context_rows, detail_values
from saeattr.reporting.page.figures import report_figures
from saeattr.reporting.page.rows import check_rows, feature_rows, group_rows
from saeattr.reporting.page.summary import facts, findings, question, study_name, table_note
from saeattr.reporting.page.write import Report, write_report
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site
from saeattr.study.reopen import check_same, study_pairs
from saeattr.study.results import Study

#: Told the stage, what is done and what there is.
OnProgress = Callable[[str, int, int], None]


def make_report(
    study: Study,
    lm: LanguageModel | None = None,
    saes: Mapping[Site, SaeFile] | None = None,
    *,
    path: Path | None = None,
    top: int = 100,
    depth: int = 30,
    labels: Mapping[str, Mapping[str, Any]] | None = None,
    validation: pd.DataFrame | None = None,
    layer_choice: str | None = None,
    seconds: float | None = None,
    batch_size: int = 16,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Path:
    """Write report.html of a study.

    Args:
        lm, saes: the study's model and SAEs. Without them feature pages show what the tables know: where a feature
            fires from the swapped word to the last decision point, and its effects.
        path: where to; ``report.html`` in the study folder by default.
        top: features with a page: those of largest |effect_mean| averaged over groups.
        depth: features in a group's set at a site, for the overlap.
        labels: by feature address: label, url, embed_url, doubtful and note (optional each); else neuronpedia.json's.
        validation: the study's validation table (group, layer, kind, feature, exact_low, exact_high, verdict).
        layer_choice: why these layers, in a sentence.
        seconds: how long the study took.
        batch_size: prompts in one forward.

    Raises:
        UserError: the study has no feature, the model or an SAE is not the study's, or a file is damaged or in the way.
    """
    links = read_links(study.folder)
    labels = links.labels if labels is None else labels
    features = study.features()
    if features.empty:
        raise UserError(f"{study.folder.root} holds no feature to report: use more pairs or groups")
    chosen = largest_features(features, top)
    rows = feature_rows(features, chosen, study.groups, depth, labels, validation)
    groups = group_rows(study.metric_by_point(), study.groups)
    contexts, details = _details(study, lm, saes, chosen, batch_size, on_progress)
    rows = [{**row, "detail": details.get((row["layer"], row["kind"], row["feature"]))} for row in rows]
    on_progress("report", 0, 1)
    report = Report(
        title=f"saeattr: {study_name(study)}",
        question=question(study),
        findings=findings(rows, groups, validation),
        facts=facts(study, layer_choice, seconds, links.notes),
        notes=list(study.warnings),
        groups=groups,
        features=rows,
        contexts=context_rows(contexts, study.groups),
        checks=check_rows(study.site_effects()),
        figures=list(report_figures(study, depth, labels)),
        table_note=table_note(len(groups), len(rows), depth),
    )
    written = write_report(report, path or study.folder.root / "report.html")
    on_progress("report", 1, 1)
    return written


def _details(
    study: Study,
    lm: LanguageModel | None,
    saes: Mapping[Site, SaeFile] | None,
    chosen: pd.DataFrame,
    batch_size: int,
    on_progress: OnProgress,
) -> tuple[list[Context], dict[tuple[int, str, int], Any]]:
    if lm is None or saes is None:
        return _table_details(study, chosen)
    return _model_details(study, lm, saes, chosen, batch_size, on_progress)


def _table_details(study: Study, chosen: pd.DataFrame) -> tuple[list[Context], dict[tuple[int, str, int], Any]]:
    """Contexts, and values for each feature's page, from the study's tables."""
    folders = (study.folder.group_folder(group_slug(group)) for group in study.groups)
    tables = (read_table(folder / "attributions.parquet") for folder in folders)
    contexts, activities = table_activities(tables, chosen, study.record["settings"]["base"])
    contexts, activities = keep_used(contexts, activities)
    return contexts, {key: activity_values(activity) for key, activity in activities.items()}


def _model_details(
    study: Study,
    lm: LanguageModel,
    saes: Mapping[Site, SaeFile],
    chosen: pd.DataFrame,
    batch_size: int,
    on_progress: OnProgress,
) -> tuple[list[Context], dict[tuple[int, str, int], Any]]:
    """The same with the model: whole pairs, logits, neighbours and upstream features."""
    check_same(study.record, saes)
    pairs = study_pairs(lm, study.folder, study.groups)
    of_study = {site: file for site, file in saes.items() if str(site) in study.record["saes"]}
    contexts, details = feature_details(lm, pairs, of_study, chosen, batch_size=batch_size, on_progress=on_progress)
    by_key = {(one.site.layer, str(one.site.kind), one.feature): one for one in details}
    shown, activities = keep_used(contexts, {key: one.activity for key, one in by_key.items()})
    values = {key: detail_values(one, contexts) | activity_values(activities[key]) for key, one in by_key.items()}
    return shown, values
