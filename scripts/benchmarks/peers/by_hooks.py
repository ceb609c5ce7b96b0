"""transformer-lens' bridge with hooks by hand: one forward and backward for all sites, one forward of the corrupted.

The graph begins at the first site, because the weights are frozen; the metric is read at the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.arithmetic import Effects, site_effects
from benchmarks.peers.case import Case, metric
from benchmarks.peers.contestant import Contestant
from saeattr.sites import Site


class Hooks(Contestant):
    """Attribution by transformer-lens' run_with_hooks."""

    def __init__(self, case: Case) -> None:
        self.bridge: Any = open_bridge(case)
        self.unembedding = self.bridge.original_model.lm_head.weight
        self.cap = self.bridge.original_model.config.final_logit_softcapping

    def run(self, case: Case) -> Effects:
        parts: dict[str, list[Tensor]] = {str(site): [] for site in case.sites}
        for prompts in case.prompts():
            x, hidden = self.forward(prompts.clean, prompts.mask, case.sites)
            value = metric(hidden, self.unembedding, prompts, self.cap).sum()
            g = dict(zip(x, torch.autograd.grad(value, list(x.values())), strict=True))
            with torch.no_grad():
                other, _ = self.forward(prompts.corrupted, prompts.mask, case.sites)
            for site in case.sites:
                folder, clean = case.sae_folder(site), x[site].detach()
                found = site_effects(folder, prompts, *(flat(value) for value in (clean, other[site], g[site])))
                parts[str(site)].append(found)
        return {site: torch.cat(part) for site, part in parts.items()}

    def forward(self, tokens: Tensor, mask: Tensor, sites: Sequence[Site]) -> tuple[dict[Site, Tensor], Tensor]:
        """x at every site, and the final norm's output."""
        x: dict[Site, Tensor] = {}
        final: list[Tensor] = []

        def keep(value: Tensor, hook: Any, site: Site) -> Tensor:
            if torch.is_grad_enabled() and not value.requires_grad:
                value = value.detach().requires_grad_()
            x[site] = value
            return value

        hooks = [(site.hook_name, lambda value, hook, site=site: keep(value, hook, site)) for site in sites]
        ending = ("ln_final.hook_out", lambda value, hook: final.append(value))
        self.bridge.run_with_hooks(tokens, attention_mask=mask, return_type=None, fwd_hooks=[*hooks, ending])
        return x, final[0]


def open_bridge(case: Case) -> Any:
    """A bridge of the model with frozen weights, opened as transformer-lens' documentation says."""
    from transformer_lens.model_bridge import TransformerBridge

    return boot(TransformerBridge, case)


def boot(kind: Any, case: Case) -> Any:
    bridge = kind.boot_transformers(str(case.model_folder), device="cpu", dtype=torch.float32)
    for parameter in bridge.parameters():
        parameter.requires_grad_(False)
    return bridge.eval()


def flat(value: Tensor) -> Tensor:
    """Heads side by side, [pairs, pos, d_in]."""
    return value.flatten(2)
