"""The shapes of models known by name, from a file in the package: what a plan needs without any file of the hub.

Nothing slow is imported here. A test holds them against the published numbers of parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SHAPES = Path(__file__).with_name("shapes.yaml")


@dataclass(frozen=True)
class ModelShape:
    """What decides the size of a model's runs.

    Attributes:
        n_kv_heads: heads of keys and values, which several query heads share.
        positions: tokens that it can read.
    """

    model_type: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    vocabulary: int
    positions: int

    @property
    def d_attn(self) -> int:
        """Of the heads concatenated."""
        return self.n_heads * self.d_head


@dataclass(frozen=True)
class KnownShape:
    """A named model's shape.

    Attributes:
        parameters: as the hub counts them, image encoder included; n_bytes: of its files there.
        config: the fields of config.json that make it, for transformers.
    """

    name: str
    shape: ModelShape
    parameters: int
    n_bytes: int
    config: Mapping[str, Any]

    def line(self) -> str:
        """For a reader: one line."""
        shape, text = self.shape, text_part(self.config)
        parts = [f"{shape.n_layers} layers of width {shape.d_model:,}", f"MLPs of {shape.d_mlp:,}"]
        parts.append(f"{shape.n_heads} heads of {shape.d_head} on {shape.n_kv_heads} of keys and values")
        if text.get("sliding_window"):
            parts.append(f"a window of {text['sliding_window']:,} tokens in local layers")
        caps = [text[f"{name}_logit_softcapping"] for name in ("attn", "final") if f"{name}_logit_softcapping" in text]
        if caps:
            parts.append(f"soft-caps {' and '.join(f'{cap:g}' for cap in caps)}")
        tied = "tied" if self.config.get("tie_word_embeddings") else "untied"
        parts.append(f"{shape.vocabulary:,} tokens ({tied} embeddings), {shape.positions:,} positions")
        return "; ".join([*parts, f"{self.parameters:,} parameters"])


@functools.cache
def known_shapes() -> dict[str, KnownShape]:
    """By the name that ``--model`` takes."""
    read: dict[str, Any] = yaml.safe_load(SHAPES.read_text(encoding="utf-8"))
    return {
        name: KnownShape(name, shape_of(one["config"]), n, n * one.get("number_bytes", 2), one["config"])
        for name, one in read.items()
        for n in [int(one["published"])]
    }


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a configuration with an image encoder beside, that of the language model."""
    return config.get("text_config") or config


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """The shape in a configuration's fields, as config.json has them; what it leaves out is as transformers has it.

    Raises:
        KeyError: a size is missing.
    """
    text = text_part(config)

    def size(*names: str) -> int:
        return int(next(text[name] for name in names if text.get(name) is not None))

    if "n_embd" in text:
        d_model, n_heads = size("n_embd"), size("n_head")
        return ModelShape(
            *("gpt2", size("n_layer"), d_model, n_heads, n_heads, d_model // n_heads),
            *(text.get("n_inner") or 4 * d_model, size("vocab_size"), size("n_positions")),
        )
    n_heads, d_model = size("num_attention_heads"), size("hidden_size")
    return ModelShape(
        *(str(text["model_type"]), size("num_hidden_layers"), d_model, n_heads),
        *(size("num_key_value_heads", "num_attention_heads"), text.get("head_dim") or d_model // n_heads),
        *(size("intermediate_size"), size("vocab_size"), size("max_position_embeddings")),
    )
