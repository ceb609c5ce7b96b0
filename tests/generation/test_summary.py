"""The numbers of generated lists, and what the summary makes of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from saeattr.generation.summary import MEASURES, summarise


def rows(condition: str, items: list[int], control_set: int = -1) -> pd.DataFrame:
    fixed = {"group": "cities", "layer": 0, "kind": "resid_post", "base": "zero", "n_features": 5}
    fixed |= {"condition": condition}
    lists = [f"{number:03d}" for number in range(len(items))]
    texts = [f"{condition} {control_set} {number}" for number in range(len(items))]
    measures = {"items": items, "tokens": 3, "repeated": 0, "shannon": 1.0, "ended": True, "text": texts}
    ratio = 1.0 - control_set / 10 if condition == "controls" else math.nan
    return pd.DataFrame({**fixed, "control_set": control_set, "list_id": lists, "length_ratio": ratio, **measures})


def test_a_summary_averages_measures_only_and_pairs_lists() -> None:
    """Control sets are averaged within a list; what is added is the mean of the lists' own differences."""
    table = pd.concat([rows("nothing", [4, 6]), rows("features", [14, 12]), rows("controls", [5, 6], 0)])
    table = pd.concat([table, rows("controls", [5, 10], 1)], ignore_index=True)
    found = summarise(table).set_index(["condition", "measure"])
    assert set(found.index.get_level_values("measure")) == set(MEASURES)
    assert found.loc[("features", "items"), ["mean", "added", "n_lists"]].tolist() == [13, 8, 2]
    assert found.loc[("controls", "items"), ["mean", "added", "n_lists"]].tolist() == [6.5, 1.5, 2]
    # Of two lists, 10 and 6 more: Student's interval has 12.7 standard errors of 2 to either side.
    reach = scipy.stats.t.ppf(0.975, 1) * 2
    ends = found.loc[("features", "items"), ["added_low", "added_high"]].tolist()
    assert ends == pytest.approx([8 - reach, 8 + reach])
    # Of the two sets of controls.
    assert found.loc[("controls", "items"), "length_ratio"] == pytest.approx(0.95)
    assert math.isnan(found.loc[("features", "items"), "length_ratio"])
    assert found.loc[("nothing", "ended"), "mean"] == 1
    assert found.loc[("nothing", "items"), ["added", "added_low", "added_high"]].tolist() == [0, 0, 0]
    assert np.isfinite(found[["mean", "low", "high"]].to_numpy(dtype=float)).all()


def test_lists_that_are_the_same_in_every_condition_are_one() -> None:
    """Of four lists the second repeats the first, and the fourth the third without the features only."""
    nothing, features = rows("nothing", [4, 4, 6, 6]), rows("features", [5, 5, 9, 8])
    nothing["text"], features["text"] = ["a", "a", "b", "b"], ["c", "c", "d", "e"]
    found = summarise(pd.concat([nothing, features])).set_index(["condition", "measure"])
    assert found.loc[("features", "items"), ["mean", "n_lists"]].tolist() == [pytest.approx(22 / 3), 3]
    greedy = summarise(pd.concat([nothing.head(2), features.head(2)])).set_index(["condition", "measure"])
    assert greedy.loc[("features", "items"), ["mean", "added", "n_lists"]].tolist() == [5, 1, 1]
    assert math.isnan(greedy.loc[("features", "items"), "added_low"])
