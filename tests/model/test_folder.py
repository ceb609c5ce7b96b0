"""What is looked at in a model's folder before anything of it is opened: files, the index, headers, config.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saeattr import UserError, bundle
from saeattr.model.folder import INDEX, WHOLE, check_folder, weight_files
from saeattr.model.json_files import read_object
from saeattr.model.loading import find_model, load_model, read_config
from saeattr.model.prompts import Prompts, check_ids
from tests.faults.damage import fields, in_its_place
from tests.faults.model_damage import shards
from tests.model.toys import make_toy, toy_batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.MODEL_FOLDER, tmp_path / "model"))


def test_a_whole_folder_passes_in_one_file_and_in_shards(folder: Path) -> None:
    check_folder(folder)
    assert weight_files(folder) == {WHOLE: None}
    names = set(load_file(folder / WHOLE))
    shards(folder)
    files = weight_files(folder)
    assert {name for own in files.values() if own for name in own} == names
    assert load_model(str(folder), device="cpu").n_layers == 6


@pytest.mark.parametrize("what", ["fifo", "folder", "loop", "dangling", "zero"])
@pytest.mark.parametrize("name", ["config.json", WHOLE, "tokenizer.json", "chat_template.jinja", "added_tokens.json"])
def test_what_is_no_ordinary_file_is_named_and_not_waited_for(folder: Path, name: str, what: str) -> None:
    in_its_place(name, what)(folder)
    with pytest.raises(UserError) as refusal:
        find_model(str(folder))
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/tmp/x.safetensors", "a/b.safetensors", "x.bin", "", 5, None]
)
def test_an_index_names_safetensors_files_of_its_own_folder_alone(folder: Path, name: Any) -> None:
    shards(folder)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index["weight_map"]["model.norm.weight"] = name
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match="only safetensors files in the model's own folder are read"):
        find_model(str(folder))


def test_weights_twice_an_adapter_and_weights_that_config_json_names_are_refused(folder: Path) -> None:
    whole = (folder / WHOLE).read_bytes()
    shards(folder)
    (folder / WHOLE).write_bytes(whole)
    with pytest.raises(UserError, match="has weights twice"):
        find_model(str(folder))
    (folder / INDEX).unlink()
    fields("adapter_config.json", peft_type="LORA")(folder)
    with pytest.raises(UserError, match="holds an adapter"):
        find_model(str(folder))
    (folder / "adapter_config.json").unlink()
    fields("config.json", transformers_weights="adapter_model.bin")(folder)
    with pytest.raises(UserError, match="names its weights itself"):
        find_model(str(folder))


def test_a_shard_without_a_tensor_of_the_index_is_named(folder: Path) -> None:
    shards(folder)
    held = load_file(folder / "model-2.safetensors")
    held.pop("model.norm.weight")
    save_file(held, folder / "model-2.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model-2.safetensors has no model.norm.weight, which the index says is there"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn])
def test_codes_without_scales_are_no_weights(folder: Path, dtype: torch.dtype) -> None:
    held = load_file(folder / WHOLE)
    save_file({**held, "model.norm.weight": held["model.norm.weight"].to(dtype)}, folder / WHOLE, {"format": "pt"})
    with pytest.raises(UserError, match=r"has model.norm.weight in \w+, codes without their scales"):
        load_model(str(folder), device="cpu")


def test_names_without_the_models_own_before_them_are_looked_at_too(tmp_path: Path) -> None:
    _, theirs = make_toy("gpt2", tmp_path)
    held = {name.removeprefix("transformer."): value for name, value in load_file(tmp_path / WHOLE).items()}
    # A mask that older versions stored is no weight.
    held["h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8)
    save_file(held, tmp_path / WHOLE, {"format": "pt"})
    tokens, mask = toy_batch()
    with torch.no_grad():
        ours = load_model(str(tmp_path), device="cpu").hf(tokens, attention_mask=mask).logits
        # The bridge splits GPT-2's projection, so the last bits differ.
        torch.testing.assert_close(ours, theirs(tokens, attention_mask=mask).logits, rtol=1e-4, atol=1e-4)
    name = "h.1.mlp.c_fc.weight"
    save_file({**held, name: held[name].to(torch.int8)}, tmp_path / WHOLE, {"format": "pt"})
    with pytest.raises(UserError, match=f"has {name} in I8, codes without their scales"):
        load_model(str(tmp_path), device="cpu")
    save_file({**held, name: held[name][:, :-1].contiguous()}, tmp_path / WHOLE, {"format": "pt"})
    with pytest.raises(UserError, match=f"has {name} of shape .* where config.json says"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("name", ["model.layers.3.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"])
def test_a_tensor_for_which_config_json_has_no_place_is_named(tmp_path: Path, name: str) -> None:
    make_toy("llama", tmp_path)
    held = load_file(tmp_path / WHOLE)
    save_file({**held, name: torch.zeros(48, 32)}, tmp_path / WHOLE, {"format": "pt"})
    with pytest.raises(UserError, match=f"has {name} in its safetensors files, which a model as its config.json says"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_hidden_layers", 10**9, "whole number from 1 to 10,000|num_hidden_layers"),
        ("hidden_size", "128", "hidden_size.* expected int, got str"),
        ("sliding_window", -3, "-3 as sliding_window: a whole number from 1"),
        ("final_logit_softcapping", 0.0, "0.0 as final_logit_softcapping: a finite number above 0"),
        ("attn_logit_softcapping", float("inf"), "inf as attn_logit_softcapping: a finite number above 0"),
        ("rms_norm_eps", -1e-6, "-1e-06 as rms_norm_eps: a finite number from 0 on"),
        ("rope_parameters", {"rope_type": "default", "rope_theta": float("nan")}, "nan as rope_theta"),
        ("model_type", 5, "not a model's configuration"),
    ],
)
def test_a_number_of_config_json_that_cannot_be_is_named(folder: Path, field: str, value: Any, message: str) -> None:
    fields("config.json", **{field: value})(folder)
    with pytest.raises(UserError, match=message) as refusal:
        read_config(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "it is no JSON object"),
        ('{"a": 1, "a": 2}', "it has 'a' twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ', "Expecting value"),
    ],
)
def test_json_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"x.json is not a list of things: .*{message}"):
        read_object(tmp_path / "x.json", "a list of things")


def test_a_token_that_the_model_has_no_embedding_for_is_named(tmp_path: Path) -> None:
    lm, _ = make_toy("gpt2", tmp_path)
    tokens, mask = toy_batch()
    check_ids(lm, Prompts(tokens, mask).tokens)
    tokens[1, 2] = 64
    with pytest.raises(UserError, match="the tokenizer makes the token 64, and .* has 64 embeddings"):
        check_ids(lm, tokens)
