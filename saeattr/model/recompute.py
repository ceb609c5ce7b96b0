"""Run only what an edit can change: the layers above its site, at the positions from its first on.

Nothing below the site changes, and under a causal mask nothing before the first edited position does: its keys and
values are those of the clean run.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.capture import Run
from saeattr.model.loading import LanguageModel
from saeattr.sites import Site


@dataclass(frozen=True)
class Span:
    """Positions ``first`` to ``stop`` (not included) of a run: what is computed again."""

    first: int
    stop: int

    @classmethod
    def whole(cls, run: Run) -> Span:
        return cls(0, run.tokens.shape[1])


def recompute(
    lm: LanguageModel,
    run: Run,
    site: Site,
    x: Float[Tensor, "edits span d_in"],
    rows: Int[Tensor, " edits"],
    span: Span | None = None,
) -> Float[Tensor, "edits span d_model"]:
    """The output of the final norm at the positions of ``span`` when the activation at ``site`` is ``x`` there.

    Before the span everything is as in ``run``; what comes after it has no say in it. Gradients flow from the result to
    ``x`` where they are enabled.

    Args:
        run: captured with ``for_recompute``.
        rows: the row of the run's batch that each edited copy comes from.
        span: all positions by default.
    """
    span = span or Span.whole(run)
    if site.kind == "resid_post":
        return _continue(lm, run, site.layer + 1, x.to(lm.dtype), rows, span)
    # attn_z and mlp_out lie inside a layer: that layer runs again with the edited value put in.
    put_in = [(site.hook_name, lambda value, hook: x.to(value.dtype).contiguous().view_as(value))]
    with lm.bridge.hooks(fwd_hooks=put_in):  # pyright: ignore[reportArgumentType]
        return _continue(lm, run, site.layer, layer_input(run, site.layer, rows, span), rows, span)


def layer_input(run: Run, layer: int, rows: Int[Tensor, " edits"], span: Span) -> Float[Tensor, "edits span d_model"]:
    """What a decoder layer was given in ``run``, for copies of its rows."""
    return run.calls.inputs[layer][:, span.first : span.stop][rows]


def _continue(
    lm: LanguageModel, run: Run, first: int, hidden: Tensor, rows: Int[Tensor, " edits"], span: Span
) -> Float[Tensor, "edits span d_model"]:
    for layer in range(first, lm.n_layers):
        hidden = run_layer(lm, run, layer, hidden, rows, span)
    return lm.bridge.ln_final(hidden)


def run_layer(
    lm: LanguageModel,
    run: Run,
    layer: int,
    hidden: Float[Tensor, "edits span d_model"],
    rows: Int[Tensor, " edits"],
    span: Span,
) -> Float[Tensor, "edits span d_model"]:
    """The output of one decoder layer, called as in ``run`` but with ``hidden`` as its input at the span."""
    n_rows = run.tokens.shape[0]
    kwargs = {
        name: _take_rows(_take_span(name, value, span), rows, n_rows) for name, value in run.calls.kwargs[layer].items()
    }
    if span.first:
        keys, values = _clean_keys_values(lm, run, layer)
        before = slice(None, span.first)
        kwargs["past_key_values"] = _Prefix(keys[:, :, before][rows], values[:, :, before][rows])
    return _call(lm, layer, hidden, kwargs)


def _call(lm: LanguageModel, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    output = lm.layers[layer](hidden, **kwargs)
    return output[0] if isinstance(output, tuple) else output


@dataclass(frozen=True)
class _Prefix:
    """Stands where a layer looks for its cache: hands it the clean keys and values before the span."""

    keys: Float[Tensor, "edits heads before d_head"]
    values: Float[Tensor, "edits heads before d_head"]

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)


class _Seen(Exception):
    """Ends a layer's forward once its keys and values are known."""


class _Recorder:
    """Stands where a layer looks for its cache: takes the keys and values it is given, and goes no further."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.seen += [keys, values]
        raise _Seen


@torch.no_grad()
def _clean_keys_values(lm: LanguageModel, run: Run, layer: int) -> list[Tensor]:
    """Keys and values of a layer in ``run``, each [batch, heads, pos, d_head]: made when first asked for, and kept."""
    known = run.calls.keys_values
    if layer not in known:
        recorder = _Recorder()
        # Stopping there spares the rest of the layer, and hooks of edited copies that do not fit the clean run.
        with suppress(_Seen):
            _call(lm, layer, run.calls.inputs[layer], {**run.calls.kwargs[layer], "past_key_values": recorder})
        known[layer] = recorder.seen
    return known[layer]


def _take_span(name: str, value: Any, span: Span) -> Any:
    """A captured argument at the positions of the span; those that know no positions stay as they are."""
    if value is None:
        return None
    inside = slice(span.first, span.stop)
    if name == "attention_mask":
        # [batch or 1, 1, query, key]: a query sees what stands before the span too.
        return value[:, :, inside, : span.stop]
    if name == "position_embeddings":
        return tuple(part[:, inside] for part in value)
    if name == "position_ids":
        return value[:, inside]
    if name == "cache_position":
        return value[inside]
    return value


def _take_rows(value: Any, rows: Int[Tensor, " edits"], n_rows: int) -> Any:
    """Pick the batch rows of a captured argument; what is shared by all rows (first dimension 1) broadcasts."""
    if isinstance(value, tuple):
        return tuple(_take_rows(part, rows, n_rows) for part in value)
    if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[0] == n_rows > 1:
        return value[rows]
    return value
