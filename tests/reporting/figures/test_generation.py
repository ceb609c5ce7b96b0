"""The figure of ablation while generating shows what the summary says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saeattr.generation.summary import summarise
from saeattr.reporting.figures.generation import LABELS, generation_figure
from saeattr.reporting.figures.style import save_figure


@pytest.fixture
def summary() -> pd.DataFrame:
    """Two groups with three lists in each condition."""
    parts = []
    for condition, items in (("nothing", [4, 6, 5]), ("features", [14, 12, 16]), ("controls", [5, 6, 5])):
        rows = pd.DataFrame({"list_id": ["000", "001", "002"], "items": items}).assign(condition=condition)
        rows["text"] = condition + rows["list_id"]
        rows["length_ratio"] = 0.984 if condition == "controls" else np.nan
        parts += [rows.assign(group=group) for group in ("cities", "$rivers$")]
    table = pd.concat(parts, ignore_index=True)
    where = {"layer": 0, "kind": "resid_post", "base": "zero", "n_features": 5, "control_set": -1}
    return summarise(table.assign(**where, tokens=3, repeated=0, shannon=1.0, ended=True))


def test_each_measure_has_a_panel_with_the_means_of_every_condition(summary: pd.DataFrame) -> None:
    figure = generation_figure(summary)
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    assert [axes.get_xlabel() for axes in panels] == list(LABELS.values())
    drawn = [np.asarray(line.get_xdata()) for line in panels[0].lines if line.get_linestyle() == "None"]
    means = summary[summary["measure"] == "items"]
    for values, condition in zip(drawn, ("nothing", "features", "controls"), strict=False):
        np.testing.assert_allclose(values, means.loc[means["condition"] == condition, "mean"])


def test_the_title_states_what_features_and_controls_add(summary: pd.DataFrame, tmp_path: Path) -> None:
    figure = generation_figure(summary)
    assert figure._suptitle is not None  # pyright: ignore[reportAttributeAccessIssue]
    title = figure._suptitle.get_text()  # pyright: ignore[reportAttributeAccessIssue]
    # Added: 10, 6 and 11; Student's t for 2 degrees of freedom is 4.303.
    reach = 4.303 * np.std([10, 6, 11], ddof=1) / np.sqrt(3)
    assert f"adds +9.0 [{9 - reach:+.1f}, {9 + reach:+.1f}] items" in title
    assert "controls of equal length +0.3" in title
    assert "mean of 3 lists" in title
    save_figure(figure, tmp_path, "generation")
    assert (tmp_path / "generation.svg").stat().st_size > 1000


def test_the_legend_says_how_far_controls_moved_the_activations(summary: pd.DataFrame) -> None:
    (legend,) = generation_figure(summary).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["nothing", "features", "controls of equal length (ratio 0.98)"]


def test_a_single_list_has_points_without_intervals(summary: pd.DataFrame, tmp_path: Path) -> None:
    ends = ["low", "high", "added_low", "added_high"]
    figure = generation_figure(summary.assign(n_lists=1, **dict.fromkeys(ends, np.nan)))
    assert "adds +9.0 [n/a] items" in figure.get_suptitle()
    assert "(mean of 1 list, 95 %)" in figure.get_suptitle()
    save_figure(figure, tmp_path, "generation")
    drawn = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert np.isfinite(np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in drawn])).all()
