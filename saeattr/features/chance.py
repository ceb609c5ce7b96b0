"""Feature sets drawn by chance: as large as a group's real set at a site, and its features as often active.

A group's set is drawn anew among the features that have an effect in that group, as many from each class of activity
(the share of pairs that a feature has an effect in, in tenths) as the real set holds. A feature that is active where
nothing of it can reach the metric (in the last layer: anywhere but at the decision point) could not have been in the
set, so chance does not have it either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.tables import FEATURE

ACTIVITY_CLASSES = 10
_POOL = [*FEATURE, "group", "n_pairs", "complete"]


@dataclass(frozen=True)
class SiteSets:
    """The sets of all groups at one site over the features that any group could have there.

    Attributes:
        member: whether the feature is in the group's set.
        activity: class of activity among the features that the group could have had; -1 where it could not.
    """

    member: NDArray[np.bool_]  # [groups, features]
    activity: NDArray[np.int64]  # [groups, features]


def chance_pool(features: pd.DataFrame, active: pd.DataFrame | None = None) -> pd.DataFrame:
    """The features that each group's set could have had.

    Args:
        features: layer, kind, feature, group and perhaps n_pairs.
        active: rows of active.parquet. A group that it does not have is taken to have what ``features`` names.

    Returns:
        layer, kind, feature, group, n_pairs (NaN where it is not known), complete (whether they are of ``active``).
    """
    named = features.drop_duplicates([*FEATURE, "group"])
    if active is None or active.empty:
        return named.assign(complete=False).reindex(columns=_POOL)
    able = active[active["n_effect"] > 0]
    able = able.assign(n_pairs=able["n_effect"], complete=True)[_POOL]
    named = named[~named["group"].isin(active["group"].unique())]
    if named.empty:
        return able
    return pd.concat([able, named.assign(complete=False).reindex(columns=_POOL)], ignore_index=True)


def site_sets(members: pd.DataFrame, pool: pd.DataFrame, groups: list[str]) -> SiteSets:
    """The sets of one site as matrices; ``pool`` are the rows of ``chance_pool`` there, ``members`` those in sets."""
    ids = np.sort(pool["feature"].unique())
    member = np.zeros((len(groups), len(ids)), dtype=bool)
    activity = np.full(member.shape, -1)
    for row, group in enumerate(groups):
        mine = pool[pool["group"] == group]
        member[row, np.searchsorted(ids, members.loc[members["group"] == group, "feature"])] = True
        if not mine["complete"].all() and len(mine) == member[row].sum():
            # A set made elsewhere that names nothing else: what it could have had is not known.
            activity[row] = 0
            continue
        classes = np.zeros(len(mine), dtype=int)
        if mine["n_pairs"].notna().all():
            share = mine["n_pairs"].to_numpy(dtype=float) / mine["n_pairs"].max()
            classes = np.ceil(share * ACTIVITY_CLASSES).astype(int)
        activity[row, np.searchsorted(ids, mine["feature"])] = classes
    return SiteSets(member, activity)


def draw_sets(sets: SiteSets, draws: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Chance sets, [draws, groups, features], 1 where a feature was drawn."""
    drawn = np.zeros((draws, *sets.member.shape), dtype=np.float32)
    for group, (member, activity) in enumerate(zip(sets.member, sets.activity, strict=True)):
        for stratum in np.unique(activity[member]):
            pool = np.flatnonzero(activity == stratum)
            _draw(drawn[:, group], pool, int(member[pool].sum()), generator)
    return drawn


def _draw(drawn: NDArray[np.float32], pool: NDArray[np.intp], size: int, generator: np.random.Generator) -> None:
    """Set ``size`` of the columns ``pool`` to 1 in each row of ``drawn``, every choice as likely as any other.

    Floyd's algorithm (Bentley and Floyd 1987): ``size`` random numbers a row, however large the pool is.
    """
    rows = np.arange(len(drawn))
    for last in range(len(pool) - size, len(pool)):
        picked = pool[generator.integers(0, last + 1, len(drawn))]
        drawn[rows, np.where(drawn[rows, picked] > 0, pool[last], picked)] = 1
