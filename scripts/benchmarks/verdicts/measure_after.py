"""The verdicts that a study gives: ranked by attribution on some pairs, tested on as many fresh ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import Pair
from saeattr.runs.task import Task
from saeattr.validation.evidence import Estimates
from saeattr.validation.group import ValidationPlan, validate_features

#: Verdicts alone: no cumulative curves.
PLAN = ValidationPlan(longest_curve=0)


def estimated(task: Task) -> pd.DataFrame:
    """features.parquet of the task's pairs."""
    return attribute_group(task).features


def verdicts_after(
    task: Task, fresh: Sequence[Pair], features: pd.DataFrame, chosen: Sequence[int] | None = None
) -> pd.DataFrame:
    """The verdicts on the features of the highest ranks, or on the chosen ones whatever their rank.

    Args:
        task: the pairs that ranked; with chosen features its only site is theirs.
        chosen: those without an entry in any pair have no estimate and get no verdict.

    Returns:
        by feature, the columns of ``tabulate``.
    """
    plan, known = PLAN, features
    if chosen is not None:
        known = features[features["feature"].isin(chosen)]
        plan = dataclasses.replace(PLAN, top=len(known))
    table = validate_features(task, Estimates(known), plan, fresh).validation
    return table.rename(columns={"effect_mean": "estimate"}).set_index("feature")
