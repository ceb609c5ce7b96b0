"""sae-lens' bridge as its documentation uses it: SAEs attached with their error term, gradients at their activations.

One SAE at a time is exact: its error term carries no gradient, but nothing below it is asked for. With all attached at
once the gradient of a lower SAE passes the reconstructions of those above and misses what their errors carry, so it is
another number (``at_once``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.arithmetic import Effects
from benchmarks.peers.by_hooks import boot
from benchmarks.peers.case import Case, Prompts, metric
from benchmarks.peers.contestant import Contestant
from saeattr.sites import Site


class SaeLens(Contestant):
    """Attribution by sae-lens' bridge: one pass per SAE, or one with all."""

    def __init__(self, case: Case, at_once: bool = False) -> None:
        from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge

        self.at_once = at_once
        self.bridge: Any = boot(SAETransformerBridge, case)
        self.unembedding = self.bridge.original_model.lm_head.weight
        self.cap = self.bridge.original_model.config.final_logit_softcapping

    def run(self, case: Case) -> Effects:
        parts: dict[str, list[Tensor]] = {str(site): [] for site in case.sites}
        groups = [case.sites] if self.at_once else [(site,) for site in case.sites]
        for prompts in case.prompts():
            corrupted = self.corrupted(prompts, case.sites)
            for sites in groups:
                saes = {site: load(case.sae_folder(site)) for site in sites}
                acts = self.clean(prompts, saes)
                for site, sae in saes.items():
                    parts[str(site)].append(effects(sae, prompts, acts[site], corrupted[site]))
        return {site: torch.cat(part) for site, part in parts.items()}

    @torch.no_grad()
    def corrupted(self, prompts: Prompts, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """x of the corrupted prompts after every site's layer: one plain forward."""
        x: dict[Site, Tensor] = {}

        def reader(site: Site) -> Callable[..., None]:
            def read(module: torch.nn.Module, args: Any, out: Any) -> None:
                x[site] = out[0] if isinstance(out, tuple) else out

            return read

        # torch's own hooks: once an SAE was attached and reset, a hook of this bridge at its site is not called.
        handles = [self.bridge.blocks[site.layer].register_forward_hook(reader(site)) for site in sites]
        self.bridge(prompts.corrupted, attention_mask=prompts.mask, return_type=None)
        for handle in handles:
            handle.remove()
        return x

    def clean(self, prompts: Prompts, saes: dict[Site, Any]) -> dict[Site, dict[str, Tensor]]:
        """Activations and the error term with their gradients, of the SAEs attached together."""
        kept: dict[str, Tensor] = {}
        names = {
            (site, name): self.bridge.get_sae_hook_name(sae, f"hook_sae_{name}")
            for site, sae in saes.items()
            for name in ("acts_post", "error")
        }

        def keep(value: Tensor, hook: Any, name: str) -> Tensor:
            # Below the first SAE nothing has a gradient, and error terms never do.
            if not value.requires_grad:
                value = value.detach().requires_grad_()
            kept[name] = value
            return value

        final: list[Tensor] = []
        hooks: list[Any] = [(name, lambda value, hook, name=name: keep(value, hook, name)) for name in names.values()]
        hooks.append(("ln_final.hook_out", lambda value, hook: final.append(value)))
        with self.bridge.saes(list(saes.values()), use_error_term=True):
            self.bridge.run_with_hooks(prompts.clean, attention_mask=prompts.mask, return_type=None, fwd_hooks=hooks)
        value = metric(final[0], self.unembedding, prompts, self.cap).sum()
        slopes = dict(zip(kept, torch.autograd.grad(value, list(kept.values())), strict=True))
        return {
            site: {
                "f": kept[names[site, "acts_post"]].detach(),
                "g_f": slopes[names[site, "acts_post"]],
                "error": kept[names[site, "error"]].detach(),
                "g": slopes[names[site, "error"]],
            }
            for site in saes
        }


def load(folder: Path) -> Any:
    from sae_lens.saes.sae import SAE

    sae = SAE.load_from_disk(folder, device="cpu")
    for parameter in sae.parameters():
        parameter.requires_grad_(False)
    return sae


@torch.no_grad()
def effects(sae: Any, prompts: Prompts, acts: dict[str, Tensor], corrupted: Tensor) -> Tensor:
    """[pairs, d_sae + 1]: (f_corrupted - f_clean) times the gradient at f, and the same of the error term."""
    used = prompts.used
    row, x = used.nonzero()[:, 0], corrupted[used]
    f = sae.encode(x)
    found = torch.zeros(len(used), f.shape[1] + 1)
    by_token = (f - acts["f"][used]) * acts["g_f"][used]
    found[:, :-1].index_add_(0, row, by_token)
    error = x - sae.decode(f)
    found[:, -1].index_add_(0, row, ((error - acts["error"][used]) * acts["g"][used]).sum(1))
    return found
