"""Exact effects of the same patches in two models, one model in memory at a time.

What a patch moves x by is read from each model's own runs. In B every patch is made twice: as far as B's activations
say (its exact effect there) and as far as A's do. The second differs from the effect in A only because of x itself and
of what lies above the site, and the first from the second only because the features' activations do: both parts of a
change are measured.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from saeattr.runs.halving import batches_that_fit, until_it_fits
from saeattr.runs.question import Pace
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import CHANGE_EXACT, Feature, site_columns

#: Indices of every tested feature's directions: its own, then its controls'.
Directions = Mapping[Feature, Sequence[int]]


@dataclass(frozen=True)
class Place:
    """A feature in one fold, whose pairs are the same in both models (the batches that they are run in may not be).

    Rows of its moves and effects number the fold's pairs.
    """

    fold: int
    feature: Feature


#: Of each fold its batches.
Runs = Sequence[Sequence[BatchRuns]]
Moves = Mapping[Place, Change]
Effects = dict[Place, Float[Tensor, "directions pairs"]]
#: What to do where one at a time does not fit.
MEND = "leave out --exact, or use --device cpu"


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
            other, so that one model is in memory. Where memory runs out, each halves its batches or copies.

    Raises:
        UserError: one pair or one copy at a time does not fit.
    """
    task = open_a()
    task, runs = _run_folds(task, folds)
    moves_a = _read_moves(task, folds, runs)
    in_a = _effects(task, runs, moves_a, directions)
    metric_a, x_a = _metric(runs), [_on_cpu(batches) for batches in runs]
    gaps = _gaps(runs)
    del task, runs
    task = open_b()
    task, runs = _run_folds(task, folds)
    moves_b = _read_moves(task, folds, runs)
    in_b = _effects(task, runs, moves_b, directions)
    # Where both models move x alike, nothing is to be run again.
    other = {place: move for place, move in moves_a.items() if not _same(move, moves_b[place])}
    as_far = {**in_b, **_effects(task, runs, other, directions)}
    rows = [_rows(place, runs, directions, (in_a, in_b, as_far)) for place in in_a]
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return ExactChanges(CHANGE_EXACT.frame(table), _taken_back(task, runs, x_a), _metric(runs) - metric_a, gaps)


def _run_folds(task: Task, folds: Sequence[ChangeFold]) -> tuple[Task, Runs]:
    """The runs of each fold's pairs, at every site; and the task at the pace that they were made at."""
    runs = []
    for fold in folds:
        attempt = functools.partial(_run_fold, dataclasses.replace(task, pairs=fold.pairs))
        own, pace = until_it_fits(task.lm.device, task.pace, attempt, mend=MEND)
        task = dataclasses.replace(task, pace=pace)
        runs.append(own)
    return task, runs


def _run_fold(task: Task, pace: Pace) -> list[BatchRuns]:
    return run_pairs(dataclasses.replace(task, pace=pace), [file.site for file in task.saes])


def _numbered(batches: Sequence[BatchRuns]) -> Iterator[tuple[int, BatchRuns]]:
    """A fold's batches, each with the number of its first pair."""
    starts = itertools.accumulate((len(batch.pairs) for batch in batches), initial=0)
    return zip(starts, batches, strict=False)


def _read_moves(task: Task, folds: Sequence[ChangeFold], runs: Runs) -> Moves:
    """How far each tested feature's patch moves x, in the folds that test it."""
    tested = [fold.features for fold in folds]
    files = [file for file in task.saes if any(file.site in features for features in tested)]
    found = {}
    for sae in stream_saes(files, task.lm.device):
        for fold, batches in enumerate(runs):
            base = SiteBase.of(sae, batches)
            for feature in tested[fold].get(sae.site, ()):
                parts = [(start, feature_change(batch, base, feature)) for start, batch in _numbered(batches)]
                found[Place(fold, (sae.site, feature))] = Change(
                    torch.cat([start + part.row for start, part in parts]),
                    torch.cat([part.position for _, part in parts]),
                    torch.cat([part.change for _, part in parts]),
                )
    return found


def _effects(task: Task, runs: Runs, moves: Moves, directions: Directions) -> Effects:
    """The exact effects of moves, along each feature's own and its controls' directions."""
    on_move, device = counting(task.on_step, "exact effects"), task.lm.device
    sites = {place.feature[0] for place in moves}
    # One feature in one fold is tried at a time, so that copies alone are halved.
    found, pace = dict[Place, Tensor](), dataclasses.replace(task.pace, batch_size=1)
    for sae in stream_saes([file for file in task.saes if file.site in sites], device):
        for place, move in moves.items():
            if place.feature[0] != sae.site:
                continue
            on_move(len(found), len(moves))
            attempt = functools.partial(
                _along, sae, runs[place.fold], place.feature[1], move, directions[place.feature]
            )
            found[place], pace = until_it_fits(device, pace, attempt, one="one copy", mend=MEND)
    on_move(len(moves), len(moves))
    return found


def _along(
    sae: SparseAutoencoder,
    batches: Sequence[BatchRuns],
    feature: int,
    move: Change,
    directions: Sequence[int],
    pace: Pace,
) -> Float[Tensor, "directions pairs"]:
    """The exact effects of one move in one fold."""
    device = sae.W_dec.device
    ids, found = torch.tensor(list(directions), device=device), []
    for start, batch in _numbered(batches):
        mine = move.take((move.row >= start) & (move.row < start + len(batch.pairs)))
        here = Change((mine.row - start).to(device), mine.position.to(device), mine.change.to(device))
        found.append(along_effects(batch, sae, feature, here, ids, pace.copies).cpu())
    return torch.cat(found, dim=1)


def _same(one: Change, other: Change) -> bool:
    columns = ((one.row, other.row), (one.position, other.position), (one.change, other.change))
    return all(torch.equal(left.cpu(), right.cpu()) for left, right in columns)


def _on_cpu(batches: Sequence[BatchRuns]) -> dict[Site, list[Tensor]]:
    """The clean x of each pair of a fold, by site, without padding."""
    found: dict[Site, list[Tensor]] = {}
    for batch in batches:
        for site, x in batch.clean.x.items():
            if isinstance(site, Site):
                own = [one[: len(pair.clean_ids)] for one, pair in zip(x.cpu(), batch.pairs, strict=True)]
                found.setdefault(site, []).extend(own)
    return found


def _metric(runs: Runs) -> NDArray[np.float64]:
    """The clean metric of all folds' pairs."""
    metrics = [batch.clean.metric for batches in runs for batch in batches]
    return torch.cat([metric for metric in metrics if metric is not None]).cpu().double().numpy()


def _gaps(runs: Runs) -> dict[str, float]:
    found: dict[str, float] = {}
    for batches in runs:
        found |= dict(zip(pair_ids_of(batches), metric_gap(batches).cpu().double().tolist(), strict=True))
    return found


def _taken_back(
    task: Task, runs: Runs, x_a: Sequence[Mapping[Site, Sequence[Tensor]]]
) -> dict[Site, NDArray[np.float64]]:
    """The change of this model's metric with the other's x at a site, at every position."""
    found: dict[Site, list[Tensor]] = {}
    for batches, theirs in zip(runs, x_a, strict=True):
        for start, batch in _numbered(batches):
            for site, x in theirs.items():
                attempt = functools.partial(_with_x, batch, site, x[start : start + len(batch.pairs)])
                rows = range(len(batch.pairs))
                effects = batches_that_fit(task.lm.device, rows, len(rows), attempt, mend=MEND)
                found.setdefault(site, []).extend(part.cpu().double() for part in effects)
    return {site: torch.cat(parts).numpy() for site, parts in found.items()}


def _with_x(batch: BatchRuns, site: Site, theirs: Sequence[Tensor], rows: Sequence[int]) -> Float[Tensor, " rows"]:
    """The change of the metric in some rows of a batch with the other model's x in each."""
    which = torch.tensor(list(rows), device=batch.usable.device)
    x = batch.clean.x[site][which]
    for at, row in enumerate(rows):
        x[at, : len(theirs[row])] = theirs[row].to(x)
    return total_effect(batch, site, x, which)


def _rows(place: Place, runs: Runs, directions: Directions, effects: tuple[Effects, Effects, Effects]) -> pd.DataFrame:
    """``tables.CHANGE_EXACT`` of one feature in one fold."""
    pairs = [pair for batch in runs[place.fold] for pair in batch.pairs]
    along = list(directions[place.feature])
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
