"""Where features recur and fire."""

from __future__ import annotations

from saeattr.tables.columns import FEATURE_INDEX, SITE_COLUMNS
from saeattr.tables.table import Column, Table

OVERLAP = Table(
    "overlap",
    "two groups at one site",
    (
        *SITE_COLUMNS,
        Column("group_a", "text", "one group"),
        Column("group_b", "text", "the other"),
        Column("jaccard", "float64", "features in both sets / in either"),
        Column("shared", "int64", "features in both"),
        Column("expected", "float64", "mean Jaccard index by chance"),
        Column("p_value", "float64", "of so many shared features or more by chance"),
        Column("q_value", "float64", "Benjamini-Hochberg over all pairs of groups and all sites"),
    ),
    "A group's set at a site is its 30 features of largest |effect_mean|. Chance draws each set anew (1,000 times, "
    "seed 0) among all features that have an effect in that group (active.parquet), as many from each class of "
    "activity (share of pairs with an effect, in tenths) as the set holds.",
)
FIRING = Table(
    "firing",
    "one token at which a feature fires",
    (
        Column("text", "int32", "which of the texts, from 0 on"),
        Column("position", "int32", "token index (BOS is 0, and is left out)"),
        Column("token", "text", "the token there"),
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("activation", "float32", "of the feature there", "activation"),
    ),
    "What ``saeattr look`` and ``study.activations`` give of texts of one's own.",
)
