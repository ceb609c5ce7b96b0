"""How well an SAE stands in for the activation: the metric with x replaced by its reconstruction.

SAEs made on a base model are a transfer on an instruction-tuned one, so this is measured on the prompts at hand.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.analysis.bases import token_chunks
from saeattr.analysis.batches import BatchRuns
from saeattr.analysis.metrics import Metric
from saeattr.analysis.totals import total_effect
from saeattr.model.loading import LanguageModel
from saeattr.saes.sae import SparseAutoencoder


@torch.no_grad()
def reconstruction_effect(
    lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, metric: Metric
) -> Float[Tensor, " batch"]:
    """The exact change of the clean runs' metric when x becomes x_hat at every real token but BOS.

    0 for a perfect SAE. SAEs are not trained to reconstruct BOS, whose activation is of another size.
    """
    x_hat = batch.clean.x[sae.site].float().clone()
    tokens = x_hat[batch.usable]
    for chunk in token_chunks(sae, len(tokens)):
        tokens[chunk] = sae.decode(sae.encode(tokens[chunk]))
    x_hat[batch.usable] = tokens
    return total_effect(lm, batch.clean, sae.site, x_hat, lambda hidden: batch.read_metric(lm, metric, hidden))
