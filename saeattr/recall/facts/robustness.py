"""How far a fact's swing depends on the words that ask for it, and on the model that is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.errors import UserError
from saeattr.stats import median_interval
from saeattr.tables import BESIDE, FACT_SPREAD, PHRASINGS

#: What tells a row of one triage from the others, whatever file it came from.
SAME_ROW = ["category", "fact", "clean_prompt", "corrupt_prompt"]


def fact_spread(triage: pd.DataFrame) -> pd.DataFrame:
    """Each fact over its phrasings: ``tables.FACT_SPREAD``, the largest mean swing first."""
    if triage.empty:
        return FACT_SPREAD.empty()
    grouped = triage.groupby(["category", "fact"], sort=False)
    table = grouped.agg(
        n_phrasings=("swing", "size"),
        n_known=("known", "sum"),
        swing_mean=("swing", "mean"),
        swing_sd=("swing", "std"),
        swing_min=("swing", "min"),
        swing_max=("swing", "max"),
    )
    weakest = triage.loc[grouped["swing"].idxmin()].set_index(["category", "fact"])["phrasing"]
    table = table.assign(weakest=weakest).reset_index()
    return FACT_SPREAD.frame(table.sort_values("swing_mean", ascending=False, kind="stable"))


def phrasing_means(triage: pd.DataFrame) -> pd.DataFrame:
    """Each phrasing over the facts asked in it: ``tables.PHRASINGS``, in the battery's order."""
    if triage.empty:
        return PHRASINGS.empty()
    table = (
        triage.sort_values("row")
        .groupby(["category", "phrasing"], sort=False, as_index=False)
        .agg(
            n_facts=("swing", "size"),
            n_known=("known", "sum"),
            swing_mean=("swing", "mean"),
            p_right_mean=("p_right_clean", "mean"),
        )
    )
    return PHRASINGS.frame(table)


def share_between_facts(triage: pd.DataFrame) -> float:
    """The share of the swing's variance that is between facts; the rest is between phrasings of one fact.

    The intraclass correlation of one-way analysis of variance, ICC(1), which few phrasings do not inflate; it can fall
    below 0. NaN without a fact of several phrasings.
    """
    counts = triage.groupby(["category", "fact"])["swing"].transform("size")
    rows = triage[counts > 1]
    groups = [group["swing"].to_numpy() for _, group in rows.groupby(["category", "fact"])]
    if len(groups) < 2:
        return float("nan")
    sizes = np.array([len(group) for group in groups])
    total, n_groups = sizes.sum(), len(groups)
    grand = rows["swing"].mean()
    between = sum(len(group) * (group.mean() - grand) ** 2 for group in groups) / (n_groups - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (total - n_groups)
    # What the number of phrasings is on average, where facts have different ones.
    size = (total - (sizes**2).sum() / total) / (n_groups - 1)
    spread = between + (size - 1) * within
    return float((between - within) / spread) if spread > 0 else float("nan")


@dataclass(frozen=True)
class Beside:
    """Two models asked the same battery.

    Attributes:
        a, b: what a reader calls them.
        rows: ``tables.BESIDE``.
        only_a, only_b: rows that only one of them could be asked.
    """

    a: str
    b: str
    rows: pd.DataFrame
    only_a: int
    only_b: int

    @property
    def change(self) -> tuple[float, float, float]:
        """The median over facts of the mean change of their swing, with its 95 % interval (NaN under six facts).

        Phrasings of one fact are no separate evidence, so each fact counts once.
        """
        by_fact = self.rows.groupby(["category", "fact"])["change"].mean().to_numpy()
        low, high = median_interval(by_fact[None])
        return float(np.median(by_fact)), float(low[0]), float(high[0])


def side_by_side(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str] = ("A", "B")) -> Beside:
    """Join two triages row by row.

    Args:
        a, b: ``tables.TRIAGE`` of the same battery, such as of a base model and a tuned one.

    Raises:
        UserError: they have no row in common.
    """
    read = ["swing", "p_right_clean", "rank_clean", "known"]
    joined = a[[*SAME_ROW, "phrasing", *read]].merge(b[[*SAME_ROW, *read]], on=SAME_ROW, suffixes=("_a", "_b"))
    if joined.empty:
        raise UserError("the two triages have no fact in common: make both from the same battery")
    joined = joined.rename(columns={f"p_right_clean_{one}": f"p_right_{one}" for one in "ab"})
    joined = joined.assign(change=joined["swing_b"] - joined["swing_a"])
    order = joined["change"].abs().sort_values(ascending=False, kind="stable").index
    rows = BESIDE.frame(joined.loc[order])
    return Beside(*names, rows, len(a) - len(rows), len(b) - len(rows))
