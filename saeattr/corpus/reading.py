"""One list's text, items and tokens, whatever it was written down as.

Items and blanks are counted in the text, so they are right under every tokenizer (some join a blank with the line break
behind it, some do not know a word). Tokens are counted where the tokenizer reads the same items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import ChatTurns
from saeattr.behaviours.lists.formats import Decode, Format
from saeattr.behaviours.lists.parsing import ListMarkers, decoder, parse_list
from saeattr.behaviours.lists.topics import Length, asked_length
from saeattr.behaviours.lists.written import WrittenList
from saeattr.corpus.marks import Marks
from saeattr.errors import UserError

#: A character is a token of its own here; these stand for the answer's header, the end of its turn and of the text.
_HEADER, _END, _EOS = -1, -2, -3
_CHARACTERS = ListMarkers(
    turns=ChatTurns((), (_HEADER,), (_HEADER,), _END, ""),
    bos=None,
    eos=_EOS,
    newline=ord("\n"),
    hyphen=ord("-"),
    blank=ord(" "),
    blanks=frozenset(map(ord, " \t")),
    star=ord("*"),
    bullet=ord("\u2022"),
)


@dataclass(frozen=True)
class ReadList:
    """A list as it is counted.

    Attributes:
        items: the names of the complete items.
        blanks: for each of them whether a blank stands between its name and the end of its line.
        item_tokens: how many tokens each of the names is; empty where that is not known.
        n_tokens: of the answer, its end included; None where that is not known.
        ended: whether the answer was closed before the tokens, or the text, ran out.
        length: of the request; None where nothing says it.
    """

    items: tuple[str, ...]
    blanks: tuple[bool, ...]
    item_tokens: tuple[int, ...]
    n_tokens: int | None
    ended: bool
    format: Format | None
    length: Length | None


@dataclass(frozen=True)
class Reading:
    """How lists are read: with a model's tokenizer, or with the ids of a few marks.

    Attributes:
        size: token ids from here on are of another vocabulary; None for no limit.
        encode: the tokens of a text; None where it holds one that the tokenizer does not know.
        request: the words of a conversation's prompt that say what was asked.
    """

    markers: ListMarkers
    decode: Decode
    request: Callable[[Sequence[int]], str]
    encode: Callable[[str], list[int] | None]
    size: int | None = None
    eos_text: str = ""

    @classmethod
    def of_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> Reading:
        """Read as a model does.

        Raises:
            UserError: the tokenizer has no chat template, or a mark is not exactly one token in it.
        """
        decode = decoder(tokenizer)

        def encode(text: str) -> list[int] | None:
            ids = [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
            return None if tokenizer.unk_token_id in ids else ids

        eos_text = str(tokenizer.eos_token)
        return cls(ListMarkers.from_tokenizer(tokenizer), decode, decode, encode, len(tokenizer), eos_text)

    @classmethod
    def of_marks(cls, marks: Marks) -> Reading:
        """Read token ids by a few of them."""
        return cls(marks.markers, marks.decode, marks.request, lambda _: None)

    def read(self, written: WrittenList) -> ReadList:
        """Count one list.

        Raises:
            UserError: it is of another vocabulary or chat template.
        """
        if self._are_its_own(written):
            return self._of_ids(written)
        if not written.text:
            raise UserError(f"has a token id that the model does not have: it has 0 to {(self.size or 1) - 1}")
        return self._of_text(written)

    def _are_its_own(self, written: WrittenList) -> bool:
        """Whether the token ids are of this vocabulary: they spell the text, or there is none that says otherwise."""
        ids = written.token_ids
        if not ids or (self.size is not None and not all(0 <= token < self.size for token in ids)):
            return False
        if not written.text:
            return True
        _, answer, _ = self._answer_of_ids(ids)
        return self.decode([token for token in answer if token not in self.markers.stop_ids]) == written.text

    def _answer_of_ids(self, ids: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
        """The prompt, the answer with what ended it, and whether something did."""
        start = self.markers.turns.answer_start(ids)
        if start is None and self.markers.bos is not None and self.markers.bos in ids:
            raise UserError("is a conversation of another chat template than the model's")
        prompt, answer = tuple(ids[: start or 0]), tuple(ids[start or 0 :])
        end = next((at for at, token in enumerate(answer) if token in self.markers.stop_ids), None)
        return prompt, answer if end is None else answer[: end + 1], end is not None

    def _of_ids(self, written: WrittenList) -> ReadList:
        prompt, answer, ended = self._answer_of_ids(written.token_ids)
        text = self.decode(answer[:-1] if ended else answer)
        length = written.length or (asked_length(self.request(prompt)) if prompt else None)
        return self._counted(text, answer, ended, length)

    def _of_text(self, written: WrittenList) -> ReadList:
        text, ended, prompt = written.text.replace("\r\n", "\n"), written.ended, ""
        header, end = self.decode(self.markers.turns.header), self.markers.turns.end_text
        if header in text:
            prompt, _, text = text.rpartition(header)
            # A whole conversation shows by itself whether it was ended.
            ended = False
        elif self.markers.bos is not None and text.startswith(self.decode([self.markers.bos])):
            raise UserError("is a conversation of another chat template than the model's")
        stops = [at for mark in (end, self.eos_text) if mark and (at := text.find(mark)) >= 0]
        if stops:
            text, ended = text[: min(stops)], True
        ids = self.encode(text)
        answer = None if ids is None else (*ids, self.markers.end_of_turn) if ended else tuple(ids)
        length = written.length or (asked_length(prompt) if prompt else None)
        return self._counted(text, answer, ended, length)

    def _counted(self, text: str, answer: tuple[int, ...] | None, ended: bool, length: Length | None) -> ReadList:
        spelt = (_HEADER, *map(ord, text), *((_END,) if ended else ()))
        parsed = parse_list(spelt, _CHARACTERS, _spell)
        items = parsed.complete_items
        names = tuple(item.text for item in items)
        sizes: tuple[int, ...] = ()
        if answer is not None:
            own = parse_list((*self.markers.turns.header, *answer), self.markers, self.decode).complete_items
            if tuple(item.text for item in own) == names:
                sizes = tuple(item.end - item.start for item in own)
        n_tokens = None if answer is None else len(answer)
        blanks = tuple(item.blank is not None for item in items)
        return ReadList(names, blanks, sizes, n_tokens, ended, parsed.format, length)


def _spell(characters: Sequence[int]) -> str:
    return "".join(map(chr, characters))
