"""Folds of facts: what predicts a fact has seen neither its answer nor, across relations, its relation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

FOLDS = 4


def split_families(families: Sequence[object], n_folds: int = FOLDS, seed: int = 0) -> Int[ndarray, " facts"] | None:
    """The fold of each fact; facts of one family share it.

    All phrasings of a fact have the same answer, so with answers as families no fact is on both sides, nor is another
    fact of the same answer. The largest families come first, each into the smallest fold; equal ones in random order.

    Returns:
        None with fewer families than folds.
    """
    names = list(dict.fromkeys(families))
    if len(names) < n_folds:
        return None
    sizes = {name: sum(family == name for family in families) for name in names}
    order = np.random.default_rng(seed).permutation(len(names))
    filled, place = [0] * n_folds, {}
    for name in sorted((names[at] for at in order), key=lambda name: -sizes[name]):
        fold = int(np.argmin(filled))
        place[name], filled[fold] = fold, filled[fold] + sizes[name]
    return np.array([place[family] for family in families])
