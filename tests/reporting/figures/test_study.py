"""Figures: the right cells, the same bytes, and no trouble with strange tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saeattr.reporting.figures.heatmaps import feature_by_group, feature_by_pair
from saeattr.reporting.figures.metric import metric_by_point
from saeattr.reporting.figures.style import save_figure, show_token
from saeattr.sites import Site
from saeattr.tables import address


def features(group: str, effects: dict[int, float], token: str = "\n") -> pd.DataFrame:
    order = sorted(effects, key=lambda feature: -abs(effects[feature]))
    return pd.DataFrame(
        {
            "group": group,
            "layer": [feature % 3 for feature in order],
            "kind": "resid_post",
            "feature": order,
            "effect_mean": [effects[feature] for feature in order],
            "effect_median": [effects[feature] + 0.05 for feature in order],
            "effect_low": [effects[feature] - 0.1 for feature in order],
            "effect_high": [effects[feature] + 0.1 for feature in order],
            "n_pairs": 2,
            "rank": range(1, len(order) + 1),
            "top_role": "newline",
            "top_token": token,
        }
    )


def attributions() -> pd.DataFrame:
    """Feature 4 acts in both pairs (twice in the first), feature 5 in the second only."""
    rows = [("00", 4, -1.0), ("00", 4, -0.5), ("01", 4, -2.0), ("01", 5, 0.25)]
    return pd.DataFrame(
        [("cities", name, feature % 3, "resid_post", feature, effect) for name, feature, effect in rows],
        columns=["group", "pair_id", "layer", "kind", "feature", "effect"],
    )


def cells(figure: object) -> np.ndarray:
    mesh = figure.axes[0].collections[0]  # pyright: ignore[reportAttributeAccessIssue]
    return np.ma.filled(mesh.get_array().astype(float), np.nan).reshape(2, -1)


def title(figure: object) -> str:
    """The title without its line breaks."""
    return " ".join(figure.axes[0].get_title("left").split())  # pyright: ignore[reportAttributeAccessIssue]


def test_a_cell_is_the_features_effect_in_that_list() -> None:
    figure = feature_by_pair(attributions(), features("cities", {4: -1.75, 5: 0.125}), "cities", "resid_post")
    assert figure is not None
    np.testing.assert_allclose(cells(figure), [[-1.5, -2.0], [np.nan, 0.25]])
    assert "features act in all 2 distinct pairs" in title(figure)
    assert "resid_post.1/4, mean effect -1.75, median -1.70 [-1.85, -1.65]" in title(figure)


def test_a_single_pair_has_a_median_without_an_interval() -> None:
    table = features("cities", {4: -1.75}).assign(effect_low=np.nan, effect_high=np.nan, n_pairs=1)
    one = attributions().query("pair_id == '00'")
    figure = feature_by_pair(one, table, "cities", "resid_post")
    assert figure is not None
    assert "1 of the top 1 features act in the one distinct pair" in title(figure)
    assert "effect -1.75 (one pair: no interval)" in title(figure)
    assert "median" not in title(figure)


def test_shared_features_are_those_of_two_or_more_groups() -> None:
    table = pd.concat(
        [
            features("cities", {1: 3.0, 2: -2.0, 3: 1.0}),
            features("rivers", {1: 2.0, 2: -1.0, 7: 0.5}),
            features("books", {1: 1.0, 8: 0.5}),
        ]
    )
    figure = feature_by_group(table, "resid_post", n_pairs=(6, 10, 6))
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "group (6 to 10 distinct pairs each)"
    np.testing.assert_allclose(cells(figure), [[3.0, 2.0, 1.0], [-2.0, -1.0, np.nan]])
    assert "of 2 features among the top 30 of two or more groups, 1 are in all 3" in title(figure)


def test_nothing_to_draw_is_none() -> None:
    table = pd.concat([features("cities", {1: 3.0}), features("rivers", {2: 2.0})])
    assert feature_by_group(table, "resid_post") is None
    assert feature_by_pair(attributions(), table, "cities", "attn_z") is None


@pytest.mark.parametrize("token", ["$x_1$", "<b>&amp;", "\x1b[31m", "日本", "\n", " ", "\\frac{"])
def test_any_token_can_be_drawn(tmp_path: Path, token: str) -> None:
    figure = feature_by_pair(attributions(), features("cities", {4: -1.75}, token), "cities", "resid_post")
    assert figure is not None
    save_figure(figure, tmp_path, "x")
    assert (tmp_path / "x.png").stat().st_size > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"x.png", "x.svg"}


def test_the_metric_curve_shows_the_means(tmp_path: Path) -> None:
    table = pd.DataFrame(
        [
            ("cities", name, point, 2, run, value + offset)
            for name, offset in (("00", 0.0), ("01", 1.0))
            for run, base in (("clean", 0.0), ("corrupted", -4.0))
            for point, value in ((1, base - 3.0), (2, base + 3.0))
        ],
        columns=["group", "pair_id", "point", "n_points", "run", "metric"],
    )
    figure = metric_by_point(table, "cities", "logit(<end_of_turn>) - logit($)")
    lines = {line.get_label(): list(np.asarray(line.get_ydata())) for line in figure.axes[0].get_lines()}
    assert lines["clean"] == pytest.approx([-2.5, 3.5])
    assert lines["corrupted"] == pytest.approx([-6.5, -0.5])
    save_figure(figure, tmp_path / "a", "curve")
    save_figure(metric_by_point(table, "cities", "logit(<end_of_turn>) - logit($)"), tmp_path / "b", "curve")
    for name in ("curve.png", "curve.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_labels() -> None:
    assert address(Site("resid_post", 20), 16323) == "resid_post.20/16323"
    assert show_token("\n") == "⏎"
    assert show_token("  ") == "␣␣"
    assert show_token(" Paris") == "Paris"
    assert show_token("\x1b[31m") == "\ufffd[31m"
    assert show_token("x" * 30) == "x" * 17 + "…"


@pytest.mark.parametrize("draw", [True, False])
def test_long_labels_leave_the_title_in_the_figure(draw: bool) -> None:
    both = pd.concat([features(group, {4: -1.75, 5: 0.125}) for group in ("cities", "animals")])
    labels = {address(Site("resid_post", 1), 4): "notations or terms indicating particular scientific concepts"}
    figure = feature_by_group(both, "resid_post", labels=labels if draw else None)
    assert figure is not None
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert any("notations or terms" in name for name in names) is draw
    assert ("label on Neuronpedia" in axes.get_ylabel()) is draw
    for text in (axes._left_title, *axes.get_yticklabels()):  # pyright: ignore[reportAttributeAccessIssue]
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
