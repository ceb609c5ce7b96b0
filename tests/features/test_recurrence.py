"""Overlap equals hand-counted sets; chance is what random sets really give; strange tables are refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from saeattr import UserError
from saeattr.features.recurrence import family, feature_families, largest_features, overlap_table, top_sets
from saeattr.files import write_text
from saeattr.study.folder import FORMAT
from saeattr.study.sets import read_feature_sets


def sets(members: dict[str, list[int]], layer: int = 3, kind: str = "resid_post") -> pd.DataFrame:
    rows = [(layer, kind, feature, group) for group, features in members.items() for feature in features]
    return pd.DataFrame(rows, columns=["layer", "kind", "feature", "group"])


def ranked(group: str, effects: list[float], n_pairs: list[int], layer: int = 3) -> pd.DataFrame:
    ids = range(len(effects))
    table = sets({group: list(ids)}, layer)
    return table.assign(effect_mean=effects, n_pairs=n_pairs)


def test_overlap_equals_sets_counted_by_hand() -> None:
    table = overlap_table(sets({"cities": [1, 2, 3, 4], "animals": [3, 4, 5], "tools": [9]}))
    found = {(a, b): (shared, jaccard) for a, b, shared, jaccard in table[_PAIR].itertuples(index=False)}
    assert found == {("cities", "animals"): (2, 2 / 5), ("cities", "tools"): (0, 0), ("animals", "tools"): (0, 0)}


_PAIR = ["group_a", "group_b", "shared", "jaccard"]


def test_only_the_features_of_largest_absolute_effect_are_in_a_set() -> None:
    table = pd.concat([ranked("cities", [-3, 2, 0.1, 1], [1] * 4), ranked("animals", [0, -9, 5, 1], [1] * 4)])
    chosen = top_sets(table, depth=2).groupby("group")["feature"].agg(set).to_dict()
    assert chosen == {"cities": {0, 1}, "animals": {1, 2}}
    assert overlap_table(table, depth=2).loc[0, "shared"] == 1


def test_a_group_without_effects_keeps_all_its_features() -> None:
    table = pd.concat([ranked("cities", [-3, 2, 0.1, 1], [1] * 4), sets({"published": [0, 2, 3, 7]})])
    chosen = top_sets(table, depth=2).groupby("group")["feature"].agg(set).to_dict()
    assert chosen == {"cities": {0, 1}, "published": {0, 2, 3, 7}}


def test_what_has_no_effect_is_in_no_set() -> None:
    """Two of four features have an effect: at depth 3 the set is these two, and not the first of the others too."""
    table = pd.concat([ranked("cities", [0, 2, 0, -1], [1] * 4), ranked("animals", [0, 0, 0, 0], [1] * 4)])
    for depth in (3, None):
        chosen = top_sets(table, depth).groupby("group")["feature"].agg(set).to_dict()
        # Where nothing has an effect there is nothing to rank by.
        assert chosen == {"cities": {1, 3}, "animals": {0, 1, 2, 3}}


def test_sites_are_apart() -> None:
    both = pd.concat([sets({"a": [1], "b": [1]}, 0), sets({"a": [1], "b": [2]}, 5), sets({"a": [7]}, 6)])
    assert overlap_table(both)[["layer", "shared"]].to_numpy().tolist() == [[0, 1], [5, 0]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=2, max_size=5), st.randoms())
def test_the_order_of_rows_does_not_matter(members: list[set[int]], random) -> None:
    table = sets({f"t{at}": sorted(ids) for at, ids in enumerate(members)})
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    expected = overlap_table(table, permutations=20)
    found = overlap_table(shuffled, permutations=20)
    for row in expected.itertuples():
        same = found[found[["group_a", "group_b"]].isin([row.group_a, row.group_b]).all(axis=1)]
        assert same[["shared", "jaccard"]].to_numpy().tolist() == [[row.shared, row.jaccard]]


def test_chance_is_what_random_sets_give() -> None:
    """40 of 200 features in each of 12 groups, at random: jaccard as expected, p-values spread evenly."""
    generator = np.random.default_rng(5)
    tables = [ranked(f"t{at}", list(generator.random(200)), [10] * 200) for at in range(12)]
    table = overlap_table(pd.concat(tables), depth=40)
    assert abs(table["jaccard"].mean() - table["expected"].mean()) < 0.01
    # Two sets of 40 in 200 share 8 on average, a Jaccard index of 8 / 72.
    np.testing.assert_allclose(table["expected"], 8 / 72, atol=0.005)
    assert 0.3 < (table["p_value"] <= 0.5).mean() < 0.7
    assert (table["p_value"] <= 0.05).mean() < 0.15


def test_q_values_answer_for_all_pairs_and_sites_of_the_table() -> None:
    """q of a row: the least p' n / (rows with p <= p') over p' from its own p up; n counts all 6 pairs at 3 sites."""
    generator = np.random.default_rng(3)
    tables = [ranked(f"t{at}", list(generator.random(40)), [3] * 40, layer) for at in range(4) for layer in (0, 2, 7)]
    # At one site two groups have the same features: one row is far from chance.
    same = [ranked(name, list(range(1, 41)), [3] * 40, 9) for name in ("t0", "t1")]
    table = overlap_table(pd.concat([*tables, *same]), depth=12)
    assert len(table) == 3 * 6 + 1
    p = table["p_value"].tolist()
    by_hand = [min(min(1.0, other * len(p) / sum(x <= other for x in p)) for other in p if other >= own) for own in p]
    assert table["q_value"].tolist() == pytest.approx(by_hand)
    assert table["q_value"].tolist() == pytest.approx(false_discovery_control(p))
    assert table.iloc[-1][["p_value", "q_value"]].tolist() == pytest.approx([1 / 1001, 19 / 1001])


def test_chance_knows_activity() -> None:
    """Ten features are active in every pair and fill both sets: sets of that activity cannot differ."""
    effects, n_pairs = [1.0] * 10 + [0.0] * 90, [10] * 10 + [1] * 90
    both = pd.concat([ranked("a", effects, n_pairs), ranked("b", effects, n_pairs)])
    row = overlap_table(both, depth=10).iloc[0]
    assert (row["shared"], row["expected"], row["p_value"]) == (10, 1.0, 1.0)
    blind = overlap_table(both.drop(columns="n_pairs"), depth=10).iloc[0]
    assert blind["expected"] < 0.1
    assert blind["p_value"] < 0.01


def test_chance_of_small_sets_by_hand() -> None:
    """One of four features each: the same one by chance in a quarter of the draws; none shared is never too few."""
    same = pd.concat([ranked("a", [9, 1, 1, 1], [1] * 4), ranked("b", [9, 1, 1, 1], [1] * 4)])
    other = pd.concat([ranked("a", [9, 1, 1, 1], [1] * 4), ranked("b", [1, 9, 1, 1], [1] * 4)])
    first, second = (overlap_table(table, depth=1, permutations=4000).iloc[0] for table in (same, other))
    assert (first["shared"], first["jaccard"], second["shared"], second["jaccard"]) == (1, 1.0, 0, 0.0)
    # A jaccard index of 1 in a quarter of the draws, else 0; so p is nearly the same number.
    assert first["expected"] == pytest.approx(1 / 4, abs=0.03)
    assert first["p_value"] * 4001 == pytest.approx(1 + 4000 * first["expected"])
    assert second["p_value"] == 1


@pytest.mark.parametrize(
    ("n_pairs", "expected"), [([10, 1, 9, 9], 1 / 2), ([10, 1, 1, 9], 1.0), ([20, 19, 18, 17], 1 / 2), ([4] * 4, 1 / 4)]
)
def test_chance_draws_from_the_same_tenth_of_activity(n_pairs: list[int], expected: float) -> None:
    """Both sets hold the last feature; how many others are active in about as many pairs says what chance does."""
    groups = [ranked(name, [0.1, 0.2, 0.3, 9], n_pairs) for name in ("a", "b")]
    row = overlap_table(pd.concat(groups), depth=1, permutations=4000).iloc[0]
    assert row["expected"] == pytest.approx(expected, abs=0.03)


def test_the_same_seed_gives_the_same_numbers() -> None:
    generator = np.random.default_rng(1)
    table = pd.concat([ranked(f"t{at}", list(generator.random(50)), [3] * 50) for at in range(3)])
    pd.testing.assert_frame_equal(overlap_table(table, 10), overlap_table(table, 10))


def test_families_are_counted_by_hand() -> None:
    table = feature_families(sets({"a": [1, 2], "b": [1, 2], "c": [1, 2], "d": [1, 3], "e": [4, 2]}))
    found = table.set_index("feature")["family"].to_dict()
    assert found == {1: "shared", 2: "shared", 3: "group-specific", 4: "group-specific"}
    assert table.set_index("feature").loc[2, "groups"] == ["a", "b", "c", "e"]


def test_a_group_without_a_feature_counts_as_zero_in_its_size() -> None:
    """3 in one of three groups is less than 2 in all of them; signs do not cancel."""
    rows = [("a", 1, -3.0), ("a", 2, 2.0), ("b", 2, -2.0), ("c", 2, 2.0), ("c", 4, 0.3), ("b", 3, 0.3)]
    table = pd.DataFrame(rows, columns=["group", "feature", "effect_mean"]).assign(layer=3, kind="resid_post")
    found = largest_features(table, 3)
    # At equal sizes the lower index is first.
    assert found["feature"].tolist() == [2, 1, 3]
    assert found["size"].tolist() == pytest.approx([2.0, 1.0, 0.1])


def test_a_familys_effect_is_the_mean_over_the_groups_that_have_it() -> None:
    rows = [("a", 1, -3.0), ("b", 1, 1.0), ("c", 2, 2.0), ("a", 3, 0.5), ("b", 3, 2.5), ("c", 3, 3.0)]
    table = pd.DataFrame(rows, columns=["group", "feature", "effect_mean"]).assign(layer=3, kind="resid_post")
    found = feature_families(table)
    assert found["feature"].tolist() == [3, 1, 2]
    assert found["effect_mean"].tolist() == pytest.approx([2.0, -1.0, 2.0])
    assert found["share"].tolist() == pytest.approx([1.0, 2 / 3, 1 / 3])
    assert found["family"].tolist() == ["shared", "between", "group-specific"]


@pytest.mark.parametrize(
    ("count", "groups", "name"), [(4, 5, "shared"), (3, 5, "between"), (1, 1, "group-specific"), (20, 25, "shared")]
)
def test_shared_is_four_of_five_groups(count: int, groups: int, name: str) -> None:
    assert family(count, groups) == name


def test_one_group_has_no_overlap() -> None:
    with pytest.raises(UserError, match="only 'cities'"):
        overlap_table(sets({"cities": [1]}))


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_sets_made_elsewhere_are_read(tmp_path: Path, suffix: str) -> None:
    table = sets({"cities": [1, 2], "animals": [2]}).assign(effect=[-1.0, 2.0, 0.5])
    write = {"csv": lambda p: table.to_csv(p, index=False), "json": table.to_json, "parquet": table.to_parquet}
    path = tmp_path / f"published.{suffix}"
    write[suffix](path)
    found = read_feature_sets([path]).features
    assert found["effect_mean"].tolist() == [-1.0, 2.0, 0.5]
    assert found[["layer", "kind", "feature", "group"]].to_numpy().tolist() == table.iloc[:, :4].to_numpy().tolist()


def test_a_group_of_two_sources_is_marked_with_its_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        sets({"cities": [1]}).to_csv(tmp_path / f"{name}.csv", index=False)
    found = read_feature_sets([tmp_path / "one.csv", tmp_path / "two.csv"]).features
    assert set(found["group"]) == {"cities (one)", "cities (two)"}


def refused(tmp_path: Path, *tables: pd.DataFrame) -> str:
    paths = [tmp_path / f"t{at}.csv" for at in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        table.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        read_feature_sets(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_tables_are_refused_in_one_line(tmp_path: Path) -> None:
    good = sets({"cities": [1]})
    assert "unknown column 'colour'" in refused(tmp_path, good.assign(colour="red"))
    assert "no column group" in refused(tmp_path, good.drop(columns="group"))
    assert "holds no feature" in refused(tmp_path, good.head(0))
    assert "the kind 'resid_mid'" in refused(tmp_path, good.assign(kind="resid_mid"))
    assert "the feature '1.5'" in refused(tmp_path, good.assign(feature=1.5))
    assert "the layer '-1'" in refused(tmp_path, good.assign(layer=-1))
    assert "not a number" in refused(tmp_path, good.assign(effect="large"))
    assert "of different models" in refused(tmp_path, good.assign(model="a"), good.assign(model="b"))
    assert "of 2 models" in refused(tmp_path, pd.concat([good.assign(model="a"), good.assign(model="b")]))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / "bad.parquet").write_text("no table")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("notes.txt", "neither a study folder"),
        ("bad.parquet", "cannot be read as parquet"),
        ("empty.csv", "cannot be read as csv"),
        ("folder", "not a study folder"),
        ("missing.csv", "there is no file"),
    ):
        with pytest.raises(UserError, match=message):
            read_feature_sets([tmp_path / name])
    with pytest.raises(UserError, match="overlap needs features"):
        read_feature_sets([])


def test_a_study_interrupted_before_features_exist_is_refused(tmp_path: Path) -> None:
    record = f"format: {FORMAT}\nmodel: {{name: m, sha256: abc}}\nsaes: {{}}\ngroups: []\n"
    write_text(tmp_path / "study.yaml", record)
    with pytest.raises(UserError, match="run saeattr attribute"):
        read_feature_sets([tmp_path])
