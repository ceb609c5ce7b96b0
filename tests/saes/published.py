"""Random SAEs in the files of the families that sae-lens reads for us: their names, their layout, their shapes."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saeattr.saes.catalogue import PublishedSae, published_saes
from saeattr.sites import Site

D_IN, D_SAE, K = 16, 48, 6
MODEL = "some/model"


def find(release: str, site: Site, **fields: Any) -> PublishedSae:
    return next(
        sae
        for sae in published_saes(release)
        if sae.site == site and all(getattr(sae, name) == value for name, value in fields.items())
    )


def snapshot(cache: Path, repo: str) -> Path:
    """The folder of a repository's only revision in a hub cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("0" * 40, encoding="ascii")
    return root / "snapshots" / ("0" * 40)


def place(cache: Path, sae: PublishedSae, name: str = "") -> Path:
    path = snapshot(cache, sae.repo) / sae.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def weights(*names: str) -> dict[str, Tensor]:
    """Random tensors of the shapes that sae-lens' names mean."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    made = {name: torch.randn(shapes.get(name, (D_SAE,)), generator=generator) * 0.3 for name in names}
    if "threshold" in made:
        made["threshold"] = made["threshold"].abs()
    return made


def linear(made: dict[str, Tensor], bias: str = "b_dec") -> dict[str, Tensor]:
    """As torch's linear layers hold them: [out, in]."""
    return {
        "encoder.weight": made["W_enc"].T.contiguous(),
        "encoder.bias": made["b_enc"],
        "decoder.weight": made["W_dec"].T.contiguous(),
        bias: made["b_dec"],
    }


def sae_lens_before_6(cache: Path, sae: PublishedSae, **config: Any) -> None:
    """OpenAI's GPT-2 SAEs (top-k, layer_norm), and Mistral's (the norm is in the directory)."""
    path = place(cache, sae, "sae_weights.safetensors")
    save_file(weights("W_enc", "b_enc", "W_dec", "b_dec"), path)
    whole = {"hook_point": sae.sae_id, "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", **config}
    (path.parent / "cfg.json").write_text(json.dumps(whole), encoding="utf-8")


def dictionary_learning(cache: Path, sae: PublishedSae, dict_class: str) -> None:
    """ae.pt, a state_dict as torch saves one, beside config.json."""
    made = weights("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "r_mag", "gate_bias", "mag_bias")
    plain = {name: made[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    k = {"k": torch.tensor(K)}
    states: dict[str, dict[str, Tensor]] = {
        "AutoEncoder": linear(made, "bias"),
        "AutoEncoderTopK": {**linear(made), **k, "threshold": torch.tensor(0.3)},
        "GatedAutoEncoder": {
            "encoder.weight": made["W_enc"].T.contiguous(),
            "decoder.weight": made["W_dec"].T.contiguous(),
            "decoder_bias": made["b_dec"],
            **{name: made[name] for name in ("r_mag", "gate_bias", "mag_bias")},
        },
        "BatchTopKSAE": {**linear(made), **k, "threshold": torch.tensor(0.3)},
        "MatryoshkaBatchTopKSAE": {
            **plain,
            **k,
            "threshold": torch.tensor(0.3),
            "group_sizes": torch.tensor([16, 32]),
        },
        "JumpReluAutoEncoder": {**plain, "threshold": made["threshold"]},
    }
    path = place(cache, sae, "ae.pt")
    torch.save(OrderedDict(states[dict_class]), path)
    trainer = {"dict_class": dict_class, "activation_dim": D_IN, "dict_size": D_SAE, "layer": sae.site.layer, "k": K}
    config = {"trainer": {**trainer, "lm_name": MODEL}, "buffer": {"ctx_len": 128}}
    (path.parent / "config.json").write_text(json.dumps(config), encoding="utf-8")


def llama_scope_r1(cache: Path, sae: PublishedSae) -> None:
    made = weights("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    path = place(cache, sae, "sae_weights.safetensors")
    tensors = {**linear(made, "decoder.bias"), "log_jumprelu_threshold": made["threshold"].log()}
    save_file(tensors, path)
    config = {"d_model": D_IN, "expansion_factor": D_SAE // D_IN, "hook_point_in": sae.site.hook_name}
    (path.parent / "config.json").write_text(json.dumps(config), encoding="utf-8")


def qwen_scope(cache: Path, sae: PublishedSae) -> None:
    made = weights("W_enc", "b_enc", "W_dec", "b_dec")
    turned = {name: value.T.contiguous() if value.ndim == 2 else value for name, value in made.items()}
    torch.save(turned, place(cache, sae))


def goodfire(cache: Path, sae: PublishedSae) -> None:
    made = linear(weights("W_enc", "b_enc", "W_dec", "b_dec"), "decoder.bias")
    torch.save({name.replace(".", "_linear."): value for name, value in made.items()}, place(cache, sae))


def deepseek_r1(cache: Path, sae: PublishedSae) -> None:
    torch.save(linear(weights("W_enc", "b_enc", "W_dec", "b_dec"), "decoder.bias"), place(cache, sae))


def hook_z(cache: Path, sae: PublishedSae) -> None:
    path = place(cache, sae)
    torch.save(OrderedDict(weights("W_enc", "b_enc", "W_dec", "b_dec")), path)
    config = {"act_size": D_IN, "dict_size": D_SAE, "act_name": sae.site.hook_name}
    path.with_name(path.name.split(".pt")[0] + "_cfg.json").write_text(json.dumps(config), encoding="utf-8")


def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """sae-lens knows the sizes of three families by their names; those of the files here are smaller."""
    import sae_lens.loading.pretrained_sae_loaders as loaders

    for name, key in (
        ("get_goodfire_config_from_hf", "goodfire"),
        ("get_deepseek_r1_config_from_hf", "deepseek_r1"),
        ("get_qwen_scope_config_from_hf", "qwen_scope"),
    ):
        theirs = getattr(loaders, name)

        def small(*args: Any, theirs: Any = theirs, **named: Any) -> dict[str, Any]:
            return {**theirs(*args, **named), "d_in": D_IN, "d_sae": D_SAE, "activation_fn_kwargs": {"k": K}}

        monkeypatch.setattr(loaders, name, small)
        monkeypatch.setitem(loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS, key, small)
