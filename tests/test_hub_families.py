"""Gemma 3, GPT-2 and Llama Scope by name, offline, on random files of the real names and layout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import saeattr
from saeattr import UserError, bundle
from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import Pair
from saeattr.model.hub import MODELS
from saeattr.model.loading import find_model, load_tokenizer, site_widths
from saeattr.runs.task import Task
from saeattr.saes.catalogue import pick_saes
from saeattr.saes.formats import published_file
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.sites import Site

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import make_random_checkpoint as checkpoint

#: Releases with SAEs at the toys' four layers.
RELEASES = {
    "gemma-3-1b-it": ("gemma-scope-2-1b-it-res-all", "gemma-scope-2-1b-it-att-all", "gemma-scope-2-1b-it-mlp-all"),
    "gemma-3-4b-it": ("gemma-scope-2-4b-it-res-all", "gemma-scope-2-4b-it-att-all", "gemma-scope-2-4b-it-mlp-all"),
    "gpt2": ("gpt2-small-res-jb",),
}
WIDTHS = {"gemma-3-1b-it": "16k", "gemma-3-4b-it": "16k", "gpt2": None}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with a toy of each model, and SAEs of its layers 1 and 2."""
    folder = tmp_path_factory.mktemp("hub")
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    for model, releases in RELEASES.items():
        repo = MODELS[model].hub
        checkpoint.write_model(folder, repo, checkpoint.toy(model), tokenizer, 200_000)
        chosen = [sae for site, sae in pick_saes(releases, WIDTHS[model]).items() if site.layer in (1, 2)]
        checkpoint.write_published(folder, chosen, repo)
    return folder


@pytest.fixture(autouse=True)
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def sae_files(model: str, monkeypatch: pytest.MonkeyPatch) -> list[SaeFile]:
    """The files of layers 1 and 2; only those are looked up, because no others are in the cache."""
    import saeattr.saes.loading as loading

    monkeypatch.setattr(
        loading,
        "pick_saes",
        lambda *wanted: {site: sae for site, sae in pick_saes(*wanted).items() if site.layer in (1, 2)},
    )
    widths = site_widths(find_model(model))
    return list(find_saes(",".join(RELEASES[model]), widths, width=WIDTHS[model]).values())


@pytest.mark.parametrize("model", RELEASES)
def test_a_toy_opens_by_its_hub_name_with_the_weights_of_its_files(model: str) -> None:
    lm = saeattr.load_model(model, device="cpu", dtype="bfloat16")
    folder = find_model(model)
    stored = {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}
    name = {
        "gemma-3-1b-it": "model.layers.3.mlp.up_proj.weight",
        "gemma-3-4b-it": "language_model.model.layers.3.mlp.up_proj.weight",
        "gpt2": "h.3.mlp.c_proj.weight",
    }[model]
    own = [value for value in lm.hf.state_dict().values() if value.shape == stored[name].shape]
    assert any(torch.equal(value, stored[name]) for value in own)


def test_opening_a_model_that_sees_images_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: object, **_: object) -> None:
        raise AssertionError(f"tried to run {command}")

    monkeypatch.setattr(subprocess, "check_call", refuse)
    assert saeattr.load_model("gemma-3-4b-it", device="cpu").n_layers == 4
    assert saeattr.plan(
        model="gemma-3-4b-it", saes=",".join(RELEASES["gemma-3-4b-it"]), sae_width="16k", layers=[1], device="cpu"
    ).weights


@pytest.mark.parametrize("model", RELEASES)
def test_attribution_runs_at_every_kind_of_site(model: str, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """On random weights the base x_base splits into features and error exactly: their sum is g . (x_base - x)."""
    files = sae_files(model, monkeypatch)
    assert {file.site.kind for file in files} == (
        {"resid_post"} if model == "gpt2" else set(site_widths(bundle.MODEL_FOLDER))
    )
    lm = saeattr.load_model(model, device="cpu")
    tables = attribute_group(Task(lm, pairs, files))
    sums = tables.site_effects
    assert len(sums) == len(files) * len(pairs)
    assert (tables.attributions["effect"].abs() > 0).any()
    for site, rows in tables.attributions.groupby(["kind", "layer"]):
        own = sums[(sums["kind"] == site[0]) & (sums["layer"] == site[1])]  # pyright: ignore[reportIndexIssue]
        assert rows["effect"].sum() == pytest.approx(own["features_effect"].sum(), rel=1e-3, abs=1e-5)


def test_gemma_scope_2_files_equal_sae_lens_own_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    import sae_lens.loading.pretrained_sae_loaders as loaders
    from sae_lens.loading.pretrained_sae_loaders import gemma_3_sae_huggingface_loader

    for file in sae_files("gemma-3-1b-it", monkeypatch):
        assert file.published is not None
        # Their reader of shapes asks the hub over the network; the file lies in the cache.
        shapes = {name: list(value.shape) for name, value in load_file(file.weights).items()}
        monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda repo, name, shapes=shapes: shapes)
        config, theirs, _ = gemma_3_sae_huggingface_loader(file.published.repo, file.published.path)
        assert config["hook_name"] == file.site.hook_name
        ours = load_sae(file)
        x = 3 * torch.randn(20, file.d_in)
        pre = x @ theirs["W_enc"] + theirs["b_enc"]
        f = torch.relu(pre) * (pre > theirs["threshold"])
        torch.testing.assert_close(ours.encode(x), f, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.decode(f), f @ theirs["W_dec"] + theirs["b_dec"], rtol=1e-5, atol=1e-5)


def test_gpt2_saes_of_the_next_layers_input_equal_sae_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    """blocks.3.hook_resid_pre is resid_post.2; the model they were made on wrote vectors of mean 0."""
    from sae_lens import SAE

    for file in sae_files("gpt2", monkeypatch):
        assert file.published is not None
        assert file.published.sae_id == f"blocks.{file.site.layer + 1}.hook_resid_pre"
        theirs = SAE.from_pretrained(file.published.release, file.published.sae_id, device="cpu")
        theirs.eval()
        ours = load_sae(file)
        x = 3 * torch.randn(20, file.d_in)
        with torch.no_grad():
            expected = theirs.encode(x - x.mean(1, keepdim=True))
            assert (expected > 0).any()
            torch.testing.assert_close(ours.encode(x), expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(ours.decode(expected), theirs.decode(expected), rtol=1e-5, atol=1e-5)


def test_llama_scope_files_equal_sae_lens(cache: Path) -> None:
    from sae_lens import SAE
    from transformers import AutoConfig

    repo = "somewhere/llama"
    checkpoint.write_model(cache, repo, checkpoint.toy("llama"), load_tokenizer(bundle.MODEL_FOLDER), 200_000)
    assert AutoConfig.from_pretrained(checkpoint.snapshot(cache, repo)).model_type == "llama"
    sae = pick_saes(["llama_scope_lxm_8x"])[Site("mlp_out", 3)]
    checkpoint.write_published(cache, [sae], repo)
    file = published_file(sae, {})
    assert file is not None
    theirs = SAE.from_pretrained(sae.release, sae.sae_id, device="cpu")
    theirs.to(torch.float32)
    theirs.eval()
    ours = load_sae(file)
    x = torch.randn(20, file.d_in)
    with torch.no_grad():
        expected = theirs.encode(x)
        assert (expected > 0).any()
        # They round the scale into bfloat16 weights; ours are scaled in float32.
        torch.testing.assert_close(ours.encode(x), expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))


def spoil(file: SaeFile, name: str) -> Path:
    """Put a NaN into the last place of one tensor of a published SAE in the cache."""
    path = file.weights
    tensors = load_file(path)
    tensors[name].view(-1)[-1] = float("nan")
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("name", ["w_enc", "b_enc", "w_dec", "b_dec", "threshold"])
def test_a_gemma_scope_2_file_with_nan_is_refused(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sae_files("gemma-3-1b-it", monkeypatch)[0]
    whole = file.weights.read_bytes()
    path = spoil(file, name)
    try:
        with pytest.raises(UserError) as refusal:
            load_sae(file)
    finally:
        path.write_bytes(whole)
    assert str(refusal.value).startswith(f"{path} has NaN or infinity in {name}: ")


@pytest.mark.parametrize("name", ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"])
def test_a_llama_scope_file_with_nan_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spoil(llama_scope(tmp_path, monkeypatch), name)
    with pytest.raises(UserError) as refusal:
        load_sae(llama_scope_file())
    assert str(refusal.value).startswith(f"{path} has NaN or infinity in {name}: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset_average_activation_norm": {"in": float("nan")}},
        {"dataset_average_activation_norm": {"in": float("inf")}},
        {"jump_relu_threshold": float("nan")},
    ],
)
def test_a_llama_scope_configuration_with_nan_is_refused(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = llama_scope(tmp_path, monkeypatch).weights.parents[1] / "hyperparams.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")
    with pytest.raises(UserError, match=r"hyperparams.json that is no finite number"):
        llama_scope_file()


def llama_scope(cache: Path, monkeypatch: pytest.MonkeyPatch) -> SaeFile:
    """A random Llama Scope SAE in a cache of its own."""
    import huggingface_hub.constants as constants

    repo = "somewhere/llama"
    checkpoint.write_model(cache, repo, checkpoint.toy("llama"), load_tokenizer(bundle.MODEL_FOLDER), 200_000)
    checkpoint.write_published(cache, [pick_saes(["llama_scope_lxm_8x"])[Site("mlp_out", 3)]], repo)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return llama_scope_file()


def llama_scope_file() -> SaeFile:
    file = published_file(pick_saes(["llama_scope_lxm_8x"])[Site("mlp_out", 3)], {})
    assert file is not None
    return file


def test_a_base_gemma_gets_gemmas_chat_format(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    chat = [{"role": "user", "content": " hello "}, {"role": "assistant", "content": "-"}]
    wanted = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == wanted
