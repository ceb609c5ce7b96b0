"""From x and g at a site to the effects of its features, as a careful user of any library would write it.

effect_i = (f_i(corrupted) - f_i(clean)) * (g . W_dec[i]), summed over a pair's tokens; the error term's is the rest of
(x_corrupted - x_clean) . g. Only tokens that can have an effect are encoded, and only active features are multiplied.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.peers.case import Prompts

#: What every contestant returns: by site [pairs, d_sae + 1], the effect of each feature and last of the error term.
Effects = dict[str, Tensor]


@torch.no_grad()
def site_effects(folder: Path, prompts: Prompts, clean: Tensor, corrupted: Tensor, g: Tensor) -> Tensor:
    """Effects of one site in one batch, [pairs, d_sae + 1].

    Args:
        folder: of the SAE, which is read here.
        clean, corrupted, g: [pairs, pos, d_in].
    """
    sae = load_file(folder / "sae_weights.safetensors")
    row = prompts.used.nonzero()[:, 0]
    clean, corrupted, g = clean[prompts.used], corrupted[prompts.used], g[prompts.used]
    f_clean, f_corrupted = (encode(sae, x) for x in (clean, corrupted))
    total = ((corrupted - clean) * g).sum(1)
    return features_and_error(sae["W_dec"], f_corrupted - f_clean, row, total, g, len(prompts.used))


@torch.no_grad()
def dense_effects(folder: Path, prompts: Prompts, clean: Tensor, corrupted: Tensor, g: Tensor) -> Tensor:
    """The same as tutorials write it: every token is encoded, and g multiplies the whole decoder."""
    sae = load_file(folder / "sae_weights.safetensors")
    change = encode(sae, corrupted.flatten(0, 1)) - encode(sae, clean.flatten(0, 1))
    change *= prompts.used.flatten()[:, None]
    features = (change * (g.flatten(0, 1) @ sae["W_dec"].T)).view(*prompts.used.shape, -1).sum(1)
    total = ((corrupted - clean) * g * prompts.used[..., None]).sum((1, 2))
    return torch.cat([features, (total - features.sum(1))[:, None]], dim=1)


def encode(sae: dict[str, Tensor], x: Tensor) -> Tensor:
    """JumpReLU: a feature is active where its pre-activation passes its threshold."""
    pre = torch.addmm(sae["b_enc"], x, sae["W_enc"])
    return pre.mul_(pre > sae["threshold"])


def features_and_error(W_dec: Tensor, change: Tensor, row: Tensor, total: Tensor, g: Tensor, n_rows: int) -> Tensor:
    """The products at entries that change, added up by pair, and what the features leave of ``total``.

    Args:
        change: f_corrupted - f_clean, [tokens, d_sae]; row: the pair of each token.
        total: (x_corrupted - x_clean) . g of each token.
    """
    token, feature = change.nonzero(as_tuple=True)
    effect = change[token, feature] * (W_dec[feature] * g[token]).sum(1)
    effects = torch.zeros(n_rows, change.shape[1] + 1)
    effects.index_put_((row[token], feature), effect, accumulate=True)
    effects[:, -1] = torch.zeros(n_rows).index_add(0, row, total) - effects[:, :-1].sum(1)
    return effects
