"""What activation patching gives."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, LAYER, METRIC, PAIR_ID
from saeattr.tables.table import Column, Table

HEAD = Column("head", "int16", "of queries, or of keys and values (k, v), which are fewer where queries are grouped")

PATCHING = Table(
    "patching",
    "one place of one pair in one layer, one head of it or all",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("component", "text", "resid_pre, q, k, v, scores, pattern, z, attn_out, resid_mid, mlp_out, resid_post"),
        Column("by", "text", "role, head, head-role or token: how places and heads are told apart"),
        Column("direction", "text", "noising: corrupted put into the clean run; denoising: the other way round"),
        Column("method", "text", "exact: measured; attribution: to first order, from one backward"),
        LAYER,
        Column("head", "int16", f"{HEAD.meaning}; -1: all together, or none"),
        Column("place", "text", "the positions patched: a role, several together, or all; decision: where it is read"),
        Column("position", "int32", "of a single token; -1: the place has several"),
        Column("joint", "bool", "its positions have rows of their own too: roles together, or all positions"),
        Column("effect", "float64", "patched metric - that of the run it was put into", METRIC),
        Column("clean", "float64", "of the clean run", METRIC),
        Column("corrupted", "float64", "of the corrupted run", METRIC),
    ),
    "Normalised, an effect is 0 where the patched run reads as the clean one and 1 where it reads as the corrupted "
    "one, in both directions: (patched - clean) / (corrupted - clean). A pair without a row for a place has no "
    "position there that could change anything: its effect is 0.",
)
HEAD_MOVES = Table(
    "head_moves",
    "one head of one pair: how it carries what differs to where the metric is read",
    (
        GROUP_NAME,
        PAIR_ID,
        LAYER,
        Column("head", "int16", "query head"),
        Column("kv_head", "int16", "the key and value head that it reads, which grouped queries share"),
        Column("attention_clean", "float64", "of the decision's query, to the tokens that differ, in the clean run"),
        Column("attention_corrupted", "float64", "and in the corrupted run"),
        Column(
            "direct_effect",
            "float64",
            "the head's corrupted z at the decision, straight through output weights and unembedding (no layer "
            "between, norms' scales held, the metric to first order)",
            METRIC,
        ),
        Column("ov_effect", "float64", "of it, what the head reads at the tokens that differ", METRIC),
        Column("exact_effect", "float64", "the head's corrupted z put in at the decision, layers above run", METRIC),
        Column("clean", "float64", "of the clean run", METRIC),
        Column("corrupted", "float64", "of the corrupted run", METRIC),
    ),
    "Effects are changes of the clean run's metric: over corrupted - clean they are shares of the gap.",
)
