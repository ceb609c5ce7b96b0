"""A group's attribution: the methods side by side, and x replaced by its reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saeattr.attribution.group import attribute_group, reconstruction_effect
from saeattr.attribution.methods import METHODS
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import relevance_rules
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from tests import plain


def test_methods_differ_in_the_gradient_alone(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]) -> None:
    """The same rows and activations; the effect is the change of activation times each method's own gradient."""
    files = [saes[Site("resid_post", 1)], saes[Site("mlp_out", 2)]]
    tables = [
        attribute_group(Task(lm, pairs, files, Question(method=method), Pace(batch_size=3))).attributions
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
    sites = [Site("resid_post", layer) for layer in (0, 3)]
    batch = run_batch(lm, pairs, sites, Question(), rules=relevance_rules)
    assert batch.clean.metric is not None
    for site in sites:
        total = (batch.clean.x[site] * batch.clean.g[site]).sum((1, 2))
        torch.testing.assert_close(total, batch.clean.metric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("site", [Site("resid_post", 1), Site("attn_z", 2), Site("mlp_out", 3)], ids=str)
def test_the_reconstruction_effect_is_the_change_of_a_full_forward_with_x_hat_everywhere_but_at_bos(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, site: Site
) -> None:
    sae = load_sae(saes[site])

    def rebuild(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1], sae.decode(sae.encode(x[0, 1:]))[None]], dim=1)

    batch = run_batch(lm, pairs, [site], Question())
    found = reconstruction_effect(sae, batch)
    for row, pair in enumerate(pairs):
        point = pair.points[-1]
        with torch.no_grad():
            before = plain.at_point(plain_model, pair.clean_ids, point)
            with plain.edited(plain_model, site, rebuild):
                after = plain.at_point(plain_model, pair.clean_ids, point)
        assert float(found[row]) == pytest.approx(float(after - before), abs=1e-4)
    assert found.abs().max() > 1e-3
