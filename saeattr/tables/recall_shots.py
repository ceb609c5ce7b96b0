"""Recalled facts behind other facts of their relation: zero-shot against few-shot prompts."""

from __future__ import annotations

from saeattr.tables.columns import LAYER
from saeattr.tables.recall import CATEGORY, FACT_ID
from saeattr.tables.table import Column, Table

SHOTS = Column("shots", "int16", "other facts of the relation before the prompt, each with its answer; 0: none")

RECALL_SHOTS = Table(
    "recall_shots",
    "one fact behind so many others",
    (
        CATEGORY,
        FACT_ID,
        SHOTS,
        Column("shown", "text", "the others, as the prompt has them"),
        Column("ld_clean", "float64", "LD after the clean prompt", "logits"),
        Column("ld_corrupted", "float64", "LD after the corrupted prompt, whose last line alone differs", "logits"),
        Column("known", "bool", "whether ld_clean > 0 > ld_corrupted"),
        Column("p_answer", "float64", "P(right answer) after the clean prompt"),
        Column("rank_answer", "int32", "its place among all tokens, 1 the first"),
        Column("p_shown", "float64", "P(any answer that the prompt shows)"),
        Column("domain", "float64", "P(any answer of the relation), the right one and the shown ones among them"),
        Column("n_domain", "int32", "tokens that are answers of the relation"),
        Column("mover_layer", "float64", "centre over layers of what each head's z at the final position moves"),
        Column("attention_layer", "int16", "layer of the head that attends most to the entity from the final position"),
        Column("attention", "float64", "its attention"),
    ),
    "mover_layer: sum of layer x max(0, -effect) / sum of max(0, -effect) over all heads, an effect being the change "
    "of LD when a head's corrupted z is put in at the final position; blank where none lowers it.",
)
RECALL_SHOT_LENS = Table(
    "recall_shot_lens",
    "one fact behind so many others, after one layer",
    (
        CATEGORY,
        FACT_ID,
        SHOTS,
        Column("layer", "int16", f"{LAYER.meaning}; -1: what enters it"),
        Column("entity_rank", "int32", "lens rank of the entity's first token at the final position; 1 is first"),
        Column("answer_rank", "int32", "lens rank of the right answer there"),
    ),
)
