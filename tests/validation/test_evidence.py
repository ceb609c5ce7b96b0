"""What ranks does not test: folds of fresh pairs and of halves, and what the tests to come can show."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import halves
from saeattr.tables import features_of
from saeattr.validation.evidence import Fold, fewest_together, make_folds, power_note
from tests.validation.validated import attributed


def test_fresh_pairs_are_one_fold_with_the_studys_ranks() -> None:
    found = attributed()
    (fold,) = make_folds(found.pairs, found.estimates, found.fresh)
    assert fold.pairs == found.fresh
    assert features_of(fold.ranked) == features_of(found.features)


def test_each_half_of_the_pairs_tests_what_attributing_the_other_half_alone_ranks() -> None:
    found = attributed()
    folds = make_folds(found.pairs, found.estimates, None)
    first, second = halves(found.pairs)
    assert [[pair.pair_id for pair in fold.pairs] for fold in folds] == [
        [pair.pair_id for pair in half] for half in (second, first)
    ]
    for fold, ranking in zip(folds, (first, second), strict=True):
        alone = attribute_group(dataclasses.replace(found.task(), pairs=ranking)).features
        assert features_of(fold.ranked.head(50)) == features_of(alone.head(50))
        np.testing.assert_allclose(fold.ranked["effect_mean"].head(50), alone["effect_mean"].head(50), atol=1e-5)


def ranked(n_features: int, half: float) -> pd.DataFrame:
    """Intervals of negative effects that reach ``half`` towards 0 and three times as far away from it."""
    rows = [("cities", 1, "mlp_out", at, -1.0, -1.0 - 3 * half, -1.0 + half) for at in range(n_features)]
    columns = ["group", "layer", "kind", "feature", "effect_median", "effect_low", "effect_high"]
    return pd.DataFrame(rows, columns=columns)


def test_the_smallest_effect_that_can_be_shown_is_half_an_interval_or_the_smallest_of_interest() -> None:
    """Of a gap of 5, an interval that reaches 0.1 towards 0 is 2 %, whatever the effect's sign."""
    pairs = attributed().pairs
    note = power_note([Fold(ranked(20, 0.1), [*pairs, *pairs][:10])], 20, -5.0, 0.01)
    assert note == "10 distinct pairs test 20 features: effects from about 2.0% of the gap on can be shown"
    turned = ranked(20, 0.1)
    turned[["effect_median", "effect_low", "effect_high"]] = -turned[["effect_median", "effect_high", "effect_low"]]
    assert power_note([Fold(turned, [*pairs, *pairs][:10])], 20, -5.0, 0.01) == note
    assert "from about 3.0% of" in power_note([Fold(ranked(20, 0.1), [*pairs, *pairs][:10])], 20, -5.0, 0.03)


def test_few_pairs_are_said_beforehand_to_give_no_verdict_or_only_many_at_once() -> None:
    pairs = attributed().pairs
    assert "too few for a verdict, which needs 6" in power_note([Fold(ranked(20, 0.1), pairs[:5])], 20, 5.0, 0.01)
    assert power_note([Fold(ranked(20, 0.1), pairs[:6])], 20, 5.0, 0.01).endswith(", if at least 13 are")
    # Without a gap there is no share of it to tell.
    assert "%" not in power_note([Fold(ranked(20, 0.1), pairs[:6])], 20, math.nan, 0.01)


@pytest.mark.parametrize(("n_pairs", "n_features"), [(6, 20), (8, 20), (10, 20), (10, 480), (6, 1), (7, 1)])
def test_how_many_must_be_shown_together_is_what_the_step_up_rule_says(n_pairs: int, n_features: int) -> None:
    """k tests at the smallest p, 2 / 2^n, are all rejected at 5 % where p <= 0.05 k / m."""
    expected = math.ceil(2 / 2**n_pairs * n_features / 0.05 - 1e-9)
    assert fewest_together(n_pairs, n_features) == max(1, expected)
