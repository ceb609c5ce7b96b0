"""What sites are chosen by."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, METRIC, PAIR_ID, SITE_COLUMNS
from saeattr.tables.table import Column, Table

LENS = Table(
    "lens",
    "one pair after one write into the residual stream",
    (
        GROUP_NAME,
        PAIR_ID,
        *SITE_COLUMNS,
        Column("clean", "float64", "the metric read there in the clean run", METRIC),
        Column("corrupted", "float64", "and in the corrupted run", METRIC),
        Column("gain", "float64", "what the write adds to clean - corrupted", METRIC),
    ),
)
ROLE_EFFECTS = Table(
    "role_effects",
    "one role of one pair at one site",
    (
        GROUP_NAME,
        PAIR_ID,
        *SITE_COLUMNS,
        Column("role", "text", "the positions patched; decision: where the metric is read"),
        Column("effect", "float64", "exact: the corrupted x put in at these positions", METRIC),
    ),
)
LAYER_SCORES = Table(
    "layer_scores",
    "one SAE on offer",
    (
        *SITE_COLUMNS,
        Column("lens_gain", "float64", "what the site adds to the lens' clean - corrupted metric, absolute", METRIC),
        Column("ablation_effect", "float64", "exact effects of patching each role, absolute, summed", METRIC),
        Column("gradient_effect", "float64", "the same to first order", METRIC),
        Column("discount", "float64", "what is left of the score after discounts"),
        Column("score", "float64", "0 to 1"),
        Column("sae_width", "int64", "features of the SAE"),
        Column("sae_bytes", "int64", "in float32", "bytes"),
        Column("chosen", "bool", "whether it is attributed"),
    ),
    "Why these were chosen is in the schema metadata (saeattr.reason). The first group's pairs decide, once.",
)
