"""The estimate of time for a plan: what is to be done, measured on this machine, and put together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.errors import UserError
from saeattr.model.fitted import NUMBER_BYTES
from saeattr.model.loading import resolve_device
from saeattr.runs.memory import MemoryPlan
from saeattr.runs.needs import Load
from saeattr.runs.speed import measure_speed
from saeattr.study.duration import Duration, TimedPlan
from saeattr.study.memory import model_config, model_dtype
from saeattr.study.outlook import HOST, Outlook
from saeattr.study.prepare import Prepared
from saeattr.study.workload import Plan, shapes_of, study_parts


def outlook_duration(found: Outlook) -> Duration:
    """The estimate for a named model, of which no file need be here.

    Raises:
        UserError: the plan is of a card, and this machine has none.
    """
    settings = found.settings
    device = resolve_device(settings.device)
    if (device.type == "cpu") != (found.device == HOST):
        raise UserError(
            "--measure times this machine, which has no card, and the plan is of one: give --device cpu, or leave out "
            "--measure"
        )
    saes = found.saes if found.chosen is None else found.saes[: max(1, found.chosen[0])]
    offered = 0 if found.chosen is None else len(found.saes)
    load = dataclasses.replace(found.load, n_pairs=settings.n_pairs)
    drawn = find_behaviour(settings.behaviour).draws_pairs(settings)
    plan = Plan(found.model.shape, settings, load, found.plan, saes, offered, drawn)
    return duration(plan, device, found.dtype)


def timed_plan(prepared: Prepared, memory: MemoryPlan, n_pairs: int, length: int, device: torch.device) -> TimedPlan:
    """A plan of memory with the estimate of time for one group of ``n_pairs``."""
    settings, shape = prepared.settings, model_config(prepared).shape
    found = None
    if shape is not None and prepared.saes:
        dtype = model_dtype(prepared)
        load = Load(
            n_pairs, length, device.type == "cpu", checked=settings.check_pairs, number_bytes=NUMBER_BYTES[dtype]
        )
        chooses = not settings.names_sites
        saes = prepared.saes[: settings.max_sites] if chooses else prepared.saes
        offered, drawn = len(prepared.saes) if chooses else 0, prepared.behaviour.draws_pairs(settings)
        found = duration(Plan(shape, settings, load, memory, saes, offered, drawn), device, dtype)
    return TimedPlan(**vars(memory), duration=found)


def duration(plan: Plan, device: torch.device, dtype: str) -> Duration:
    """Measure at the plan's shapes, a file in the hub's cache where there is one, and estimate."""
    import huggingface_hub.constants as hub

    folder = Path(hub.HF_HUB_CACHE)
    speed = measure_speed(device, getattr(torch, dtype), shapes_of(plan), folder if folder.is_dir() else None)
    return Duration(plan.load.n_pairs, study_parts(plan), speed)
