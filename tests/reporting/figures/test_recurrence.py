"""Figures of overlap: the right cells in the right order, a finding in each title, and no wall of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saeattr.features.recurrence import overlap_table
from saeattr.reporting.figures.clustermap import activation_clusters, pair_activations, same_group_neighbours
from saeattr.reporting.figures.overlap import jaccard_by_layer, overlap_by_layer
from saeattr.reporting.figures.presence import feature_presence
from saeattr.reporting.figures.style import figure_title
from tests.reporting.pages import random_features


def sets(members: dict[str, list[int]], layer: int) -> pd.DataFrame:
    rows = [(layer, "resid_post", feature, group) for group, features in members.items() for feature in features]
    return pd.DataFrame(rows, columns=["layer", "kind", "feature", "group"])


def image(figure: Figure | None, nth: int = 0) -> np.ndarray:
    assert figure is not None
    return np.ma.filled(np.ma.asarray(figure.axes[nth].images[0].get_array(), dtype=float), np.nan)


def test_presence_shows_families_with_the_most_shared_first() -> None:
    table = pd.concat([sets({"a": [1, 2], "b": [2], "c": [2]}, 0), sets({"a": [5], "b": [5, 6], "c": [5]}, 4)])
    figure = feature_presence(table, "resid_post")
    # Rows: layer 0 features 2 and 1, layer 4 features 5 and 6; 1 is shared, 3 group-specific, 0 absent.
    np.testing.assert_array_equal(image(figure), [[1, 1, 1], [3, 0, 0], [1, 1, 1], [0, 3, 0]])
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2", "1", "5", "6"]
    assert "2 of 4 features" in figure_title(figure)
    assert feature_presence(sets({"a": [1]}, 0), "resid_post") is None
    assert feature_presence(table, "mlp_out") is None


def test_many_features_are_thin_lines_without_labels() -> None:
    figure = feature_presence(random_features(26, 200, 6), "resid_post", depth=80)
    cells = image(figure)
    assert cells.shape[1] == 26
    assert len(cells) <= 480
    assert figure is not None
    assert len(figure.axes[0].get_yticks()) == 0
    assert "Not drawn" in figure_title(figure)


def test_jaccard_panels_hold_the_tables_numbers() -> None:
    overlap = overlap_table(sets({"a": [1, 2, 3], "b": [2, 3], "c": [9]}, 2))
    figure = jaccard_by_layer(overlap, "resid_post")
    assert figure is not None
    drawn: Any = figure.axes[0].collections[0].get_array()
    cells = np.ma.filled(drawn.astype(float), np.nan).reshape(3, 3)
    np.testing.assert_array_equal(cells, cells.T)
    assert np.isnan(np.diag(cells)).all()
    assert sorted(cells[np.triu_indices(3, 1)]) == [0, 0, 2 / 3]
    assert "chance" in figure.axes[0].get_title("left")
    assert jaccard_by_layer(overlap, "mlp_out") is None


def test_overlap_by_layer_draws_the_means() -> None:
    table = pd.concat([sets({"a": [1, 2], "b": [1, 2]}, 0), sets({"a": [1, 2], "b": [2, 3]}, 7)])
    figure = overlap_by_layer(overlap_table(table))
    assert figure is not None
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xydata()), [[0, 1], [7, 1 / 3]])
    assert "resid_post.0: Jaccard 1.00" in figure_title(figure)
    assert overlap_by_layer(overlap_table(table).head(0)) is None


def attributions() -> pd.DataFrame:
    """Two groups of four pairs; features 1 and 2 belong to the first, 3 to the second, 4 to no pair's run."""
    rows = []
    for number in range(8):
        group, own = ("a", (1, 2)) if number < 4 else ("b", (3,))
        rows += [(group, str(number % 4), feature, value) for feature in own for value in (1.0, 2.0 + number / 10)]
        rows.append((group, str(number % 4), 4, 0.0))
    table = pd.DataFrame(rows, columns=["group", "pair_id", "feature", "act_clean"])
    return table.assign(layer=1, kind="resid_post")


def test_the_activation_of_a_pair_is_its_largest() -> None:
    chosen = pd.DataFrame({"layer": 1, "kind": "resid_post", "feature": [1, 3]})
    cells = pair_activations(attributions(), chosen)
    assert cells.shape == (2, 8)
    assert cells.loc[(1, "resid_post", 1), ("a", "2")] == 2.2
    assert cells.loc[(1, "resid_post", 3), ("a", "2")] == 0


def test_pairs_of_one_group_stand_together() -> None:
    chosen = pd.DataFrame({"layer": 1, "kind": "resid_post", "feature": [1, 2, 3, 4]})
    figure = activation_clusters(pair_activations(attributions(), chosen), "resid_post")
    assert figure is not None
    assert "for 100% of 8 pairs" in figure_title(figure)
    body = next(axes for axes in figure.axes if axes.get_xlabel() == "8 pairs")
    cells = np.asarray(body.images[0].get_array())
    # Feature 4 is never active, so it is left out.
    assert len(cells) == 3
    active = (cells > 0).astype(int)
    assert (np.abs(np.diff(active, axis=1)).sum(axis=1) == 1).all()


def test_neighbours_by_chance_are_counted() -> None:
    cells = np.array([[1.0, 0.9, 0.0, 0.1], [0.0, 0.1, 1.0, 0.9]])
    assert same_group_neighbours(cells, np.array(["a", "a", "b", "b"], dtype=object)) == (1.0, 4 / 12)
