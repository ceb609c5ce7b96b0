"""Feature pages in the API's JSON: read by our own reader of real answers, and equal to plain computations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.files import write_text
from saeattr.neuronpedia.answers import parse_feature
from saeattr.neuronpedia.client import Client, open_client
from saeattr.neuronpedia.dashboard import write_dashboards
from saeattr.neuronpedia.inspection import Inspection, inspect
from saeattr.saes.loading import load_sae
from saeattr.sites import Site
from saeattr.study.results import Study
from tests import plain
from tests.neuronpedia.fake_site import feature_answer

SITES = ["attn_z.2", "resid_post.3"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("s") / "study"
    return saeattr.attribute("cities", out=folder, lists=2, sites=SITES, figures=False, device="cpu")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return open_client(tmp_path_factory.mktemp("cache"), network=False)


@pytest.fixture(scope="module")
def found(study: Study, client: Client) -> Inspection:
    return inspect(study, top=40, client=client, export_dashboard=study.folder.root / "dashboard")


def values(found: Inspection) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text("utf-8"))) for path in found.dashboards]


def test_each_feature_has_a_file_at_its_address(study: Study, found: Inspection):
    rows = found.table.to_dict("records")
    assert [path.relative_to(study.folder.root).as_posix() for path in found.dashboards] == [
        f"dashboard/{row['kind']}.{row['layer']}/{row['feature']}.json" for row in rows
    ]
    assert {row["kind"] for row in rows} == {"attn_z", "resid_post"}


def test_the_fields_are_those_of_a_real_answer(found: Inspection):
    real = feature_answer(7)
    for _, value in values(found):
        assert set(real) <= set(value)
        assert set(real["activations"][0]) - {"id", "creatorId", "createdAt"} <= set(value["activations"][0])
        for name, field in real.items():
            if isinstance(field, (list, dict, str)) and value[name] is not None:
                assert type(value[name]) is type(field), name


def test_our_reader_of_answers_reads_them(found: Inspection):
    for path, value in values(found):
        site = path.parent.name
        answer = parse_feature(value, "bundled", site, path.stem)
        assert len(answer.top_logits) == len(answer.bottom_logits) == 10
        assert answer.examples
        assert answer.examples[0].peak == answer.max_activation
        assert answer.density is not None
        assert 0 <= answer.density < 1
        # It claims no weights on the hub, so it proves nothing of any.
        assert answer.path is None


def test_activations_are_those_of_the_plain_model(found: Inspection, study: Study, plain_model, lm, saes):
    path, value = next((path, value) for path, value in values(found) if path.parent.name == "resid_post.3")
    site, feature = Site("resid_post", 3), int(path.stem)
    sae = load_sae(saes[site])
    compared = 0
    pairs = {row["pair_id"]: row for row in study.pairs().to_dict("records")}
    for entry in value["activations"]:
        _, pair_id, run = entry["dataSource"].split()
        if run != "clean":
            continue
        ids = tuple(pairs[pair_id]["clean_ids"])
        acts = sae.encode(plain.read(plain_model, site, ids))[:, feature]
        # Without BOS, and as far as the pair goes.
        n_tokens = len(entry["tokens"])
        assert [lm.tokenizer.decode([token]) for token in ids[1 : 1 + n_tokens]] == entry["tokens"]
        assert entry["values"] == pytest.approx(acts[1 : 1 + n_tokens].tolist(), abs=1e-3)
        assert entry["maxValue"] == max(entry["values"])
        assert entry["values"][entry["maxValueTokenIndex"]] == entry["maxValue"]
        compared += 1
    assert compared == 2


def test_histograms_and_neighbours_equal_plain_computations(found: Inspection, lm, saes):
    for path, value in values(found):
        kind, _, layer = path.parent.name.partition(".")
        sae = load_sae(saes[Site(kind, int(layer))])  # pyright: ignore[reportArgumentType]
        cosines = torch.nn.functional.cosine_similarity(sae.W_dec, sae.W_dec[int(path.stem)][None])
        order = cosines.argsort(descending=True)[:9]
        assert value["topkCosSimIndices"] == order.tolist()
        assert value["topkCosSimValues"] == pytest.approx(cosines[order].tolist(), abs=1e-5)
        heights, centres = value["logits_hist_data_bar_heights"], np.array(value["logits_hist_data_bar_values"])
        assert sum(heights) == len(lm.tokenizer)
        half = (centres[1] - centres[0]) / 2
        assert centres[0] - half == pytest.approx(value["neg_values"][0], abs=1e-5)
        assert centres[-1] + half == pytest.approx(value["pos_values"][0], abs=1e-5)
        clean = [entry for entry in value["activations"] if entry["dataSource"].endswith("clean")]
        active = sum(number > 0 for entry in clean for number in entry["values"])
        n_tokens = sum(len(entry["values"]) for entry in clean)
        if len(clean) == 2:
            assert value["frac_nonzero"] == pytest.approx(active / n_tokens)
            assert sum(value["freq_hist_data_bar_heights"]) == active


def test_a_file_in_the_way_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="is a file: give --export-dashboard a folder"):
        write_dashboards(tmp_path / "file", [], [], {}, "bundled", {})


def test_another_sae_is_refused(study: Study, client: Client, tmp_path: Path):
    record = study.folder.record_path
    written = record.read_text("utf-8")
    try:
        write_text(record, written.replace("resid_post.3: ", "resid_post.3: abc"))
        with pytest.raises(UserError, match=r"SAE for resid_post\.3 has changed"):
            inspect(study, client=client, export_dashboard=tmp_path / "dashboard")
    finally:
        write_text(record, written)
    assert not (tmp_path / "dashboard").exists()
