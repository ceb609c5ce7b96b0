"""What can be patched: the parts of a layer by the names that transformer-lens gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.sites import Lies

#: Which heads an activation has: none, one for each query head, or one for each key and value head, of which there are
#: fewer where queries are grouped.
Heads = Literal["none", "query", "key-value"]


@dataclass(frozen=True)
class Component:
    """A part of a layer.

    Attributes:
        name: as for ``--component``; help: one line.
        hook: transformer-lens' name within the layer; lies: where in the layer.
        heads: which it has.
        keys_last: laid out [batch, head, query, key], so that it is patched by the queries' positions.
        adds: what is put in at ``hook`` adds to the layer's input, and the component is their sum.
    """

    name: str
    help: str
    hook: str
    lies: Lies
    heads: Heads = "none"
    keys_last: bool = False
    adds: bool = False

    def n_heads(self, lm: LanguageModel) -> int:
        """How many heads it has in a model; 1 where it has none."""
        config = lm.hf.config.get_text_config()
        n_query = int(config.num_attention_heads)
        if self.heads == "key-value":
            return int(getattr(config, "num_key_value_heads", None) or n_query)
        return n_query if self.heads == "query" else 1


@dataclass(frozen=True)
class Part:
    """A component in one layer: a ``HookPoint``."""

    component: Component
    layer: int

    def __str__(self) -> str:
        return f"{self.component.name}.{self.layer}"

    @property
    def hook_name(self) -> str:
        return f"blocks.{self.layer}.{self.component.hook}"

    @property
    def lies(self) -> Lies:
        return self.component.lies

    @property
    def keys_last(self) -> bool:
        return self.component.keys_last


RESID_PRE = Component("resid_pre", "the residual stream before a layer", "hook_resid_pre", "input")
ATTN_OUT = Component("attn_out", "what attention adds to the stream", "hook_attn_out", "behind attention")
V = Component("v", "values", "attn.hook_v", "attention", "key-value")
Z = Component("z", "what each head read, before its output weights", "attn.hook_z", "behind attention", "query")
PATTERN = Component(
    "pattern", "attention weights of each query", "attn.hook_pattern", "attention", "query", keys_last=True
)

#: In the order in which a layer computes them. The bridge's own hook of resid_mid lies on the MLP's way alone, past
#: which the stream goes on unchanged: it is patched through what attention adds.
COMPONENTS: dict[str, Component] = {
    component.name: component
    for component in (
        RESID_PRE,
        Component("q", "queries, before positions are put in", "attn.hook_q", "attention", "query"),
        Component("k", "keys, before positions are put in", "attn.hook_k", "attention", "key-value"),
        V,
        Component(
            "scores",
            "attention scores of each query, before softmax",
            "attn.hook_attn_scores",
            "attention",
            "query",
            keys_last=True,
        ),
        PATTERN,
        Z,
        ATTN_OUT,
        Component("resid_mid", "the residual stream behind attention", "hook_attn_out", "behind attention", adds=True),
        Component("mlp_out", "what the MLP adds to the stream", "hook_mlp_out", "behind attention"),
        Component("resid_post", "the residual stream after a layer", "hook_resid_post", "output"),
    )
}
#: Sites of the residual stream, where a patch replaces all that the model knows at a position.
RESIDUAL = ("resid_pre", "resid_mid", "resid_post")


def find_components(names: Sequence[str]) -> tuple[Component, ...]:
    """The components of these names, each once, in the order of ``COMPONENTS``; ``all`` names every one.

    Raises:
        UserError: there is no such component, or none is named.
    """
    for name in names:
        if name != "all" and name not in COMPONENTS:
            raise UserError(f"{name!r} is not a component: choose from {', '.join(COMPONENTS)}, or all")
    if not names:
        raise UserError(f"no component is named: choose from {', '.join(COMPONENTS)}, or all")
    return tuple(one for one in COMPONENTS.values() if "all" in names or one.name in names)


def lacking(component: Component, lm: LanguageModel) -> str:
    """Why a model has no such component; blank where it has."""
    wanted = "hook_resid_mid" if component.adds else component.hook
    if f"blocks.0.{wanted}" in lm.hook_points:
        return ""
    return f"{lm.name} has no {component.name} that could be read"
