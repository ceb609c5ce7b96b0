"""Facts patched between clean and corrupted prompts: by role, token by token and head by head, all of one capture.

Of each forward LD is read, and of patches of the stream and its parts the probability of the clean prompt's answer too.
Facts of all categories stand in one batch; roles that are a single token are that token's patch, made once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import DECISION, Pair, chunks
from saeattr.model.loading import LanguageModel
from saeattr.patching.activations import activations, parts_to_run
from saeattr.patching.components import COMPONENTS, Component, lacking
from saeattr.patching.effects import make_patches
from saeattr.patching.group import DIRECTIONS, Direction, oriented
from saeattr.patching.places import Place, find_places
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import STREAM
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.metric import METRICS
from saeattr.runs.patches import ALL_HEADS, patch_changes
from saeattr.runs.task import Task
from saeattr.tables import RECALL_PATCHES

#: What is patched head by head, and where.
HEADS, HEAD_PLACES = "z", (ENTITY, DECISION)


def patch_facts(task: Task) -> pd.DataFrame:
    """Every component of every layer of every fact, in both directions: ``tables.RECALL_PATCHES``.

    Args:
        task: pairs of facts of any categories, each aligned one to one; what the model lacks (``lacking``) is left out.
    """
    components = fact_components(task.lm)
    # Facts of like length share a batch, so that little is computed for padding.
    pairs = sorted(task.pairs, key=lambda pair: (len(pair.clean_ids), pair.first_change))
    tables = []
    for nth, direction in enumerate(DIRECTIONS):
        for done, some in enumerate(chunks(oriented(pairs, direction), task.pace.batch_size)):
            step = nth * len(pairs) + done * task.pace.batch_size
            task.on_step("patching", step, len(DIRECTIONS) * len(pairs))
            # Batch by batch, because a column of Python's strings is many times the size of the table's.
            patched = pd.concat(_patch_batch(task, some, components, direction), ignore_index=True)
            tables.append(RECALL_PATCHES.frame(patched))
    task.on_step("patching", len(DIRECTIONS) * len(pairs), len(DIRECTIONS) * len(pairs))
    return pd.concat(tables, ignore_index=True)


def fact_components(lm: LanguageModel) -> list[Component]:
    """What is patched of a model, as far as it has it."""
    return [COMPONENTS[name] for name in (*STREAM, HEADS) if not lacking(COMPONENTS[name], lm)]


def _patch_batch(
    task: Task, pairs: Sequence[Pair], components: Sequence[Component], direction: Direction
) -> list[pd.DataFrame]:
    """Every component in every layer of some facts, captured once."""
    n_layers = task.lm.n_layers
    batch = run_batch(task.lm, pairs, parts_to_run(components, n_layers), task.question, gradients=False)
    probability = dataclasses.replace(task.question, metric=METRICS["probability"])
    asked = [batch, run_batch(task.lm, pairs, [], probability, gradients=False)]
    of_roles = [place for place in find_places(batch, "role", {}) if not place.joint]
    stream_places = [*of_roles, *find_places(batch, "token", {})]
    head_places = [place for place in of_roles if place.name in HEAD_PLACES]
    tables = []
    for component in components:
        # One question of heads, two of all else.
        questions, places, heads = asked, stream_places, [ALL_HEADS]
        if component.name == HEADS:
            questions, places, heads = asked[:1], head_places, list(range(component.n_heads(task.lm)))
        for layer in range(n_layers):
            if component.name == "resid_post" and layer + 1 < n_layers:
                # The next layer's input, which is patched as such.
                continue
            changes = _changes(questions, component, layer, places, task.pace.copies)
            table = _rows(questions, places, heads, changes, direction).assign(component=component.name, layer=layer)
            tables.append(table)
            if component.name == "resid_pre" and layer:
                tables.append(table.assign(component="resid_post", layer=layer - 1))
    return tables


def _changes(
    asked: Sequence[BatchRuns], component: Component, layer: int, places: Sequence[Place], copies: int
) -> Float[Tensor, "questions patches"]:
    """The change of each metric by place (and head); places of the same positions are patched once."""
    by_head = component.name == HEADS
    keys = torch.stack([torch.cat([torch.tensor([place.row]), place.mask.long().cpu()]) for place in places])
    which, inverse = torch.unique(keys, dim=0, return_inverse=True)
    first = torch.full((len(which),), len(places)).scatter_reduce(0, inverse, torch.arange(len(places)), "amin")
    found = activations(asked[0], component, layer)
    patches = make_patches([places[at] for at in first.tolist()], component.n_heads(asked[0].lm), by_head)
    changes = patch_changes(asked, found.point, patches, copies, found.other)
    n_heads = patches.n_heads if by_head else 1
    return changes.view(len(asked), len(which), n_heads)[:, inverse].flatten(1)


def _rows(
    asked: Sequence[BatchRuns],
    places: Sequence[Place],
    heads: Sequence[int],
    changes: Float[Tensor, "questions patches"],
    direction: Direction,
) -> pd.DataFrame:
    """Of each patch its fact, its place, and what was read, clean and corrupted as the prompts are called."""
    batch, of_place = asked[0], [place for place in places for _ in heads]
    rows = [place.row for place in of_place]
    effect, *of_p = changes.cpu().double().numpy()
    clean, corrupted = _runs(batch, rows, direction)
    columns: dict[str, Any] = {
        "category": [batch.pairs[row].group for row in rows],
        "pair_id": [batch.pairs[row].pair_id for row in rows],
        "direction": direction,
        "head": np.tile(heads, len(places)),
        "place": [place.name for place in of_place],
        "position": [place.position for place in of_place],
        "effect": effect,
        "clean": clean,
        "corrupted": corrupted,
        "p_patched": np.nan,
        "p_clean": np.nan,
        "p_corrupted": np.nan,
    }
    for change in of_p:
        p_clean, p_corrupted = _runs(asked[1], rows, direction)
        patched = (p_clean if direction == "noising" else p_corrupted) + change
        columns |= {"p_patched": patched, "p_clean": p_clean, "p_corrupted": p_corrupted}
    return pd.DataFrame(columns)


def _runs(batch: BatchRuns, rows: Sequence[int], direction: Direction) -> tuple[np.ndarray, np.ndarray]:
    """The metric after the clean and after the corrupted prompt, by row: denoising, the batch has them swapped."""
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    own, other = (run.cpu().double().numpy()[list(rows)] for run in (batch.clean.metric, batch.corrupted.metric))
    return (own, other) if direction == "noising" else (other, own)
