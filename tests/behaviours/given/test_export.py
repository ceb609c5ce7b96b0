"""Pairs of any behaviour, written as rows, are the same pairs when they are read; the others are named."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.facts.behaviour import fact_pairs, relations
from saeattr.behaviours.given.export import export_pairs
from saeattr.behaviours.given.make import Reading, make_pairs
from saeattr.behaviours.given.source import read_source
from saeattr.behaviours.pair import Pair, distinct_pairs
from saeattr.model.loading import LanguageModel, find_model, load_tokenizer
from tests.behaviours.tokenizers import FAMILIES, family_tokenizer

SINGLE = Reading()
ROW = {"clean": "The capital of France is", "corrupted": "The capital of Peru is"}
CONTINUED = {**ROW, "answer": " New York", "wrong": " Buenos Aires"}


@functools.cache
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(find_model("bundled", weights=False))


def read_back(text: str, reading: Reading = SINGLE) -> list[Pair]:
    given = read_source([json.loads(line) for line in text.splitlines()])
    pairs, faults = make_pairs(tokenizer(), given.rows, reading)
    assert not faults
    return distinct_pairs(pairs)


def plain(pair: Pair) -> Pair:
    """Without what a reader calls it."""
    return dataclasses.replace(pair, title="", roles=("",) * len(pair.roles))


@pytest.mark.parametrize("relation", sorted(relations()))
def test_facts_read_back_are_the_same_pairs(relation: str) -> None:
    pairs, _ = fact_pairs(tokenizer(), relations()[relation])
    found = export_pairs(tokenizer(), pairs)
    assert not found.faults
    assert all(isinstance(row["answer"], str) for row in found.rows)
    assert list(map(plain, read_back(found.to_text()))) == list(map(plain, distinct_pairs(pairs)))


def test_lists_read_back_are_read_at_their_last_decision(lm: LanguageModel, pairs: list[Pair]) -> None:
    twice = dataclasses.replace(pairs[0], times=3)
    found = export_pairs(lm.tokenizer, [twice, *pairs[1:]])
    assert not found.faults
    # A list that was drawn three times is three rows, and weighs as much.
    assert len(found.rows) == len(pairs) + 2
    expected = [dataclasses.replace(pair, points=pair.points[-1:]) for pair in [twice, *pairs[1:]]]
    assert list(map(plain, read_back(found.to_text()))) == list(map(plain, expected))


@pytest.mark.parametrize(
    ("row", "reading"),
    [
        ({**ROW, "answer": [" Paris", " Rome"], "wrong": [" Lima", " Oslo"]}, Reading()),
        (CONTINUED, Reading("log-prob-difference")),
        ({**CONTINUED, "corrupted": "The capital city of Peru is"}, Reading("log-prob-difference", "zero")),
        ({**CONTINUED, "wrong": " Lima"}, Reading("log-prob-difference")),
        ({**ROW, "answer": " New York"}, Reading("log-prob")),
        ({"clean": ROW["clean"], "answer": " Paris"}, Reading("log-prob")),
        ({**ROW, "answer": " is", "wrong": " of", "position": 4}, Reading()),
        ({**ROW, "answer": " Paris", "wrong": " Lima", "chat": True, "start": "It is"}, Reading()),
    ],
)
def test_rows_of_every_form_are_written_as_they_were(row: dict[str, object], reading: Reading) -> None:
    pairs, _ = make_pairs(tokenizer(), read_source([{**row, "id": "one", "group": "g"}]).rows, reading)
    assert len(pairs) == 1
    found = export_pairs(tokenizer(), pairs)
    assert found.unequal == (reading.unequal == "zero")
    assert list(map(plain, read_back(found.to_text(), reading))) == list(map(plain, pairs))


def test_answers_that_are_no_text_of_their_own_are_written_as_token_ids() -> None:
    (pair,) = make_pairs(tokenizer(), read_source([{**ROW, "answer": " Paris", "wrong": " Lima"}]).rows, Reading())[0]
    # A byte of a longer letter decodes to the replacement mark.
    byte = next(token for token in range(len(tokenizer())) if tokenizer().decode([token]) == "\ufffd")
    (point,) = pair.points
    odd = dataclasses.replace(pair, points=(dataclasses.replace(point, wanted=(byte,)),))
    found = export_pairs(tokenizer(), [odd])
    assert (found.rows[0]["answer_ids"], found.rows[0]["wrong_ids"]) == ([byte], list(point.unwanted))
    assert read_back(found.to_text())[0].points == odd.points


def test_prompts_that_are_other_tokens_as_text_are_left_out_and_named() -> None:
    (pair,) = make_pairs(tokenizer(), read_source([{**ROW, "answer": " Paris", "wrong": " Lima"}]).rows, Reading())[0]
    letters = tuple(token for letter in " capital" for token in tokenizer().encode(letter, add_special_tokens=False))
    spelt = dataclasses.replace(
        pair,
        pair_id="spelt",
        clean_ids=(*pair.clean_ids[:2], *letters, *pair.clean_ids[3:]),
        corrupted_ids=(*(pair.corrupted_ids or ())[:2], *letters, *(pair.corrupted_ids or ())[3:]),
        roles=("",) * (len(pair.clean_ids) + len(letters) - 1),
        points=(dataclasses.replace(pair.points[0], position=len(pair.clean_ids) + len(letters) - 2),),
    )
    found = export_pairs(tokenizer(), [pair, spelt])
    assert [row["id"] for row in found.rows] == [pair.pair_id]
    assert [(fault.row, fault.pair_id) for fault in found.faults] == [(2, "spelt")]


@pytest.mark.parametrize("name", FAMILIES)
def test_rendered_chats_are_plain_rows_that_are_the_same_tokens(name: str) -> None:
    """Turn markers are read as tokens wherever they stand in a text."""
    chats = family_tokenizer(FAMILIES[name], words="what is Paris Lima It")
    ask = {"clean": "what is Paris", "corrupted": "what is Lima", "answer": " Oslo", "wrong": " Rome", "chat": True}
    pairs, _ = make_pairs(chats, read_source([{**ask, "id": "one", "start": "It is"}]).rows, SINGLE)
    found = export_pairs(chats, pairs)
    assert not found.faults
    assert "chat" not in found.rows[0]
    again, _ = make_pairs(chats, read_source(found.rows).rows, SINGLE)
    assert list(map(plain, again)) == list(map(plain, pairs))
