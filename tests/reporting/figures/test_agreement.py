"""The scatter of attribution against exact effect: a panel for each site, a point for each feature."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.reporting.figures.agreement import effect_scatter
from saeattr.tables import AGREEMENT
from saeattr.validation.agreement import site_agreement


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


def test_the_scatter_has_a_panel_for_each_site_with_its_correlation() -> None:
    figure = effect_scatter(compared(), site_agreement(compared()), "cities", 6)
    assert figure is not None
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["attn_z.1: r = 1.000, n = 3", "resid_post.2: too few for r, n = 2"]
    assert "mean over 6 distinct pairs that ranked" in figure.get_supxlabel()


def test_sampled_features_are_hollow_and_tested_ones_filled() -> None:
    figure = effect_scatter(compared(), site_agreement(compared()), "cities")
    assert figure is not None
    sampled, tested = figure.axes[0].collections
    assert (sampled.get_label(), tested.get_label()) == ("sampled", "tested")
    assert len(np.asarray(sampled.get_facecolor())) == 0
    np.testing.assert_allclose(np.asarray(sampled.get_offsets()), [[1.0, 0.5], [0.5, 0.25]])
    np.testing.assert_allclose(np.asarray(tested.get_offsets()), [[-2.0, -1.0]])


def test_without_rows_there_is_no_figure() -> None:
    assert effect_scatter(compared().head(0), pd.DataFrame(columns=list(AGREEMENT.names)), "cities") is None


def test_where_nothing_is_tested_all_are_one_kind_and_one_pair_is_said() -> None:
    figure = effect_scatter(compared().assign(tested=False), site_agreement(compared()), "cities", 1)
    assert figure is not None
    assert [drawn.get_label() for drawn in figure.axes[0].collections] == ["measured"]
    assert figure.get_supxlabel().endswith("of the one pair")
