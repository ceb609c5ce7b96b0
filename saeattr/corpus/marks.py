"""Token ids whose tokenizer is not at hand: the ids of the few marks that give a list its shape are enough to count it.

The tokenizers of some models are handed out to registered users only; lists of their token ids are not. With the ids of
the line break, the hyphen, the blank and the turn markers every item, blank and token can be counted; the names
themselves stay numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saeattr.behaviours.chat import ChatTurns
from saeattr.behaviours.lists.parsing import ListMarkers
from saeattr.errors import UserError

#: What has to be said, and what can be.
NEEDED = ("header", "end", "newline", "hyphen", "blank")
OPTIONAL = ("bos", "eos", "short", "long")
#: How the known marks are spelt.
_SPELT = {"newline": "\n", "hyphen": "-", "blank": " ", "short": " short", "long": " long"}
#: Of a token that is not there.
_NONE = -1


class Marks:
    """Marks by their token ids, and the text that tokens are taken for.

    Args:
        text: ``end=107,newline=108,...``; several ids of one mark with ``/`` between them (those of ``header``, which
            opens the answer, in their order).

    Raises:
        UserError: a mark is unknown, missing or no number.
    """

    def __init__(self, text: str) -> None:
        ids = _ids(text)
        header = ids["header"]
        bos = ids.get("bos", (None,))[0]
        turns = ChatTurns(() if bos is None else (bos,), header, header, ids["end"][0], "<end>")
        newlines, blanks = frozenset(ids["newline"]), frozenset(ids["blank"])
        eos = ids.get("eos", (_NONE,))[0]
        single = (ids["newline"][0], ids["hyphen"][0], ids["blank"][0])
        self.markers = ListMarkers(turns, bos, eos, *single, newlines, blanks)
        self._texts = {token: _SPELT[name] for name in _SPELT for token in ids.get(name, ())}
        # Without their own words, no token says which list was asked for.
        self._asks = "short" in ids and "long" in ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The marks as they are spelt, every other token as its number."""
        return "".join(self._texts.get(token, f"<{token}>") for token in token_ids)

    def request(self, prompt_ids: Sequence[int]) -> str:
        """The words of a request that tell its length, where they are known; else nothing."""
        words = [self._texts[token] for token in prompt_ids if self._texts.get(token) in (" short", " long")]
        return f"{words[-1].strip()} list" if words and self._asks else ""


def _ids(text: str) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for entry in text.split(","):
        name, _, value = (part.strip() for part in entry.partition("="))
        if name not in (*NEEDED, *OPTIONAL) or name in found:
            raise UserError(
                f"--marks cannot be {entry.strip()!r}: write NAME=ID once for each of {', '.join(NEEDED)}, and perhaps "
                f"{', '.join(OPTIONAL)}"
            )
        try:
            found[name] = tuple(int(one) for one in value.split("/"))
        except ValueError as error:
            raise UserError(f"--marks cannot be {entry.strip()!r}: a token id is a number") from error
    _check(found)
    return found


def _check(found: Mapping[str, tuple[int, ...]]) -> None:
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise UserError(f"--marks has no {missing[0]}: name {', '.join(NEEDED)}")
