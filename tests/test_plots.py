"""Figures for a notebook: a table in, Axes out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

import saeattr
from saeattr import UserError
from saeattr.reporting.figures import study as figures
from saeattr.study.results import Study, load_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("plots") / "s"
    sites = ["resid_post.1", "resid_post.4"]
    return saeattr.attribute(
        ["cities", "animals"], out=out, lists=3, sites=sites, figures=False, device="cpu", validate_top=4
    )


def test_each_takes_a_table_and_returns_axes(study: Study, tmp_path: Path) -> None:
    plots = saeattr.plots
    pairs = saeattr.overlap([study.folder.root]).pairs
    drawn = {
        "metric": plots.metric_by_point(study.metric_by_point(), study.metric_label),
        "lists": plots.feature_by_pair(study.attributions("cities"), study.features("cities"), "resid_post"),
        "groups": plots.feature_by_group(study.features(), "resid_post"),
        "presence": plots.feature_presence(study.features(), "resid_post"),
        "jaccard": plots.jaccard_by_layer(pairs, "resid_post"),
        "layers": plots.overlap_by_layer(pairs),
        "scatter": plots.effect_scatter(study.compared("cities"), study.agreement("cities")),
        "forest": plots.forest(study.validation("cities"), study.metric_label),
        "cumulative": plots.cumulative(study.curves("cities")),
    }
    for name, axes in drawn.items():
        assert isinstance(axes, Axes), name
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.savefig(tmp_path / f"{name}.png")
        assert axes.has_data(), name


def test_nothing_to_draw_is_said(study: Study) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        saeattr.plots.feature_presence(study.features("cities"), "resid_post")
    with pytest.raises(UserError, match="one group, not 2"):
        saeattr.plots.feature_by_pair(study.attributions(), study.features(), "resid_post")
    with pytest.raises(UserError, match="nothing to draw"):
        saeattr.plots.generation(study.generation())


def test_figures_shared_with_a_second_process_are_the_same(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure is drawn once, whether here or there."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder, limit in ((alone, 10**6), (shared, 1)):
        shutil.copytree(study.folder.root, folder, ignore=shutil.ignore_patterns("figures"))
        monkeypatch.setattr(figures, "MANY", limit)
        figures.draw_study(load_study(folder), lambda *_: None)
    names = sorted(path.name for path in (alone / "figures").iterdir())
    assert names == sorted(path.name for path in (shared / "figures").iterdir())
    assert len([name for name in names if name.endswith(".png")]) > 4
    for name in names:
        if name.endswith(".png"):
            assert (alone / "figures" / name).read_bytes() == (shared / "figures" / name).read_bytes(), name


def test_entropy_and_lens_take_their_tables_too(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"out": tmp_path / "s", "lists": 3, "figures": False, "device": "cpu"}
    saeattr.entropy("cities", **asked)
    study = saeattr.lens("cities", temperatures=[1.5], **asked)
    plots, lens = saeattr.plots, study.logit_lens()
    for axes in (
        plots.entropy(study.entropy(), study.entropy_onset(), "short", "long"),
        plots.logit_lens(lens[lens["temperature"] == 0.8]),
        plots.logit_lens_map(lens[lens["temperature"] == 0.8]),
        plots.logit_lens_by_temperature(lens),
    ):
        assert isinstance(axes, Axes)
        assert axes.has_data()
    with pytest.raises(UserError, match="nothing to draw"):
        plots.logit_lens_by_temperature(lens[lens["temperature"] == 0.8])
