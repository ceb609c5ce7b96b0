"""Which of a study's sites are attributed: chosen once, from the first group's lists, and kept in the study folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from saeattr.behaviours.pair import Pair
from saeattr.files import read_metadata, read_table, write_table
from saeattr.model.loading import LanguageModel
from saeattr.reporting.figures.lines import layer_scores_figure
from saeattr.reporting.figures.style import save_figure
from saeattr.runs.memory import parse_bytes
from saeattr.selection.measure import Selection, select
from saeattr.sites import Site
from saeattr.study.attribution import OnProgress, memory_plan
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared

_REASON = "saeattr.reason"


def stored_choice(folder: StudyFolder) -> tuple[list[Site], str] | None:
    """The sites that were chosen before, and why; None where nothing was."""
    path = folder.table_path("layer_scores")
    if not path.exists():
        return None
    table = read_table(path)
    chosen = table[table["chosen"]]
    sites = [Site(kind, int(layer)) for kind, layer in zip(chosen["kind"], chosen["layer"], strict=True)]
    return sites, read_metadata(path).get(_REASON, "")


def choose_layers_of(
    lm: LanguageModel, pairs: Sequence[Pair], prepared: Prepared, on_progress: OnProgress
) -> Selection:
    """Score the sites on the pairs and choose those whose SAEs fit what the budget leaves beside the model.

    Raises:
        UserError: not even one SAE fits.
    """
    settings = prepared.settings
    budget = None
    if settings.vram is not None:
        plan = memory_plan(prepared, len(pairs), max(len(pair.clean_ids) for pair in pairs), lm.device)
        budget = parse_bytes(settings.vram) - (plan.peak - plan.sae)
    group = pairs[0].group
    on_progress(group, "choosing layers", 0, 1)
    found = select(
        lm,
        pairs,
        prepared.saes,
        prepared.metric,
        decision=settings.decision,
        budget_bytes=budget,
        most=settings.max_sites,
        batch_size=settings.batch_size,
    )
    on_progress(group, "choosing layers", 1, 1)
    return found


def store_choice(folder: StudyFolder, found: Selection, metric_label: str) -> None:
    """layer_scores.parquet and its figure."""
    figure = layer_scores_figure(found.table, found.lens, found.ablation, metric_label)
    save_figure(figure, folder.figures, "layer-scores")
    write_table(folder.table_path("layer_scores"), found.table, {_REASON: found.reason})


def with_sites(prepared: Prepared, sites: Sequence[Site]) -> Prepared:
    """The same study at some of its sites."""
    kept = set(sites)
    return dataclasses.replace(prepared, saes=[file for file in prepared.saes if file.site in kept])
