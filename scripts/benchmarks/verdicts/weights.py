"""Weights of a two-layer Gemma 2 in which every feature's way to the metric is known, and the SAEs that read it.

With d_model 128 and 100 active features whose random directions D are linearly independent, D u = s has a solution for
any wished read s: u is the metric's direction, and no feature needs a direction of its own kind.

- Embedding: token = bias + amounts . D + noise. The bias is a long constant in a coordinate of its own, as real models'
  massive activations are: norms divide by a length that hardly depends on the features, and no feature's number is
  rounded beside a large one.
- Layer 0 adds nothing (its post-norms have the scale 0), so resid_post.0 is the embedding.
- Attention of layer 1 looks at all positions alike (queries are 0) and adds their mean: what the changed tokens carry
  reaches the last one. Its values are a rotation, undone by the output, so attn_z.1 is a rotated mean of the tokens.
- MLP of layer 1 reads the redundant pairs only, through a reader that saturates: gelu(k (r - 1/4)) - gelu(k (r - 1/2))
  is flat where r, the sum of a pair's amounts, is above 0.8, which either member alone reaches.
- The two contrasted tokens have the unembeddings u/2 and -u/2; no prompt holds them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import Gemma2Config

from benchmarks.verdicts.features import CLEAN, CORRUPTED, N_TOKENS, REDUNDANT, PlantedFeatures
from saeattr import bundle
from saeattr.sites import Site

Matrix = NDArray[np.float64]

D_MODEL = 128
#: Token ids: beginning, the two contrasted, the last of every prompt, and the first of the pools.
BOS_ID, WANTED, UNWANTED, LAST, FIRST_TOKEN = 2, 16, 17, 18, 20
#: Length of the constant vector; a feature changes the norm of a token by at most some 1 / BIAS^2 of it.
BIAS = 120.0
#: Mean corrupted-minus-clean metric that is aimed at, in logits: the soft-cap of 30 is nearly straight there.
GAP = 4.0
#: The reader of redundant pairs: slope of its gates, and the amounts between which it rises.
SLOPE, RISE = 15.0, (0.25, 0.5)
#: The MLP's constant output, beside which what its post-norm divides by hardly varies; how strongly u reads its answer.
MLP_CONSTANT, MLP_READ = 10.0, 8.0
#: Standard deviation of an embedding in each direction that no feature has, and of what the metric makes of it.
NOISE, NOISE_SHARE = 0.3, 0.03
#: Units of each MLP: a constant one, and two for each redundant pair.
N_UNITS = 1 + 2 * len(REDUNDANT)
SITES = (Site("resid_post", 0), Site("attn_z", 1))
#: JumpReLU thresholds: above rounding, under all but the least amounts. At attn_z amounts are means over tokens.
THRESHOLDS = {SITES[0]: 1e-2, SITES[1]: 1e-4}


@dataclass(frozen=True)
class Geometry:
    """The vectors of a model in its residual stream, drawn from its seed.

    Attributes:
        directions: of the active features, unit rows, [active, d_model]; dead: those of dead features.
        bias: the first coordinate, 0 in all other vectors here.
        answer, missed: unit vectors off all features and each other: the MLP's output, and what the SAE has no feature
            for though the metric reads it.
        rest: orthonormal rows that span what is left: noise.
        rotation: of the values of layer 1, [d_model, d_model]; it leaves the bias where it is.
    """

    directions: Matrix
    dead: Matrix
    bias: Matrix
    answer: Matrix
    missed: Matrix
    rest: Matrix
    rotation: Matrix


@dataclass(frozen=True)
class Prompts:
    """How many tokens a prompt has, and how many of them the corrupted one swaps."""

    n_tokens: int
    n_changed: int


def draw_geometry(planted: PlantedFeatures, rng: np.random.Generator) -> Geometry:
    n_active, width = planted.amounts.shape[1], D_MODEL - 1
    directions = rng.normal(size=(len(planted.truth), width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The right singular vectors beyond the rank are orthogonal to every feature.
    off = np.linalg.svd(directions[:n_active])[2][n_active:]
    off = _beside_bias(_rotation(len(off), rng) @ off)
    directions, bias = _beside_bias(directions), np.eye(D_MODEL)[0]
    rotation = np.concatenate([bias[None], _beside_bias(_rotation(width, rng))])
    return Geometry(directions[:n_active], directions[n_active:], bias, off[0], off[1], off[2:], rotation)


def _beside_bias(rows: Matrix) -> Matrix:
    """Rows of width d_model - 1 as vectors of the residual stream, off the bias."""
    return np.pad(rows, ((0, 0), (1, 0)))


def write_model(
    planted: PlantedFeatures, prompts: Prompts, geometry: Geometry, rng: np.random.Generator, folder: Path
) -> None:
    """A folder in Hugging Face's format, with the bundled model's tokenizer."""
    folder.mkdir(parents=True)
    embedding = _embedding(planted, geometry, rng)
    u = _metric_direction(planted, prompts, geometry, rng)
    embedding[[WANTED, UNWANTED]] = u / 2, -u / 2
    tensors = {"model.embed_tokens.weight": embedding, "model.norm.weight": np.zeros(D_MODEL)}
    tensors |= _layer(0, -np.ones(D_MODEL))
    # A post-norm's scale makes its output as long as the bias.
    tensors |= _layer(1, np.full(D_MODEL, BIAS / D_MODEL**0.5 - 1))
    tensors["model.layers.1.self_attn.v_proj.weight"] = geometry.rotation
    tensors["model.layers.1.self_attn.o_proj.weight"] = geometry.rotation.T
    tensors |= {f"model.layers.1.mlp.{name}_proj.weight": w for name, w in _mlp(planted, prompts, geometry).items()}
    _config().save_pretrained(folder)
    save_file(_as_float32(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    for path in bundle.MODEL_FOLDER.glob("*token*"):
        shutil.copy(path, folder)


def write_sae(geometry: Geometry, site: Site, order: NDArray[np.int64], folder: Path) -> None:
    """An SAE in sae-lens' format whose feature i has the direction ``order[i]``, and whose activations are the amounts.

    Its encoder is the pseudo-inverse of the directions: no feature's activation depends on another's amount. At attn_z
    an amount is the mean over the tokens seen, divided by the root mean square of each.
    """
    folder.mkdir(parents=True)
    n_active, n_dead = len(geometry.directions), len(geometry.dead)
    decoder = np.concatenate([geometry.directions, geometry.dead])
    encoder = np.concatenate([np.linalg.pinv(geometry.directions), geometry.dead.T], axis=1)
    if site.kind == "attn_z":
        decoder, encoder = decoder @ geometry.rotation.T, geometry.rotation @ encoder
    # Nothing in these models is as long as 1000.
    silent = np.concatenate([np.zeros(n_active), np.full(n_dead, -1e3)])
    tensors = {"W_enc": encoder[:, order], "W_dec": decoder[order], "b_enc": silent[order], "b_dec": np.zeros(D_MODEL)}
    tensors["threshold"] = np.full(len(order), THRESHOLDS[site])
    save_file(_as_float32(tensors), folder / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": D_MODEL, "d_sae": len(order), "normalize_activations": "none"}
    config |= {"apply_b_dec_to_input": False, "metadata": {"hook_name": site.hook_name}}
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


def _embedding(planted: PlantedFeatures, geometry: Geometry, rng: np.random.Generator) -> Matrix:
    """Rows of all tokens, divided by the factor that Gemma multiplies them with."""
    noise = NOISE * rng.normal(size=(N_TOKENS, len(geometry.rest))) @ geometry.rest
    missed = rng.normal(size=N_TOKENS)
    missed[CLEAN] -= missed[CLEAN].mean()
    missed[CORRUPTED] += 1 - missed[CORRUPTED].mean()
    x = np.tile(BIAS * geometry.bias, (FIRST_TOKEN + N_TOKENS, 1))
    x[FIRST_TOKEN:] += planted.amounts @ geometry.directions + noise + np.outer(missed, geometry.missed)
    return x / D_MODEL**0.5


def _metric_direction(
    planted: PlantedFeatures, prompts: Prompts, geometry: Geometry, rng: np.random.Generator
) -> Matrix:
    """u, read from the final norm's output: a feature's read is its share for each unit of its amount."""
    unit = _gap_length() * prompts.n_tokens / prompts.n_changed
    missing = 1 - planted.truth["share"].sum() - sum(REDUNDANT)
    noise = rng.normal(size=len(geometry.rest))
    noise *= NOISE_SHARE * prompts.n_changed**0.5 / (2**0.5 * NOISE * np.linalg.norm(noise))
    u = np.linalg.pinv(geometry.directions) @ planted.reads + missing * geometry.missed + noise @ geometry.rest
    return unit * u + MLP_READ * geometry.answer


def _mlp(planted: PlantedFeatures, prompts: Prompts, geometry: Geometry) -> dict[str, Matrix]:
    """One constant unit, and two for each redundant pair: gelu(k (r - low)) - gelu(k (r - high)), a step of r."""
    constant = geometry.bias / D_MODEL**0.5
    gates, down = [MLP_CONSTANT * constant], [geometry.bias]
    # An amount reaches the MLP divided by n_tokens, beside twice the bias, and normed.
    whole = prompts.n_tokens * 2 * BIAS / D_MODEL**0.5
    size = _gap_length() * MLP_CONSTANT / (BIAS * MLP_READ * SLOPE * (RISE[1] - RISE[0]))
    members = planted.truth.index[planted.truth["kind"] == "redundant"].to_numpy().reshape(-1, 2)
    for pair, share in zip(members, REDUNDANT, strict=True):
        reads = np.isin(np.arange(len(geometry.directions)), pair).astype(float)
        v = whole * np.linalg.pinv(geometry.directions) @ reads
        gates += [SLOPE * (v - at * constant) for at in RISE]
        # Patching takes the pair's amounts away, and its answer with them.
        down += [-share * size * geometry.answer, share * size * geometry.answer]
    return {"gate": np.stack(gates), "up": np.tile(constant, (len(gates), 1)), "down": np.stack(down, axis=1)}


def _gap_length() -> float:
    """What u must find in the residual stream before the final norm, where it holds the bias three times over."""
    return GAP * 3 * BIAS / D_MODEL**0.5


def _layer(layer: int, post_norm: Matrix) -> dict[str, Matrix]:
    """A layer that computes nothing, but for its post-norms; Gemma's norms multiply with 1 + weight."""
    square, wide = np.zeros((D_MODEL, D_MODEL)), np.zeros((N_UNITS, D_MODEL))
    parts = {f"self_attn.{name}_proj": square for name in "qkvo"}
    parts |= {"mlp.gate_proj": wide, "mlp.up_proj": wide, "mlp.down_proj": wide.T}
    parts |= dict.fromkeys(("input_layernorm", "pre_feedforward_layernorm"), np.zeros(D_MODEL))
    parts |= dict.fromkeys(("post_attention_layernorm", "post_feedforward_layernorm"), post_norm)
    return {f"model.layers.{layer}.{name}.weight": value for name, value in parts.items()}


def _config() -> Gemma2Config:
    return Gemma2Config(
        vocab_size=FIRST_TOKEN + N_TOKENS,
        hidden_size=D_MODEL,
        intermediate_size=N_UNITS,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=D_MODEL // 4,
        query_pre_attn_scalar=D_MODEL // 4,
        max_position_embeddings=64,
        bos_token_id=BOS_ID,
        pad_token_id=0,
        architectures=["Gemma2ForCausalLM"],
        dtype="float32",
    )


def _rotation(size: int, rng: np.random.Generator) -> Matrix:
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def _as_float32(tensors: dict[str, Matrix]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float32).contiguous() for name, value in tensors.items()}
