"""Inspecting a study against a server that answers like Neuronpedia, from exports, and with no network at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.client import Client
from saeattr.neuronpedia.inspection import inspect
from saeattr.neuronpedia.links import link_study, read_links
from saeattr.neuronpedia.transport import Transport
from saeattr.reporting.figures.of_study import study_labels
from tests.neuronpedia.fake_site import FakeSite, Reply, feature_answer
from tests.neuronpedia.studies import RES, gemma_study
from tests.neuronpedia.test_exports import write_export

AT = "feature/gemma-2-2b/20-gemmascope-res-16k"


def listed(url: str) -> list[str]:
    return [item["index"] for item in json.loads(parse_qs(urlsplit(url).query)["features"][0])]


def test_a_run_on_the_chat_model_gets_the_base_models_pages(tmp_path: Path, site: FakeSite, client: Client):
    site.say(f"{AT}/7", Reply(200, feature_answer(7, "ends of lists")))
    site.say(f"{AT}/8", Reply(200, feature_answer(8, None)))
    found = inspect(gemma_study(tmp_path / "run"), client=client)
    first, second = found.table.to_dict("records")
    url = "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k"
    assert (first["feature"], first["label"], first["doubtful"], first["url"]) == (
        7,
        "ends of lists",
        False,
        url + "/7",
    )
    assert (first["model_id"], first["source_id"], first["index"]) == ("gemma-2-2b", "20-gemmascope-res-16k", "7")
    assert (second["label"], second["note"]) == (None, "no explanation on Neuronpedia so far")
    assert listed(found.quick_lists[0]) == ["7", "8"]
    assert "the study ran on gemma-2-2b-it; the page shows the SAE on gemma-2-2b" in found.notes[0]
    written = json.loads(found.path.read_text("utf-8"))["features"]
    assert [(row["index"], row["label"]) for row in written] == [("7", "ends of lists"), ("8", None)]
    assert first["density"] == 0.003
    assert first["top_tokens"] == ("<end_of_turn>", "\n", "end")
    # The text before, at and after the largest activation.
    assert first["example"] == (" a", "\n", "<eos>")


def test_labels_wait_for_figures_tables_and_the_next_run(tmp_path: Path, site: FakeSite, client: Client):
    study = gemma_study(tmp_path / "run")
    site.say(f"{AT}/7", Reply(200, feature_answer(7, "ends of lists")))
    inspect(study, client=client, top=1)
    assert study_labels(study) == {"resid_post.20/7": "ends of lists"}
    offline = replace(client, transport=None)
    assert inspect(study, client=offline).table["label"].tolist() == ["ends of lists", None]
    # Another study of the same SAE finds them in the cache.
    other = gemma_study(tmp_path / "other")
    link_study(other, client=offline)
    assert study_labels(other) == {"resid_post.20/7": "ends of lists"}


@pytest.mark.parametrize("about", [None, {"hfFolderId": "layer_20/width_16k/average_l0_139"}])
def test_a_label_about_other_weights_is_doubtful(about: object, tmp_path: Path, site: FakeSite, client: Client):
    site.say(f"{AT}/7", Reply(200, feature_answer(7, "ends of lists", source=about)))
    study = gemma_study(tmp_path / "run")
    found = inspect(study, client=client, top=1)
    assert found.table["doubtful"].tolist() == [True]
    assert read_links(study.folder).labels["resid_post.20/7"]["doubtful"] is True
    assert study_labels(study) == {"resid_post.20/7": "(doubtful) ends of lists"}
    named = "no weights" if about is None else "layer_20/width_16k/average_l0_139"
    assert f"names {named}; the study used" in found.table["note"].iloc[0]


def test_an_unknown_feature_is_in_no_quick_list(tmp_path: Path, site: FakeSite, client: Client):
    site.say(f"{AT}/7", Reply(200, feature_answer(7)))
    found = inspect(gemma_study(tmp_path / "run"), client=client)
    assert found.table["exists"].tolist() == [True, False]
    assert [listed(url) for url in found.quick_lists] == [["7"]]
    assert found.notes[-1] == "not on Neuronpedia, so in no quick list or list: 1 feature"


@pytest.mark.parametrize("fault", [Reply(500), Reply(429), Reply(200, b"<html>"), Reply(200, {"modelId": 1})])
def test_a_site_that_fails_leaves_the_links(fault: Reply, tmp_path: Path, site: FakeSite, client: Client):
    for path in (f"{AT}/7", f"{AT}/8", "features"):
        site.say(path, fault)
    found = inspect(gemma_study(tmp_path / "run"), client=client)
    assert found.table["url"].notna().all()
    assert found.table["exists"].tolist() == [None, None]
    # A site that turns requests away is not asked another way.
    assert any(seen.path == "features" for seen in site.seen) is (fault.status != 429)
    assert found.quick_lists == ()
    assert "not checked" in found.notes[-1]
    assert found.notes[-1].endswith(": 2 features")
    assert found.path.exists()


def test_a_slow_site_is_given_up_after_one_feature(tmp_path: Path, site: FakeSite, transport: Transport):
    for feature in (7, 8):
        site.say(f"{AT}/{feature}", Reply(200, feature_answer(feature), wait_s=0.6))
    hasty = Client(tmp_path / "cache", replace(transport, timeout_s=0.2, retries=0))
    found = inspect(gemma_study(tmp_path / "run"), client=hasty)
    assert [seen.path for seen in site.seen] == [f"{AT}/7"]
    assert found.table["note"].str.contains("no answer within 0.2 s").all()
    assert found.table["url"].notna().all()


def test_a_feature_whose_answer_is_bad_can_still_be_known(tmp_path: Path, site: FakeSite, client: Client):
    site.say(f"{AT}/7", Reply(200, b"<html>"))
    site.say(f"{AT}/8", Reply(200, feature_answer(8)))
    site.say("features", Reply(200, [{"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": "7"}]))
    found = inspect(gemma_study(tmp_path / "run"), client=client)
    assert listed(found.quick_lists[0]) == ["7", "8"]
    assert "not JSON" in found.table["note"].iloc[0]


def test_without_network_nothing_is_asked(tmp_path: Path, site: FakeSite, client: Client):
    found = inspect(gemma_study(tmp_path / "run"), client=replace(client, transport=None))
    assert site.seen == []
    assert found.table["note"].tolist() == ["not cached, and the network is switched off"] * 2
    assert found.quick_lists == ()


def test_exports_come_before_the_network(tmp_path: Path, site: FakeSite, client: Client):
    write_export(tmp_path / "exports", 7)
    site.say(f"{AT}/8", Reply(200, feature_answer(8, "from the site")))
    study = gemma_study(tmp_path / "run")
    found = inspect(study, client=client, exports=tmp_path / "exports")
    assert found.table["label"].tolist() == ["label 7", "from the site"]
    assert [seen.path for seen in site.seen] == [f"{AT}/8"]
    # A label from the exports stays where they are not given again.
    offline = replace(client, transport=None, cache=tmp_path / "empty")
    assert inspect(study, client=offline).table["label"].tolist() == ["label 7", "from the site"]
    alone = inspect(gemma_study(tmp_path / "b"), client=offline, exports=tmp_path / "exports")
    assert alone.table["note"].tolist() == [
        "",
        "the export of gemma-2-2b/20-gemmascope-res-16k does not have it; not cached, and the network is switched off",
    ]


def test_exports_label_the_whole_top_set(tmp_path: Path, site: FakeSite, client: Client):
    write_export(tmp_path / "exports", 7, 8)
    study = gemma_study(tmp_path / "run")
    assert len(inspect(study, client=client, exports=tmp_path / "exports", top=1).table) == 1
    assert study_labels(study) == {"resid_post.20/7": "label 7", "resid_post.20/8": "label 8"}
    assert site.seen == []


def test_a_label_that_the_exports_lack_is_asked_for(tmp_path: Path, site: FakeSite, client: Client):
    folder = write_export(tmp_path / "exports", 7)
    shutil.rmtree(folder / "explanations")
    site.say(f"{AT}/7", Reply(200, feature_answer(7, "from the site")))
    study = gemma_study(tmp_path / "run")
    found = inspect(study, client=client, exports=tmp_path / "exports", top=1)
    assert found.table["label"].tolist() == ["from the site"]
    # What was asked for stays known when only the exports are there.
    offline = replace(client, transport=None)
    again = inspect(study, client=offline, exports=tmp_path / "exports", top=1)
    assert (again.table["label"].tolist(), again.table["exists"].tolist()) == (["from the site"], [True])


def test_many_features_make_several_quick_lists(tmp_path: Path, site: FakeSite, client: Client):
    features = [("resid_post", 20, feature, 1.0 + feature) for feature in range(170)]
    write_export(tmp_path / "exports", *range(170))
    found = inspect(gemma_study(tmp_path / "run", features), client=client, exports=tmp_path / "exports", top=200)
    assert [len(listed(url)) for url in found.quick_lists] == [150, 20]
    assert len(found.table) == 170
    assert site.seen == []


def test_one_layer_and_the_largest_first(tmp_path: Path, client: Client):
    features = [("resid_post", 20, 7, 1.0), ("resid_post", 19, 3, -5.0), ("resid_post", 20, 9, -2.0)]
    study = gemma_study(tmp_path / "run", features, groups=("cities", "animals"))
    offline = replace(client, transport=None)
    assert inspect(study, client=offline, layer=20).table["feature"].tolist() == [9, 7]
    assert inspect(study, client=offline, top=1).table[["layer", "effect", "n_groups"]].to_numpy().tolist() == [
        [19, -5.0, 2]
    ]
    with pytest.raises(UserError, match=r"no feature in layer 5: its layers are 19, 20"):
        inspect(study, client=offline, layer=5)


def test_where_no_id_exists_that_is_said(tmp_path: Path, site: FakeSite, client: Client):
    features = [("resid_post", 24, 7, 1.0), ("resid_post", 31, 8, 0.5)]
    study = gemma_study(tmp_path / "run", features, model="gemma-3-12b-it", saes="gemma-scope-2-12b-it-res")
    found = inspect(study, client=client)
    assert site.seen == []
    assert found.table["url"].isna().all()
    assert found.notes[0].startswith("resid_post.24 and 1 more of 2: Neuronpedia has no page for google/gemma-scope-2")
    written = json.loads(found.path.read_text("utf-8"))
    assert written["features"] == []
    assert written["sites"]["resid_post.24"]["model_id"] is None


def test_the_sae_that_the_study_recorded_is_linked(tmp_path: Path, client: Client):
    used = {"resid_post.5": "gemma-scope-2b-pt-res/layer_5/width_16k/average_l0_143"}
    study = gemma_study(tmp_path / "run", [("resid_post", 5, 7, 1.0)], saes="gemma-scope-2b-pt-res", used=used)
    found = inspect(study, client=replace(client, transport=None))
    assert found.table["source_id"].tolist() == ["5-gemmascope-res-16k__l0-143"]


def test_pages_open_as_quick_lists_or_one_by_one(
    tmp_path: Path, site: FakeSite, client: Client, monkeypatch: pytest.MonkeyPatch
):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    study = gemma_study(tmp_path / "run", saes=RES)
    found = inspect(study, client=replace(client, transport=None), open_pages=True)
    assert opened == found.table["url"].tolist()
    opened.clear()
    site.say(f"{AT}/7", Reply(200, feature_answer(7)))
    found = inspect(study, client=client, open_pages=True)
    assert opened == list(found.quick_lists)


def test_a_label_can_be_written_and_steers_no_terminal(tmp_path: Path, site: FakeSite, client: Client):
    site.say(f"{AT}/7", Reply(200, feature_answer(7, "\x1b[2J\u202eends\ud800 of\nlists")))
    found = inspect(gemma_study(tmp_path / "run"), client=client, top=1)
    assert found.table["label"].tolist() == ["[2J ends of lists"]
    assert json.loads(found.path.read_bytes().decode("utf-8"))["features"][0]["label"] == "[2J ends of lists"
