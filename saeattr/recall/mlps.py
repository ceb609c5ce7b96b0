"""MLPs at the final position as linear functions of what was written before: which heads they amplify or erase.

Each MLP's output is regressed on the summands of the stream that it reads (``recall.writes``), one coefficient each and
an intercept (``recall.regression``). How good that is is judged on facts that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from saeattr.recall.folds import FOLDS, split_families
from saeattr.recall.regression import Data, Fit, Fitting, HeldOut, cross_fit, fit_chosen, fit_ridge, interval, resampled
from saeattr.recall.writes import HEAD, Writes
from saeattr.tables import RECALL_MLP_FIT, RECALL_MLP_WEIGHTS

#: Draws of a bootstrap; facts of a category for a fit of its own.
DRAWS, CATEGORY_FACTS = 200, 8


@dataclass(frozen=True)
class MlpFit:
    """One MLP's regressions.

    Attributes:
        whole: fitted to all facts; held: over folds by answer; across: over folds by relation, None with too few.
    """

    layer: int
    data: Data
    whole: Fit
    held: HeldOut
    across: HeldOut | None


@dataclass(frozen=True)
class Families:
    """What facts share, and the folds that keep it together; ``by_relation`` is None with too few relations."""

    answers: Sequence[object]
    relations: Sequence[object]
    by_answer: Int[ndarray, " facts"]
    by_relation: Int[ndarray, " facts"] | None


def find_families(writes: Writes, seed: int) -> Families | None:
    """Folds by answer and by relation; None with fewer than ``FOLDS`` answers."""
    relations = [pair.group for pair in writes.pairs]
    by_answer = split_families(writes.answer, FOLDS, seed)
    if by_answer is None:
        return None
    return Families(writes.answer, relations, by_answer, split_families(relations, FOLDS, seed))


def fit_layer(writes: Writes, families: Families, layer: int, fitting: Fitting = "ridge") -> MlpFit:
    """Fit one MLP to all facts, and to all folds but one."""
    data = Data(writes.stacked(layer).double().numpy(), writes.mlps[:, layer].double().numpy())
    folds = families.by_answer
    blocks = [Data(data.x[folds == fold], data.y[folds == fold]) for fold in range(FOLDS)]
    across = None if families.by_relation is None else cross_fit(data, families.by_relation, fitting)
    return MlpFit(layer, data, fit_chosen(blocks, fitting), cross_fit(data, folds, fitting), across)


def fit_rows(fit: MlpFit, writes: Writes, families: Families, seed: int, fitting: Fitting) -> pd.DataFrame:
    """``tables.RECALL_MLP_FIT`` of one MLP: a row for each way of making folds."""
    data, of_category = fit.data, category_fits(fit, families)
    heads = _heads(writes, fit.layer)
    alike = [np.corrcoef(one.weights[heads], fit.whole.weights[heads])[0, 1] for one in of_category.values()]
    centred = np.square(data.y - data.y.mean(0)).sum()
    about: dict[str, Any] = {
        "layer": fit.layer,
        "fit": fitting,
        "r2_seen": 1 - data.errors(fit.whole).sum() / centred,
        "penalty": fit.whole.penalty,
        "alike": np.mean(alike) if alike else np.nan,
        "n_categories": len(of_category),
        "n_facts": len(data.y),
        "n_folds": FOLDS,
        "n_sources": data.x.shape[1],
    }
    rows = []
    for split, held, shared in (
        ("answers", fit.held, families.answers),
        ("relations", fit.across, families.relations),
    ):
        if held is not None:
            low, high = interval(r2_draws(held, resampled(shared, DRAWS, seed)))
            constant = 1 - held.spread.sum() / np.square(data.y).sum()
            rows.append({**about, "split": split, "r2": held.r2, "r2_low": low, "r2_high": high, "constant": constant})
    return RECALL_MLP_FIT.frame(pd.DataFrame(rows))


def r2_draws(held: HeldOut, times: Float[ndarray, "draws facts"]) -> Float[ndarray, " draws"]:
    """R2 on held-out facts in each bootstrap draw; the fits stay as they are."""
    return 1 - (times @ held.errors) / (times @ held.spread)


def category_fits(fit: MlpFit, families: Families) -> dict[str, Fit]:
    """A fit of each category with ``CATEGORY_FACTS`` facts, with the penalty of all facts."""
    found = {}
    for category in dict.fromkeys(families.relations):
        own = np.array([relation == category for relation in families.relations], dtype=float)
        if own.sum() >= CATEGORY_FACTS:
            found[str(category)] = fit_ridge(fit.data.moments(own), fit.whole.penalty)
    return found


def weight_rows(fit: MlpFit, writes: Writes, families: Families, seed: int) -> pd.DataFrame:
    """``tables.RECALL_MLP_WEIGHTS`` of one MLP: of all facts with intervals, and of each category.

    Bootstrap draws keep the penalty; of a fit by gradient descent they are least squares with a trace of one.
    """
    times = resampled(families.answers, DRAWS, seed)
    drawn = np.stack([fit_ridge(fit.data.moments(one), fit.whole.penalty).weights for one in times])
    own = _rows(fit, writes, "", fit.whole.weights, interval(drawn))
    nothing = np.full(len(fit.whole.weights), np.nan)
    for category, one in category_fits(fit, families).items():
        own += _rows(fit, writes, category, one.weights, (nothing, nothing))
    return RECALL_MLP_WEIGHTS.frame(pd.DataFrame(own))


def _rows(
    fit: MlpFit, writes: Writes, category: str, weights: ndarray, ends: tuple[ndarray, ndarray]
) -> list[dict[str, Any]]:
    spread = np.sqrt(np.square(fit.data.x - fit.data.x.mean(0)).sum((0, 2)))
    whole = np.sqrt(np.square(fit.data.y - fit.data.y.mean(0)).sum())
    sources = writes.sources(fit.layer)
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
        for source, weight, low, high, size in zip(sources, weights, *ends, spread, strict=True)
    ]


def _heads(writes: Writes, layer: int) -> list[int]:
    return [at for at, source in enumerate(writes.sources(layer)) if source.kind == HEAD]


def fit_all(writes: Writes, families: Families, fitting: Fitting = "ridge") -> Iterator[MlpFit]:
    """Every MLP in order; one layer's sources are held at a time."""
    for layer in range(writes.mlps.shape[1]):
        yield fit_layer(writes, families, layer, fitting)
