"""Pairs of any behaviour as rows of a file of pairs, which read back give the same pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.make import Reading, make_pair
from saeattr.behaviours.given.rows import RowFault, RowUnusable, read_row
from saeattr.behaviours.pair import Pair


@dataclass(frozen=True)
class ExportedPairs:
    """Rows of a file of pairs.

    Attributes:
        rows: clean, corrupted, answer or answer_ids, wrong or wrong_ids, position, group, id.
        faults: the pairs that no such row gives back; ``row`` counts the pairs from 1.
        unequal: whether some have prompts of unequally many tokens, so that reading them needs ``--unequal zero``.
    """

    rows: list[dict[str, Any]]
    faults: list[RowFault]
    unequal: bool = False

    def to_text(self) -> str:
        """JSON lines."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)


def export_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> ExportedPairs:
    """Each pair as it was drawn (twice if it was drawn twice), read at its last decision point.

    Every row has been read back: its prompts are the same tokens, and the same tokens are contrasted at the same place.
    """
    rows, faults = [], []
    for number, pair in enumerate(pairs, 1):
        row = next((row for row in _forms(tokenizer, pair) if _gives(tokenizer, row, pair)), None)
        if row is None:
            reason = "its prompts are other tokens when they are read as text"
            faults.append(RowFault(number, pair.pair_id, reason, "it is left out", pair.group))
            continue
        ids = [pair.pair_id, *(f"{pair.pair_id} again {time}" for time in range(2, pair.times + 1))]
        rows += [{**row, "id": pair_id} for pair_id in ids]
    return ExportedPairs(rows, faults, any(pair.partners is not None for pair in pairs))


def _forms(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> Iterator[dict[str, Any]]:
    """The row with its answers as texts, which are good to read, and as token ids, which are always exact."""
    answer, wrong = _continuations(pair)
    tail = max(0, len(answer) - 1) + max(0, len(wrong) - 1) if pair.whole else 0
    prompt = pair.clean_ids[: len(pair.clean_ids) - tail]
    at = pair.points[0 if pair.whole else -1].position
    row: dict[str, Any] = {"clean": _text(tokenizer, prompt)}
    if pair.corrupted_ids is not None:
        row["corrupted"] = _text(tokenizer, pair.corrupted_ids[: len(pair.corrupted_ids) - tail])
    place = {"group": pair.group, "id": pair.pair_id}
    if at != len(prompt) - 1:
        place = {"position": at, **place}
    sides = {"answer": answer, "wrong": wrong}
    texts = {name: _texts(tokenizer, ids, pair.whole) for name, ids in sides.items() if ids}
    yield {**row, **texts, **place}
    if not pair.whole:
        yield {**row, **{f"{name}_ids": list(ids) for name, ids in sides.items() if ids}, **place}


def _continuations(pair: Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that are wanted and not: of all points if they make one decision, else of the last one."""
    points = pair.points if pair.whole else pair.points[-1:]
    wanted = tuple(token for point in points for token in point.wanted)
    return wanted, tuple(token for point in points for token in point.unwanted)


def _texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], whole: bool) -> str | list[str]:
    texts = [_text(tokenizer, ids)] if whole else [_text(tokenizer, [token]) for token in ids]
    return texts[0] if len(texts) == 1 else texts


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Tokens as text, without the beginning-of-sequence token, which a reader puts there again."""
    own = ids[1:] if ids[:1] == (tokenizer.bos_token_id,) else ids
    return str(tokenizer.decode(list(own), clean_up_tokenization_spaces=False))


def _gives(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any], pair: Pair) -> bool:
    """Whether a row read back is the pair, its roles and title aside."""
    metric = "log-prob-difference" if pair.whole else "logit-difference"
    if not any(point.unwanted for point in pair.points):
        metric = "log-prob"
    try:
        read = make_pair(tokenizer, read_row(1, row), Reading(metric, "refuse" if pair.partners is None else "zero"))
    except RowUnusable:
        return False
    if len(read.clean_ids) != len(pair.clean_ids):
        return False
    points = pair.points if pair.whole else tuple(dataclasses.replace(one, weight=1.0) for one in pair.points[-1:])
    asked = dataclasses.replace(pair, points=points, roles=read.roles, title=read.title, times=1)
    return read == asked
