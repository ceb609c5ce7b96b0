"""Nothing in a model's folder is run, and weights that are not all there are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saeattr import UserError, bundle
from saeattr.model.loading import load_model, load_tokenizer, site_widths
from saeattr.model.memory import meta_model
from tests.model.toys import make_toy, toy_batch

NEVER = "code in a model's folder is never run"


def change(path: Path, **fields: object) -> None:
    """Fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model with files beside it that leave a mark when they are imported."""
    folder = tmp_path / "model"
    shutil.copytree(bundle.MODEL_FOLDER, folder)
    names = ("planted", "modeling_openelm", "modeling_internlm2", "raven_modeling_minimal", "custom_generate/generate")
    for name in names:
        file = folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"open({str(tmp_path / 'mark')!r}, 'a').write({name!r})\n"
            "class Planted:\n    pass\n"
            "OpenELMForCausalLM = InternLM2ForCausalLM = RavenForCausalLM = Planted\n"
            "def generate(*args, **kwargs):\n    pass\n",
            encoding="utf-8",
        )
    return folder


@pytest.fixture(autouse=True)
def yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked, the answer is yes."""
    monkeypatch.setattr("builtins.input", lambda _="": "y")


def open_everything(folder: Path) -> None:
    site_widths(folder)
    load_tokenizer(folder)
    meta_model(folder)
    load_model(str(folder), device="cpu")


MAP: dict[str, Any] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "planted.Planted")
MAP["AutoTokenizer"] = ["planted.Planted", "planted.Planted"]


def test_a_known_model_is_opened_as_transformers_own_class_and_its_files_are_not_run(
    folder: Path, plain_model: Any
) -> None:
    change(folder / "config.json", auto_map=MAP)
    change(folder / "tokenizer_config.json", auto_map=MAP)
    open_everything(folder)
    tokens, _ = toy_batch()
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(str(folder), device="cpu").hf(tokens).logits, plain_model(tokens).logits, rtol=0, atol=0
        )
    assert not (folder.parent / "mark").exists()


@pytest.mark.parametrize(
    ("opened", "fields"),
    [
        (site_widths, {"model_type": "planted", "auto_map": MAP}),
        (meta_model, {"model_type": "planted", "auto_map": MAP}),
        (meta_model, {"model_type": "t5", "architectures": ["Planted"], "auto_map": MAP}),
        (load_model, {"model_type": "planted", "auto_map": MAP}),
        (load_model, {"model_type": "t5", "architectures": ["Gemma2ForCausalLM"], "auto_map": MAP}),
    ],
)
def test_a_folder_that_needs_its_own_code_is_refused_in_one_line(
    folder: Path, opened: Callable[[Any], object], fields: dict[str, Any]
) -> None:
    change(folder / "config.json", **fields)
    with pytest.raises(UserError, match=NEVER) as refusal:
        opened(str(folder) if opened is load_model else folder)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (folder.parent / "mark").exists()


def test_a_tokenizer_that_needs_its_own_code_is_refused_in_one_line(folder: Path) -> None:
    change(folder / "config.json", model_type="planted")
    change(folder / "tokenizer_config.json", tokenizer_class="PlantedTokenizer", auto_map=MAP)
    with pytest.raises(UserError, match=NEVER) as refusal:
        load_tokenizer(folder)
    assert str(folder) in str(refusal.value)
    assert not (folder.parent / "mark").exists()


@pytest.mark.parametrize("name", ["OpenELM", "InternLM2", "Raven"])
def test_no_file_is_run_for_the_name_of_an_architecture_in_the_configuration(folder: Path, name: str) -> None:
    """The bridge has adapters that import modeling_openelm.py and the like without asking anyone."""
    change(folder / "config.json", architectures=[f"{name}ForCausalLM"])
    for opened in (meta_model, lambda place: load_model(str(place), device="cpu")):
        with pytest.raises(UserError, match="cannot be opened as a causal language model") as refusal:
            opened(folder)
        assert "\n" not in str(refusal.value)
    assert not (folder.parent / "mark").exists()


def test_a_piped_yes_runs_nothing(folder: Path, tmp_path: Path) -> None:
    change(folder / "config.json", model_type="planted", auto_map=MAP)
    command = [sys.executable, "-m", "saeattr", "attribute", "--model", str(folder), "--saes", "bundled"]
    done = subprocess.run(
        [*command, "--topic", "cities", "--device", "cpu", "--out", str(tmp_path / "study")],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert NEVER in done.stderr
    assert "custom code" not in done.stdout
    assert not (tmp_path / "mark").exists()


def rewrite(folder: Path, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The tensors of a folder's file after some are replaced, added, or (None) left out."""
    path = folder / "model.safetensors"
    tensors = {**load_file(path), **{name.replace("__", "."): value for name, value in changes.items()}}
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, path, metadata={"format": "pt"})
    return kept


SOME = {
    "gemma2": "model__layers__1__mlp__up_proj__weight",
    "gemma3": "model__layers__2__post_feedforward_layernorm__weight",
    "llama": "lm_head__weight",
    "gpt2": "transformer__h__0__attn__c_attn__bias",
}


@pytest.mark.parametrize("family", SOME)
def test_a_missing_tensor_is_named_and_not_drawn_at_random(
    family: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_toy(family, tmp_path)
    rewrite(tmp_path, **{SOME[family]: None})
    capfd.readouterr()
    with pytest.raises(UserError) as refusal:
        load_model(str(tmp_path), device="cpu")
    name = SOME[family].replace("__", ".")
    assert str(refusal.value) == f"{tmp_path} has no {name} in its safetensors files (1 missing): get them again"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("family", SOME)
def test_a_tensor_of_another_shape_is_named(family: str, tmp_path: Path) -> None:
    make_toy(family, tmp_path)
    name = SOME[family]
    value = load_file(tmp_path / "model.safetensors")[name.replace("__", ".")]
    rewrite(tmp_path, **{name: value[:-1].contiguous()})
    with pytest.raises(UserError) as refusal:
        load_model(str(tmp_path), device="cpu")
    assert f"{name.replace('__', '.')} of shape {tuple(value[:-1].shape)} where config.json says" in str(refusal.value)
    assert str(tuple(value.shape)) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("family", SOME)
def test_a_weight_that_is_no_finite_number_is_named(family: str, number: float, tmp_path: Path) -> None:
    make_toy(family, tmp_path)
    value = load_file(tmp_path / "model.safetensors")[SOME[family].replace("__", ".")]
    value.view(-1)[7] = number
    rewrite(tmp_path, **{SOME[family]: value})
    with pytest.raises(UserError) as refusal:
        load_model(str(tmp_path), device="cpu")
    assert f"NaN or infinity in {SOME[family].replace('__', '.')}, read as float32" in str(refusal.value)


def test_weights_too_large_for_float16_are_named_with_the_dtype(tmp_path: Path) -> None:
    make_toy("llama", tmp_path)
    rewrite(tmp_path, lm_head__weight=torch.full((64, 32), 1e5))
    assert load_model(str(tmp_path), device="cpu", dtype="bfloat16").n_layers == 3
    with pytest.raises(UserError, match=r"lm_head.weight, read as float16: .* choose another dtype"):
        load_model(str(tmp_path), device="cpu", dtype="float16")


def test_one_tensor_for_embedding_and_unembedding_is_enough_where_they_are_tied(tmp_path: Path) -> None:
    make_toy("llama", tmp_path)
    rewrite(tmp_path, lm_head__weight=None)
    change(tmp_path / "config.json", tie_word_embeddings=True)
    lm = load_model(str(tmp_path), device="cpu")
    stored = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    unembedding: Any = lm.hf.get_output_embeddings()
    assert torch.equal(unembedding.weight, stored)


def test_tensors_that_the_model_has_no_use_for_change_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, theirs = make_toy("llama", tmp_path)
    rewrite(tmp_path, model__layers__9__extra=torch.full((3,), float("nan")))
    capfd.readouterr()
    lm = load_model(str(tmp_path), device="cpu")
    assert capfd.readouterr().err == ""
    tokens, mask = toy_batch()
    with torch.no_grad():
        ours = lm.hf(tokens, attention_mask=mask).logits
        assert torch.equal(ours, theirs(tokens, attention_mask=mask).logits)


def test_pickled_weights_beside_a_stray_safetensors_file_are_not_read(tmp_path: Path) -> None:
    _, theirs = make_toy("llama", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "stray.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has .*no.* model.safetensors .* model.safetensors.index.json"):
        load_model(str(tmp_path), device="cpu")


def test_a_folder_named_as_a_model_on_the_hub_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, theirs = make_toy("gemma2", tmp_path / "gemma-2-2b-it")
    monkeypatch.chdir(tmp_path)
    lm = load_model("gemma-2-2b-it", device="cpu")
    tokens, mask = toy_batch()
    with torch.no_grad():
        assert torch.equal(lm.hf(tokens, attention_mask=mask).logits, theirs(tokens, attention_mask=mask).logits)
