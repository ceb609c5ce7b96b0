"""What patching a whole site really does: the exact number that a site's effects should add up to."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.capture import ReadMetric, Run
from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import recompute
from saeattr.sites import Site


@torch.no_grad()
def total_effect(
    lm: LanguageModel, run: Run, site: Site, x_base: Float[Tensor, "batch pos d_in"], metric: ReadMetric
) -> Float[Tensor, " batch"]:
    """The exact change of the metric when the activation at ``site`` becomes ``x_base`` at every position.

    One forward of the layers above the site. ``run`` must have been captured with ``for_recompute`` and a metric.
    """
    assert run.metric is not None
    rows = torch.arange(len(x_base), device=x_base.device)
    return metric(recompute(lm, run, site, x_base, rows)) - run.metric
