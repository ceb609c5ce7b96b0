"""One group of a study: its lists, its pairs, a plan of memory, its tables."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from saeattr.attribution.group import AttributionPlan, GroupTables, attribute_group
from saeattr.attribution.rounding import dtype_warning, measure_rounding
from saeattr.behaviours.lists.parsing import ListMarkers, decoder
from saeattr.behaviours.lists.sampling import SampledList, sample_lists
from saeattr.behaviours.lists.table import lists_from_rows, lists_to_rows
from saeattr.behaviours.lists.topics import near_miss, group_slug
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.files import read_table, write_table
from saeattr.model.hub import has_weights
from saeattr.model.loading import LanguageModel, find_model
from saeattr.model.memory import give_back_free_memory, measure_peak, meta_model, rehearse, resident_bytes
from saeattr.runs.memory import MemoryPlan, parse_bytes, plan_memory
from saeattr.saes.loading import load_sae
from saeattr.settings import StudySettings
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared

#: A reconstruction that moves the metric by more than this share of the clean-corrupted gap is worth a warning.
RECONSTRUCTION_LIMIT = 0.5

#: Lists that are run in float32 too where the model's dtype is another.
ROUNDING_PAIRS = 5

#: Told what is being worked on (a group), the stage, what is done and what there is.
OnProgress = Callable[[str, str, int, int], None]


def group_lists(
    lm: LanguageModel, group: str, settings: StudySettings, folder: StudyFolder, on_progress: OnProgress
) -> list[SampledList]:
    """The group's lists: read if they were sampled before, else sampled and stored."""
    path = folder.lists_path(group_slug(group))
    if path.exists():
        markers = ListMarkers.from_tokenizer(lm.tokenizer)
        return lists_from_rows(read_table(path), markers, decoder(lm.tokenizer))
    lists = sample_lists(
        lm,
        group,
        settings.lists,
        seed=settings.seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        on_progress=lambda done, total: on_progress(group, "sampling lists", done, total),
    )
    write_table(path, lists_to_rows(lists))
    return lists


def list_warnings(
    group: str, lists: list[SampledList], pairs: list[Pair], skipped: Sequence[tuple[str, str]]
) -> list[str]:
    """What the reader should know about a group's lists."""
    close = near_miss(group)
    warnings = [f"{group}: did you mean the group {close!r}?"] if close else []
    unused = len(lists) - len(pairs)
    if unused:
        reason = f" ({skipped[0][1]})" if skipped else ""
        warnings.append(f"{group}: {unused} of {len(lists)} lists cannot be used{reason}")
    endless = sum(not sampled.parsed.ended for sampled in lists)
    if endless:
        warnings.append(f"{group}: {endless} of {len(lists)} lists did not end within the token limit")
    if not pairs:
        warnings.append(f"{group}: no list can be used, so there is no attribution for this group")
    return warnings


def reconstruction_warnings(group: str, tables: GroupTables) -> list[str]:
    """A line where SAEs lose so much that their effects need care: most of the metric's gap moves with x_hat for x."""
    last = tables.metric_by_point[tables.metric_by_point["item"] == tables.metric_by_point["n_items"]]
    means = last.groupby("run")["metric"].mean()
    gap = abs(float(means["clean"] - means["corrupted"]))
    moved = tables.site_effects.groupby(["kind", "layer"])["reconstruction_effect"].mean().abs()
    poor = moved[moved > RECONSTRUCTION_LIMIT * gap].sort_values(ascending=False)
    if poor.empty:
        return []
    kind, layer = poor.index[0]  # pyright: ignore[reportGeneralTypeIssues]
    return [
        f"{group}: with the SAE's reconstruction in place of x, the metric moves by more than "
        f"{RECONSTRUCTION_LIMIT:.0%} of the clean-corrupted gap at {len(poor)} of {len(moved)} sites (most at "
        f"{kind}.{layer}: {poor.iloc[0]:.2f} of {gap:.2f}); read their effects with care"
    ]


def rounding_warnings(lm: LanguageModel, pairs: Sequence[Pair], prepared: Prepared, tables: GroupTables) -> list[str]:
    """A line where the dtype changes attributions much: a few lists at the top feature's site in float32 too."""
    if lm.dtype == torch.float32 or tables.features.empty:
        return []
    first = tables.features.iloc[0]
    file = next(file for file in prepared.saes if file.site == Site(first["kind"], int(first["layer"])))
    sae = load_sae(file, lm.device)
    found = [
        measure_rounding(lm, pair, sae, prepared.metric, prepared.settings.decision) for pair in pairs[:ROUNDING_PAIRS]
    ]
    warning = dtype_warning(found)
    return [warning] if warning else []


def group_tables(
    lm: LanguageModel, group: str, pairs: list[Pair], prepared: Prepared, idle: int | None, on_progress: OnProgress
) -> tuple[GroupTables, dict[str, Any]]:
    """The group's tables, and its memory: the plan, and the peak that was measured.

    ``idle`` is what the process holds beside the model, in bytes, which a peak on the CPU is measured from.
    Where a CUDA device runs out of memory all the same, the batch is halved and the group starts again.

    Raises:
        UserError: one pair at a time does not fit the budget, or the device.
    """
    plan = memory_plan(prepared, len(pairs), max(len(pair.clean_ids) for pair in pairs), lm.device)
    batch_size = plan.batch_size
    while True:
        try:
            with measure_peak(lm.device, idle) as peak:
                tables = _attribute(lm, group, pairs, prepared, batch_size, on_progress)
            return tables, {**dataclasses.asdict(plan), "batch_size": batch_size, "measured_peak": peak.n_bytes}
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if batch_size == 1:
                raise UserError(
                    f"{lm.device} has too little memory for one list at a time: name fewer --sites, or use --dtype "
                    "bfloat16 or --device cpu"
                ) from error
            batch_size = (batch_size + 1) // 2


def idle_bytes(lm: LanguageModel) -> int | None:
    """Resident memory of the process without the model: what libraries and earlier groups left is not the work's."""
    weights = 0
    if lm.device.type == "cpu":
        for parameter in lm.hf.parameters():
            # Weights mapped from a file become resident when they are first read: a number of every page is.
            parameter.detach().flatten()[:: 4096 // parameter.element_size()].sum()
            weights += parameter.numel() * parameter.element_size()
    give_back_free_memory()
    resident = resident_bytes()
    return None if resident is None else resident - weights


def memory_plan(prepared: Prepared, n_pairs: int, length: int, device: torch.device) -> MemoryPlan:
    """How ``n_pairs`` of at most ``length`` tokens will be run within the settings' budget.

    Raises:
        UserError: the budget is too small.
    """
    settings = prepared.settings
    folder = find_model(settings.model, weights=False)
    meta = meta_model(folder, settings.dtype or "float32")
    sites = [file.site for file in prepared.saes]
    # The models here are published in bfloat16.
    weights = 0 if has_weights(folder) else sum(2 * parameter.numel() for parameter in meta.hf.parameters())
    plan = plan_memory(
        functools.cache(lambda batch: rehearse(meta, sites, batch, length)),
        prepared.saes,
        n_pairs,
        length,
        settings.batch_size,
        None if settings.vram is None else parse_bytes(settings.vram),
        on_host=device.type == "cpu",
    )
    return dataclasses.replace(plan, download=weights + sum(file.download for file in prepared.saes))


def attribution_plan(prepared: Prepared, batch_size: int) -> AttributionPlan:
    """What the settings ask of each group."""
    settings = prepared.settings
    return AttributionPlan(
        prepared.metric,
        settings.decision,
        settings.base,
        settings.method,
        settings.ig_steps,
        batch_size,
        settings.seed,
    )


def _attribute(
    lm: LanguageModel, group: str, pairs: list[Pair], prepared: Prepared, batch_size: int, on_progress: OnProgress
) -> GroupTables:
    plan = attribution_plan(prepared, batch_size)
    return attribute_group(
        lm, pairs, prepared.saes, plan, lambda stage, done, total: on_progress(group, stage, done, total)
    )
