"""Statistics of lists summed up: by topic, request, temperature and source, with intervals over lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saeattr.stats import mean_interval, ratio_interval, shannon_index, share_interval
from saeattr.tables import CONDITION, LIST_BLANKS, LIST_SUMMARY

#: Means over lists.
MEANS = ("n_items", "tokens_per_item", "single_token", "repeats", "shannon")
#: Lists that are named for each position of a blank.
NAMED = 20


def summarise_lists(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each topic, request, temperature and source (``tables.LIST_SUMMARY``).

    Args:
        table: ``tables.LIST_STATISTICS``.
    """
    return LIST_SUMMARY.frame(pd.DataFrame([_summary(key, lists) for key, lists in conditions(table)]))


def blank_positions(table: pd.DataFrame) -> pd.DataFrame:
    """In how many ended lists a blank follows the last item, the one before it, and so on (``tables.LIST_BLANKS``)."""
    rows: list[dict[str, Any]] = []
    for key, lists in conditions(table):
        ended = distinct_lists(lists[lists["ended"] & (lists["n_items"] > 0)])
        sizes = ended["n_items"].to_numpy()
        where = [set(map(int, positions)) for positions in ended["blank_from_end"]]
        names = ended["list_id"].tolist()
        for from_end in range(1, int(sizes.max(initial=0)) + 1):
            n = int((sizes >= from_end).sum())
            having = [name for name, positions in zip(names, where, strict=True) if from_end in positions]
            low, high = share_interval(len(having), n)
            share = {"share": len(having) / n, "share_low": low, "share_high": high}
            rows.append({**key, "from_end": from_end, "n_lists": n, "n_blank": len(having), **share})
            rows[-1]["list_ids"] = having[:NAMED]
    return LIST_BLANKS.frame(pd.DataFrame(rows))


def conditions(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The lists of each topic, request, temperature and source, in the order in which they come."""
    for key, lists in table.groupby(CONDITION, sort=False, dropna=False):
        named = dict(zip(CONDITION, key, strict=True))
        yield {**named, "on_policy": bool(lists["on_policy"].iloc[0])}, lists


def distinct_lists(lists: pd.DataFrame) -> pd.DataFrame:
    """The lists that are draws of their own: without randomness (temperature 0) equal ones are one."""
    if not (lists["temperature"] == 0).any():
        return lists
    return lists[~lists["items"].map(tuple).duplicated()]


def ends_in_blank(lists: pd.DataFrame) -> pd.Series:
    """Whether a blank follows the last item, list by list."""
    return pd.Series([1 in positions for positions in lists["blank_from_end"]], lists.index, dtype=bool)


def _summary(key: dict[str, Any], lists: pd.DataFrame) -> dict[str, Any]:
    own = distinct_lists(lists[lists["n_items"] > 0])
    items = [name for names in own["items"] for name in names]
    row = {
        **key,
        "n_lists": len(own),
        "no_list": int((lists["n_items"] == 0).sum()),
        "fewest": int(own["n_items"].min()) if len(own) else 0,
        "most": int(own["n_items"].max()) if len(own) else 0,
        "distinct_items": len(set(items)),
        "shannon_all": shannon_index(items),
    }
    for name in MEANS:
        row |= _mean(name, own[name].to_numpy(dtype=float))
    row |= _share("ended", own["ended"].to_numpy(dtype=bool))
    row |= _share("with_blank", own["n_blanks"].to_numpy() > 0)
    blanks, sizes = own["n_blanks"].to_numpy(dtype=float), own["n_items"].to_numpy(dtype=float)
    share = ratio_interval(blanks, sizes) if len(own) else (np.nan,) * 3
    return row | dict(zip(_ends("blank_item"), share, strict=True))


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    known = values[~np.isnan(values)]
    low, high = mean_interval(known[None])
    mean = float(known.mean()) if len(known) else float("nan")
    return dict(zip(_ends(name), (mean, float(low[0]), float(high[0])), strict=True))


def _share(name: str, hits: np.ndarray) -> dict[str, float]:
    share = float(hits.mean()) if len(hits) else float("nan")
    return dict(zip(_ends(name), (share, *share_interval(int(hits.sum()), len(hits))), strict=True))


def _ends(name: str) -> Sequence[str]:
    return name, f"{name}_low", f"{name}_high"
