"""A study of one prompt and its corruption: every stage, figure and the report, and what one prompt cannot show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import saeattr
from saeattr.behaviours.facts import behaviour as facts
from saeattr.reporting.figures.of_study import effect_scatter, feature_by_pair, metric_by_point
from saeattr.reporting.figures.style import figure_title
from saeattr.reporting.terminal.study import print_study
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.study.pairs import stored_pairs
from saeattr.study.results import Study
from saeattr.tables import features_of

SMALL: dict[str, Any] = {"behaviour": "facts", "sites": ["resid_post.2", "mlp_out.3"], "device": "cpu"}
SAID = "capitals: 1 distinct pair: no interval, no verdict; effects of this prompt only"


@pytest.fixture(autouse=True)
def one_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of which one pair alone can be made."""
    known = facts.fact_pairs
    monkeypatch.setattr(facts, "fact_pairs", lambda *args: (known(*args)[0][:1], []))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return saeattr.attribute("capitals", out=tmp_path / "s", validate_top=5, **SMALL)


def printed(study: Study) -> str:
    stream = io.StringIO()
    print_study(study, 5, Console(file=stream, width=120))
    return stream.getvalue()


def test_every_stage_is_made_and_nothing_claims_an_interval_or_a_verdict(study: Study) -> None:
    assert len(study.pairs()) == 1
    assert study.validation().empty
    assert study.curves().empty
    assert study.features()[["effect_low", "effect_high"]].isna().all(axis=None)
    text = printed(study)
    assert SAID in text
    assert "median" not in text
    assert "nan" not in text
    assert not any(verdict in text for verdict in ("causal", "not shown", "within controls"))


def test_the_exact_effects_are_those_of_the_one_prompt(study: Study, lm: Any, saes: dict[Site, SaeFile]) -> None:
    (pair,) = stored_pairs(study.folder, ["capitals"])
    exact = dict(zip(features_of(study.compared("capitals")), study.compared("capitals")["exact_mean"], strict=True))
    lines = printed(study).splitlines()
    for site, feature in features_of(study.features().head(5)):
        batch = run_batch(lm, [pair], [site], Question())
        (known,) = feature_effects(batch, SiteBase("corrupted", load_sae(saes[site])), torch.tensor([feature]), 4)
        assert exact[site, feature] == pytest.approx(float(known[0]), abs=1e-4)
        (line,) = [line for line in lines if f"{site}/{feature} " in line]
        assert f"{exact[site, feature]:+.3f}" in line


def test_the_figures_say_that_it_is_one_pair(study: Study) -> None:
    drawn = {path.name for path in study.figures}
    assert drawn == {
        *["metric-capitals.png", "agreement-capitals.png"],
        *["features-capitals-resid_post.png", "features-capitals-mlp_out.png"],
    }
    assert "one pair" in figure_title(metric_by_point(study, "capitals"))
    heat = feature_by_pair(study, "capitals", "resid_post")
    assert heat is not None
    assert "(one pair: no interval)" in figure_title(heat)
    scatter = effect_scatter(study, "capitals")
    assert scatter is not None
    texts = [text.get_text() for axes in scatter.axes for text in [axes.title, axes.xaxis.label, axes.yaxis.label]]
    assert not any("nan" in text for text in texts)


def test_the_report_has_the_line_and_no_verdict(study: Study) -> None:
    page = saeattr.report(study, top=5).read_text(encoding="utf-8")
    assert SAID in page
    assert "NaN" not in page.split("</script>")[0]


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_other_bases_positions_and_methods_go_through_too(tmp_path: Path, base: BaseName) -> None:
    more: dict[str, Any] = {"base": base, "positions": "single", "method": "relp", "figures": False}
    study = saeattr.attribute("capitals", out=tmp_path / "s", validate_top=2, **SMALL, **more)
    assert np.isfinite(study.compared("capitals")["exact_mean"]).all()
    assert SAID in printed(study)


def test_sites_can_be_chosen_by_one_pair(tmp_path: Path) -> None:
    small = {name: value for name, value in SMALL.items() if name != "sites"}
    study = saeattr.attribute("capitals", out=tmp_path / "s", max_sites=2, validate_top=0, **small)
    assert study.layer_scores()["chosen"].sum() == 2
    assert SAID in printed(study)


def test_two_one_pair_studies_compare_without_an_interval(study: Study, tmp_path: Path) -> None:
    found = saeattr.compare(study, study, out=tmp_path / "c", exact=2, controls=19, device="cpu")
    assert found.changes["change_low"].isna().all()
    assert "1 pair in common: no interval and no q-value can be known with fewer than 6" in found.notes
    assert "capitals: no feature, or no pair that did not rank it, is left: nothing is tested" in found.notes
    assert found.tests.empty
