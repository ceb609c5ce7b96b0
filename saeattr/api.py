"""The public operations; the command line calls the same functions.

attribute: pairs, layers, attributions, exact effects. validate: more exact effects, and lists written under ablation.
select: which layers are worth an SAE. plan: what memory it takes. report: one page. overlap: which features recur.
compare: two models on the same pairs. inspect: the features on Neuronpedia.
"""

from __future__ import annotations

import dataclasses
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import pandas as pd

from saeattr.behaviours.given.behaviour import Given, reading_of
from saeattr.behaviours.given.check import CheckedRows, check_rows
from saeattr.behaviours.given.source import read_source
from saeattr.comparison.results import Comparison, check_folder, write_comparison
from saeattr.comparison.run import ExactPlan, compare_studies
from saeattr.errors import UserError
from saeattr.features.recurrence import feature_families, overlap_table
from saeattr.generation.group import GenerationPlan
from saeattr.model.loading import find_model, load_tokenizer, longest_input, read_config, resolve_device
from saeattr.neuronpedia.links import link_study
from saeattr.progress import OnProgress, about, quiet
from saeattr.runs.memory import MemoryPlan
from saeattr.runs.metric import find_metric
from saeattr.runs.question import Pace
from saeattr.selection.measure import Selection
from saeattr.settings import changed_settings, make_settings, recorded_settings
from saeattr.study.attribution import Attribution
from saeattr.study.borrowed import with_borrowed
from saeattr.study.folder import StudyFolder, open_study, remove_leftovers
from saeattr.study.generation import Generating, check_generation
from saeattr.study.memory import memory_plan
from saeattr.study.pairs import MakingTestPairs, contrast_label, store_given, stored_given
from saeattr.study.passed import check_passed, take_passed
from saeattr.study.prepare import Prepared, default_folder, prepare
from saeattr.study.reopen import opened, study_task
from saeattr.study.results import Study
from saeattr.study.run import choose_sites_of, join_stages, run_stages
from saeattr.study.selection import stored_reason
from saeattr.study.sets import read_feature_sets
from saeattr.study.stage import Stage
from saeattr.study.validation import Validation
from saeattr.validation.agreement import agreement_warnings
from saeattr.validation.controls import CONTROLS
from saeattr.validation.group import ValidationPlan

#: Tokens of a short list of a dozen items with its request.
USUAL_LENGTH = 60


@dataclass(frozen=True)
class Overlap:
    """How far groups share features.

    Attributes:
        pairs: one row for each site and two groups, with what chance would give.
        families: one row for each feature: shared by most groups, of one group, or between.
    """

    pairs: pd.DataFrame
    families: pd.DataFrame


def attribute(
    group: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """Which SAE features make the model do that: make pairs, choose layers, attribute, validate, draw.

    Args:
        group: one or more groups of the behaviour (topics of lists, relations of facts), or ``all``.
        out: the study folder; a folder that holds part of the same study is completed.
        config: a YAML file with settings.
        figures: draw them.
        on_progress: called as the work goes on.
        settings: any field of ``StudySettings``, e.g. ``n_pairs=5, base="zero", sites=["resid_post.3"]``. Objects in
            place of names: ``pairs`` takes rows too, as a list of dicts, a DataFrame or a ``datasets.Dataset``
            (docs/pairs.md); ``model`` a Hugging Face model with ``tokenizer=`` (or a pair of both) or a
            TransformerBridge; ``saes`` SAEs of sae-lens by site, ``{"resid_post.3": sae}``.

    Returns:
        The study; its tables are read from the folder when asked for.

    Raises:
        UserError: the input cannot be used; nothing is written then.
    """
    prepared = _prepared(group, config, settings)
    chosen = prepared.settings
    if chosen.vram is not None:
        # The pairs are not known yet; a budget that no usual pair fits is refused before anything is written.
        memory_plan(prepared, prepared.behaviour.most_pairs(chosen), USUAL_LENGTH, resolve_device(chosen.device))
    folder = _folder(prepared, out)
    stages: list[Stage] = [Attribution()]
    if chosen.validate_top:
        stages += _validation_stages(prepared)
    return _run(prepared, folder, stages, figures, on_progress)


def validate(
    study: str | Path | Study,
    *,
    generate: bool = False,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """Measure the exact effects of a study's top features against controls, and of many together.

    Args:
        study: its folder, or what ``attribute`` returned; its model and SAEs must be where they were, and those that
            were passed as objects are passed again (``model``, ``tokenizer``, ``saes``).
        generate: also sample lists while a site's first ``generate_features`` features are ablated together, with
            controls of equal length, steering and nothing beside.
        settings: ``validate_top`` (or ``top``; features tested in each group, those of the highest ranks),
            ``positions`` (``all``, or ``single`` to patch a feature only where its attribution is largest),
            ``validate_pairs``, ``controls``, ``smallest``, ``curves``, ``generate_features``, ``device``,
            ``batch_size`` or ``vram``.

    Raises:
        UserError: it is no study, its model or SAEs have changed, or a setting cannot be used.
    """
    if settings.get("top") is not None:
        if settings.get("validate_top") is not None:
            raise UserError("top is another name of validate_top: give one of them")
        settings["validate_top"] = settings.pop("top")
    known = opened(study)
    passed, settings = take_passed(settings)
    check_passed(known.record, passed)
    asked = changed_settings(recorded_settings(known.record), settings, "validate")
    prepared = prepare(asked, given=stored_given(known.folder), passed=passed)
    asked = prepared.settings
    if not asked.validate_top:
        raise UserError("validate_top cannot be 0 here: give the number of features to measure, 1 or more")
    if generate:
        check_generation(prepared)
    folder = open_study(known.folder.root, prepared.record)
    remove_leftovers(folder)
    stages: list[Stage] = [Attribution(), *_validation_stages(prepared)]
    if generate:
        stages.append(Generating(GenerationPlan(asked.validate_top, asked.generate_features)))
    return _run(prepared, folder, stages, figures, on_progress)


def select(
    group: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Selection:
    """Which layers are worth an SAE: score every site on a few pairs and choose within ``vram`` or ``max_sites``.

    Writes layer_scores.parquet, its figure and the pairs into the study folder; ``attribute`` into the same folder uses
    that choice.

    Args:
        group, out, config, on_progress, settings: as for ``attribute``; every group counts the same.

    Raises:
        UserError: the input cannot be used, layers or sites are named already, or no SAE fits.
    """
    prepared = _prepared(group, config, settings)
    if prepared.settings.names_sites:
        raise UserError("select chooses among all layers: leave out --layers and --sites")
    folder = _folder(prepared, out)
    found = choose_sites_of(prepared, folder, on_progress)
    from saeattr.reporting.figures.study import draw_layer_scores

    draw_layer_scores(folder, contrast_label(folder, prepared.groups, prepared.record["metric_label"]))
    return found


def plan(
    group: str | Sequence[str] | None = None,
    *,
    config: str | Path | None = None,
    length: int = USUAL_LENGTH,
    **settings: Any,
) -> MemoryPlan:
    """What ``attribute`` with these settings will need, by part; no weights are loaded, nothing is written.

    With ``max_sites`` and no named sites it is what the choice needs: every site is captured before some are chosen.

    Args:
        length: tokens of the longest pair.

    Raises:
        UserError: the input cannot be used, or the budget (``vram``) is too small.
    """
    prepared = _prepared(group, config, settings, weights=False)
    chosen = prepared.settings
    return memory_plan(prepared, prepared.behaviour.most_pairs(chosen), length, resolve_device(chosen.device))


def check_pairs(
    pairs: Any, *, config: str | Path | None = None, columns: Sequence[str] = (), **settings: Any
) -> CheckedRows:
    """What pairs of your own would become with a model's tokenizer; no weights are loaded, nothing is written.

    Args:
        pairs: as for ``attribute``.
        columns: ``OURS=THEIRS`` for columns of another name.
        settings: ``model``, ``metric``, ``contrast``, ``unequal`` and ``base`` decide what a row becomes.

    Raises:
        UserError: the source cannot be read, or a setting cannot be used.
    """
    given = read_source(pairs, columns)
    asked = make_settings({**settings, "pairs": given.name}, None if config is None else Path(config))
    folder = find_model(asked.model, weights=False)
    tokenizer, behaviour = load_tokenizer(folder), Given(given)
    behaviour.check(tokenizer, behaviour.all_groups)
    if asked.metric not in (None, *behaviour.metrics):
        find_metric(str(asked.metric), tuple(behaviour.metrics))
    contrast = behaviour.contrast(tokenizer, asked)
    return check_rows(tokenizer, given, reading_of(tokenizer, asked, contrast, longest_input(read_config(folder))))


def report(
    study: str | Path | Study,
    *,
    top: int = 100,
    model: Any = True,
    tokenizer: Any = None,
    saes: Mapping[str, Any] | None = None,
    open_page: bool = False,
    on_progress: OnProgress = quiet,
) -> Path:
    """Write report.html of a study: one file that needs no server and no network.

    Args:
        study: its folder, or what ``attribute`` returned.
        top: features with a page of their own.
        model: open the study's model and SAEs for whole prompts, logits, neighbours and upstream features on the
            feature pages; without them a page shows what the tables know. A study made with objects needs them again:
            the model, its ``tokenizer``, and ``saes`` by site.
        open_page: show it in the browser.

    Raises:
        UserError: it is no study, holds no feature, or its model or SAEs have changed.
    """
    from saeattr.reporting.page.make import make_report

    known, on_step = opened(study), about(on_progress, "report")
    named = None if isinstance(model, bool) else model
    passed, _ = take_passed({"model": named, "tokenizer": tokenizer, "saes": saes})
    task = None if model is False else study_task(known, on_step, passed=passed)
    path = make_report(known, task, top=top, layer_choice=stored_reason(known.folder), on_step=on_step)
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
    sets = read_feature_sets(sources)
    pairs = overlap_table(sets.features, depth, active=sets.active)
    return Overlap(pairs, feature_families(sets.features, depth))


def compare(
    a: str | Path | Study,
    b: str | Path | Study,
    *,
    out: str | Path | None = None,
    exact: int = 0,
    controls: int = CONTROLS,
    smallest: float = 0.01,
    device: str = "auto",
    batch_size: int = 16,
    figures: bool = True,
    on_progress: OnProgress = quiet,
) -> Comparison:
    """Which features' effects differ between two models: two studies of the same pairs with the same SAEs.

    Args:
        a, b: their folders, or what ``attribute`` returned; B made with ``pairs_of`` A where a behaviour's pairs are
            its model's own. Changes are B minus A.
        out: the folder of the comparison; by default ``runs/A-to-B``.
        exact: of so many features of each group, the most changed ones, the change of the exact effect is measured too,
            in both models, on pairs that did not rank them.
        controls: of each of these: x moved as far in the directions of so many other features, in both models.
        smallest: the smallest change of interest, as a share of the clean-corrupted gap in A.
        device, batch_size: for exact effects; one model is in memory at a time.

    Raises:
        UserError: the studies differ in more than their model, or what they were made with has changed.
    """
    if exact < 0 or controls < 19 or batch_size < 1:
        raise UserError("exact cannot be below 0, controls below 19 or batch_size below 1: a rank needs 19 controls")
    one, other = opened(a), opened(b)
    name = f"{one.folder.root.resolve().name}-to-{other.folder.root.resolve().name}"
    folder = Path(out) if out is not None else Path("runs") / name
    check_folder(folder)
    wanted = ExactPlan(exact, controls, smallest, device, Pace(batch_size=batch_size))
    found = compare_studies(one, other, wanted, folder, on_progress)
    write_comparison(found, (one, other), {"exact": exact, "controls": controls, "smallest": smallest})
    if figures:
        from saeattr.reporting.figures.comparison import draw_comparison

        draw_comparison(found)
    return found


def _prepared(
    group: str | Sequence[str] | None, config: str | Path | None, settings: dict[str, Any], weights: bool = True
) -> Prepared:
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
    return prepare(wanted, weights=weights, given=rows, passed=passed)


def _validation_stages(prepared: Prepared) -> list[Stage]:
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


def _folder(prepared: Prepared, out: str | Path | None) -> StudyFolder:
    folder = open_study(Path(out) if out is not None else default_folder(prepared), prepared.record)
    remove_leftovers(folder)
    store_given(folder, prepared.behaviour)
    return folder


def _run(
    prepared: Prepared, folder: StudyFolder, stages: Sequence[Stage], figures: bool, on_progress: OnProgress
) -> Study:
    """Run what is missing of every group, join the tables, draw the figures."""
    warnings = run_stages(prepared, folder, stages, on_progress)
    study = Study(folder, join_stages(folder, prepared.groups))
    study = dataclasses.replace(study, warnings=(*warnings, *agreement_warnings(study.agreement())))
    link_study(study)
    if figures:
        from saeattr.reporting.figures.study import draw_study

        draw_study(study, on_progress)
    return study
