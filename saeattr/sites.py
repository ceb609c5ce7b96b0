"""Site addresses, written ``kind.layer``: a place in the model where a sparse autoencoder reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from saeattr.errors import UserError

Kind = Literal["attn_z", "mlp_out", "resid_post"]

#: Where in its layer an activation lies: what the layer is given or gives, or between these: in its attention (so that
#: keys, values or what they weigh change) or behind it, where positions no longer meet.
Lies = Literal["input", "attention", "behind attention", "output"]

#: In the order in which a layer computes them.
KINDS: tuple[Kind, ...] = get_args(Kind)

_HOOK_NAMES: dict[Kind, str] = {
    "attn_z": "blocks.{layer}.attn.hook_z",
    "mlp_out": "blocks.{layer}.hook_mlp_out",
    "resid_post": "blocks.{layer}.hook_resid_post",
}


@dataclass(frozen=True)
class Site:
    """A (layer, kind) pair, e.g. ``resid_post.20``; sorted as the model computes them."""

    kind: Kind
    layer: int

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"

    def __lt__(self, other: Site) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, int]:
        return (self.layer, KINDS.index(self.kind))

    @property
    def hook_name(self) -> str:
        """The transformer-lens name, e.g. ``blocks.3.hook_resid_post``."""
        return _HOOK_NAMES[self.kind].format(layer=self.layer)

    @property
    def lies(self) -> Lies:
        return "output" if self.kind == "resid_post" else "behind attention"

    @property
    def keys_last(self) -> bool:
        return False


def parse_site(address: str) -> Site:
    """Read ``kind.layer``.

    Raises:
        UserError: the text is not such an address.
    """
    match = re.fullmatch(r"([a-z_]+)\.(\d+)", address.strip())
    if match is None or match[1] not in KINDS:
        raise UserError(
            f"{address!r} is not a site: write kind.layer, with kind one of {', '.join(KINDS)} "
            "(for example resid_post.3)"
        )
    return Site(match[1], int(match[2]))  # pyright: ignore[reportArgumentType]


def parse_kind(kind: str) -> Kind:
    """Read one kind of site.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"{kind!r} is not a kind of site: the kinds are {', '.join(KINDS)}")
    return kind  # pyright: ignore[reportReturnType]


def site_of_hook(name: str) -> Site | None:
    """The site of a transformer-lens hook name, or None where no kind of ours maps to it.

    A layer's resid_pre is the resid_post of the layer before it.
    """
    before = re.fullmatch(r"blocks\.(\d+)\.hook_resid_pre", name)
    if before and int(before[1]) > 0:
        return Site("resid_post", int(before[1]) - 1)
    for kind, template in _HOOK_NAMES.items():
        before, after = template.split("{layer}")
        match = re.fullmatch(re.escape(before) + r"(\d+)" + re.escape(after), name)
        if match:
            return Site(kind, int(match[1]))
    return None
