"""The report of a real study: with the model, from its tables alone, and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from rich.console import Console

import saeattr
from saeattr import UserError
from saeattr.features.recurrence import largest_features
from saeattr.files import write_table, write_text
from saeattr.neuronpedia.links import FeatureLink, write_links
from saeattr.neuronpedia.source import Source
from saeattr.reporting.figures import of_study
from saeattr.reporting.figures import study as figures
from saeattr.reporting.page import make, make_report
from saeattr.reporting.terminal.study import print_study
from saeattr.runs.task import Task
from saeattr.sites import Site, parse_site
from saeattr.study import reopen
from saeattr.study.pairs import stored_pairs
from saeattr.study.reopen import study_task
from saeattr.study.results import Study, load_study

SITES = ["mlp_out.1", "resid_post.3"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("s") / "study"
    return saeattr.attribute(["cities", "animals"], out=folder, lists=3, sites=SITES, figures=False, device="cpu")


@pytest.fixture
def copy(study: Study, tmp_path: Path) -> Study:
    """The same study in a folder of the test's own."""
    shutil.copytree(study.folder.root, tmp_path / "study")
    return load_study(tmp_path / "study")


def data(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


def test_a_report_with_the_model_has_everything(study: Study, lm, saes) -> None:
    task = Task(lm, stored_pairs(study.folder, study.groups), [saes[parse_site(name)] for name in SITES])
    path = make_report(study, task, top=8, layer_choice="they separate early")
    assert path == study.folder.root / "report.html"
    found = data(path)
    assert len(found["features"]) == 8
    facts = dict(found["facts"])
    assert facts["why these layers"] == "they separate early"
    assert facts["sites"] == "mlp_out 1; resid_post 3"
    assert "measured" in facts["memory"]
    assert (study.folder.root / "overlap.parquet").exists()
    sections = [figure["section"] for figure in found["figures"]]
    assert sections.count("behaviour") == 1
    assert sections.count("overlap") >= 7
    for row in found["features"]:
        detail = row["detail"]
        assert len(detail["top_logits"]) == 10
        assert len(detail["neighbours"]) == 8
        assert all(firing["corrupted"] for firing in detail["firings"])
        sites = {address.split("/")[0] for address, _, _ in detail.get("upstream", [])}
        assert sites == ({"mlp_out.1"} if row["kind"] == "resid_post" else set())


def test_the_tables_and_the_model_agree(copy: Study, monkeypatch) -> None:
    monkeypatch.setattr(make, "report_figures", lambda *_: [])
    compared = 0
    with_model = data(make_report(copy, study_task(copy), top=8))
    from_tables = data(make_report(copy, top=8))
    for one, other in zip(with_model["features"], from_tables["features"], strict=True):
        assert one["address"] == other["address"]
        assert "top_logits" not in other["detail"]
        # The tables hold the positions from the swapped word to the last decision, the model's page all of them.
        known = activations(with_model, one)
        for place, (clean, corrupted) in activations(from_tables, other).items():
            if place in known:
                compared += 1
                assert known[place] == pytest.approx((clean, corrupted), rel=1e-2, abs=1e-3)

    assert compared > 50


def activations(page: dict, row: dict) -> dict[tuple, tuple[float, float]]:
    found = {}
    for firing in row["detail"]["firings"]:
        context = page["contexts"][firing["context"]]
        for at, clean, corrupted in zip(firing["position"], firing["clean"], firing["corrupted"], strict=True):
            found[context["group"], context["pair_id"], context["start"] + at] = (clean, corrupted)
    return found


def test_labels_come_from_the_study_folder(study: Study, tmp_path: Path, monkeypatch) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study.folder.root, copy)
    own = load_study(copy)
    best = largest_features(own.features(), 1).iloc[0]
    source = Source("gemma-2-2b", "20-gemmascope-res-16k", "repo", "path", "ran on another")
    site = Site(best["kind"], int(best["layer"]))
    link = FeatureLink(site, int(best["feature"]), source, "ends of <pairs>", doubtful=True)
    write_links(own.folder, {site: source}, [link])
    monkeypatch.setattr(make, "report_figures", lambda *_: [])
    found = data(make_report(own, top=4))
    first, *rest = found["features"]
    assert (first["label"], first["doubtful"], first["note"]) == ("ends of <pairs>", True, "ran on another")
    assert (first["url"], first["embed_url"]) == (link.url, link.embed_url)
    assert all(row["label"] is None and row["url"] is None for row in rest)
    assert ["Neuronpedia", "ran on another"] in found["facts"]
    assert "https://www.neuronpedia.org" in re.findall(r"frame-src ([^;]*);", (copy / "report.html").read_text())[0]
    # The heatmaps name it as well.
    figure = of_study.feature_by_pair(own, "cities", site.kind)
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert [name for name in names if name.startswith(f"{best['feature']} ") and "(doubtful) ends of <pairs>" in name]


def test_figures_are_drawn_again_when_labels_are_new(study: Study, tmp_path: Path, monkeypatch) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study.folder.root, copy, ignore=shutil.ignore_patterns("figures"))
    own = load_study(copy)
    names: list[str] = []

    def save(figure: object, folder: Path, name: str) -> None:
        names.append(name)
        folder.mkdir(exist_ok=True)
        for suffix in ("png", "svg"):
            write_text(folder / f"{name}.{suffix}", "")
            os.utime(folder / f"{name}.{suffix}", (2_000_000_000, 2_000_000_000))

    monkeypatch.setattr(figures, "save_figure", save)
    for name in ("metric_by_point", "feature_by_pair", "feature_by_group", "feature_presence", "jaccard_by_layer"):
        monkeypatch.setattr(of_study, name, lambda *_: "drawn")
    for name in ("activation_clusters", "overlap_by_layer"):
        monkeypatch.setattr(of_study, name, lambda *_: "drawn")

    def drawn() -> set[str]:
        names.clear()
        figures.draw_study(own, lambda *_: None)
        return set(names)

    assert len(drawn()) > 4
    assert drawn() == set()
    source = Source("gemma-2-2b", "20-gemmascope-res-16k", "repo", "path")
    site = Site("resid_post", 3)
    path, _ = write_links(own.folder, {site: source}, [FeatureLink(site, 1, source)])
    os.utime(path, (2_000_000_001, 2_000_000_001))
    # Without a label there is nothing new to draw.
    assert drawn() == set()
    path, _ = write_links(own.folder, {site: source}, [FeatureLink(site, 1, source, "ends")])
    os.utime(path, (2_000_000_001, 2_000_000_001))
    assert {name.split("-")[0] for name in drawn()} == {"features", "groups"}


def test_the_page_carries_the_files_of_the_figures_folder(copy: Study, monkeypatch) -> None:
    figures.draw_study(copy)
    monkeypatch.setattr(figures, "save_figure", lambda *_: pytest.fail("a figure is drawn twice"))
    # What had nothing to show leaves no file, and is tried again.
    monkeypatch.setattr(figures, "is_stale", lambda study, figure: False)
    found = data(make_report(copy, top=4))
    files = {
        "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(): path.stem
        for path in copy.folder.figures.glob("*.png")
    }
    shown = [files[figure["source"]] for figure in found["figures"]]
    assert shown[:2] == ["metric-all", "overlap-layers"]
    assert "features-cities-mlp_out" in shown
    for figure, name in zip(found["figures"], shown, strict=True):
        svg = (copy.folder.figures / f"{name}.svg").read_text("utf-8")
        assert figure["text"]
        assert f"<dc:title>{escape(figure['text'])}</dc:title>" in svg


def test_a_figure_with_nothing_left_to_show_leaves_no_file(copy: Study, monkeypatch) -> None:
    figures.draw_study(copy)
    file = copy.folder.figures / "overlap-layers.svg"
    assert file.exists()
    monkeypatch.setattr(of_study, "overlap_by_layer", lambda *_: None)
    file.unlink()
    figures.draw_study(copy)
    assert not list(copy.folder.figures.glob("overlap-layers.*"))


def test_one_group_gets_its_own_figures(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    one = saeattr.attribute("cities", out=folder, lists=2, sites=SITES, figures=False, device="cpu")
    found = data(make_report(one, top=4))
    assert [figure["section"] for figure in found["figures"]] == ["behaviour", *["features"] * 5]
    (tested,) = (text for text in found["findings"] if "tested by exact ablation" in text)
    assert tested.endswith(
        "on 2 distinct pairs that did not rank it, against controls of equal length: 20 too few pairs."
    )
    assert [said for said in found["evidence"] if "too few for a verdict" in said]
    assert all(row["family"] == "" for row in found["features"])


def test_lists_that_are_all_alike_are_one_pair_without_a_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    one = saeattr.attribute("cities", out=folder, lists=3, temperature=0, sites=SITES, device="cpu")
    found = data(make_report(one, top=4))
    said = "cities: 1 distinct pair, and none that was drawn to test on is another: no verdict"
    assert said in found["findings"]
    assert "[too few pairs]" in found["findings"][1]
    assert not any(entry.get("verdict") for row in found["features"] for entry in row["by_group"])
    assert not list(one.folder.figures.glob("validation-*"))
    stream = io.StringIO()
    print_study(one, 4, Console(file=stream, width=120))
    assert said in stream.getvalue()
    assert "1 distinct list" in stream.getvalue()
    assert "nan" not in stream.getvalue()


def test_another_model_or_sae_is_refused(copy: Study) -> None:
    root = copy.folder.root
    record = root / "study.yaml"
    written = record.read_text()
    write_text(record, re.sub(r"(resid_post\.3: )\w+", r"\1abc", written))
    with pytest.raises(UserError, match=r"the SAE for resid_post\.3 has changed"):
        saeattr.report(root, top=4)
    write_text(record, re.sub(r"(model:\n +name: \w+\n +sha256: )\w+", r"\1abc", written))
    with pytest.raises(UserError, match="the model bundled has changed"):
        saeattr.report(root, top=4)


def test_a_study_without_features_has_the_parts_that_it_has_and_opens_no_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reopen, "load_model", lambda *_, **__: pytest.fail("the model is opened for no feature"))
    asked = {"component": "resid_pre", "heads": False, "figures": False, "device": "cpu", "lists": 2}
    one = saeattr.patch("cities", out=tmp_path / "study", **asked)
    path = saeattr.report(one)
    found, page = data(path), path.read_text("utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == ["summary", "patching"]
    assert 'href="#features"' not in page
    assert found["findings"] == found["groups"] == found["features"] == []
    assert {figure["section"] for figure in found["figures"]} == {"patching"}
    assert [line for line in found["lines"]["patching"] if line.startswith("cities: resid_pre by role, noising")]
    names = [name for name, _ in found["facts"]]
    assert "model" in names
    assert not {"sites", "method", "base"} & set(names)


def test_missing_saes_and_missing_features_are_refused(copy: Study, lm, saes) -> None:
    root = copy.folder.root
    page = root / "report.html"
    page.unlink(missing_ok=True)
    only = Task(lm, stored_pairs(copy.folder, copy.groups), [saes[Site("mlp_out", 1)]])
    with pytest.raises(UserError, match=r"there is no SAE for resid_post\.3"):
        make_report(copy, only, top=8)
    features = copy.features()
    (root / "features.parquet").unlink()
    with pytest.raises(UserError, match="saeattr attribute"):
        make_report(load_study(root))
    write_table(root / "features.parquet", features.head(0))
    with pytest.raises(UserError, match="holds no feature"):
        make_report(load_study(root))
    assert not page.exists()
