"""What each part of a study found, in lines: the page and the terminal say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from saeattr.patching.heads import head_summary
from saeattr.patching.summary import patching_agreement, patching_summary
from saeattr.reporting.numbers import interval_text, pairs_text
from saeattr.reporting.readings import entropy_lines, lens_labels, lens_lines, named_rows, run_words
from saeattr.study.results import Study

#: With more groups than this, lines are of all groups together.
GROUPS_IN_FULL = 3


def part_lines(study: Study) -> dict[str, list[str]]:
    """Lines by the name of the page's part; a part that the study has not is not there."""
    parts = {"entropy": _entropy(study), "lens": _lens(study), "patching": _patching(study)}
    return {name: lines for name, found in parts.items() if (lines := list(found))}


def _entropy(study: Study) -> Iterator[str]:
    rows, onsets = study.entropy(), study.entropy_onset()
    for name, own in named_rows(rows, study, GROUPS_IN_FULL):
        if len(own):
            yield from entropy_lines(own, onsets, name, run_words(study))


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


def _cell(row: pd.Series) -> str:
    """``layer 5, decision: normalised +1.00 [+1.00, +1.00] (10 distinct pairs)``."""
    head = f", head {row['head']}" if row["head"] >= 0 else ""
    ends = interval_text(row["normalised_low"], row["normalised_high"])
    place = f"layer {row['layer']}{head}, {row['place']}"
    return f"{place}: normalised {row['normalised']:+.2f} {ends} ({pairs_text([row['n_pairs']])})"


def _head(row: dict[Any, Any]) -> str:
    ends = interval_text(row["exact_low"], row["exact_high"])
    return (
        f"of single heads at the decision {row['layer']}.{row['head']} (layer.head) changes the metric most, by "
        f"{row['exact']:+.2f} {ends} of the gap; it attends to the tokens that differ with "
        f"{row['attention_clean']:.2f} in the clean run and {row['attention_corrupted']:.2f} in the corrupted one"
    )
