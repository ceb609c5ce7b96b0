"""MLPs at the final position as linear functions of what was written before: which heads they amplify or erase.

Each MLP's output is regressed on the summands of the stream that it reads (``recall.mlps.writes``), one coefficient
each and an intercept (``recall.mlps.regression``): over the facts of all relations, and of each relation by itself, as
the source has it. How good that is is judged on facts that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from saeattr.recall.mlps.folds import FOLDS, split_families
from saeattr.recall.mlps.regression import (
    Data,
    Fit,
    Fitting,
    HeldOut,
    cross_fit,
    fit_chosen,
    fit_ridge,
    interval,
    map_r2,
    resampled,
)
from saeattr.recall.mlps.writes import HEAD, Writes
from saeattr.tables import RECALL_MLP_FIT, RECALL_MLP_WEIGHTS

#: Draws of a bootstrap; facts of a category for a fit of its own.
DRAWS, CATEGORY_FACTS = 200, 8


@dataclass(frozen=True)
class Families:
    """What facts share, and the folds that keep it together.

    Attributes:
        by_relation: None with too few relations; within: by relation, folds of its own facts by answer, -1 elsewhere.
    """

    answers: Sequence[object]
    relations: Sequence[object]
    by_answer: Int[ndarray, " facts"]
    by_relation: Int[ndarray, " facts"] | None
    within: Mapping[str, Int[ndarray, " facts"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """A fit to some facts, and the same with each fold of them left out."""

    which: Int[ndarray, " some"]
    whole: Fit
    held: HeldOut


@dataclass(frozen=True)
class MlpFit:
    """One MLP's regressions: over all facts with folds by answer, by relation, and of each relation by itself."""

    layer: int
    data: Data
    every: Scope
    across: HeldOut | None
    within: Mapping[str, Scope]


def find_families(writes: Writes, seed: int) -> Families | None:
    """Folds by answer and by relation; None with fewer than ``FOLDS`` answers."""
    relations = [pair.group for pair in writes.pairs]
    by_answer = split_families(writes.answer, FOLDS, seed)
    if by_answer is None:
        return None
    within = {}
    for relation in dict.fromkeys(relations):
        own = np.flatnonzero([one == relation for one in relations])
        folds = split_families([writes.answer[at] for at in own], FOLDS, seed)
        if len(own) >= CATEGORY_FACTS and folds is not None:
            within[relation] = np.full(len(relations), -1)
            within[relation][own] = folds
    return Families(writes.answer, relations, by_answer, split_families(relations, FOLDS, seed), within)


def fit_all(writes: Writes, families: Families, fitting: Fitting = "ridge") -> Iterator[MlpFit]:
    """Every MLP in order; one layer's summands are made at a time."""
    for layer in range(writes.mlps.shape[1]):
        data = Data(writes.stacked(layer).double().numpy(), writes.mlps[:, layer].double().numpy())
        across = None if families.by_relation is None else cross_fit(data, families.by_relation, fitting)
        within = {name: _scope(data, folds, fitting) for name, folds in families.within.items()}
        yield MlpFit(layer, data, _scope(data, families.by_answer, fitting), across, within)


def _scope(data: Data, folds: Int[ndarray, " facts"], fitting: Fitting) -> Scope:
    """Fit the facts that have a fold."""
    which = np.flatnonzero(folds >= 0)
    own, folds = data.take(which), folds[which]
    blocks = [own.take(np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    return Scope(which, fit_chosen(blocks, fitting), cross_fit(own, folds, fitting))


def fit_rows(fit: MlpFit, writes: Writes, families: Families, seed: int, fitting: Fitting) -> pd.DataFrame:
    """``tables.RECALL_MLP_FIT`` of one MLP: a row for each way of making folds."""
    heads = [at for at, source in enumerate(writes.sources(fit.layer)) if source.kind == HEAD]
    weights = fit.every.whole.weights[heads]
    alike = [np.corrcoef(one.whole.weights[heads], weights)[0, 1] for one in fit.within.values()]
    own = list(fit.within.values())
    splits = [("answers", fit.every.held, families.answers, [fit.every])]
    if fit.across is not None:
        splits.append(("relations", fit.across, families.relations, [fit.every]))
    if own:
        relations = [families.relations[at] for one in own for at in one.which]
        splits.append(("within", pooled([one.held for one in own]), relations, own))
    stream, rows = writes.mids[:, fit.layer].double().numpy(), []
    for split, held, shared, scopes in splits:
        low, high = interval(r2_draws(held, resampled(shared, DRAWS, seed)))
        left, spread = (sum(values) for values in zip(*(_seen(fit.data, one) for one in scopes), strict=True))
        squared = sum(float(np.square(fit.data.y[one.which]).sum()) for one in scopes)
        row: dict[str, Any] = {
            "layer": fit.layer,
            "split": split,
            "fit": fitting,
            **{"r2": held.r2, "r2_low": low, "r2_high": high, "r2_seen": 1 - left / spread},
            "r2_map": np.nan if split == "within" else map_r2(stream, fit.data.y, held.folds),
            "constant": 1 - held.spread.sum() / squared,
            "penalty": np.median([one.whole.penalty for one in scopes]),
            "alike": np.mean(alike) if alike else np.nan,
            "n_categories": len(own),
            "n_facts": len(held.errors),
            "n_folds": FOLDS,
            "n_sources": fit.data.x.shape[1],
        }
        rows.append(row)
    return RECALL_MLP_FIT.frame(pd.DataFrame(rows))


def _seen(data: Data, scope: Scope) -> tuple[float, float]:
    """Squared error and spread of the facts that a fit has seen."""
    own = data.take(scope.which)
    return float(own.errors(scope.whole).sum()), float(np.square(own.y - own.y.mean(0)).sum())


def pooled(found: Sequence[HeldOut]) -> HeldOut:
    """Several relations' held-out facts together; each has its own intercept as its baseline."""
    folds, errors, spread = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("folds", "errors", "spread")
    )
    return HeldOut(folds, [], errors, spread)


def r2_draws(held: HeldOut, times: Float[ndarray, "draws facts"]) -> Float[ndarray, " draws"]:
    """R2 on held-out facts in each bootstrap draw; the fits stay as they are."""
    return 1 - (times @ held.errors) / (times @ held.spread)


def weight_rows(fit: MlpFit, writes: Writes, families: Families, seed: int) -> pd.DataFrame:
    """``tables.RECALL_MLP_WEIGHTS`` of one MLP: of all facts with intervals, and of each category.

    Bootstrap draws keep the penalty; of a fit by gradient descent they are least squares in closed form.
    """
    times, penalty = resampled(families.answers, DRAWS, seed), fit.every.whole.penalty
    drawn = np.stack([fit_ridge(fit.data.moments(one), penalty).weights for one in times])
    rows = _weights(fit, writes, "", fit.every, interval(drawn))
    nothing = np.full(fit.data.x.shape[1], np.nan)
    for category, one in fit.within.items():
        rows += _weights(fit, writes, category, one, (nothing, nothing))
    return RECALL_MLP_WEIGHTS.frame(pd.DataFrame(rows))


def _weights(
    fit: MlpFit, writes: Writes, category: str, scope: Scope, ends: tuple[ndarray, ndarray]
) -> list[dict[str, Any]]:
    own = fit.data.take(scope.which)
    spread = np.sqrt(np.square(own.x - own.x.mean(0)).sum((0, 2)))
    whole = np.sqrt(np.square(own.y - own.y.mean(0)).sum())
    return [
        {
            "layer": fit.layer,
            "category": category,
            "kind": source.kind,
            "source_layer": source.layer,
            "head": source.head,
            "weight": weight,
            "weight_low": low,
            "weight_high": high,
            "size": weight * size / whole,
            "reads": "amplified" if low > 0 else "erased" if high < 0 else "undecided",
        }
        for source, weight, low, high, size in zip(
            writes.sources(fit.layer), scope.whole.weights, *ends, spread, strict=True
        )
    ]
