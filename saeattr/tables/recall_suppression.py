"""Parts of the last layers that lower the right answer: what each writes, and what scaling them does."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, LAYER, PAIR_ID
from saeattr.tables.table import Column, Table

COMPONENT = Column("component", "text", "head or mlp")
HEAD = Column("head", "int16", "query head; -1: the MLP")
FACTOR = Column("factor", "float64", "what the output of every scaled part at the final position is multiplied by")
SET = Column(
    "chosen",
    "text",
    "first: the part that writes least to the log odds; all: every suppressor; third: the last third of the layers",
)

RECALL_WRITES = Table(
    "recall_writes",
    "the final position of one fact after one write of the last third of the layers, through the logit lens",
    (
        GROUP_NAME,
        PAIR_ID,
        LAYER,
        Column("write", "text", "attn or mlp: what was written last; before: what enters this layer"),
        Column("step", "int16", "order of the writes; 0: nothing of the last third yet"),
        Column("p_answer", "float64", "P(answer), if the stream ended there"),
        Column("log_odds", "float64", "log P(answer) / (1 - P(answer))", "nats"),
        Column("rank", "int32", "of the answer among all tokens, 1 the first"),
    ),
)
RECALL_PARTS = Table(
    "recall_parts",
    "one head or MLP of the last third of the layers in one fact",
    (
        GROUP_NAME,
        PAIR_ID,
        LAYER,
        COMPONENT,
        HEAD,
        Column("direct_log_odds", "float64", "what it writes at the final position to the answer's log odds", "nats"),
        Column("direct_metric", "float64", "and to the metric", "metric"),
    ),
    "Straight through the final norm, whose scale is held, and the unembedding, to first order: below 0 it suppresses.",
)
RECALL_SCALED = Table(
    "recall_scaled",
    "one fact with parts that the other half of the facts chose scaled at its final position",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("half", "int16", "1 or 2: the half of the facts that it is in; the other one chose"),
        SET,
        Column("parts", "text", "those scaled, layer.head or layer.mlp"),
        FACTOR,
        Column("p_answer", "float64", "P(answer)"),
        Column("log_odds", "float64", "log P(answer) / (1 - P(answer))", "nats"),
        Column("rank", "int32", "of the answer among all tokens, 1 the first"),
        Column("p_top", "float64", "P of the likeliest token: the confidence"),
        Column("entropy", "float64", "of the next token", "nats"),
    ),
    "Factor 1 is the model as it is. The layers above a scaled part run again; of heads it is z that is scaled.",
)
RECALL_SUPPRESSORS = Table(
    "recall_suppressors",
    "one head or MLP of the last third of the layers over all facts",
    (
        LAYER,
        COMPONENT,
        HEAD,
        Column("direct_log_odds", "float64", "mean direct effect on the answer's log odds", "nats"),
        Column("direct_low", "float64", "lower end of its 95 % interval over facts (Student)", "nats"),
        Column("direct_high", "float64", "upper end", "nats"),
        Column("direct_metric", "float64", "mean direct effect on the metric", "metric"),
        Column("negative", "float64", "share of facts in which it lowers the answer's log odds"),
        Column("first", "int16", "halves of the facts in which no part has a lower mean, of 2"),
        Column("chosen", "int16", "halves of the facts that chose it as a suppressor"),
        Column("n_facts", "int32", "facts"),
    ),
    "A suppressor lowers the log odds of the facts that choose: the interval of its mean lies below 0.",
)
RECALL_SCALING = Table(
    "recall_scaling",
    "some parts at one factor over all facts that were tested",
    (
        SET,
        FACTOR,
        Column("n_facts", "int32", "facts"),
        Column("accuracy", "float64", "share of facts whose answer is the likeliest token"),
        Column("accuracy_low", "float64", "lower end of its 95 % interval (Clopper and Pearson)"),
        Column("accuracy_high", "float64", "upper end"),
        Column("p_answer", "float64", "mean P(answer)"),
        Column("p_top", "float64", "mean confidence, P of the likeliest token"),
        Column("calibration_error", "float64", "expected calibration error, ten equal bins of confidence"),
        Column("entropy", "float64", "mean entropy of the next token", "nats"),
        Column("log_odds", "float64", "mean log odds of the answer", "nats"),
    ),
)
