"""Chance equals the exact distribution of random sets, draws from every feature that could have been in a set, and
does not see where features.parquet was cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, hypergeom

from saeattr.attribution import rows as attribution
from saeattr.features.chance import SiteSets, draw_sets
from saeattr.features.recurrence import overlap_table

SITE = {"layer": 3, "kind": "mlp_out"}


def active(group: str, ids: Iterable[int], n_effect: int | list[int] = 4) -> pd.DataFrame:
    return pd.DataFrame({"group": group, **SITE, "feature": list(ids), "n_pairs": 4, "n_effect": n_effect})


def named(group: str, ids: Iterable[int]) -> pd.DataFrame:
    """The few features that a cut table keeps of a group, the first the largest."""
    ids = list(ids)
    return pd.DataFrame({"group": group, **SITE, "feature": ids, "effect_mean": np.arange(len(ids), 0, -1.0)})


def chance_by_formula(pools: tuple[int, int, int], sizes: tuple[int, int], shared: int) -> tuple[float, float]:
    """Mean Jaccard index, and P(so many shared or more), of sets drawn from two pools.

    Args:
        pools: features of the first pool, of the second, and of both.
        sizes: of the two sets.
    """
    (n_a, n_b, both), (a, b) = pools, sizes
    mean, tail = 0.0, 0.0
    for inside in range(a + 1):
        # So many of the first set lie in the second pool; the second set draws among them.
        for s in range(min(inside, b) + 1):
            p = float(hypergeom.pmf(inside, n_a, both, a) * hypergeom.pmf(s, n_b, inside, b))
            mean += p * s / (a + b - s)
            tail += p * (s >= shared)
    return mean, tail


def test_chance_is_the_hypergeometric_distribution_over_all_active_features() -> None:
    """Pools of 60 and 45 with 30 in both; each set has 8 features, and the table names 12 of each group."""
    features = pd.concat([named("a", range(12)), named("b", [0, 1, 2, *range(80, 89)])])
    pools = pd.concat([active("a", range(60)), active("b", [*range(30), *range(80, 95)])])
    row = overlap_table(features, 8, active=pools, permutations=20_000).iloc[0]
    expected, p_value = chance_by_formula((60, 45, 30), (8, 8), 3)
    assert row["shared"] == 3
    assert row["expected"] == pytest.approx(expected, abs=0.001)
    assert row["p_value"] == pytest.approx(p_value, rel=0.1)
    # Where nothing else is known to be active, chance draws from the 12 that are named, 3 of them in both.
    expected, _ = chance_by_formula((12, 12, 3), (8, 8), 3)
    assert overlap_table(features, 8, permutations=20_000).loc[0, "expected"] == pytest.approx(expected, abs=0.001)


def test_chance_keeps_the_classes_of_activity() -> None:
    """All ways to draw one of the often active and one of the rarely active features, counted one by one."""
    features = pd.concat([named("a", [0, 10]), named("b", [1, 10])])
    often, rare = {"a": [0, 1, 2], "b": [1, 2, 3, 4]}, {"a": [10, 11], "b": [10, 11, 12]}
    pools = [
        active(group, often[group] + rare[group], [10] * len(often[group]) + [1] * len(rare[group])) for group in often
    ]
    row = overlap_table(features, 2, active=pd.concat(pools), permutations=20_000).iloc[0]
    sets = {group: list(product(often[group], rare[group])) for group in often}
    indices = [len({*a} & {*b}) / len({*a} | {*b}) for a in sets["a"] for b in sets["b"]]
    assert row["expected"] == pytest.approx(np.mean(indices), abs=0.005)


def test_chance_has_no_feature_without_an_effect() -> None:
    """20 of 100 active features have an effect: random sets of 5 are of these 20."""
    pools = [active(group, range(100), [4] * 20 + [0] * 80) for group in ("a", "b")]
    features = pd.concat([named("a", range(5)), named("b", range(5))])
    row = overlap_table(features, 5, active=pd.concat(pools), permutations=10_000).iloc[0]
    assert row["expected"] == pytest.approx(chance_by_formula((20, 20, 20), (5, 5), 5)[0], abs=0.003)


def test_a_set_of_all_that_a_group_could_have_is_certain() -> None:
    """Of a study that is known; sets made elsewhere that name nothing else could have been other ones."""
    features = pd.concat([named("a", [1, 2]), named("b", [2, 3]), named("c", [1, 2])])
    pools = pd.concat([active("a", [1, 2]), active("b", [2, 3]), active("c", range(40))])
    row = overlap_table(features, 2, active=pools).iloc[0]
    assert (row["group_a"], row["group_b"], row["p_value"]) == ("a", "b", 1.0)
    assert [row["jaccard"], row["expected"]] == pytest.approx([1 / 3, 1 / 3])
    elsewhere = overlap_table(features, 2, active=pools[pools["group"] == "c"]).iloc[0]
    assert elsewhere["expected"] == pytest.approx(chance_by_formula((40, 40, 40), (2, 2), 1)[0], abs=0.01)


def attributed(group: str, seed: int, n_features: int = 300) -> pd.DataFrame:
    """Rows of attributions.parquet at one site: each feature is active in some of 6 pairs."""
    generator = np.random.default_rng(seed)
    pair, feature = np.nonzero(generator.random((6, n_features)) < generator.random(n_features))
    table = pd.DataFrame({"group": group, "pair_id": pair.astype(str), **SITE, "feature": feature})
    return table.assign(role="item", token="x", effect=generator.standard_normal(len(table)))


def test_where_features_are_cut_does_not_move_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group keeps 300 features, or 25: its 20 largest are the same, and so is all that overlap says of them."""
    whole, cut, pools = [], [], []
    for seed, group in enumerate(["a", "b", "c"]):
        means = [attribution.feature_means(attributed(group, seed), dict.fromkeys("012345", 1))]
        pools.append(attribution.active_features(means))
        whole.append(attribution.rank_features(means))
        with monkeypatch.context() as patch:
            patch.setattr(attribution, "MAX_FEATURES", 25)
            cut.append(attribution.rank_features(means))
    assert [len(table) for table in cut] == [25] * 3
    pool = pd.concat(pools)
    found = overlap_table(pd.concat(cut), 20, active=pool)
    pd.testing.assert_frame_equal(found, overlap_table(pd.concat(whole), 20, active=pool))
    # Without that table, the features that happen to be left decide.
    blind = overlap_table(pd.concat(cut), 20)
    assert (blind["expected"] - found["expected"]).abs().max() > 0.01


def test_every_set_of_a_size_is_as_likely_as_any_other() -> None:
    member = np.array([[True, True, True, False, False, False]])
    sets = SiteSets(member, np.array([[1, 1, 1, 1, 1, -1]]))
    drawn = draw_sets(sets, 20_000, np.random.default_rng(0))[:, 0]
    counts = pd.Series([tuple(np.flatnonzero(row)) for row in drawn]).value_counts()
    assert set(counts.index) == set(combinations(range(5), 3))
    assert chisquare(counts).pvalue > 0.001
