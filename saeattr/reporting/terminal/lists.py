"""Statistics of lists in the terminal: a line a topic, where blanks stand, and what is unlike the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.reporting.figures.style import show_token
from saeattr.reporting.numbers import MISSING
from saeattr.reporting.terminal.console import open_console
from saeattr.tables import CONDITION

#: With more rows than this, topics are averaged.
LONGEST = 30
#: Items from the end whose blanks have a column.
FROM_END = 6
#: Lists and topics that are named in a line.
NAMED = 6
NAMES = {"group": "topic", "request": "request", "temperature": "T", "source": "lists of"}
MEASURES = {
    "single_token": "share of one-token items",
    "with_blank": "share of lists with a blank",
    "last_blank": "share of lists with a blank after the last item",
}


def print_statistics(
    summary: pd.DataFrame,
    blanks: pd.DataFrame,
    exceptions: pd.DataFrame,
    odd: pd.DataFrame,
    tokens_of: str,
    console: Console | None = None,
) -> None:
    """Print statistics of lists (``tables.LIST_SUMMARY``, ``LIST_BLANKS``, ``LIST_EXCEPTIONS``, rows of odd lists).

    Args:
        tokens_of: whose tokens were counted.
    """
    console = console or open_console()
    keys = _varying(summary)
    console.print(_summary(summary, keys, tokens_of))
    if (blanks["n_blank"] > 0).any():
        console.print(_positions(blanks, keys))
    if len(_heats(summary)) > 1:
        console.print(_temperatures(summary))
    told = (*_exception_lines(exceptions, keys), *_odd_lines(odd, keys), *_missing_lines(summary))
    for line in told:
        console.print(line, markup=False, highlight=False)


def _summary(summary: pd.DataFrame, keys: list[str], tokens_of: str) -> Table:
    n_lists, n_topics = int(summary["n_lists"].sum()), len(set(summary["group"]))
    rows, title = summary, f"{_count(n_lists, 'list')} of {_count(n_topics, 'topic')}"
    if len(summary) > LONGEST:
        keys = [name for name in keys if name != "group"]
        rows = _over_topics(summary)
        title += ": means over topics (--out writes each)"
    caption = (
        f"items: mean [95 % interval]; tok.: tokens of a name, by {tokens_of}; one: names of one token; blank: lists "
        "with a blank after an item; rep.: items named before; H: Shannon index in nats; end: lists that ended"
    )
    each = sorted(set(rows["n_lists"]))
    table = _table(title if len(each) > 1 else f"{title}, {each[0]} each", caption, keys)
    for name in (*(("n",) if len(each) > 1 else ()), "items", "tok.", "one", "blank", "rep.", "H", "end"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        table.add_row(
            *_names(row, keys),
            *((str(row["n_lists"]),) if len(each) > 1 else ()),
            _interval(row, "n_items"),
            _number(row["tokens_per_item"], ".2f"),
            _number(row["single_token"], ".0%"),
            _number(row["with_blank"], ".0%"),
            _number(row["repeats"], ".1f"),
            _number(row["shannon"], ".2f"),
            _number(row["ended"], ".0%"),
        )
    return table


def _over_topics(summary: pd.DataFrame) -> pd.DataFrame:
    """Means over topics; their intervals are not those of any list."""
    numbers = [name for name in summary.select_dtypes("number") if name not in (*CONDITION, "n_lists")]
    grouped = summary.groupby(CONDITION[1:], sort=False, dropna=False)
    rows = grouped[numbers].mean().assign(n_lists=grouped["n_lists"].sum()).reset_index()
    rows[[name for name in numbers if name.endswith(("_low", "_high"))]] = math.nan
    return rows


def _positions(blanks: pd.DataFrame, keys: list[str]) -> Table:
    """In what share of lists a blank follows the last item, the one before, ...; over topics where they are many."""
    if len(blanks.drop_duplicates(CONDITION)) > LONGEST:
        keys = [name for name in keys if name != "group"]
    caption = "lists that ended and have so many items; what has no blank at all is left out"
    table = _table("share of lists with a blank after the k-th item from the end", caption, keys)
    for at in range(1, FROM_END + 1):
        table.add_column("last" if at == 1 else f"{at}", justify="right")
    for key, own in blanks.groupby(keys or (lambda _: 0), sort=False, dropna=False):
        sums = own.groupby("from_end")[["n_blank", "n_lists"]].sum()
        if not sums["n_blank"].any():
            continue
        shares = (sums["n_blank"] / sums["n_lists"]).to_dict()
        cells = [_number(shares.get(at, math.nan), ".0%") for at in range(1, FROM_END + 1)]
        named = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=bool(keys)))
        table.add_row(*_names(named, keys), *cells)
    return table


def _temperatures(summary: pd.DataFrame) -> Table:
    """Blanks against temperature: shares over all topics."""
    known = summary.dropna(subset=["temperature"])
    keys = [name for name in _varying(known) if name in ("request", "source")]
    table = _table("blanks against temperature", "means over topics", [*keys, "temperature"])
    for name in ("lists", "lists with a blank", "items with a blank", "items", "ended"):
        table.add_column(name, justify="right")
    for key, own in known.groupby([*keys, "temperature"], sort=True):
        table.add_row(
            *(escape(str(value)) for value in key[:-1]),
            f"{key[-1]:g}",
            str(own["n_lists"].sum()),
            *(_number(own[name].mean(), ".0%") for name in ("with_blank", "blank_item")),
            _number(own["n_items"].mean(), ".1f"),
            _number(own["ended"].mean(), ".0%"),
        )
    return table


def _heats(summary: pd.DataFrame) -> set[float]:
    return set(summary["temperature"].dropna())


def _table(title: str, caption: str, keys: Sequence[str]) -> Table:
    looks: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", **looks)
    for name in keys:
        table.add_column(NAMES[name], no_wrap=name != "source", overflow="fold")
    return table


def _exception_lines(exceptions: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    lines = []
    for (measure, *_), own in exceptions.groupby(["measure", *CONDITION[1:]], sort=False, dropna=False):
        first = own.iloc[0]
        where = _condition(first, keys)
        named = _listed([f"{row['group']} {row['value']:.0%}" for row in own.to_dict("records")])
        usual = f"; median of the other topics {first['others']:.0%}"
        lines.append(f"exceptions in {MEASURES[str(measure)]}{where}: {named}{usual}")
    return lines


def _odd_lines(odd: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    lines = []
    for _, own in odd.groupby(CONDITION[1:], sort=False, dropna=False):
        first = own.iloc[0]
        where = _condition(first, keys)
        names = [f"{row['group']} {row['list_id']}" for row in own.to_dict("records")]
        has = "with" if 1 in first["blank_from_end"] else "without"
        lines.append(f"lists {has} a blank after the last item, unlike 90 % or more{where}: {_listed(names)}")
    return lines


def _missing_lines(summary: pd.DataFrame) -> list[str]:
    lines = []
    unknown = summary[summary["tokens_per_item"].isna() & (summary["n_lists"] > 0)]
    if len(unknown):
        lines.append(
            "tokens are not counted where the tokenizer does not know the text (--model names another): "
            + _listed(list(dict.fromkeys(map(str, unknown["group"]))))
        )
    no_list = summary[summary["no_list"] > 0]
    if len(no_list):
        n_answers, topics = int(no_list["no_list"].sum()), list(dict.fromkeys(map(str, no_list["group"])))
        lines.append(f"{_count(n_answers, 'answer')} {'is' if n_answers == 1 else 'are'} no list: {_listed(topics)}")
    return lines


def _varying(table: pd.DataFrame) -> list[str]:
    """What tells the rows apart; the topic always, the source where a request has several."""
    found = [name for name in CONDITION if name == "group" or len(table.drop_duplicates(name)) > 1]
    one_each = len(table.drop_duplicates(["request", "source"])) == len(table.drop_duplicates("request"))
    return [name for name in found if name != "source" or not one_each]


def _names(row: Mapping[Any, Any], keys: Sequence[str]) -> list[str]:
    return [escape(_name(row, name)) for name in keys]


def _condition(row: Mapping[Any, Any] | pd.Series, keys: Sequence[str]) -> str:
    """`` (short, 0.8)``: what tells a row's lists from others, but for the topic."""
    words = [word for name in keys if name != "group" and (word := _name(row, name))]
    return f" ({', '.join(words)})" if words else ""


def _name(row: Mapping[Any, Any] | pd.Series, name: str) -> str:
    value = row[name]
    if name == "temperature":
        return "" if math.isnan(value) else f"{value:g}"
    return show_token(str(value), 40)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _interval(row: Mapping[Any, Any], name: str) -> str:
    mean = _number(row[name], ".1f")
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return mean if math.isnan(low) else f"{mean} [{low:.1f}, {high:.1f}]"


def _number(value: float, form: str) -> str:
    return MISSING if math.isnan(value) else f"{value:{form}}"
