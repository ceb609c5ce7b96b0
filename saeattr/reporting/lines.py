"""What each part of a study found, in lines: the page and the terminal say the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from saeattr.patching.heads import head_summary
from saeattr.patching.summary import patching_agreement, patching_summary
from saeattr.reporting.numbers import interval_text, pairs_text
from saeattr.reporting.phases import phase_lines
from saeattr.reporting.readings import entropy_lines, lens_labels, lens_lines, named_rows, run_words
from saeattr.study.results import Study
from saeattr.study.statistics import Statistics
from saeattr.tables import LIST_SUMMARY, RECALL_CLAIMS

#: With more groups than this, lines and tables are not of single groups.
GROUPS_IN_FULL = 3


def part_lines(study: Study) -> dict[str, list[str]]:
    """Lines by the name of the page's part; a part that the study has not is not there."""
    parts = {
        "lists": _lists(study),
        "entropy": _entropy(study),
        "lens": _lens(study),
        "patching": _patching(study),
        "recall": _recall(study),
    }
    return {name: lines for name, found in parts.items() if (lines := list(found))}


def _lists(study: Study) -> Iterator[str]:
    summary = Statistics.read(study.folder, LIST_SUMMARY)
    if summary["group"].nunique() <= GROUPS_IN_FULL:
        for row in summary.to_dict("records"):
            yield _condition(row)
        return
    for request, rows in summary.groupby("request", sort=False):
        means = rows["n_items"]
        yield (
            f"{request} lists of {len(rows)} topics ({rows['n_lists'].sum()} lists): {means.mean():.1f} items on "
            f"average ({means.min():.1f} to {means.max():.1f}); {_blanks(rows)}; "
            f"{(rows['ended'] * rows['n_lists']).sum() / rows['n_lists'].sum():.0%} ended"
        )


def _condition(row: Mapping[Hashable, Any]) -> str:
    """What the lists of a topic behind one request are like."""
    items = f"{row['n_items']:.1f} {interval_text(row['n_items_low'], row['n_items_high'], 1)}".replace("+", "")
    return (
        f"{row['group']}: {row['n_lists']} {row['request']} lists of {items} items ({row['fewest']} to {row['most']}), "
        f"{row['single_token']:.0%} of them one token; a blank somewhere in {row['with_blank']:.0%} of lists; "
        f"{row['repeats']:.1f} repeats a list; Shannon index {row['shannon']:.2f} nats; {row['ended']:.0%} ended"
    )


def _blanks(rows: pd.DataFrame) -> str:
    share = (rows["with_blank"] * rows["n_lists"]).sum() / rows["n_lists"].sum()
    return f"a blank somewhere in {share:.0%} of lists"


def _entropy(study: Study) -> Iterator[str]:
    rows, onsets, words = study.entropy(), study.entropy_onset(), run_words(study)
    for name, own in named_rows(rows, study, GROUPS_IN_FULL):
        if len(own):
            yield from entropy_lines(own, onsets, name, words)


def _lens(study: Study) -> Iterator[str]:
    labels = lens_labels(study)
    for name, own in named_rows(study.logit_lens(), study, GROUPS_IN_FULL):
        if len(own):
            yield from lens_lines(own, labels, name)


def _patching(study: Study) -> Iterator[str]:
    table, moves = study.patching(), study.head_moves()
    for name, own in named_rows(table, study, GROUPS_IN_FULL):
        exact = own[(own["method"] == "exact") & ~own["joint"].astype(bool)]
        for (component, by, direction), rows in exact.groupby(["component", "by", "direction"], sort=False):
            found = patching_summary(rows)
            largest = found.iloc[int(found["effect"].abs().to_numpy().argmax())]
            yield f"{name}: {component} by {by}, {direction}: most at {_cell(largest)}"
        heads = head_summary(moves[moves["group"].isin(own["group"].unique())])
        if len(heads):
            yield f"{name}: {_head(heads.iloc[0].to_dict())}"
    agreement = patching_agreement(table)
    if len(agreement):
        known = ", ".join(f"{row['component']} {row['pearson']:.3f}" for row in agreement.to_dict("records"))
        yield f"effects by gradient against exact ones, Pearson over cells: {known}"


def _recall(study: Study) -> Iterator[str]:
    """The phases; then of each statement of a source whether it holds, and what was measured."""
    yield from phase_lines(study)
    for row in study.recall(RECALL_CLAIMS).to_dict("records"):
        yield f"{row['verdict']}: {row['statement']} ({row['source']}); {claim_text(row)}"


def claim_text(row: Mapping[Any, Any]) -> str:
    """What was measured of a row of ``tables.RECALL_CLAIMS``, and the limit."""
    ends = "" if np.isnan(row["low"]) else f" {interval_text(row['low'], row['high'])}"
    return f"{row['measure']}: {row['value']:.2f}{ends}, must be {row['side']} {row['limit']:g} (n = {row['n']})"


def _cell(row: pd.Series) -> str:
    """``layer 5, decision: normalised +1.00 [+1.00, +1.00] (10 distinct pairs)``."""
    head = f", head {row['head']}" if row["head"] >= 0 else ""
    ends = interval_text(row["normalised_low"], row["normalised_high"])
    place = f"layer {row['layer']}{head}, {row['place']}"
    return f"{place}: normalised {row['normalised']:+.2f} {ends} ({pairs_text([row['n_pairs']])})"


def _head(row: dict[Any, Any]) -> str:
    ends = interval_text(row["exact_low"], row["exact_high"])
    return (
        f"of single heads at the decision {row['layer']:.0f}.{row['head']:.0f} (layer.head) changes the metric most, "
        f"by {row['exact']:+.2f} {ends} of the gap; it attends to the tokens that differ with "
        f"{row['attention_clean']:.2f} in the clean run and {row['attention_corrupted']:.2f} in the corrupted one"
    )
