from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.pairs import ListRequest, make_pair, make_pairs
from saeattr.behaviours.lists.parsing import Decode
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.swap import check_swap
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError

WriteList = Callable[..., SampledList]
SHORT = "- Paris\n- New York \n<end_of_turn>"


def positions_of(pair: Pair) -> list[int]:
    """Of the decision points."""
    return [point.position for point in pair.points]


def test_a_pair_differs_at_the_length_word_only(
    tokenizer: PreTrainedTokenizerFast, decode: Decode, write_list: WriteList
) -> None:
    pair = make_pair(tokenizer, write_list(SHORT))
    assert pair.corrupted_ids is not None
    assert len(pair.clean_ids) == len(pair.corrupted_ids)
    differing = [at for at, (a, b) in enumerate(zip(pair.clean_ids, pair.corrupted_ids, strict=True)) if a != b]
    assert differing == list(pair.changed_positions)
    assert [decode([pair.clean_ids[at]]) for at in pair.changed_positions] == [" short"]
    assert [decode([pair.corrupted_ids[at]]) for at in pair.changed_positions] == [" long"]
    assert decode(pair.corrupted_ids) == decode(pair.clean_ids).replace(" short", " long")


def test_a_pair_knows_its_decisions_its_items_and_its_roles(
    tokenizer: PreTrainedTokenizerFast, write_list: WriteList
) -> None:
    pair = make_pair(tokenizer, write_list(SHORT))
    words = tokenizer.convert_ids_to_tokens(list(pair.clean_ids))
    assert [words[at - 1 : at + 2] for at in positions_of(pair)] == [
        [" Paris", "\n", "-"],
        [" ", "\n", "<end_of_turn>"],
    ]
    at_items = make_pair(tokenizer, write_list(SHORT), ListRequest("blank-vs-newline"))
    assert [words[at] for at in positions_of(at_items)] == [" Paris", " York"]
    assert [pair.roles[at] for at in pair.changed_positions] == ["length"]
    assert [word for word, role in zip(words, pair.roles, strict=True) if role == "topic"] == [" cities"]
    assert pair.roles[0] == "bos"
    assert pair.roles[-1] == "end"


@pytest.mark.parametrize("topic", ["short list of cities", "TV shows a short user"])
def test_the_topic_may_hold_the_length_word(
    tokenizer: PreTrainedTokenizerFast, decode: Decode, write_list: WriteList, topic: str
) -> None:
    pair = make_pair(tokenizer, write_list(SHORT, topic=topic))
    assert len(pair.changed_positions) == 1
    assert decode(pair.corrupted_ids or ()).count(topic) == 1
    in_topic = [token for token, role in zip(pair.clean_ids, pair.roles, strict=True) if role == "topic"]
    assert decode(in_topic) == f" {topic}"


def test_the_same_answer_goes_behind_either_request(tokenizer: PreTrainedTokenizerFast, write_list: WriteList) -> None:
    short = make_pair(tokenizer, write_list(SHORT))
    turned = make_pair(tokenizer, write_list(SHORT), ListRequest(clean="long", corrupted="short"))
    assert (turned.clean_ids, turned.corrupted_ids) == (short.corrupted_ids, short.clean_ids)
    assert turned.roles == short.roles
    assert turned.points == short.points


def test_words_of_different_token_counts_are_refused(make_tokenizer, write_list: WriteList) -> None:
    cut = make_tokenizer(cut_long=True)
    with pytest.raises(UserError, match="' short' is 1 token and ' long' is 2 tokens in this tokenizer") as raised:
        make_pair(cut, write_list(SHORT, tokenizer=cut))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("contrast", "tokens"),
    [("end-vs-continue", ("<end_of_turn>", "-")), ("blank-vs-newline", (" ", "\n")), ((11, 12), None)],
)
def test_each_point_contrasts_the_tokens_of_the_metric(
    tokenizer: PreTrainedTokenizerFast, write_list: WriteList, contrast: str | tuple[int, int], tokens
) -> None:
    pair = make_pair(tokenizer, write_list(SHORT), ListRequest(contrast))
    named = contrast if tokens is None else [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    wanted, unwanted = named
    assert [(point.wanted, point.unwanted) for point in pair.points] == [((wanted,), (unwanted,))] * 2
    assert [point.weight for point in pair.points] == [1.0, 1.0]


def test_topics_can_be_checked_before_anything_is_sampled(
    tokenizer: PreTrainedTokenizerFast, make_tokenizer, write_list: WriteList
) -> None:
    assert check_swap(tokenizer, "cities") == make_pair(tokenizer, write_list(SHORT)).changed_positions
    with pytest.raises(UserError, match="do not align"):
        check_swap(make_tokenizer(cut_long=True), "cities")


def test_a_request_without_a_length_word_does_not_align(
    tokenizer: PreTrainedTokenizerFast, write_list: WriteList
) -> None:
    with pytest.raises(UserError, match="'' is 0 tokens"):
        make_pair(tokenizer, write_list(SHORT), ListRequest(clean="short", corrupted="none"))
    with pytest.raises(UserError, match="both ask for 'short'"):
        make_pair(tokenizer, write_list(SHORT), ListRequest(clean="short", corrupted="short"))


def test_a_template_that_changes_with_the_word_is_refused(make_tokenizer, write_list: WriteList) -> None:
    template = (
        "{{ bos_token }}{{ 'long' if 'long' in messages[0]['content'] else 'short' }}<start_of_turn>user\n"
        "{{ messages[0]['content'] }}<end_of_turn>\n<start_of_turn>model\n"
    )
    odd = make_tokenizer(template=template)
    with pytest.raises(UserError, match="differ at 2 positions, not at the length word only"):
        make_pair(odd, write_list(SHORT, tokenizer=odd))


def test_a_difference_in_the_token_beside_the_length_word_is_refused(make_tokenizer) -> None:
    template = (
        "{{ bos_token }}<start_of_turn>user\n"
        "{{ messages[0]['content'] | replace('long list', 'long shows') }}<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(UserError, match="differ at 2 positions, not at the length word only"):
        check_swap(make_tokenizer(template=template), "cities")


def test_length_words_of_two_tokens_each_are_swapped_together(make_tokenizer) -> None:
    cut = make_tokenizer()
    # " lo", "ng" and " sh", "ort".
    cut.add_tokens([" lo", "ng", " sh", "ort"])
    first, second = check_swap(cut, "cities")
    assert second == first + 1
    ids = prompt_ids(cut, "cities", "long")
    assert cut.convert_ids_to_tokens([ids[first], ids[second]]) == [" lo", "ng"]


def test_a_list_of_another_request_is_refused(tokenizer: PreTrainedTokenizerFast, write_list: WriteList) -> None:
    renamed = dataclasses.replace(write_list(SHORT), topic="TV shows")
    with pytest.raises(UserError, match="sampled with another request or tokenizer: sample the lists again"):
        make_pair(tokenizer, renamed)


def test_lists_without_a_decision_are_skipped_with_the_reason(
    tokenizer: PreTrainedTokenizerFast, write_list: WriteList
) -> None:
    texts = [SHORT, "Paris, Lima.<end_of_turn>", "- New York", "<end_of_turn>", "- Paris\n"]
    lists = [write_list(text, list_id=f"{index:03d}") for index, text in enumerate(texts)]
    pairs, skipped = make_pairs(tokenizer, lists)
    assert [pair.pair_id for pair in pairs] == ["000"]
    reasons = dict(skipped)
    assert list(reasons) == ["001", "002", "003", "004"]
    assert "not a list" in reasons["001"]
    assert "cut off before its first item" in reasons["002"]
    assert "empty" in reasons["003"]
    assert "nothing follows the line break" in reasons["004"]


def test_alignment_problems_are_raised_not_skipped(make_tokenizer, write_list: WriteList) -> None:
    cut = make_tokenizer(cut_long=True)
    with pytest.raises(UserError, match="do not align"):
        make_pairs(cut, [write_list(SHORT, tokenizer=cut)])
