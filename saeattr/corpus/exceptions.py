"""Topics that are unlike the others in a share, and lists that end otherwise than nearly all others.

A topic is an exception if three things hold together. Its lists differ from those of the other topics beyond chance:
Fisher's exact test where a list has the property or not, Mann and Whitney's where it has a share of it, at a false
discovery rate of 5 % over the topics. It is farther from the median of the other topics than ``FAR`` times their robust
standard deviation (1.4826 times their median absolute deviation; Hampel 1974), because topics differ anyway, and with
many lists every one differs beyond chance. And it is farther than ``SMALLEST``, because where the others hardly differ
any distance is far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.corpus.summary import distinct_lists, ends_in_blank
from saeattr.stats import benjamini_hochberg
from saeattr.tables import CONDITION, LIST_EXCEPTIONS

FAR = 3.0
SMALLEST = 0.1
RATE = 0.05
#: With fewer there is no telling what the others are like.
FEWEST_TOPICS = 4
#: Scales the median absolute deviation to the standard deviation of a normal distribution.
TO_DEVIATION = 1.4826
#: Lists are named as unusual where so many others agree.
USUAL = 0.9


def exceptions(table: pd.DataFrame) -> pd.DataFrame:
    """The topics that are exceptions, by measure (``tables.LIST_EXCEPTIONS``).

    Args:
        table: ``tables.LIST_STATISTICS``, of several topics.
    """
    rows: list[dict[str, Any]] = []
    lists = table[table["n_items"] > 0]
    for key, own in lists.groupby(CONDITION[1:], sort=False, dropna=False):
        own, where = distinct_lists(own), dict(zip(CONDITION[1:], key, strict=True))
        ended = own[own["ended"]]
        measured = {
            "single_token": own.assign(value=own["single_token"]).dropna(subset=["value"]),
            "with_blank": own.assign(value=(own["n_blanks"] > 0).astype(float)),
            "last_blank": ended.assign(value=ends_in_blank(ended).astype(float)),
        }
        for measure, values in measured.items():
            rows += [{**row, **where, "measure": measure} for row in _unlike(values)]
    return LIST_EXCEPTIONS.frame(pd.DataFrame(rows))


def odd_lists(table: pd.DataFrame) -> pd.DataFrame:
    """The ended lists without a blank after their last item where nearly all have one, or with one where nearly none.

    Nearly all: ``USUAL`` of the ended lists of the same request, temperature and source, of any topic.

    Args:
        table: ``tables.LIST_STATISTICS``.
    """
    ended = table[table["ended"] & (table["n_items"] > 0)]
    has_blank = ends_in_blank(ended)
    share = has_blank.astype(float).groupby([ended[name] for name in CONDITION[1:]], dropna=False).transform("mean")
    return ended[(has_blank & (share <= 1 - USUAL)) | (~has_blank & (share >= USUAL))].reset_index(drop=True)


def _unlike(lists: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The topics whose lists are exceptions in ``value``."""
    topics = {str(name): own["value"].to_numpy(dtype=float) for name, own in lists.groupby("group", sort=False)}
    if len(topics) < FEWEST_TOPICS:
        return
    means = np.array([values.mean() for values in topics.values()])
    rest = [np.concatenate([own for other, own in topics.items() if other != name]) for name in topics]
    p = np.array([_p_value(own, others) for own, others in zip(topics.values(), rest, strict=True)])
    for at, (name, q) in enumerate(zip(topics, benjamini_hochberg(p), strict=True)):
        others = np.delete(means, at)
        middle = float(np.median(others))
        spread = TO_DEVIATION * float(np.median(np.abs(others - middle)))
        if q <= RATE and abs(means[at] - middle) > max(FAR * spread, SMALLEST):
            numbers = {"value": means[at], "others": middle, "spread": spread, "q_value": q}
            yield {"group": name, "n_lists": len(topics[name]), **numbers}


def _p_value(own: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """That a topic's lists are like the others."""
    # Importing it takes most of a second, and every study's figures import this module.
    from scipy.stats import fisher_exact, mannwhitneyu

    both = np.concatenate([own, others])
    if (both == both[0]).all():
        return 1.0
    if np.isin(both, (0.0, 1.0)).all():
        counts = [[int(values.sum()), int((1 - values).sum())] for values in (own, others)]
        return float(fisher_exact(counts)[1])  # pyright: ignore[reportArgumentType]
    return float(mannwhitneyu(own, others).pvalue)
