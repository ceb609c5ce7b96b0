"""Random weights in the exact names and layout of the real files, as a cache folder of the Hugging Face hub.

    python scripts/make_random_checkpoint.py CACHE [--model gemma-2-2b-it] [--preset toy|full] [--layers 0,1,2]
    HF_HUB_CACHE=CACHE HF_HUB_OFFLINE=1 python -m saeattr plan --model gemma-2-2b-it --layers 0,1,2

Writes for example models--google--gemma-2-2b-it (config.json, sharded safetensors with their index, a tokenizer with
Gemma's special tokens and chat template) and models--google--gemma-scope-2b-pt-{res,att,mlp} (params.npz at the
published paths). toy: width 64, 4 layers; full: the shape of Gemma 2 2B (2.6 billion parameters in bfloat16), shard by
shard. The first Gemma, Gemma 3 and GPT-2 are made as toys.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from random_saes import write_saes
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from saeattr import bundle
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_tokenizer, site_widths
from saeattr.saes.catalogue import PublishedSae, pick_saes

REVISION = "0" * 40
#: Bytes in a shard of the weights.
SHARD_BYTES = {"toy": 200_000, "full": 2 * 10**9}

_TOY = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}

#: Layers that look at fewer positions than a short prompt has, and the sixth, which looks at all.
_TOY_BOTH_KINDS = {**_TOY, "num_hidden_layers": 6, "sliding_window": 4}

#: The hub's older names of a multimodal Gemma 3's parts, by the names that transformers has now.
_GEMMA_3_PARTS = {
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--model", choices=sorted(MODELS), default="gemma-2-2b-it")
    parser.add_argument("--saes", help="releases of sae-lens' directory, with commas; default: the model's own")
    parser.add_argument("--preset", choices=("toy", "full"), default="toy")
    parser.add_argument("--layers", default="0,1,2", help="layers to write SAEs for, where published ones are")
    parser.add_argument("--kinds", default="resid_post,attn_z,mlp_out")
    options = parser.parse_args()
    known = MODELS[options.model]
    config = gemma_2("full") if options.preset == "full" else toy(options.model)
    write_model(options.cache, known.hub, config, load_tokenizer(bundle.MODEL_FOLDER), SHARD_BYTES[options.preset])
    layers = {int(layer) for layer in options.layers.split(",")}
    kinds = options.kinds.split(",")
    chosen = [
        sae
        for site, sae in pick_saes(options.saes.split(",") if options.saes else known.releases, known.width).items()
        if site.layer in layers and site.kind in kinds
    ]
    write_published(options.cache, chosen, known.hub)
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
    return Gemma2Config(**_TOY, query_pre_attn_scalar=16, sliding_window=32)  # pyright: ignore[reportArgumentType]


def toy(model: str) -> PreTrainedConfig:
    """The architecture of a named model, very small: Gemma 3 from 4B on has an image encoder too.

    The first Gemma 2B has one key and value head for all queries. Of Gemma 3 12B there are layers of both kinds.
    """
    if model == "gpt2":
        return GPT2Config(vocab_size=2048, n_positions=256, n_embd=64, n_layer=4, n_head=4)
    if model == "llama":
        return LlamaConfig(**_TOY)  # pyright: ignore[reportArgumentType]
    if model == "gemma-2b":
        return GemmaConfig(**{**_TOY, "num_key_value_heads": 1})  # pyright: ignore[reportArgumentType]
    if not model.startswith("gemma-3"):
        return gemma_2("toy")
    sizes = _TOY_BOTH_KINDS if "12b" in model else {**_TOY, "sliding_window": 32}
    text = Gemma3TextConfig(**sizes, query_pre_attn_scalar=16)  # pyright: ignore[reportArgumentType]
    if "1b" in model:
        return text
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    return Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)


def snapshot(cache: Path, repo: str) -> Path:
    """The folder of a repository's only revision in a hub cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(REVISION, encoding="ascii")
    folder = root / "snapshots" / REVISION
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_model(
    cache: Path, repo: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, shard_bytes: int
) -> Path:
    """config.json, tokenizer and random weights in shards, one shard in memory at a time."""
    folder = snapshot(cache, repo)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shapes = {_hub_name(name, config): tuple(value.shape) for name, value in model.state_dict().items()}
    # Tied to the embedding in all these models.
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


def write_published(cache: Path, saes: Iterable[PublishedSae], repo: str) -> list[Path]:
    """Random SAEs at their published paths, as wide as the model of ``repo`` in the same cache."""
    return write_saes([(sae, snapshot(cache, sae.repo)) for sae in saes], site_widths(snapshot(cache, repo)))


def _hub_name(name: str, config: PreTrainedConfig) -> str:
    if config.model_type == "gpt2":
        return name.removeprefix("transformer.")
    for now, stored in _GEMMA_3_PARTS.items():
        if name.startswith(now):
            return stored + name.removeprefix(now)
    return name


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
    """Gemma's norms store their weight minus one; GPT-2's and Llama's store it whole."""
    if "norm" in name:
        return torch.zeros(shape, dtype=torch.bfloat16)
    if "ln_" in name:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    return (0.02 * torch.randn(shape, generator=generator)).to(torch.bfloat16)


if __name__ == "__main__":
    main()
