"""neuronpedia.json: what is written, what comes back, which labels stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.links import FILE, FeatureLink, read_links, site_notes, write_links
from saeattr.neuronpedia.source import NoSource, Source
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder

SITE = Site("resid_post", 20)


def test_every_field_of_a_feature_is_written(tmp_path: Path, source: Source):
    noted = replace(source, note="ran on another")
    link = FeatureLink(SITE, 16323, noted, "ends <of> lists", doubtful=True)
    path, _ = write_links(StudyFolder(tmp_path), {SITE: noted}, [link])
    assert path == tmp_path / "neuronpedia.json"
    url = "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16323"
    assert json.loads(path.read_text("utf-8"))["features"] == [
        {
            "layer": 20,
            "kind": "resid_post",
            "feature": 16323,
            "model_id": "gemma-2-2b",
            "source_id": "20-gemmascope-res-16k",
            "index": "16323",
            "url": url,
            "embed_url": url + "?embed=true",
            "label": "ends <of> lists",
            "doubtful": True,
            "note": "ran on another",
        }
    ]
    known = read_links(StudyFolder(tmp_path))
    assert known.notes == ("ran on another",)
    assert known.labels["resid_post.20/16323"] == {
        "label": "ends <of> lists",
        "url": url,
        "embed_url": url + "?embed=true",
        "doubtful": True,
        "note": "ran on another",
    }


def test_a_label_stays_until_a_newer_one_is_known(tmp_path: Path, source: Source):
    study = StudyFolder(tmp_path)
    plain = FeatureLink(SITE, 7, source)
    write_links(study, {SITE: source}, [replace(plain, label="old", doubtful=True)])
    _, (kept,) = write_links(study, {SITE: source}, [plain])
    assert (kept.label, kept.doubtful) == ("old", True)
    _, (newer,) = write_links(study, {SITE: source}, [replace(plain, label="new")])
    assert (newer.label, newer.doubtful) == ("new", False)
    # Another SAE's label is no label.
    other = replace(source, source="20-gemmascope-res-65k")
    _, (moved,) = write_links(study, {SITE: other}, [replace(plain, source=other)])
    assert moved.label is None


def test_a_study_without_the_file_has_no_links(tmp_path: Path):
    assert read_links(StudyFolder(tmp_path)).labels == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"features": [{}], "notes": []}', '{"features": 3, "notes": []}'])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path):
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"neuronpedia\.json is damaged: delete it"):
        read_links(StudyFolder(tmp_path))


def test_fields_of_another_type_are_not_passed_on(tmp_path: Path):
    row = {"layer": 1, "kind": "mlp_out", "feature": 2, "label": ["x"], "url": 7, "doubtful": "yes"}
    (tmp_path / FILE).write_text(json.dumps({"features": [row], "notes": []}), encoding="utf-8")
    known = read_links(StudyFolder(tmp_path)).labels["mlp_out.1/2"]
    assert known == {"label": None, "url": None, "embed_url": None, "note": None, "doubtful": False}


def test_each_note_is_said_once(source: Source):
    noted = replace(source, note="ran on another")
    sites = {Site("resid_post", layer): noted for layer in range(3)}
    assert site_notes(sites) == ("ran on another",)
    none = {Site("mlp_out", layer): NoSource(f"no page for layer {layer}") for layer in range(3)}
    assert site_notes(sites | none) == ("ran on another", "mlp_out.0 and 2 more of 6: no page for layer 0")
    assert site_notes(dict.fromkeys(none, NoSource("nothing bundled"))) == ("nothing bundled",)
    assert site_notes({SITE: source}) == ()
