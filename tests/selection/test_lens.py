"""The logit lens against a plain final norm and unembedding of the Hugging Face model's activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from saeattr.behaviours.pair import Pair
from torch import Tensor

from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.selection.lens import logit_lens
from saeattr.sites import Site
from tests import plain


@torch.no_grad()
def test_the_lens_is_final_norm_and_unembedding(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    table = logit_lens(lm, pairs, metric, batch_size=2).set_index(["pair_id", "kind", "layer"])

    def read(stream: Tensor) -> float:
        logits = plain_model.lm_head(plain_model.model.norm(stream))
        cap = plain_model.config.final_logit_softcapping
        logits = cap * torch.tanh(logits / cap)
        return float(logits[metric.plus] - logits[metric.minus])

    for pair in pairs[:2]:
        at = pair.decision_positions[-1]
        for layer in (0, 2, 5):
            for column, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
                after = plain.read(plain_model, Site("resid_post", layer), ids)[at]
                attention_only = after - plain.read(plain_model, Site("mlp_out", layer), ids)[at]
                row = table.loc[pair.pair_id]
                assert row.loc[("resid_post", layer), column] == pytest.approx(read(after), abs=1e-4)
                assert row.loc[("mlp_out", layer), column] == pytest.approx(read(after), abs=1e-4)
                assert row.loc[("attn_z", layer), column] == pytest.approx(read(attention_only), abs=1e-4)


@torch.no_grad()
def test_with_all_decisions_the_lens_is_the_mean_over_every_newline(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """After the last layer the lens reads the metric itself; before it, a final norm and the unembedding."""
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    table = logit_lens(lm, pairs[:3], metric, "all").set_index(["pair_id", "kind", "layer"])
    for pair in pairs[:3]:
        assert len(pair.decision_positions) > 1
        for column, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
            values = [
                float(plain.metric(plain_model, ids, at, metric.plus, metric.minus)) for at in pair.decision_positions
            ]
            found = table.loc[(pair.pair_id, "resid_post", lm.n_layers - 1), column]
            assert found == pytest.approx(sum(values) / len(values), abs=1e-4)
            after = plain.read(plain_model, Site("resid_post", 2), ids)[list(pair.decision_positions)]
            logits = plain_model.lm_head(plain_model.model.norm(after))
            cap = plain_model.config.final_logit_softcapping
            logits = cap * torch.tanh(logits / cap)
            early = (logits[:, metric.plus] - logits[:, metric.minus]).mean()
            assert table.loc[(pair.pair_id, "resid_post", 2), column] == pytest.approx(float(early), abs=1e-4)


def test_gains_add_up_to_the_final_difference(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    table = logit_lens(lm, pairs, metric)
    gains = table.pivot_table(index=["pair_id", "layer"], columns="kind", values="gain", sort=False)
    np.testing.assert_allclose(gains["attn_z"] + gains["mlp_out"], gains["resid_post"], atol=1e-9)
    batch = run_batch(lm, pairs, [Site("resid_post", 5)], metric, "last")
    assert batch.clean.metric is not None
    assert batch.corrupted.metric is not None
    final = (batch.clean.metric - batch.corrupted.metric).tolist()
    totals = gains["resid_post"].groupby("pair_id", sort=False).sum()
    assert totals.loc[[pair.pair_id for pair in pairs]].tolist() == pytest.approx(final, abs=1e-4)


def test_batches_do_not_change_the_lens(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("neg-log-prob", lm.tokenizer)
    one, all_together = (logit_lens(lm, pairs, metric, "all", batch_size=size) for size in (1, 5))
    keys = ["pair_id", "layer", "kind"]
    merged = one.merge(all_together, on=keys)
    assert len(merged) == len(one) == len(pairs) * lm.n_layers * 3
    assert (merged["gain_x"] - merged["gain_y"]).abs().max() < 1e-5
