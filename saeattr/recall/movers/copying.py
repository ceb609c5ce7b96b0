"""Whether a head copies: which tokens what it writes of an entity raises most (Wang et al. 2022, section 3.1).

A head's value at the entity's last token goes through its slice of the output weights, attention's norm behind it where
there is one (Gemma), the final norm and the unembedding; nothing else is in the stream. Of norms and projections only
what is linear counts, scale apart: a bias is not of the entity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.direct import norm_behind_attention
from saeattr.model.loading import LanguageModel


@torch.no_grad()
def written_of(lm: LanguageModel, layer: int, value: Float[Tensor, "facts heads d_head"]) -> Tensor:
    """What each head of a layer alone gives the unembedding of a value that it reads in full: [facts, heads, d_model].

    Args:
        value: for each query head that of its key and value head.
    """
    block = lm.layers[layer]
    n_heads = value.shape[1]
    # In row h of a fact only head h reads something.
    z = torch.diag_embed(value.transpose(1, 2)).permute(0, 2, 3, 1).reshape(len(value), n_heads, -1)
    out: Callable[[Tensor], Tensor] = block.attn.o  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
    written = _odd(out, z.to(next(block.parameters())))
    behind = norm_behind_attention(block)
    if behind is not None:
        written = _odd(behind, written)
    final = lm.bridge.ln_final
    return _odd(final, written.to(next(final.parameters()).device))


def _odd(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What of an affine projection or a norm has no bias: its odd part."""
    return (function(x) - function(-x)) / 2
