"""Items, blanks and tokens of single lists, against counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from saeattr import UserError
from saeattr.behaviours.lists.sampling import prompt_ids
from saeattr.behaviours.lists.written import WrittenList
from saeattr.corpus.marks import Marks
from saeattr.corpus.reading import Reading
from saeattr.model.loading import LanguageModel
from tests.corpus.conftest import MARKS, conversation

SHORT = "-|Lima|\n|-|New|York| |\n|-|Oslo|  |\n\n|-|Rome|\n|-|New|York| |\n|<end>|<eos>"


def text_list(text: str, **more) -> WrittenList:
    return WrittenList("row 1", None, text, **more)


def ids_list(ids: list[int]) -> WrittenList:
    return WrittenList("row 1", None, "", tuple(ids))


def test_token_ids_are_counted_by_their_marks_alone(by_marks: Reading) -> None:
    found = by_marks.read(ids_list(conversation(SHORT)))
    assert found.item_tokens == (1, 2, 1, 1, 2)
    assert found.blanks == (False, True, True, False, True)
    assert (len(set(found.items)), found.items[1] == found.items[4]) == (4, True)
    # 5 hyphens, 7 tokens of names, 3 blanks, 5 line breaks and the end of the turn.
    assert (found.n_tokens, found.ended, found.format, found.length) == (21, True, "hyphen", "short")
    cut = by_marks.read(ids_list(conversation("-|Lima|\n|-|Oslo| |\n|-|Ro", "long")))
    assert (cut.item_tokens, cut.blanks, cut.ended, cut.length) == ((1, 1), (False, True), False, "long")


def test_a_request_without_a_known_word_is_not_known(by_marks: Reading) -> None:
    assert by_marks.read(ids_list(conversation("-|Lima|\n|<end>", ""))).length is None
    nameless = Reading.of_marks(Marks(MARKS.replace(",short=18,long=19", "")))
    assert nameless.read(ids_list(conversation(SHORT))).length is None


def test_a_text_is_counted_as_written_and_its_tokens_by_the_tokenizer(bundled: Reading, lm: LanguageModel) -> None:
    found = bundled.read(text_list("Sure:\n- Paris\n- Lima \n* no item\n- Paris\n-\n- Zzyzx \t\n"))
    assert found.items == ("Paris", "Lima", "Paris", "Zzyzx")
    assert found.blanks == (False, True, False, True)
    spelt = len(lm.tokenizer.encode(" Zzyzx", add_special_tokens=False))
    assert found.item_tokens == (1, 1, 1, spelt)
    assert spelt > 1
    assert found.ended
    assert not bundled.read(text_list("- Paris\n", ended=False)).ended


@pytest.mark.parametrize(
    ("text", "items", "ended"),
    [("- Paris \n<end_of_turn><eos>", 1, True), ("- Paris\n- Li", 1, False), ("- Paris\n- Lima<eos>", 2, True)],
)
def test_a_conversation_shows_its_request_and_whether_it_ended(
    bundled: Reading, lm: LanguageModel, text: str, items: int, ended: bool
) -> None:
    prompt = str(lm.tokenizer.decode(prompt_ids(lm.tokenizer, "cities", "long")))
    found = bundled.read(text_list(prompt + text))
    assert (len(found.items), found.ended, found.length) == (items, ended, "long")
    assert found.blanks[0] == (" \n" in text)


def test_items_and_blanks_are_right_where_the_tokenizer_does_not_know_the_words(bundled: Reading) -> None:
    strange = replace(bundled, encode=lambda _: None)
    text = text_list("- \u6771\u4eac \n- Lima\n- \u5927\u962a \n")
    found = strange.read(text)
    assert (found.items, found.blanks) == (("\u6771\u4eac", "Lima", "\u5927\u962a"), (True, False, True))
    assert (found.item_tokens, found.n_tokens) == ((), None)


def test_a_tokenizer_that_joins_blank_and_line_break_hides_no_blank() -> None:
    """As the tokenizers of Llama 3 and GPT-2 do; the token ids alone would make one item of both lines."""
    pieces = ["<bos>", "<eos>", "<u>", "<m>", "<e>", "\n", " \n", "-", " ", " Paris", " Lima", "Paris", "1"]
    pieces += ["a", "1"]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordLevel({**vocab, "<unk>": len(vocab)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\n|<\w+>| ?\w+|-| "), "isolated")
    backend.decoder = decoders.Fuse()
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ '<u>' if m['role'] == 'user' else '<m>' }}{{ m['content'] }}<e>"
        "{% endfor %}{% if add_generation_prompt %}<m>{% endif %}"
    )
    ids = tokenizer.encode("<m>- Paris \n- Lima\n<e>", add_special_tokens=False)
    assert vocab[" \n"] in ids
    found = Reading.of_tokenizer(tokenizer).read(ids_list(ids))
    assert (found.items, found.blanks, found.ended) == (("Paris", "Lima"), (True, False), True)


def test_what_is_of_another_vocabulary_or_template_is_refused(bundled: Reading, lm: LanguageModel) -> None:
    size = len(lm.tokenizer)
    with pytest.raises(UserError, match=f"has a token id that the model does not have: it has 0 to {size - 1}"):
        bundled.read(ids_list([5, size]))
    for foreign in (ids_list([2, 300, 301]), text_list("<bos>[INST] a list [/INST]- Paris\n")):
        with pytest.raises(UserError, match="another chat template"):
            bundled.read(foreign)
    # Ids of another vocabulary beside a text: the text counts.
    both = WrittenList("row 1", None, "- Paris \n", (5, size))
    assert bundled.read(both).blanks == (True,)


NAMES = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x17F), min_size=1, max_size=8)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["", " ", "  ", "\t"])), min_size=1, max_size=12), st.booleans())
def test_whatever_is_written_as_a_list_is_counted_as_written(
    bundled: Reading, items: list[tuple[str, str]], crlf: bool
) -> None:
    text = "".join(f"- {name}{blank}\n" for name, blank in items)
    found = bundled.read(text_list(text.replace("\n", "\r\n") if crlf else text))
    assert found.items == tuple(name for name, _ in items)
    assert found.blanks == tuple(bool(blank) for _, blank in items)
