"""The features of ``saeattr inspect`` in the terminal: one block a feature, addresses on lines of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from saeattr.reporting.figures.style import show_token
from saeattr.reporting.terminal.console import open_console
from saeattr.tables import row_address

if TYPE_CHECKING:
    from saeattr.neuronpedia.inspection import Inspection

LONGEST_LABEL = 200
#: Tokens that a feature writes for, of those that are known.
TOKENS = 5


def print_inspection(found: Inspection, console: Console | None = None) -> None:
    """Print each feature with its label and page, the quick pairs, and what was left out."""
    console = console or open_console()
    for row in found.table.to_dict("records"):
        # Not wrapped: an address that is broken over two lines cannot be clicked.
        console.print(_block({str(name): value for name, value in row.items()}), soft_wrap=True)
    for note in found.notes:
        console.print(Text("note  ", style="yellow") + Text(_plain(note)), soft_wrap=True)
    for url in found.quick_lists:
        console.print(_line("quick list  ", url), soft_wrap=True)
    if found.list_url is not None:
        console.print(_line("list  ", found.list_url), soft_wrap=True)
    for request in found.requests:
        console.print(Text(f"\n{request}"), soft_wrap=True)
    if found.dashboards:
        console.print(_line("pages in Neuronpedia's JSON  ", _folder(found.dashboards)), soft_wrap=True)
    console.print(_line("written  ", str(found.path)), soft_wrap=True)


def _block(row: Mapping[str, Any]) -> Text:
    address = row_address(row)
    block = Text(address, style="bold")
    block.append(f"  effect {row['effect']:+.3f}", style="not bold")
    for line in _lines(row):
        block.append(f"\n    {line}", style="not bold")
    return block


def _lines(row: Mapping[str, Any]) -> list[str]:
    lines = []
    if row["label"]:
        doubt = " (doubtful: it is not shown to be about the SAE used here)" if row["doubtful"] else ""
        lines.append(f"{show_token(row['label'], LONGEST_LABEL)}{doubt}")
    if row["top_tokens"]:
        lines.append("writes for " + ", ".join(show_token(token) for token in row["top_tokens"][:TOKENS]))
    if row["example"]:
        before, here, after = (show_token(part, LONGEST_LABEL) for part in row["example"])
        lines.append(f"fires at   {before} >>{here}<< {after}")
    if not math.isnan(row["density"]):
        lines.append(f"active at  {row['density']:.2%} of Neuronpedia's tokens")
    # Why whole sites have no page is said once, below.
    if row["url"]:
        lines += [_plain(row["note"])] if row["note"] else []
        return [*lines, row["url"]]
    return ["no page on Neuronpedia"]


def _line(name: str, value: str) -> Text:
    return Text(name, style="bold") + Text(_plain(value), style="not bold")


def _folder(paths: tuple[Path, ...]) -> str:
    return f"{len(paths)} files in {paths[0].parent.parent}"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
