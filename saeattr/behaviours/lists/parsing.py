"""Lists read from token ids: where the answer starts, the format of its items, the items, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import ChatTurns, chat_turns
from saeattr.behaviours.lists.formats import Decode, Format, Opening, find_format, read_opening
from saeattr.errors import UserError

#: Gemma has one token for each run of up to 31 line breaks or blanks; models do write such runs in lists.
_LONGEST_RUN = 31


@dataclass(frozen=True)
class ListMarkers:
    """The token ids that give a list its shape, as one tokenizer has them.

    ``turns`` is what surrounds request and answer. ``newlines`` and ``blanks`` are the tokens made of nothing but line
    breaks, or of nothing but blanks and tabs; ``newline`` and ``blank`` are the single ones. ``bos`` is None where the
    model begins a text without such a token; ``star`` and ``bullet`` where ``*`` or ``\u2022`` is no single token, and
    lists written with it are then not known as such.
    """

    turns: ChatTurns
    bos: int | None
    eos: int
    newline: int
    hyphen: int
    blank: int
    newlines: frozenset[int] = frozenset()
    blanks: frozenset[int] = frozenset()
    star: int | None = None
    bullet: int | None = None

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
            star=_single(tokenizer, "*"),
            bullet=_single(tokenizer, "\u2022"),
        )

    @property
    def end_of_turn(self) -> int:
        """The token that closes the answer's turn."""
        return self.turns.end

    @property
    def symbols(self) -> Mapping[int, Format]:
        """The format that a line has by its first token."""
        known: dict[Format, int | None] = {"hyphen": self.hyphen, "star": self.star, "bullet": self.bullet}
        return {token: form for form, token in known.items() if token is not None}

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset((self.end_of_turn, self.eos))


@dataclass(frozen=True)
class ParsedItem:
    """One item, by token positions: what opens it, the name in ``start:end``, then what closes its line.

    Attributes:
        first: the first token of its marker, which is in ``first:start`` with the blanks behind it; the name's own
            first token where lines are bare.
        blank: the first of the blanks between the name and the end of its line, if there are any.
        stop: behind the last token of its line, where the line break stands, or the end of the turn or of the tokens.
        newline: the line break after the item, the last token of it; None where there is none.
        text: the name without blanks around it.
        complete: False for an item that the tokens ran out in.
        number: of a numbered item.
    """

    first: int
    start: int
    end: int
    blank: int | None
    stop: int
    newline: int | None
    text: str
    complete: bool = True
    number: int | None = None

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
        format: how the items open; None without items.
        text: the answer up to its end, as the model wrote it.
        problem: why there are no items, in one sentence; None if there are items.
    """

    token_ids: tuple[int, ...]
    answer_start: int
    items: tuple[ParsedItem, ...]
    ended: bool
    end_position: int | None
    format: Format | None = None
    text: str = ""
    problem: str | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the tokens ran out before the answer was closed."""
        return not self.ended

    @property
    def ends_in_item(self) -> bool:
        """Whether the end of the turn follows the last item directly, without a line break."""
        return self.ended and bool(self.items) and self.items[-1].newline is None

    @property
    def complete_items(self) -> tuple[ParsedItem, ...]:
        return tuple(item for item in self.items if item.complete)


@dataclass(frozen=True)
class _Line:
    """The positions of a line, and of the line break after it: the last token of it, or None."""

    at: range
    newline: int | None


def parse_list(token_ids: Sequence[int], markers: ListMarkers, decode: Decode) -> ParsedList:
    """Read the answer of a whole conversation (request and answer) as a list.

    The list has the format of most of its lines (``find_format``), and the lines of this format are its items; others
    (headings, remarks, empty bullets) are passed over. ``decode`` turns token ids into text.
    """
    ids = tuple(int(token) for token in token_ids)
    start = markers.turns.answer_start(ids)
    if start is None:
        return ParsedList(ids, len(ids), (), False, None, problem="the conversation has no answer turn")
    end = next((at for at in range(start, len(ids)) if ids[at] in markers.stop_ids), None)
    stop = len(ids) if end is None else end
    text = decode(ids[start:stop]) if stop > start else ""
    opened = [
        (opening, line)
        for line in _lines(ids, markers, start, stop)
        if (opening := read_opening(ids, line.at, markers.symbols, markers.blanks, decode)) is not None
    ]
    form = find_format(opening for opening, _ in opened)
    if form is None:
        return ParsedList(ids, start, (), end is not None, end, None, text, _problem(text))
    items = tuple(
        _read_item(ids, markers, decode, opening, line, end is not None)
        for opening, line in opened
        if opening.format == form
    )
    return ParsedList(ids, start, items, end is not None, end, form, text)


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """The tokenizer's exact text of token ids: special tokens are written out and blanks kept."""

    def decode(token_ids: Sequence[int]) -> str:
        text = tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    return decode


def _lines(ids: tuple[int, ...], markers: ListMarkers, start: int, stop: int) -> Iterator[_Line]:
    behind = None
    for at in range(start, stop):
        if ids[at] in markers.newlines:
            behind = at if behind is None else behind
            if at + 1 == stop or ids[at + 1] not in markers.newlines:
                yield _Line(range(start, behind), at)
                start, behind = at + 1, None
    yield _Line(range(start, stop), None)


def _read_item(
    ids: tuple[int, ...], markers: ListMarkers, decode: Decode, opening: Opening, line: _Line, ended: bool
) -> ParsedItem:
    start, stop = opening.start, line.at.stop
    end = next(at for at in reversed(line.at) if ids[at] not in markers.blanks) + 1
    blank = end if end < stop else None
    complete = line.newline is not None or ended
    text = decode(ids[start:end]).strip()
    return ParsedItem(opening.first, start, end, blank, stop, line.newline, text, complete, opening.number)


def _problem(text: str) -> str:
    if not text.strip():
        return "the answer is empty"
    shown = text.strip()[:40]
    return (
        "the answer is not a list: no line opens with -, *, a bullet or a number, and it has not two bare lines "
        f"(it starts {shown!r})"
    )


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


def _single(tokenizer: PreTrainedTokenizerBase, text: str) -> int | None:
    """The token that ``text`` is; None where it is several, or unknown."""
    ids = _encode(tokenizer, text)
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def _runs(tokenizer: PreTrainedTokenizerBase, char: str) -> frozenset[int]:
    """The tokens that are runs of ``char``."""
    encoded = (_encode(tokenizer, char * length) for length in range(1, _LONGEST_RUN + 1))
    return frozenset(ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
