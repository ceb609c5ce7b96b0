"""Random weights in the exact names and layout of the real files, as a cache folder of the Hugging Face hub.

    python scripts/make_random_checkpoint.py CACHE [--preset toy|full] [--layers 0,1,2]
    HF_HUB_CACHE=CACHE HF_HUB_OFFLINE=1 python -m saeattr plan --model gemma-2-2b-it --layers 0,1,2

Writes models--google--gemma-2-2b-it (config.json, sharded safetensors with their index, a tokenizer with Gemma's
special tokens and chat template) and models--google--gemma-scope-2b-pt-{res,att,mlp} (params.npz at the published
paths). toy: width 64, 4 layers; full: the shape of Gemma 2 2B (2.6 billion parameters in bfloat16), shard by shard.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, Gemma2Config, PreTrainedTokenizerBase

from saeattr import bundle
from saeattr.model.loading import load_tokenizer
from saeattr.model.names import MODELS
from saeattr.saes.catalogue import PublishedSae, pick_saes

REVISION = "0" * 40
#: Bytes in a shard of the weights.
SHARD_BYTES = {"toy": 200_000, "full": 2 * 10**9}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--preset", choices=("toy", "full"), default="toy")
    parser.add_argument("--layers", default="0,1,2", help="layers to write SAEs for")
    parser.add_argument("--kinds", default="resid_post,attn_z,mlp_out")
    options = parser.parse_args()
    known = MODELS["gemma-2-2b-it"]
    config = gemma_2(options.preset)
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    write_model(options.cache, known.hub, config, tokenizer, SHARD_BYTES[options.preset])
    layers = {int(layer) for layer in options.layers.split(",")}
    kinds = options.kinds.split(",")
    chosen = [
        sae for site, sae in pick_saes(known.releases, "16k").items() if site.layer in layers and site.kind in kinds
    ]
    write_gemma_scope(options.cache, chosen, config)
    print(f"{options.cache}: {known.hub} ({options.preset}) and {len(chosen)} SAEs")


def gemma_2(preset: str) -> Gemma2Config:
    """Gemma 2 2B's configuration, or the same architecture very small."""
    if preset == "full":
        return Gemma2Config(
            vocab_size=256_000,
            hidden_size=2304,
            intermediate_size=9216,
            num_hidden_layers=26,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=256,
            query_pre_attn_scalar=256,
            sliding_window=4096,
        )
    return Gemma2Config(
        vocab_size=2048,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=32,
    )


def snapshot(cache: Path, repo: str) -> Path:
    """The folder of a repository's only revision in a hub cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(REVISION, encoding="ascii")
    folder = root / "snapshots" / REVISION
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_model(
    cache: Path, repo: str, config: Gemma2Config, tokenizer: PreTrainedTokenizerBase, shard_bytes: int
) -> Path:
    """config.json, tokenizer and random weights in shards, one shard in memory at a time."""
    folder = snapshot(cache, repo)
    config.architectures = ["Gemma2ForCausalLM"]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {
            name: tuple(value.shape) for name, value in AutoModelForCausalLM.from_config(config).state_dict().items()
        }
    shapes.pop("lm_head.weight", None)
    groups = list(_shards(shapes, shard_bytes))
    weight_map = {}
    for at, names in enumerate(groups, 1):
        file = f"model-{at:05d}-of-{len(groups):05d}.safetensors"
        save_file({name: _random(name, shapes[name]) for name in names}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    total = sum(2 * int(np.prod(shape)) for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def copy_model(cache: Path, repo: str, source: Path, shard: str = "2MB") -> Path:
    """An existing model (such as the bundled one) under a hub name, in shards: a model that does write lists."""
    folder = snapshot(cache, repo)
    model = AutoModelForCausalLM.from_pretrained(source, config=AutoConfig.from_pretrained(source))
    model.save_pretrained(folder, max_shard_size=shard)
    for path in source.iterdir():
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, folder / path.name)
    return folder


def write_gemma_scope(cache: Path, saes: Iterable[PublishedSae], config: Gemma2Config) -> list[Path]:
    """params.npz of each SAE at its published path: random unit directions, a threshold that few features pass."""
    written = []
    d_attn = int(config.num_attention_heads * config.head_dim)
    for sae in saes:
        d_in = d_attn if sae.site.kind == "attn_z" else int(config.hidden_size)
        d_sae = sae.d_sae or 2**14
        generator = np.random.default_rng(sae.site.order)
        W_dec = generator.standard_normal((d_sae, d_in), dtype=np.float32)
        W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
        # With random weights each sublayer adds a vector of unit size an entry; heads average over positions.
        size = {"resid_post": (3.0 + 2 * sae.site.layer) ** 0.5, "mlp_out": 1.0, "attn_z": 0.4}[sae.site.kind]
        folder = snapshot(cache, sae.repo) / sae.path
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "params.npz",
            W_enc=np.ascontiguousarray(W_dec.T),
            b_enc=np.zeros(d_sae, np.float32),
            W_dec=W_dec,
            b_dec=np.zeros(d_in, np.float32),
            threshold=np.full(d_sae, 3.2 * size, np.float32),
        )
        written.append(folder / "params.npz")
    return written


def _shards(shapes: dict[str, tuple[int, ...]], limit: int) -> Iterable[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        n_bytes = 2 * int(np.prod(shape))
        if names and size + n_bytes > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += n_bytes
    yield names


def _random(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Gemma's norms store their weight minus one."""
    if "norm" in name:
        return torch.zeros(shape, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    return (0.02 * torch.randn(shape, generator=generator)).to(torch.bfloat16)


if __name__ == "__main__":
    main()
