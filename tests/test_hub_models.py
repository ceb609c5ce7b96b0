"""Models and SAEs by name, offline, from a hub cache with files of the real names and layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saeattr
from saeattr import UserError, bundle
from saeattr.model.hub import MODELS
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.recall.facts.batteries import named_battery
from saeattr.saes.catalogue import pick_saes, published_saes
from saeattr.saes.loading import SaeFile, find_saes, load_sae, stream_saes
from saeattr.saes.tensors import read_shapes, read_tensors
from saeattr.sites import Site
from saeattr.tables import sites_of

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import make_random_checkpoint as checkpoint

SITES = (Site("resid_post", 2), Site("attn_z", 3), Site("mlp_out", 4))
WIDTHS = {"resid_post": 128, "attn_z": 128, "mlp_out": 128}
NAMED = MODELS["gemma-2-2b-it"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache: the bundled weights as google/gemma-2-2b-it in shards, and random Gemma Scope SAEs."""
    folder = tmp_path_factory.mktemp("hub")
    checkpoint.copy_model(folder, NAMED.hub, bundle.MODEL_FOLDER)
    chosen = [sae for site, sae in pick_saes(NAMED.releases, "16k").items() if site in SITES]
    checkpoint.write_published(folder, chosen, NAMED.hub)
    return folder


@pytest.fixture(autouse=True)
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def gemma_scope() -> dict[Site, SaeFile]:
    found = find_saes(",".join(NAMED.releases), WIDTHS, width="16k")  # pyright: ignore[reportArgumentType]
    return {site: found[site] for site in SITES}


def test_a_study_of_a_model_by_its_name(tmp_path: Path) -> None:
    study = saeattr.attribute(
        "cities", model="gemma-2-2b-it", sites=list(map(str, SITES)), lists=2, out=tmp_path / "s", device="cpu"
    )
    assert set(study.attributions()["kind"]) == {"resid_post", "attn_z", "mlp_out"}
    assert study.record["model"]["name"] == "gemma-2-2b-it"
    assert study.record["settings"]["saes"] == ",".join(NAMED.releases)
    assert any("trained on the base model gemma-2-2b" in warning for warning in study.warnings)


def test_steering_in_recall_chooses_within_what_may_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import saeattr.saes.loading as loading

    # The bundled model has six layers; of the published sites these three are in the cache.
    offered = {site: sae for site, sae in pick_saes(NAMED.releases, "16k").items() if site in SITES}
    monkeypatch.setattr(loading, "pick_saes", lambda *_: offered)
    rows = [row.as_cells() for row in named_battery("facts").rows if row.pair_id.endswith(" 1")][::40]
    asked: dict[str, Any] = {"model": "gemma-2-2b-it", "selection": "C", "figures": False, "device": "cpu"}
    study = saeattr.run_recall(rows, parts="steering", download="17MiB", out=tmp_path / "s", **asked)
    assert len(study.record["saes"]) == 1
    assert study.choice[0].endswith("17 MiB of it was here; limits: --download 17MiB)")
    assert set(map(str, sites_of(study.recall("steered")))) == set(study.record["saes"])


def test_the_catalogue_has_gemma_scopes_canonical_saes() -> None:
    chosen = pick_saes(NAMED.releases, "16k")
    assert len(chosen) == 78
    sae = chosen[Site("resid_post", 20)]
    assert (sae.sae_id, sae.path) == ("layer_20/width_16k/canonical", "layer_20/width_16k/average_l0_71")
    assert (sae.l0, sae.neuronpedia, sae.d_sae) == (71.0, "gemma-2-2b/20-gemmascope-res-16k", 16384)
    assert chosen[Site("attn_z", 14)].repo == "google/gemma-scope-2b-pt-att"


def test_every_named_model_has_saes_and_the_nearest_l0_is_taken() -> None:
    for known in MODELS.values():
        assert pick_saes(known.releases, known.width)
    layer_20 = [sae for sae in published_saes("gemma-scope-2b-pt-res") if sae.site.layer == 20 and sae.width == "16k"]
    assert len(layer_20) > 2
    assert pick_saes(["gemma-scope-2b-pt-res"], "16k", l0=38.0)[Site("resid_post", 20)].l0 == 38


def test_gemma_scope_files_equal_sae_lens_own_loading(cache: Path) -> None:
    from sae_lens.loading.pretrained_sae_loaders import gemma_2_sae_huggingface_loader

    for site, file in gemma_scope().items():
        assert file.published is not None
        ours = load_sae(file)
        _, theirs, _ = gemma_2_sae_huggingface_loader(file.published.repo, file.published.path)
        x = 3 * torch.randn(20, 128)
        pre = x @ theirs["W_enc"] + theirs["b_enc"]
        f = torch.relu(pre) * (pre > theirs["threshold"])
        torch.testing.assert_close(ours.encode(x), f, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.decode(f), f @ theirs["W_dec"] + theirs["b_dec"], rtol=1e-5, atol=1e-5)
        assert ours.site == site


def test_streaming_gives_the_same_saes_in_order() -> None:
    files = list(gemma_scope().values())
    streamed = [(sae.site, float(sae.W_dec.sum())) for sae in stream_saes(files, torch.device("cpu"))]
    assert streamed == [(file.site, float(load_sae(file).W_dec.sum())) for file in files]


def test_a_folder_of_gemma_scope_files_is_read_by_its_folders(cache: Path) -> None:
    found = find_saes(str(cache))
    assert set(found) == set(SITES)
    assert found[Site("attn_z", 3)].d_sae == 16384


def test_a_truncated_npz_is_one_clear_line(tmp_path: Path) -> None:
    whole = gemma_scope()[Site("mlp_out", 4)].weights.read_bytes()
    folder = tmp_path / "gemma-scope-2b-pt-mlp" / "layer_4" / "width_16k" / "average_l0_1"
    folder.mkdir(parents=True)
    (folder / "params.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"params.npz cannot be read as npz .*get the file again"):
        find_saes(str(tmp_path))


class LeavesAMark:
    """What pickle makes of it is a new file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


def test_an_npz_with_pickled_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, W_enc=np.array([LeavesAMark(tmp_path / "mark")], dtype=object))
    with pytest.raises(UserError, match="pickled"):
        read_shapes(path)
    with pytest.raises(UserError, match=r"cannot be read as npz .*get the file again"):
        read_tensors(path, ["W_enc"], "cpu")
    assert not (tmp_path / "mark").exists()
    with np.load(path, allow_pickle=True) as unpickled:
        assert unpickled["W_enc"].shape == (1,)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
def test_an_npz_with_a_number_that_is_not_finite_is_refused(tmp_path: Path, name: str) -> None:
    with np.load(gemma_scope()[Site("mlp_out", 4)].weights) as stored:
        arrays = dict(stored)
    arrays[name].reshape(-1)[0] = np.nan if name == "threshold" else -np.inf
    folder = tmp_path / "gemma-scope-2b-pt-mlp" / "layer_4" / "width_16k" / "average_l0_1"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError) as refusal:
        load_sae(find_saes(str(tmp_path))[Site("mlp_out", 4)])
    assert str(refusal.value).startswith(f"{folder / 'params.npz'} has NaN or infinity in {name}: ")


def test_a_missing_shard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    folder = checkpoint.copy_model(tmp_path, "some/model", bundle.MODEL_FOLDER)
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shard = sorted(set(index["weight_map"].values()))[1]
    (folder / shard).unlink()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"some/model is incomplete.*{shard} is missing"):
        find_model("some/model")


def test_a_damaged_index_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    folder = checkpoint.snapshot(tmp_path, "bad/index")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors.index.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="is damaged"):
        find_model("bad/index")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "gemma-2-2b-itt"}, "did you mean gemma-2-2b-it"),
        ({"model": "nobody/nothing", "saes": "bundled"}, "not in the local cache and the hub cannot be reached"),
        ({"saes": "gemma-scope-2b-pt-rez"}, "did you mean gemma-scope-2b-pt-res"),
        ({"model": "gemma-2-2b-it", "sae_width": "17k"}, "no SAE of width '17k'"),
        ({"model": "gemma-2-2b-it", "layers": [20]}, "the model has layers 0 to 5, so there is no attn_z.20"),
        ({"model": "gemma-2-2b-it", "sites": ["resid_post.1"]}, "average_l0_102/params.npz of google/gemma-scope"),
    ],
)
def test_names_that_lead_nowhere(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        saeattr.attribute("cities", out=tmp_path / "s", device="cpu", **settings)
    assert not (tmp_path / "s").exists()


def test_random_weights_in_gemmas_layout_are_planned_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    folder = checkpoint.write_model(tmp_path, NAMED.hub, checkpoint.gemma_2("toy"), tokenizer, 200_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    lm = saeattr.load_model("gemma-2-2b-it", device="cpu", dtype="bfloat16")
    assert lm.dtype == torch.bfloat16
    assert lm.n_layers == 4
    plan = saeattr.plan(model="gemma-2-2b-it", layers=[0, 1], device="cpu", dtype="bfloat16")
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert plan.weights == pytest.approx(stored, rel=0.05)


def test_the_plan_says_what_is_still_to_be_downloaded(cache: Path) -> None:
    here = saeattr.plan(model="gemma-2-2b-it", sites=["resid_post.2"], device="cpu")
    more = saeattr.plan(model="gemma-2-2b-it", sites=["resid_post.2", "resid_post.1"], device="cpu")
    assert here.download == 0
    assert more.download == pytest.approx(4 * 2 * 128 * 16384, rel=0.01)
