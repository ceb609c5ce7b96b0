"""Numbers of lists from several sources, against counts made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saeattr import UserError
from saeattr.behaviours.lists.shapes import FoundRow
from saeattr.behaviours.lists.written import RowProblem, WrittenList, checked_row
from saeattr.corpus.read import ListSource, find_lists
from saeattr.corpus.reading import Reading
from saeattr.corpus.statistics import NAMED, Counting, Problems, count_lists, list_rows
from tests.corpus.conftest import conversation

CITIES = ["-|Lima|\n|-|New|York| |\n|-|Oslo|\n|-|Rome|\n|-|Lima| |\n|<end>", "-|Lima|\n|-|Rome|\n|<end>"]


def test_lists_of_topics_and_temperatures_equal_hand_counts(by_marks: Reading, write: Callable[..., Path]) -> None:
    ids = [conversation(answer) for answer in CITIES]
    path = write(
        {"0.5": {"towns": ids, "rivers": ids[1:]}, "1.3": {"towns": [conversation("-|Lima| |\n|-|Ro", "long")]}}
    )
    table, problems = count_lists([find_lists(path)], by_marks)
    assert problems.n == 0
    assert table[["group", "request", "temperature"]].to_numpy().tolist() == [
        ["towns", "short", 0.5],
        ["towns", "short", 0.5],
        ["rivers", "short", 0.5],
        ["towns", "long", 1.3],
    ]
    assert table["n_items"].tolist() == [5, 2, 2, 1]
    assert [list(found) for found in table["blank_from_end"]] == [[1, 4], [], [], [1]]
    assert table["n_blanks"].tolist() == [2, 0, 0, 1]
    assert table["repeats"].tolist() == [1, 0, 0, 0]
    assert table["tokens_per_item"].tolist() == pytest.approx([6 / 5, 1, 1, 1])
    assert table["single_token"].tolist() == pytest.approx([4 / 5, 1, 1, 1])
    assert table["ended"].tolist() == [True, True, True, False]
    # Five items of which two are the same: 3 of 1/5 and one of 2/5.
    assert table["shannon"].tolist() == pytest.approx(
        [0.6 * math.log(5) + 0.4 * math.log(2.5), math.log(2), math.log(2), 0]
    )
    assert set(table["source"]) == {"lists.json"}
    assert not table["on_policy"].any()
    assert table["list_id"].tolist()[:2] == ["row 1 of 'towns' at 0.5", "row 2 of 'towns' at 0.5"]


def test_topics_and_requests_can_be_said_where_lists_do_not(bundled: Reading, write: Callable[..., Path]) -> None:
    source = find_lists(write("- Lima\n- Oslo \n\n- Rome\n", "mine.txt"))
    assert set(count_lists([source], bundled)[0]["group"]) == {""}
    said, _ = count_lists([source], bundled, Counting(("towns",), "long"))
    assert said[["group", "request", "n_items"]].to_numpy().tolist() == [["towns", "long", 2], ["towns", "long", 1]]
    named = find_lists(
        write([{"topic": "Cities", "text": "- a\n", "request": "plain"}, {"topic": "birds", "text": "- b\n"}])
    )
    assert named.name == "lists.json"
    only, _ = count_lists([named], bundled, Counting(("CITIES",)))
    assert only["group"].tolist() == ["CITIES"]


def test_rows_that_are_no_list_are_counted_and_the_first_are_named(
    bundled: Reading, write: Callable[..., Path]
) -> None:
    rows = ["- Lima\n", 7, "", [10**9], *[None] * 30]
    table, problems = count_lists([find_lists(write(rows))], bundled)
    assert (len(table), problems.n, len(problems.named)) == (1, 33, NAMED)
    assert problems.named[0].startswith("lists.json: row 2 is neither a text nor token ids")
    assert problems.named[2].startswith("lists.json: row 4 has a token id that the model does not have")
    assert problems.lines("- ")[-1] == "- 13 more rows"
    with pytest.raises(UserError, match=r"no list can be counted in lists\.json \(lists\.json: row 1 is neither"):
        count_lists([find_lists(write([None, 3]))], bundled)


def test_lists_are_read_one_at_a_time(bundled: Reading) -> None:
    read: list[int] = []

    class Endless(ListSource):
        def rows(self) -> Iterator[WrittenList | RowProblem]:
            for number in range(10**9):
                read.append(number)
                yield WrittenList(f"row {number}", "cities", "- Paris\n")

    rows = list_rows([Endless("endless")], bundled, Counting(), Problems())
    assert [next(rows)["list_id"] for _ in range(3)] == ["row 0", "row 1", "row 2"]
    assert read == [0, 1, 2]


LISTS = st.lists(st.text(st.sampled_from("ab- \n1.*"), max_size=14), max_size=6)


class Held(ListSource):
    """A source of rows in memory."""

    held: tuple[str, ...] = ()

    def rows(self) -> Iterator[WrittenList | RowProblem]:
        yield from (checked_row(FoundRow(f"row {n}", text)) for n, text in enumerate(self.held))


def held(name: str, texts: list[str]) -> Held:
    source = Held(name)
    object.__setattr__(source, "held", tuple(texts))
    return source


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LISTS, LISTS)
def test_the_statistics_of_two_sources_are_those_of_each_one_behind_the_other(
    bundled: Reading, first: list[str], second: list[str]
) -> None:
    def count(*sources: ListSource) -> tuple[list, int]:
        problems = Problems()
        rows = list(list_rows(sources, bundled, Counting(), problems))
        return [json.dumps(row) for row in rows], problems.n

    one, other = held("first", first), held("second", second)
    together, alone = count(one, other), [count(one), count(other)]
    assert together == (alone[0][0] + alone[1][0], alone[0][1] + alone[1][1])


def test_a_table_of_many_lists_is_that_of_its_chunks(
    bundled: Reading, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_lists(write(["- a\n- b \n", "- c\n", "prose", "- d\n- d\n- e\n", "- f \n"]))
    whole, _ = count_lists([source], bundled)
    monkeypatch.setattr("saeattr.corpus.statistics.CHUNK", 2)
    pd.testing.assert_frame_equal(count_lists([source], bundled)[0], whole)
    assert whole["n_items"].tolist() == [2, 1, 0, 3, 1]
