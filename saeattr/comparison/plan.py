"""What is tested of a group's changes, on which pairs, and along which other directions: settled from tables alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.behaviours.pair import Pair, halves
from saeattr.comparison.alike import CommonPairs
from saeattr.comparison.changes import feature_changes
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import load_sae
from saeattr.sites import Site
from saeattr.tables import Feature, at_site, by_site, features_of
from saeattr.validation.controls import SiteProfile, draw_controls


@dataclass(frozen=True)
class ChangeFold:
    """Pairs that test, and the features whose change other pairs ranked first.

    Attributes:
        ranked: the first rows of ``tables.CHANGES`` made without these pairs.
    """

    ranked: pd.DataFrame
    pairs: list[Pair]

    @property
    def features(self) -> dict[Site, list[int]]:
        return by_site(sorted(features_of(self.ranked)))


def change_folds(entries: pd.DataFrame, ranking: CommonPairs, fresh: CommonPairs | None, top: int) -> list[ChangeFold]:
    """One fold of fresh pairs where both studies have such; else each half of the pairs tests what the other ranks.

    Args:
        entries: ``entry_changes`` of the pairs that rank.
        top: features whose change is tested, the largest |change_mean|.
    """

    def ranked_by(pairs: Sequence[Pair]) -> pd.DataFrame:
        times = {pair.pair_id: pair.times for pair in pairs}
        return feature_changes(ranking.group, entries[entries["pair_id"].isin(list(times))], times).head(top)

    if fresh is not None:
        return [ChangeFold(ranked_by(ranking.pairs), fresh.pairs)]
    first, second = halves(ranking.pairs)
    both = ((first, second), (second, first))
    return [ChangeFold(ranked_by(rank), test) for rank, test in both if rank and test]


def draw_directions(
    folds: Sequence[ChangeFold], files: Mapping[Site, SaeFile], active: pd.DataFrame, count: int, seed: int
) -> dict[Feature, list[int]]:
    """For each tested feature itself and its controls: other features of its site that are active in both models.

    Args:
        active: layer, kind, feature of those; count: of controls for each feature.

    Returns:
        by feature, indices into the SAE, its own first.
    """
    wanted: dict[Site, set[int]] = {}
    for fold in folds:
        for site, features in fold.features.items():
            wanted.setdefault(site, set()).update(features)
    found: dict[Feature, list[int]] = {}
    for site, features in sorted(wanted.items()):
        sae = load_sae(files[site])
        frequency = np.zeros(sae.d_sae)
        frequency[at_site(active, site)["feature"].to_numpy()] = 1.0
        profile = SiteProfile(frequency, frequency)
        for feature in sorted(features):
            found[site, feature] = [feature, *draw_controls(sae, profile, [feature], count, seed).tolist()]
    return found
