"""Costs of shapes that were rehearsed once and for all: polynomials of the length and of the layers run.

Rehearsals of a few layers and lengths fix them (scripts/docs/costs.py writes costs.json): every layer takes the same,
and what it takes is quadratic in the length at most (the attention scores). A test rehearses again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saeattr.model.costs import NOTHING, Cost, Costs
from saeattr.model.shapes import ModelShape
from saeattr.sites import Site

COSTS = Path(__file__).with_name("costs.json")
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

#: Of one quantity: by 1, layers from the lowest site on and layers below it, the coefficients of 1, length, length^2;
#: of what is fixed and of what each row takes.
Fit = Sequence[Sequence[Sequence[float]]]


@functools.cache
def stored_costs() -> dict[str, Any]:
    return json.loads(COSTS.read_text(encoding="utf-8"))


def fits_of(shape: ModelShape, dtype: str) -> Mapping[str, Any] | None:
    """What was rehearsed of a shape with such numbers; None where nothing was."""
    dtype = "bfloat16" if dtype == "float16" else dtype
    wanted = asdict(shape)
    return next((one["fits"][dtype] for one in stored_costs()["shapes"] if one["shape"] == wanted), None)


def fitted_costs(
    shape: ModelShape, dtype: str, sites: Sequence[Site], length: int, method: str, whole_vocabulary: bool
) -> Costs | None:
    """The costs of a rehearsed shape; None for another one.

    Args:
        sites: those captured.
        whole_vocabulary: whether the metric reads all of it.
    """
    fits = fits_of(shape, dtype)
    if fits is None:
        return None
    lowest = min(site.layer for site in sites)
    above = shape.n_layers - lowest

    # Of the layer that a site lies in the middle of, nearly all runs.
    inside = any(site.kind == "attn_z" for site in sites if site.layer == lowest)

    def cost(name: str) -> Cost:
        more = int(inside and name.startswith(("capture_", "slope")))
        return Cost(*(_value(part, above + more, lowest - more, length) for part in fits[name]))

    way = "relp" if method == "relp" else "attribution"
    own, both, grads = (part * length * NUMBER_BYTES[dtype] for part in _beyond_residual(sites, shape))
    captured, recorded = cost("captured") + Cost(0, own + both + grads), cost("recorded") + Cost(0, own + both)
    record = cost("record")
    # While the corrupted prompts run, everything else of the batch is there.
    beside = Cost(record.fixed, record.each - cost("recorded").each + captured.each)
    capture = cost(f"capture_{way}") + Cost(0, own + (grads if own else 0))
    return Costs(
        weights=fits["weights"],
        captured=captured,
        capture=capture if capture.each >= beside.each else beside,
        recorded=recorded,
        record=record + Cost(0, own + both),
        recompute=cost("recompute"),
        slope=cost("slope") if method == "ig" else NOTHING,
        read=cost("read_whole" if whole_vocabulary else "read"),
        entropy=cost("entropy"),
        sample=cost("sample"),
        cache=cost("cache"),
    )


def _value(part: Sequence[Sequence[float]], above: int, below: int, length: int) -> float:
    return sum(
        layers * sum(coefficient * length**power for power, coefficient in enumerate(row))
        for layers, row in zip((1, above, below), part, strict=True)
    )


def _beyond_residual(sites: Sequence[Site], shape: ModelShape) -> tuple[float, float, float]:
    """Numbers of a token that capturing sites adds to one residual site: x of the clean run, x of the other, and g.

    x of a residual site is the next layer's input, which is kept anyway; g of an MLP's output is that of its layer's
    residual site.
    """
    residual = {site.layer for site in sites if site.kind == "resid_post"}
    own = both = grads = 0.0
    for site in sites:
        width = shape.d_attn if site.kind == "attn_z" else shape.d_model
        both += width
        if site.kind != "resid_post":
            own += width
        if site.kind != "mlp_out" or site.layer not in residual:
            grads += width
    # The one residual site that was rehearsed.
    return own, both - shape.d_model, max(0.0, grads - shape.d_model)
