"""Where an activation is read and put in; whatever its own layout, as [batch, pos, width] outside the model."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from saeattr.sites import Lies


class HookPoint(Protocol):
    """A place in a model: a site of SAEs, or a component that is patched.

    Attributes:
        layer: 0 is the first; hook_name: transformer-lens' name.
        lies: where in its layer.
        keys_last: laid out [batch, head, query, key] there (attention scores and patterns), and not by position.
    """

    @property
    def layer(self) -> int: ...

    @property
    def hook_name(self) -> str: ...

    @property
    def lies(self) -> Lies: ...

    @property
    def keys_last(self) -> bool: ...

    def __hash__(self) -> int: ...


def by_position(point: HookPoint, value: Float[Tensor, "*layout"]) -> Float[Tensor, "batch pos width"]:
    """An activation as a hook gives it, with what belongs to a position side by side.

    Heads are concatenated; of scores and patterns the positions are the queries', and each head's keys are.
    """
    return (value.transpose(1, 2) if point.keys_last else value).flatten(2)


def as_hooked(
    point: HookPoint, x: Float[Tensor, "batch pos width"], like: Float[Tensor, "*layout"]
) -> Float[Tensor, "*layout"]:
    """``x`` in the layout, type and place of ``like``, which a hook gives; keys that it does not have are left out."""
    x = x.to(device=like.device, dtype=like.dtype)
    if not point.keys_last:
        return x.contiguous().view_as(like)
    return x.unflatten(2, (like.shape[1], -1))[..., : like.shape[3]].transpose(1, 2).contiguous()
