"""A group's attribution: the methods side by side, and x replaced by its reconstruction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.attribution.group import attribute_group, reconstruction_effect
from saeattr.attribution.methods import METHODS
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import relevance_rules
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import total_effect
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import BaseName, Decision
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


@pytest.mark.parametrize("decision", ["last", "all"])
def test_whole_sites_are_patched_in_the_first_pairs_and_a_residual_one_to_the_corrupted_run_in_all_of_them(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], decision: Decision
) -> None:
    sites = [Site("mlp_out", 2), Site("resid_post", 3)]
    files = [saes[site] for site in sites]
    question = Question(decision=decision, check_pairs=2)
    found = attribute_group(Task(lm, pairs, files, question, Pace(batch_size=3))).site_effects.set_index("kind")
    batch = run_batch(lm, pairs, sites, question)
    assert batch.corrupted is not None
    for site in sites:
        rows = found.loc[site.kind]
        assert rows["pair_id"].tolist() == [pair.pair_id for pair in pairs]
        assert rows["reconstruction_effect"].notna().tolist() == [True, True, False, False, False]
        measured = [site.kind == "resid_post" or row < 2 for row in range(len(pairs))]
        assert rows["total_effect"].notna().tolist() == measured
        # By running the layers above again, in every pair.
        x_base = batch.clean.x[site].float().clone()
        x_base[batch.usable] = batch.corrupted.x[site].float()[batch.usable]
        exact = total_effect(batch, site, x_base).double().numpy()[measured]
        np.testing.assert_allclose(rows["total_effect"][measured], exact, atol=2e-4)
        rebuilt = reconstruction_effect(load_sae(saes[site]), batch).double().numpy()
        np.testing.assert_allclose(rows["reconstruction_effect"][:2], rebuilt[:2], atol=2e-4)
    zero = attribute_group(Task(lm, pairs, files, Question(base="zero", check_pairs=2))).site_effects
    assert zero.groupby("kind")["total_effect"].count().tolist() == [2, 2]


@pytest.mark.parametrize("base", ["zero", "mean"])
@pytest.mark.parametrize("method", ["attribution", "ig"])
def test_pairs_without_a_corrupted_prompt_have_the_same_attributions(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName, method: str
) -> None:
    """The zero and mean bases never look at it; the metric is then told of the clean runs alone."""
    files = [saes[Site("attn_z", 1)], saes[Site("resid_post", 3)]]
    bare = [dataclasses.replace(pair, corrupted_ids=None) for pair in pairs]
    asked = Question(base=base, method=method, ig_steps=2)
    with_it, without = (attribute_group(Task(lm, some, files, asked)) for some in (pairs, bare))
    for name in ("attributions", "features", "site_effects"):
        pd.testing.assert_frame_equal(getattr(without, name), getattr(with_it, name))
    clean = with_it.metric_by_point[with_it.metric_by_point["run"] == "clean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(without.metric_by_point, clean)
    assert without.attributions["effect"].abs().max() > 0.1


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_group_may_mix_pairs_with_and_without_a_corrupted_prompt(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], batch_size: int
) -> None:
    """Every pair that has one keeps its corrupted metric, whichever pairs share its batch."""
    mixed = [dataclasses.replace(pair, corrupted_ids=None) if at in (1, 2) else pair for at, pair in enumerate(pairs)]
    task = Task(lm, mixed, [saes[Site("mlp_out", 2)]], Question(base="zero"), Pace(batch_size=batch_size))
    whole = attribute_group(dataclasses.replace(task, pairs=pairs))
    found = attribute_group(task)
    assert found.attributions["pair_id"].unique().tolist() == [pair.pair_id for pair in pairs]
    np.testing.assert_allclose(found.attributions["effect"], whole.attributions["effect"], rtol=0, atol=1e-5)
    lone = [pairs[at].pair_id for at in (1, 2)]
    table = whole.metric_by_point
    expected = table[(table["run"] == "clean") | ~table["pair_id"].isin(lone)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.metric_by_point, expected, rtol=0, atol=1e-4)


def test_the_corrupted_base_is_refused_in_one_line_where_a_pair_has_no_corrupted_prompt(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    bare = [*pairs[:2], dataclasses.replace(pairs[2], corrupted_ids=None)]
    with pytest.raises(UserError) as caught:
        attribute_group(Task(lm, bare, [saes[Site("mlp_out", 2)]]))
    assert str(caught.value) == (
        f"pair {pairs[2].pair_id} of 'cities' has no corrupted prompt: "
        "features can be patched to --base zero or mean only"
    )
