"""What a feature's decoder direction is near to, and which tokens it writes for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import unembedding
from saeattr.saes.sae import SparseAutoencoder

#: What the direct logits of a feature leave out.
LOGITS_NOTE = (
    "Change of each token's logit by one unit of activation, written straight into the last residual stream: decoder "
    "direction times the final norm's weights, divided by the stream's mean size at the decision points, times the "
    "unembedding. It ignores what later layers make of the direction, that the norm's scale changes with it, and the "
    "final soft-cap."
)


@dataclass(frozen=True)
class NormScales:
    """Mean of 1 / rms at the decision points: of the last residual stream, and of each layer's attention output."""

    final: float
    attention: dict[int, float]


def nearest_features(
    sae: SparseAutoencoder, ids: Int[Tensor, " features"], count: int
) -> tuple[Int[Tensor, "features count"], Float[Tensor, "features count"]]:
    """The features of the same SAE with the largest cosine to each decoder direction, itself left out.

    Returns:
        their indices and cosines, the largest first.
    """
    directions = torch.nn.functional.normalize(sae.W_dec, dim=1)
    cosines = directions[ids] @ directions.T
    cosines[torch.arange(len(ids)), ids] = -torch.inf
    best = cosines.topk(min(count, sae.d_sae - 1), dim=1)
    return best.indices, best.values


@torch.no_grad()
def direct_logits(
    lm: LanguageModel, sae: SparseAutoencoder, ids: Int[Tensor, " features"], scales: NormScales
) -> Float[Tensor, "features vocab"]:
    """Change of every logit by one unit of each feature's activation; what it ignores is in ``LOGITS_NOTE``."""
    directions = residual_directions(lm, sae, ids, scales)
    gain = norm_gain(lm.bridge.ln_final, directions.shape[1], lm)
    scaled = directions * gain * scales.final
    return (scaled.to(lm.dtype) @ unembedding(lm).T).float()


def residual_directions(
    lm: LanguageModel, sae: SparseAutoencoder, ids: Int[Tensor, " features"], scales: NormScales
) -> Float[Tensor, "features d_model"]:
    """What one unit of each feature adds to the residual stream.

    At resid_post and mlp_out that is the decoder direction. At attn_z it goes through the output projection and,
    where the model has one, the norm behind it (at its mean scale).
    """
    directions = sae.W_dec[ids].to(lm.device)
    if sae.site.kind != "attn_z":
        return directions
    projected = project_heads(lm, sae.site.layer, directions) - project_heads(
        lm, sae.site.layer, torch.zeros_like(directions[:1])
    )
    post_norm = getattr(lm.layers[sae.site.layer], "ln1_post", None)
    if post_norm is None:
        return projected
    return projected * norm_gain(post_norm, projected.shape[1], lm) * scales.attention[sae.site.layer]


def project_heads(lm: LanguageModel, layer: int, z: Float[Tensor, "rows d_heads"]) -> Float[Tensor, "rows d_model"]:
    """The attention output projection of a layer."""
    projection: nn.Module = lm.layers[layer].attn.o  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    return projection(z.to(lm.dtype)).float()


@torch.no_grad()
def norm_gain(norm: nn.Module, d_model: int, lm: LanguageModel) -> Float[Tensor, " d_model"]:
    """The weights by which a norm multiplies each channel.

    Read off its answer to a vector of plus and minus ones, whose mean is 0 and whose rms is 1, so that RMS and layer
    norms, and weights stored as 1 + w, need no cases of their own.
    """
    probe = torch.ones(d_model, device=lm.device, dtype=lm.dtype)
    probe[1::2] = -1
    up, down = (norm(sign * probe[None, None])[0, 0].float() for sign in (1, -1))
    return (up - down) / 2 * probe.float()


def inverse_rms(x: Float[Tensor, "rows d_model"]) -> Float[Tensor, " rows"]:
    return x.float().square().mean(1).rsqrt()
