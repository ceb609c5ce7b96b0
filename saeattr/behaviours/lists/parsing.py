"""Hyphen lists read from token ids: where the answer starts, its items, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import ChatTurns, chat_turns
from saeattr.errors import UserError

#: Gemma has one token for each run of up to 31 line breaks or blanks; models do write such runs in lists.
_LONGEST_RUN = 31

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class ListMarkers:
    """The token ids that give a list its shape, as one tokenizer has them.

    ``turns`` is what surrounds request and answer. ``newlines`` and ``blanks`` are the tokens made of nothing but line
    breaks, or of nothing but blanks and tabs; ``newline`` and ``blank`` are the single ones. ``bos`` is None where the
    model begins a text without such a token.
    """

    turns: ChatTurns
    bos: int | None
    eos: int
    newline: int
    hyphen: int
    blank: int
    newlines: frozenset[int] = frozenset()
    blanks: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "newlines", self.newlines | {self.newline})
        object.__setattr__(self, "blanks", self.blanks | {self.blank})

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> ListMarkers:
        """Ask the tokenizer for its ids.

        Raises:
            UserError: it has no chat template or no eos token, or one of the marks is not exactly one token in it.
        """
        bos = tokenizer.bos_token_id
        return cls(
            turns=chat_turns(tokenizer),
            bos=None if bos is None else int(bos),  # pyright: ignore[reportArgumentType]
            eos=_eos(tokenizer),
            newline=_marker(tokenizer, "\n"),
            hyphen=_marker(tokenizer, "-"),
            blank=_marker(tokenizer, " "),
            newlines=_runs(tokenizer, "\n"),
            blanks=_runs(tokenizer, " ") | _runs(tokenizer, "\t"),
        )

    @property
    def end_of_turn(self) -> int:
        """The token that closes the answer's turn."""
        return self.turns.end

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset((self.end_of_turn, self.eos))


@dataclass(frozen=True)
class ParsedItem:
    """One item, by token positions: ``hyphen``, then the name in ``start:end``, then what closes its line.

    Attributes:
        blank: the first of the blanks between the name and the end of its line, if there are any.
        newline: the line break after the item; None where the end of the turn or of the tokens follows.
        text: the name without blanks around it.
        complete: False for an item that the tokens ran out in.
    """

    hyphen: int
    start: int
    end: int
    blank: int | None
    newline: int | None
    text: str
    complete: bool = True

    @property
    def last(self) -> int:
        """The position of the name's last token."""
        return self.end - 1


@dataclass(frozen=True)
class ParsedList:
    """A conversation whose last turn is a list.

    Attributes:
        answer_start: position of the answer's first token; the number of tokens where there is no answer turn.
        items: in order; only the last one can be incomplete.
        ended: whether the answer was closed, at ``end_position``, by an end of turn or end of text.
        text: the answer up to its end, as the model wrote it.
        problem: why there are no items, in one sentence; None if there are items.
    """

    token_ids: tuple[int, ...]
    answer_start: int
    items: tuple[ParsedItem, ...]
    ended: bool
    end_position: int | None
    text: str = ""
    problem: str | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the tokens ran out before the answer was closed."""
        return not self.ended

    @property
    def complete_items(self) -> tuple[ParsedItem, ...]:
        return tuple(item for item in self.items if item.complete)


def parse_list(token_ids: Sequence[int], markers: ListMarkers, decode: Decode) -> ParsedList:
    """Read the answer of a whole conversation (request and answer) as a hyphen list.

    A line is an item if it starts with a hyphen, indented or not, and something follows the hyphen. Other lines
    (headings, remarks, empty bullets) are passed over. ``decode`` turns token ids into text.
    """
    ids = tuple(int(token) for token in token_ids)
    start = markers.turns.answer_start(ids)
    if start is None:
        return ParsedList(ids, len(ids), (), False, None, problem="the conversation has no answer turn")
    end = next((at for at in range(start, len(ids)) if ids[at] in markers.stop_ids), None)
    stop = len(ids) if end is None else end
    lines = _lines(ids, markers, start, stop)
    found = (_read_item(ids, markers, decode, line, newline, end is not None) for line, newline in lines)
    items = tuple(item for item in found if item is not None)
    text = decode(ids[start:stop]) if stop > start else ""
    return ParsedList(ids, start, items, end is not None, end, text, None if items else _problem(text))


def decision_positions(parsed: ParsedList) -> tuple[int, ...]:
    """The line break after each complete item: there the model either starts another item or ends its turn.

    An item closed by the end of the turn itself has no such position.
    """
    return tuple(item.newline for item in parsed.complete_items if item.newline is not None)


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """The tokenizer's exact text of token ids: special tokens are written out and blanks kept."""

    def decode(token_ids: Sequence[int]) -> str:
        text = tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    return decode


def _lines(ids: tuple[int, ...], markers: ListMarkers, start: int, stop: int) -> Iterator[tuple[range, int | None]]:
    """The positions of each line of ``start:stop``, and of the line break after it."""
    for at in range(start, stop):
        if ids[at] in markers.newlines:
            yield range(start, at), at
            start = at + 1
    yield range(start, stop), None


def _read_item(
    ids: tuple[int, ...], markers: ListMarkers, decode: Decode, line: range, newline: int | None, ended: bool
) -> ParsedItem | None:
    hyphen = next((at for at in line if ids[at] not in markers.blanks), None)
    if hyphen is None or ids[hyphen] != markers.hyphen:
        return None
    start = end = hyphen + 1
    for at in range(start, line.stop):
        if ids[at] not in markers.blanks:
            end = at + 1
    if start == end:
        return None
    blank = end if end < line.stop else None
    complete = newline is not None or ended
    return ParsedItem(hyphen, start, end, blank, newline, decode(ids[start:end]).strip(), complete)


def _problem(text: str) -> str:
    if not text.strip():
        return "the answer is empty"
    shown = text.strip()[:40]
    return f"the answer is not a hyphen list: no line has the form '- name' (it starts {shown!r})"


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-sequence token: use the tokenizer of an instruction-tuned model")
    return int(tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]


def _marker(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    ids = _encode(tokenizer, text)
    if len(ids) != 1 or (ids[0] == tokenizer.unk_token_id and text != tokenizer.unk_token):
        found = f"{len(ids)} tokens in" if len(ids) != 1 else "unknown to"
        raise UserError(
            f"{text!r} is {found} this tokenizer, and must be exactly one token: "
            "lists are read with it, so use another model"
        )
    return ids[0]


def _runs(tokenizer: PreTrainedTokenizerBase, char: str) -> frozenset[int]:
    """The tokens that are runs of ``char``."""
    encoded = (_encode(tokenizer, char * length) for length in range(1, _LONGEST_RUN + 1))
    return frozenset(ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
