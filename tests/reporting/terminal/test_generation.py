"""Ablation while generating in the terminal: what is added, and how far the controls moved x."""

from __future__ import annotations

import io

import pandas as pd
from rich.console import Console

from saeattr.reporting.terminal.generation import generation_table
from saeattr.tables import GENERATION

NAN = float("nan")


def generation(n_lists: int = 6, ratio: float = 0.98) -> pd.DataFrame:
    rows = []
    for condition, added in (("nothing", 0.0), ("features", 4.5), ("controls", 0.25)):
        ends = (NAN, NAN) if n_lists == 1 else (added - 1, added + 1)
        row = {"condition": condition, "measure": "items", "n_lists": n_lists, "mean": 7 + added, "added": added}
        row |= {"length_ratio": ratio if condition == "controls" else NAN, "low": NAN, "high": NAN}
        rows.append({**row, "added_low": ends[0], "added_high": ends[1]})
    where = {"group": "cities", "layer": 3, "kind": "resid_post", "base": "zero", "n_features": 5}
    return GENERATION.frame(pd.DataFrame(rows).assign(**where))


def printed(rows: pd.DataFrame) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120).print(generation_table(rows))
    return " ".join(stream.getvalue().split())


def test_what_is_added_has_an_interval_and_controls_their_length() -> None:
    text = printed(generation())
    assert "11.5 (+4.5 [+3.5, +5.5])" in text
    assert "controls of equal length" in text
    assert "mean over 6 lists" in text
    assert "controls moved x 0.98 times as far as the features would have" in text


def test_one_list_has_no_interval_and_no_nan() -> None:
    text = printed(generation(n_lists=1))
    assert "11.5 (+4.5 [n/a])" in text
    assert "nan" not in text
