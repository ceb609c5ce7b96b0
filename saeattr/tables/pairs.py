"""Pairs of prompts, and the lists that some are made of."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, PAIR_ID
from saeattr.tables.table import Column, Table

PAIRS = Table(
    "pairs",
    "one pair of prompts",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("title", "text", "what a reader calls it"),
        Column("clean_ids", "list", "token ids of the clean prompt"),
        Column("corrupted_ids", "list", "of the corrupted prompt; nothing where there is none"),
        Column("clean_tokens", "list", "the clean tokens as text"),
        Column("corrupted_tokens", "list", "the corrupted token beside each; ∅ where it has none"),
        Column("partners", "list", "for each clean position the corrupted one, -1 for none; empty where all align 1:1"),
        Column("branches", "list", "for each position 0 (prompt), 1 or 2 (a continuation); empty for one text"),
        Column("roles", "list", "what each position is for"),
        Column("positions", "list", "the decision points: a token index each (BOS is 0)"),
        Column("wanted", "list", "for each decision point the token ids that the metric wants"),
        Column("unwanted", "list", "and those it does not want"),
        Column("weights", "list", "and its part of the mean over points (--decision all)"),
        Column("whole", "bool", "whether the points are one decision together, and the metric adds them up"),
        Column("times", "int64", "how often these tokens were drawn: a row for each distinct pair"),
    ),
)
TEST_PAIRS = Table(
    "test_pairs",
    "one pair of prompts that tests what others ranked",
    PAIRS.columns,
    "Drawn with another seed; none has the tokens of a pair in pairs.parquet. A behaviour with a fixed source has none "
    "of these: there each half of its pairs tests what the other half ranks.",
)
LISTS = Table(
    "lists",
    "one list that the model wrote, or one from elsewhere",
    (
        Column("topic", "text", "what the list is of"),
        Column("list_id", "text", "the list, unique within its topic"),
        Column(
            "length",
            "text",
            "the request: a short, a long or a list (none); few: short with a few, many: long with a many",
        ),
        Column("request", "text", "the user's turn"),
        Column("text", "text", "the answer up to its end"),
        Column("token_ids", "list", "the whole conversation: request, answer and the end of its turn"),
        Column("prompt_length", "int64", "how many of these tokens were given"),
        Column("items", "list", "the names of the complete items"),
        Column("item_spans", "list", "for each of them [start, end) in token positions"),
        Column("format", "text", "how the items open: hyphen, star, bullet, numbered or bare; blank without items"),
        Column("ended", "bool", "whether the list was ended, before the tokens ran out"),
        Column("temperature", "float64", "of sampling; blank where the list is from elsewhere"),
        Column("top_p", "float64", "of sampling; blank where the list is from elsewhere"),
        Column("seed", "int64", "the list's own; -1 where the list is from elsewhere"),
        Column("source", "text", "model, or the file and its row"),
    ),
    "One file a topic, ``lists/SLUG.parquet``; the folder opens as a Hugging Face dataset.",
)
