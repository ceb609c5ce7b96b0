"""Turn markers are read off the tokenizer's own template, whichever family it is of."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr import UserError
from saeattr.behaviours.chat import chat_prompt, chat_turns
from saeattr.behaviours.lists.behaviour import BEHAVIOUR as LISTS
from saeattr.behaviours.lists.pairs import ListRequest, make_pair
from saeattr.behaviours.lists.parsing import ListMarkers, decoder, parse_list
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.topics import list_request
from saeattr.settings import StudySettings
from tests.behaviours.tokenizers import FAMILIES, Family, family_tokenizer

ANSWER = "- Paris\n- New York \n"


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def tokenizer(family: Family) -> PreTrainedTokenizerFast:
    return family_tokenizer(family)


def written(tokenizer: PreTrainedTokenizerFast, text: str) -> SampledList:
    """A list as if a model had written ``text`` after the short request."""
    prompt = prompt_ids(tokenizer, "cities", "short")
    ids = (*prompt, *tokenizer.encode(text, add_special_tokens=False))
    parsed = parse_list(ids, ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer))
    return SampledList("cities", "short", list_request("cities"), "000", ids, len(prompt), 0.8, 0.9, 1, parsed)


def test_a_prompt_is_the_template_around_the_text(family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
    text = "".join(tokenizer.convert_ids_to_tokens(chat_prompt(tokenizer, "a short list")))
    assert text == f"{family.before}a short list{family.after}"


def test_what_surrounds_the_turns_is_the_templates_own(family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
    turns = chat_turns(tokenizer)
    for found, meant in ((turns.before, family.before), (turns.after, family.after), (turns.header, family.header)):
        assert "".join(tokenizer.convert_ids_to_tokens(list(found))) == meant
    assert turns.end == tokenizer.convert_tokens_to_ids(family.end)
    assert turns.end_text == family.end


def test_a_list_behind_any_template_parses(family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
    parsed = written(tokenizer, ANSWER + family.end).parsed
    assert [item.text for item in parsed.items] == ["Paris", "New York"]
    assert parsed.answer_start == len(prompt_ids(tokenizer, "cities"))
    assert (parsed.ended, parsed.end_position) == (True, len(parsed.token_ids) - 1)
    assert parsed.text == ANSWER


def test_an_answer_that_ends_the_whole_text_is_ended_too(family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
    assert written(tokenizer, ANSWER + family.eos).parsed.ended
    assert not written(tokenizer, ANSWER).parsed.ended


def test_pairs_align_and_know_what_each_token_is_for(family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
    pair = make_pair(tokenizer, written(tokenizer, ANSWER + family.end))
    words = tokenizer.convert_ids_to_tokens(list(pair.clean_ids))
    assert [words[at] for at in pair.changed_positions] == [" short"]
    assert pair.corrupted_ids is not None
    swapped = tokenizer.convert_ids_to_tokens(list(pair.corrupted_ids))
    assert swapped == [" long" if word == " short" else word for word in words]
    of_role = {role: [word for word, own in zip(words, pair.roles, strict=True) if own == role] for role in pair.roles}
    around = tokenizer.encode(family.before + family.after, add_special_tokens=False)
    in_turn = [word for word in tokenizer.convert_ids_to_tokens(around) if word != family.bos]
    assert of_role["turn"] == in_turn
    assert of_role.get("bos", []) == ([family.bos] if family.bos else [])
    assert of_role["length"] == [" short"]
    assert of_role["topic"] == [" cities"]
    assert of_role["item"] == [" Paris", " New", " York"]
    assert of_role["end"] == [family.end]
    assert "".join(of_role["request"]) == list_request("cities").replace(" short", "").replace(" cities", "")


def test_the_metric_contrasts_the_templates_own_end_with_a_hyphen(
    family: Family, tokenizer: PreTrainedTokenizerFast
) -> None:
    pair = make_pair(tokenizer, written(tokenizer, ANSWER + family.end), ListRequest())
    wanted, unwanted = (tokenizer.convert_tokens_to_ids(token) for token in (family.end, "-"))
    assert {(point.wanted, point.unwanted) for point in pair.points} == {((wanted,), (unwanted,))}
    assert LISTS.contrast(tokenizer, StudySettings()).label == f"logit({family.end}) - logit(-)"


def test_a_model_without_a_template_is_told_of_facts(family: Family) -> None:
    base = family_tokenizer(family, template=False)
    with pytest.raises(UserError, match="no chat template.*--behaviour facts") as refusal:
        LISTS.contrast(base, StudySettings())
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="no chat template.*--behaviour facts"):
        LISTS.check(base, ["cities"])


def test_a_template_without_marks_is_refused() -> None:
    bare = family_tokenizer(FAMILIES["gemma"])
    bare.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(UserError, match="does not mark where an answer begins and ends") as refusal:
        chat_turns(bare)
    assert "\n" not in str(refusal.value)
