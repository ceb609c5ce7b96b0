"""The figures of localisation: what is drawn are the numbers of the tables, and the doors in saeattr.plots."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr import UserError, plots
from saeattr.recall.localisation.curves import worst_counts
from saeattr.reporting.figures.recall_facts import spread_figure, top_figure, worst_figure
from saeattr.reporting.figures.recall_maps import facts_figure, roles_figure
from saeattr.reporting.figures.style import figure_title
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_RESTORED

#: Seven facts whose swing is 1 to 7 logits, in two categories, and two layers.
FACTS = [(f"c{at % 2}", f"f{at} 1", float(at + 1)) for at in range(7)]


def curves() -> pd.DataFrame:
    rows = [
        {
            **{"category": category, "pair_id": pair_id, "direction": "noising", "component": component},
            **{"place": place, "layer": layer, "head": -1, "clean": swing, "corrupted": 0.0, "effect": 0.0},
            **{"normalised": abs(layer - (place == "entity")) * swing / 10, "share": layer * swing / 10},
        }
        for category, pair_id, swing in FACTS
        for component, place in (("resid_pre", "entity"), ("resid_pre", "final"), ("attn_out", "final"))
        for layer in (0, 1)
    ]
    return RECALL_CURVES.frame(pd.DataFrame(rows))


def release(**changes: object) -> pd.DataFrame:
    own = dict.fromkeys(RECALL_RELEASE.names, 0) | {"direction": "noising", "place": "entity"}
    rows = [
        {**own, "category": category, "pair_id": pair_id, "release_layer": at % 3, "max_damage": swing, **changes}
        for at, (category, pair_id, swing) in enumerate(FACTS)
    ]
    return RECALL_RELEASE.frame(pd.DataFrame(rows))


def restored() -> pd.DataFrame:
    rows = [
        {
            **{"category": category, "pair_id": pair_id, "component": component, "layer": layer, "place": place},
            **{"position": position, "token": token, "ld_share": layer + position / 10, "p_patched": 0.1},
            **{"p_share": swing / 10, "p_clean": 0.9, "p_corrupted": 0.1, "swing": swing},
        }
        for category, pair_id, swing in FACTS
        for component in ("resid_pre", "attn_out")
        for position, place, token in ((1, "entity-last", " $x"), (2, "final", " is"))
        for layer in (0, 1)
    ]
    return RECALL_RESTORED.frame(pd.DataFrame(rows))


def test_the_five_facts_of_the_largest_swing_are_drawn_and_named() -> None:
    figure = top_figure(curves(), {("c0", "f6 1"): "f6: yes, not no"})
    assert figure is not None
    (axes,) = figure.axes
    drawn = [line for line in axes.get_lines() if len(line.get_xdata())]  # pyright: ignore[reportArgumentType]
    assert len(drawn) == 10
    assert np.asarray(drawn[0].get_ydata()).tolist() == pytest.approx([0.7, 0.0])
    assert np.asarray(drawn[1].get_ydata()).tolist() == pytest.approx([0.0, 0.7])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["f6: yes, not no (7.0)", "f5 1 (6.0)"]
    assert "3.0 to 7.0 logits" in figure_title(figure)


def test_release_and_damage_of_every_fact_stand_in_its_categorys_band() -> None:
    figure = spread_figure(release())
    assert figure is not None
    left, right = figure.axes
    points = left.collections[0].get_offsets()
    assert [point[0] for point in points] == [0, 1, 2, 0, 1, 2, 0]  # pyright: ignore[reportGeneralTypeIssues]
    assert [point[0] for point in right.collections[0].get_offsets()] == [1, 2, 3, 4, 5, 6, 7]  # pyright: ignore[reportGeneralTypeIssues]
    assert "0 of 2 categories of several facts have one release layer" in figure_title(figure)
    never = spread_figure(release(release_layer=-1))
    assert never is not None
    assert [text.get_text() for text in never.axes[0].get_xticklabels()] == ["none"]


def test_worst_layers_are_counted_over_facts() -> None:
    figure = worst_figure(worst_counts(curves()))
    assert figure is not None
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [7]  # pyright: ignore[reportAttributeAccessIssue]
    assert "attn_out at final: layer 1 in 7 of 7 facts" in figure_title(figure)


def test_maps_show_means_over_facts_by_role_and_single_facts_by_token() -> None:
    figure = roles_figure(restored())
    assert figure is not None
    ld, p = figure.axes[:2]
    for axes, wanted in ((ld, [[0.1, 1.1], [0.2, 1.2]]), (p, [[0.4, 0.4]] * 2)):
        np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), wanted)
    assert [text.get_text() for text in ld.get_yticklabels()] == ["entity-last (7)", "final (7)"]
    single = facts_figure(restored())
    assert single is not None
    assert [axes.get_title("left").split(":")[1].split()[0] for axes in single.axes[::2]] == ["f6", "f3", "f0"]
    assert [text.get_text() for text in single.axes[0].get_yticklabels()] == [r"\$x", "is"]


def test_tables_without_rows_draw_nothing_and_the_doors_say_so() -> None:
    assert top_figure(curves().head(0)) is spread_figure(release().head(0)) is None
    assert worst_figure(worst_counts(curves().head(0))) is roles_figure(restored().head(0)) is None
    assert facts_figure(restored().head(0)) is None
    with pytest.raises(UserError):
        plots.recall_restored(restored().head(0))
    for axes in (
        plots.recall_top(curves()),
        plots.recall_spread(release()),
        plots.recall_worst(worst_counts(curves())),
        plots.recall_restored(restored()),
        plots.recall_tokens(restored()),
        plots.recall_positions(curves(), release()),
        plots.recall_damage(curves(), release()),
        plots.recall_components(curves()),
    ):
        assert figure_title(axes.figure)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError):
        plots.recall_heads(curves())
