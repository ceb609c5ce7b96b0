"""Fields of SAE configurations: each of one type, nothing guessed; and tensors that they have no place for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saeattr.errors import UserError
from saeattr.saes.configuration import lens_fields, llama_scope_fields
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import ReluAutoencoder
from tests.faults.damage import GONE, fields, in_its_place, tensors
from tests.faults.folders import D_IN, D_SAE, whole_sae

WEIGHTS = "sae_weights.safetensors"


def opened(folder: Path) -> Any:
    (file,) = find_saes(str(folder)).values()
    return load_sae(file)


@pytest.mark.parametrize("value", ["no", "yes", "false", 0, 1, 2.5, None, [], {}])
def test_a_truth_value_is_true_or_false_and_nothing_else(tmp_path: Path, value: Any) -> None:
    whole_sae("jumprelu", tmp_path)
    fields("cfg.json", apply_b_dec_to_input=value)(tmp_path)
    with pytest.raises(UserError, match=r"as apply_b_dec_to_input in its cfg.json \(Input should be a valid boolean\)"):
        opened(tmp_path)


@pytest.mark.parametrize("version", [{}, {"metadata": {"sae_lens_version": "6.0.0"}}])
def test_b_dec_is_subtracted_where_the_configuration_leaves_it_out_as_sae_lens_does(
    tmp_path: Path, version: dict[str, Any]
) -> None:
    from sae_lens import SAE

    whole_sae("standard", tmp_path)
    fields("cfg.json", apply_b_dec_to_input=GONE)(tmp_path)
    if not version:
        fields("cfg.json", metadata__sae_lens_version=GONE)(tmp_path)
    theirs: Any = SAE.load_from_disk(tmp_path)
    ours = opened(tmp_path)
    assert isinstance(ours, ReluAutoencoder)
    assert ours.subtract_b_dec is theirs.cfg.apply_b_dec_to_input is True
    x = torch.randn(9, D_IN, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x), theirs.encode(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("standard", "threshold"), ("standard", "log_threshold"), ("jumprelu", "b_mag"), ("jumprelu", "anything")],
)
def test_a_tensor_that_the_configuration_has_no_place_for_is_named_where_sae_lens_refuses_it_too(
    tmp_path: Path, kind: str, name: str
) -> None:
    from sae_lens import SAE

    whole_sae(kind, tmp_path)
    tensors(WEIGHTS, lambda held: held.update({name: torch.ones(D_SAE)}))(tmp_path)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        SAE.load_from_disk(tmp_path)
    with pytest.raises(UserError, match=f"holds {name}, which an SAE as its configuration says has not"):
        opened(tmp_path)


def test_scaling_factors_of_one_change_nothing_and_others_are_refused(tmp_path: Path) -> None:
    _, held = whole_sae("jumprelu", tmp_path)
    tensors(WEIGHTS, lambda held: held.update(scaling_factor=torch.ones(D_SAE)))(tmp_path)
    assert torch.equal(opened(tmp_path).W_dec, held["W_dec"])
    tensors(WEIGHTS, lambda held: held.update(scaling_factor=torch.full((D_SAE,), 1.5)))(tmp_path)
    with pytest.raises(UserError, match="holds scaling_factor"):
        opened(tmp_path)


@pytest.mark.parametrize("k", [GONE, None, 0, -1, D_SAE + 1, 2.5, "3", True])
def test_a_topk_sae_says_its_k(tmp_path: Path, k: Any) -> None:
    whole_sae("topk", tmp_path)
    fields("cfg.json", k=k)(tmp_path)
    with pytest.raises(UserError, match=r" k "):
        opened(tmp_path)


def test_a_tensor_under_two_names_and_whole_numbers_are_refused(tmp_path: Path) -> None:
    whole_sae("jumprelu", tmp_path)
    whole = load_file(tmp_path / WEIGHTS)
    save_file({**whole, "w_dec": whole["W_dec"] * 2}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="has a tensor under two names"):
        opened(tmp_path)
    save_file({**whole, "W_dec": whole["W_dec"].to(torch.int8)}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="has W_dec in I8, which are no decimal numbers"):
        opened(tmp_path)


@pytest.mark.parametrize("what", ["fifo", "folder", "dangling", "zero"])
@pytest.mark.parametrize("name", ["cfg.json", WEIGHTS])
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path, name: str, what: str) -> None:
    whole_sae("gated", tmp_path)
    in_its_place(name, what)(tmp_path)
    with pytest.raises(UserError, match=name):
        opened(tmp_path)


def test_a_configuration_of_before_version_6_is_read_with_what_it_has_beside(tmp_path: Path) -> None:
    """As gpt2-small-res-jb's: training options, nulls, and no architecture."""
    config = {
        "model_name": "gpt2-small",
        "hook_point": "blocks.8.hook_resid_pre",
        "hook_point_layer": 8,
        "hook_point_head_index": None,
        "d_in": 768,
        "d_sae": 24576,
        "dtype": "torch.float32",
        "device": "cuda",
        "l1_coefficient": 8e-05,
        "use_ghost_grads": False,
        "normalize_activations": "none",
        "activation_fn_str": "relu",
        "activation_fn_kwargs": {},
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
    }
    found = lens_fields(config, tmp_path)
    assert (found.d_in, found.d_sae, found.apply_b_dec_to_input, found.architecture) == (768, 24576, True, None)
    (tmp_path / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    (file,) = find_saes(str(tmp_path)).values()
    assert (file.subtract_b_dec, file.has_threshold, file.centre_input) == (True, False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": "16"}, "'16' as d_model in its hyperparams.json"),
        ({"d_sae": None}, "None as d_sae"),
        ({"dataset_average_activation_norm": 3.0}, "as dataset_average_activation_norm"),
        ({"dataset_average_activation_norm": {"in": 0}}, "an activation norm of 0"),
        ({"jump_relu_threshold": -1.0}, "-1.0 as jump_relu_threshold"),
    ],
)
def test_a_llama_scope_configuration_has_numbers_that_can_be(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    whole = {"d_model": 16, "d_sae": 48, "jump_relu_threshold": 0.3, "dataset_average_activation_norm": {"in": 8.0}}
    assert llama_scope_fields(whole, tmp_path).dataset_average_activation_norm.inside == 8.0
    with pytest.raises(UserError, match=message):
        llama_scope_fields({**whole, **change}, tmp_path)
