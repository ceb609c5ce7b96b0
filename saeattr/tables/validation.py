"""What exact effects give."""

from __future__ import annotations

from saeattr.tables.columns import (
    FEATURE_INDEX,
    GROUP_NAME,
    METRIC,
    PAIR_ID,
    SITE_COLUMNS,
    median_columns,
    share_columns,
)
from saeattr.tables.table import Column, Table

VALIDATION = Table(
    "validation",
    "one tested feature of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("effect_mean", "float64", "the attribution that ranked it", METRIC),
        Column("effect_median", "float64", "its median over the same pairs", METRIC),
        Column("exact_mean", "float64", "exact effect, mean over the pairs that test it", METRIC),
        *median_columns("exact"),
        Column("n_pairs", "int32", "distinct pairs that test it"),
        Column(
            "gap",
            "float64",
            "median over them of corrupted - clean metric; blank without corrupted prompts",
            METRIC,
        ),
        Column("share", "float64", "|exact_median| / |gap|"),
        Column("smallest", "float64", "the smallest share of interest (--smallest)"),
        Column("control_median", "float64", "median over its controls of |median exact effect|", METRIC),
        Column("control_high", "float64", "95 % of its controls do less than this", METRIC),
        Column("n_controls", "int32", "other features along whose directions x was moved as far, at the same tokens"),
        Column("n_as_strong", "int32", "controls whose |median exact effect| is at least the feature's"),
        Column("natural_share", "float64", "share of a sample of the site's features that do as much by themselves"),
        Column("p_value", "float64", "sign test over pairs that its median is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all that the study tests"),
        Column(
            "verdict",
            "text",
            "causal, opposite sign, within controls, small, not shown, too few pairs or too few controls",
        ),
    ),
    "The pairs that test a feature are not among those that ranked it. natural_share is context and no part of the "
    "verdict; it is measured on the pairs that ranked.",
)
CURVES = Table(
    "curves",
    "one size of one order of features",
    (
        GROUP_NAME,
        Column("order", "text", "attribution, exact, activation, random, controls, or all features"),
        Column("n_features", "int64", "features patched together"),
        Column("effect_mean", "float64", "exact change of the metric, mean over pairs", METRIC),
        Column("effect_low", "float64", "lower end of its 95 % interval over pairs (Student)", METRIC),
        Column("effect_high", "float64", "upper end", METRIC),
        *share_columns("removed", "share of the clean-corrupted gap that it removes"),
        *share_columns("faithfulness", "what these features alone keep of what all do"),
        *share_columns("completeness", "what is left of it without them"),
        Column("length_ratio", "float64", "of controls: how far they move x, against the features they stand for"),
    ),
    "Measured on the pairs that test features, in orders that the other pairs gave. controls: at each site the "
    "features of the attribution order are replaced by others, and their joint change is scaled to the length of the "
    "change that the features would make there.",
)
AGREEMENT = Table(
    "agreement",
    "one site of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        Column("n_features", "int64", "features patched: tested ones and a sample of the active ones"),
        Column("pearson", "float64", "of attributions and exact effects"),
        Column("spearman", "float64", "of their ranks"),
        Column("same_sign", "float64", "share of features whose two effects have the same sign"),
        Column("poor", "bool", "whether pearson is too low to trust attributions there"),
    ),
)
COMPARED = Table(
    "compared",
    "one patched feature of one group: the tested ones and a sample of each site's active ones",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("exact_mean", "float64", "exact effect, mean over the pairs that ranked", METRIC),
        Column("tested", "bool", "whether it was tested, and not sampled only"),
        Column("effect_mean", "float64", "the attribution", METRIC),
    ),
)
EXACT = Table(
    "exact",
    "x moved at one feature's tokens in one pair",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("along", "int32", "whose decoder direction: the feature's own (it is patched), or a control's"),
        Column("evidence", "text", "ranking or test: which pairs it is one of"),
        PAIR_ID,
        Column("exact", "float64", "exact effect", METRIC),
    ),
)
