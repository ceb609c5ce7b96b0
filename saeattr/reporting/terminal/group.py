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
#: Columns that a table takes with all it has to say; on a narrower terminal q and the last column are left out.
WIDE = 116
EXPLAINED = (
    "effect: estimated change of the metric when the feature is set to its base value, mean; exact: measured, median, "
    "also as a share of the clean-corrupted gap; controls: equally long moves along other features that do as much; "
    "q: over all that the study tests"
)
ALONE = "effect: estimated change of the metric when the feature is set to its base value"
UNTESTED = (
    "effect: estimated change of the metric when the feature is set to its base value, mean, and its median; pairs: "
    "those in which it is active"
)


def group_table(rows: pd.DataFrame, group: str, study: Study, labels: Mapping[str, str], width: int = WIDE) -> Table:
    """The estimate of each feature and, where the group was validated, what was measured of it and its verdict."""
    settings = study.record["settings"]
    checked = {_key(row): row for row in study.validation(group).to_dict("records")}
    # Where nothing is left to test on, exact effects are of the pairs that ranked.
    exact = {} if checked else {_key(row): row["exact_mean"] for row in study.compared(group).to_dict("records")}
    alone = n_ranking(study, group) == 1
    table = Table(
        title=f"{escape(group)}: top features by estimated effect ({settings['method']}, base {settings['base']})",
        caption=f"{evidence_text(study, group)}; {EXPLAINED if checked else _untested(alone, bool(exact))}",
        title_justify="left",
        caption_justify="left",
    )
    lines = [
        {
            "site/feature": row_address(row),
            "effect": f"{row['effect_mean']:+.3f}",
            **(_measured(checked.get(_key(row))) if checked else _estimated(row, alone)),
            **({"exact": _exact_text(exact.get(_key(row)))} if exact else {}),
            **_where(row, labels),
        }
        for row in rows.to_dict("records")
    ]
    narrow = {"q", *_where({}, labels)} if width < WIDE else set()
    names = [name for name in (lines[0] if lines else ()) if name not in narrow]
    for name in names:
        words = name == "verdict" or name in _where({}, labels)
        side = "left" if words or name == "site/feature" else "right"
        table.add_column(name, justify=side, no_wrap=not words and "median" not in name)
    for line in lines:
        cells = [line[name].replace(" [", "\n[") if narrow else line[name] for name in names]
        table.add_row(*map(_cell, cells))
    return table


def _key(row: Mapping[Hashable, Any]) -> tuple[Any, ...]:
    return row["layer"], row["kind"], row["feature"]


def _measured(row: Mapping[Hashable, Any] | None) -> dict[str, str]:
    """What was measured of a feature; nothing where it was not tested."""
    return {
        "exact median [95 %]": "" if row is None else median_text(row, "exact"),
        "of gap": "" if row is None else share_text(row["share"]),
        "controls": "" if row is None else f"{row['n_as_strong']}/{row['n_controls']}",
        "q": "" if row is None else q_text(row["q_value"]),
        "verdict": "not tested" if row is None else row["verdict"],
    }


def _estimated(row: Mapping[Hashable, Any], alone: bool) -> dict[str, str]:
    """The median over pairs; of a single pair there is none."""
    if alone:
        return {}
    return {"median [95 %]": median_text(row, "effect"), "pairs": str(row["n_pairs"])}


def _exact_text(effect: float | None) -> str:
    return "not measured" if effect is None else f"{effect:+.3f}"


def _untested(alone: bool, exact: bool) -> str:
    """What the columns hold where nothing was tested."""
    words = ALONE if alone else UNTESTED
    return f"{words}; exact: measured in the same {'pair' if alone else 'pairs, mean'}" if exact else words


def _where(row: Mapping[Hashable, Any], labels: Mapping[str, str]) -> dict[str, str]:
    """The last column: labels if the study knows any, or else where the feature fires."""
    if labels:
        return {"label on Neuronpedia": show_token(labels.get(row_address(row), ""), LONGEST_LABEL) if row else ""}
    return {"fires mostly at": f"{row['top_role']} {show_token(row['top_token'])}" if row else ""}


def _cell(cell: str) -> str:
    """A verdict in its style; brackets of anything else are no markup."""
    look = {str(name): look for name, look in LOOKS.items()}.get(cell)
    return escape(cell) if look is None else f"[{look.style}]{cell}[/]"


def group_lines(study: Study, group: str) -> list[str]:
    """Below a group's table: its verdicts, counted, and what its tests could show; or why there were none."""
    validation = study.validation(group)
    if validation.empty:
        return [line for line in [untested_text(study, group)] if line]
    counted = f"{group}: of {len(validation)} features tested, {count_verdicts(validation['verdict'])}"
    return [line for line in (counted, study.power(group)) if line]
