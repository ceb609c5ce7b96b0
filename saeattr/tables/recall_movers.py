"""Heads that move an entity to where the answer is read: what each sees and writes, and what its removal does."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, LAYER, PAIR_ID
from saeattr.tables.table import Column, Table

HEAD = Column("head", "int16", "query head")
POSITION = Column("position", "int32", "BOS is 0")

RECALL_ATTENTION = Table(
    "recall_attention",
    "one token of one fact, as one head sees it from the final position",
    (
        GROUP_NAME,
        PAIR_ID,
        LAYER,
        HEAD,
        POSITION,
        Column("token", "text", "of the clean prompt"),
        Column("role", "text", "bos, common, entity, after or last"),
        Column("attention_clean", "float64", "of the final position's query, in the clean run; sums to 1 over tokens"),
        Column("attention_corrupted", "float64", "and in the corrupted run"),
    ),
)
RECALL_HEADS = Table(
    "recall_heads",
    "one head in one fact",
    (
        GROUP_NAME,
        PAIR_ID,
        LAYER,
        HEAD,
        Column("kv_head", "int16", "the key and value head that it reads, which grouped queries share"),
        Column("direct_effect", "float64", "its corrupted z at the final position, straight to the metric", "metric"),
        Column("ov_effect", "float64", "of it, what the head reads at the tokens that differ", "metric"),
        Column("exact_effect", "float64", "its corrupted z put in at the final position, layers above run", "metric"),
        Column("entity_rank", "int32", "of the entity's last token in what the head writes of it; 1: raised most"),
        Column("answer_rank", "int32", "and of the answer"),
        Column("other_rank", "int32", "and of the corrupted prompt's answer"),
        Column("clean", "float64", "the metric of the clean run", "metric"),
        Column("corrupted", "float64", "and of the corrupted run", "metric"),
    ),
    "Ranks are among all tokens: the head's value at the entity's last token (clean run), through output weights, "
    "norms without their biases, and unembedding (Wang et al. 2022). Effects are as in head_moves.parquet.",
)
_SET = Column("chosen", "text", "first: the strongest mover alone; all: every mover that was chosen")
_REMOVAL = Column("removal", "text", "mean: z of the choosing facts' mean; corrupted: z of the corrupted run")
_CONTROL = Column(
    "control",
    "text",
    "blank: the movers themselves; random: attention's output displaced equally far in a random direction; directions: "
    "equally far as removing another head displaces it; heads: as many other heads removed",
)
RECALL_REMOVAL = Table(
    "recall_removal",
    "one removal in one fact at its final position",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("half", "int16", "1 or 2: the half of the facts that it is in; the other one chose"),
        _SET,
        Column("movers", "text", "the heads chosen on the other half of the facts, layer.head"),
        _REMOVAL,
        _CONTROL,
        Column("draw", "text", "which control of its kind: the other heads, or the number of a random direction"),
        Column("size", "float64", "norm of what is taken from the residual stream; root of its squares over layers"),
        Column("change", "float64", "of the clean run's metric", "metric"),
        Column("clean", "float64", "the metric of the clean run", "metric"),
        Column("corrupted", "float64", "and of the corrupted run", "metric"),
    ),
    "What is removed is replaced at the final position alone, and the layers above run again.",
)
RECALL_MOVERS = Table(
    "recall_movers",
    "one head over all facts of a recall study",
    (
        LAYER,
        HEAD,
        Column("attention_entity", "float64", "mean attention from the final position to the entity, clean run"),
        Column("attention_entity_corrupted", "float64", "and in the corrupted run"),
        Column("attention_uniform", "float64", "the entity's share of all tokens, mean"),
        Column("attention_bos", "float64", "to BOS, clean run"),
        Column("attention_final", "float64", "to the final position itself"),
        Column("attention_other", "float64", "to all other tokens"),
        Column("direct", "float64", "mean direct effect over the mean gap, corrupted - clean"),
        Column("ov", "float64", "of it, what it reads at the tokens that differ"),
        Column("exact", "float64", "mean exact effect over the mean gap"),
        Column("exact_low", "float64", "lower end of its 95 % interval over facts"),
        Column("exact_high", "float64", "upper end"),
        Column("copies", "float64", "share of facts whose entity is among the TOP tokens that it raises most"),
        Column("answers", "float64", "share of facts whose answer is"),
        Column("others", "float64", "share of facts whose corrupted prompt's answer is"),
        Column("first", "int16", "halves of the facts that chose it as the first mover, of 2"),
        Column("chosen", "int16", "halves that chose it at all"),
        Column("n_facts", "int32", "facts"),
    ),
    "TOP is 10. A mover attends to the entity more than evenly and has at least 0.05 of the gap, its interval above 0.",
)
RECALL_REMOVED = Table(
    "recall_removed",
    "one removal or kind of control over all facts",
    (
        _SET,
        _REMOVAL,
        _CONTROL,
        Column("movers", "text", "the heads that were chosen, by half"),
        Column("n_facts", "int32", "facts"),
        Column("n_controls", "int32", "controls of the kind"),
        Column("damage", "float64", "mean change towards the corrupted run over the mean gap; of controls their mean"),
        Column("damage_high", "float64", "of controls the 95th percentile over them"),
        Column("relative_size", "float64", "mean size over that of the movers' removal"),
        Column("hurt_less", "float64", "share of controls that damage less in the mean over facts than the movers do"),
        Column("hurt_less_low", "float64", "lower end of its 95 % interval over controls (Clopper and Pearson)"),
        Column("hurt_less_high", "float64", "upper end"),
        Column("facts", "float64", "share of facts that at least 95 % of the controls damage less than the movers do"),
        Column("facts_low", "float64", "lower end of its 95 % interval over facts (Clopper and Pearson)"),
        Column("facts_high", "float64", "upper end"),
    ),
)
