"""Two studies of the same pairs, side by side."""

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

CHANGES = Table(
    "changes",
    "one compared feature of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("effect_a", "float64", "its estimated effect in model A, median over pairs", METRIC),
        Column("effect_b", "float64", "in model B", METRIC),
        Column("change_mean", "float64", "effect in B minus effect in A, mean over pairs", METRIC),
        *median_columns("change"),
        Column("activation_part", "float64", "its part of change_mean through other activations", METRIC),
        Column("slope_part", "float64", "through another slope of the metric; both parts add up", METRIC),
        Column("n_active", "int32", "pairs in which it has an effect in either model"),
        Column("n_pairs", "int32", "distinct pairs that both studies have"),
        Column("p_value", "float64", "sign test over pairs that the median change is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all compared features of all groups"),
    ),
    "Features with an effect in at least half of the pairs, in either model, are compared. The effects are estimates; "
    "change_tests.parquet has exact ones.",
)
SITE_CHANGES = Table(
    "site_changes",
    "one site of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        Column("n_features", "int64", "features compared"),
        Column("n_changed", "int64", "those with q <= 0.05"),
        Column(
            "activation_change", "float64", "|f_B - f_A| / |f_A| over the entries in either model: 0 where x is equal"
        ),
        Column("activation_part", "float64", "sum over compared features of |activation_part|", METRIC),
        Column("slope_part", "float64", "sum over them of |slope_part|", METRIC),
        *share_columns(
            "taken_back", "share of the metric's change from A to B that is undone with A's x in B here; needs --exact"
        ),
    ),
    "The first site whose activation_change is not 0 is where the models begin to differ on these pairs.",
)
CHANGE_TESTS = Table(
    "change_tests",
    "one tested feature of one group",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("estimate_mean", "float64", "the change_mean that ranked it, on other pairs", METRIC),
        Column("exact_a", "float64", "exact effect in model A, median over the pairs that test", METRIC),
        Column("exact_b", "float64", "in model B", METRIC),
        *median_columns("change"),
        Column("activation_part", "float64", "median change through other activations, exact", METRIC),
        Column("path_part", "float64", "median change with the activations of A in both: the layers above", METRIC),
        Column("n_pairs", "int32", "distinct pairs that test it"),
        Column("gap", "float64", "median over them of corrupted - clean metric in A", METRIC),
        Column("share", "float64", "|change_median| / |gap|"),
        Column("smallest", "float64", "the smallest share of interest"),
        Column("control_median", "float64", "median over its controls of |median change|", METRIC),
        Column("control_high", "float64", "95 % of its controls change less than this", METRIC),
        Column("control_activation", "float64", "largest |median activation part| of its controls", METRIC),
        Column("n_controls", "int32", "other features along whose directions x was moved as far, in both models"),
        Column("n_as_strong", "int32", "controls whose |median change| is at least the feature's"),
        Column("p_value", "float64", "sign test over pairs that the median change is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all that the comparison tests"),
        Column("verdict", "text", "changed, within controls, small, not shown, too few pairs or too few controls"),
    ),
)
CHANGE_EXACT = Table(
    "change_exact",
    "x moved at one feature's tokens in one pair, in both models",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        FEATURE_INDEX,
        Column("along", "int32", "whose decoder direction: the feature's own (it is patched), or a control's"),
        PAIR_ID,
        Column("exact_a", "float64", "exact effect in A, moved as far as the feature's patch moves x in A", METRIC),
        Column("exact_b", "float64", "in B, as far as its patch moves x in B", METRIC),
        Column("exact_moved", "float64", "in B, but moved as far as in A", METRIC),
    ),
)
