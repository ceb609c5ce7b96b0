"""Positional ablation against full forwards of the plain Hugging Face model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.selection.roles import DECISION, position_roles, positional_ablation
from saeattr.sites import KINDS, Site
from tests import plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_roles_effect_is_that_of_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    sites = [Site(kind, layer) for layer in (0, 3, 5)]
    batch = run_batch(lm, pairs[:2], sites, metric, "last")
    found = positional_ablation(lm, batch, sites, metric, 64).set_index(["pair_id", "layer", "role"])["effect"]
    for pair, roles in zip(pairs[:2], position_roles(batch), strict=True):
        at = pair.decision_positions[-1]
        assert roles[at] == DECISION
        for site in sites:
            corrupted = plain.read(plain_model, site, pair.corrupted_ids)
            for role in set(roles):
                mask = torch.tensor([own == role for own in roles])[:, None]
                with torch.no_grad():
                    before = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
                    with plain.edited(plain_model, site, lambda x, m=mask, c=corrupted: torch.where(m, c, x)):
                        after = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
                # A role without a row has no effect: both runs are equal there, or the metric cannot see it.
                listed = found.get((pair.pair_id, site.layer, role), 0.0)
                assert float(listed) == pytest.approx(float(after - before), abs=1e-4)


def test_with_all_decisions_every_newline_is_a_decision_and_counts_the_same(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    site = Site("resid_post", 2)
    batch = run_batch(lm, pairs[:2], [site], metric, "all")
    found = positional_ablation(lm, batch, [site], metric, 64).set_index(["pair_id", "role"])["effect"]
    for pair, roles in zip(pairs[:2], position_roles(batch), strict=True):
        points = pair.decision_positions
        assert len(points) > 1
        assert [at for at, role in enumerate(roles) if role == DECISION] == list(points)
        corrupted = plain.read(plain_model, site, pair.corrupted_ids)
        for role in (DECISION, "item", "length"):
            mask = torch.tensor([own == role for own in roles])[:, None]
            before, after = [], []
            for at in points:
                before.append(float(plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)))
                with plain.edited(plain_model, site, lambda x, m=mask, c=corrupted: torch.where(m, c, x)):
                    after.append(float(plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)))
            change = (sum(after) - sum(before)) / len(points)
            assert float(found[pair.pair_id, role]) == pytest.approx(change, abs=1e-4)  # pyright: ignore[reportArgumentType]


def test_with_the_last_decision_earlier_newlines_keep_their_role(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    batch = run_batch(lm, pairs, [Site("resid_post", 2)], metric, "last")
    for pair, roles in zip(pairs, position_roles(batch), strict=True):
        *earlier, last = pair.decision_positions
        assert [at for at, role in enumerate(roles) if role == DECISION] == [last]
        assert {roles[at] for at in earlier} == {"newline"}


def test_batches_do_not_change_the_effects(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("blank-vs-newline", lm.tokenizer)
    sites = [Site("resid_post", 2), Site("attn_z", 4)]
    batch = run_batch(lm, pairs, sites, metric, "all")
    many, few = (positional_ablation(lm, batch, sites, metric, size) for size in (64, 3))
    assert many.drop(columns="effect").equals(few.drop(columns="effect"))
    assert (many["effect"] - few["effect"]).abs().max() < 1e-5
    assert many["effect"].abs().max() > 0.1
