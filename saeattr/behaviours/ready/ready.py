"""What a ready behaviour is: rows of a pairs file, drawn from templates with the words that a tokenizer has whole.

Metrics compare single tokens and pairs align token by token, so names, nouns, verbs and years are used only where they
are one token, with the blank before them; how many of them are is said. The same seed draws the same rows.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, Contrast, MadePairs, Request, choose_groups
from saeattr.behaviours.given.behaviour import ANSWER_VS_WRONG, Given
from saeattr.behaviours.given.rows import read_row
from saeattr.behaviours.given.source import GivenRows
from saeattr.errors import UserError

#: A row of a pairs file: clean, corrupted, answer, wrong, group, id, spans, and columns that are kept as they are.
Row = dict[str, Any]

#: Drawing stops after so many draws in a row that brought nothing new.
PATIENCE = 300


@dataclass(frozen=True)
class Source:
    """What a group's rows are drawn from with one tokenizer.

    Attributes:
        draw: one row; it may come again, and its prompts may not align.
        notes: how many of the words the tokenizer has, one line each.
    """

    draw: Callable[[random.Random], Row]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReadyRows:
    """Distinct rows of one group, each with equally many clean and corrupted tokens, and what a reader should know."""

    rows: list[Row]
    notes: list[str]


class ReadyBehaviour(Behaviour):
    """A behaviour whose rows are drawn from templates, and then read as those of a pairs file are.

    Attributes:
        group_help: its groups, with a line of help each.
    """

    metrics: ClassVar = {ANSWER_VS_WRONG: "logit(answer) - logit(wrong) where the answer comes"}
    draws = True
    group_help: ClassVar[Mapping[str, str]]

    @abstractmethod
    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        """What the rows of a group are drawn from.

        Raises:
            UserError: the tokenizer has too few of the words.
        """

    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        """The groups that a user named, each once; ``all`` stands for every one.

        Raises:
            UserError: there is no such group, or none was named.
        """
        return choose_groups(
            names,
            tuple(self.group_help),
            lambda name: "-".join(name.replace("_", " ").split()).casefold(),
            f"{self.name} has no group",
            self.name,
        )

    def own_contrast(self, tokenizer: PreTrainedTokenizerBase, name: str) -> Contrast:
        return Contrast(name, "logit(answer) - logit(wrong)")

    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        for group in groups:
            self.rows(group, tokenizer, 1, 0)

    def pairs(self, group: str, request: Request) -> MadePairs:
        settings = request.settings
        drawn = self.rows(group, request.lm.tokenizer, settings.n_pairs, settings.seed)
        rows = tuple(read_row(number, row) for number, row in enumerate(drawn.rows, 1))
        made = Given(GivenRows(self.name, rows)).pairs(group, request)
        return MadePairs(made.pairs, [*drawn.notes, *made.warnings])

    def rows(self, group: str, tokenizer: PreTrainedTokenizerBase, n: int, seed: int) -> ReadyRows:
        """``n`` distinct rows of a group, or as many as its templates give.

        Raises:
            UserError: the tokenizer has too few of the words, or none of the rows aligns.
        """
        (group,) = self.groups([group])
        source = self.source_of(group, tokenizer)
        rng = random.Random(f"{self.name} {group} {seed}")
        found: dict[tuple[str, str], Row] = {}
        uneven: set[tuple[str, str]] = set()
        misses = 0
        while len(found) < n and misses < PATIENCE:
            row = source.draw(rng)
            key = (row["clean"], row["corrupted"])
            misses += 1
            if key in found or key in uneven:
                continue
            if _count(tokenizer, key[0]) != _count(tokenizer, key[1]):
                uneven.add(key)
                continue
            found[key] = {**row, "group": group, "id": f"{len(found) + 1} {_first_span(row)}"}
            misses = 0
        notes = list(source.notes)
        if not found:
            raise UserError(
                f"{self.name}: no row of {group!r} has as many clean as corrupted tokens with this tokenizer"
            )
        if len(found) < n:
            notes.append(f"{self.name}: {group} has {len(found)} distinct rows with this tokenizer, {n} were asked for")
        if uneven:
            notes.append(f"{self.name}: {len(uneven)} drawn rows had unequal numbers of tokens and were left out")
        return ReadyRows(list(found.values()), notes)


def _first_span(row: Row) -> str:
    """The text of the span that is named first: what a reader tells the row by."""
    place = next(iter(row["spans"].values()))
    return place if isinstance(place, str) else row["clean"][place[0] : place[1]]


def _count(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))
