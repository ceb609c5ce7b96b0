"""One group in the terminal: its top features, what was measured of them, and what the tests could show."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from saeattr.reporting.evidence import evidence_text, n_ranking, untested_text
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.numbers import median_text, q_text, share_text
from saeattr.reporting.verdicts import LOOKS, count_verdicts
from saeattr.study.results import Study
from saeattr.tables import row_address

LONGEST_LABEL = 60
#: Columns of what was measured, and those of a group that was not validated.
MEASURED = ("exact median [95 %]", "of gap", "controls", "q", "verdict")
ESTIMATED = ("median [95 %]", "pairs")
EXPLAINED = (
    "effect: estimated change of the metric when the feature is set to its base value, mean; exact: measured, median, "
    "also as a share of the clean-corrupted gap; controls: equally long moves along other features that do as much"
)
UNTESTED = (
    "effect: estimated change of the metric when the feature is set to its base value, mean, and its median; pairs: "
    "those in which it is active"
)


def group_table(rows: pd.DataFrame, group: str, study: Study, labels: Mapping[str, str]) -> Table:
    """The estimate of each feature and, where the group was validated, what was measured of it and its verdict."""
    settings = study.record["settings"]
    checked = {_key(row): row for row in study.validation(group).to_dict("records")}
    table = Table(
        title=f"{escape(group)}: top features by estimated effect ({settings['method']}, base {settings['base']})",
        caption=f"{evidence_text(study, group)}; {EXPLAINED if checked else UNTESTED}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("site/feature", no_wrap=True)
    table.add_column("effect", justify="right", no_wrap=True)
    for name in MEASURED if checked else ESTIMATED:
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    table.add_column("label on Neuronpedia" if labels else "fires mostly at")
    n_pairs = n_ranking(study, group)
    for row in rows.to_dict("records"):
        address = row_address(row)
        words = show_token(labels.get(address, ""), LONGEST_LABEL)
        if not labels:
            words = f"{row['top_role']} {show_token(row['top_token'])}"
        cells = (
            _measured(checked.get(_key(row)))
            if checked
            else (median_text(row, "effect"), f"{row['n_pairs']}/{n_pairs}")
        )
        table.add_row(address, f"{row['effect_mean']:+.3f}", *map(_cell, cells), escape(words))
    return table


def _key(row: Mapping[Hashable, Any]) -> tuple[Any, ...]:
    return row["layer"], row["kind"], row["feature"]


def _cell(cell: str) -> str:
    """A verdict in its style; brackets of anything else are no markup."""
    return f"[{LOOKS[cell].style}]{cell}[/]" if cell in LOOKS else escape(cell)  # pyright: ignore[reportArgumentType]


def _measured(row: Mapping[Hashable, Any] | None) -> tuple[str, ...]:
    """The cells of ``MEASURED``."""
    if row is None:
        return "", "", "", "", "not tested"
    controls = f"{row['n_as_strong']}/{row['n_controls']}"
    return median_text(row, "exact"), share_text(row["share"]), controls, q_text(row["q_value"]), row["verdict"]


def group_lines(study: Study, group: str) -> list[str]:
    """Below a group's table: its verdicts, counted, and what its tests could show; or why there were none."""
    validation = study.validation(group)
    if validation.empty:
        return [line for line in [untested_text(study, group)] if line]
    counted = f"{group}: of {len(validation)} features tested, {count_verdicts(validation['verdict'])}"
    return [line for line in (counted, study.power(group)) if line]
