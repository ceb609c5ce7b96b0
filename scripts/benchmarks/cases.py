"""What several benchmarks measure on: pairs of the bundled behaviour's lists, and their runs asked in another way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import BatchRuns


def list_pairs(lm: LanguageModel, topics: Sequence[str], n_lists: int) -> list[Pair]:
    """Pairs of ``n_lists`` short lists of each topic, sampled from the model; read at the last newline."""
    lists = [one for topic in topics for one in sample_lists(lm, topic, Sampling(n_lists))]
    pairs, _ = make_pairs(lm.tokenizer, lists)
    return pairs


def asked(batch: BatchRuns, **changes: Any) -> BatchRuns:
    """The same runs with another base, method or number of steps asked of them."""
    return dataclasses.replace(batch, question=dataclasses.replace(batch.question, **changes))
