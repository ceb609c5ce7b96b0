"""Training one JumpReLU SAE: BatchTopK with an auxiliary loss for idle features, then a fixed threshold.

BatchTopK (arXiv 2412.06410) keeps the largest k * batch activations of a batch; at inference a threshold with the same
mean L0 takes its place, which makes the SAE a JumpReLU. The auxiliary loss is that of arXiv 2406.04093. A nested SAE
(Matryoshka, arXiv 2503.17547) must rebuild x as well as it can from its first 8, 16, 32, ... features alone, so that
what many tokens have in common is a feature of its own and not split over features of single tokens.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from saeattr.sites import Kind, Site


@dataclass(frozen=True)
class SaeRecipe:
    """Size and length of an SAE's training."""

    d_sae: int = 512
    k: float = 23.0
    steps: int = 1000
    batch: int = 2048
    peak_rate: float = 2e-3
    #: A feature that fired for none of so many tokens is idle; so many idle ones rebuild the error.
    idle_tokens: int = 60_000
    aux_features: int = 96
    aux_weight: float = 0.5
    #: When idle features are pointed elsewhere, as shares of the training.
    resample_at: tuple[float, ...] = (0.25, 0.4, 0.55, 0.7)
    #: Nested: the first so many features are trained to rebuild x without the others.
    prefixes: tuple[int, ...] = ()


#: Longer training rebuilds better and leaves more features idle; sites differ in where both are good.
TIMES_STEPS = (1.0, 1.3, 0.8)
#: The loss hardly suffers without one MLP's output, so an SAE must be close for a good share of the loss recovered.
GOOD_UNEXPLAINED: dict[Kind, float] = {"attn_z": 0.015, "mlp_out": 0.007, "resid_post": 0.015}
GOOD_DEAD = 0.07


def train_checked(
    x: Float[Tensor, "tokens d_in"], held_out: Float[Tensor, "others d_in"], site: Site, recipe: SaeRecipe, seed: int
) -> dict[str, Tensor]:
    """Train with each number of steps until the SAE is good on ``held_out``; else the one with the fewest dead."""
    tried = []
    for times in TIMES_STEPS:
        steps = round(recipe.steps * times)
        weights = train_sae(x, dataclasses.replace(recipe, steps=steps), seed)
        unexplained, dead = check(weights, held_out)
        print(f"{site}: {steps} steps, unexplained {unexplained:.4f}, dead {dead:.3f}", flush=True)
        if unexplained <= GOOD_UNEXPLAINED[site.kind] and dead <= GOOD_DEAD:
            return weights
        tried.append((unexplained > 0.02, dead, weights))
    return min(tried, key=lambda one: one[:2])[2]


@torch.no_grad()
def check(weights: dict[str, Tensor], x: Float[Tensor, "tokens d_in"]) -> tuple[float, float]:
    """Fraction of variance unexplained, and share of features that never fire."""
    pre = x @ weights["W_enc"] + weights["b_enc"]
    f = torch.relu(pre) * (pre > weights["threshold"])
    rest = x - (f @ weights["W_dec"] + weights["b_dec"])
    return float(rest.square().sum() / (x - x.mean(0)).square().sum()), float(1 - (f > 0).any(0).float().mean())


def train_sae(x: Float[Tensor, "tokens d_in"], recipe: SaeRecipe, seed: int) -> dict[str, Tensor]:
    """Weights named as sae-lens names them: W_enc, b_enc, W_dec, b_dec, threshold."""
    generator = torch.Generator().manual_seed(seed)
    centre = x.mean(0)
    scale = x.shape[1] ** 0.5 / (x - centre).norm(dim=1).mean()
    data = (x - centre) * scale
    weights = _start(data, recipe, generator)
    optimizer = torch.optim.Adam(list(weights.values()), lr=recipe.peak_rate, betas=(0.9, 0.99))
    since_fired = torch.zeros(recipe.d_sae)
    for step in range(recipe.steps):
        left = 1 - step / recipe.steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak_rate * min(1.0, (step + 1) / 50, left / 0.3)
        batch = data[torch.randint(0, len(data), (recipe.batch,), generator=generator)]
        loss, fired = _loss(batch, weights, recipe, since_fired, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _keep_unit_rows(weights["W_dec"])
        optimizer.step()
        with torch.no_grad():
            weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
            since_fired = torch.where(fired, 0, since_fired + recipe.batch)
            if step in [int(share * recipe.steps) for share in recipe.resample_at]:
                _resample(data, weights, since_fired >= recipe.idle_tokens, recipe, generator)
    with torch.no_grad():
        threshold = _fixed_threshold(data, weights, recipe, generator)
        return _fold(weights, threshold, centre, scale)


def _start(data: Tensor, recipe: SaeRecipe, generator: torch.Generator) -> dict[str, Tensor]:
    """Decoder rows are random data points, the encoder their transpose."""
    rows = data[torch.randint(0, len(data), (recipe.d_sae,), generator=generator)]
    rows = rows + 0.3 * torch.randn(rows.shape, generator=generator)
    W_dec = rows / rows.norm(dim=1, keepdim=True)
    weights = {
        "W_enc": W_dec.T.clone() * 0.5,
        "b_enc": torch.zeros(recipe.d_sae),
        "W_dec": W_dec,
        "b_dec": torch.zeros(data.shape[1]),
    }
    return {name: value.requires_grad_() for name, value in weights.items()}


def _loss(
    batch: Tensor, weights: dict[str, Tensor], recipe: SaeRecipe, since_fired: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    pre = torch.relu((batch - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"])
    f = pre * (pre > _batch_threshold(pre.detach(), recipe, generator))
    error = batch - (f @ weights["W_dec"] + weights["b_dec"])
    variance = batch.square().sum(1).mean()
    loss = error.square().sum(1).mean() / variance
    for n in recipe.prefixes:
        part = batch - (f[:, :n] @ weights["W_dec"][:n] + weights["b_dec"])
        loss = loss + part.square().sum(1).mean() / variance
    loss = loss / (1 + len(recipe.prefixes))
    idle = since_fired >= recipe.idle_tokens
    if idle.any():
        among = ((batch - weights["b_dec"]) @ weights["W_enc"][:, idle]) + weights["b_enc"][idle]
        top = among.topk(min(recipe.aux_features, int(idle.sum())), dim=1)
        sparse = torch.zeros_like(among).scatter(1, top.indices, torch.relu(top.values))
        rebuilt = sparse @ weights["W_dec"][idle]
        left = error.detach()
        loss = loss + recipe.aux_weight * (left - rebuilt).square().sum(1).mean() / left.square().sum(1).mean()
    return loss, (f > 0).any(0)


def _batch_threshold(pre: Tensor, recipe: SaeRecipe, generator: torch.Generator) -> Tensor:
    """The activation that k * batch entries exceed, from a random part of the batch (sorting it all is slow)."""
    part = pre[torch.randint(0, len(pre), (256,), generator=generator)].flatten()
    n_kept = int(recipe.k * 256)
    return part.topk(n_kept).values[-1]


def _keep_unit_rows(W_dec: Tensor) -> None:
    """Take the part along each row out of its gradient: rows are renormalised after the step."""
    assert W_dec.grad is not None
    along = (W_dec.grad * W_dec.detach()).sum(1, keepdim=True)
    W_dec.grad -= along * W_dec.detach()


def _resample(
    data: Tensor, weights: dict[str, Tensor], idle: Tensor, recipe: SaeRecipe, generator: torch.Generator
) -> None:
    """Point idle features at what is rebuilt worst."""
    n = int(idle.sum())
    if n == 0:
        return
    batch = data[torch.randint(0, len(data), (16384,), generator=generator)]
    pre = torch.relu((batch - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"])
    f = pre * (pre > _batch_threshold(pre, recipe, generator))
    error = batch - (f @ weights["W_dec"] + weights["b_dec"])
    picked = torch.multinomial(error.square().sum(1), n, generator=generator)
    rows = error[picked] / error[picked].norm(dim=1, keepdim=True)
    weights["W_dec"][idle] = rows
    weights["W_enc"][:, idle] = 0.5 * rows.T
    weights["b_enc"][idle] = 0.0


def _fixed_threshold(data: Tensor, weights: dict[str, Tensor], recipe: SaeRecipe, generator: torch.Generator) -> Tensor:
    """One threshold for all features with a mean L0 of k over many tokens."""
    part = data[torch.randint(0, len(data), (20_000,), generator=generator)]
    pre = torch.relu((part - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]).flatten()
    return pre.topk(int(recipe.k * 20_000)).values[-1].expand(recipe.d_sae).clone()


def _fold(weights: dict[str, Tensor], threshold: Tensor, centre: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The same SAE on unscaled activations: centre and scale go into encoder, decoder and biases."""
    W_enc, W_dec = weights["W_enc"] * scale, weights["W_dec"] / scale
    b_dec = weights["b_dec"] / scale + centre
    # pre = ((x - centre) * scale - b) W + c; this form reads x itself.
    b_enc = weights["b_enc"] - b_dec @ W_enc
    folded = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "threshold": threshold}
    return {name: value.detach().clone() for name, value in folded.items()}


def save_sae(weights: dict[str, Tensor], site: Site, folder: Path) -> None:
    """Write cfg.json and sae_weights.safetensors as sae-lens does, weights in float16."""
    folder.mkdir(parents=True)
    d_sae, d_in = weights["W_dec"].shape
    is_z = site.kind == "attn_z"
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if is_z else "none",
        "metadata": {
            "model_name": "saeattr-bundled",
            "hook_name": site.hook_name,
            "hook_head_index": None,
            "prepend_bos": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / "sae_weights.safetensors")
