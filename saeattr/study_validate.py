"""Validation of one topic of a study, taken up again at the next feature where an earlier run was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from saeattr.analysis.memory_plan import MemoryPlan, Rehearse
from saeattr.analysis.topic import AttributionPlan, OnProgress
from saeattr.analysis.validate import ValidationPlan, ValidationTables, validate_features
from saeattr.model.loading import LanguageModel
from saeattr.prompts.pairs import Pair
from saeattr.saes.loading import SaeFile
from saeattr.store import read_table, write_table

#: More copies in one forward than these are not faster: caches overflow on a CPU, a GPU is busy.
MOST_COPIES = {"cpu": 32}
MOST_COPIES_ELSEWHERE = 512


def validate_topic(
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
    """Remove what ``validate_topic`` kept for an interrupted run."""
    for path in partial.glob("exact-*.parquet"):
        path.unlink()
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def plan_copies(memory: MemoryPlan, rehearse: Rehearse, device: str) -> int:
    """How many edited copies one forward takes: as many as fill the plan, up to where more are no faster.

    Without a budget they may take what the attribution's backward took, which is free again.

    Args:
        rehearse: as for ``plan_memory``.
        device: ``cpu`` or ``cuda``.
    """
    each = rehearse(memory.batch_size).recompute / memory.batch_size
    resident = memory.weights + memory.captured + memory.sae + memory.encode
    free = memory.working if memory.budget is None else max(memory.working, memory.budget - resident)
    return max(1, min(int(free / max(each, 1)), MOST_COPIES.get(device, MOST_COPIES_ELSEWHERE)))


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
        [(pair.list_id, pair.clean_ids, pair.corrupted_ids) for pair in pairs],
        [(str(file.site), file.name) for file in saes],
        top[["layer", "kind", "feature"]].to_numpy().tolist(),
        (plan.metric, plan.decision, plan.base),
        (wanted.n_controls, wanted.positions),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
