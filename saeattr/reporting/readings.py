"""What entropy and logit lens show, in words: terminal, figures and page say the same of the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saeattr.behaviours.behaviour import BEHAVIOURS, find_behaviour
from saeattr.behaviours.pair import DECISION
from saeattr.reading.endings import SIGNIFICANT, TESTABLE_FROM, rises
from saeattr.reading.entropy import CLEAN, CORRUPTED
from saeattr.reading.layers import POSITIONS, lens_onsets
from saeattr.reading.lens import BEFORE
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.numbers import interval_text, pairs_text
from saeattr.settings import recorded_settings
from saeattr.stats import median_interval
from saeattr.study.results import Study
from saeattr.tables import PAIR

TOO_FEW = "too few pairs for an interval"
#: Named in place of one group.
ALL = "all groups"


def run_words(study: Study) -> dict[str, str]:
    """What a reader calls the clean and the corrupted request and what was written to them: short and long, list."""
    behaviour = study.record["settings"]["behaviour"]
    if behaviour not in BEHAVIOURS:
        return {CLEAN: CLEAN, CORRUPTED: CORRUPTED, "unit": "prompt"}
    found = find_behaviour(behaviour)
    clean, corrupted = found.run_names(recorded_settings(study.record))
    return {CLEAN: clean, CORRUPTED: corrupted, "unit": "prompt" if found.unit == "pair" else found.unit}


def main_role(rows: pd.DataFrame) -> str:
    """The role that comes most often in a pair; a decision point only where there is nothing else."""
    counts = rows.groupby("role", sort=False)["number"].max().sort_values(ascending=False, kind="stable")
    others = counts.drop(DECISION, errors="ignore")
    return str((others if len(others) else counts).index[0])


def named_rows(rows: pd.DataFrame, study: Study, most: int) -> list[tuple[str, pd.DataFrame]]:
    """Each group's rows under its name; with more than ``most`` groups those of all."""
    there = [group for group in study.groups if (rows["group"] == group).any()]
    if len(there) > most:
        return [(ALL, rows)]
    return [(show_token(group, 30), rows[rows["group"] == group]) for group in there]


def entropy_lines(rows: pd.DataFrame, onsets: pd.DataFrame, name: str, words: Mapping[str, str]) -> list[str]:
    """How entropy rises in one group or in all, and where endings set in.

    Args:
        rows, onsets: ``tables.ENTROPY`` and ``tables.ENTROPY_ONSET``.
    """
    role = main_role(rows)
    known = onsets[onsets["group"].isin(rows["group"].unique()) & (onsets["role"] == role)]
    lines = (*(rise_lines(known, words) if len(known) else ()), ending_text(known))
    return [f"{name}, {role}: {line}" for line in lines if line]


def lens_lines(rows: pd.DataFrame, labels: Mapping[str, str], name: str) -> list[str]:
    """In which layers each direction appears in one group or in all, a line for each comparison.

    Args:
        rows: ``tables.LOGIT_LENS``; labels: of the directions.
    """
    onsets = lens_onsets(rows, dict(labels), name)
    if onsets.empty:
        return [f"{name}: no pair has two spans of a role, or two runs, to compare"]
    split = len(onsets["temperature"].drop_duplicates()) > 1
    lines = []
    for (direction, label), own in onsets.groupby(["direction", "label"], sort=False):
        for row in own.to_dict("records"):
            warm = f"temperature {row['temperature']:g}, " if split else ""
            lines.append(f"{name}, {direction} ({label}): {warm}{lens_line(row)}")
    return lines


def lens_labels(study: Study) -> dict[str, str]:
    """The label of each direction that a study has read."""
    known = study.lens_onset()[["direction", "label"]].drop_duplicates()
    return {str(direction): str(label) for direction, label in known.itertuples(index=False, name=None)}


def own_temperature(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rows of the study's own pairs, without those sampled at other temperatures."""
    return rows[rows["temperature"].isna() | (rows["temperature"] == study.record["settings"].get("temperature"))]


def rise_lines(onsets: pd.DataFrame, words: Mapping[str, str]) -> list[str]:
    """How fast the entropy rises under either request, by request written to, a line each.

    Args:
        onsets: ``tables.ENTROPY_ONSET`` of one role.
    """
    lines = []
    # Where both runs are the same there is nothing to compare.
    different = onsets[onsets["rise_clean"] != onsets["rise_corrupted"]]
    for written, own in rises(different).groupby("written", sort=False):
        by_run, role = own.set_index("run"), different["role"].iloc[0]
        under = [f"{_median(by_run.loc[run], 3)} read under {words[run]}" for run in (CLEAN, CORRUPTED)]
        lines.append(
            f"{words[str(written)]} {words['unit']}s: entropy rises by {', by '.join(under)} (nats per {role}; "
            f"difference {_median(by_run.loc['difference'], 3)}; median of {pairs_text([by_run['n_pairs'].iloc[0]])})"
        )
    return lines


def ending_text(onsets: pd.DataFrame) -> str:
    """Where the ending of the pairs' own answers sets in; blank where no pair has a step.

    Args:
        onsets: ``tables.ENTROPY_ONSET`` of one role.
    """
    own = onsets[(onsets["written"] == CLEAN) & onsets["onset"].notna()]
    if own.empty:
        return ""
    low, high = median_interval(own["onset"].to_numpy(dtype=float)[None])
    at = f"{own['onset'].median():g}" + ("" if np.isnan(low[0]) else f" [{low[0]:.1f}, {high[0]:.1f}]")
    testable = own[own["n_spans"] >= TESTABLE_FROM]
    clear = int((testable["p_value"] <= SIGNIFICANT).sum())
    left, role = own["from_end"].median(), own["role"].iloc[0]
    return (
        f"the requests part from {role} {at} on ({left:g} before the last; median of {len(own)}; p <= {SIGNIFICANT:g} "
        f"in {clear} of the {len(testable)} with {TESTABLE_FROM} or more, in which alone it can be)"
    )


def lens_line(row: Mapping[Any, Any]) -> str:
    """The layers in which a direction appears, of one row of ``tables.LENS_ONSET``."""
    final = _median(_ends(row, "separation"), 2)
    n_pairs = pairs_text([row["n_pairs"]])
    if np.isnan(row["begins"]) or row["separation_low"] <= 0 <= row["separation_high"]:
        return f"{_compared(row)}: not told apart from 0 after the last layer ({final}; {n_pairs})"
    appears = f"layers {_layer(row, 'begins')} to {_layer(row, 'complete')} of 0 to {row['n_layers'] - 1}"
    since = "before layer 0" if row["apart_from"] == BEFORE else f"layer {row['apart_from']:g}"
    told = TOO_FEW if np.isnan(row["separation_low"]) else f"apart from 0 from {since} on"
    return f"{_compared(row)}: appears in {appears} (10 % and 90 % of {final}; {told}; {n_pairs})"


def lens_text(rows: Sequence[Mapping[Any, Any]]) -> str:
    """One direction in a line, of its rows of ``tables.LENS_ONSET``: where it appears by either comparison."""
    parts = []
    for row in rows:
        known = not (np.isnan(row["begins"]) or row["separation_low"] <= 0 <= row["separation_high"])
        span = f"in layers {_layer(row, 'begins')} to {_layer(row, 'complete')}" if known else "in no layer for certain"
        against = f"last {row['role']} against earlier" if row["contrast"] == POSITIONS else "clean against corrupted"
        parts.append(f"{span} ({against})")
    where = f"{rows[0]['direction']} appears {', '.join(parts)}"
    return f"{where}, of layers 0 to {rows[0]['n_layers'] - 1}; {pairs_text([row['n_pairs'] for row in rows])}"


def n_pairs_of(rows: pd.DataFrame) -> int:
    """How many pairs some rows are of; ids are unique within a group."""
    return int(rows[PAIR].drop_duplicates().shape[0])


def _compared(row: Mapping[Any, Any]) -> str:
    if row["contrast"] == POSITIONS:
        return f"last {row['role']} against earlier ones, clean run"
    return f"clean against corrupted run at {row['role']} (its last)"


def _layer(row: Mapping[Any, Any], name: str) -> str:
    """``2 [1.0, 2.5]``."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:g}" + ("" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def _ends(row: Mapping[Any, Any], name: str) -> dict[str, float]:
    return {"median": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def _median(row: Mapping[Any, Any] | pd.Series, digits: int) -> str:
    """``+0.111 [+0.096, +0.119]``; without the ends where there are none."""
    ends = "" if np.isnan(row["low"]) else f" {interval_text(row['low'], row['high'], digits)}"
    return f"{row['median']:+.{digits}f}{ends}"
