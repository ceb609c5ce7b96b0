"""Random SAEs in published formats: Gemma Scope, Gemma Scope 2, sae-lens before version 6, Llama Scope.

Unit decoder directions, the encoder their transpose, and a threshold that few features pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from saeattr.saes.catalogue import PublishedSae
from saeattr.saes.formats import WEIGHT_FILES
from saeattr.sites import Kind, Site

Arrays = dict[str, np.ndarray]

#: Features where the name does not say how many there are.
OTHERWISE = 512


def write_saes(folders: Iterable[tuple[PublishedSae, Path]], widths: dict[Kind, int]) -> list[Path]:
    """Write each SAE into the folder of its repository; ``widths`` are the model's, by kind of site."""
    written = []
    for sae, repository in folders:
        folder = repository / sae.path
        path = folder / WEIGHT_FILES[sae.format]
        path.parent.mkdir(parents=True, exist_ok=True)
        d_in = widths[sae.site.kind]
        if sae.format == "gemma_scope":
            np.savez(path, allow_pickle=False, **random_arrays(sae.site, d_in, sae.d_sae or OTHERWISE))
        elif sae.format == "gemma_scope_2":
            _write_gemma_scope_2(path, sae, random_arrays(sae.site, d_in, sae.d_sae or OTHERWISE))
        elif sae.format == "llama_scope":
            _write_llama_scope(path, folder, sae, random_arrays(sae.site, d_in, OTHERWISE))
        else:
            _write_sae_lens(path, folder, sae, random_arrays(sae.site, d_in, OTHERWISE))
        written.append(path)
    return written


def random_arrays(site: Site, d_in: int, d_sae: int) -> Arrays:
    """W_enc, b_enc, W_dec, b_dec and threshold of a site's SAE, in float32."""
    generator = np.random.default_rng(site.order)
    W_dec = generator.standard_normal((d_sae, d_in), dtype=np.float32)
    W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
    # With random weights each sublayer adds a vector of unit size an entry; heads average over positions.
    size = {"resid_post": (3.0 + 2 * site.layer) ** 0.5, "mlp_out": 1.0, "attn_z": 0.4}[site.kind]
    return {
        "W_enc": np.ascontiguousarray(W_dec.T),
        "b_enc": np.zeros(d_sae, np.float32),
        "W_dec": W_dec,
        "b_dec": np.zeros(d_in, np.float32),
        "threshold": np.full(d_sae, 3.2 * size, np.float32),
    }


def _write_gemma_scope_2(path: Path, sae: PublishedSae, arrays: Arrays) -> None:
    """params.safetensors with names in lower case, and config.json."""
    points = {"resid_post": "output", "attn_z": "self_attn.o_proj.input"}
    point = points.get(sae.site.kind, "post_feedforward_layernorm.output")
    config = {
        "architecture": "jump_relu",
        "model_name": sae.model,
        "hf_hook_point_in": f"model.layers.{sae.site.layer}.{point}",
    }
    save_file({name.lower(): torch.from_numpy(value) for name, value in arrays.items()}, path)
    (path.parent / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _write_sae_lens(path: Path, folder: Path, sae: PublishedSae, arrays: Arrays) -> None:
    """A standard SAE as sae-lens wrote it before version 6: cfg.json says hook_point, and b_dec is subtracted."""
    generator = np.random.default_rng(sae.site.order)
    arrays = {name: value for name, value in arrays.items() if name != "threshold"}
    d_in, d_sae = arrays["W_enc"].shape
    arrays["b_dec"] = 0.01 * generator.standard_normal(d_in, dtype=np.float32)
    arrays["b_enc"] -= 0.05
    config = {
        "model_name": sae.model,
        "hook_point": sae.sae_id,
        "hook_point_layer": int(sae.sae_id.split(".")[1]),
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "torch.float32",
        "device": "cpu",
    }
    save_file({name: torch.from_numpy(value) for name, value in arrays.items()}, path)
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


def _write_llama_scope(path: Path, folder: Path, sae: PublishedSae, arrays: Arrays) -> None:
    """final.safetensors with torch's linear layers in bfloat16, and hyperparams.json."""
    d_in, d_sae = arrays["W_enc"].shape
    turned = {
        "encoder.weight": arrays["W_enc"].T,
        "encoder.bias": arrays["b_enc"],
        "decoder.weight": arrays["W_dec"].T,
        "decoder.bias": arrays["b_dec"],
    }
    tensors = {name: torch.tensor(value).to(torch.bfloat16).contiguous() for name, value in turned.items()}
    scale = sae.scale or 1.0
    config = {
        "d_model": d_in,
        "d_sae": d_sae,
        "hook_point_in": sae.site.hook_name,
        "jump_relu_threshold": 0.5,
        "dataset_average_activation_norm": {"in": d_in**0.5 / scale, "out": d_in**0.5 / scale},
    }
    save_file(tensors, path)
    (folder / "hyperparams.json").write_text(json.dumps(config), encoding="utf-8")
