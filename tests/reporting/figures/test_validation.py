"""Figures of a validation: what is drawn is what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from saeattr.reporting.figures.style import save_figure
from saeattr.reporting.figures.validation import cumulative, effect_scatter, forest
from saeattr.tables import AGREEMENT, CURVES, VALIDATION
from saeattr.validation.curves import ALL, ALL_AND_ERROR
from saeattr.validation.verdicts import site_agreement


def compared() -> pd.DataFrame:
    """Three features of one site on a line, and two of another."""
    rows = [
        (1, "attn_z", 3, -1.0, -2.0, True),
        (1, "attn_z", 4, 0.5, 1.0, False),
        (1, "attn_z", 5, 0.25, 0.5, False),
        (2, "resid_post", 7, 1.0, 1.0, True),
        (2, "resid_post", 8, 0.1, -0.2, False),
    ]
    columns = ["layer", "kind", "feature", "effect_mean", "exact_mean", "tested"]
    return pd.DataFrame(rows, columns=columns).assign(group="cities")


def validation() -> pd.DataFrame:
    rows = [
        ("cities", 5, "resid_post", 9, -2.0, -1.8, -2.1, -1.5, 0.1, 0.0, 0.2, 10, 0.002, 0.004, "causal"),
        ("cities", 1, "attn_z", 3, 1.0, -0.4, -0.6, -0.2, 0.0, -0.1, 0.1, 10, 0.01, 0.01, "opposite sign"),
    ]
    return pd.DataFrame(rows, columns=list(VALIDATION.names))


def curves() -> pd.DataFrame:
    rows = []
    for order, removed in (("attribution", (0.2, 0.6)), ("random", (0.0, 0.1)), (ALL, (0.9,)), (ALL_AND_ERROR, (1.0,))):
        rows += [{"order": order, "n_features": 2**at, "removed": share} for at, share in enumerate(removed)]
    table = pd.DataFrame(rows, columns=list(CURVES.names)).fillna({"group": "cities"})
    return table.fillna(dict.fromkeys(CURVES.names[3:], 0.0))


def test_the_scatter_has_a_panel_for_each_site_with_its_correlation() -> None:
    figure = effect_scatter(compared(), site_agreement(compared()), "cities")
    assert figure is not None
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["attn_z.1: r = 1.000, n = 3", "resid_post.2: too few for r, n = 2"]
    controls, tested = figure.axes[0].collections
    np.testing.assert_allclose(np.asarray(controls.get_offsets()), [[1.0, 0.5], [0.5, 0.25]])
    np.testing.assert_allclose(np.asarray(tested.get_offsets()), [[-2.0, -1.0]])


def test_the_forest_counts_causal_features_and_draws_their_intervals() -> None:
    figure = forest(validation(), "cities", "logit(a) - logit(b)")
    assert figure is not None
    text = "cities: 1 of the top 2 features are causal"
    assert figure.get_suptitle() == f"{text}, 1 with the opposite sign of its estimate"
    only = forest(validation().query("verdict == 'causal'"), "cities", "logit(a) - logit(b)")
    assert only is not None
    assert only.get_suptitle() == "cities: 1 of the top 1 features are causal"
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["resid_post.5/9", "attn_z.1/3"]
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(bands, [(0.0, 0.2), (-0.1, 0.1)])
    assert "logit(a) - logit(b)" in axes.get_xlabel()


def test_the_curves_say_who_removes_half() -> None:
    figure = cumulative(curves(), "cities")
    assert figure is not None
    assert figure.get_suptitle() == "cities: half of the clean-corrupted gap is gone with the first 2 by attribution"
    line = next(line for line in figure.axes[0].lines if line.get_label() == "attribution")
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [0.2, 0.6])


def test_without_rows_there_is_no_figure() -> None:
    assert effect_scatter(compared().head(0), pd.DataFrame(columns=list(AGREEMENT.names)), "cities") is None
    assert forest(validation().head(0), "cities", "metric") is None
    assert cumulative(curves().head(0), "cities") is None


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        figure = forest(validation(), "cities", "metric")
        assert figure is not None
        save_figure(figure, tmp_path / folder, "forest")
    assert (tmp_path / "a" / "forest.svg").read_bytes() == (tmp_path / "b" / "forest.svg").read_bytes()
