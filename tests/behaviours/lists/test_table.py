from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from saeattr.behaviours.lists.parsing import Decode, ListMarkers
from saeattr.behaviours.lists.sampling import SampledList
from saeattr.behaviours.lists.table import lists_from_rows, lists_to_rows
from saeattr.errors import UserError
from saeattr.files import read_table, write_table
from saeattr.tables import LISTS

WriteList = Callable[..., SampledList]
TEXTS = ["- Paris\n- New York \n<end_of_turn>", "- Paris\n- New", "Paris, Lima.<end_of_turn>", ""]


@pytest.fixture
def lists(write_list: WriteList) -> list[SampledList]:
    return [write_list(text, list_id=f"{index:03d}", seed=2**63 - 1 - index) for index, text in enumerate(TEXTS)]


def test_rows_say_what_the_lists_hold(lists: list[SampledList]) -> None:
    table = lists_to_rows(lists)
    assert list(table.columns) == LISTS.names
    assert table["items"].tolist() == [["Paris", "New York"], ["Paris"], [], []]
    assert table["text"].tolist() == [text.removesuffix("<end_of_turn>") for text in TEXTS]
    assert table["ended"].tolist() == [True, False, True, False]
    ids, spans = table["token_ids"][0], table["item_spans"][0]
    assert [end - start for start, end in spans] == [1, 2]
    assert [ids[start - 1] for start, _ in spans] == [ids[lists[0].prompt_length]] * 2


def test_lists_come_back_exactly(lists: list[SampledList], markers: ListMarkers, decode: Decode) -> None:
    assert lists_from_rows(lists_to_rows(lists), markers, decode) == lists
    assert lists_from_rows(lists_to_rows([]), markers, decode) == []


def test_lists_come_back_exactly_from_a_file(
    lists: list[SampledList], markers: ListMarkers, decode: Decode, tmp_path: Path
) -> None:
    lists_to_rows(lists).to_parquet(tmp_path / "lists.parquet")
    assert lists_from_rows(pd.read_parquet(tmp_path / "lists.parquet"), markers, decode) == lists


def test_a_table_that_is_none_of_lists_is_refused(
    lists: list[SampledList], markers: ListMarkers, decode: Decode
) -> None:
    table = lists_to_rows(lists)
    with pytest.raises(UserError, match="the table of lists has no column 'token_ids': .* make it again"):
        lists_from_rows(table.drop(columns=["token_ids", "text"]), markers, decode)
    with pytest.raises(UserError, match="the table of lists has no column 'seed': .* make it again"):
        lists_from_rows(table.drop(columns=["seed", "text"]), markers, decode)
    with pytest.raises(UserError, match="has the column 'seed' as .*string, and int64 belongs there"):
        lists_from_rows(table.assign(seed="1"), markers, decode)
    with pytest.raises(UserError, match="the length 'brief': the lengths are short, long, none"):
        lists_from_rows(table.assign(length="brief"), markers, decode)


def test_what_follows_from_the_token_ids_need_not_be_there(
    lists: list[SampledList], markers: ListMarkers, decode: Decode
) -> None:
    table = lists_to_rows(lists).drop(columns=["text", "items", "item_spans", "ended"])
    assert lists_from_rows(table, markers, decode) == lists


def test_a_stored_file_of_lists_has_the_types_of_its_schema(lists: list[SampledList], tmp_path: Path) -> None:
    path = tmp_path / "cities.parquet"
    write_table(path, lists_to_rows(lists))
    assert list(read_table(path, LISTS).columns) == LISTS.names
    write_table(path, lists_to_rows(lists).assign(ended="yes"))
    with pytest.raises(UserError, match="cities.parquet has the column 'ended' as .*string, and bool belongs there"):
        read_table(path, LISTS)
