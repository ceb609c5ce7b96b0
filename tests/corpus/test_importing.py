"""Lists from elsewhere as one table, list by list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from saeattr import UserError
from saeattr.behaviours.lists.placing import Placing, place_lists
from saeattr.behaviours.lists.sampling import prompt_ids
from saeattr.behaviours.lists.table import lists_to_arrow
from saeattr.behaviours.lists.written import read_list_file
from saeattr.corpus import importing
from saeattr.corpus.read import find_lists
from saeattr.model.loading import LanguageModel


@pytest.fixture
def bring(lm: LanguageModel, tmp_path: Path):
    def bring_in(path: Path, *named: str, request=None) -> tuple[pd.DataFrame, importing.Imported]:
        placing = Placing(path.name, lm.tokenizer, 200)
        found = importing.import_lists(find_lists(path), named, placing, tmp_path / "out.parquet", request)
        return pd.read_parquet(tmp_path / "out.parquet"), found

    return bring_in


def test_what_is_streamed_is_what_placing_gives(
    bring, lm: LanguageModel, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(["- Paris\n- Lima \n", 7, "I know none", "1. Oslo\n2. Rome\n", [10**9], "- Rome\n" * 300])
    expected, problems = place_lists(read_list_file(path), "cities", lm.tokenizer, 200)
    monkeypatch.setattr(importing, "CHUNK", 2)
    table, found = bring(path, "cities")
    assert pq.ParquetFile(path.parent / "out.parquet").num_row_groups == 2
    # As texts, in which NaN equals NaN.
    stored = pq.read_table(path.parent / "out.parquet").to_pylist()
    assert [str(row) for row in stored] == [str(row) for row in lists_to_arrow(expected).to_pylist()]
    assert len(table) == 3
    assert sorted(found.problems.named) == sorted([*read_list_file(path).problems, *problems])
    assert str(found.topics["cities"]).startswith("3 lists (1 hyphen, 1 no list, 1 numbered) of 1.3 items")


def test_lists_stand_behind_the_request_that_they_answer(bring, lm: LanguageModel, write: Callable[..., Path]) -> None:
    prompt = prompt_ids(lm.tokenizer, "rivers", "long")
    answer = lm.tokenizer.encode("- Paris\n", add_special_tokens=False)
    text = f"{lm.tokenizer.decode(prompt_ids(lm.tokenizer, 'rivers', 'none'))}- Paris\n"
    rows = [[*prompt, *answer], text, {"text": "- Paris\n", "length": "many", "temperature": 0.4}, "- Paris\n"]
    path = write({"cities": rows})
    table, _ = bring(path)
    assert table["length"].tolist() == ["long", "none", "many", "short"]
    assert table["temperature"].isna().tolist() == [True, True, False, True]
    # A conversation that stops without the end of its turn was cut off.
    assert table["ended"].tolist() == [False, False, True, True]
    assert bring(path, request="few")[0]["length"].tolist() == ["long", "none", "many", "few"]


def test_topics_are_named_or_all_and_rows_without_one_are_problems(bring, write: Callable[..., Path]) -> None:
    path = write([{"topic": "towns", "text": "- a\n"}, "- b\n", {"topic": "birds", "text": "- c\n"}])
    table, found = bring(path)
    assert table[["topic", "list_id"]].to_numpy().tolist() == [["towns", "000"], ["birds", "000"]]
    assert found.problems.named == ["row 2 names no topic, and others do"]
    assert bring(path, "birds")[0]["topic"].tolist() == ["birds"]
    for named, said in [(("rivers",), "has no list of 'rivers'"), ((), "name no topic")]:
        with pytest.raises(UserError, match=said):
            bring(path if named else write(["- a\n"], "other.json"), *named)


def test_a_source_without_a_list_that_can_be_used_leaves_no_file(bring, write: Callable[..., Path]) -> None:
    for value, said in [
        ([None, 7], r"holds no list \(row 1 is neither"),
        ([[10**9]], r"can be used \(row 1 has a token id"),
    ]:
        path = write(value)
        with pytest.raises(UserError, match=said):
            bring(path, "cities")
        assert not (path.parent / "out.parquet").exists()
