"""What a feature's page holds, and which features are refused."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from saeattr import UserError
from saeattr.features.detail import feature_details
from saeattr.runs.task import Task
from saeattr.sites import Site


def test_the_first_site_has_nothing_upstream(lm, saes, pairs) -> None:
    chosen = pd.DataFrame({"layer": [0, 1], "kind": ["attn_z", "resid_post"], "feature": [1, 2]})
    task = Task(lm, pairs, [saes[site] for site in (Site("attn_z", 0), Site("resid_post", 1))])
    contexts, details = feature_details(task, chosen)
    _, alone = feature_details(task, chosen, with_upstream=False)
    assert alone == [replace(detail, target=None, upstream=None) for detail in details]
    assert [str(detail.site) for detail in details] == ["attn_z.0", "resid_post.1"]
    assert len(contexts) == len(pairs)
    first = details[0]
    assert first.upstream is None or first.upstream.features == ()
    assert len(first.top_logits) == len(first.bottom_logits) == 10
    values = [value for _, value in first.top_logits]
    assert values == sorted(values, reverse=True)
    assert torch.tensor([cosine for _, cosine in first.neighbours]).abs().max() <= 1 + 1e-5


def test_a_feature_without_an_sae_is_refused(lm, saes, pairs) -> None:
    chosen = pd.DataFrame({"layer": [1], "kind": ["mlp_out"], "feature": [10**6]})
    with pytest.raises(UserError, match="so none is numbered"):
        feature_details(Task(lm, pairs, list(saes.values())), chosen)
    with pytest.raises(UserError, match="there is no SAE for mlp_out.1"):
        feature_details(Task(lm, pairs), chosen)
