"""The memory of a study's stages: planned before, measured beside, and less of it where a card runs out."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedConfig

from saeattr.attribution.methods import find_method
from saeattr.behaviours.lists.rehearsal import rehearse_writing
from saeattr.files import write_text
from saeattr.model.costs import Costs
from saeattr.model.fitted import NUMBER_BYTES, fitted_costs
from saeattr.model.hub import has_weights
from saeattr.model.loading import LanguageModel, find_model, read_config
from saeattr.model.memory import give_back_free_memory, measure_peak, meta_model, meta_of, resident_bytes
from saeattr.model.passed import PassedModel
from saeattr.model.shapes import ModelShape, shape_of
from saeattr.runs.halving import until_it_fits
from saeattr.runs.memory import USUAL_REQUEST, MemoryPlan, parse_bytes, plan_memory
from saeattr.runs.needs import Load
from saeattr.runs.question import Pace, Question
from saeattr.runs.rehearsal import Asked, rehearse_runs
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder, read_plan
from saeattr.study.limits import most_download
from saeattr.study.outlook import ablated_lists
from saeattr.study.prepare import Prepared
from saeattr.study.site_parts import SHARD_PAIRS

T = TypeVar("T")

#: Stages before those whose plan stands for a group's.
MODEL_ALONE = ("pairs", "statistics", "entropy", "lens", "patching", "head_moves", "selection")
#: Tokens in whose multiples lengths are rehearsed.
LENGTHS_ALIKE = 16


def memory_plan(
    prepared: Prepared, n_pairs: int, length: int, device: torch.device, n_groups: int = 1, refuse: bool = True
) -> MemoryPlan:
    """How ``n_pairs`` of at most ``length`` tokens, a shard of them at a time, will be run within the settings' budget.

    Args:
        n_groups: whose pairs are run before the first SAE is opened.
        refuse: whether a budget that attribution cannot keep to is an error.

    Raises:
        UserError: the budget is too small.
    """
    settings = prepared.settings
    config = model_config(prepared)
    dtype = model_dtype(prepared)
    load = Load(
        min(n_pairs, SHARD_PAIRS),
        length,
        on_host=device.type == "cpu",
        n_groups=n_groups,
        checked=prepared.question.check_pairs,
        number_bytes=NUMBER_BYTES[dtype],
        ablated_lists=ablated_lists(settings, len(prepared.saes)),
    )
    costs = runs_costs(prepared, length)
    budget = None if settings.vram is None else parse_bytes(settings.vram)
    plan = plan_memory(costs, prepared.saes, load, settings.batch_size, budget, refuse)
    missing = 0 if config.is_here else round(2 * costs.weights / NUMBER_BYTES[dtype])
    return dataclasses.replace(plan, download=missing + most_download(settings, prepared.saes))


def runs_costs(prepared: Prepared, length: int) -> Costs:
    """What runs of the study's model take: of a shape that was rehearsed once and for all, or rehearsed now."""
    settings, question = prepared.settings, prepared.question
    sites = tuple(sorted(file.site for file in prepared.saes)) or (Site("resid_post", 0),)
    dtype, written = model_dtype(prepared), USUAL_REQUEST + settings.max_new_tokens
    shape, whole = model_config(prepared).shape, question.metric.whole_vocabulary
    known = None if shape is None else fitted_costs(shape, dtype, sites, length, question.method, whole)
    if known is None:
        # Lengths differ from group to group: one rehearsal serves those that are nearly alike.
        length, written = (-(-n // LENGTHS_ALIKE) * LENGTHS_ALIKE for n in (length, written))
        model = prepared.passed.model or (settings.model, dtype)
        return _rehearsed(model, sites, question, length, written)
    lists = fitted_costs(shape, dtype, sites, written, question.method, whole) if shape is not None else None
    assert lists is not None
    return known.writing(lists)


@functools.lru_cache(maxsize=8)
def _rehearsed(
    model: PassedModel | tuple[str, str], sites: tuple[Site, ...], question: Question, length: int, written: int
) -> Costs:
    """Of a model that was passed, or one of a name and a dtype."""
    passed = isinstance(model, PassedModel)
    meta = _meta_of_passed(model) if passed else _meta_model(find_model(model[0], weights=False), model[1])
    method = find_method(question.method)
    asked = Asked(sites, question, method.rules, method.slope if method.name == "ig" else None)
    sample, cache = rehearse_writing(meta, written)
    return dataclasses.replace(rehearse_runs(meta, asked, length), sample=sample, cache=cache)


@dataclass(frozen=True)
class ModelConfig:
    """What is known of a model from its configuration.

    Attributes:
        shape: None where its configuration says it in other words.
        is_here: whether its weights need not be fetched.
    """

    shape: ModelShape | None
    is_here: bool


def model_config(prepared: Prepared) -> ModelConfig:
    """Of the model that was passed, or that the settings name."""
    passed = prepared.passed.model
    if passed is not None:
        return ModelConfig(_shape(passed.lm.hf.config), True)
    folder = find_model(prepared.settings.model, weights=False)
    return ModelConfig(_shape(read_config(folder)), has_weights(folder))


def model_dtype(prepared: Prepared) -> str:
    """Of the model that was passed, or as the settings have it."""
    passed = prepared.passed.model
    return (prepared.settings.dtype or "float32") if passed is None else passed.dtype


def _shape(config: PreTrainedConfig) -> ModelShape | None:
    try:
        return shape_of(config.to_dict())
    except (KeyError, StopIteration, TypeError, ValueError):
        return None


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
    """Attempt work and measure its peak; where memory runs out, with half as much at a time (``until_it_fits``).

    Returns:
        what the attempt gave, the pace it was made at, and the peak in bytes (None where the system does not tell).

    Raises:
        UserError: one pair and one copy at a time do not fit.
    """
    with measure_peak(lm.device, idle_bytes(lm)) as peak:
        found, pace = until_it_fits(lm.device, pace, attempt)
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
    _write_plan(study, {**read_plan(study), "sites": sites})


def note_stage(study: StudyFolder, group: str, plan: MemoryPlan, stage: str, pace: Pace, measured: int | None) -> None:
    """Add to plan.json what a stage of a group took beside what was predicted, and how it was run.

    The parts of the plan stand beside the stages as those of the stages that open SAEs have them.
    """
    known = read_plan(study)
    before = known.setdefault("groups", {}).get(group, {})
    stages = {**before.get("stages", {})}
    one = plan.stages.get(stage)
    stages[stage] = {
        "predicted": plan.predicted(stage),
        "tensors": None if one is None else one.tensors,
        "moment": None if one is None else one.most,
        "measured": measured,
        "batch_size": pace.batch_size,
        "copies": pace.copies,
    }
    parts = {**before} if stage in MODEL_ALONE else {**before, **vars(plan), "copies": pace.copies}
    parts["batch_size"] = pace.batch_size
    known["groups"][group] = {
        **{name: value for name, value in parts.items() if name != "stages"},
        "measured_peak": {**before.get("measured_peak", {}), stage: measured},
        "stages": stages,
    }
    _write_plan(study, known)


def _write_plan(study: StudyFolder, plan: Mapping[str, Any]) -> None:
    write_text(study.plan_path, json.dumps(plan, indent=1) + "\n")
