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
        values = read(lm.final_norm(whole))
        return list(torch.autograd.grad(values.sum(), leaves))


def attention_writes(layer: torch.nn.Module, z: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos d_model"]:
    """What the heads of a layer add to the residual stream."""
    attention: torch.nn.Module = layer.attn  # pyright: ignore[reportAssignmentType]
    # The layers may lie on other cards than what was captured of them.
    out: Tensor = attention.o(z.to(next(layer.parameters()).device))  # pyright: ignore[reportCallIssue]
    norm = norm_behind_attention(layer)
    return out if norm is None else norm(out)


@torch.no_grad()
def head_outputs(
    lm: LanguageModel, layer: int, z: Float[Tensor, "rows width"], n_heads: int
) -> Float[Tensor, "rows heads d_model"]:
    """What each head of a layer adds to the residual stream, float32.

    Where a norm lies behind attention, every head gets the scale that their sum had. Without the output weights' bias,
    which no head writes: with it the heads add up to what attention adds.
    """
    block = lm.layers[layer]
    attention: torch.nn.Module = block.attn  # pyright: ignore[reportAssignmentType]
    z = z.to(next(block.parameters()).device)
    of_head = torch.arange(n_heads, device=z.device).repeat_interleave(z.shape[1] // n_heads)
    apart = z[:, None, :] * (of_head == torch.arange(n_heads, device=z.device)[:, None])
    together = torch.cat([apart, z[:, None], torch.zeros_like(z[:, None])], dim=1)
    written: Tensor = attention.o(together)  # pyright: ignore[reportCallIssue]
    heads, whole, bias = written[:, :n_heads], written[:, n_heads], written[:, n_heads + 1]
    heads = heads.float() - bias.float()[:, None]
    norm = norm_behind_attention(block)
    if norm is None:
        return heads
    # A norm without centring multiplies each channel: read off what it made of the sum.
    passed: Tensor = norm(whole[None])[0]
    return heads * torch.where(whole == 0, 0.0, passed.float() / whole.float())[:, None]
