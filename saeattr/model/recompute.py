"""Run only what an edit can change: the layers above its site, at the positions from its first on.

Nothing below the site changes, and under a causal mask nothing before the first edited position does: its keys and
values are those of the clean run.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.capture import Run
from saeattr.model.hookpoints import HookPoint, as_hooked
from saeattr.model.loading import LanguageModel


@dataclass(frozen=True)
class Span:
    """Positions ``first`` to ``stop`` (not included) of a run: what is computed again."""

    first: int
    stop: int

    @classmethod
    def whole(cls, run: Run) -> Span:
        return cls(0, run.prompts.tokens.shape[1])


def recompute(
    run: Run,
    site: HookPoint,
    x: Float[Tensor, "edits span d_in"],
    rows: Int[Tensor, " edits"],
    span: Span | None = None,
    at: Int[Tensor, "edits reads"] | None = None,
) -> Float[Tensor, "edits reads d_model"]:
    """The output of the final norm when the activation at ``site`` is ``x`` at the positions of ``span``.

    Before the span everything is as in ``run``; what comes after it has no say in it. Gradients flow from the result to
    ``x`` where they are enabled.

    Args:
        run: captured with its ``calls`` kept.
        x: as ``by_position`` lays it out.
        rows: the row of the run's batch that each edited copy comes from.
        span: all positions by default.
        at: the positions of each copy that are wanted, within the span; by default all of it. The last layer then
            computes keys and values for the span, and the rest for these alone.
    """
    lm, span = run.lm, span or Span.whole(run)
    if site.lies in ("input", "output"):
        # As the run was made: it may have been in float32 whatever the model's dtype.
        x = x.to(run.calls.inputs[0].dtype)
        return _continue(run, site.layer + (site.lies == "output"), x, rows, span, at)
    # It lies inside a layer: that layer runs again with the edited value put in.
    last, wanted = site.layer == lm.n_layers - 1, at
    if at is not None and last:
        if site.lies == "attention":
            # Each position has a say in the others' there.
            wanted = None
        elif _knows_mask(run, site.layer):
            x = _take_positions(x, at, span)
    put_in = [(site.hook_name, lambda value, hook: as_hooked(site, x, value))]
    hidden = layer_input(run, site.layer, rows, span)
    if span.first:
        # Made and kept before the edit is put in, which they are to know nothing of.
        _clean_keys_values(lm, run, site.layer)
    with lm.hooks(put_in):
        hidden = run_layer(run, site.layer, hidden, rows, span, wanted)
    if not last:
        return _continue(run, site.layer + 1, hidden, rows, span, at)
    if at is not None and wanted is None:
        hidden = _take_positions(hidden, at, span)
    return lm.final_norm(hidden)


def layer_input(run: Run, layer: int, rows: Int[Tensor, " edits"], span: Span) -> Float[Tensor, "edits span d_model"]:
    """What a decoder layer was given in ``run``, for copies of its rows."""
    return _of_rows(run.calls.inputs[layer][:, span.first : span.stop], rows)


def _continue(
    run: Run,
    first: int,
    hidden: Tensor,
    rows: Int[Tensor, " edits"],
    span: Span,
    at: Int[Tensor, "edits reads"] | None,
) -> Float[Tensor, "edits reads d_model"]:
    lm = run.lm
    for layer in range(first, lm.n_layers):
        hidden = run_layer(run, layer, hidden, rows, span, at)
    if at is not None and first == lm.n_layers:
        hidden = _take_positions(hidden, at, span)
    return lm.final_norm(hidden)


def run_layer(
    run: Run,
    layer: int,
    hidden: Float[Tensor, "edits span d_model"],
    rows: Int[Tensor, " edits"],
    span: Span,
    at: Int[Tensor, "edits reads"] | None = None,
) -> Float[Tensor, "edits span d_model"]:
    """The output of one decoder layer, called as in ``run`` but with ``hidden`` as its input at the span.

    In the last layer the output is that of the positions ``at`` alone, where they are given.
    """
    lm = run.lm
    kwargs = _edit_arguments(run, layer, rows, span)
    if span.first:
        keys, values = _clean_keys_values(lm, run, layer)
        before = slice(None, span.first)
        kwargs["past_key_values"] = _Prefix(*(_of_rows(part[:, :, before], rows) for part in (keys, values)))
    if at is None or layer < lm.n_layers - 1:
        return _call(lm, layer, hidden, kwargs)
    if not _knows_mask(run, layer):
        return _take_positions(_call(lm, layer, hidden, kwargs), at, span)
    seen = _keys_values(lm, layer, hidden, kwargs)
    kwargs = {name: _take_queries(name, value, at - span.first) for name, value in kwargs.items()}
    return _call(lm, layer, _take_positions(hidden, at, span), {**kwargs, "past_key_values": _Known(*seen)})


def _edit_arguments(run: Run, layer: int, rows: Int[Tensor, " edits"], span: Span) -> dict[str, Any]:
    """The arguments of a layer in ``run``, for a span of copies of its rows."""
    n_rows = run.prompts.tokens.shape[0]
    captured = run.calls.kwargs[layer]
    return {name: _take_rows(_take_span(name, value, span), rows, n_rows) for name, value in captured.items()}


def _knows_mask(run: Run, layer: int) -> bool:
    """Whether a layer is told what each query sees; one that finds out by itself must get all positions."""
    mask = run.calls.kwargs[layer].get("attention_mask")
    return isinstance(mask, Tensor) and mask.ndim == 4


def _call(lm: LanguageModel, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    # A layer moves what it is given to its own card.
    output = lm.layers[layer](hidden, **kwargs)
    return output[0] if isinstance(output, tuple) else output


@dataclass(frozen=True)
class _Prefix:
    """Stands where a layer looks for its cache: hands it the clean keys and values before the span."""

    keys: Float[Tensor, "edits heads before d_head"]
    values: Float[Tensor, "edits heads before d_head"]

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)


@dataclass(frozen=True)
class _Known:
    """Stands where a layer looks for its cache: hands it all keys and values, whatever its input."""

    keys: Float[Tensor, "edits heads stop d_head"]
    values: Float[Tensor, "edits heads stop d_head"]

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


class _Seen(Exception):
    """Ends a layer's forward once its keys and values are known."""


@dataclass(frozen=True)
class _Recorder:
    """Stands where a layer looks for its cache: takes the keys and values it is given, and goes no further."""

    cache: _Prefix | None
    seen: list[Tensor] = field(default_factory=list)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.seen.extend((keys, values) if self.cache is None else self.cache.update(keys, values))
        raise _Seen


def _keys_values(lm: LanguageModel, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> list[Tensor]:
    """The keys and values that a layer makes of its input, behind those of its cache."""
    recorder = _Recorder(kwargs.get("past_key_values"))
    # Stopping there spares the rest of the layer, and hooks that do not fit its input.
    with suppress(_Seen):
        _call(lm, layer, hidden, {**kwargs, "past_key_values": recorder})
    return recorder.seen


@torch.no_grad()
def _clean_keys_values(lm: LanguageModel, run: Run, layer: int) -> list[Tensor]:
    """Keys and values of a layer in ``run``, each [batch, heads, pos, d_head]: made when first asked for, and kept."""
    known = run.calls.keys_values
    if layer not in known:
        known[layer] = _keys_values(lm, layer, run.calls.inputs[layer], run.calls.kwargs[layer])
    return known[layer]


def _take_positions(
    hidden: Float[Tensor, "edits span width"], at: Int[Tensor, "edits reads"], span: Span
) -> Float[Tensor, "edits reads width"]:
    return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], (at - span.first).to(hidden.device)]


def _take_queries(name: str, value: Any, at: Int[Tensor, "edits reads"]) -> Any:
    """An argument of a span at single positions of it, which differ from copy to copy."""

    def at_queries(part: Tensor) -> tuple[Tensor, Tensor]:
        return torch.arange(len(at), device=part.device)[:, None], at.to(part.device)

    if name == "attention_mask":
        copy, query = at_queries(value)
        return value.expand(len(at), -1, -1, -1)[copy, 0, query][:, None]
    if name == "position_embeddings":
        return tuple(part.expand(len(at), -1, -1)[at_queries(part)] for part in value)
    if name == "position_ids" and value is not None:
        return value.expand(len(at), -1)[at_queries(value)]
    # Positions of a cache make no sense to it.
    return None if name == "cache_position" else value


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
        return _of_rows(value, rows)
    return value


def _of_rows(value: Tensor, rows: Int[Tensor, " edits"]) -> Tensor:
    """Some rows of a tensor, which may lie on another card than what says which."""
    return value[rows.to(value.device)]
