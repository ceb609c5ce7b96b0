"""One forward (and one backward) of a padded batch: activations x and gradients g at every wanted site."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.hookpoints import HookPoint, by_position
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts, model_inputs

#: From the output of the final norm, [batch, pos, d_model], to one number per prompt, [batch].
ReadMetric = Callable[[Tensor], Tensor]

#: What a run keeps beside x: gradients, and what the layers were called with.
Keep = Literal["g", "calls"]


@dataclass(frozen=True)
class LayerCalls:
    """What each decoder layer was called with, in order: its input [batch, pos, d_model] and its keyword arguments.

    ``keys_values``: by layer, both [batch, heads, pos, d_head]; ``recompute`` adds them where it needs them.
    """

    inputs: list[Float[Tensor, "batch pos d_model"]] = field(default_factory=list)
    kwargs: list[dict[str, Any]] = field(default_factory=list)
    keys_values: dict[int, list[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What one forward of a batch left behind.

    Attributes:
        lm: the model that ran.
        prompts: the padded batch.
        x: activations by site (or other hook point), detached, as ``by_position`` lays them out.
        g: d metric / d x by site, same shapes; empty when no gradient was asked for.
        metric: one number per prompt, [batch]; None without a metric.
        calls: the decoder layers' inputs and arguments, for ``recompute``; empty when not asked for.
    """

    lm: LanguageModel
    prompts: Prompts
    x: dict[HookPoint, Float[Tensor, "batch pos d_in"]]
    g: dict[HookPoint, Float[Tensor, "batch pos d_in"]]
    metric: Float[Tensor, " batch"] | None
    calls: LayerCalls


def capture(
    lm: LanguageModel,
    prompts: Prompts,
    sites: Sequence[HookPoint],
    metric: ReadMetric | None = None,
    keep: Collection[Keep] = (),
) -> Run:
    """Run the model once; read x at every site and what else is to be kept.

    Rows are padded on the right: under a causal mask no real position sees the padding. The graph starts at the
    first wanted site, so layers below it cost no backward. Gradients are of the plain model: no SAE is in the path.

    Args:
        metric: read from the final norm's output; g is its gradient.
        keep: ``g`` (d metric / d x by one backward) and ``calls`` (what ``recompute`` needs).
    """
    gradients, for_recompute = "g" in keep, "calls" in keep
    if gradients and metric is None:
        raise ValueError("gradients need a metric")
    seen: dict[HookPoint, Tensor] = {}

    def reader(site: HookPoint) -> Callable[..., Tensor]:
        def read(x: Tensor, hook: Any) -> Tensor:
            # Everything is frozen, so the first site reached is where the graph begins.
            if gradients and not x.requires_grad:
                x = x.detach().requires_grad_()
            seen[site] = x
            return x

        return read

    hooks = [(site.hook_name, reader(site)) for site in sites]
    calls = LayerCalls()
    with torch.set_grad_enabled(gradients), lm.hooks(hooks):
        with _record_calls(lm, calls) if for_recompute else nullcontext():
            hidden = final_hidden(lm, prompts)
        values = metric(hidden) if metric is not None else None
    g: dict[HookPoint, Tensor] = {}
    if gradients and values is not None:
        # The metric of a prompt depends on its own row only, so the sum's gradient is each prompt's own.
        slopes = torch.autograd.grad(values.sum(), list(seen.values()))
        g = {site: by_position(site, slope).to(lm.device) for site, slope in zip(seen, slopes, strict=True)}
    # With the layers on several cards, all sites are gathered on the first, where the SAEs are.
    x = {site: by_position(site, value.detach()).to(lm.device) for site, value in seen.items()}
    return Run(lm, prompts, x, g, None if values is None else values.detach().to(lm.device), calls)


def final_hidden(lm: LanguageModel, prompts: Prompts) -> Float[Tensor, "batch pos d_model"]:
    """The output of the final norm; no logits are computed.

    Raises:
        UserError: rows have branches, and the model cannot be told what each token sees.
    """
    return lm.hf.base_model(**model_inputs(lm, prompts), use_cache=False).last_hidden_state


@contextmanager
def _record_calls(lm: LanguageModel, calls: LayerCalls) -> Iterator[None]:
    """Keep each decoder layer's input and keyword arguments."""

    def record(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = dict(kwargs)
        hidden = args[0] if args else kwargs.pop("hidden_states")
        calls.inputs.append(hidden.detach())
        calls.kwargs.append(kwargs)

    handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in lm.layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
