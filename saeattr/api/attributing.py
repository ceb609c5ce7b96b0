"""Attribute, validate, select, plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.api.begin import prepared_for, root_for, run_and_draw, validation_stages
from saeattr.api.results import report as write_report
from saeattr.cluster.asked import asks_for_workers, check_workers, hands_for
from saeattr.errors import UserError
from saeattr.model.loading import resolve_device
from saeattr.progress import OnProgress, quiet
from saeattr.runs.memory import USUAL_LENGTH
from saeattr.selection.measure import Selection
from saeattr.settings import changed_settings, recorded_settings
from saeattr.study.attribution import Attribution
from saeattr.study.beginning import answering_for, begin_study, check_study
from saeattr.study.duration import TimedPlan
from saeattr.study.folder import StudyFolder
from saeattr.study.generation import Generating, check_generation, generation_plan
from saeattr.study.hands import open_model
from saeattr.study.lock import locked
from saeattr.study.memory import memory_plan
from saeattr.study.pairs import contrast_label, stored_given
from saeattr.study.passed import check_passed, take_passed
from saeattr.study.prepare import prepare
from saeattr.study.reopen import opened
from saeattr.study.results import Study
from saeattr.study.run import choose_sites_of
from saeattr.study.selection import stored_selection
from saeattr.study.stage import Stage
from saeattr.study.timing import timed_plan


def attribute(
    group: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    report: bool = False,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """Which SAE features make the model do that: make pairs, choose layers, attribute, validate, draw.

    Args:
        group: one or more groups of the behaviour (topics of lists, relations of facts), or ``all``.
        out: the study folder; a folder that holds part of the same study is completed.
        config: a YAML file with settings.
        figures: draw them; report: also write report.html, of what the tables know.
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
    prepared = prepared_for(group, config, settings)
    chosen = prepared.settings
    if chosen.vram is not None:
        # The pairs are not known yet; a budget that no usual pair fits is refused before anything is written.
        memory_plan(prepared, prepared.behaviour.most_pairs(chosen), USUAL_LENGTH, resolve_device(chosen.device))
    root = root_for(prepared, out)
    stages: list[Stage] = [Attribution()]
    if chosen.validate_top:
        stages += validation_stages(prepared)
    with locked(root, chosen.wait, on_progress):
        study = run_and_draw(prepared, root, stages, figures, on_progress)
        if report:
            write_report(study, model=False, on_progress=on_progress)
    return study


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
            ``validate_pairs``, ``controls``, ``smallest``, ``curves``, ``generate_features`` (one number or several),
            ``generate_sites``, ``device``, ``batch_size`` or ``vram``.

    Raises:
        UserError: it is no study, its model or SAEs have changed, or a setting cannot be used.
    """
    if settings.get("top") is not None:
        if settings.get("validate_top") is not None:
            raise UserError("top is another name of validate_top: give one of them")
        settings["validate_top"] = settings.pop("top")
    known = opened(study)
    passed, settings = take_passed(settings)
    with locked(known.folder.root, bool(settings.get("wait")), on_progress):
        check_passed(known.record, passed)
        asked = changed_settings(recorded_settings(known.record), settings, "validate")
        prepared = prepare(asked, given=stored_given(known.folder), passed=passed)
        check_workers(prepared)
        asked = prepared.settings
        if not asked.validate_top:
            raise UserError("validate_top cannot be 0 here: give the number of features to measure, 1 or more")
        if generate:
            check_generation(prepared)
        stages: list[Stage] = [Attribution(), *validation_stages(prepared)]
        if generate:
            stages.append(Generating(generation_plan(asked)))
        return run_and_draw(prepared, known.folder.root, stages, figures, on_progress)


def select(
    group: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Selection:
    """Which layers are worth an SAE: score every site on a few pairs, choose the best within the limits.

    Limits are ``max_sites``, ``download`` and ``vram``. Writes layer_scores.parquet, its figure and the pairs into the
    study folder; ``attribute`` into the same folder uses that choice, and only then are SAEs fetched. A choice that is
    stored already is returned as it is.

    Args:
        group, out, config, on_progress, settings: as for ``attribute``; every group counts the same.

    Raises:
        UserError: the input cannot be used, layers or sites are named already, or no SAE fits.
    """
    prepared = prepared_for(group, config, settings)
    if prepared.settings.names_sites:
        raise UserError("select chooses among all layers: leave out --layers and --sites")
    root = root_for(prepared, out)
    folder = StudyFolder(root)
    with locked(root, prepared.settings.wait, on_progress), answering_for(folder, prepared.groups):
        check_study(folder, prepared)
        lm = None
        if stored_selection(folder, prepared.saes) is None and not asks_for_workers(prepared.settings):
            lm = open_model(prepared, prepared.groups[0], on_progress)
        begin_study(folder, prepared)
        with hands_for(prepared, folder, on_progress, lm) as hands:
            found = choose_sites_of(prepared, folder, on_progress, hands)
        from saeattr.reporting.figures.study import draw_layer_scores

        draw_layer_scores(folder, contrast_label(folder, prepared.groups, prepared.record["metric_label"]))
    return found


def plan(
    group: str | Sequence[str] | None = None,
    *,
    config: str | Path | None = None,
    length: int = USUAL_LENGTH,
    measure: bool = False,
    **settings: Any,
) -> TimedPlan:
    """What ``attribute`` with these settings will need, by part; no weights are loaded, nothing is written.

    With ``max_sites`` and no named sites it is what the choice needs: every site is captured before some are chosen.

    Args:
        length: tokens of the longest pair.
        measure: measure this machine for a few seconds, and estimate the time of one group from it.

    Returns:
        the memory by part and by stage; ``duration`` is None where nothing was measured, or where the model's
        configuration does not tell its shape.

    Raises:
        UserError: the input cannot be used, or the budget (``vram``) is too small.
    """
    prepared = prepared_for(group, config, settings, weights=False)
    chosen = prepared.settings
    n_pairs, device = prepared.behaviour.most_pairs(chosen), resolve_device(chosen.device)
    memory = memory_plan(prepared, n_pairs, length, device)
    return timed_plan(prepared, memory, n_pairs, length, device) if measure else TimedPlan(**vars(memory))
