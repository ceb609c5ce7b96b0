"""Patch one group of pairs: a component in every layer, between clean and corrupted runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from saeattr.behaviours.pair import Pair, swap_prompts
from saeattr.errors import UserError
from saeattr.patching.activations import activations, parts_to_run
from saeattr.patching.components import COMPONENTS, Component, lacking
from saeattr.patching.effects import exact_effects, gradient_effects, make_patches
from saeattr.patching.places import BY_HEAD, By, Place, find_places
from saeattr.runs.batch import BatchRuns
from saeattr.runs.patches import Patches
from saeattr.runs.task import Task, run_pairs
from saeattr.tables import PATCHING

Direction = Literal["noising", "denoising"]
Method = Literal["exact", "attribution"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class PatchPlan:
    """What is patched and how.

    Attributes:
        components: names; by: how effects are told apart.
        direction: noising puts corrupted activations into the clean run, denoising clean ones into the corrupted run.
        method: exact, or attribution: one backward gives every component.
        locations: roles that are patched together too, by what they are called.
    """

    components: tuple[str, ...] = ("resid_pre",)
    by: By = "role"
    direction: Direction = "noising"
    method: Method = "exact"
    locations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def by_head(self) -> bool:
        return self.by in BY_HEAD

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UserError: a component has no heads, and heads are to be told apart.
        """
        without = [name for name in self.components if COMPONENTS[name].heads == "none"]
        if self.by_head and without:
            having = ", ".join(name for name, one in COMPONENTS.items() if one.heads != "none")
            raise UserError(f"{without[0]} has no heads, so it cannot be patched --by {self.by}: choose from {having}")


def patch_group(task: Task, plan: PatchPlan) -> pd.DataFrame:
    """The effects of a plan in every pair.

    Args:
        task: its pairs are of one group and have corrupted prompts.

    Returns:
        ``tables.PATCHING``. Pairs of unequal prompts have no rows of scores and patterns, whose keys would not be the
        same tokens.

    Raises:
        UserError: the model lacks a component, or heads are asked of one that has none.
    """
    plan.check()
    components = [COMPONENTS[name] for name in plan.components]
    for component in components:
        if lacking(component, task.lm):
            raise UserError(f"{lacking(component, task.lm)}: leave it out of --component")
    tables = []
    for aligned in (True, False):
        pairs = [pair for pair in task.pairs if (pair.partners is None) == aligned]
        usable = [component for component in components if aligned or not component.keys_last]
        if pairs and usable:
            tables += _patch_alike(dataclasses.replace(task, pairs=oriented(pairs, plan.direction)), plan, usable)
    return PATCHING.frame(pd.concat(tables, ignore_index=True)) if tables else PATCHING.empty()


def oriented(pairs: Sequence[Pair], direction: Direction) -> list[Pair]:
    """The pairs with that prompt as the clean one whose run is patched."""
    return list(pairs) if direction == "noising" else [swap_prompts(pair) for pair in pairs]


def _patch_alike(task: Task, plan: PatchPlan, components: Sequence[Component]) -> list[pd.DataFrame]:
    """The effects in pairs that are all aligned one to one, or none of them."""
    gradients = plan.method == "attribution"
    step, n_layers = f"{plan.method} {plan.direction} by {plan.by}", task.lm.n_layers
    tables = []
    # One backward serves every component; without it, they are captured one at a time.
    for together in [components] if gradients else [[component] for component in components]:
        batches = run_pairs(task, parts_to_run(together, n_layers), gradients=gradients)
        work = [(component, layer) for component in together for layer in range(n_layers)]
        for done, (component, layer) in enumerate(work):
            task.on_step(f"{step}: {together[0].name if len(together) == 1 else 'all'}", done, len(work))
            tables += [_in_layer(batch, plan, component, layer, task.pace.copies) for batch in batches]
        task.on_step(f"{step}: {together[0].name if len(together) == 1 else 'all'}", len(work), len(work))
    return tables


def _in_layer(batch: BatchRuns, plan: PatchPlan, component: Component, layer: int, copies: int) -> pd.DataFrame:
    """The effects of one component of one layer in one batch."""
    places = find_places(batch, plan.by, plan.locations)
    found = activations(batch, component, layer)
    patches = make_patches(places, component.n_heads(batch.lm), plan.by_head)
    if plan.method == "exact":
        effects = exact_effects(batch, found, patches, copies)
    else:
        effects = gradient_effects(found, patches)
    own = {"component": component.name, "by": plan.by, "direction": plan.direction, "method": plan.method}
    rows = {**own, "layer": np.int16(layer), "effect": effects.cpu().double().numpy()}
    return pd.DataFrame({**_addresses(batch, places, patches, plan.direction), **rows})


def _addresses(batch: BatchRuns, places: Sequence[Place], patches: Patches, direction: Direction) -> dict[str, Any]:
    """Of each patch its pair with the metric of both runs, its place and its head."""
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    of_row = patches.row.tolist()
    of_place = [place for place in places for _ in range(len(of_row) // len(places))]
    runs = [run.cpu().double().numpy()[of_row] for run in (batch.clean.metric, batch.corrupted.metric)]
    clean, corrupted = runs if direction == "noising" else runs[::-1]
    return {
        "group": [batch.pairs[one].group for one in of_row],
        "pair_id": [batch.pairs[one].pair_id for one in of_row],
        "head": patches.head.cpu().numpy(),
        "place": [place.name for place in of_place],
        "position": [place.position for place in of_place],
        "joint": [place.joint for place in of_place],
        "clean": clean,
        "corrupted": corrupted,
    }
