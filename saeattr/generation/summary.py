"""Lists that were generated under an ablation, as numbers: one row a list, then means with intervals."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from saeattr.behaviours.lists.sampling import SampledList
from saeattr.stats import mean_interval, shannon_index
from saeattr.tables import GENERATION, GROUP_SITE

ConditionName = Literal["nothing", "features", "controls", "steering"]
CONDITIONS: tuple[ConditionName, ...] = ("nothing", "features", "controls", "steering")
#: A condition as a reader reads it, where its name does not say enough.
CONDITION_WORDS = {"controls": "controls of equal length"}
#: What is measured of a list; each is a column of ``generate_conditions``.
MEASURES = ("items", "tokens", "repeated", "shannon", "ended")
#: What tells one comparison from another.
COMPARISON = [*GROUP_SITE, "base", "n_features"]


def measure_list(sampled: SampledList) -> dict[str, Any]:
    """One list's row."""
    names = [item.text for item in sampled.parsed.complete_items]
    return {
        "list_id": sampled.list_id,
        "seed": sampled.seed,
        "items": len(names),
        "tokens": len(sampled.token_ids) - sampled.prompt_length,
        "repeated": len(names) - len(set(names)),
        "shannon": shannon_index(names),
        "ended": sampled.parsed.ended,
        "text": sampled.parsed.text,
    }


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Means over lists with Student's 95 % intervals, and what each condition adds to nothing, list by list.

    Args:
        table: from ``generate_conditions``, several of them concatenated if wished. Only its measures are averaged.

    Returns:
        one row for each comparison, condition and measure: n_lists, mean, low, high, added, added_low, added_high.
        Sets of controls are averaged within each list first, so that the lists are what differs. Lists that are the
        same in every condition (greedy ones) are one list.
    """
    rows = []
    table = table.astype(dict.fromkeys(MEASURES, float))
    for key, drawn in table.groupby(COMPARISON, sort=False):
        own = drawn[drawn["list_id"].isin(distinct_lists(drawn))]
        # Sets of controls are averaged here, and nothing else is: only measures are columns.
        of_lists = own.groupby(["condition", "list_id"])[list(MEASURES)].mean()
        ratios = own.groupby("condition")["length_ratio"].mean()
        for measure in MEASURES:
            by_list = of_lists[measure].unstack("condition")
            for condition in (name for name in CONDITIONS if name in by_list):
                values = by_list[condition].to_numpy()
                added = values - by_list["nothing"].to_numpy()
                low, high = mean_interval(np.stack([values, added]))
                rows.append(
                    {
                        **dict(zip(COMPARISON, key, strict=True)),
                        "condition": condition,
                        "measure": measure,
                        "n_lists": len(values),
                        "length_ratio": float(ratios[condition]),
                        "mean": float(values.mean()),
                        "low": float(low[0]),
                        "high": float(high[0]),
                        "added": float(added.mean()),
                        "added_low": float(low[1]),
                        "added_high": float(high[1]),
                    }
                )
    return GENERATION.frame(pd.DataFrame(rows))


def pool_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Lists of several groups as those of one, named after all of them: each list counts once."""
    groups = list(dict.fromkeys(table["group"]))
    return table.assign(list_id=table["group"] + "/" + table["list_id"], group=", ".join(groups))


def distinct_lists(table: pd.DataFrame) -> list[str]:
    """The ids of the lists of one comparison that differ in some condition, the first of those that do not."""
    texts = table.pivot(index="list_id", columns=["condition", "control_set"], values="text")
    return texts.drop_duplicates().index.tolist()
