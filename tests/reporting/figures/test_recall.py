"""Figures of recalled facts show the numbers of their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

import saeattr
from saeattr import UserError
from saeattr.recall.facts.robustness import side_by_side
from saeattr.reporting.figures import recall
from saeattr.reporting.figures.style import figure_title
from saeattr.tables import TRIAGE


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    """Facts of three categories, one of them with a name that a formula could be read from; some are not known."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(90):
        clean, corrupted = draw.normal(6, 5), draw.normal(-6, 5)
        cells = {column.name: "x" if column.type == "text" else 1 for column in TRIAGE.columns}
        names = {"category": ("capitals", "a $ b $", "c_d")[number % 3], "fact": f"fact {number // 2}"}
        known = {"known": clean > 0 > corrupted, "selected": number < 70}
        prompts = {"clean_prompt": f"p {number}", "row": number + 1}
        rows.append(cells | names | prompts | known)
        rows[-1] |= {"ld_clean": clean, "ld_corrupted": corrupted, "swing": clean - corrupted}
    return TRIAGE.frame(pd.DataFrame(rows).sort_values("swing", ascending=False))


def points(axes: Axes) -> np.ndarray:
    parts = [one for one in axes.collections if isinstance(one, PathCollection)]
    return np.concatenate([np.asarray(one.get_offsets()) for one in parts])


def test_ld_of_every_row_is_a_point(facts: pd.DataFrame) -> None:
    axes = saeattr.plots.recall_ld(facts)
    drawn, wanted = points(axes), facts[["ld_clean", "ld_corrupted"]].to_numpy()
    assert np.sort(drawn, axis=0) == pytest.approx(np.sort(wanted, axis=0))
    known = int(facts["known"].sum())
    assert f"known in {known} of 90 rows" in figure_title(axes.figure)  # pyright: ignore[reportArgumentType]


def test_the_swing_of_every_row_stands_in_its_category_and_the_largest_median_on_top(facts: pd.DataFrame) -> None:
    axes = saeattr.plots.recall_categories(facts)
    medians = facts.groupby("category")["swing"].median().sort_values(ascending=False)
    labels = [label.get_text().replace(r"\$", "$") for label in axes.get_yticklabels()]
    assert labels == list(medians.index)
    drawn = points(axes)
    for place, name in enumerate(medians.index):
        own = np.sort(drawn[np.rint(drawn[:, 1]) == place, 0])
        assert own == pytest.approx(np.sort(facts.loc[facts["category"] == name, "swing"]))
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_the_facts_of_the_largest_swing_are_drawn_with_both_ends(facts: pd.DataFrame) -> None:
    selected = facts[facts["selected"]]
    axes = saeattr.plots.recall_facts(selected)
    assert len(axes.get_yticks()) == recall.MOST < len(selected)
    first = selected.sort_values("swing", ascending=False).head(recall.MOST)
    ends = points(axes)
    assert np.sort(ends[:, 0]) == pytest.approx(np.sort(first[["ld_clean", "ld_corrupted"]].to_numpy().ravel()))
    # On one height there are both ends of one fact.
    for height in range(recall.MOST):
        low, high = ends[ends[:, 1] == height, 0]
        assert ((first["ld_corrupted"] == low) & (first["ld_clean"] == high)).sum() == 1
    title = figure_title(axes.figure)  # pyright: ignore[reportArgumentType]
    assert title.startswith(f"the {recall.MOST} largest of {len(selected)} selected facts")


def test_two_models_are_drawn_row_by_row_with_the_median_change(facts: pd.DataFrame) -> None:
    other = facts.assign(swing=facts["swing"] + 1.5)
    figure = recall.beside_figure(side_by_side(facts, other, ("base", "tuned")))
    drawn = points(figure.axes[0])
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.full(len(facts), 1.5))
    assert "median change +1.50 [+1.50, +1.50]" in figure_title(figure)


def test_nothing_is_drawn_of_no_fact(facts: pd.DataFrame) -> None:
    for draw in (saeattr.plots.recall_ld, saeattr.plots.recall_categories, saeattr.plots.recall_facts):
        with pytest.raises(UserError, match="nothing to draw"):
            draw(facts.head(0))
