"""Requests that differ in several words: one to one, by their common beginning and end, or refused with the mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.behaviour import BEHAVIOUR
from saeattr.behaviours.lists.pairs import ListRequest, make_pair
from saeattr.behaviours.lists.parsing import ListMarkers, decoder, parse_list
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.swap import check_beside, check_swap
from saeattr.behaviours.lists.topics import SWAPS, Length, list_request
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.settings import StudySettings
from tests.behaviours.tokenizers import FAMILIES, family_tokenizer

ANSWER = "- Paris\n- Lima \n<end_of_turn>"
FEW, MANY = SWAPS["few"]
MakeTokenizer = Callable[..., PreTrainedTokenizerFast]


@pytest.fixture
def one_to_one() -> PreTrainedTokenizerFast:
    """Every word of both requests is one token."""
    return family_tokenizer(FAMILIES["gemma"], words="few many with")


@pytest.fixture
def longer() -> PreTrainedTokenizerFast:
    """ " many" is two tokens, " few" is one."""
    cut = family_tokenizer(FAMILIES["gemma"], words="few many with")
    cut.add_tokens([" ma", "ny"])
    return cut


def pair_of(tokenizer: PreTrainedTokenizerFast, request: ListRequest, topic: str = "cities") -> Pair:
    """A list behind the clean request, as if the model had written it."""
    prompt = prompt_ids(tokenizer, topic, request.clean)
    ids = (*prompt, *tokenizer.encode(ANSWER, add_special_tokens=False))
    parsed = parse_list(ids, ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer))
    text = list_request(topic, request.clean)
    return make_pair(
        tokenizer, SampledList(topic, request.clean, text, "000", ids, len(prompt), 0.8, 0.9, 1, parsed), request
    )


def words_of(tokenizer: PreTrainedTokenizerFast, pair: Pair, role: str) -> list[str]:
    return [
        str(tokenizer.convert_ids_to_tokens(token))
        for token, own in zip(pair.clean_ids, pair.roles, strict=True)
        if own == role
    ]


def test_the_second_requests_are_the_published_studys_words() -> None:
    rest = "Just provide the names, no need for any other information."
    assert list_request("cities", FEW) == f"Provide me with a short list with a few cities. {rest}"
    assert list_request("cities", MANY) == f"Provide me with a long list with a many cities. {rest}"


def test_several_words_of_equally_many_tokens_are_swapped_one_to_one(one_to_one: PreTrainedTokenizerFast) -> None:
    pair = pair_of(one_to_one, ListRequest(clean=FEW, corrupted=MANY))
    assert pair.partners is None
    changed = [(pair.clean_ids[at], pair.partner_ids[at]) for at in pair.changed_positions]
    names = [tuple(one_to_one.convert_ids_to_tokens(token or 0) for token in both) for both in changed]
    assert names == [(" short", " long"), (" few", " many")]
    assert words_of(one_to_one, pair, "length") == [" short", " few"]
    assert words_of(one_to_one, pair, "topic") == [" cities"]
    assert words_of(one_to_one, pair, "request")[:9] == [
        "Provide",
        " me",
        " with",
        " a",
        " list",
        " with",
        " a",
        ".",
        " Just",
    ]


def test_unequal_requests_are_refused_with_the_option_that_allows_them(longer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="' few' is 1 token and ' many' is 2 tokens in this.*use --unequal zero") as no:
        check_swap(longer, "cities", FEW, MANY)
    assert "\n" not in str(no.value)
    with pytest.raises(UserError, match="use --unequal zero"):
        pair_of(longer, ListRequest(clean=FEW, corrupted=MANY))


@pytest.mark.parametrize(("clean", "corrupted"), [(FEW, MANY), (MANY, FEW)])
def test_unequal_requests_align_by_their_common_beginning_and_end(
    longer: PreTrainedTokenizerFast, clean: Length, corrupted: Length
) -> None:
    pair = pair_of(longer, ListRequest(clean=clean, corrupted=corrupted, unequal="zero"))
    ids = longer.convert_ids_to_tokens(list(pair.clean_ids))
    words = {FEW: [" short", " list", " with", " a", " few"], MANY: [" long", " list", " with", " a", " ma", "ny"]}
    first = ids.index(words[clean][0])
    assert pair.corrupted_ids is not None
    assert pair.partners is not None
    assert [ids[at] for at, partner in enumerate(pair.partners) if partner < 0] == words[clean]
    assert pair.changed_positions == tuple(range(first, first + len(words[clean])))
    behind = range(first + len(words[clean]), len(ids))
    assert all(pair.corrupted_ids[pair.partners[at]] == pair.clean_ids[at] for at in [*range(first), *behind])
    swapped = {FEW: [" short", " few"], MANY: [" long", " ma", "ny"]}
    assert words_of(longer, pair, "length") == swapped[clean]
    assert longer.convert_ids_to_tokens(pair.corrupted_ids[first]) == words[corrupted][0]


def test_one_length_word_of_another_number_of_tokens_aligns_the_same_way(make_tokenizer: MakeTokenizer) -> None:
    cut = make_tokenizer(cut_long=True)
    (at,) = check_swap(cut, "cities", unequal="zero")
    assert cut.convert_ids_to_tokens(prompt_ids(cut, "cities")[at]) == " short"


@pytest.mark.parametrize("topic", ["a few", "short list with a few", "many long cities of a short list with a few"])
def test_the_topic_may_hold_the_swapped_words(
    one_to_one: PreTrainedTokenizerFast, longer: PreTrainedTokenizerFast, topic: str
) -> None:
    for tokenizer in (one_to_one, longer):
        swaps = check_swap(tokenizer, topic, FEW, MANY, "zero")
        ids = prompt_ids(tokenizer, topic, FEW)
        assert [tokenizer.convert_ids_to_tokens(ids[at]) for at in swaps] == [" short", " few"]
        assert ids[swaps[0] - 1] == ids[swaps[1] - 1] == tokenizer.convert_tokens_to_ids(" a")
        assert swaps[1] - swaps[0] == 4


def test_words_that_the_tokenizer_does_not_know_are_refused_by_name(tokenizer: PreTrainedTokenizerFast) -> None:
    """Both would be the same unknown token, and the requests would differ in short and long alone."""
    for unequal in ("refuse", "zero"):
        with pytest.raises(UserError, match="' few' is an unknown token in this tokenizer: use another --swap") as no:
            check_swap(tokenizer, "cities", FEW, MANY, unequal)
        assert "\n" not in str(no.value)


def test_a_template_that_changes_elsewhere_is_refused(
    one_to_one: PreTrainedTokenizerFast, longer: PreTrainedTokenizerFast
) -> None:
    for tokenizer in (one_to_one, longer):
        text = "messages[0]['content']"
        tokenizer.chat_template = (
            f"{{{{ bos_token }}}}<start_of_turn>user\n{{{{ {text} }}}}<end_of_turn>\n"
            f"{{{{ 'Rome' if 'many' in {text} else 'Oslo' }}}}<start_of_turn>model\n"
        )
        with pytest.raises(UserError, match="differ at 3 positions, not at the length words only"):
            check_swap(tokenizer, "cities", FEW, MANY, "zero")


def test_requests_are_read_side_by_side_only_where_they_have_equally_many_tokens(
    one_to_one: PreTrainedTokenizerFast, longer: PreTrainedTokenizerFast
) -> None:
    check_beside(one_to_one, "cities", FEW, MANY)
    sizes = [len(prompt_ids(longer, "cities", length)) for length in (FEW, MANY)]
    assert sizes[1] == sizes[0] + 1
    with pytest.raises(UserError, match=f"have {sizes[0]} and {sizes[1]} tokens.*use --base zero or mean") as refusal:
        check_beside(longer, "cities", FEW, MANY)
    assert "\n" not in str(refusal.value)


def test_a_study_checks_the_swap_that_it_asks_for(longer: PreTrainedTokenizerFast) -> None:
    def check(**settings: object) -> None:
        asked = StudySettings.model_validate(settings)
        BEHAVIOUR.check_settings(longer, ["cities"], asked, BEHAVIOUR.contrast(longer, asked))

    check()
    check(swap="few", unequal="zero")
    with pytest.raises(UserError, match="use --unequal zero"):
        check(swap="few")
