"""Exact effects of the same patches in two models, one model in memory at a time.

What a patch moves x by is read from each model's own runs. In B every patch is made twice: as far as B's activations
say (its exact effect there) and as far as A's do. The second differs from the effect in A only because of x itself and
of what lies above the site, and the first from the second only because the features' activations do: both parts of a
change are measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.comparison.plan import ChangeFold
from saeattr.progress import counting
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, metric_gap, pair_ids_of
from saeattr.runs.effects import Change, along_effects, feature_change, total_effect
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site
from saeattr.tables import CHANGE_EXACT, Feature, site_columns

#: Indices of every tested feature's directions: its own, then its controls'.
Directions = Mapping[Feature, Sequence[int]]


@dataclass(frozen=True)
class Place:
    """A feature in one batch of one fold, the same in both models: both run the same pairs in the same batches."""

    fold: int
    batch: int
    feature: Feature


Moves = Mapping[Place, Change]
Effects = dict[Place, Float[Tensor, "directions batch"]]


@dataclass(frozen=True)
class ExactChanges:
    """Of all folds of one group.

    Attributes:
        effects: ``tables.CHANGE_EXACT``.
        taken_back: by site, the change of B's metric with A's x in place of its own there, [pairs].
        metric_change: the clean metric in B minus that in A, [pairs].
        gaps: by pair_id, A's corrupted minus clean metric.
    """

    effects: pd.DataFrame
    taken_back: dict[Site, NDArray[np.float64]]
    metric_change: NDArray[np.float64]
    gaps: dict[str, float]


def measure_both(
    open_a: Callable[[], Task], open_b: Callable[[], Task], folds: Sequence[ChangeFold], directions: Directions
) -> ExactChanges:
    """Patch every fold's features in its pairs, in one model and then in the other.

    Args:
        open_a, open_b: give the model with the SAEs of all sites, the question and the pace; called one after the
            other, so that one model is in memory.
    """
    task = open_a()
    runs = _run_folds(task, folds)
    moves_a = _read_moves(task, folds, runs)
    in_a = _effects(task, runs, moves_a, directions)
    metric_a, x_a = _metric(runs), [[_on_cpu(batch) for batch in batches] for batches in runs]
    gaps = _gaps(runs)
    del task, runs
    task = open_b()
    runs = _run_folds(task, folds)
    moves_b = _read_moves(task, folds, runs)
    in_b = _effects(task, runs, moves_b, directions)
    # Where both models move x alike, nothing is to be run again.
    other = {place: move for place, move in moves_a.items() if not _same(move, moves_b[place])}
    as_far = {**in_b, **_effects(task, runs, other, directions)}
    rows = [_rows(place, runs, directions, (in_a, in_b, as_far)) for place in in_a]
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return ExactChanges(CHANGE_EXACT.frame(table), _taken_back(runs, x_a), _metric(runs) - metric_a, gaps)


def _run_folds(task: Task, folds: Sequence[ChangeFold]) -> list[list[BatchRuns]]:
    """The runs of each fold's pairs, at every site."""
    sites = [file.site for file in task.saes]
    return [run_pairs(dataclasses.replace(task, pairs=fold.pairs), sites) for fold in folds]


def _read_moves(task: Task, folds: Sequence[ChangeFold], runs: Sequence[Sequence[BatchRuns]]) -> Moves:
    """How far each tested feature's patch moves x, in the batches of the folds that test it."""
    tested = [fold.features for fold in folds]
    files = [file for file in task.saes if any(file.site in features for features in tested)]
    found = {}
    for sae in stream_saes(files, task.lm.device):
        for fold, batches in enumerate(runs):
            base = SiteBase.of(sae, batches)
            for feature in tested[fold].get(sae.site, ()):
                for nth, batch in enumerate(batches):
                    found[Place(fold, nth, (sae.site, feature))] = feature_change(batch, base, feature)
    return found


def _effects(task: Task, runs: Sequence[Sequence[BatchRuns]], moves: Moves, directions: Directions) -> Effects:
    """The exact effects of moves, along each feature's own and its controls' directions."""
    on_move, device = counting(task.on_step, "exact effects"), task.lm.device
    sites = {place.feature[0] for place in moves}
    found: Effects = {}
    for sae in stream_saes([file for file in task.saes if file.site in sites], device):
        for place, move in moves.items():
            site, feature = place.feature
            if site != sae.site:
                continue
            on_move(len(found), len(moves))
            ids = torch.tensor(list(directions[site, feature]), device=device)
            here = Change(move.row.to(device), move.position.to(device), move.change.to(device))
            batch = runs[place.fold][place.batch]
            found[place] = along_effects(batch, sae, feature, here, ids, task.pace.copies).cpu()
    on_move(len(moves), len(moves))
    return found


def _same(one: Change, other: Change) -> bool:
    columns = ((one.row, other.row), (one.position, other.position), (one.change, other.change))
    return all(torch.equal(left.cpu(), right.cpu()) for left, right in columns)


def _on_cpu(batch: BatchRuns) -> dict[Site, Tensor]:
    return {site: x.cpu() for site, x in batch.clean.x.items() if isinstance(site, Site)}


def _metric(runs: Sequence[Sequence[BatchRuns]]) -> NDArray[np.float64]:
    """The clean metric of all folds' pairs."""
    metrics = [batch.clean.metric for batches in runs for batch in batches]
    return torch.cat([metric for metric in metrics if metric is not None]).cpu().double().numpy()


def _gaps(runs: Sequence[Sequence[BatchRuns]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for batches in runs:
        found |= dict(zip(pair_ids_of(batches), metric_gap(batches).cpu().double().tolist(), strict=True))
    return found


def _taken_back(
    runs: Sequence[Sequence[BatchRuns]], x_a: Sequence[Sequence[Mapping[Site, Tensor]]]
) -> dict[Site, NDArray[np.float64]]:
    """The change of this model's metric with the other's x at a site, at every position."""
    found: dict[Site, list[Tensor]] = {}
    for batches, theirs in zip(runs, x_a, strict=True):
        for batch, x in zip(batches, theirs, strict=True):
            for site, other in x.items():
                effect = total_effect(batch, site, other.to(batch.usable.device))
                found.setdefault(site, []).append(effect.cpu().double())
    return {site: torch.cat(parts).numpy() for site, parts in found.items()}


def _rows(
    place: Place, runs: Sequence[Sequence[BatchRuns]], directions: Directions, effects: tuple[Effects, Effects, Effects]
) -> pd.DataFrame:
    """``tables.CHANGE_EXACT`` of one feature in one batch."""
    pairs, along = runs[place.fold][place.batch].pairs, list(directions[place.feature])
    values = (of[place].flatten().double().numpy() for of in effects)
    return pd.DataFrame(
        {
            "group": pairs[0].group,
            **site_columns(place.feature[0]),
            "feature": place.feature[1],
            "along": np.repeat(along, len(pairs)),
            "pair_id": [pair.pair_id for pair in pairs] * len(along),
            **dict(zip(("exact_a", "exact_b", "exact_moved"), values, strict=True)),
        }
    )
