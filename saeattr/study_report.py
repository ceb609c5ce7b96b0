"""Operations on finished studies: the report page, and the overlap of their features."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from saeattr.analysis.families import feature_families
from saeattr.analysis.feature_sets import read_feature_sets
from saeattr.analysis.overlap import overlap_table
from saeattr.config import StudySettings
from saeattr.model.loading import LanguageModel, find_model, load_model, site_widths
from saeattr.report.page.make import make_report
from saeattr.results import Study, load_study
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.sites import Site, parse_site
from saeattr.study_choice import stored_choice


@dataclass(frozen=True)
class Overlap:
    """How far topics share features.

    Attributes:
        pairs: one row for each site and two topics, with what chance would give.
        families: one row for each feature: shared by most topics, of one topic, or between.
    """

    pairs: pd.DataFrame
    families: pd.DataFrame


def report(
    study: str | Path | Study,
    *,
    top: int = 100,
    model: bool = True,
    open_page: bool = False,
    on_progress: Callable[[str, str, int, int], None] = lambda topic, stage, done, total: None,
) -> Path:
    """Write report.html of a study: one file that needs no server and no network.

    Args:
        study: its folder, or what ``attribute`` returned.
        top: features with a page of their own.
        model: open the study's model and SAEs for whole lists, logits, neighbours and upstream features on the feature
            pages; without them a page shows what the tables know.
        open_page: show it in the browser.

    Raises:
        UserError: it is no study, holds no feature, or its model or SAEs have changed.
    """
    opened = study if isinstance(study, Study) else load_study(study)
    lm = saes = None
    choice = stored_choice(opened.folder)
    if model:
        on_progress("report", "loading the model", 0, 1)
        lm, saes = open_study_model(opened)
        on_progress("report", "loading the model", 1, 1)
    path = make_report(
        opened,
        lm,
        saes,
        top=top,
        validation=opened.validation(),
        layer_choice=None if choice is None else choice[1],
        on_progress=lambda stage, done, total: on_progress("report", stage, done, total),
    )
    if open_page:
        webbrowser.open(path.resolve().as_uri())
    return path


def open_study_model(study: Study) -> tuple[LanguageModel, dict[Site, SaeFile]]:
    """The model and the SAEs that a study was made with.

    Raises:
        UserError: they are no longer where they were.
    """
    fields = {name: study.record["settings"].get(name) for name in StudySettings.model_fields}
    settings = StudySettings.model_validate({name: value for name, value in fields.items() if value is not None})
    widths = site_widths(find_model(settings.model))
    found = find_saes(settings.saes or "bundled", widths, width=settings.sae_width, l0=settings.sae_l0)
    saes = {site: found[site] for site in map(parse_site, study.record["saes"]) if site in found}
    return load_model(settings.model, device=settings.device, dtype=settings.dtype or "float32"), saes


def overlap(sources: Sequence[str | Path], *, depth: int | None = 30) -> Overlap:
    """Which features recur across the topics of one or more studies, or of files made elsewhere.

    Args:
        sources: study folders, or CSV, JSON or Parquet files with the columns layer, kind, feature and topic.
        depth: features in a topic's set at a site, by |effect|; None for all.

    Raises:
        UserError: a source cannot be used, or they are of different models, or of fewer than two topics.
    """
    features = read_feature_sets(sources)
    return Overlap(overlap_table(features, depth), feature_families(features, depth))
