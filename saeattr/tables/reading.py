"""What is read along prompts without any SAE: entropy, and the logit lens."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, PAIR_ID
from saeattr.tables.table import Column, Table

NATS, LOGIT = "nats", "logit"

WRITTEN = Column("written", "text", "the request that the answer was written to: clean, or corrupted (of other pairs)")
ROLE = Column("role", "text", "what its tokens are for; decision: a decision point")
NUMBER = Column("number", "int32", "1 for the pair's first span of the role")
FROM_END = Column("from_end", "int32", "0 for its last")

ENTROPY = Table(
    "entropy",
    "the last token of one span (a run of one role) in one run",
    (
        GROUP_NAME,
        PAIR_ID,
        WRITTEN,
        Column("read", "text", "the request that it is read under: clean or corrupted"),
        ROLE,
        NUMBER,
        FROM_END,
        Column("entropy", "float64", "of the whole vocabulary's next-token distribution", NATS),
        Column("probability", "float64", "of the token that follows in the prompt; NaN where none does"),
    ),
    "A pair_id names a pair among those written to the same request.",
)
ENTROPY_ONSET = Table(
    "entropy_onset",
    "one role of one pair that has two spans of it or more",
    (
        GROUP_NAME,
        PAIR_ID,
        WRITTEN,
        ROLE,
        Column("n_spans", "int32", "spans that both runs have"),
        Column("rise_clean", "float64", "least-squares slope of the entropy under the clean request, a span", NATS),
        Column("rise_corrupted", "float64", "and under the corrupted one", NATS),
        Column(
            "onset",
            "float64",
            "number of the span at which the best single step of the difference (clean minus corrupted request) stands",
        ),
        Column("from_end", "float64", "the same counted from the end: 0 for the last span"),
        Column("step", "float64", "mean difference from there on minus that before", NATS),
        Column("explained", "float64", "share of the difference's variance that the step explains"),
        Column("p_value", "float64", "how often the same differences in random order are explained as well"),
    ),
    "onset, from_end, step and explained are NaN where all differences are equal.",
)
LOGIT_LENS = Table(
    "logit_lens",
    "the last token of one span after one layer",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("temperature", "float64", "at which the pair's answer was sampled; NaN where the model wrote none"),
        Column("direction", "text", "what is contrasted"),
        Column("layer", "int16", "0 is the first; -1 is what enters it"),
        ROLE,
        NUMBER,
        FROM_END,
        Column("clean", "float64", "the contrast read there in the clean run", LOGIT),
        Column("corrupted", "float64", "and in the corrupted run; NaN where the token has no partner", LOGIT),
    ),
)
_OVER = "; NaN with fewer than six pairs"
LENS_ONSET = Table(
    "lens_onset",
    "one role's separation in one direction over the pairs of one group",
    (
        GROUP_NAME,
        Column("temperature", "float64", "at which the pairs' answers were sampled; NaN where the model wrote none"),
        Column("direction", "text", "what is contrasted"),
        Column("label", "text", "the same in words"),
        ROLE,
        Column(
            "contrast",
            "text",
            "positions: the last span minus the mean of those before it, clean run; runs: clean minus corrupted run "
            "at the last span",
        ),
        Column("n_pairs", "int64", "pairs that have it"),
        Column("separation", "float64", "after the last layer, median over pairs", LOGIT),
        Column("separation_low", "float64", f"lower end of its 95 % interval{_OVER}", LOGIT),
        Column("separation_high", "float64", "upper end", LOGIT),
        Column("begins", "float64", "first layer from which on it has at least 10 % of its final value, median"),
        Column("begins_low", "float64", f"lower end of its 95 % interval{_OVER}"),
        Column("begins_high", "float64", "upper end"),
        Column("complete", "float64", "first layer from which on it has at least 90 %, median"),
        Column("complete_low", "float64", f"lower end of its 95 % interval{_OVER}"),
        Column("complete_high", "float64", "upper end"),
        Column(
            "apart_from",
            "float64",
            "first layer from which on the interval of the median separation leaves out 0; NaN for none",
        ),
        Column("n_layers", "int16", "of the model"),
    ),
)
