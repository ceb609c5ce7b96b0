"""Attribution patching of SAE features at one site, from cached activations and gradients.

effect_i = (f_i^base - f_i^clean) * (g . W_dec[i]): the first-order change of the metric when feature i is patched to
its base value (Nanda 2023; sparse feature circuits, arXiv 2403.19647). The error term e = x - x_hat is a member like
any feature: (e^base - e^clean) . g. Gradients never pass through an SAE, so a site's attributions do not depend on
which other SAEs are used, and SAEs can be streamed past the cached (x, g) one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.runs.base import SiteBase, token_chunks
from saeattr.runs.batch import SiteTokens
from saeattr.saes.sae import SparseAutoencoder


@dataclass(frozen=True)
class SiteAttribution:
    """Effects at one site, sparse: one entry for each active (token, feature).

    Attributes:
        token: index into the site's tokens; feature: index into the SAE.
        act_clean, act_base, grad, effect: per entry; grad is g . W_dec[feature].
        features_effect, error_effect: per token, the sum over all features and the error term's effect.
        l0, squared_error: active features and |x - x_hat|^2, per token of the clean run.
    """

    token: Int[Tensor, " entries"]
    feature: Int[Tensor, " entries"]
    act_clean: Float[Tensor, " entries"]
    act_base: Float[Tensor, " entries"]
    grad: Float[Tensor, " entries"]
    effect: Float[Tensor, " entries"]
    features_effect: Float[Tensor, " tokens"]
    error_effect: Float[Tensor, " tokens"]
    l0: Float[Tensor, " tokens"]
    squared_error: Float[Tensor, " tokens"]


@dataclass(frozen=True)
class SiteEffects:
    """One SAE on one batch.

    Attributes:
        tokens: those that can have an effect, with the method's g.
        found: their attributions.
        total: exact effect of patching the whole site, [batch]; NaN where it was not measured.
        rebuilt: exact effect of the SAE's reconstruction in place of x, [batch]; likewise.
    """

    tokens: SiteTokens
    found: SiteAttribution
    total: Float[Tensor, " batch"]
    rebuilt: Float[Tensor, " batch"]


def attribute_site(base: SiteBase, tokens: SiteTokens) -> SiteAttribution:
    """Attribute the metric to every feature of one SAE.

    An entry is kept where a feature has one (``SiteBase.entries``); what the mean base sets elsewhere counts in
    ``features_effect`` only.
    """
    parts = [_attribute_chunk(base, tokens, chunk) for chunk in token_chunks(base.sae, len(tokens.row))]
    return SiteAttribution(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _attribute_chunk(base: SiteBase, tokens: SiteTokens, chunk: slice) -> tuple[Tensor, ...]:
    """The columns of ``SiteAttribution`` for a slice of tokens.

    Nothing is decoded densely: x_hat is linear in f, so the features' part of (x_base - x_clean) . g is the sum of
    their effects, and the error term's is the rest.
    """
    sae, clean, g = base.sae, tokens.clean[chunk], tokens.g[chunk]
    corrupted = None if tokens.corrupted is None else tokens.corrupted.take(chunk)
    f_clean = sae.encode(clean)
    entry, f_base = base.entries(f_clean, corrupted)
    token, feature = entry.nonzero(as_tuple=True)
    act_clean, act_base = f_clean[token, feature], f_base[token, feature]
    # Counted among the entries, which every active feature has: the dense activations are not gone over again.
    l0 = torch.bincount(token[act_clean > 0], minlength=len(clean))
    x_hat, grad = _decode_with_gradient(sae, torch.bincount(token, minlength=len(clean)), feature, act_clean, g)
    effect = (act_base - act_clean) * grad
    if base.means is None:
        features_effect = effect.new_zeros(len(clean)).index_add(0, token, effect)
    else:
        # Features without an entry have a base value too.
        features_effect = ((sae.decode(base.means.f[None]) - x_hat) * g).sum(1)
    error_effect = ((base.activation(clean, corrupted) - clean) * g).sum(1) - features_effect
    squared_error = (clean - x_hat - sae.rest(clean)).square().sum(1)
    token = token + chunk.start
    return token, feature, act_clean, act_base, grad, effect, features_effect, error_effect, l0.float(), squared_error


def _decode_with_gradient(
    sae: SparseAutoencoder,
    counts: Int[Tensor, " tokens"],
    feature: Int[Tensor, " entries"],
    activation: Float[Tensor, " entries"],
    g: Float[Tensor, "tokens d_in"],
) -> tuple[Float[Tensor, "tokens d_in"], Float[Tensor, " entries"]]:
    """x_hat, and g . W_dec[feature] for the entries alone: L0 rows of the decoder a token, not d_sae.

    ``counts`` is the number of entries of each token. A weighted sum of decoder rows has g . W_dec[i] as its gradient
    with respect to weight i, so one kernel and its backward give both without gathering the rows into a copy.
    """
    with torch.enable_grad():
        weights = activation.detach().requires_grad_()
        rows = torch.nn.functional.embedding_bag(
            feature, sae.W_dec, counts.cumsum(0) - counts, mode="sum", per_sample_weights=weights
        )
        (grad,) = torch.autograd.grad(rows, weights, g)
    return rows.detach() + sae.b_dec, grad
