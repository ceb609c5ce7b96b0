"""Checked rows of a file of pairs in the terminal: which make a pair, which do not, and some token by token."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.check import CheckedRows
from saeattr.behaviours.given.export import ExportedPairs
from saeattr.reporting.terminal.console import open_console

#: Rows of a kind that are printed; the others are counted.
SHOWN = 20
#: How a role is coloured; spans of the user are of the last colour.
COLOURS = {"bos": "dim", "turn": "dim", "common": "", "changed": "bold red", "after": "yellow", "last": "bold green"}


def print_checked(
    found: CheckedRows, tokenizer: PreTrainedTokenizerBase, show: int = 2, console: Console | None = None
) -> None:
    """Print what rows became, ``show`` of the pairs token by token."""
    console = console or open_console()
    total = len(found.rows) + len(found.faults)
    console.print(f"{len(found.rows)} of {total} rows make a pair", highlight=False)
    if len(found.rows):
        console.print(_pairs_table(found))
    for at in range(min(show, len(found.pairs))):
        console.print(_tokens_table(found, at, tokenizer))
    if len(found.faults):
        console.print(_faults_table(found))


def print_exported(found: ExportedPairs, out: Path, console: Console | None = None) -> None:
    """Print how many rows were written, and the pairs that were not."""
    console = console or open_console()
    option = " (read them with --unequal zero)" if found.unequal else ""
    console.print(f"{len(found.rows)} rows in {escape(str(out))}{option}", highlight=False, soft_wrap=True)
    if found.faults:
        console.print(f"{len(found.faults)} pairs are left out:", highlight=False)
    for fault in found.faults[:SHOWN]:
        console.print(f"  {escape(fault.group)} / {escape(fault.pair_id)}: {fault.reason}", highlight=False)
    if len(found.faults) > SHOWN:
        console.print(f"  and {len(found.faults) - SHOWN} more", highlight=False)


def _pairs_table(found: CheckedRows) -> Table:
    more = len(found.rows) - SHOWN
    table = Table(title="pairs", title_justify="left", caption=f"and {more} more" if more > 0 else None)
    grouped = found.rows["group"].nunique() > 1
    for name in ("row", *(["group"] if grouped else []), "id"):
        table.add_column(name)
    for name in ("tokens", "changed", "no partner"):
        table.add_column(name, justify="right")
    for name in ("answer", "wrong"):
        table.add_column(name)
    for row in found.rows.head(SHOWN).to_dict("records"):
        names = [str(row["row"]), *([str(row["group"])] if grouped else []), str(row["id"])]
        sizes = [str(row["tokens"])]
        if row["corrupted"] not in (0, row["tokens"]):
            sizes = [f"{row['tokens']}, {row['corrupted']}"]
        counts = [*sizes, str(row["changed"]), str(row["without_partner"])]
        texts = [repr(str(row[name])) if row[name] else "" for name in ("answer", "wrong")]
        table.add_row(*map(escape, (*names, *counts, *texts)))
    return table


def _tokens_table(found: CheckedRows, at: int, tokenizer: PreTrainedTokenizerBase) -> Table:
    """One pair, a line a token."""
    tokens, row = found.tokens(at, tokenizer), found.rows.iloc[at]
    table = Table(title=escape(f"{row['group']} / {row['id']}"), title_justify="left")
    for name in ("position", "clean", "corrupted", "role", "read"):
        table.add_column(name, justify="right" if name == "position" else "left")
    for token in tokens.to_dict("records"):
        texts = [escape(repr(str(token[name]))) if token[name] else "" for name in ("clean", "corrupted")]
        role = str(token["role"])
        style = COLOURS.get(role, "cyan")
        position = "" if token["position"] < 0 else str(token["position"])
        table.add_row(position, *texts, escape(role), "here" if token["read"] else "", style=style)
    return table


def _faults_table(found: CheckedRows) -> Table:
    more = len(found.faults) - SHOWN
    caption = f"and {more} more: --faults FILE writes them all" if more > 0 else None
    table = Table(title=f"rows that make no pair: {len(found.faults)}", title_justify="left", caption=caption)
    for name in ("row", "id", "reason", "mend"):
        table.add_column(name, overflow="fold")
    for row in found.faults.head(SHOWN).to_dict("records"):
        table.add_row(*(escape(str(row[name])) for name in ("row", "id", "reason", "mend")))
    return table
