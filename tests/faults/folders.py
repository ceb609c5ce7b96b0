"""Whole folders of models and SAEs, before anything is damaged."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from saeattr import bundle
from saeattr.model.loading import load_tokenizer
from tests.model.toys import toy_config

FAMILIES = ("gemma1", "gemma2", "gemma3", "llama", "gpt2")


def whole_model(family: str, folder: Path) -> dict[str, Any]:
    """A toy of three layers with the bundled tokenizer, saved as transformers saves; its configuration."""
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    config = toy_config(family)
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


D_IN, D_SAE, K = 16, 24, 5
#: Where Gemma Scope puts an SAE.
NPZ = "gemma-scope-2b-pt-res/layer_2/width_16k/average_l0_71/params.npz"
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "jumprelu": {},
    "standard": {},
    "topk": {"k": K},
    "gated": {},
    "matching_pursuit": {"max_iterations": 4},
    "standard with layer norm": {"normalize_activations": "layer_norm"},
}


def whole_sae(kind: str, folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A random SAE as sae-lens saves it; its configuration and tensors."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata
    from safetensors.torch import load_file

    made, options = get_sae_class(kind.split()[0])
    metadata = SAEMetadata(hook_name="blocks.1.hook_resid_post", hook_head_index=None, model_name="some/model")
    sae: Any = made(options(d_in=D_IN, d_sae=D_SAE, metadata=metadata, **ARCHITECTURES[kind]))
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    if kind == "jumprelu":
        sae.threshold.data.abs_()
    sae.save_model(folder)
    return json.loads((folder / "cfg.json").read_text(encoding="utf-8")), load_file(folder / "sae_weights.safetensors")


def npz_arrays() -> dict[str, Any]:
    """Of an SAE of Gemma Scope."""
    generator = np.random.default_rng(0)
    shapes = {
        "W_enc": (D_IN, D_SAE),
        "b_enc": (D_SAE,),
        "W_dec": (D_SAE, D_IN),
        "b_dec": (D_IN,),
        "threshold": (D_SAE,),
    }
    return {name: np.abs(generator.standard_normal(shape, dtype=np.float32)) for name, shape in shapes.items()}


def write_arrays(path: Path, arrays: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=True)
