"""Logit lens: the metric read from the residual stream as the layers build it up (nostalgebraist 2020).

At the metric's positions the residual stream goes straight through the final norm and the metric's unembedding rows,
soft-cap applied. What a layer adds to (clean - corrupted) is its gain, and it splits into what its attention and what
its MLP add.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.runs.lens import as_final, residuals_at
from saeattr.runs.metric import Metric, Reads, at_partners, per_prompt, plan_reads
from saeattr.runs.task import Task
from saeattr.sites import Site
from saeattr.tables import LENS


@torch.no_grad()
def logit_lens(task: Task) -> pd.DataFrame:
    """The lens after every layer, pair by pair; one forward of the clean prompts and one of the corrupted.

    Only the residual stream at the metric's positions is kept, and only the logits that the metric needs are made.

    Returns:
        group, pair_id, layer, kind, clean, corrupted, gain. clean and corrupted are the metric as read after the
        kind's write into the residual stream: ``attn_z`` after the layer's attention, ``mlp_out`` and ``resid_post``
        after its MLP. gain is what that write adds to (clean - corrupted); ``resid_post`` has the whole layer's.
    """
    tables = []
    lm, metric = task.lm, task.question.metric
    for chunk in chunks(task.pairs, task.pace.batch_size):
        padded = pad_pairs(chunk, lm.pad_id, lm.device)
        assert padded.corrupted is not None
        reads = plan_reads(chunk, task.question.decision)
        clean = _read_layers(lm, metric, reads, padded.clean)
        corrupted = _read_layers(lm, metric, at_partners(reads, padded.partner), padded.corrupted)
        tables.append(_lens_rows(chunk, clean, corrupted))
    return pd.concat(tables, ignore_index=True)


def _read_layers(
    lm: LanguageModel, metric: Metric, reads: Reads, prompts: Prompts
) -> Float[Tensor, "layers two batch"]:
    """The metric after each layer's attention and after its MLP."""
    names = [Site(kind, layer).hook_name for layer in range(lm.n_layers) for kind in ("mlp_out", "resid_post")]
    kept = residuals_at(lm, prompts, reads.row, reads.position, names)

    def read(stream: Float[Tensor, "reads d_model"]) -> Float[Tensor, " batch"]:
        return per_prompt(metric, reads, metric.values(lm, as_final(lm, stream), reads))

    out = []
    for layer in range(lm.n_layers):
        after = kept[Site("resid_post", layer).hook_name]
        # mlp_out is what enters the stream, so without it the stream is as attention left it.
        out.append(torch.stack([read(after - kept[Site("mlp_out", layer).hook_name]), read(after)]))
    return torch.stack(out)


def _lens_rows(pairs: list[Pair], clean: Tensor, corrupted: Tensor) -> pd.DataFrame:
    """``tables.LENS`` from the metric after attention and MLP, [layers, 2, batch] for each run."""
    difference = (clean - corrupted).cpu().double().numpy()
    # Before the first layer both runs hold the same token's embedding at the metric's positions.
    before = np.concatenate([np.zeros_like(difference[:1, 1]), difference[:-1, 1]])
    gains = {
        "attn_z": difference[:, 0] - before,
        "mlp_out": difference[:, 1] - difference[:, 0],
        "resid_post": difference[:, 1] - before,
    }
    tables = []
    for at, pair in enumerate(pairs):
        for kind, gain in gains.items():
            place = 0 if kind == "attn_z" else 1
            tables.append(
                pd.DataFrame(
                    {
                        "group": pair.group,
                        "pair_id": pair.pair_id,
                        "layer": np.arange(len(gain), dtype=np.int16),
                        "kind": kind,
                        "clean": clean[:, place, at].cpu().double().numpy(),
                        "corrupted": corrupted[:, place, at].cpu().double().numpy(),
                        "gain": gain[:, at],
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)[LENS.names]
