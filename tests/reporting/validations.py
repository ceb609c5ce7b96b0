"""Validated groups to print and draw: tables with the numbers that a test wants, and a study that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import MakingTestPairs
from saeattr.study.results import Study
from saeattr.tables import FEATURES, PAIRS, VALIDATION

CAUSAL: dict[str, Any] = {
    **{"group": "cities", "layer": 5, "kind": "resid_post", "feature": 9, "effect_mean": -2.0, "effect_median": -1.9},
    **{"exact_mean": -1.9, "exact_median": -1.8, "exact_low": -2.1, "exact_high": -1.5, "n_pairs": 10, "gap": -9.0},
    **{"share": 0.2, "smallest": 0.01, "control_median": 0.1, "control_high": 0.3},
    **{"n_controls": 39, "n_as_strong": 0, "natural_share": 0.05, "p_value": 0.002, "q_value": 0.004},
    "verdict": "causal",
}
NOTHING = float("nan")


def validated(*changes: dict[str, Any]) -> pd.DataFrame:
    """A table of validation: a causal feature for each of ``changes``, with these."""
    return VALIDATION.frame(pd.DataFrame([{**CAUSAL, **change} for change in changes]))


def too_few_pairs(**changes: Any) -> dict[str, Any]:
    """What differs where three pairs test."""
    few = {"n_pairs": 3, "exact_low": NOTHING, "exact_high": NOTHING, "q_value": 1.0}
    return {**few, "verdict": "too few pairs", **changes}


def estimated(validation: pd.DataFrame) -> pd.DataFrame:
    """The features table that ranked what a validation tests."""
    more = {"n_pairs": 8, "top_role": "newline", "top_token": "\n"}
    rows = validation.drop(columns="n_pairs").assign(**more, rank=range(1, len(validation) + 1))
    return FEATURES.frame(
        rows.assign(effect_low=rows["effect_median"] - 0.25, effect_high=rows["effect_median"] + 0.25)
    )


class Told(Study):
    """A study of one group that has what a test says it has.

    ``fresh``: pairs drawn to test on; None where halves of the others test each other.
    """

    def __init__(self, root: Path, validation: pd.DataFrame, ranking: int = 8, fresh: int | None = 10) -> None:
        super().__init__(StudyFolder(root), ("cities",))
        self.__dict__["told"] = validation, ranking, fresh
        if fresh is not None:
            MakingTestPairs.folder(self.folder, "cities").mkdir(parents=True, exist_ok=True)

    @property
    def record(self) -> dict[str, Any]:
        return {"settings": {"method": "attribution", "base": "corrupted"}}

    def validation(self, group: str | None = None) -> pd.DataFrame:
        return self.__dict__["told"][0]

    def pairs(self, group: str | None = None) -> pd.DataFrame:
        return pd.DataFrame(index=range(self.__dict__["told"][1]), columns=PAIRS.names)

    def test_pairs(self, group: str | None = None) -> pd.DataFrame:
        return pd.DataFrame(index=range(self.__dict__["told"][2] or 0), columns=PAIRS.names)

    def power(self, group: str) -> str:
        return "" if self.validation().empty else "10 distinct pairs test 2 features: what they can show"
