"""Validation of one group of a study, taken up again at the next feature where an earlier run was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from saeattr.attribution.group import AttributionPlan, OnProgress
from saeattr.behaviours.lists.topics import group_slug
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.files import read_metadata, read_table, write_part, write_table
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile
from saeattr.study.attribution import attribution_plan, memory_plan
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared
from saeattr.validation.group import ValidationPlan, ValidationTables, validate_features
from saeattr.validation.verdicts import few_pairs_warnings

#: The tables of a study that join those of its groups; ``compared`` and ``exact`` stay with each group.
VALIDATION_TABLES = ("validation", "curves", "agreement")
_WANTED = "saeattr.validation"


def is_validated(folder: StudyFolder, slug: str, wanted: ValidationPlan) -> bool:
    """Whether a group's validation is stored, as it is wanted now."""
    known = read_metadata(folder.validation_folder(slug) / "validation.parquet").get(_WANTED)
    return known == _described(wanted)


def validate_stage(
    lm: LanguageModel,
    group: str,
    pairs: list[Pair],
    prepared: Prepared,
    folder: StudyFolder,
    wanted: ValidationPlan,
    on_progress: Callable[[str, str, int, int], None],
) -> list[str]:
    """Validate an attributed group and store its tables.

    Where a CUDA device runs out of memory the copies are halved, and the work goes on at the next feature.

    Returns:
        What the reader should know, one line each.

    Raises:
        UserError: one copy at a time does not fit the device, or the tables cannot be written.
    """
    slug = group_slug(group)
    attributed = folder.group_folder(slug)
    features = read_table(attributed / "features.parquet")
    attributions = read_table(attributed / "attributions.parquet") if wanted.positions == "single" else None
    memory = memory_plan(prepared, len(pairs), max(len(pair.clean_ids) for pair in pairs), lm.device)
    plan = attribution_plan(prepared, memory.batch_size)
    copies = memory.copies
    partial = folder.validation_folder(f".partial-{slug}")
    while True:
        try:
            tables = validate_group(
                lm,
                pairs,
                prepared.saes,
                features,
                attributions,
                plan,
                dataclasses.replace(wanted, copies=copies),
                partial=partial,
                on_progress=lambda stage, done, total: on_progress(group, stage, done, total),
            )
            break
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if copies == 1:
                raise UserError(
                    f"{lm.device} has too little memory to validate one feature at a time: use --no-validate, "
                    "--dtype bfloat16 or --device cpu"
                ) from error
            copies = (copies + 1) // 2
    parts = {name: getattr(tables, name) for name in (*VALIDATION_TABLES, "compared", "exact")}
    write_part(folder.validation_folder(slug), parts, {_WANTED: _described(wanted)})
    discard_partial(partial)
    return few_pairs_warnings(len(pairs))


def validate_group(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    saes: Sequence[SaeFile],
    features: pd.DataFrame,
    attributions: pd.DataFrame | None,
    plan: AttributionPlan,
    wanted: ValidationPlan,
    *,
    partial: Path | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> ValidationTables:
    """``validate_features``, with each feature's exact effects stored as soon as they are measured.

    Args:
        partial: a folder for what is measured so far; an interrupted validation goes on from it, if lists, SAEs and
            plans are the same. ``discard_partial`` removes it once the tables are stored. None stores nothing.

    Raises:
        UserError: the folder cannot be written, or what it holds is damaged.
    """
    if partial is None:
        return validate_features(lm, pairs, saes, features, attributions, plan, wanted, on_progress=on_progress)
    path = partial / f"exact-{_key(lm, pairs, saes, features, plan, wanted)}.parquet"
    known = [read_table(path)] if path.exists() else []
    done = known[0] if known else None

    def store(part: pd.DataFrame) -> None:
        known.append(part)
        write_table(path, pd.concat(known, ignore_index=True))

    return validate_features(
        lm, pairs, saes, features, attributions, plan, wanted, on_progress=on_progress, done=done, on_part=store
    )


def discard_partial(partial: Path) -> None:
    """Remove what ``validate_group`` kept for an interrupted run."""
    for path in partial.glob("exact-*.parquet"):
        path.unlink()
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def _key(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    saes: Sequence[SaeFile],
    features: pd.DataFrame,
    plan: AttributionPlan,
    wanted: ValidationPlan,
) -> str:
    """Changes with everything that exact effects depend on; batch sizes do not change them."""
    top = features.sort_values("rank", kind="stable").head(wanted.top)
    parts = [
        lm.name,
        [(pair.pair_id, pair.clean_ids, pair.corrupted_ids) for pair in pairs],
        [(str(file.site), file.name) for file in saes],
        top[["layer", "kind", "feature"]].to_numpy().tolist(),
        (plan.metric, plan.decision, plan.base),
        (wanted.n_controls, wanted.positions),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _described(wanted: ValidationPlan) -> str:
    """What decides the numbers; the number of copies does not."""
    fields = dataclasses.asdict(wanted)
    del fields["copies"]
    return json.dumps(fields)
