"""Positional ablation against full forwards of the plain Hugging Face model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr.behaviours.lists.pairs import ListRequest, make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import DECISION, Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.runs.roles import position_roles
from saeattr.selection.roles import positional_ablation
from saeattr.sites import KINDS, Site
from tests import plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_roles_effect_is_that_of_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    sites = [Site(kind, layer) for layer in (0, 3, 5)]
    batch = run_batch(lm, pairs[:2], sites, Question())
    found = positional_ablation(batch, sites, 64).set_index(["pair_id", "layer", "role"])["effect"]
    for pair, roles in zip(pairs[:2], position_roles(batch), strict=True):
        point = pair.points[-1]
        assert roles[point.position] == DECISION
        for site in sites:
            corrupted = plain.read(plain_model, site, pair.corrupted_ids or ())
            for role in set(roles):
                mask = torch.tensor([own == role for own in roles])[:, None]
                with torch.no_grad():
                    before = plain.at_point(plain_model, pair.clean_ids, point)
                    with plain.edited(plain_model, site, lambda x, m=mask, c=corrupted: torch.where(m, c, x)):
                        after = plain.at_point(plain_model, pair.clean_ids, point)
                # A role without a row has no effect: both runs are equal there, or the metric cannot see it.
                listed = found.get((pair.pair_id, site.layer, role), 0.0)
                assert float(listed) == pytest.approx(float(after - before), abs=1e-4)


def test_with_all_decisions_every_newline_is_a_decision_and_counts_the_same(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    site = Site("resid_post", 2)
    batch = run_batch(lm, pairs[:2], [site], Question(decision="all"))
    found = positional_ablation(batch, [site], 64).set_index(["pair_id", "role"])["effect"]
    for pair, roles in zip(pairs[:2], position_roles(batch), strict=True):
        points = [point.position for point in pair.points]
        assert len(points) > 1
        assert [at for at, role in enumerate(roles) if role == DECISION] == points
        corrupted = plain.read(plain_model, site, pair.corrupted_ids or ())
        for role in (DECISION, "item", "length"):
            mask = torch.tensor([own == role for own in roles])[:, None]
            before, after = [], []
            for point in pair.points:
                before.append(float(plain.at_point(plain_model, pair.clean_ids, point)))
                with plain.edited(plain_model, site, lambda x, m=mask, c=corrupted: torch.where(m, c, x)):
                    after.append(float(plain.at_point(plain_model, pair.clean_ids, point)))
            change = (sum(after) - sum(before)) / len(points)
            assert float(found[pair.pair_id, role]) == pytest.approx(change, abs=1e-4)  # pyright: ignore[reportArgumentType]


def test_with_the_last_decision_earlier_newlines_keep_their_role(lm: LanguageModel, pairs: list[Pair]) -> None:
    batch = run_batch(lm, pairs, [Site("resid_post", 2)], Question())
    for pair, roles in zip(pairs, position_roles(batch), strict=True):
        *earlier, last = (point.position for point in pair.points)
        assert [at for at, role in enumerate(roles) if role == DECISION] == [last]
        assert {roles[at] for at in earlier} == {"newline"}


def test_batches_do_not_change_the_effects(lm: LanguageModel) -> None:
    lists = sample_lists(lm, "cities", Sampling(5, seed=1))
    blanks, _ = make_pairs(lm.tokenizer, lists, ListRequest("blank-vs-newline"))
    sites = [Site("resid_post", 2), Site("attn_z", 4)]
    batch = run_batch(lm, blanks, sites, Question(decision="all"))
    many, few = (positional_ablation(batch, sites, size) for size in (64, 3))
    assert many.drop(columns="effect").equals(few.drop(columns="effect"))
    assert (many["effect"] - few["effect"]).abs().max() < 1e-5
    assert many["effect"].abs().max() > 0.1
