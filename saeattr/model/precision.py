"""The same weights in float32, one decoder layer at a time: what a run in bfloat16 rounds away.

A float32 copy of a model does not fit where its bfloat16 one just does. One layer's does: forward layer by layer, then
backward layer by layer, each converted in place and back, which loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saeattr.model.capture import ReadMetric, Run, capture
from saeattr.model.hookpoints import HookPoint
from saeattr.model.loading import LanguageModel, load_model
from saeattr.model.prompts import Prompts
from saeattr.sites import Site


def run_in_float32(lm: LanguageModel, run: Run, sites: Sequence[Site], metric: ReadMetric) -> Run:
    """x, g and the metric of ``run`` again, every layer and the final norm computed in float32.

    ``run`` must have been captured with its ``calls`` kept. What comes before the first layer (embeddings, mask, rotary
    angles) is kept as it was rounded. Costs two forwards and a backward, and one layer in float32.
    """
    inputs = [run.calls.inputs[0].float()]
    with torch.no_grad():
        for layer in range(lm.n_layers):
            inputs.append(_call_layer(lm, run, layer, inputs[-1]))
    top = inputs[-1].requires_grad_()
    with torch.enable_grad(), _float32(lm.bridge.ln_final):
        values = metric(lm.final_norm(top))
        (slope,) = torch.autograd.grad(values.sum(), [top])
    x: dict[HookPoint, Tensor] = {}
    g: dict[HookPoint, Tensor] = {}
    for layer in reversed(range(min(site.layer for site in sites), lm.n_layers)):
        seen: dict[Site, Tensor] = {}
        hooks = [(site.hook_name, _reader(site, seen)) for site in sites if site.layer == layer]
        below = inputs[layer].requires_grad_()
        with torch.enable_grad(), lm.hooks(hooks):
            above = _call_layer(lm, run, layer, below)
            slopes = torch.autograd.grad(above, [below, *seen.values()], slope)
        slope = slopes[0]
        # Gathered on the first card, as ``capture`` does.
        x |= {site: value.detach().flatten(2).to(lm.device) for site, value in seen.items()}
        g |= {site: value.flatten(2).to(lm.device) for site, value in zip(seen, slopes[1:], strict=True)}
    return Run(run.lm, run.prompts, x, g, values.detach().to(lm.device), run.calls)


def _call_layer(lm: LanguageModel, run: Run, layer: int, hidden: Tensor) -> Tensor:
    with _float32(lm.layers[layer]):
        output = lm.layers[layer](hidden, **_as_float32(run.calls.kwargs[layer]))
    return output[0] if isinstance(output, tuple) else output


def _reader(site: Site, seen: dict[Site, Tensor]) -> Callable[..., Tensor]:
    def read(x: Tensor, hook: Any) -> Tensor:
        seen[site] = x
        return x

    return read


def _as_float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_float32(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_as_float32(part) for part in value)
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


@contextmanager
def _float32(module: nn.Module) -> Iterator[None]:
    """A module's parameters and buffers in float32 while the block runs; each is as before afterwards, bit for bit."""
    tensors = [tensor for tensor in [*module.parameters(), *module.buffers()] if tensor.is_floating_point()]
    before = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, data in zip(tensors, before, strict=True):
            tensor.data = data


@contextmanager
def layers_in_float32(lm: LanguageModel) -> Iterator[None]:
    """While the block runs, every decoder layer and the final norm compute in float32, converted one at a time.

    What is captured then is float32 too; what comes before the first layer is kept as it was rounded.
    """
    with ExitStack() as undo:
        for module in (*lm.layers, lm.bridge.ln_final):
            converted = ExitStack()

            def enter(
                module: nn.Module, args: Any, kwargs: dict[str, Any], converted: ExitStack = converted
            ) -> tuple[Any, dict[str, Any]]:
                converted.enter_context(_float32(module))
                return _as_float32(args), _as_float32(kwargs)

            def leave(module: nn.Module, args: Any, output: Any, converted: ExitStack = converted) -> None:
                converted.close()

            for handle in (
                module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
                # However the layer ends.
                module.register_forward_hook(leave, always_call=True),
            ):
                undo.callback(handle.remove)
        yield


#: Relative difference of gradients that float32 rounding does not explain.
TOLERANCE = 1e-2


def device_warning(device: torch.device) -> str | None:
    """Compare the bundled model's activations and gradients on ``device`` with the CPU's; a line where they differ."""
    on_cpu, there = (_small_case(name) for name in ("cpu", str(device)))
    # torch's maximum keeps NaN, and NaN is a difference too.
    worst = float(torch.stack([(a - b).norm() / a.norm() for a, b in zip(on_cpu, there, strict=True)]).max())
    if worst <= TOLERANCE:
        return None
    return (
        f"{device} computes something else than the CPU here (the bundled model's gradients differ by {worst:.0%}): "
        "use --device cpu, or another version of torch"
    )


def _small_case(device: str) -> list[torch.Tensor]:
    """x and g at an early and a late site for two short rows of the bundled model, on the CPU."""
    lm = load_model("bundled", device=device)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 200, (2, 24), generator=generator)
    mask = torch.arange(24) < torch.tensor([[24], [17]])
    sites = [Site("attn_z", 1), Site("resid_post", lm.n_layers - 2)]
    run = capture(lm, Prompts(tokens, mask), sites, lambda hidden: hidden[:, 12].float().square().sum(1), keep=("g",))
    rows = mask[:, :13].nonzero(as_tuple=True)
    return [values[site].cpu().float()[rows] for values in (run.x, run.g) for site in sites]
