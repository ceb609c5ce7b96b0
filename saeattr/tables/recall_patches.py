"""What patching facts gives: every patch of every fact, and what it restores token by token."""

from __future__ import annotations

from saeattr.tables.columns import LAYER
from saeattr.tables.recall import CATEGORY, COMPONENT, DIRECTION, FACT_ID, HEAD, LOGITS
from saeattr.tables.table import Column, Table

RECALL_PATCHES = Table(
    "recall_patches",
    "one layer (of z one head of it) of one fact, patched at one token or at all tokens of a role",
    (
        CATEGORY,
        FACT_ID,
        DIRECTION,
        COMPONENT,
        LAYER,
        HEAD,
        Column("place", "text", "the tokens' role: entity, after it, decision (where the answer is read)"),
        Column("position", "int32", "of a single token, BOS is 0; -1: all of the role together"),
        Column("effect", "float64", "LD of the patched run - LD of the run it was put into", LOGITS),
        Column("clean", "float64", "LD after the clean prompt", LOGITS),
        Column("corrupted", "float64", "LD after the corrupted prompt", LOGITS),
        Column("p_patched", "float64", "P(clean_target) in the patched run, of the same forward; blank: z"),
        Column("p_clean", "float64", "P(clean_target) after the clean prompt; blank: z"),
        Column("p_corrupted", "float64", "P(clean_target) after the corrupted prompt; blank: z"),
    ),
    "Exact: the other run's activation is put in, and the layers above run again. What comes before the first token "
    "that differs is the same in both runs and has no row.",
)
RECALL_RESTORED = Table(
    "recall_restored",
    "one token of one fact in one layer: what its clean activation restores in the corrupted run",
    (
        CATEGORY,
        FACT_ID,
        COMPONENT,
        LAYER,
        Column("place", "text", "entity, entity-last (its last token), after, or final (where the answer is read)"),
        Column("position", "int32", "of the token; BOS is 0"),
        Column("token", "text", "the clean prompt's"),
        Column("ld_share", "float64", "(LD patched - LD corrupted) / (LD clean - LD corrupted)"),
        Column("p_patched", "float64", "P(clean_target) in the patched run"),
        Column("p_share", "float64", "(p_patched - p_corrupted) / (p_clean - p_corrupted); blank: see the note"),
        Column("p_clean", "float64", "P(clean_target) after the clean prompt"),
        Column("p_corrupted", "float64", "P(clean_target) after the corrupted prompt"),
        Column("swing", "float64", "LD after the clean prompt - LD after the corrupted one", LOGITS),
    ),
    "Denoising, of resid_pre, attn_out and mlp_out. Where p_clean is not at least 0.01 above p_corrupted there is no "
    "share of probability.",
)
