"""Integrated gradients at one site: the gradient averaged over the straight line from clean to base.

Sundararajan et al. 2017, at a site as in sparse feature circuits (arXiv 2403.19647) and EAP-IG (arXiv 2403.17806). The
points are the midpoints of equal steps, so that the sum of effects converges to the total effect as 1 / steps^2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.capture import ReadMetric, Run
from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import recompute
from saeattr.sites import Site


def integrated_gradients(
    lm: LanguageModel,
    run: Run,
    site: Site,
    x_base: Float[Tensor, "batch pos d_in"],
    metric: ReadMetric,
    steps: int,
    batch_size: int,
) -> Float[Tensor, "batch pos d_in"]:
    """Mean over ``steps`` points of d metric / d x, x going from the clean run's value to ``x_base`` at this site.

    Only the layers above the site run; points and rows share batches of at most ``batch_size`` copies. ``metric`` maps
    the final hidden state of the run's whole batch to one number per row.
    """
    clean = run.x[site].float()
    average = torch.zeros_like(clean)
    rows = torch.arange(len(clean), device=clean.device)
    points_at_once = max(1, batch_size // len(clean))
    for first in range(0, steps, points_at_once):
        points = range(first, min(first + points_at_once, steps))
        alpha = torch.tensor([(point + 0.5) / steps for point in points], device=clean.device)
        line = clean + alpha[:, None, None, None] * (x_base - clean)
        x = line.flatten(0, 1).requires_grad_()
        with torch.enable_grad():
            hidden = recompute(lm, run, site, x, rows.repeat(len(points)))
            value = torch.stack([metric(part).sum() for part in hidden.chunk(len(points))]).sum()
        (slope,) = torch.autograd.grad(value, [x])
        average += slope.unflatten(0, (len(points), len(clean))).sum(0)
    return average / steps
