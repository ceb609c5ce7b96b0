"""The measured section of docs/lists.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.sections import markdown, replace_section

LEGEND = (
    "log-prob: of the answer's tokens behind the short request, mean over tokens and lists, in nats. clean, corrupted: "
    "the metric at the last decision point. correlation (Pearson), slope (least squares through 0) and same top 20: "
    "mean effects of all features at all sites against those of the own lists."
)


def write_page(rows: pd.DataFrame, out: Path, n_lists: int) -> None:
    """Put the table into lists.md of ``out``."""
    made = (
        f"Made by `python scripts/benchmark.py lists`. Bundled model, all its SAEs, topic cities, {n_lists} lists "
        "drawn of each seed; distinct ones are pairs; attribution patching, corrupted base."
    )
    replace_section(out / "lists.md", "lists", [made, "", LEGEND, "", markdown(rows.round(3))])
