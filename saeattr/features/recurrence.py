"""How far the feature sets of groups overlap, and how far sets of that size and activity would by chance.

A group's set at a site is its ``depth`` features of largest |effect_mean|. Chance keeps the size of each set and how
often its features are active (``saeattr.features.chance``); pairs of groups are drawn independently. A permutation
test with (1 + hits) / (1 + draws) as its p-value (Phipson and Smyth 2010), and q-values over all pairs and sites
(Benjamini and Hochberg 1995).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from saeattr.errors import UserError
from saeattr.features.chance import SiteSets, chance_pool, draw_sets, site_sets
from saeattr.sites import KINDS
from saeattr.stats import benjamini_hochberg
from saeattr.tables import FEATURE, OVERLAP, SITE

PERMUTATIONS = 1000
#: Cells [draws, groups, features] held at a time.
_CELLS = 8_000_000


def top_sets(features: pd.DataFrame, depth: int | None = 30) -> pd.DataFrame:
    """The rows in each group's set: ``depth`` of each site by |effect_mean|, or all rows where no effect is known.

    What has an effect of exactly 0 is in no set: where fewer than ``depth`` have one, the set is smaller.
    """
    if depth is not None and depth < 1:
        raise UserError(f"--depth cannot be {depth}: name 1 feature a group and site, or more")
    rows = features.drop_duplicates([*FEATURE, "group"]).reset_index(drop=True)
    if "effect_mean" not in rows:
        return rows
    # A group without any effect (a set made elsewhere) has nothing to rank by: all its rows are its set.
    ranked = rows["effect_mean"].fillna(0).ne(0).groupby(rows["group"]).transform("any")
    ordered = rows[ranked & rows["effect_mean"].ne(0)]
    ordered = ordered.assign(size=ordered["effect_mean"].abs())
    ordered = ordered.sort_values(["size", *FEATURE], ascending=[False, *[True] * 3])
    best = ordered if depth is None else ordered.groupby([*SITE, "group"], sort=False).head(depth)
    return rows[~ranked | rows.index.isin(best.index)]


def overlap_table(
    features: pd.DataFrame,
    depth: int | None = 30,
    *,
    active: pd.DataFrame | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Overlap of every pair of groups at every site.

    Args:
        features: layer, kind, feature, group; with effect_mean the sets are the top ``depth``, with n_pairs chance
            knows activity.
        depth: features in a group's set at a site; None for all.
        active: rows of active.parquet: what chance draws from. A group that it does not have (sets made elsewhere)
            draws from the features that it names, so that chance is too high where it names its largest only; where
            it names nothing beyond its set, from the features that any group could have at that site.

    Returns:
        layer, kind, group_a, group_b, jaccard (|A and B| / |A or B|), shared (|A and B|), expected (mean jaccard by
        chance), p_value (of so many shared or more by chance), q_value (over all rows). A site where only one group
        has features has no row.

    Raises:
        UserError: there are fewer than two groups.
    """
    groups = list(dict.fromkeys(features["group"]))
    if len(groups) < 2:
        raise UserError(f"overlap compares groups, and there is only {_named(groups)}: give two groups or more")
    pool = chance_pool(features, active).groupby(SITE)
    tables = []
    for (layer, kind), rows in sorted(top_sets(features, depth).groupby(SITE), key=_site_order):
        present = [group for group in groups if (rows["group"] == group).any()]
        if len(present) > 1:
            # Each site has its own stream of draws, so a site's numbers do not depend on which others there are.
            sets = site_sets(rows, pool.get_group((layer, kind)), present)
            pairs = _site_overlap(sets, permutations, seed)
            pairs = pairs.assign(group_a=np.array(present, dtype=object)[pairs["a"]])
            pairs = pairs.assign(group_b=np.array(present, dtype=object)[pairs["b"]], layer=layer, kind=kind)
            tables.append(pairs)
    if not tables:
        return OVERLAP.empty()
    table = pd.concat(tables, ignore_index=True)
    return OVERLAP.frame(table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float))))


def _site_overlap(sets: SiteSets, permutations: int, seed: int) -> pd.DataFrame:
    """One row a pair: a, b (group numbers), jaccard, shared, expected, p_value."""
    sizes = sets.member.sum(1)
    a, b = np.triu_indices(len(sizes), k=1)
    both = sizes[a] + sizes[b]
    shared = (sets.member.astype(int) @ sets.member.T.astype(int))[a, b]
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // sets.member.size)
    jaccard_sum, hits = np.zeros(len(a)), np.zeros(len(a))
    for start in range(0, permutations, step):
        drawn = draw_sets(sets, min(step, permutations - start), generator)
        by_chance = (drawn @ drawn.transpose(0, 2, 1))[:, a, b]
        jaccard_sum += (by_chance / (both - by_chance)).sum(0)
        hits += (by_chance >= shared - 0.5).sum(0)
    return pd.DataFrame(
        {
            "a": a,
            "b": b,
            "jaccard": shared / (both - shared),
            "shared": shared,
            "expected": jaccard_sum / permutations,
            "p_value": (1 + hits) / (1 + permutations),
        }
    )


def _site_order(group: tuple) -> tuple[int, int, str]:
    layer, kind = group[0]
    return int(layer), KINDS.index(kind) if kind in KINDS else len(KINDS), str(kind)


def _named(groups: list[str]) -> str:
    return repr(groups[0]) if groups else "none"


SHARED, TOPIC_SPECIFIC, BETWEEN = "shared", "group-specific", "between"
#: A shared feature is in the sets of at least this share of groups.
SHARED_SHARE = 0.8

FAMILY_COLUMNS = [*FEATURE, "n_groups", "share", "family", "groups", "effect_mean"]


def feature_families(
    features: pd.DataFrame, depth: int | None = 30, shared_share: float = SHARED_SHARE
) -> pd.DataFrame:
    """Every feature of any group's set, those of the most groups first.

    Args:
        features, depth: as in ``overlap_table``.

    Returns:
        layer, kind, feature, n_groups, share (of all groups), family, groups (a pair), effect_mean (over the groups
        that have it; NaN where no effect is known). ``shared``: in at least ``shared_share`` of the groups.
        ``group-specific``: in one. ``between``: the rest. With one group nothing is shared.
    """
    n_groups = features["group"].nunique()
    members = top_sets(features, depth)
    if "effect_mean" not in members:
        members = members.assign(effect_mean=float("nan"))
    table = members.groupby(FEATURE, as_index=False).agg(
        n_groups=("group", "nunique"), groups=("group", list), effect_mean=("effect_mean", "mean")
    )
    table["share"] = table["n_groups"] / max(1, n_groups)
    table["family"] = [family(count, n_groups, shared_share) for count in table["n_groups"]]
    order = table.assign(size=table["effect_mean"].abs()).sort_values(
        ["n_groups", "size", *FEATURE], ascending=[False, False, True, True, True]
    )
    return order[FAMILY_COLUMNS].reset_index(drop=True)


def family(count: int, n_groups: int, shared_share: float = SHARED_SHARE) -> str:
    """The family of a feature that is in the sets of ``count`` of ``n_groups`` groups."""
    # The small step down keeps 0.8 * 5 at 4 whatever floating point makes of it.
    if count > 1 and count >= math.ceil(shared_share * n_groups - 1e-9):
        return SHARED
    return TOPIC_SPECIFIC if count == 1 else BETWEEN


def largest_features(features: pd.DataFrame, top: int) -> pd.DataFrame:
    """The ``top`` features of largest |effect_mean| averaged over all groups (0 where a group has none).

    Returns:
        layer, kind, feature and size, the largest first.
    """
    n_groups = features["group"].nunique()
    sizes = features["effect_mean"].abs().groupby([features[name] for name in FEATURE]).sum() / n_groups
    table = sizes.rename("size").reset_index()
    return table.sort_values(["size", *FEATURE], ascending=[False, True, True, True]).head(top).reset_index(drop=True)
