"""Figures of entropy and lens: what is drawn is what the tables hold, and a position has one colour everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import saeattr
from saeattr.reporting.figures import of_reading
from saeattr.reporting.figures.entropy import entropy_figure
from saeattr.reporting.figures.lens import FARTHEST, courses, lens_figure, position_colour
from saeattr.reporting.figures.lens_map import lens_map
from saeattr.reporting.figures.study import draw_study
from saeattr.reporting.figures.style import figure_title
from saeattr.study.results import Study

WORDS = {"clean": "short", "corrupted": "long", "unit": "list"}
QUICK: dict[str, Any] = {"figures": False, "device": "cpu"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Seven lists of each of two topics."""
    out = tmp_path_factory.mktemp("figures") / "s"
    saeattr.entropy(["cities", "birds"], out=out, lists=7, **QUICK)
    return saeattr.lens(["cities", "birds"], out=out, lists=7, temperatures=[0.2], **QUICK)


@pytest.fixture(scope="module")
def lens(study: Study) -> pd.DataFrame:
    rows = study.logit_lens()
    return rows[rows["temperature"] == 0.8]


def lines(axes: Axes) -> dict[str, list[float]]:
    """The values of each line by its colour."""
    drawn = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) > 2]
    return {to_hex(line.get_color()): np.asarray(line.get_ydata(), dtype=float).tolist() for line in drawn}


def test_every_group_has_its_figures_and_all_together_have_theirs(study: Study) -> None:
    names = [figure.name for figure in of_reading.figures(study)]
    each = [f"{kind}-{group}" for kind in ("entropy", "lens", "lens-map") for group in ("all", "cities", "birds")]
    assert sorted(names) == sorted([*each, "lens-temperatures-all"])
    draw_study(study)
    assert {path.stem for path in study.figures} == set(names)
    assert {figure.section for figure in of_reading.figures(study) if figure.name.endswith("-all")} == {
        "entropy",
        "lens",
    }


def test_a_line_is_the_mean_over_lists_at_its_position(study: Study, lens: pd.DataFrame) -> None:
    figure = lens_figure(lens, {"end-vs-continue": "end - hyphen"}, "two topics")
    assert figure is not None
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    clean = panels["end - hyphen"]
    own = lens[lens["direction"] == "end-vs-continue"]
    found = lines(clean)
    for from_end in (0, 2):
        means = own[own["from_end"] == from_end].groupby("layer")["clean"].mean()
        assert found[position_colour(from_end)] == pytest.approx(means.tolist())


def test_a_position_has_the_same_colour_in_every_panel_and_positions_have_different_ones(lens: pd.DataFrame) -> None:
    colours = [position_colour(at) for at in range(FARTHEST + 1)]
    assert len(set(colours)) == FARTHEST + 1
    assert position_colour(FARTHEST + 7) == colours[-1]
    for run in ("clean", "corrupted"):
        for direction in lens["direction"].unique():
            found = courses(lens[lens["direction"] == direction], run)
            assert [course.colour for course in found] == colours[: len(found)]


def test_directions_read_at_several_roles_are_drawn_by_role(lens: pd.DataFrame) -> None:
    both = lens.assign(direction="same")
    found = courses(both, "clean")
    assert [course.name for course in found] == ["item", "newline"]
    assert len({course.colour for course in found}) == 2
    assert len(found[0].grid) == lens.drop_duplicates(["group", "pair_id"]).shape[0]


def test_the_title_says_in_which_layers_the_direction_appears(study: Study) -> None:
    rows = study.logit_lens("cities").query("temperature == 0.8")
    figure = lens_figure(rows, {}, "cities")
    assert figure is not None
    row = (
        study.lens_onset("cities")
        .query("direction == 'end-vs-continue' and contrast == 'runs' and temperature == 0.8")
        .iloc[0]
    )
    said = f"in layers {row['begins']:g} [{row['begins_low']:.1f}, {row['begins_high']:.1f}] to {row['complete']:g}"
    assert said in figure_title(figure)


def test_the_map_has_the_last_position_at_the_right_and_the_layers_upwards(lens: pd.DataFrame) -> None:
    rows = lens[lens["direction"] == "end-vs-continue"]
    figure = lens_map(rows, {}, "two topics")
    assert figure is not None
    cells = np.asarray(figure.axes[0].get_images()[0].get_array())
    last = rows[rows["from_end"] == 0].groupby("layer")["clean"].mean()
    assert cells[:, -1].tolist() == pytest.approx(last.tolist())
    assert figure.axes[0].get_yticklabels()[0].get_text() == "in"


def test_entropy_has_four_cells_and_a_dot_for_each_list(study: Study) -> None:
    rows, onsets = study.entropy("cities"), study.entropy_onset("cities")
    figure = entropy_figure(rows, onsets, "cities", WORDS)
    assert figure is not None
    start, end, ending = figure.axes[:3]
    assert len(lines(start)) == len({"clean", "corrupted"})
    assert sum(len(np.asarray(line.get_xdata())) > 2 for line in start.get_lines()) == 4
    assert end.xaxis_inverted()
    own = onsets[(onsets["role"] == "item") & (onsets["written"] == "clean")]
    offsets: list[Any] = [dot.get_offsets() for dot in ending.collections]  # pyright: ignore[reportAttributeAccessIssue]
    dots = [float(np.asarray(one)[0, 0]) for one in offsets]
    assert sorted(dots) == sorted(own["onset"])
    difference = (own["rise_clean"] - own["rise_corrupted"]).median()
    assert f"difference {difference:+.3f}" in figure_title(figure)


def test_pairs_whose_roles_come_once_are_drawn_by_role(tmp_path: Path) -> None:
    study = saeattr.entropy(behaviour="facts", out=tmp_path / "s", **QUICK)
    figure = entropy_figure(study.entropy(), study.entropy_onset(), "capitals", {**WORDS, "clean": "clean"})
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == list(study.entropy()["role"].unique())


def test_many_layers_and_many_positions_can_be_drawn() -> None:
    """As of a model of 42 layers and lists of 40 items."""
    index = pd.MultiIndex.from_product([range(8), range(-1, 42), range(40)], names=["pair_id", "layer", "from_end"])
    rows = index.to_frame(index=False).assign(group="g", temperature=0.8, direction="d", role="item")
    rows = rows.assign(pair_id=rows["pair_id"].astype(str), number=40 - rows["from_end"])
    rows["clean"] = rows["layer"] / (1 + rows["from_end"])
    rows["corrupted"] = 0.0
    for figure in (lens_figure(rows, {}, "g"), lens_map(rows, {}, "g")):
        assert figure is not None
        figure.draw_without_rendering()


def test_without_rows_there_is_no_figure(study: Study, lens: pd.DataFrame) -> None:
    assert entropy_figure(study.entropy().head(0), study.entropy_onset().head(0), "none", WORDS) is None
    assert lens_figure(lens.head(0), {}, "none") is None
    assert lens_map(lens.head(0), {}, "none") is None
