"""Summaries of lists against means, shares and intervals computed apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from saeattr.corpus.exceptions import exceptions, odd_lists
from saeattr.corpus.summary import blank_positions, summarise_lists
from saeattr.tables import LIST_STATISTICS


def one(items: int, blanks: list[int], **more: Any) -> dict[str, Any]:
    """A list's row; ``blanks`` count from the end."""
    names = [f"n{number}" for number in range(items)]
    row = {"group": "cities", "request": "short", "temperature": 0.8, "source": "s", "on_policy": True}
    row |= {"list_id": "000", "format": "hyphen", "ended": True, "n_items": items, "n_tokens": 3.0 * items}
    row |= {"tokens_per_item": 1.0, "single_token": 1.0, "n_blanks": len(blanks), "blank_from_end": blanks}
    row |= {"repeats": 0, "shannon": math.log(items) if items else 0.0, "item_tokens": [1] * items, "items": names}
    return row | more


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return LIST_STATISTICS.frame(pd.DataFrame(rows))


def test_means_and_shares_of_a_topic_equal_hand_counts() -> None:
    lists = table(one(5, [1]), one(10, [1, 4]), one(6, [], ended=False, single_token=0.5), one(0, [], format=""))
    (row,) = summarise_lists(lists).to_dict("records")
    assert (row["n_lists"], row["no_list"], row["fewest"], row["most"]) == (3, 1, 5, 10)
    assert row["n_items"] == pytest.approx(7)
    interval = scipy.stats.t.interval(0.95, 2, 7, scipy.stats.sem([5, 10, 6]))
    assert (row["n_items_low"], row["n_items_high"]) == pytest.approx(interval)
    assert row["single_token"] == pytest.approx(2.5 / 3)
    assert (row["ended"], row["with_blank"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    exact = scipy.stats.binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (row["ended_low"], row["ended_high"]) == pytest.approx((exact.low, exact.high))
    assert row["blank_item"] == pytest.approx(3 / 21)
    assert row["distinct_items"] == 10
    shares = np.array([3] * 5 + [2] + [1] * 4) / 21
    assert row["shannon_all"] == pytest.approx(float(-(shares * np.log(shares)).sum()))


def test_conditions_stand_apart_also_where_the_temperature_is_not_known() -> None:
    nan = {"temperature": math.nan}
    lists = table(one(5, []), one(7, [], request="long"), one(8, [], **nan), one(9, [], **nan), one(6, [], source="f"))
    found = summarise_lists(lists)
    assert found[["request", "source", "n_lists", "n_items"]].to_numpy().tolist() == [
        ["short", "s", 1, 5.0],
        ["long", "s", 1, 7.0],
        ["short", "s", 2, 8.5],
        ["short", "f", 1, 6.0],
    ]
    assert found["n_items_low"].isna().tolist() == [True, True, False, True]


def test_equal_lists_without_randomness_are_one_and_with_it_several() -> None:
    for temperature, n in ((0.0, 1), (0.8, 3)):
        (row,) = summarise_lists(table(*[one(5, [1], temperature=temperature)] * 3)).to_dict("records")
        assert row["n_lists"] == n


def test_tokens_that_are_not_known_leave_their_columns_blank_and_no_others() -> None:
    unknown = {"n_tokens": math.nan, "tokens_per_item": math.nan, "single_token": math.nan, "item_tokens": []}
    (row,) = summarise_lists(table(one(5, [1], **unknown), one(7, [], **unknown))).to_dict("records")
    assert all(math.isnan(row[name]) for name in ("single_token", "tokens_per_item"))
    assert (row["n_items"], row["with_blank"]) == (6, 0.5)


def test_blanks_are_counted_from_the_end_among_ended_lists_that_reach_so_far() -> None:
    lists = table(
        one(2, [1], list_id="a"), one(3, [1, 3], list_id="b"), one(3, [], list_id="c"), one(9, [1, 2], ended=False)
    )
    found = blank_positions(lists)
    assert found[["from_end", "n_lists", "n_blank"]].to_numpy().tolist() == [[1, 3, 2], [2, 3, 0], [3, 2, 1]]
    assert found["share"].tolist() == pytest.approx([2 / 3, 0, 1 / 2])
    exact = scipy.stats.binomtest(0, 3).proportion_ci(0.95, "exact")
    assert found["share_high"][1] == pytest.approx(exact.high)
    assert [list(names) for names in found["list_ids"]] == [["a", "b"], [], ["b"]]


def topics(single: dict[str, float], n: int = 6, **more: Any) -> pd.DataFrame:
    return table(
        *[one(10, [1], group=name, single_token=share, **more) for name, share in single.items() for _ in range(n)]
    )


ALIKE = {"a": 0.9, "b": 0.92, "c": 0.94, "d": 0.96}


def test_a_topic_far_from_the_others_is_an_exception() -> None:
    found = exceptions(topics({**ALIKE, "towns": 0.4}))
    (row,) = found.to_dict("records")
    assert (row["group"], row["measure"], row["n_lists"]) == ("towns", "single_token", 6)
    assert (row["value"], row["others"]) == (pytest.approx(0.4), pytest.approx(0.93))
    assert row["spread"] == pytest.approx(1.4826 * 0.02)
    p = scipy.stats.mannwhitneyu([0.4] * 6, [0.9] * 6 + [0.92] * 6 + [0.94] * 6 + [0.96] * 6).pvalue
    assert p < row["q_value"] < 5 * p + 1e-12


@pytest.mark.parametrize(
    ("single", "n"),
    [
        # A few points off, nearer than what topics differ by, too few lists, too few topics.
        ({**ALIKE, "towns": 0.85}, 50),
        ({"a": 0.2, "b": 0.5, "c": 0.7, "d": 0.95, "towns": 0.05}, 50),
        ({**ALIKE, "towns": 0.4}, 1),
        ({"a": 0.9, "b": 0.9, "towns": 0.4}, 50),
    ],
)
def test_other_topics_are_none(single: dict[str, float], n: int) -> None:
    assert exceptions(topics(single, n)).empty


def test_one_list_without_a_blank_makes_no_exception_but_is_named() -> None:
    lists = topics(ALIKE, 5)
    lists["blank_from_end"] = [[3] if at == 7 else [1] for at in range(len(lists))]
    lists.loc[7, "list_id"] = "odd"
    assert exceptions(lists).empty
    assert odd_lists(lists)[["group", "list_id"]].to_numpy().tolist() == [["b", "odd"]]
    without = lists.assign(blank_from_end=pd.Series([[2]] * len(lists)))
    assert odd_lists(without).empty
    many = pd.concat(
        [
            topics({**ALIKE, "e": 0.9}, 8),
            topics({"towns": 0.9}, 8).assign(blank_from_end=pd.Series([[]] * 8), n_blanks=0),
        ]
    )
    found = exceptions(many)
    assert set(found["measure"]) == {"with_blank", "last_blank"}
    assert set(found["group"]) == {"towns"}
    p: Any = scipy.stats.fisher_exact([[0, 8], [40, 0]])[1]
    assert found["q_value"].tolist() == pytest.approx([6 * p] * 2)


def test_topics_that_do_not_differ_are_seldom_exceptions() -> None:
    """60 draws of eight topics with the same distribution: how often any of them is called an exception."""
    source = np.random.default_rng(0)
    called = 0
    for _ in range(60):
        lists = pd.concat([topics({name: 0.0}, 8) for name in "abcdefgh"], ignore_index=True)
        lists["single_token"] = source.binomial(8, 0.8, len(lists)) / 8
        called += not exceptions(lists).empty
    assert called <= 6
