from __future__ import annotations

import pytest
from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.parsing import Decode, ListMarkers, parse_list
from saeattr.behaviours.lists.roles import ROLES, assign_roles, topic_positions
from saeattr.behaviours.lists.sampling import prompt_ids
from saeattr.behaviours.lists.topics import Length, list_request


def test_every_token_of_a_conversation_has_its_role(
    tokenizer: PreTrainedTokenizerFast, markers: ListMarkers, decode: Decode
) -> None:
    text = (
        "<bos><start_of_turn>user\na short list\nof cities<end_of_turn>\n<start_of_turn>model\n"
        "Paris\n- New York \n  - Lima\n\n<end_of_turn>\n"
    )
    ids = tokenizer.encode(text, add_special_tokens=False)
    words = tokenizer.convert_ids_to_tokens(ids)
    roles = assign_roles(
        parse_list(ids, markers, decode),
        markers,
        length_positions=[words.index(" short")],
        topic_positions=[words.index(" cities")],
    )
    assert list(zip(words, roles, strict=True)) == [
        ("<bos>", "bos"),
        ("<start_of_turn>", "turn"),
        ("user", "turn"),
        ("\n", "turn"),
        ("a", "request"),
        (" short", "length"),
        (" list", "request"),
        ("\n", "request"),
        ("of", "request"),
        (" cities", "topic"),
        ("<end_of_turn>", "turn"),
        ("\n", "turn"),
        ("<start_of_turn>", "turn"),
        ("model", "turn"),
        ("\n", "turn"),
        ("Paris", "other"),
        ("\n", "other"),
        ("-", "marker"),
        (" New", "item"),
        (" York", "item"),
        (" ", "blank"),
        ("\n", "newline"),
        ("  ", "other"),
        ("-", "marker"),
        (" Lima", "item"),
        ("\n\n", "newline"),
        ("<end_of_turn>", "end"),
        ("\n", "other"),
    ]
    assert set(roles) == set(ROLES)


@pytest.mark.parametrize(
    "topic", ["cities", "TV shows", "TV shows of Rome", "lists of cities", "list", "no words known"]
)
@pytest.mark.parametrize("length", ["short", "none"])
def test_the_topic_is_found_in_the_request(
    tokenizer: PreTrainedTokenizerFast, decode: Decode, topic: str, length: Length
) -> None:
    positions = topic_positions(tokenizer, topic, length)
    ids = prompt_ids(tokenizer, topic, length)
    assert [ids[at] for at in positions] == tokenizer.encode(f" {topic}", add_special_tokens=False)
    assert decode(ids[: positions[0]]).endswith(" list of")
    assert positions == tuple(range(positions[0], positions[-1] + 1))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"[^\s\-.,<>]+| |\n+|[\-.,]", ["cities"]),
        (r"[^\s\-.,<>]+ ?|\n+|[\-.,]", ["cities"]),
        (r" ?[^\s]|\n", ["c", "i", "t", "i", "e", "s"]),
    ],
)
def test_a_token_that_ends_where_the_topic_starts_is_not_of_the_topic(make_tokenizer, pattern: str, expected) -> None:
    """Tokenizers whose blank is a token, or ends the word before; and one that cuts the topic into letters."""
    cut = make_tokenizer()
    cut.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    chat = [{"role": "user", "content": list_request("cities", "short")}]
    text = cut.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    offsets = cut(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    found = topic_positions(cut, "cities", "short")
    pieces = [text[slice(*offsets[at])] for at in found]
    # The blank before the first letter is another token, or a part of the first one.
    assert [piece.strip() for piece in pieces] == expected
    assert text[: offsets[found[0]][0]].strip().endswith("list of")
