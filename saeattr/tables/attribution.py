"""What attribution gives."""

from __future__ import annotations

from saeattr.tables.columns import FEATURE_INDEX, GROUP_NAME, METRIC, PAIR_ID, SITE_COLUMNS, median_columns
from saeattr.tables.table import Column, Table

ATTRIBUTIONS = Table(
    "attributions",
    "one active feature at one position",
    (
        GROUP_NAME,
        PAIR_ID,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("position", "int32", "token index (BOS is 0)"),
        Column("token", "text", "the clean token there"),
        Column("role", "text", "what the position is for"),
        Column("act_clean", "float32", "activation in the clean run", "activation"),
        Column("act_base", "float32", "the base value it would be patched to", "activation"),
        Column("grad", "float32", "g . W_dec[feature], g the method's slope of the metric in x", "metric/activation"),
        Column("effect", "float32", "(act_base - act_clean) * grad", METRIC),
    ),
    "Rows are kept where a feature has an entry: active in the clean or the corrupted run, or with another base in the "
    "clean run. Of a large group (or with ``keep_from``) the small ones are left out; entries.parquet says what that "
    "loses. BOS has none, nor have positions that cannot have an effect: behind the last decision point and, with "
    "the corrupted base, before the first token that differs.",
)
PAIR_EFFECTS = Table(
    "pair_effects",
    "one active feature of one pair",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        PAIR_ID,
        Column("effect", "float32", "estimated effect, summed over all positions", METRIC),
    ),
    "Sums over every entry, whether or not attributions.parquet keeps it; stays with each group.",
)
CARRIERS = Table(
    "carriers",
    "one role or token of one feature",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("what", "text", "role or token"),
        Column("value", "text", "which"),
        Column("size", "float64", "sum of |effect| there, over pairs and positions", METRIC),
    ),
    "Of every entry; stays with each group.",
)
ENTRIES = Table(
    "entries",
    "one site of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        Column("n_entries", "int64", "active features at positions, over all pairs"),
        Column("n_kept", "int64", "those that attributions.parquet has"),
        Column("size", "float64", "sum of their |effect|", METRIC),
        Column("size_kept", "float64", "and of those that are kept", METRIC),
    ),
    "All other tables are sums over every entry.",
)
FEATURES = Table(
    "features",
    "one feature of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column(
            "effect_mean",
            "float64",
            "mean over pairs of the effect summed over positions, 0 where inactive",
            METRIC,
        ),
        *median_columns("effect"),
        Column("n_pairs", "int64", "distinct pairs in which it is active"),
        Column("rank", "int32", "1 is the largest |effect_mean| of the group over all sites"),
        Column("top_role", "text", "the role that carries most of |effect|"),
        Column("top_token", "text", "the token that does"),
    ),
    "5,000 features a group are kept, the largest.",
)
ACTIVE = Table(
    "active",
    "one active feature of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("n_pairs", "int32", "pairs in which it is active"),
        Column("n_effect", "int32", "pairs in which its effect is not 0"),
    ),
    "Every feature that attributions.parquet has, so those too that features.parquet leaves out. In the last layer "
    "many have no effect: only what is at the decision point reaches the metric from there.",
)
SITE_EFFECTS = Table(
    "site_effects",
    "one pair at one site",
    (
        GROUP_NAME,
        PAIR_ID,
        *SITE_COLUMNS,
        Column("features_effect", "float64", "sum of the features' estimates", METRIC),
        Column("error_effect", "float64", "the error term's estimate", METRIC),
        Column("total_effect", "float64", "exact: the whole site patched to its base; blank: not measured", METRIC),
        Column(
            "reconstruction_effect",
            "float64",
            "exact: x_hat in place of x at every token but BOS; blank: not measured",
            METRIC,
        ),
        Column("l0", "float64", "active features a token, over the positions that can have an effect"),
        Column("unexplained", "float64", "fraction of variance that the SAE misses, over the same positions"),
    ),
)
METRIC_BY_POINT = Table(
    "metric_by_point",
    "one decision point of one run",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("point", "int32", "the decision point; 1 is the pair's first (for lists: the item before it)"),
        Column("n_points", "int32", "the pair's decision points"),
        Column("run", "text", "clean or corrupted"),
        Column("metric", "float32", "the metric there", METRIC),
    ),
)
