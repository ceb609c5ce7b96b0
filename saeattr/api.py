"""A study from settings to figures: each stage is stored before the next begins, and is not done twice."""

from __future__ import annotations

import dataclasses
import json
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.topics import group_slug
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.features.recurrence import feature_families, overlap_table
from saeattr.files import join_parts, read_metadata
from saeattr.generation.group import TOP_FEATURES
from saeattr.model.loading import resolve_device
from saeattr.neuronpedia.links import link_study
from saeattr.reporting.page.make import make_report
from saeattr.runs.memory import MemoryPlan
from saeattr.selection.measure import Selection
from saeattr.settings import make_settings, recorded_settings
from saeattr.study.attribution import OnProgress, memory_plan, group_lists
from saeattr.study.folder import StudyFolder, open_study, read_record, remove_leftovers, write_record
from saeattr.study.generation import GENERATION_TABLES, GenerationPlan
from saeattr.study.prepare import Prepared, default_folder, prepare
from saeattr.study.reopen import open_study_model
from saeattr.study.results import Study, load_study
from saeattr.study.run import TABLES, open_model, run_groups
from saeattr.study.selection import choose_layers_of, store_choice, stored_choice
from saeattr.study.sets import read_feature_sets
from saeattr.study.validation import VALIDATION_TABLES
from saeattr.validation.group import ValidationPlan
from saeattr.validation.site import Positions
from saeattr.validation.verdicts import agreement_warnings

#: Tokens of a short list of a dozen items with its request.
USUAL_LENGTH = 60

#: Written into every table, because tools disagree on it.
SIGN_CONVENTION = (
    "effect: estimated change of the metric when the feature is patched from its clean to its base value "
    "(gradient on the clean run, towards the base)"
)


def attribute(
    groups: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = lambda group, stage, done, total: None,
    **settings: Any,
) -> Study:
    """Which SAE features make the model end its list: sample, pair, attribute, draw.

    Args:
        groups: one or more groups, or ``all``.
        out: the study folder; a folder that holds part of the same study is completed.
        config: a YAML file with settings.
        figures: draw them.
        on_progress: called as the work goes on.
        settings: any field of ``StudySettings``, e.g. ``lists=5, base="zero", sites=["resid_post.3"]``.

    Returns:
        The study; its tables are read from the folder when asked for.

    Raises:
        UserError: the input cannot be used; nothing is written then.
    """
    names = None if groups is None else ((groups,) if isinstance(groups, str) else tuple(groups))
    chosen = make_settings({**settings, "groups": names}, None if config is None else Path(config))
    prepared = prepare(chosen)
    chosen = prepared.settings
    if chosen.vram is not None:
        # The lists are not known yet; a budget that no usual list fits is refused before anything is written.
        memory_plan(prepared, chosen.lists, USUAL_LENGTH, resolve_device(chosen.device))
    folder = open_study(Path(out) if out is not None else default_folder(chosen), prepared.record)
    remove_leftovers(folder)
    wanted = ValidationPlan(top=chosen.validate_top) if chosen.validate_top else None
    return _run(prepared, folder, wanted, None, figures, on_progress)


def validate(
    study: str | Path | Study,
    *,
    top: int = 20,
    positions: Positions = "all",
    curves: bool = True,
    generate: bool = False,
    generate_features: int = TOP_FEATURES,
    figures: bool = True,
    on_progress: OnProgress = lambda group, stage, done, total: None,
    **run_settings: Any,
) -> Study:
    """Measure the exact effects of a study's top features against controls, and of many together.

    Args:
        study: its folder, or what ``attribute`` returned; its model and SAEs must be where they were.
        top: features tested in each group, those of the highest ranks.
        positions: patch a feature at all its positions, or in each list only where its attribution is largest.
        curves: draw cumulative curves too.
        generate: also sample lists while a site's first ``generate_features`` features are ablated together, with
            matched controls, steering and nothing beside.
        run_settings: ``device``, ``batch_size`` or ``vram``.

    Raises:
        UserError: it is no study, or its model or SAEs have changed.
    """
    opened = study if isinstance(study, Study) else load_study(study)
    given = {name: value for name, value in run_settings.items() if value is not None}
    prepared = prepare(recorded_settings(opened.record).model_copy(update=given))
    folder = open_study(opened.folder.root, prepared.record)
    remove_leftovers(folder)
    plan = ValidationPlan(top=top, positions=positions)
    if not curves:
        plan = dataclasses.replace(plan, longest_curve=0)
    generation = GenerationPlan(top, generate_features) if generate else None
    return _run(prepared, folder, plan, generation, figures, on_progress)


def select(
    groups: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    on_progress: OnProgress = lambda group, stage, done, total: None,
    **settings: Any,
) -> Selection:
    """Which layers are worth an SAE: score every site on a few lists and choose within ``vram`` or ``max_sites``.

    Writes layer_scores.parquet, its figure and the lists into the study folder; ``attribute`` into the same folder uses
    that choice.

    Args:
        groups, out, config, on_progress, settings: as for ``attribute``; every group counts the same.

    Raises:
        UserError: the input cannot be used, layers or sites are named already, or no SAE fits.
    """
    names = None if groups is None else ((groups,) if isinstance(groups, str) else tuple(groups))
    chosen = make_settings({**settings, "groups": names}, None if config is None else Path(config))
    if chosen.names_sites:
        raise UserError("select chooses among all layers: leave out --layers and --sites")
    prepared = prepare(chosen)
    folder = open_study(Path(out) if out is not None else default_folder(prepared.settings), prepared.record)
    remove_leftovers(folder)
    lm = open_model(prepared)
    pairs: list[Pair] = []
    for group in prepared.groups:
        pairs += make_pairs(lm.tokenizer, group_lists(lm, group, prepared.settings, folder, on_progress))[0]
    found = choose_layers_of(lm, pairs, prepared, on_progress)
    store_choice(folder, found, prepared.metric.label)
    return found


def plan(
    groups: str | Sequence[str] | None = None,
    *,
    config: str | Path | None = None,
    length: int = USUAL_LENGTH,
    **settings: Any,
) -> MemoryPlan:
    """What ``attribute`` with these settings will need, by part; no weights are loaded, nothing is written.

    Args:
        length: tokens of the longest list with its request.

    Raises:
        UserError: the input cannot be used, or the budget (``vram``) is too small.
    """
    names = None if groups is None else ((groups,) if isinstance(groups, str) else tuple(groups))
    chosen = make_settings({**settings, "groups": names}, None if config is None else Path(config))
    return memory_plan(prepare(chosen, weights=False), chosen.lists, length, resolve_device(chosen.device))


def _run(
    prepared: Prepared,
    folder: StudyFolder,
    wanted: ValidationPlan | None,
    generation: GenerationPlan | None,
    figures: bool,
    on_progress: OnProgress,
) -> Study:
    """Run what is missing of every group, join the tables, draw the figures."""
    warnings = run_groups(prepared, folder, wanted, generation, on_progress)
    done = _join(folder, prepared)
    study = Study(folder, done)
    study = dataclasses.replace(study, warnings=(*warnings, *agreement_warnings(study.agreement())))
    link_study(study)
    if figures:
        from saeattr.reporting.figures.study import draw_study

        draw_study(study, on_progress)
    return study


def _join(folder: StudyFolder, prepared: Prepared) -> tuple[str, ...]:
    """Join the tables of all groups done so far; what is joined already stays as it is.

    Raises:
        UserError: no group gave anything.
    """
    record = read_record(folder)
    order = list(dict.fromkeys([*record["groups"], *prepared.groups]))
    done = [group for group in order if folder.group_folder(group_slug(group)).is_dir()]
    if not done:
        raise UserError(
            f"no list about {', '.join(prepared.groups)} can be used (they are in {folder.root / 'lists'}): "
            "try another group, or a lower --temperature"
        )
    _join_tables(folder, TABLES, {group: folder.group_folder(group_slug(group)) for group in done})
    for tables, part in (
        (VALIDATION_TABLES, folder.validation_folder),
        (GENERATION_TABLES, folder.generation_folder),
    ):
        parts = {group: part(group_slug(group)) for group in done}
        _join_tables(folder, tables, {group: path for group, path in parts.items() if path.is_dir()})
    if record["groups"] != done:
        write_record(folder, {**record, "groups": done})
    return tuple(done)


def _join_tables(folder: StudyFolder, tables: Sequence[str], parts: Mapping[str, Path]) -> None:
    """Join the groups' parts of some tables; what is joined already, and newer than its parts, stays as it is."""
    if not parts:
        return
    metadata = {"saeattr.groups": json.dumps(list(parts)), "saeattr.sign_convention": SIGN_CONVENTION}
    for table in tables:
        path = folder.table_path(table)
        newest = max((part / path.name).stat().st_mtime for part in parts.values())
        known = read_metadata(path)
        if any(known.get(key) != value for key, value in metadata.items()) or path.stat().st_mtime < newest:
            join_parts(path, list(parts.values()), metadata)


@dataclass(frozen=True)
class Overlap:
    """How far groups share features.

    Attributes:
        pairs: one row for each site and two groups, with what chance would give.
        families: one row for each feature: shared by most groups, of one group, or between.
    """

    pairs: pd.DataFrame
    families: pd.DataFrame


def report(
    study: str | Path | Study,
    *,
    top: int = 100,
    model: bool = True,
    open_page: bool = False,
    on_progress: Callable[[str, str, int, int], None] = lambda group, stage, done, total: None,
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


def overlap(sources: Sequence[str | Path], *, depth: int | None = 30) -> Overlap:
    """Which features recur across the groups of one or more studies, or of files made elsewhere.

    Args:
        sources: study folders, or CSV, JSON or Parquet files with the columns layer, kind, feature and group.
        depth: features in a group's set at a site, by |effect|; None for all.

    Raises:
        UserError: a source cannot be used, or they are of different models, or of fewer than two groups.
    """
    features = read_feature_sets(sources)
    return Overlap(overlap_table(features, depth), feature_families(features, depth))
