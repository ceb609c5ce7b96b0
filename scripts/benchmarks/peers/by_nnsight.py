"""nnsight as its README writes gradients, tuned: frozen weights, one trace for all sites, two unembedding rows.

The base model is traced, so that no logits but the two are computed; the graph begins at the first site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.arithmetic import Effects, dense_effects, site_effects
from benchmarks.peers.case import Case, Prompts, metric
from benchmarks.peers.contestant import Contestant
from saeattr.sites import Site


class Nnsight(Contestant):
    """Attribution by nnsight, and arithmetic that spares what it can, or is ``dense``."""

    def __init__(self, case: Case, dense: bool = False) -> None:
        # A peer from PyPI in an environment of its own: it may be missing.
        from nnsight import NNsight  # pyright: ignore[reportMissingImports]

        plain = case.open_plain()
        self.traced, self.of_site = NNsight(plain.model), dense_effects if dense else site_effects
        self.unembedding, self.cap = plain.lm_head.weight, plain.config.final_logit_softcapping

    def run(self, case: Case) -> Effects:
        parts: dict[str, list[Tensor]] = {str(site): [] for site in case.sites}
        for prompts in case.prompts():
            clean, g = self.clean(prompts, case.sites)
            corrupted = self.corrupted(prompts, case.sites)
            for site in case.sites:
                folder = case.sae_folder(site)
                parts[str(site)].append(self.of_site(folder, prompts, clean[site], corrupted[site], g[site]))
        return {site: torch.cat(part) for site, part in parts.items()}

    def clean(self, prompts: Prompts, sites: Sequence[Site]) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
        """x and d metric / d x at every site."""
        import nnsight  # pyright: ignore[reportMissingImports]

        traced = self.traced
        with traced.trace(input_ids=prompts.clean, attention_mask=prompts.mask, use_cache=False):
            x, g = nnsight.save({}), nnsight.save({})
            x[sites[0]] = place(traced, sites[0]).requires_grad_()
            for site in sites[1:]:
                x[site] = place(traced, site)
            value: Any = metric(traced.norm.output, self.unembedding, prompts, self.cap).sum()
            with value.backward():
                for site in reversed(sites):
                    g[site] = x[site].grad
        return {site: value.detach() for site, value in x.items()}, dict(g)

    @torch.no_grad()
    def corrupted(self, prompts: Prompts, sites: Sequence[Site]) -> dict[Site, Tensor]:
        import nnsight  # pyright: ignore[reportMissingImports]

        traced = self.traced
        with traced.trace(input_ids=prompts.corrupted, attention_mask=prompts.mask, use_cache=False):
            x = nnsight.save({})
            for site in sites:
                x[site] = place(traced, site)
        return dict(x)


def place(traced: Any, site: Site) -> Any:
    """What stands at a site of Gemma 2."""
    layer = traced.layers[site.layer]
    if site.kind == "attn_z":
        return layer.self_attn.o_proj.input
    return layer.post_feedforward_layernorm.output if site.kind == "mlp_out" else layer.output
