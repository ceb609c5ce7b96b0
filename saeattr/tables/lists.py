"""What lists are like: counted one by one, and summed up by topic, request, temperature and source."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME
from saeattr.tables.table import Column, Table

#: What tells one condition of lists from another.
CONDITION = ["group", "request", "temperature", "source"]

_CONDITION = (
    GROUP_NAME,
    Column("request", "text", "short, long, plain (a list), few or many; blank where nothing says it"),
    Column("temperature", "float64", "of sampling; blank where nothing says it"),
    Column("source", "text", "what the lists were read from"),
    Column("on_policy", "bool", "whether the model under study wrote them"),
)


def _mean(name: str, meaning: str, unit: str = "") -> tuple[Column, ...]:
    return (
        Column(name, "float64", meaning, unit),
        Column(f"{name}_low", "float64", "lower end of its 95 % interval over lists (Student)", unit),
        Column(f"{name}_high", "float64", "upper end", unit),
    )


def _share(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "float64", meaning),
        Column(f"{name}_low", "float64", "lower end of its 95 % interval (Clopper and Pearson)"),
        Column(f"{name}_high", "float64", "upper end"),
    )


LIST_STATISTICS = Table(
    "list_statistics",
    "one list",
    (
        *_CONDITION,
        Column("list_id", "text", "the list, or where it stands in its file"),
        Column("format", "text", "how its items open: hyphen, star, bullet, numbered or bare; blank without items"),
        Column("ended", "bool", "whether it was ended, before the tokens ran out"),
        Column("n_items", "int64", "complete items"),
        Column("n_tokens", "float64", "tokens of the answer, its end included; blank where they are not known"),
        Column("tokens_per_item", "float64", "mean over its items, of the names alone; blank where not known"),
        Column("single_token", "float64", "share of its items whose name is one token; blank where not known"),
        Column("n_blanks", "int64", "items with a blank between the name and the end of the line"),
        Column("blank_from_end", "list", "which these are, counted from the end: 1 is the last complete item"),
        Column("repeats", "int64", "items named before in the list"),
        Column("shannon", "float64", "Shannon index of its items", "nats"),
        Column("item_tokens", "list", "tokens of each name; nothing where they are not known"),
        Column("items", "list", "the names"),
    ),
)
LIST_SUMMARY = Table(
    "list_summary",
    "one topic, request, temperature and source",
    (
        *_CONDITION,
        Column("n_lists", "int64", "lists; at temperature 0 equal ones are one"),
        Column("no_list", "int64", "answers besides that are no list"),
        *_mean("n_items", "items of a list, mean over lists"),
        Column("fewest", "int64", "items of the shortest list"),
        Column("most", "int64", "items of the longest"),
        *_mean("tokens_per_item", "tokens of a name, mean over lists of their means"),
        *_mean("single_token", "share of names that are one token, mean over lists"),
        *_mean("repeats", "items named before in their list, mean over lists"),
        *_mean("shannon", "Shannon index of a list's items, mean over lists", "nats"),
        Column("distinct_items", "int64", "different names in all lists together"),
        Column("shannon_all", "float64", "Shannon index of the items of all lists together", "nats"),
        *_share("ended", "share of lists that were ended"),
        *_share("with_blank", "share of lists with a blank after some item"),
        *_mean("blank_item", "share of all items that a blank follows (a ratio of means over lists)"),
    ),
    "Means and intervals are over lists with an item. Where tokens are not known, their columns are blank.",
)
LIST_BLANKS = Table(
    "list_blanks",
    "one item of ended lists, counted from the end",
    (
        *_CONDITION,
        Column("from_end", "int64", "1 is the last item"),
        Column("n_lists", "int64", "ended lists that have so many items"),
        Column("n_blank", "int64", "of them, those with a blank after this item"),
        *_share("share", "n_blank of n_lists"),
        Column("list_ids", "list", "which lists have it (the first 20)"),
    ),
    "Lists that were cut off have no last item, and are left out.",
)
LIST_EXCEPTIONS = Table(
    "list_exceptions",
    "one topic that is unlike the others in one measure",
    (
        GROUP_NAME,
        *_CONDITION[1:4],
        Column("measure", "text", "single_token, with_blank or last_blank"),
        Column("n_lists", "int64", "the topic's lists"),
        Column("value", "float64", "mean over them"),
        Column("others", "float64", "median over the other topics"),
        Column("spread", "float64", "their robust standard deviation, 1.4826 times the median absolute deviation"),
        Column("q_value", "float64", "that its lists are like the others', as a false discovery rate over topics"),
    ),
    "Within one request, temperature and source; at least four topics are needed.",
)
