"""Lists from elsewhere behind the request of the model: token by token, beside its own ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.placing import place_lists
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.table import lists_to_rows
from saeattr.behaviours.lists.topics import list_request
from saeattr.behaviours.lists.written import read_list_file
from saeattr.files import write_table

END = "<end_of_turn>"


@pytest.fixture
def place(tmp_path: Path, tokenizer: PreTrainedTokenizerFast):
    def write_and_place(value: Any, longest: int | None = None) -> tuple[list[SampledList], list[str]]:
        path = tmp_path / "lists.json"
        path.write_text(json.dumps(value))
        return place_lists(read_list_file(path), "cities", tokenizer, longest)

    return write_and_place


def test_a_text_stands_behind_the_short_request_and_is_closed_by_the_end_of_the_turn(
    place, tokenizer: PreTrainedTokenizerFast, write_list
) -> None:
    lists, problems = place(["- Paris\n- Lima \n", f"* Paris\n* Rome{END}"])
    assert problems == []
    own = [write_list(f"- Paris\n- Lima \n{END}"), write_list(f"* Paris\n* Rome{END}")]
    assert [one.token_ids for one in lists] == [one.token_ids for one in own]
    assert [one.parsed for one in lists] == [one.parsed for one in own]
    assert [(one.list_id, one.source) for one in lists] == [("000", "lists.json row 1"), ("001", "lists.json row 2")]
    assert {(one.seed, one.length, one.request) for one in lists} == {(-1, "short", list_request("cities"))}
    assert lists[0].prompt_length == len(prompt_ids(tokenizer, "cities"))


def test_token_ids_are_an_answer_or_the_last_one_of_a_conversation(
    place, tokenizer: PreTrainedTokenizerFast, write_list
) -> None:
    answer = tokenizer.encode(f"- Paris\n{END}", add_special_tokens=False)
    conversation = [*prompt_ids(tokenizer, "TV shows", "long"), *answer, tokenizer.eos_token_id]
    lists, problems = place([answer, conversation, answer[:-1]])
    assert problems == []
    whole = write_list(f"- Paris\n{END}").token_ids
    # What comes without an end stays without one.
    assert [one.token_ids for one in lists] == [whole, whole, whole[:-1]]
    assert [one.parsed.ended for one in lists] == [True, True, False]


def test_a_conversation_as_text_gives_its_answer(place, tokenizer: PreTrainedTokenizerFast, write_list) -> None:
    text = f"{tokenizer.decode(prompt_ids(tokenizer, 'TV shows', 'long'))}- Paris\n{END}<eos>"
    lists, _ = place([text])
    assert [one.token_ids for one in lists] == [write_list(f"- Paris\n{END}").token_ids]


def test_rows_that_the_model_cannot_read_are_named_and_the_others_keep_their_place(
    place, tokenizer: PreTrainedTokenizerFast
) -> None:
    size, room = len(tokenizer), len(prompt_ids(tokenizer, "cities")) + 10
    foreign = [tokenizer.bos_token_id, *tokenizer.encode("list of cities", add_special_tokens=False)]
    lists, problems = place(["- Oslo\n", "- Atlantis\n", [4, size], foreign, "- Paris\n" * 6, "- Rome\n"], room)
    assert [(one.list_id, one.source) for one in lists] == [("000", "lists.json row 1"), ("001", "lists.json row 6")]
    assert problems == [
        "row 2 has text that the model's tokenizer does not know",
        f"row 3 has a token id that the model does not have: it has 0 to {size - 1}",
        "row 4 is a conversation of another chat template than the model's",
        f"row 5 has {room - 10 + 19} tokens with its request, and the model reads {room} at most",
    ]


@pytest.mark.parametrize("text", [f"- Paris\n- Lima \n{END}", f"- Paris\n- Lima{END}", "- Paris\n- Li", "1. Paris\n"])
def test_a_models_own_stored_lists_come_back_token_by_token(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, write_list, text: str
) -> None:
    own = [write_list(text)]
    write_table(tmp_path / "cities.parquet", lists_to_rows(own))
    lists, problems = place_lists(read_list_file(tmp_path / "cities.parquet"), "cities", tokenizer)
    assert [(one.token_ids, one.parsed) for one in lists] == [(one.token_ids, one.parsed) for one in own]
    assert problems == []


def test_stored_tokens_of_another_tokenizer_are_not_taken_for_this_ones(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, make_tokenizer, write_list
) -> None:
    """Another vocabulary spells another text with the same ids: then the text counts."""
    other = make_tokenizer(marks="")
    text = f"- Paris\n- Lima\n{END}"
    assert write_list(text, tokenizer=other).token_ids != write_list(text).token_ids
    write_table(tmp_path / "cities.parquet", lists_to_rows([write_list(text, tokenizer=other)]))
    lists, _ = place_lists(read_list_file(tmp_path / "cities.parquet"), "cities", tokenizer)
    assert [one.token_ids for one in lists] == [write_list(text).token_ids]
