"""The methods of a group's attribution side by side."""

from __future__ import annotations

import numpy as np
import torch
from saeattr.behaviours.pair import Pair

from saeattr.attribution.group import METHODS, AttributionPlan, attribute_group
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site


def test_methods_differ_in_the_gradient_alone(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]) -> None:
    """The same rows and activations; the effect is the change of activation times each method's own gradient."""
    metric = make_metric("end-vs-continue", lm.tokenizer)
    files = [saes[Site("resid_post", 1)], saes[Site("mlp_out", 2)]]
    tables = [
        attribute_group(lm, pairs, files, AttributionPlan(metric, method=method, batch_size=3)).attributions
        for method in METHODS
    ]
    same = ["pair_id", "layer", "kind", "feature", "position", "act_clean", "act_base"]
    for table in tables:
        assert table[same].equals(tables[0][same])
        change = table["act_base"] - table["act_clean"]
        np.testing.assert_allclose(table["effect"], change * table["grad"], rtol=1e-4, atol=1e-6)
    for table in tables[1:]:
        assert not np.allclose(table["grad"], tables[0]["grad"], rtol=0.05)


def test_relevance_patching_conserves_the_metric_in_a_padded_batch(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    sites = [Site("resid_post", layer) for layer in (0, 3)]
    batch = run_batch(lm, pairs, sites, metric, "last", relevance=True)
    assert batch.clean.metric is not None
    for site in sites:
        total = (batch.clean.x[site] * batch.clean.g[site]).sum((1, 2))
        torch.testing.assert_close(total, batch.clean.metric, rtol=1e-4, atol=1e-4)
