"""Figures of lists: what is drawn is what the tables say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from saeattr.corpus.exceptions import exceptions
from saeattr.corpus.summary import blank_positions, summarise_lists
from saeattr.reporting.figures import lists
from saeattr.reporting.figures.style import figure_title
from saeattr.tables import LIST_STATISTICS


def statistics(**more: Any) -> pd.DataFrame:
    source = np.random.default_rng(0)
    rows = []
    for group in ("towns", "birds", "rivers", "colours $", "trees"):
        for request, size in (("long", 30), ("short", 6)):
            for heat in (0.3, 1.0):
                for number in range(6):
                    n = size + int(source.integers(-2, 3))
                    blanks = [1] if request == "short" and (heat < 1 or number) else []
                    row = {"group": group, "request": request, "temperature": heat, "source": "s", "on_policy": True}
                    row |= {"list_id": f"{number}", "format": "hyphen", "ended": True, "n_items": n, "n_tokens": 9.0}
                    row |= {"tokens_per_item": 1.2, "single_token": 0.2 if group == "towns" else 0.9, "repeats": 0}
                    row |= {"n_blanks": len(blanks), "blank_from_end": blanks, "shannon": 1.0}
                    rows.append(row | {"item_tokens": [1] * n, "items": [f"{number} {at}" for at in range(n)]} | more)
    return LIST_STATISTICS.frame(pd.DataFrame(rows))


TABLE = statistics()
SUMMARY, BLANKS, UNLIKE = summarise_lists(TABLE), blank_positions(TABLE), exceptions(TABLE)


def test_items_stand_at_their_means_with_shorter_requests_first() -> None:
    figure = lists.items_by_topic(SUMMARY)
    assert figure is not None
    (axes,) = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["short, T 0.3", "short, T 1", "long, T 0.3", "long, T 1"]
    containers: list[Any] = list(axes.containers)
    drawn = [container.lines[0].get_xdata() for container in containers]
    means = SUMMARY.groupby(["request", "temperature"])["n_items"].apply(list)
    for xs, (request, heat) in zip(drawn, [("short", 0.3), ("short", 1.0), ("long", 0.3), ("long", 1.0)], strict=True):
        assert list(np.asarray(xs, dtype=float)) == pytest.approx(means[request, heat])
    assert figure_title(figure).endswith("; 120 lists")


def test_blanks_stand_where_they_are_counted_from_the_end() -> None:
    figure = lists.blanks_by_position(BLANKS[BLANKS["temperature"] == 1.0])
    assert figure is not None
    (axes,) = figure.axes
    shown: Any = axes.images[0].get_array()
    grid = np.ma.filled(shown, np.nan)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:2] == ["towns  long", "towns  short"]
    assert grid[0, 0] == 0
    assert grid[1, 0] == pytest.approx(5 / 6)
    assert (grid[:, 1] == 0).all()
    assert "after the last: 25 of 30 short, 0 of 30 long lists" in figure_title(figure)


def test_blanks_against_temperature_say_both_ends_and_need_two_temperatures() -> None:
    figure = lists.blanks_by_temperature(SUMMARY, BLANKS)
    assert figure is not None
    assert "short 100% at 0.3, 83% at 1; long 0% at 0.3, 0% at 1" in figure_title(figure)
    cold = SUMMARY["temperature"] == 0.3
    assert lists.blanks_by_temperature(SUMMARY[cold], BLANKS) is None


def test_exceptions_are_circled_and_named() -> None:
    figure = lists.one_token_items(SUMMARY, UNLIKE)
    assert figure is not None
    assert figure_title(figure).endswith("exceptions: towns")
    (axes,) = figure.axes
    circles = [marks for marks in axes.collections if isinstance(marks, PathCollection)]
    circled = [float(x) for marks in circles for x, _ in np.asarray(marks.get_offsets())]
    # In both requests and at both temperatures.
    assert circled == pytest.approx([0.2] * 4)


def test_what_is_not_known_is_not_drawn() -> None:
    unknown = summarise_lists(statistics(single_token=float("nan"), tokens_per_item=float("nan")))
    assert lists.one_token_items(unknown, UNLIKE.head(0)) is None
    assert lists.blanks_by_position(BLANKS.head(0)) is None
    assert lists.items_by_topic(SUMMARY.head(0)) is None
