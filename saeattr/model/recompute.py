"""Run only the layers above an edited site: nothing below changes, so nothing below is computed again."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.capture import Run
from saeattr.model.loading import LanguageModel
from saeattr.sites import Site


def recompute(
    lm: LanguageModel,
    run: Run,
    site: Site,
    x: Float[Tensor, "edits pos d_in"],
    rows: Int[Tensor, " edits"],
) -> Float[Tensor, "edits pos d_model"]:
    """The output of the final norm when the activation at ``site`` is ``x``.

    ``rows`` names the row of the run's batch that each edited copy comes from. ``run`` must have been captured with
    ``for_recompute``. Gradients flow from the result to ``x`` where they are enabled.
    """
    if site.kind == "resid_post":
        return _continue(lm, run, site.layer + 1, x.to(lm.dtype), rows)
    # attn_z and mlp_out lie inside a layer: that layer runs again with the edited value put in.
    put_in = [(site.hook_name, lambda value, hook: x.to(value.dtype).view_as(value))]
    with lm.bridge.hooks(fwd_hooks=put_in):  # pyright: ignore[reportArgumentType]
        return _continue(lm, run, site.layer, run.calls.inputs[site.layer][rows], rows)


def _continue(
    lm: LanguageModel, run: Run, first: int, hidden: Tensor, rows: Int[Tensor, " edits"]
) -> Float[Tensor, "edits pos d_model"]:
    n_rows = run.tokens.shape[0]
    for layer in range(first, lm.n_layers):
        kwargs = {name: _take_rows(value, rows, n_rows) for name, value in run.calls.kwargs[layer].items()}
        hidden = lm.layers[layer](hidden, **kwargs)
        if isinstance(hidden, tuple):
            hidden = hidden[0]
    return lm.bridge.ln_final(hidden)


def _take_rows(value: Any, rows: Int[Tensor, " edits"], n_rows: int) -> Any:
    """Pick the batch rows of a captured argument; what is shared by all rows (first dimension 1) broadcasts."""
    if isinstance(value, tuple):
        return tuple(_take_rows(part, rows, n_rows) for part in value)
    if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[0] == n_rows > 1:
        return value[rows]
    return value
