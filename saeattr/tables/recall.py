"""Recalled facts: how strongly a model holds each, in which words, and which rows of a battery cannot be asked."""

from __future__ import annotations

from saeattr.tables.columns import LAYER
from saeattr.tables.table import Column, Table

LOGITS = "logits"

CATEGORY = Column("category", "text", "what the fact is about: the relation")
FACT = Column("fact", "text", "the entity, its answer and the other one's; phrasings of one fact share it")
ROW = Column("row", "int64", "its number in the battery, from 1")
PHRASING = Column("phrasing", "text", "the clean prompt with {x} in place of the entity")

TRIAGE = Table(
    "triage",
    "one row of the battery that can be asked: a fact in one phrasing",
    (
        CATEGORY,
        FACT,
        ROW,
        Column("pair_id", "text", "the entity and which of its rows it is; unique within the category"),
        PHRASING,
        Column("clean_prompt", "text", "asks for the fact"),
        Column("corrupt_prompt", "text", "asks the same of another entity, in as many tokens"),
        Column("clean_target", "text", "the right answer to the clean prompt, one token"),
        Column("corrupt_target", "text", "the right answer to the corrupted prompt, one token"),
        Column("entity", "text", "what differs between the prompts, as the clean one has it"),
        Column("n_tokens", "int32", "tokens of each prompt, BOS included"),
        Column("entity_first", "int32", "position of the entity's first token; BOS is 0"),
        Column("entity_last", "int32", "position of its last token"),
        Column(
            "ld_clean", "float64", "LD, logit(clean_target) - logit(corrupt_target), after the clean prompt", LOGITS
        ),
        Column("ld_corrupted", "float64", "LD after the corrupted prompt", LOGITS),
        Column("swing", "float64", "ld_clean - ld_corrupted: what the entity alone moves", LOGITS),
        Column("p_right_clean", "float64", "P(clean_target) after the clean prompt"),
        Column("p_other_clean", "float64", "P(corrupt_target) after the clean prompt"),
        Column("p_right_corrupted", "float64", "P(clean_target) after the corrupted prompt"),
        Column("p_other_corrupted", "float64", "P(corrupt_target) after the corrupted prompt"),
        Column("rank_clean", "int32", "place of clean_target among all tokens after the clean prompt, 1 the first"),
        Column("rank_corrupted", "int32", "place of corrupt_target after the corrupted prompt"),
        Column("top_clean", "text", "the likeliest token after the clean prompt"),
        Column("top_corrupted", "text", "and after the corrupted prompt"),
        Column("known", "bool", "whether ld_clean > 0 > ld_corrupted: each prompt prefers its own answer"),
        Column("rank", "int32", "by swing, 1 is the largest"),
        Column("selected", "bool", "whether the selection takes it"),
    ),
    "Ranked by swing. Probabilities and ranks are over the whole vocabulary. A selection takes known facts only, each "
    "in the first phrasing that the model knows.",
)
UNASKED = Table(
    "unasked",
    "one row of the battery that is left out",
    (
        ROW,
        CATEGORY,
        Column("pair_id", "text", "blank where the row has no entity"),
        Column("reason", "text", "why: it cannot be read, does not align, or the model does not know it"),
        Column("mend", "text", "what to do about it"),
    ),
)
FACT_SPREAD = Table(
    "fact_spread",
    "one fact in all of its phrasings",
    (
        CATEGORY,
        FACT,
        Column("n_phrasings", "int32", "phrasings that could be asked"),
        Column("n_known", "int32", "those in which the model knows the fact"),
        Column("swing_mean", "float64", "mean swing over phrasings", LOGITS),
        Column("swing_sd", "float64", "its standard deviation over them; blank for one phrasing", LOGITS),
        Column("swing_min", "float64", "smallest swing", LOGITS),
        Column("swing_max", "float64", "largest swing", LOGITS),
        Column("weakest", "text", "the phrasing of the smallest swing"),
    ),
)
PHRASINGS = Table(
    "phrasings",
    "one phrasing of a category",
    (
        CATEGORY,
        PHRASING,
        Column("n_facts", "int32", "facts asked in it"),
        Column("n_known", "int32", "those that the model knows in it"),
        Column("swing_mean", "float64", "mean swing over facts", LOGITS),
        Column("p_right_mean", "float64", "mean P(clean_target) after the clean prompt"),
    ),
)
BESIDE = Table(
    "triage_beside",
    "one row of a battery, asked of two models",
    (
        CATEGORY,
        FACT,
        PHRASING,
        Column("clean_prompt", "text", "asks for the fact"),
        Column("corrupt_prompt", "text", "asks the same of another entity"),
        Column("swing_a", "float64", "of model A", LOGITS),
        Column("swing_b", "float64", "of model B", LOGITS),
        Column("change", "float64", "swing_b - swing_a", LOGITS),
        Column("p_right_a", "float64", "P(clean_target) after the clean prompt in A"),
        Column("p_right_b", "float64", "and in B"),
        Column("rank_clean_a", "int32", "place of clean_target after the clean prompt in A"),
        Column("rank_clean_b", "int32", "and in B"),
        Column("known_a", "bool", "whether A knows the fact in this phrasing"),
        Column("known_b", "bool", "whether B does"),
    ),
    "Rows that both models could be asked; the largest |change| first.",
)

DIRECTION = Column("direction", "text", "noising: corrupted put into the clean run; denoising: the other way round")
COMPONENT = Column("component", "text", "resid_pre, attn_out, resid_mid, mlp_out, resid_post, or z head by head")
FACT_ID = Column("pair_id", "text", "the entity and which of its rows it is; unique within the category")
PATCHED = Column("place", "text", "entity: its tokens together; entity-last: its last one; final: where the answer is")
HEAD = Column("head", "int16", "query head; -1: the component has none")

RECALL_CURVES = Table(
    "recall_curves",
    "one layer (of z one head of it) of one fact, patched at the entity or at the final position",
    (
        CATEGORY,
        FACT_ID,
        DIRECTION,
        COMPONENT,
        PATCHED,
        LAYER,
        HEAD,
        Column("effect", "float64", "LD of the patched run - LD of the run it was put into", LOGITS),
        Column("normalised", "float64", "(patched - clean) / (corrupted - clean): 0 reads as clean, 1 as corrupted"),
        Column("share", "float64", "of the swing, what the patch moves towards the run that it was taken from"),
        Column("clean", "float64", "LD after the clean prompt", LOGITS),
        Column("corrupted", "float64", "LD after the corrupted prompt", LOGITS),
    ),
    "The effects are those of patching.parquet. Noising, share is normalised (damage); denoising it is 1 - normalised "
    "(what is restored).",
)
RECALL_RELEASE = Table(
    "recall_release",
    "one fact in one direction: where resid_pre leaves the entity, and the head that moves most",
    (
        CATEGORY,
        FACT_ID,
        DIRECTION,
        Column("place", "text", "entity: its tokens together; entity-last: its last one"),
        Column("ld_clean", "float64", "LD after the clean prompt: the margin", LOGITS),
        Column("swing", "float64", "LD after the clean prompt - LD after the corrupted one", LOGITS),
        Column("max_damage", "float64", "largest change over layers, towards the run it was taken from", LOGITS),
        Column("max_share", "float64", "the same over the swing"),
        Column("max_layer", "int16", "the first layer that has it"),
        Column("release_layer", "int16", "first layer from which it stays below under of that; -1: none"),
        Column("under", "float64", "the share of the maximum"),
        Column("cross_layer", "int16", "first layer from which the final position carries more; -1: none"),
        Column("final_share", "float64", "share of the final position before the last layer"),
        Column("worst_head_layer", "int16", "of the head whose z at the final position moves most; -1: not patched"),
        Column("worst_head", "int16", "that head; -1: not patched"),
        Column("worst_head_share", "float64", "its share; blank: not patched"),
    ),
    "At layer 0 the entity's tokens are all that differs, so there the share of the whole entity is 1.",
)
RECALL_CLAIMS = Table(
    "recall_claims",
    "one statement of a source about recall, and what was measured of it",
    (
        Column("part", "text", "the part of the study that measures it"),
        Column("name", "text", "unique within the part"),
        Column("statement", "text", "what is claimed"),
        Column("source", "text", "who claims it"),
        Column("measure", "text", "what value is, with its unit"),
        Column("value", "float64", "as measured in this study"),
        Column("low", "float64", "lower end of its 95 % interval; blank: none"),
        Column("high", "float64", "upper end"),
        Column("side", "text", "above or below: the side of the limit on which the statement holds"),
        Column("limit", "float64", "where it breaks; stated beforehand"),
        Column("n", "int32", "facts, or what measure names, that it rests on"),
        Column("verdict", "text", "holds or broken: the whole interval is on one side; else undecided"),
    ),
)
RECALL_WORST = Table(
    "recall_worst",
    "one layer, or head, that moves most in at least one fact",
    (
        DIRECTION,
        COMPONENT,
        PATCHED,
        LAYER,
        HEAD,
        Column("n_facts", "int32", "facts in which no other layer (or head) of this component and place moves more"),
    ),
)
