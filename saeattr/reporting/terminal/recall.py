"""Facts asked of a model, in the terminal: which can be asked and are known, how strongly, and beside another model."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.recall.facts.folder import Checked, Triage
from saeattr.recall.facts.robustness import Beside, share_between_facts
from saeattr.recall.facts.triage import SELECTIONS
from saeattr.reporting.numbers import interval_text
from saeattr.reporting.terminal.console import study_console

#: Rows of a table that are printed.
SHOWN = 20

ASKED = (
    "LD: logit(clean_target) - logit(corrupt_target) after the clean and after the corrupted prompt; swing: their "
    "difference; P, place: of the right answer among all tokens after the clean prompt"
)
KNOWN_TO = {(True, True): "both", (True, False): "A", (False, True): "B", (False, False): "-"}
SPREAD = "swing over the phrasings of a fact; weakest: the phrasing of the smallest"


def print_recall_check(found: Checked, show: int = SHOWN, console: Console | None = None) -> None:
    """Print how many rows can be asked and how many facts are known, the strongest of them, and why others are out."""
    console = console or study_console()
    _print_counts(found, console)
    console.print(_facts_table(found.facts, f"{found.battery} asked of {found.model}", show))
    _print_unasked(found.unasked, show, "--faults FILE", console)


def print_triage(found: Triage, show: int = SHOWN, console: Console | None = None) -> None:
    """Print the selected facts by swing, how far phrasings differ, why rows are left out, and the folder."""
    console = console or study_console()
    _print_counts(found.checked, console)
    title = f"selection {found.selection}: {SELECTIONS[found.selection]}"
    console.print(_facts_table(found.selected, title, show))
    several = found.spread[found.spread["n_phrasings"] > 1]
    if len(several):
        console.print(_spread_table(several, show))
        share = share_between_facts(found.facts)
        kept = int((several["n_known"] == several["n_phrasings"]).sum())
        line = f"{kept} of {len(several)} facts in several phrasings are known in all of them"
        if not math.isnan(share):
            line += f"; {share:.0%} of the swing's variance is between facts, the rest between their phrasings"
        console.print(line, highlight=False)
    _print_unasked(found.checked.unasked, show, "--out FOLDER", console)
    if found.folder is not None:
        console.print(f"written  {escape(str(found.folder))}", highlight=False, soft_wrap=True)


def print_beside(found: Beside, show: int = SHOWN, console: Console | None = None) -> None:
    """Print the rows whose swing changed most from A to B, what both know, and the median change."""
    console = console or study_console()
    console.print(f"A: {escape(found.a)}\nB: {escape(found.b)}", highlight=False)
    rows = found.rows
    table = _table("the largest changes of the swing, B minus A", "P: of the right answer after the clean prompt")
    for name in ("fact", "phrasing"):
        table.add_column(name, overflow="fold")
    for name in ("swing A", "swing B", "change", "P in A", "P in B", "known"):
        table.add_column(name, justify="right")
    for row in rows.head(show).to_dict("records"):
        known = (
            "both" if row["known_a"] and row["known_b"] else "A" if row["known_a"] else "B" if row["known_b"] else "-"
        )
        swings = (f"{row['swing_a']:+.2f}", f"{row['swing_b']:+.2f}", f"{row['change']:+.2f}")
        texts = (escape(str(row["fact"])), escape(str(row["phrasing"])))
        table.add_row(*texts, *swings, f"{row['p_right_a']:.3f}", f"{row['p_right_b']:.3f}", known)
    console.print(table)
    both, one = rows["known_a"] & rows["known_b"], rows["known_a"] ^ rows["known_b"]
    console.print(
        f"{len(rows)} rows asked of both: {both.sum()} known to both, {(one & rows['known_a']).sum()} to A only, "
        f"{(one & rows['known_b']).sum()} to B only; {found.only_a} rows only A could be asked, {found.only_b} only B",
        highlight=False,
    )
    middle, low, high = found.change
    said = interval_text(low, high, missing="too few facts")
    console.print(f"median change over facts {middle:+.2f} {escape(said)} logits", highlight=False)


def _print_counts(found: Checked, console: Console) -> None:
    total = len(found.facts) + int((~found.unasked["row"].isin(found.facts["row"])).sum())
    n_facts, n_categories = found.known.groupby(["category", "fact"]).ngroups, found.known["category"].nunique()
    console.print(
        f"{escape(found.battery)}: {len(found.facts)} of {total} rows can be asked of {escape(found.model)}, which "
        f"knows the fact in {len(found.known)} of them ({_count(n_facts, 'fact', 'facts')}, "
        f"{_count(n_categories, 'category', 'categories')})",
        highlight=False,
    )
    if n_facts:
        first, ten = ((found.known["rank_clean"] <= place).sum() for place in (1, 10))
        console.print(
            f"known: each prompt prefers its own answer to the other's; among all tokens the right answer comes first "
            f"in {first} of these {len(found.known)} rows and among the first ten in {ten}",
            highlight=False,
        )
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _table(title: str, caption: str) -> Table:
    return Table(title=escape(title), caption=caption, title_justify="left", caption_justify="left")


def _facts_table(facts: pd.DataFrame, title: str, show: int) -> Table:
    more = len(facts) - show
    table = _table(title, ASKED + (f"; and {more} more" if more > 0 else ""))
    table.add_column("rank", justify="right")
    table.add_column("fact", overflow="fold")
    for name in ("swing", "LD clean", "LD corr.", "P", "place"):
        table.add_column(name, justify="right")
    for row in facts.head(show).to_dict("records"):
        table.add_row(
            str(row["rank"]),
            escape(f"{row['category']} | {row['fact']}"),
            *(f"{row[name]:+.2f}" for name in ("swing", "ld_clean", "ld_corrupted")),
            f"{row['p_right_clean']:.3f}",
            str(row["rank_clean"]),
            style=None if row["known"] else "dim",
        )
    return table


def _spread_table(spread: pd.DataFrame, show: int) -> Table:
    """The facts whose phrasings differ most."""
    table = _table("facts whose phrasings differ most", SPREAD)
    table.add_column("fact", overflow="fold")
    for name in ("phrasings", "known", "mean", "sd", "range"):
        table.add_column(name, justify="right")
    table.add_column("weakest", overflow="fold")
    ordered = spread.assign(width=spread["swing_max"] - spread["swing_min"]).sort_values("width", ascending=False)
    for row in ordered.head(min(show, 5)).to_dict("records"):
        table.add_row(
            escape(f"{row['category']} | {row['fact']}"),
            str(row["n_phrasings"]),
            str(row["n_known"]),
            f"{row['swing_mean']:+.2f}",
            f"{row['swing_sd']:.2f}",
            f"{row['swing_min']:+.2f} to {row['swing_max']:+.2f}",
            escape(str(row["weakest"])),
        )
    return table


def _print_unasked(unasked: pd.DataFrame, show: int, option: str, console: Console) -> None:
    if unasked.empty:
        return
    more = len(unasked) - show
    title = f"rows that are left out: {len(unasked)}"
    table = _table(title, f"and {more} more: {option} writes them all" if more > 0 else "")
    for name in ("row", "category | id", "reason", "mend"):
        table.add_column(name, overflow="fold")
    for row in unasked.head(show).to_dict("records"):
        where = " | ".join(str(row[name]) for name in ("category", "pair_id") if row[name])
        table.add_row(*map(escape, (str(row["row"]), where, str(row["reason"]), str(row["mend"]))))
    console.print(table)
    mends = Counter(unasked["mend"]).most_common(3)
    said = "; ".join(f"{mend} ({count})" for mend, count in mends)
    console.print(f"what to do: {escape(said)}", highlight=False)
