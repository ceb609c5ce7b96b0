"""Does a device compute what the CPU does? Asked of MPS, whose kernels have been wrong before."""

from __future__ import annotations

import torch

from saeattr.model.capture import capture
from saeattr.model.loading import load_model
from saeattr.sites import Site

#: Relative difference of gradients that float32 rounding does not explain.
TOLERANCE = 1e-2


def device_warning(device: torch.device) -> str | None:
    """Compare the bundled model's activations and gradients on ``device`` with the CPU's; a line where they differ."""
    on_cpu, there = (_small_case(name) for name in ("cpu", str(device)))
    # torch's maximum keeps NaN, and NaN is a difference too.
    worst = float(torch.stack([(a - b).norm() / a.norm() for a, b in zip(on_cpu, there, strict=True)]).max())
    if worst <= TOLERANCE:
        return None
    return (
        f"{device} computes something else than the CPU here (the bundled model's gradients differ by {worst:.0%}): "
        "use --device cpu, or another version of torch"
    )


def _small_case(device: str) -> list[torch.Tensor]:
    """x and g at an early and a late site for two short rows of the bundled model, on the CPU."""
    lm = load_model("bundled", device=device)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 200, (2, 24), generator=generator)
    mask = torch.arange(24) < torch.tensor([[24], [17]])
    sites = [Site("attn_z", 1), Site("resid_post", lm.n_layers - 2)]
    run = capture(lm, tokens, mask, sites, lambda hidden: hidden[:, 12].float().square().sum(1), gradients=True)
    rows = mask[:, :13].nonzero(as_tuple=True)
    return [values[site].cpu().float()[rows] for values in (run.x, run.g) for site in sites]
