"""Pairs of real lists with a metric that means nothing: two tokens drawn for each pair, so no effect has a direction.

Which of the two is wanted is chance, so that every mean effect is 0 over all draws, though in a single pair a feature
moves the two logits as it does. Whatever is called causal there is a false positive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel


def shuffle_metric(lm: LanguageModel, pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The pairs with another (wanted, unwanted) in each: two different tokens of the vocabulary, none of them special.

    All decision points of a pair contrast the same two.
    """
    tokens = np.setdiff1d(np.arange(len(lm.tokenizer)), lm.tokenizer.all_special_ids)
    rng = np.random.default_rng(seed)
    shuffled = []
    for pair in pairs:
        wanted, unwanted = (int(token) for token in rng.choice(tokens, 2, replace=False))
        points = [dataclasses.replace(point, wanted=(wanted,), unwanted=(unwanted,)) for point in pair.points]
        shuffled.append(dataclasses.replace(pair, points=tuple(points)))
    return shuffled
