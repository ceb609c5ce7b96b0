"""The report page as a file: everything escaped, nothing fetched, small; and its rows equal the study's tables."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.features.recurrence import overlap_table
from saeattr.reporting.figures.clustermap import activation_clusters
from saeattr.reporting.figures.heatmaps import feature_by_group
from saeattr.reporting.figures.overlap import jaccard_by_layer, overlap_by_layer
from saeattr.reporting.figures.presence import feature_presence
from saeattr.reporting.figures.style import save_figure
from saeattr.reporting.page.figures import inline_figure
from saeattr.reporting.page.rows import check_rows, feature_rows, group_rows
from saeattr.reporting.page.summary import findings
from saeattr.reporting.page.write import Report, embed_json, render
from saeattr.validation.verdicts import VERDICTS
from tests.reporting.pages import BAD, random_features, small_report
from tests.reporting.validations import validated


def embedded(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_bad_names_stay_text() -> None:
    page = render(small_report(BAD))
    assert BAD not in page
    # Two scripts, the data and the page's own; the title is escaped.
    assert page.count("<script") == 2
    assert page.count("</script") == 2
    data = embedded(page)
    assert data["groups"][0]["name"] == BAD
    assert data["features"][0]["token"] == BAD
    assert data["contexts"][0]["tokens"][0] == BAD


@given(st.text())
def test_any_text_survives_and_cannot_end_its_element(text: str) -> None:
    written = embed_json({"text": text})
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written)["text"] == text


def test_numbers_that_json_has_not_become_null() -> None:
    values = {"a": float("nan"), "b": np.float32(0.5), "c": [np.int64(3), float("inf")], "d": 1.23456789}
    assert json.loads(embed_json(values)) == {"a": None, "b": 0.5, "c": [3, None], "d": 1.2346}


def test_the_policy_forbids_the_network() -> None:
    page = render(small_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src &#39;none&#39;" in policy[1]
    assert "frame-src &#39;none&#39;" in policy[1]
    assert "http" not in policy[1]
    assert "unsafe" not in policy[1]
    # No address of any kind is loaded by the markup.
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_only_the_hosts_of_dashboards_may_be_framed() -> None:
    report = small_report()
    bad = ["https://a.org; script-src *", "http://b.org/x", "javascript:alert(1)", "https://u:p@c.org/"]
    rows = [{**report.features[0], "embed_url": url} for url in ["https://www.neuronpedia.org/m/s/1?embed=true", *bad]]
    policy = re.search(r'content="(default-src[^"]*)"', render(replace(report, features=rows)))
    assert policy
    assert "frame-src https://www.neuronpedia.org;" in policy[1]
    assert ".org; script" not in policy[1]


def test_rows_equal_the_tables() -> None:
    table = random_features(3, 40, 1)
    chosen = table[["layer", "kind", "feature"]].drop_duplicates().head(5)
    groups = tuple(table["group"].unique())
    address = f"resid_post.{chosen['layer'].iloc[0]}/{chosen['feature'].iloc[0]}"
    first = table.head(1)[["group", "layer", "kind", "feature"]].to_dict("records")[0]
    validation = validated({**first, "verdict": "within controls", "n_as_strong": 4})
    labels = {address: {"label": "ends lists", "url": "https://x.org", "doubtful": True}}
    rows = feature_rows(table, chosen, groups, 10, labels, validation)
    for row, key in zip(rows, chosen.itertuples(index=False), strict=True):
        own = table[(table["layer"] == key.layer) & (table["feature"] == key.feature)]
        assert row["effect"] == pytest.approx(own["effect_mean"].mean())
        assert (row["low"], row["high"]) == (own["effect_mean"].min(), own["effect_mean"].max())
        assert len(row["by_group"]) == len(own)
    assert (rows[0]["label"], rows[0]["doubtful"], rows[0]["verdict"]) == ("ends lists", True, "within controls")
    entry = rows[0]["by_group"][0]
    assert entry["median"] == pytest.approx(0.9 * entry["effect"])
    assert (entry["exact"], entry["exact_low"], entry["exact_high"]) == (-1.8, -2.1, -1.5)
    assert (entry["share"], entry["as_strong"], entry["controls"]) == (0.2, 4, 39)
    assert (entry["q"], entry["tests"], entry["verdict"]) == (0.004, 10, "within controls")
    assert rows[1]["verdict"] == ""


def test_one_group_has_no_family_and_its_own_interval() -> None:
    table = random_features(1, 20, 1)
    row = feature_rows(table, table.head(1), ("t0",), 10)[0]
    (entry,) = row["by_group"]
    assert row["family"] == ""
    assert (entry["low"], entry["high"]) == tuple(table.loc[0, ["effect_low", "effect_high"]])


def test_verdicts_of_groups_that_differ_are_counted() -> None:
    table = random_features(3, 4, 1)
    keys = table[table["feature"] == 1][["group", "layer", "kind", "feature"]].to_dict("records")
    verdicts = ("small", "causal", "small")
    validation = validated(*({**key, "verdict": name} for key, name in zip(keys, verdicts, strict=True)))
    (row,) = feature_rows(table, table[table["feature"] == 1].head(1), ("t0", "t1", "t2"), 4, None, validation)
    assert row["verdict"] == "1 causal, 2 small"


def test_the_summary_says_how_many_pairs_tested_what_came_of_it() -> None:
    table = random_features(1, 4, 1)
    rows = feature_rows(table, table.head(2), ("t0",), 4)
    metric = {"points": 1.0, "clean": 1.0, "corrupted": -1.0}
    validation = validated({"group": "t0"}, {"group": "t0", "feature": 10, "verdict": "small"})
    said = findings(rows, [{"name": "t0", "n_pairs": 8, **metric}], validation)
    assert said[0].endswith("(mean of 8 distinct pairs).")
    own = rows[0]["by_group"][0]
    interval = f"[{own['low']:+.2f}, {own['high']:+.2f}]"
    assert f"mean {own['effect']:+.2f}, median {own['median']:+.2f} {interval}" in said[1]
    assert said[2] == (
        "Of 2 features tested by exact ablation, each on 10 distinct pairs that did not rank it, against controls of "
        "equal length: 1 causal, 1 small."
    )


def test_the_page_explains_every_verdict() -> None:
    data = embedded(render(small_report()))
    assert [row["name"] for row in data["verdicts"]] == list(VERDICTS)
    assert all(row["meaning"] and row["colour"].startswith("#") for row in data["verdicts"])


def test_groups_and_checks_equal_the_tables() -> None:
    metric = pd.DataFrame(
        [("a", "0", 1, 2, -5.0), ("a", "0", 2, 2, 1.0), ("a", "1", 1, 1, 3.0)],
        columns=["group", "pair_id", "point", "n_points", "metric"],
    )
    both = pd.concat([metric.assign(run="clean"), metric.assign(run="corrupted", metric=-9.0)])
    row = {"name": "a", "n_pairs": 2, "points": 1.5, "clean": 2.0, "corrupted": -9.0}
    assert group_rows(both, ("a",)) == [{**row, "tests": "", "verdicts": ""}]
    validation = validated({"group": "a"}, {"group": "a", "n_pairs": 8, "verdict": "small"}, {"group": "b"})
    assert group_rows(both, ("a",), validation) == [{**row, "tests": "8 to 10", "verdicts": "1 causal, 1 small"}]
    effects = pd.DataFrame(
        {"layer": 3, "kind": "mlp_out", "features_effect": [1.0, 2.0, 6.0], "error_effect": [0.5, 0.5, 0.0]}
    ).assign(total_effect=[4.0, 4.0, float("nan")], l0=[10.0, 20.0, 15.0], unexplained=[0.1, 0.3, 0.2])
    (check,) = check_rows(effects)
    # The ratio is of the pairs in which the exact effect was measured, and of them only: 1.5 / 4 and 2.5 / 4.
    low, high = check.pop("low"), check.pop("high")
    assert (low + high) / 2 == pytest.approx(0.5)
    # Half a Student's interval of two values 1/4 apart.
    assert (high - low) / 2 == pytest.approx(12.706 * 0.125, rel=1e-3)
    known = {"error_share": 0.1, "l0": 15.0, "unexplained": pytest.approx(0.2)}
    assert check == {"site": "mlp_out.3", "ratio": 0.5, "n_pairs": 2, **known}
    (unmeasured,) = check_rows(effects.assign(total_effect=float("nan")))
    assert (unmeasured["ratio"], unmeasured["low"], unmeasured["n_pairs"]) == (None, None, 0)


def test_the_page_of_26_groups_and_100_features_is_under_five_megabytes(tmp_path: Path) -> None:
    table = random_features(26, 200, 6)
    overlap = overlap_table(table, 30, permutations=20)
    groups = tuple(table["group"].unique())
    pairs = pd.MultiIndex.from_tuples([(group, f"{at:03}") for group in groups for at in range(10)])
    keys = table[["layer", "kind", "feature"]].drop_duplicates().head(60)
    noise = np.random.default_rng(0).random((60, len(pairs)))
    activations = pd.DataFrame(noise, pd.MultiIndex.from_frame(keys), pairs.set_names(["group", "pair_id"]))
    drawn = [
        feature_presence(table, "resid_post"),
        feature_by_group(table, "resid_post"),
        jaccard_by_layer(overlap, "resid_post"),
        activation_clusters(activations, "resid_post"),
        overlap_by_layer(overlap),
    ]
    for number, figure in enumerate(drawn):
        assert figure is not None
        save_figure(figure, tmp_path, str(number))
    figures = [inline_figure(path, "overlap") for path in sorted(tmp_path.glob("*.png"))]
    assert len(figures) == 5
    assert all(figure.text for figure in figures)
    chosen = table[["layer", "kind", "feature"]].drop_duplicates().head(100)
    rows = feature_rows(table, chosen, groups, 30)
    one = small_report()
    # As much as a real page holds: six pairs of 60 tokens a feature, no two features sharing one.
    context = {**one.contexts[0], "tokens": [" token"] * 60, "roles": ["newline"] * 60}
    firing = {"position": list(range(30)), "clean": [1.2345] * 30, "corrupted": [1.2345] * 30}
    for number, row in enumerate(rows):
        firings = [{**firing, "context": 6 * number + at} for at in range(6)]
        words = [(f" token{at}", -0.12345) for at in range(10)]
        row["detail"] = {**one.features[0]["detail"], "firings": firings, "top_logits": words, "bottom_logits": words}
    # Three kinds of site.
    page = render(replace(one, features=rows, contexts=[context] * 600, figures=figures * 3))
    assert len(page.encode()) < 5_000_000


def test_the_report_is_the_same_bytes_each_time() -> None:
    assert render(small_report()) == render(small_report())
    assert isinstance(small_report(), Report)
