"""Figures of phases, ranks and joint effects show the numbers of their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.recall.phases.ranges import phases
from saeattr.recall.phases.redundancy import joint_table
from saeattr.reporting.figures import recall_phases
from saeattr.reporting.figures.style import figure_title
from saeattr.tables import ANSWER_LENS, RECALL_ANSWERS, RECALL_CURVES, RECALL_JOINT, RECALL_PHASES, WINDOW_PATCHES
from tests.recall.phases.test_phases import planted


def test_a_phase_is_a_bar_over_its_layers_and_a_line_through_its_shares() -> None:
    curves = planted()
    found = phases(curves)
    figure = recall_phases.phase_figure(curves, found)
    assert figure is not None
    above, below = figure.axes
    bars = [(bar.get_x() + 0.5, bar.get_x() + bar.get_width() - 0.5) for bar in below.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert bars == [(row["begin"], row["end"]) for row in found.to_dict("records")]
    for line, row in zip(above.lines[:4], found.to_dict("records"), strict=True):
        own = curves[(curves["component"] == row["component"]) & (curves["place"] == row["place"])]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), own.groupby("layer")["share"].mean())
    wanted = "read in layers 0 to 1, retrieved in layer 3, moved in layer 7, written in layers 10 to 11"
    assert wanted in figure_title(figure)


def test_what_carries_too_little_says_so() -> None:
    curves = planted()
    weak = curves["component"].eq("mlp_out") & curves["place"].eq("entity")
    curves = curves.assign(share=curves["share"].where(~weak, curves["share"] / 100))
    figure = recall_phases.phase_figure(curves, phases(curves))
    assert figure is not None
    assert "retrieved" not in figure_title(figure)
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()][2].endswith("too little")


def test_log_probabilities_and_ranks_by_depth() -> None:
    rows = []
    for pair, place, step in [
        (p, w, s) for p in range(4) for w in ("entity-last", "behind", "final") for s in range(5)
    ]:
        where = {"component": ("resid_pre", "resid_mid", "resid_post", "resid_mid", "resid_post")[step]}
        own = {"group": "a", "pair_id": str(pair), "run": "clean", "place": place, "position": 1, "layer": step // 3}
        numbers = {"log_p_clean": -9.0 + step + pair, "log_p_corrupt": -9.0, "log_p_entity": -3.0 - step}
        rows.append({**own, **where, **numbers, "rank_clean": 10 - step, "rank_corrupt": 20, "rank_entity": 1 + step})
    lens = ANSWER_LENS.frame(pd.DataFrame(rows))
    answer = {"category": "a", "pair_id": "0", "n_layers": 2, "p_final": 0.5, "jump_layer": 1, "jump": 0.3}
    answers = RECALL_ANSWERS.frame(pd.DataFrame([{**answer, "half_layer": 1, "top_layer": -1, "outranks_layer": 0}]))
    figure = recall_phases.lens_figure(lens, answers)
    assert figure is not None
    final = figure.axes[2].lines[0]
    assert np.asarray(final.get_xdata()).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert np.asarray(final.get_ydata()).tolist() == pytest.approx([-7.5, -6.5, -5.5, -4.5, -3.5])
    ranks = figure.axes[5].lines[2]
    assert np.asarray(ranks.get_ydata()).tolist() == [1, 2, 3, 4, 5]
    assert "jumps in layer 1 (1) (facts)" in figure_title(figure)


def test_windows_stand_at_their_sum_and_what_they_do_together() -> None:
    rows = []
    for pair, first, last, effect in [
        (0, 0, 0, -1.0),
        (0, 1, 1, -2.0),
        (0, 0, 1, -4.0),
        (1, 0, 0, -1.0),
        (1, 1, 1, 0.0),
        (1, 0, 1, -2.0),
    ]:
        own = {"group": "a", "pair_id": str(pair), "direction": "noising", "component": "mlp_out", "place": "final"}
        ends = {"first_layer": first, "last_layer": last, "clean": 4.0, "corrupted": -4.0}
        rows.append({**own, **ends, "effect": effect})
    joint = joint_table(WINDOW_PATCHES.frame(pd.DataFrame(rows)))
    figure = recall_phases.joint_figure(joint)
    assert figure is not None
    (point,) = [line for line in figure.axes[0].lines if len(np.atleast_1d(line.get_xdata())) == 1]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (2 / 8, 3 / 8)  # pyright: ignore[reportIndexIssue]
    assert "mlp_out at final 0.38 against 0.25" in figure_title(figure)


def test_without_tables_there_is_nothing_to_draw() -> None:
    assert recall_phases.phase_figure(RECALL_CURVES.empty(), RECALL_PHASES.empty()) is None
    assert recall_phases.lens_figure(ANSWER_LENS.empty(), RECALL_ANSWERS.empty()) is None
    assert recall_phases.joint_figure(RECALL_JOINT.empty()) is None
