"""Relevance patching's coefficients in place of gradients: the same forward, another backward.

The rules of relevance patching (RelP, arXiv 2508.21258) as detached factors, so that one ordinary backward gives them:

- norms: the scale (and nothing else) is held constant;
- activation functions: y = x * (y / x) with the ratio held constant; so too the soft-cap of the final logits;
- attention: the pattern, with its soft-cap, is held constant, so nothing flows to queries and keys;
- gated products: each factor gets half.

Every step is then linear in what enters it, or shares out what leaves it. What is conserved: in a model without biases,
the sum of x * g over channels and real positions (BOS among them) at any one resid_post site equals each prompt's
metric, if the metric is linear in the logits. Biases keep their own share; at attn_z and mlp_out the sum is the part
that passes through there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel

#: Where activation functions are defined.
_ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
_IN_FORCE: ContextVar[bool] = ContextVar("relevance rules in force", default=False)


@contextmanager
def relevance_rules(lm: LanguageModel) -> Iterator[None]:
    """While the block runs, backwards through ``lm`` give relevance coefficients; forwards stay the same, bit for bit.

    The model is as before when the block ends, also by an exception.

    Raises:
        UserError: the model has a part that no rule is known for.
    """
    with ExitStack() as undo:
        for norm in _norms(lm):
            for handle in hold_scale(lm, norm):
                undo.callback(handle.remove)
        for layer in lm.layers:
            attention, activation, gated_output = _parts(lm, layer)
            undo.callback(attention.hook_pattern.register_forward_hook(_detach).remove)
            undo.callback(activation.register_forward_hook(_hold_activation).remove)
            if gated_output is not None:
                undo.callback(gated_output.register_forward_pre_hook(_halve).remove)
        token = _IN_FORCE.set(True)
        undo.callback(_IN_FORCE.reset, token)
        yield


def hold_ratio(x: Tensor, y: Tensor) -> Tensor:
    """``y``, an element-wise function of ``x``, with the gradient of x * (y / x), the ratio held constant.

    Outside ``relevance_rules`` it is ``y`` as it is. Where x is 0 the ratio is taken as 0: there is nothing to share.
    """
    if not (_IN_FORCE.get() and x.requires_grad):
        return y
    with torch.no_grad():
        ratio = torch.where(x == 0, 0, y / x)
    return _with_gradient_of(y, x * ratio)


class _Swap(torch.autograd.Function):
    """The first argument's value, the second one's gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, linear: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, Tensor]:
        return None, grads[0]


def _with_gradient_of(value: Tensor, linear: Tensor) -> Tensor:
    result = _Swap.apply(value.detach(), linear)
    assert isinstance(result, Tensor)
    return result


def _detach(module: nn.Module, args: Any, pattern: Tensor) -> Tensor:
    return pattern.detach()


def _hold_activation(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return hold_ratio(args[0], y)


def _halve(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """The product of two factors that each pass on half: half the gradient of the product."""
    if not args[0].requires_grad:
        return None
    return (_with_gradient_of(args[0], 0.5 * args[0]), *args[1:])


def hold_scale(lm: LanguageModel, norm: Any) -> list[Any]:
    """Let a norm's gradient see its centring and its weights, not its scale.

    The swap happens where the norm's result enters its hook point, so a site there reads what later layers read.
    """
    gain, bias = _gain_and_bias(lm, norm.original_component)
    entered: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        entered[:] = [args[0]]

    def leave(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        x = entered.pop()
        if not x.requires_grad:
            return None
        y = args[0]
        linear = x.float() * gain if norm.uses_rms_norm else (x.float() - x.float().mean(-1, keepdim=True)) * gain
        with torch.no_grad():
            # The scale is read off the result, so the norm's epsilon needs no name.
            scale = ((y.float() - bias) * linear).sum(-1, keepdim=True)
            scale = scale / linear.square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (_with_gradient_of(y, (linear * scale).to(y.dtype)), *args[1:])

    return [norm.register_forward_pre_hook(enter), norm.hook_out.register_forward_pre_hook(leave)]


@torch.no_grad()
def _gain_and_bias(lm: LanguageModel, norm: nn.Module) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """What a norm multiplies and adds, from its answers to plus and minus ones, whose mean is 0 and whose rms is 1."""
    probe = torch.ones(lm.hf.config.get_text_config().hidden_size, device=lm.device, dtype=lm.dtype)
    probe[1::2] = -1
    up, down = norm(probe[None, None])[0, 0].float(), norm(-probe[None, None])[0, 0].float()
    return (up - down) / 2 * probe.to(up), (up + down) / 2


def _norms(lm: LanguageModel) -> list[Any]:
    """The norms of the residual stream; those of queries and keys lie behind the pattern."""
    from transformer_lens.model_bridge.generalized_components.normalization import NormalizationBridge

    norms = [lm.bridge.ln_final]
    for layer in lm.layers:
        behind = set(getattr(layer, "attn", nn.Module()).modules())
        norms += [part for part in layer.modules() if isinstance(part, NormalizationBridge) and part not in behind]
    return norms


def _parts(lm: LanguageModel, layer: Any) -> tuple[Any, nn.Module, nn.Module | None]:
    """Attention, activation function, and the projection that reads the gated product (None without a gate)."""
    from transformer_lens.model_bridge.generalized_components.gated_mlp import GatedMLPBridge

    mlp = getattr(layer, "mlp", None)
    modules = [] if mlp is None else list(mlp.modules())
    functions = [part for part in modules if type(part).__module__ in _ACTIVATIONS]
    if len(functions) != 1 or not hasattr(getattr(layer, "attn", None), "hook_pattern"):
        raise UserError(
            f"relevance patching has no rule for a layer of {lm.name}, which is not attention and an MLP with one "
            "activation function: use --method attribution or ig"
        )
    return layer.attn, functions[0], mlp.out if isinstance(mlp, GatedMLPBridge) else None
