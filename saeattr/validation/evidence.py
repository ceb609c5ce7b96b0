"""Which pairs rank features, and which test them: what ranks does not test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.attribution.group import ReadSums
from saeattr.attribution.rows import carriers, pair_effects, rank_features, summarise_features
from saeattr.behaviours.pair import Pair, halves
from saeattr.sites import Site
from saeattr.stats import benjamini_hochberg, sign_test
from saeattr.tables import at_site, features_of, sites_of

#: The level of verdicts.
ALPHA = 0.05
#: With fewer distinct pairs no interval of a median reaches 95 %, nor a p-value 0.05.
FEWEST_PAIRS = 6


@dataclass(frozen=True)
class Estimates:
    """What attribution said of the group that is validated.

    Attributes:
        features: its rows of features.parquet.
        attributions: its rows of attributions.parquet; needed for ``positions="single"``, and where halves rank and
            ``effects`` are not there.
        effects: of a site, ``pair_effects`` and ``carriers`` of all pairs.
    """

    features: pd.DataFrame
    attributions: pd.DataFrame | None = None
    effects: ReadSums | None = None

    def ranked_by(self, pairs: Sequence[Pair]) -> pd.DataFrame:
        """The features table that attributing these pairs alone would have given."""
        times = {pair.pair_id: pair.times for pair in pairs}
        sites = sorted(set(sites_of(self.features)))
        return rank_features([summarise_features(*self._sums(site, list(times)), times) for site in sites])

    def _sums(self, site: Site, pair_ids: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """``pair_effects`` of a site in some pairs, and its ``carriers`` (the stored ones are of all pairs)."""
        if self.effects is not None:
            effects, carried = self.effects(site)
            return effects[effects["pair_id"].isin(pair_ids)], carried
        assert self.attributions is not None
        rows = at_site(self.attributions, site)
        rows = rows[rows["pair_id"].isin(pair_ids)]
        return pair_effects(rows), carriers(rows)


@dataclass(frozen=True)
class Fold:
    """Pairs that test, and the features that others ranked for them.

    Attributes:
        ranked: rows of a features table, rank 1 first, made without these pairs.
        pairs: distinct; empty where none is left.
    """

    ranked: pd.DataFrame
    pairs: Sequence[Pair]


def make_folds(pairs: Sequence[Pair], estimates: Estimates, fresh: Sequence[Pair] | None) -> list[Fold]:
    """One fold of fresh pairs; without a source of those two, each half of the pairs testing what the other ranks.

    Args:
        pairs: those that the estimates are of.
        fresh: distinct pairs that are none of ``pairs``; None crosses the halves.
    """
    if fresh is not None:
        return [Fold(estimates.features.sort_values("rank", kind="stable"), fresh)]
    first, second = halves(pairs)
    both = ((first, second), (second, first))
    return [Fold(estimates.ranked_by(ranking), testing) for ranking, testing in both if ranking]


def some_pairs(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """At most so many of the pairs, drawn at random and in their order."""
    chosen = np.random.default_rng([seed, len(pairs)]).permutation(len(pairs))[:most]
    return [pairs[at] for at in sorted(chosen.tolist())]


def power_note(folds: Sequence[Fold], top: int, gap: float, smallest: float) -> str:
    """What the tests to come can show, in one line: the smallest effect, and how many must be shown together.

    An effect is shown where its whole interval is beyond 0 and its median beyond the smallest share of interest; how
    far the intervals of the top features' estimates reach towards 0, on the pairs that ranked, says how far that is.
    With few pairs the smallest possible p-value is large, and many features must reach it before their q-values do
    (Benjamini and Hochberg).

    Args:
        gap: median clean-corrupted gap of the pairs that rank; NaN without corrupted prompts.
    """
    n_pairs = min(len(fold.pairs) for fold in folds)
    n_features = len(set().union(*(features_of(fold.ranked.head(top)) for fold in folds)))
    said = f"{n_pairs} distinct pairs test {n_features} features: "
    if n_pairs < FEWEST_PAIRS:
        return said + f"too few for a verdict, which needs {FEWEST_PAIRS}"
    ranked = pd.concat([fold.ranked.head(top) for fold in folds])
    median, low, high = (ranked[f"effect_{name}"] for name in ("median", "low", "high"))
    to_zero = (median - low).where(median > 0, high - median)
    half = float(to_zero.median()) / abs(gap)
    if np.isfinite(half):
        said += f"effects from about {max(smallest, half):.1%} of the gap on can be shown"
    together = fewest_together(n_pairs, n_features)
    if together > n_features:
        return said + "; so few pairs cannot show any among so many"
    return said + (f", if at least {together} are" if together > 1 else "")


def fewest_together(n_pairs: int, n_features: int) -> int:
    """How many of ``n_features`` must have the smallest p-value that ``n_pairs`` allow for their q-values to be 5 %."""
    best = sign_test(np.ones((1, n_pairs)))[0]
    for together in range(1, n_features + 1):
        p = np.concatenate([np.full(together, best), np.ones(n_features - together)])
        if benjamini_hochberg(p)[0] <= ALPHA:
            return together
    return n_features + 1
