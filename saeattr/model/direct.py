"""The direct path: what heads' outputs write to a metric without passing any later layer.

A head's output goes through its slice of the output weights, attention's norm behind it where the model has one
(Gemma), the residual stream, the final norm and the unembedding. Norms are taken with the scale that they had, so the
path is linear up to the metric itself, which is taken to first order (as is a soft-cap of the logits).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.capture import ReadMetric
from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import hold_scale


@contextmanager
def held_scales(lm: LanguageModel) -> Iterator[None]:
    """While the block runs, gradients through the norms of the direct path see their scales as constants."""
    norms = [lm.bridge.ln_final, *(norm for layer in lm.layers if (norm := norm_behind_attention(layer)) is not None)]
    with ExitStack() as undo:
        for norm in norms:
            for handle in hold_scale(lm, norm):
                undo.callback(handle.remove)
        yield


def norm_behind_attention(layer: torch.nn.Module) -> torch.nn.Module | None:
    """What normalises attention's output before the stream; None in most models."""
    return getattr(layer, "ln1_post", None)


def direct_gradients(
    lm: LanguageModel,
    z: Sequence[Float[Tensor, "batch pos width"]],
    stream: Float[Tensor, "batch pos d_model"],
    read: ReadMetric,
) -> list[Float[Tensor, "batch pos width"]]:
    """d metric / d z of every layer along the direct path, by one backward.

    Args:
        z: what the heads read, by layer (``attn.hook_z``), heads concatenated.
        stream: the residual stream after the last layer, of the same run.
        read: the metric, from the final norm's output.
    """
    leaves = [one.detach().clone().requires_grad_() for one in z]
    with torch.enable_grad(), held_scales(lm):
        written = [attention_writes(lm.layers[layer], leaf) for layer, leaf in enumerate(leaves)]
        # Nothing is added: the stream holds what was written already.
        whole = stream + sum((one - one.detach()).to(stream.device) for one in written)
        values = read(lm.bridge.ln_final(whole))
        return list(torch.autograd.grad(values.sum(), leaves))


def attention_writes(layer: torch.nn.Module, z: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos d_model"]:
    """What the heads of a layer add to the residual stream."""
    attention: torch.nn.Module = layer.attn  # pyright: ignore[reportAssignmentType]
    # The layers may lie on other cards than what was captured of them.
    out: Tensor = attention.o(z.to(next(layer.parameters()).device))  # pyright: ignore[reportCallIssue]
    norm = norm_behind_attention(layer)
    return out if norm is None else norm(out)
