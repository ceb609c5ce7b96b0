"""What both runs of a batch have at a component of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from saeattr.patching.components import ATTN_OUT, RESID_PRE, Component, Part
from saeattr.runs.batch import BatchRuns


@dataclass(frozen=True)
class Activations:
    """A component of a layer in both runs.

    Attributes:
        point: where it is put in.
        own, other: what the clean run has there, and what it is to have in place of it.
        g: d metric / d own in the clean run; None where no gradient was asked for.
    """

    point: Part
    own: Float[Tensor, "batch pos width"]
    other: Float[Tensor, "batch pos width"]
    g: Float[Tensor, "batch pos width"] | None


def parts_to_run(components: Sequence[Component], n_layers: int) -> list[Part]:
    """Where both runs must be captured, in the order of layers."""
    needed: dict[Component, None] = {}
    for component in components:
        needed |= dict.fromkeys((RESID_PRE, ATTN_OUT) if component.adds else (component,))
    return [Part(component, layer) for layer in range(n_layers) for component in needed]


def activations(batch: BatchRuns, component: Component, layer: int) -> Activations:
    """A component of a layer in a batch that was captured at ``parts_to_run``."""
    assert batch.corrupted is not None
    own, other, g = batch.clean.x, batch.corrupted.x, batch.clean.g
    if not component.adds:
        point = Part(component, layer)
        return Activations(point, own[point], other[point], g.get(point))
    # The layer's input stays as it is, so all that differs is put in with what attention adds to it.
    point, before = Part(ATTN_OUT, layer), Part(RESID_PRE, layer)
    whole = other[point].float() + (other[before].float() - own[before].float())
    return Activations(point, own[point], whole.to(own[point].dtype), g.get(point))
