"""The memory of a study's stages: planned before, measured beside, and less of it where a card runs out."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from saeattr.errors import UserError
from saeattr.files import write_text
from saeattr.model.hub import has_weights
from saeattr.model.loading import LanguageModel, find_model
from saeattr.model.memory import give_back_free_memory, measure_peak, meta_model, meta_of, rehearse, resident_bytes
from saeattr.model.passed import PassedModel
from saeattr.runs.memory import Load, MemoryPlan, parse_bytes, plan_memory
from saeattr.runs.question import Pace
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared
from saeattr.study.site_parts import SHARD_PAIRS

T = TypeVar("T")


def memory_plan(prepared: Prepared, n_pairs: int, length: int, device: torch.device) -> MemoryPlan:
    """How ``n_pairs`` of at most ``length`` tokens, a shard of them at a time, will be run within the settings' budget.

    Raises:
        UserError: the budget is too small.
    """
    settings = prepared.settings
    meta, download = model_without_weights(prepared)
    sites = [file.site for file in prepared.saes]
    plan = plan_memory(
        functools.cache(lambda batch: rehearse(meta, sites, batch, length)),
        prepared.saes,
        Load(min(n_pairs, SHARD_PAIRS), length, on_host=device.type == "cpu"),
        settings.batch_size,
        None if settings.vram is None else parse_bytes(settings.vram),
    )
    return dataclasses.replace(plan, download=download + sum(file.download for file in prepared.saes))


def model_without_weights(prepared: Prepared) -> tuple[LanguageModel, int]:
    """The study's model on meta tensors, and the bytes of its weights that are still to be fetched."""
    settings, passed = prepared.settings, prepared.passed.model
    if passed is not None:
        return _meta_of_passed(passed), 0
    folder = find_model(settings.model, weights=False)
    meta = _meta_model(folder, settings.dtype or "float32")
    # The models here are published in bfloat16.
    return meta, 0 if has_weights(folder) else sum(2 * parameter.numel() for parameter in meta.hf.parameters())


@functools.lru_cache(maxsize=1)
def _meta_of_passed(passed: PassedModel) -> LanguageModel:
    lm = passed.lm
    return meta_of(copy.deepcopy(lm.hf.config), copy.deepcopy(lm.tokenizer), Path(lm.name), passed.dtype)


@functools.lru_cache(maxsize=1)
def _meta_model(folder: Path, dtype: str) -> LanguageModel:
    """Opening one takes a second or two, and every group of a study asks for the same."""
    return meta_model(folder, dtype)


def within_memory(lm: LanguageModel, pace: Pace, attempt: Callable[[Pace], T]) -> tuple[T, Pace, int | None]:
    """Attempt work and measure its peak; where a CUDA device runs out of memory, with half as much at a time.

    Returns:
        what the attempt gave, the pace it was made at, and the peak in bytes (None where the system does not tell).

    Raises:
        UserError: one pair and one copy at a time do not fit.
    """
    with measure_peak(lm.device, idle_bytes(lm)) as peak:
        while True:
            try:
                found = attempt(pace)
                break
            except torch.cuda.OutOfMemoryError as error:
                if pace.batch_size == 1 and pace.copies == 1:
                    raise UserError(
                        f"{lm.device} has too little memory for one pair at a time: name fewer --sites, or use --dtype "
                        "bfloat16 or --device cpu"
                    ) from error
            # Behind the error, which held on to the tensors of the attempt.
            torch.cuda.empty_cache()
            halved = {"batch_size": (pace.batch_size + 1) // 2, "copies": (pace.copies + 1) // 2}
            pace = dataclasses.replace(pace, **halved)
    return found, pace, peak.n_bytes


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


def note_sites(study: StudyFolder, prepared: Prepared) -> None:
    """Write the study's sites and their SAEs into plan.json."""
    sites = {str(file.site): {"width": file.d_sae, "sae": file.name} for file in prepared.saes}
    _write_plan(study, {**_read_plan(study), "sites": sites})


def note_memory(study: StudyFolder, group: str, planned: Mapping[str, Any], peaks: Mapping[str, int | None]) -> None:
    """Add to plan.json what is known of a group: bytes by part, predicted peak, and each stage's measured peak."""
    known = _read_plan(study)
    before = known.setdefault("groups", {}).get(group, {})
    measured = {**before.get("measured_peak", {}), **peaks}
    known["groups"][group] = {**before, **planned, "measured_peak": measured}
    _write_plan(study, known)


def _read_plan(study: StudyFolder) -> dict[str, Any]:
    path = study.plan_path
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_plan(study: StudyFolder, plan: Mapping[str, Any]) -> None:
    write_text(study.plan_path, json.dumps(plan, indent=1) + "\n")
