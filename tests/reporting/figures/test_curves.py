"""Cumulative curves: each order's numbers, controls of equal length with the length that they reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from saeattr.reporting.figures.curves import cumulative
from saeattr.reporting.figures.style import save_figure
from saeattr.tables import CURVES
from saeattr.validation.curves import ALL, ALL_AND_ERROR, EQUAL

NAN = float("nan")
LABEL = "controls of equal length (ratio 0.98 to 1.00)"


def curves(sizes: int = 2) -> pd.DataFrame:
    """Orders with ``sizes`` points each; controls have no faithfulness and no completeness."""
    rows = []
    shares = {"attribution": (0.2, 0.6), "random": (0.0, 0.1), EQUAL: (0.05, 0.15), ALL: (0.9,), ALL_AND_ERROR: (1.0,)}
    for order, removed in shares.items():
        for at, share in enumerate(removed[:sizes]):
            row = dict.fromkeys(CURVES.names, 0.0) | {"group": "cities", "order": order, "n_features": 2**at}
            row |= {"removed": share, "removed_low": share - 0.1, "removed_high": share + 0.1, "length_ratio": NAN}
            if order == EQUAL:
                row |= {name: NAN for name in CURVES.names if name.startswith(("faithfulness", "completeness"))}
                row["length_ratio"] = (0.98, 1.0)[at]
            rows.append(row)
    return CURVES.frame(pd.DataFrame(rows))


def drawn(table: pd.DataFrame, n_pairs: int | None = 6) -> Figure:
    figure = cumulative(table, "cities", n_pairs)
    assert figure is not None
    return figure


def ydata(figure: Figure, panel: int, label: str) -> np.ndarray:
    (line,) = (line for line in figure.axes[panel].lines if line.get_label() == label)
    return np.asarray(line.get_ydata())


def test_the_curves_say_who_removes_half() -> None:
    figure = drawn(curves())
    assert figure.get_suptitle() == "cities: half of the clean-corrupted gap is gone with the first 2 by attribution"
    np.testing.assert_allclose(ydata(figure, 0, "attribution"), [0.2, 0.6])


def test_controls_are_drawn_where_they_have_numbers_and_named_with_their_length() -> None:
    figure = drawn(curves())
    np.testing.assert_allclose(ydata(figure, 0, LABEL), [0.05, 0.15])
    for panel in (1, 2):
        assert not any("controls" in str(line.get_label()) for line in figure.axes[panel].lines)


def test_the_legend_says_how_many_pairs_it_is_of() -> None:
    (legend,) = drawn(curves()).legends
    assert legend.get_title().get_text() == "mean over 6 distinct pairs, bands: 95 %"
    assert LABEL in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("blank", ["removed_low", "removed"])
def test_one_point_and_unknown_shares_can_be_drawn(tmp_path: Path, blank: str) -> None:
    """A single pair has no interval; without corrupted prompts there is no gap to remove."""
    table = curves(1).assign(**{blank: NAN})
    figure = drawn(table, 1)
    save_figure(figure, tmp_path, "curves")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert "no order removes half" in figure.get_suptitle()
    (legend,) = figure.legends
    assert {"attribution", "random"} <= {text.get_text() for text in legend.get_texts()}


def test_without_rows_there_is_no_figure() -> None:
    assert cumulative(curves().head(0), "cities") is None
