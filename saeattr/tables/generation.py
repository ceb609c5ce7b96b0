"""Lists written under ablation."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, SITE_COLUMNS
from saeattr.tables.table import Column, Table

GENERATION = Table(
    "generation",
    "one measure of one condition",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        Column("base", "text", "what features are held at"),
        Column("n_features", "int64", "so many of the site are ablated together; the same for nothing and steering"),
        Column("condition", "text", "nothing, features, controls or steering"),
        Column("measure", "text", "items, tokens, repeated, shannon or ended"),
        Column("n_lists", "int64", "lists written"),
        Column(
            "length_ratio", "float64", "of controls: how far x was moved against how far the features would move it"
        ),
        Column("mean", "float64", "mean over lists"),
        Column("low", "float64", "lower end of its 95 % interval (Student)"),
        Column("high", "float64", "upper end"),
        Column("added", "float64", "what the condition adds to nothing, list by list"),
        Column("added_low", "float64", "lower end of its interval"),
        Column("added_high", "float64", "upper end"),
    ),
)
GENERATED = Table(
    "generated",
    "one list written under one condition",
    (
        GROUP_NAME,
        *SITE_COLUMNS,
        Column("base", "text", "what features are held at"),
        Column("n_features", "int64", "so many of the site are ablated together; the same for nothing and steering"),
        Column("condition", "text", "nothing, features, controls or steering"),
        Column("control_set", "int64", "which set of controls; -1 for the other conditions"),
        Column(
            "length_ratio", "float64", "of controls: how far x was moved against how far the features would move it"
        ),
        Column("list_id", "text", "the list; list n draws the same random numbers in every condition"),
        Column("seed", "int64", "its own"),
        Column("items", "int64", "complete items"),
        Column("tokens", "int64", "of the answer"),
        Column("repeated", "int64", "items named before"),
        Column("shannon", "float64", "Shannon index of the items", "nats"),
        Column("ended", "bool", "whether the model ended it"),
        Column("text", "text", "the answer"),
    ),
)
