"""The residual stream at a few positions after every write, and what the model would say if it ended there.

The logit lens (nostalgebraist 2020): a layer's residual stream goes straight through the final norm, whose scale is
computed anew for it, and through the unembedding rows that are asked for, soft-cap applied. This is the one place that
reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.capture import final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts

#: The transformer-lens name of what enters the first layer.
EMBEDDING = "blocks.0.hook_resid_pre"


@torch.no_grad()
def residuals_at(
    lm: LanguageModel,
    prompts: Prompts,
    row: Int[Tensor, " reads"],
    position: Int[Tensor, " reads"],
    hook_names: Sequence[str],
) -> dict[str, Float[Tensor, "reads d_model"]]:
    """One forward, of which only the wanted positions are kept: what stands at each of some hooks, by its name."""
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[Tensor, Any], None]:
        def keep(x: Tensor, hook: Any) -> None:
            kept[name] = x[row.to(x.device), position.to(x.device)]

        return keep

    hooks = [(name, keeper(name)) for name in hook_names]
    with lm.hooks(hooks):
        final_hidden(lm, prompts)
    return kept


@torch.no_grad()
def as_final(lm: LanguageModel, stream: Float[Tensor, "reads d_model"]) -> Float[Tensor, "reads d_model"]:
    """A residual stream as the final norm would pass it to the unembedding."""
    return lm.final_norm(stream[None])[0]
