"""The forest of tested features: points, intervals, bands and lines are the table's numbers, with or without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from saeattr.reporting.figures.forest import forest
from saeattr.reporting.figures.style import save_figure
from saeattr.reporting.verdicts import LOOKS
from saeattr.validation.verdicts import VERDICTS
from tests.reporting.validations import NOTHING, too_few_pairs, validated

OPPOSITE = {"layer": 1, "kind": "attn_z", "feature": 3, "effect_median": 0.9, "exact_median": -0.4}
OPPOSITE |= {"exact_low": -0.6, "exact_high": -0.2, "control_high": 0.1, "verdict": "opposite sign"}


def drawn(*changes: dict[str, Any]) -> tuple[Figure, Axes]:
    figure = forest(validated(*changes), "cities", "logit(a) - logit(b)")
    assert figure is not None
    return figure, figure.axes[0]


def lines_of(axes: Axes) -> list[np.ndarray]:
    """The ends of every bar and line that are collections: [segments, 2 ends, (x, y)]."""
    found = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [np.array(one.get_segments()) for one in found if one.get_segments()]


def test_points_are_medians_with_their_intervals() -> None:
    _, axes = drawn({}, OPPOSITE)
    points = {
        str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines if "exact" in str(line.get_label())
    }
    np.testing.assert_allclose(points["exact: causal (1)"], [[-1.8, 0]])
    np.testing.assert_allclose(points["exact: opposite sign (1)"], [[-0.4, 1]])
    # Bars lie; the lines of the smallest effect of interest stand.
    bars = sorted(tuple(part[:, 0]) for one in lines_of(axes) for part in one if part[0, 1] == part[1, 1])
    np.testing.assert_allclose(bars, [(-2.1, -1.5), (-0.6, -0.2)])


def test_the_diamond_is_the_median_estimate() -> None:
    _, axes = drawn({}, OPPOSITE)
    (diamonds,) = (one for one in axes.collections if one.get_label() == "attribution, median")
    np.testing.assert_allclose(np.asarray(diamonds.get_offsets()), [[-1.9, 0], [0.9, 1]])


def test_bands_hold_what_controls_do_in_either_direction() -> None:
    _, axes = drawn({}, OPPOSITE)
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(bands, [(-0.3, 0.3), (-0.1, 0.1)])


def test_lines_stand_at_the_smallest_share_of_each_features_gap() -> None:
    _, axes = drawn({}, {**OPPOSITE, "gap": 5.0, "smallest": 0.02})
    upright = sorted(tuple(part.ravel()) for one in lines_of(axes) for part in one if part[0, 0] == part[1, 0])
    wanted = [(x, at - 0.5, x, at + 0.5) for x, at in ((-0.1, 1), (-0.09, 0), (0.09, 0), (0.1, 1))]
    np.testing.assert_allclose(upright, wanted)
    assert "1 to 2 % of the gap" in axes.get_legend_handles_labels()[1]


def test_the_title_counts_causal_features_and_distinct_pairs() -> None:
    figure, axes = drawn({}, OPPOSITE)
    title = " ".join(figure.get_suptitle().split())
    wanted = "cities: 1 of 2 features tested on 10 distinct pairs are causal, 1 with the opposite sign of the estimate"
    assert title == wanted
    assert [label.get_text() for label in axes.get_yticklabels()] == ["resid_post.5/9", "attn_z.1/3"]
    assert axes.get_xlabel() == (
        "change of logit(a) - logit(b) when the feature is patched\nmedian over pairs, 95 % interval"
    )


def test_too_few_pairs_are_points_alone(tmp_path: Path) -> None:
    figure, axes = drawn(too_few_pairs(), too_few_pairs(feature=10))
    assert figure.get_suptitle() == "cities: 3 distinct pairs tested 2 features, too few for a verdict (it takes 6)"
    (points,) = (line for line in axes.lines if "too few pairs" in str(line.get_label()))
    np.testing.assert_allclose(np.asarray(points.get_xydata()), [[-1.8, 0], [-1.8, 1]])
    save_figure(figure, tmp_path, "forest")
    assert (tmp_path / "forest.svg").stat().st_size > 1000


def test_what_no_number_is_known_of_is_left_out(tmp_path: Path) -> None:
    """No corrupted prompts, so no gap; no controls, so no band."""
    none = {"gap": NOTHING, "share": NOTHING, "control_high": NOTHING, "n_controls": 0, "verdict": "too few controls"}
    figure, axes = drawn(none)
    assert len(axes.patches) == 0
    assert "gap" not in " ".join(map(str, axes.get_legend_handles_labels()[1]))
    save_figure(figure, tmp_path, "forest")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_drawn_in_its_colour(verdict: str) -> None:
    _, axes = drawn({"verdict": verdict})
    (points,) = (line for line in axes.lines if str(line.get_label()) == f"exact: {verdict} (1)")
    look = next(look for name, look in LOOKS.items() if name == verdict)
    assert (points.get_color(), points.get_marker()) == (look.colour, look.marker)


def test_without_rows_there_is_no_figure() -> None:
    assert forest(validated().head(0), "cities", "metric") is None


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_figure(drawn({}, OPPOSITE)[0], tmp_path / folder, "forest")
    assert (tmp_path / "a" / "forest.svg").read_bytes() == (tmp_path / "b" / "forest.svg").read_bytes()
