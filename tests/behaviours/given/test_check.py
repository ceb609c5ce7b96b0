"""What rows would become is told before anything is run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr.behaviours.given.check import CheckedRows
from saeattr.errors import UserError
from saeattr.model.loading import find_model, load_tokenizer

ROW = {"clean": "The capital of France is", "corrupted": "The capital of Peru is", "answer": " Paris", "wrong": " Lima"}
ROWS = [
    {**ROW, "id": "first"},
    {**ROW, "id": "same", "corrupted": ROW["clean"]},
    {**ROW, "answer": None},
    {**ROW, "group": "longer", "corrupted": "The capital city of Peru is"},
]


@pytest.fixture(scope="module")
def found() -> CheckedRows:
    return saeattr.check_pairs(ROWS, unequal="zero")


def test_each_pair_is_described_and_each_other_row_is_named(found: CheckedRows) -> None:
    assert found.rows.to_dict("records") == [
        {
            **{"row": 1, "id": "first", "group": "pairs", "tokens": 6, "corrupted": 6, "changed": 1},
            **{"without_partner": 0, "read_at": " is", "answer": " Paris", "wrong": " Lima"},
        },
        {
            **{"row": 4, "id": "00004", "group": "longer", "tokens": 6, "corrupted": 7, "changed": 2},
            **{"without_partner": 2, "read_at": " is", "answer": " Paris", "wrong": " Lima"},
        },
    ]
    assert found.faults.to_dict("records") == [
        {
            **{"row": 2, "id": "same", "reason": "clean and corrupted prompt are the same"},
            "mend": "change one of them",
        },
        {
            **{"row": 3, "id": "", "reason": "there is no answer"},
            "mend": "say what the model goes on with after the clean prompt",
        },
    ]


def test_a_pair_is_told_token_by_token_and_what_has_no_partner_stands_alone(found: CheckedRows) -> None:
    tokenizer = load_tokenizer(find_model("bundled", weights=False))
    first, longer = (found.tokens(at, tokenizer) for at in range(2))
    assert list(first["clean"]) == ["<bos>", "The", " capital", " of", " France", " is"]
    assert list(first["corrupted"]) == ["<bos>", "The", " capital", " of", " Peru", " is"]
    assert list(first["role"]) == ["bos", "common", "common", "common", "changed", "last"]
    assert list(first["read"]) == [False] * 5 + [True]
    assert list(longer["position"]) == [0, 1, 2, 3, 4, -1, -1, -1, 5]
    assert list(longer["clean"]) == ["<bos>", "The", " capital", " of", " France", "∅", "∅", "∅", " is"]
    assert list(longer["corrupted"]) == ["<bos>", "The", " capital", "∅", "∅", " city", " of", " Peru", " is"]
    assert list(longer["role"]) == ["bos", "common", "common", "changed", "changed", "", "", "", "last"]


def test_prompts_alone_have_no_corrupted_tokens() -> None:
    found = saeattr.check_pairs([{"clean": ROW["clean"], "answer": " Paris"}], base="zero")
    tokenizer = load_tokenizer(find_model("bundled", weights=False))
    assert set(found.tokens(0, tokenizer)["corrupted"]) == {""}
    assert found.rows.loc[0, "corrupted"] == 0


def test_a_table_of_ten_thousand_rows_with_one_group_each_is_checked() -> None:
    table = pd.DataFrame([{**ROW, "group": number, "id": f"{number}"} for number in range(10_000)])
    found = saeattr.check_pairs(table)
    assert len(found.pairs) == 10_000
    assert found.rows["group"].nunique() == 10_000


def test_what_no_study_would_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 chats and 1 plain prompts"):
        saeattr.check_pairs([ROW, {**ROW, "chat": True}, {**ROW, "chat": True}])
    with pytest.raises(UserError, match="'nothing' is not a metric"):
        saeattr.check_pairs([ROW], metric="nothing")
    with pytest.raises(UserError, match="is a folder"):
        saeattr.check_pairs(tmp_path)
