"""The pace changes no result: only how much is done at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.selection.measure import select_sites
from saeattr.sites import Site
from saeattr.validation.group import Estimates, ValidationPlan, validate_features

SITES = (Site("attn_z", 1), Site("mlp_out", 3), Site("resid_post", 5))
PACES = (Pace(1, 1), Pace(3, 7), Pace(16, 32))
PLAN = ValidationPlan(top=5, n_controls=3, longest_curve=4)
#: In float32 the last bit of a metric of 10 is 1e-6, and an exact effect is the difference of two;
#: a ratio with a small denominator has a large value.
ROUNDING = 2e-5


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Names, order and whole numbers to the letter, all else up to rounding."""
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=ROUNDING, atol=ROUNDING)
    whole = [name for name in one.columns if one[name].dtype.kind != "f"]
    pd.testing.assert_frame_equal(one[whole], other[whole])


@pytest.mark.parametrize(
    "question", [Question(), Question(decision="all", base="mean", method="ig", ig_steps=3)], ids=["default", "other"]
)
def test_attributions_do_not_depend_on_the_pace(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], question: Question
) -> None:
    files = [saes[site] for site in SITES]
    first, *others = (attribute_group(Task(lm, pairs, files, question, pace)) for pace in PACES)
    for other in others:
        for name in ("attributions", "features", "site_effects", "metric_by_point"):
            one, again = getattr(first, name), getattr(other, name)
            if name == "features":
                # Where two effects are nearly equal their ranks may change places.
                one, again = (
                    table.drop(columns="rank").sort_values(["layer", "kind", "feature"]) for table in (one, again)
                )
                one, again = (table.reset_index(drop=True) for table in (one, again))
            assert_same(one, again)
    assert first.attributions["effect"].abs().max() > 0.1


@pytest.mark.parametrize("question", [Question(), Question(decision="all", base="mean")], ids=["default", "other"])
def test_proofs_do_not_depend_on_the_pace(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], question: Question
) -> None:
    files = [saes[site] for site in SITES]
    found = attribute_group(Task(lm, pairs, files, question))
    estimates = Estimates(found.features, found.attributions)
    tables = [validate_features(Task(lm, pairs, files, question, pace), estimates, PLAN) for pace in PACES]
    for other in tables[1:]:
        for name in ("validation", "curves", "compared", "agreement", "exact"):
            assert_same(getattr(tables[0], name), getattr(other, name))
    assert tables[0].agreement["same_sign"].notna().all()
    assert tables[0].validation["exact_mean"].abs().max() > 0.1


def test_layer_scores_do_not_depend_on_the_pace(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    files = [saes[site] for site in SITES]
    first, *others = (select_sites(Task(lm, pairs, files, pace=pace)) for pace in PACES)
    for other in others:
        for name in ("table", "lens", "ablation"):
            assert_same(getattr(first, name), getattr(other, name))
        assert first.chosen == other.chosen
    assert np.ptp(first.table["score"]) > 0.1


def test_the_seed_draws_controls_and_random_orders_and_nothing_else(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    tasks = [Task(lm, pairs, [saes[SITES[1]]], pace=Pace(seed=seed)) for seed in (0, 1)]
    one, other = (attribute_group(task) for task in tasks)
    for name in ("attributions", "features", "site_effects", "metric_by_point"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    estimates = Estimates(one.features, one.attributions)
    exact = [validate_features(task, estimates, PLAN).exact for task in tasks]
    alone, others = zip(*((part[part["along"] == part["feature"]], part) for part in exact), strict=True)
    tested = [part[part["evidence"] == "test"].reset_index(drop=True) for part in alone]
    pd.testing.assert_frame_equal(*tested)
    drawn = [set(part.loc[part["evidence"] == "test", "along"]) for part in others]
    assert drawn[0] != drawn[1]
