"""A metric that means nothing: two tokens drawn for each pair."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benchmarks.verdicts.shuffled import shuffle_metric


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("bundled", device="cpu")


@pytest.fixture(scope="module")
def pairs(lm: LanguageModel) -> list[Pair]:
    return make_pairs(lm.tokenizer, sample_lists(lm, "animals", Sampling(4)))[0]


def test_every_pair_contrasts_two_tokens_of_its_own(lm: LanguageModel, pairs: list[Pair]):
    shuffled = shuffle_metric(lm, pairs, seed=0)
    contrasts = [{(point.wanted, point.unwanted) for point in pair.points} for pair in shuffled]
    assert all(len(own) == 1 for own in contrasts)
    assert len(set.union(*contrasts)) == len(pairs)
    for (wanted,), (unwanted,) in set.union(*contrasts):
        assert wanted != unwanted
        assert not {wanted, unwanted} & set(lm.tokenizer.all_special_ids)


def test_nothing_but_the_contrast_changes(lm: LanguageModel, pairs: list[Pair]):
    for before, after in zip(pairs, shuffle_metric(lm, pairs, seed=0), strict=True):
        points = tuple(
            dataclasses.replace(point, wanted=own.wanted, unwanted=own.unwanted)
            for point, own in zip(after.points, before.points, strict=True)
        )
        assert dataclasses.replace(after, points=points) == before


def test_a_seed_is_a_draw(lm: LanguageModel, pairs: list[Pair]):
    assert shuffle_metric(lm, pairs, seed=0) == shuffle_metric(lm, pairs, seed=0)
    assert shuffle_metric(lm, pairs, seed=0) != shuffle_metric(lm, pairs, seed=1)
