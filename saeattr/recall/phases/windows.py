"""One component patched in several layers at once: what layers do together, beside what each does alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import DECISION
from saeattr.model.hookpoints import as_hooked, by_position
from saeattr.model.recompute import Span, recompute
from saeattr.patching.activations import parts_to_run
from saeattr.patching.components import COMPONENTS, Component, Part, lacking
from saeattr.patching.effects import make_patches
from saeattr.patching.group import DIRECTIONS, Direction, oriented
from saeattr.patching.places import Place, find_places
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import FINAL
from saeattr.runs.batch import BatchRuns
from saeattr.runs.effects import decision_slots, metric_change
from saeattr.runs.patches import Patches
from saeattr.runs.task import Task, run_pairs
from saeattr.runs.unedited import forwards
from saeattr.tables import WINDOW_PATCHES

#: What is patched in windows of layers, and where; places as ``recall.localisation.curves`` calls them.
WINDOWED = (("attn_out", FINAL), ("mlp_out", FINAL), ("mlp_out", ENTITY))
#: Windows of up to so many layers slide over the depth; beside these there is that of all layers.
MOST_TOGETHER = 4

Window = tuple[int, int]


def windows(n_layers: int, most: int = MOST_TOGETHER) -> list[Window]:
    """First and last layer of every window: single layers, those of 2 to ``most``, and all layers."""
    sizes = [*range(1, min(most, n_layers) + 1), *([n_layers] if n_layers > most else [])]
    return [(first, first + size - 1) for size in sizes for first in range(n_layers - size + 1)]


def window_patches(task: Task) -> pd.DataFrame:
    """Every window of ``WINDOWED`` in both directions, in every pair: ``tables.WINDOW_PATCHES``.

    Args:
        task: aligned pairs of facts, of any number of groups; components that the model lacks have no rows.
    """
    components = [
        one for name in dict.fromkeys(name for name, _ in WINDOWED) if not lacking(one := COMPONENTS[name], task.lm)
    ]
    chosen = [(COMPONENTS[name], place) for name, place in WINDOWED if COMPONENTS[name] in components]
    tables = []
    for direction in DIRECTIONS:
        turned = dataclasses.replace(task, pairs=oriented(task.pairs, direction))
        batches = run_pairs(turned, parts_to_run(components, task.lm.n_layers))
        for done, batch in enumerate(batches):
            task.on_step(f"windows of layers, {direction}", done, len(batches))
            tables += [_at_place(batch, component, place, direction, task.pace.copies) for component, place in chosen]
        task.on_step(f"windows of layers, {direction}", len(batches), len(batches))
    return WINDOW_PATCHES.frame(pd.concat(tables, ignore_index=True)) if tables else WINDOW_PATCHES.empty()


def _at_place(batch: BatchRuns, component: Component, place: str, direction: Direction, copies: int) -> pd.DataFrame:
    """Every window of one component at one place of every row of a batch."""
    role = DECISION if place == FINAL else ENTITY
    places = [one for one in find_places(batch, "role", {}) if one.name == role]
    if not places:
        return WINDOW_PATCHES.empty()
    tables = []
    for first, last in windows(batch.lm.n_layers):
        parts = [Part(component, layer) for layer in range(first, last + 1)]
        effects = joint_effects(batch, parts, make_patches(places, 1, by_head=False), copies)
        own = {"direction": direction, "component": component.name, "place": place}
        layers = {"first_layer": first, "last_layer": last, "effect": effects.cpu().double().numpy()}
        tables.append(pd.DataFrame({**_addresses(batch, places, direction), **own, **layers}))
    return pd.concat(tables, ignore_index=True)


def _addresses(batch: BatchRuns, places: Sequence[Place], direction: Direction) -> Mapping[str, Any]:
    """Of each place its pair, and the metric of both prompts."""
    assert batch.corrupted is not None
    runs = [np.asarray(run.metric)[[one.row for one in places]] for run in (batch.clean, batch.corrupted)]
    clean, corrupted = runs if direction == "noising" else runs[::-1]
    pairs = [batch.pairs[one.row] for one in places]
    ids = {"group": [pair.group for pair in pairs], "pair_id": [pair.pair_id for pair in pairs]}
    return {**ids, "clean": clean, "corrupted": corrupted}


@torch.no_grad()
def joint_effects(batch: BatchRuns, parts: Sequence[Part], patches: Patches, copies: int) -> Float[Tensor, " copies"]:
    """The change of the clean run's metric when several layers are patched in one run.

    The layers from the first patched one on run again; in each patched layer the other run's value is put in, whatever
    the layers before made of it.

    Args:
        parts: one component of several layers in their order; both runs are captured at them.
        patches: what of each copy is patched, in every one of the layers.
        copies: in one forward.
    """
    assert batch.corrupted is not None
    at, device = decision_slots(batch)[0].to(patches.row.device), patches.row.device
    effects = torch.empty(len(patches.row), device=device)
    for part in forwards(batch, patches.row, copies):
        which = torch.arange(len(patches.row), device=device)[part]
        edited = patches.take(which)
        some = edited.with_unedited(batch)
        # All slots are read from the same span: a shorter one for each copy would save little here.
        span = Span(int(edited.mask.long().argmax(1).min()), int(at[some.row].max()) + 1)
        inside = slice(span.first, span.stop)
        spanned = Patches(some.row, some.mask[:, inside], some.head, some.n_heads)
        own, other = (run.x[parts[0]][:, inside][some.row] for run in (batch.clean, batch.corrupted))
        later = [(one.hook_name, _putter(batch, one, spanned, inside)) for one in parts[1:]]
        with batch.lm.hooks(later):
            hidden = recompute(batch.clean, parts[0], spanned.put(own, other), some.row, span)
        slots = at[some.row].clamp(min=span.first) - span.first
        read = hidden[torch.arange(len(hidden), device=hidden.device)[:, None], slots.to(hidden.device)]
        effects[which] = metric_change(batch, read, edited.row, span.first).to(device)
    return effects


def _putter(batch: BatchRuns, part: Part, patches: Patches, inside: slice) -> Callable[..., Tensor]:
    """A hook that puts the other run's value in at what is patched, and leaves the rest as it comes."""
    assert batch.corrupted is not None
    other = batch.corrupted.x[part][:, inside][patches.row]

    def put(value: Tensor, hook: Any) -> Tensor:
        # The layer may lie on another card than what was captured of it.
        own = by_position(part, value).to(other)
        return as_hooked(part, patches.put(own, other), value)

    return put
