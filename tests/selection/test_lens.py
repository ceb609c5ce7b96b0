"""The logit lens against a plain final norm and unembedding of the Hugging Face model's activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair, Point
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import find_metric
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.selection.lens import logit_lens
from saeattr.sites import Site
from tests import plain


@torch.no_grad()
def test_the_lens_is_final_norm_and_unembedding(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    table = logit_lens(Task(lm, pairs, pace=Pace(batch_size=2))).set_index(["pair_id", "kind", "layer"])

    def read(stream: Tensor, point: Point) -> float:
        logits = plain_model.lm_head(plain_model.model.norm(stream))
        cap = plain_model.config.final_logit_softcapping
        logits = cap * torch.tanh(logits / cap)
        return float(logits[point.wanted[0]] - logits[point.unwanted[0]])

    for pair in pairs[:2]:
        point = pair.points[-1]
        for layer in (0, 2, 5):
            for column, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
                assert ids is not None
                after = plain.read(plain_model, Site("resid_post", layer), ids)[point.position]
                attention_only = after - plain.read(plain_model, Site("mlp_out", layer), ids)[point.position]
                row = table.loc[pair.pair_id]
                assert row.loc[("resid_post", layer), column] == pytest.approx(read(after, point), abs=1e-4)
                assert row.loc[("mlp_out", layer), column] == pytest.approx(read(after, point), abs=1e-4)
                assert row.loc[("attn_z", layer), column] == pytest.approx(read(attention_only, point), abs=1e-4)


@torch.no_grad()
def test_with_all_decisions_the_lens_is_the_mean_over_every_newline(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """After the last layer the lens reads the metric itself; before it, a final norm and the unembedding."""
    table = logit_lens(Task(lm, pairs[:3], question=Question(decision="all"))).set_index(["pair_id", "kind", "layer"])
    for pair in pairs[:3]:
        assert len(pair.points) > 1
        for column, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
            assert ids is not None
            values = [float(plain.at_point(plain_model, ids, point)) for point in pair.points]
            found = table.loc[(pair.pair_id, "resid_post", lm.n_layers - 1), column]
            assert found == pytest.approx(sum(values) / len(values), abs=1e-4)
            after = plain.read(plain_model, Site("resid_post", 2), ids)[[point.position for point in pair.points]]
            logits = plain_model.lm_head(plain_model.model.norm(after))
            cap = plain_model.config.final_logit_softcapping
            logits = cap * torch.tanh(logits / cap)
            both = zip(logits, pair.points, strict=True)
            early = torch.stack([row[point.wanted[0]] - row[point.unwanted[0]] for row, point in both]).mean()
            assert table.loc[(pair.pair_id, "resid_post", 2), column] == pytest.approx(float(early), abs=1e-4)


def test_gains_add_up_to_the_final_difference(lm: LanguageModel, pairs: list[Pair]) -> None:
    table = logit_lens(Task(lm, pairs))
    gains = table.pivot_table(index=["pair_id", "layer"], columns="kind", values="gain", sort=False)
    np.testing.assert_allclose(gains["attn_z"] + gains["mlp_out"], gains["resid_post"], atol=1e-9)
    batch = run_batch(lm, pairs, [Site("resid_post", 5)], Question())
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    final = (batch.clean.metric - batch.corrupted.metric).tolist()
    totals = gains["resid_post"].groupby("pair_id", sort=False).sum()
    assert totals.loc[[pair.pair_id for pair in pairs]].tolist() == pytest.approx(final, abs=1e-4)


def test_batches_do_not_change_the_lens(lm: LanguageModel, pairs: list[Pair]) -> None:
    asked = Question(find_metric("neg-log-prob"), decision="all")
    one, all_together = (logit_lens(Task(lm, pairs, question=asked, pace=Pace(batch_size=size))) for size in (1, 5))
    keys = ["pair_id", "layer", "kind"]
    merged = one.merge(all_together, on=keys)
    assert len(merged) == len(one) == len(pairs) * lm.n_layers * 3
    assert (merged["gain_x"] - merged["gain_y"]).abs().max() < 1e-5
