from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saeattr.neuronpedia.source import NoSource, Source, find_source, study_sources
from saeattr.saes.catalogue import published_saes
from saeattr.sites import Site


def source_of(release: str, sae_id: str) -> Source | None:
    """By its name in sae-lens' directory."""
    (sae,) = (sae for sae in published_saes(release) if sae.sae_id == sae_id)
    return find_source(sae.repo, sae.path)


def record(saes: str, model: str, width: str | None = None, l0: float | None = None) -> dict[str, Any]:
    return {"settings": {"model": model, "saes": saes, "sae_width": width, "sae_l0": l0}}


def one(saes: str, model: str, site: Site, width: str | None = None) -> Source | NoSource:
    return study_sources(record(saes, model, width), [site])[site]


@pytest.mark.parametrize("layer", range(26))
@pytest.mark.parametrize("part", ["res", "att", "mlp"])
def test_canonical_16k_gemma_scope_has_the_published_ids(part: str, layer: int):
    found = source_of(f"gemma-scope-2b-pt-{part}-canonical", f"layer_{layer}/width_16k/canonical")
    assert found is not None
    assert (found.model, found.source) == ("gemma-2-2b", f"{layer}-gemmascope-{part}-16k")


def test_the_full_release_finds_the_id_that_only_the_canonical_one_carries():
    found = source_of("gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71")
    assert found == Source(
        "gemma-2-2b", "20-gemmascope-res-16k", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"
    )


def test_of_two_ids_of_one_path_the_canonical_one_is_used():
    # The full release lists these weights under another sparsity, __l0-12.
    found = find_source("google/gemma-scope-9b-pt-res", "layer_20/width_131k/average_l0_114")
    assert found is not None
    assert found.source == "20-gemmascope-res-131k"


def test_other_sparsities_have_their_own_id_or_none():
    found = source_of("gemma-scope-2b-pt-res", "layer_5/width_16k/average_l0_143")
    assert found is not None
    assert found.source == "5-gemmascope-res-16k__l0-143"
    assert source_of("gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_139") is None


def test_gemma_scope_2_uses_neuronpedias_model_name_not_the_saes():
    found = source_of("gemma-scope-2-4b-pt-res", "layer_22_width_65k_l0_medium")
    assert found is not None
    assert (found.model, found.source) == ("gemma-3-4b", "22-gemmascope-2-res-65k")


def test_what_is_not_in_the_directory_has_no_source():
    assert find_source("google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_72") is None
    assert find_source("google/gemma-scope-2b-pt-ras", "layer_20/width_16k/average_l0_71") is None


def test_a_run_on_the_chat_model_links_to_the_base_model_and_says_so():
    site = Site("resid_post", 20)
    for model in ("gemma-2-2b-it", "google/gemma-2-2b-it", "/models/gemma-2-2b-it/"):
        found = one("gemma-scope-2b-pt-res-canonical", model, site, "16k")
        assert isinstance(found, Source)
        assert (found.model, found.source) == ("gemma-2-2b", "20-gemmascope-res-16k")
        assert "ran on gemma-2-2b-it" in found.note
        assert "on gemma-2-2b," in found.note


@pytest.mark.parametrize(
    ("saes", "model", "site"),
    [
        ("gemma-scope-2b-pt-res-canonical", "google/gemma-2-2b", Site("resid_post", 20)),
        ("gemma-scope-9b-it-res-canonical", "gemma-2-9b-it", Site("resid_post", 20)),
        ("gemma-scope-2-4b-pt-res", "google/gemma-3-4b-pt", Site("resid_post", 22)),
        ("gpt2-small-resid-post-v5-32k", "gpt2", Site("resid_post", 3)),
    ],
)
def test_the_model_an_sae_was_trained_on_needs_no_note(saes: str, model: str, site: Site):
    found = one(saes, model, site)
    assert isinstance(found, Source)
    assert found.note == ""


def test_where_no_id_exists_the_reason_is_given(tmp_path):
    site = Site("resid_post", 24)
    reasons = {
        "gemma-scope-2-12b-it-res": "no page for google/gemma-scope-2-12b-it resid_post/layer_24",
        "bundled": "bundled SAEs are not on Neuronpedia",
        str(tmp_path): "local SAEs are not on Neuronpedia",
        "saes/gone": "local SAEs are not on Neuronpedia",
    }
    for saes, reason in reasons.items():
        found = one(saes, "gemma-3-12b-it", site)
        assert isinstance(found, NoSource)
        assert reason in found.note


def npz(folder: Path) -> None:
    """An SAE of two features in Gemma Scope's format."""
    folder.mkdir(parents=True)
    shapes = {"W_enc": (4, 2), "W_dec": (2, 4), "b_enc": (2,), "b_dec": (4,), "threshold": (2,)}
    arrays: dict[str, Any] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    np.savez(folder / "params.npz", **arrays)


@pytest.mark.parametrize(
    "above",
    [
        "gemma-scope-2b-pt-res",
        "mine/gemma-scope-2b-pt-res",
        "models--google--gemma-scope-2b-pt-res/snapshots/0123abc",
    ],
)
def test_a_local_copy_is_known_by_its_place(above: str, tmp_path: Path):
    npz(tmp_path / above / "layer_20/width_16k/average_l0_71")
    for root in (tmp_path, tmp_path / above):
        found = one(str(root), "gemma-2-2b", Site("resid_post", 20))
        assert isinstance(found, Source)
        assert (found.source, found.path, found.note) == (
            "20-gemmascope-res-16k",
            "layer_20/width_16k/average_l0_71",
            "",
        )
    noted = one(str(tmp_path), "somewhere/gemma-2-2b-it", Site("resid_post", 20))
    assert isinstance(noted, Source)
    assert "ran on gemma-2-2b-it" in noted.note


@pytest.mark.parametrize(
    "place",
    [
        "my-res/layer_20/width_16k/average_l0_71",
        "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_72",
        "x-gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
        "models--me--gemma-scope-2b-pt-res/snapshots/0/layer_20/width_16k/average_l0_71",
    ],
)
def test_another_place_proves_nothing(place: str, tmp_path: Path):
    npz(tmp_path / place)
    assert isinstance(one(str(tmp_path), "gemma-2-2b", Site("resid_post", 20)), NoSource)


def test_what_the_study_recorded_comes_before_what_would_be_picked_now():
    site = Site("resid_post", 5)
    release = record("gemma-scope-2b-pt-res", "gemma-2-2b", "16k")
    recorded = {str(site): "gemma-scope-2b-pt-res/layer_5/width_16k/average_l0_143"}
    found = study_sources(release, [site], recorded)[site]
    assert isinstance(found, Source)
    assert found.source == "5-gemmascope-res-16k__l0-143"
    for unknown in ({}, {str(site): "gone/layer_5"}, {str(site): "gemma-scope-2b-pt-res/gone"}):
        assert study_sources(release, [site], unknown) == study_sources(release, [site])


def test_ids_are_found_without_importing_sae_lens():
    code = (
        "import sys; from saeattr.neuronpedia.source import find_source; "
        "assert find_source('google/gemma-scope-2b-pt-res', 'layer_20/width_16k/average_l0_71'); "
        "assert 'sae_lens' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
