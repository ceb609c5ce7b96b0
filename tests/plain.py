"""An independent way to read and edit activations: torch module hooks on the plain Hugging Face Gemma 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from saeattr.behaviours.pair import Point
from saeattr.sites import Site

Edit = Callable[[Tensor], Tensor]


@contextmanager
def edited(model: Any, site: Site, edit: Edit) -> Iterator[None]:
    """Pass the activation at ``site`` through ``edit`` while the model runs; it sees [batch, pos, d_in]."""
    layer = model.model.layers[site.layer]
    if site.kind == "resid_post":
        handle = layer.register_forward_hook(lambda module, args, out: edit(out))
    elif site.kind == "mlp_out":
        handle = layer.post_feedforward_layernorm.register_forward_hook(lambda module, args, out: edit(out))
    else:
        handle = layer.self_attn.o_proj.register_forward_pre_hook(lambda module, args: (edit(args[0]),))
    try:
        yield
    finally:
        handle.remove()


def read(model: Any, site: Site, ids: tuple[int, ...]) -> Tensor:
    """The activation at a site for one unpadded prompt, [pos, d_in]."""
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return x

    with torch.no_grad(), edited(model, site, keep):
        model(input_ids=torch.tensor([ids]))
    return seen[0][0]


def metric(model: Any, ids: tuple[int, ...], position: int, plus: int, minus: int) -> Tensor:
    """logit(plus) - logit(minus) at one position, from the model's own full logits."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, position]
    return logits[plus] - logits[minus]


def at_point(model: Any, ids: tuple[int, ...], point: Point) -> Tensor:
    """logit(wanted) - logit(unwanted) at a decision point that contrasts one token with one."""
    (wanted,), (unwanted,) = point.wanted, point.unwanted
    return metric(model, ids, point.position, wanted, unwanted)
