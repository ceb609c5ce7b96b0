"""A row becomes a pair: tokens, decision points, roles; or it is told why not."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.make import Reading, make_pair, make_pairs
from saeattr.behaviours.given.rows import RowUnusable, read_row
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import find_model, load_tokenizer
from tests.behaviours.tokenizers import FAMILIES, byte_tokenizer, family_tokenizer

CAPITALS: dict[str, Any] = {"clean": "The capital of France is", "corrupted": "The capital of Peru is"}
#: Answers of one token and of two, which tokenizers of whole words split between words.
CITIES: dict[str, Any] = {"answer": " Paris", "wrong": " Lima"}
LONG: dict[str, Any] = {"answer": " New York", "wrong": " Buenos Aires"}
SINGLE, BOTH = Reading(), Reading("log-prob-difference")


@functools.cache
def bundled() -> PreTrainedTokenizerBase:
    return load_tokenizer(find_model("bundled", weights=False))


@functools.cache
def like_gpt2() -> PreTrainedTokenizerBase:
    return byte_tokenizer("The capital of France is Paris. The capital of Peru is Lima. New York, Buenos Aires. " * 5)


TOKENIZERS = {"bundled": bundled, "like GPT-2": like_gpt2}


def pair_of(tokenizer: PreTrainedTokenizerBase, reading: Reading = SINGLE, **cells: Any) -> Pair:
    return make_pair(tokenizer, read_row(1, cells), reading)


def refusal(tokenizer: PreTrainedTokenizerBase, reading: Reading = SINGLE, **cells: Any) -> str:
    with pytest.raises(RowUnusable) as refused:
        pair_of(tokenizer, reading, **cells)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def text(tokenizer: PreTrainedTokenizerBase, ids: Any) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_plain_row_is_its_prompts_behind_the_beginning_token_read_at_the_end(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    pair = pair_of(tokenizer, **CAPITALS, **CITIES)
    bos = tokenizer.bos_token_id
    assert pair.clean_ids == (bos, *tokenizer.encode(CAPITALS["clean"], add_special_tokens=False))
    assert pair.corrupted_ids == (bos, *tokenizer.encode(CAPITALS["corrupted"], add_special_tokens=False))
    (point,) = pair.points
    assert point.position == len(pair.clean_ids) - 1
    assert (text(tokenizer, point.wanted), text(tokenizer, point.unwanted)) == (" Paris", " Lima")
    assert (pair.partners, pair.branches, pair.whole, pair.group) == (None, None, False, "pairs")
    assert pair.roles == ("bos", "common", "common", "common", "changed", "last")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_continuations_stand_behind_the_prompt_and_are_read_token_by_token(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    prompt = pair_of(tokenizer, **CAPITALS, **CITIES).clean_ids
    answer, wrong = (tokenizer.encode(LONG[side], add_special_tokens=False) for side in ("answer", "wrong"))
    assert (len(answer), len(wrong)) == (2, 2)
    pair = pair_of(tokenizer, BOTH, **CAPITALS, **LONG)
    size = len(prompt)
    assert pair.clean_ids == (*prompt, answer[0], wrong[0])
    assert pair.corrupted_ids is not None
    assert pair.corrupted_ids[-2:] == (answer[0], wrong[0])
    # The wrong answer does not see the right one.
    assert pair.branches == (*[0] * size, 1, 2)
    points = [(point.position, point.wanted, point.unwanted) for point in pair.points]
    expected = [(size - 1, (answer[0],), (wrong[0],)), (size, (answer[1],), ()), (size + 1, (), (wrong[1],))]
    assert points == expected
    assert pair.whole
    assert pair.roles[-3:] == ("last", "answer", "wrong")


def test_one_long_answer_needs_no_branches_and_log_prob_leaves_the_wrong_one_out() -> None:
    pair = pair_of(bundled(), BOTH, **CAPITALS, answer=" New York", wrong=" Lima")
    assert pair.branches is None
    assert [len(point.unwanted) for point in pair.points] == [1, 0]
    alone = pair_of(bundled(), Reading("log-prob"), **CAPITALS, **LONG)
    assert [point.unwanted for point in alone.points] == [(), ()]
    assert len(alone.clean_ids) == len(pair.clean_ids)


def test_several_answers_of_one_token_are_read_at_one_point() -> None:
    pair = pair_of(bundled(), **CAPITALS, answer=[" Paris", " Rome"], wrong=[" Lima", " Oslo"])
    (point,) = pair.points
    assert [text(bundled(), [token]) for token in (*point.wanted, *point.unwanted)] == [
        *[" Paris", " Rome"],
        *[" Lima", " Oslo"],
    ]
    same = pair_of(bundled(), **CAPITALS, answer_ids=list(point.wanted), wrong_ids=list(point.unwanted))
    assert same == pair


def test_a_contrast_takes_the_place_of_the_answers() -> None:
    reading = Reading(contrast=(5, 6))
    (point,) = pair_of(bundled(), reading, **CAPITALS, answer=" no word of it").points
    assert (point.wanted, point.unwanted) == ((5,), (6,))


@pytest.mark.parametrize(("position", "at"), [(4, 4), (-2, 4), (-1, 5), ("who", 4)])
def test_an_answer_is_read_at_an_index_or_at_the_end_of_a_span(position: int | str, at: int) -> None:
    spans = {"who": "France", "what": [0, len("The capital")]}
    pair = pair_of(bundled(), **CAPITALS, **CITIES, position=position, spans=spans)
    assert [point.position for point in pair.points] == [at]
    assert pair.roles[at] == "last"
    expected = ["bos", "what", "what", "common", "who", "after"]
    assert [role for place, role in enumerate(pair.roles) if place != at] == expected[:at] + expected[at + 1 :]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_span_is_the_tokens_that_hold_its_characters(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    pair = pair_of(tokenizer, **CAPITALS, **CITIES, spans={"mine": "capital of"})
    spanned = [token for token, role in zip(pair.clean_ids, pair.roles, strict=True) if role == "mine"]
    assert text(tokenizer, spanned).strip() == "capital of"


def test_prompts_of_unequal_length_leave_what_is_between_without_partner() -> None:
    clean, corrupted = "The capital of France is", "The capital city of Peru is"
    assert refusal(bundled(), clean=clean, corrupted=corrupted, **CITIES) == (
        "the clean prompt has 6 tokens and the corrupted one 7: use prompts of equally many, or --unequal zero "
        "(aligned by their common beginning and end; features between are patched to zero)"
    )
    pair = pair_of(bundled(), Reading("log-prob-difference", "zero"), clean=clean, corrupted=corrupted, **LONG)
    # The tails of both continuations are partners of themselves.
    assert pair.partners == (0, 1, 2, -1, -1, 6, 7, 8)
    assert pair.changed_positions == (3, 4)
    assert pair.roles == ("bos", "common", "common", "changed", "changed", "last", "answer", "wrong")


@pytest.mark.parametrize(
    ("cells", "reading", "said"),
    [
        ({"corrupted": CAPITALS["clean"]}, Reading(), "clean and corrupted prompt are the same: change one of them"),
        (
            {"corrupted": None},
            Reading(paired=True),
            "there is no corrupted prompt: fill the column corrupted, or use --base zero or mean with named --sites",
        ),
        (
            {"wrong": None},
            Reading(),
            "there is no wrong answer to contrast with: fill the column wrong, or --metric log-prob",
        ),
        ({"wrong": " Paris"}, Reading(), "a token is both answer and wrong answer: name it once"),
        (
            {"answer": " New York"},
            Reading(),
            "the answer is 2 tokens: give one token, or --metric log-prob-difference",
        ),
        (
            {"answer": [" Paris", " New York"]},
            BOTH,
            "one of several answers is 2 tokens: give single tokens, or one continuation",
        ),
        (
            {"answer": None, "answer_ids": [10**6]},
            Reading(),
            "there is no token 1000000: this model's are 0 to 1872",
        ),
        ({"position": 6}, Reading(), "position is 6 in a prompt of 6 tokens: give -6 to 5"),
        ({"position": -7}, Reading(), "position is -7 in a prompt of 6 tokens: give -6 to 5"),
        (
            {"position": "who"},
            Reading(),
            "position names no span ('who'): name one of spans, or give a token index",
        ),
        (
            {"position": 3},
            Reading(),
            "the prompts are the same up to where the answer is read: change something before it, or read it later",
        ),
        (
            {"position": 4, **LONG},
            BOTH,
            "an answer of several tokens is read inside the prompt: leave position out",
        ),
        (
            {"spans": {"who": "Spain"}},
            Reading(),
            "the span 'who' ('Spain') is 0 times in the clean prompt: name a text that is there once, or its [start, "
            "end) characters",
        ),
        (
            {"spans": {"who": "a"}},
            Reading(),
            "the span 'who' ('a') is 3 times in the clean prompt: name a text that is there once, or its [start, end) "
            "characters",
        ),
        (
            {"spans": {"who": [3, 99]}},
            Reading(),
            "the span 'who' cannot be [3, 99): the clean prompt has the characters [0, 24)",
        ),
        ({}, Reading(longest=5), "it has 6 tokens, and the model reads 5: shorten the prompt"),
        (
            {"corrupted": "The capital city of Peru is"},
            Reading(unequal="zero", longest=6),
            "it has 7 tokens, and the model reads 6: shorten the prompt",
        ),
        (
            {"corrupted": "The capital of Peru is big and"},
            Reading(unequal="zero"),
            "the answer is read at a token that has no partner in the corrupted prompt: let both prompts end alike, or "
            "give a position that both have",
        ),
        (
            {"chat": True, "spans": {"who": "Spain"}},
            Reading(),
            "the span 'who' ('Spain') is 0 times in the clean prompt: name a text that is there once, or its [start, "
            "end) characters",
        ),
    ],
)
def test_a_row_that_makes_no_pair_says_why_and_what_to_do(cells: dict[str, Any], reading: Reading, said: str) -> None:
    assert refusal(bundled(), reading, **{**CAPITALS, **CITIES, **cells}) == said


def test_an_answer_that_grows_into_the_prompt_is_refused() -> None:
    tokenizer = like_gpt2()
    said = refusal(tokenizer, clean="The capital of Fra", corrupted="The capital of Per", answer="nce", wrong=" Lima")
    assert said == (
        "the answer 'nce' shares a token with the end of the prompt: let the prompt end before the blank and the "
        "answer begin with it, as in ' Paris', or give answer_ids"
    )


def test_an_answer_that_is_no_token_is_refused() -> None:
    tokenizer = family_tokenizer(FAMILIES["mistral"], words=WORDS)
    said = refusal(tokenizer, clean="what is Paris", corrupted="what is Lima", answer=" Qxv", wrong=" Lima")
    assert said == "the answer ' Qxv' is unknown to the tokenizer: write it with the blank before it, as in ' Paris'"


def test_a_token_that_stands_for_the_unknown_too_can_be_an_answer_when_it_is_meant() -> None:
    tokenizer = like_gpt2()
    (point,) = pair_of(tokenizer, **CAPITALS, answer="<|endoftext|>", wrong=" Lima").points
    assert point.wanted == (tokenizer.eos_token_id,)


def test_the_rest_of_the_rows_is_used_and_the_others_are_named() -> None:
    good = {**CAPITALS, **CITIES, "group": "g"}
    rows = [
        read_row(number, good | ({"wrong": " Paris", "id": "bad"} if number == 3 else {})) for number in range(1, 5)
    ]
    pairs, faults = make_pairs(bundled(), rows, Reading())
    assert [pair.pair_id for pair in pairs] == ["00001", "00002", "00004"]
    assert [(fault.row, fault.pair_id, fault.group) for fault in faults] == [(3, "bad", "g")]


# Chats.

WORDS = "Paris Lima what is it It Be kind say"
ASK: dict[str, Any] = {
    "clean": "what is Paris",
    "corrupted": "what is Lima",
    "answer": " Oslo",
    "wrong": " Rome",
    "chat": True,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chat_is_what_the_template_renders_and_only_the_turn_is_not_its_own(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family, words=WORDS)
    pair = pair_of(tokenizer, **ASK)
    expected = tokenizer.encode(f"{family.before}what is Paris{family.after}", add_special_tokens=False)
    assert list(pair.clean_ids) == expected
    own = [at for at, role in enumerate(pair.roles) if role not in ("bos", "turn", "last")]
    assert text(tokenizer, [pair.clean_ids[at] for at in own]).strip() == "what is Paris"
    assert [pair.roles[at] for at in own] == ["common", "common", "changed"]
    assert pair.points[0].position == len(expected) - 1
    assert pair.roles[-1] == "last"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chats_answer_may_have_begun(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family, words=WORDS)
    pair = pair_of(tokenizer, **ASK, start="It is", spans={"who": "Paris"})
    expected = tokenizer.encode(f"{family.before}what is Paris{family.after}It is", add_special_tokens=False)
    assert list(pair.clean_ids) == expected
    assert pair.roles[-1] == "last"
    assert [text(tokenizer, [pair.clean_ids[at]]) for at, role in enumerate(pair.roles) if role == "who"] == [" Paris"]


@pytest.mark.parametrize("name", ["llama", "chatml"])
def test_a_system_turn_comes_before(name: str) -> None:
    tokenizer = family_tokenizer(FAMILIES[name], words=WORDS)
    pair = pair_of(tokenizer, **ASK, system="Be kind", spans={"who": "Paris"})
    turns = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "what is Paris"}]
    rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert list(pair.clean_ids) == list(rendered)


def test_a_system_turn_that_the_template_refuses_is_said() -> None:
    """As Gemma's own template does."""
    tokenizer = family_tokenizer(FAMILIES["gemma"], words=WORDS)
    own = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = own + str(tokenizer.chat_template)
    assert refusal(tokenizer, **ASK, system="Be kind") == (
        "the chat template refuses these turns (System role not supported): leave chat (or system) out, or use a model "
        "that is tuned on chats"
    )
    assert pair_of(tokenizer, **ASK)


def test_a_chat_without_a_template_is_refused() -> None:
    said = refusal(family_tokenizer(FAMILIES["llama"], template=False, words=WORDS), **ASK)
    assert said.startswith("the tokenizer has no chat template, so nothing can be put as a chat")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_turn_that_the_template_writes_too_is_found_where_the_user_wrote_it(name: str) -> None:
    """Such as the word for the user, or a single letter."""
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family, words=WORDS)
    for word in ("user", "model", "a"):
        pair = pair_of(tokenizer, **{**ASK, "clean": word, "corrupted": "Lima"})
        before = tokenizer.encode(family.before, add_special_tokens=False)
        assert [at for at, role in enumerate(pair.roles) if role == "changed"] == [len(before)]
        spanned = pair_of(tokenizer, **{**ASK, "clean": word, "corrupted": "Lima"}, spans={"who": word})
        assert [at for at, role in enumerate(spanned.roles) if role == "who"] == [len(before)]
