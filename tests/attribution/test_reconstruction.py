"""The metric with x replaced by its reconstruction, against a hooked full forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.attribution.group import reconstruction_effect
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from tests import plain


@pytest.mark.parametrize("site", [Site("resid_post", 1), Site("attn_z", 2), Site("mlp_out", 3)], ids=str)
def test_it_is_the_change_of_a_full_forward_with_x_hat_everywhere_but_at_bos(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, site: Site
) -> None:
    sae = load_sae(saes[site])
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None

    def rebuild(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1], sae.decode(sae.encode(x[0, 1:]))[None]], dim=1)

    batch = run_batch(lm, pairs, [site], metric, "last")
    found = reconstruction_effect(lm, sae, batch, metric)
    for row, pair in enumerate(pairs):
        at = pair.decision_positions[-1]
        with torch.no_grad():
            before = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
            with plain.edited(plain_model, site, rebuild):
                after = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
        assert float(found[row]) == pytest.approx(float(after - before), abs=1e-4)
    assert found.abs().max() > 1e-3
