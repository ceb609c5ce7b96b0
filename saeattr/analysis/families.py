"""Families of features by how many topics' sets they are in: shared ones, and those of one topic."""

from __future__ import annotations

import math

import pandas as pd

from saeattr.analysis.overlap import FEATURE, top_sets

SHARED, TOPIC_SPECIFIC, BETWEEN = "shared", "topic-specific", "between"
#: A shared feature is in the sets of at least this share of topics.
SHARED_SHARE = 0.8

FAMILY_COLUMNS = [*FEATURE, "n_topics", "share", "family", "topics", "effect_mean"]


def feature_families(
    features: pd.DataFrame, depth: int | None = 30, shared_share: float = SHARED_SHARE
) -> pd.DataFrame:
    """Every feature of any topic's set, those of the most topics first.

    Args:
        features, depth: as in ``overlap_table``.

    Returns:
        layer, kind, feature, n_topics, share (of all topics), family, topics (a list), effect_mean (over the topics
        that have it; NaN where no effect is known). ``shared``: in at least ``shared_share`` of the topics.
        ``topic-specific``: in one. ``between``: the rest. With one topic nothing is shared.
    """
    n_topics = features["topic"].nunique()
    members = top_sets(features, depth)
    if "effect_mean" not in members:
        members = members.assign(effect_mean=float("nan"))
    table = members.groupby(FEATURE, as_index=False).agg(
        n_topics=("topic", "nunique"), topics=("topic", list), effect_mean=("effect_mean", "mean")
    )
    table["share"] = table["n_topics"] / max(1, n_topics)
    table["family"] = [family(count, n_topics, shared_share) for count in table["n_topics"]]
    order = table.assign(size=table["effect_mean"].abs()).sort_values(
        ["n_topics", "size", *FEATURE], ascending=[False, False, True, True, True]
    )
    return order[FAMILY_COLUMNS].reset_index(drop=True)


def family(count: int, n_topics: int, shared_share: float = SHARED_SHARE) -> str:
    """The family of a feature that is in the sets of ``count`` of ``n_topics`` topics."""
    # The small step down keeps 0.8 * 5 at 4 whatever floating point makes of it.
    if count > 1 and count >= math.ceil(shared_share * n_topics - 1e-9):
        return SHARED
    return TOPIC_SPECIFIC if count == 1 else BETWEEN


def largest_features(features: pd.DataFrame, top: int) -> pd.DataFrame:
    """The ``top`` features of largest |effect_mean| averaged over all topics (0 where a topic has none).

    Returns:
        layer, kind, feature and size, the largest first.
    """
    n_topics = features["topic"].nunique()
    sizes = features["effect_mean"].abs().groupby([features[name] for name in FEATURE]).sum() / n_topics
    table = sizes.rename("size").reset_index()
    return table.sort_values(["size", *FEATURE], ascending=[False, True, True, True]).head(top).reset_index(drop=True)
