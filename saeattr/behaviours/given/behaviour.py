"""A user's own pairs as a behaviour: rows of a file, in the groups that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, Contrast, MadePairs, Request
from saeattr.behaviours.given.make import Reading, make_pair, make_pairs
from saeattr.behaviours.given.rows import PairRow, RowUnusable
from saeattr.behaviours.given.source import GivenRows
from saeattr.behaviours.tokens import contrast_tokens
from saeattr.errors import UserError
from saeattr.settings import StudySettings

#: More groups than this are run only if they are named: each costs the SAEs once.
MOST_GROUPS = 200

#: What the default metric of rows is called, whatever reads it.
ANSWER_VS_WRONG = "answer-vs-wrong"


class Given(Behaviour):
    """Which answer does the model give to the user's own prompts?

    Args:
        longest: tokens that the model can read; None for any number.
    """

    name = "pairs"
    help = "your own pairs of prompts: --pairs FILE"
    metrics: ClassVar = {ANSWER_VS_WRONG: "log P(answer) - log P(wrong); log P(answer) where no row has a wrong one"}
    default_groups = ("all",)

    def __init__(self, given: GivenRows, longest: int | None = None) -> None:
        self.given, self.longest = given, longest
        self._groups: dict[str, list[PairRow]] = {}
        for row in given.rows:
            self._groups.setdefault(row.group, []).append(row)

    @property
    def all_groups(self) -> tuple[str, ...]:
        return tuple(self._groups)

    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        known = self.all_groups
        unknown = [name for name in names if name not in (*known, "all")]
        if unknown:
            raise UserError(f"{self.given.name} has no group {unknown[0]!r}: it has {_listed(known)}, or all")
        if "all" not in names:
            return tuple(dict.fromkeys(names))
        if len(known) > MOST_GROUPS:
            raise UserError(
                f"{self.given.name} has {len(known)} groups ({_listed(known)}), and each is attributed by itself: name "
                "up to a few with --group, or take another column with --columns group=NAME"
            )
        return known

    def own_contrast(self, tokenizer: PreTrainedTokenizerBase, name: str) -> Contrast:
        if not any(row.wrong or row.wrong_ids for row in self.given.rows):
            return Contrast(ANSWER_VS_WRONG, "log P(answer)", "log-prob")
        texts = {text for row in self.given.rows for text in (*row.answer, *row.wrong)}
        single = all(_single(tokenizer, text) for text in texts)
        # Of single tokens the difference of log-probabilities is that of logits, and needs two rows of the unembedding.
        return Contrast(
            ANSWER_VS_WRONG,
            "logit(answer) - logit(wrong)" if single else "log P(answer) - log P(wrong)",
            "logit-difference" if single else "log-prob-difference",
        )

    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        for group in groups:
            chats = Counter(row.chat for row in self._groups[group])
            if len(chats) > 1:
                raise UserError(
                    f"the group {group!r} of {self.given.name} has {chats[True]} chats and {chats[False]} plain "
                    "prompts: give them different groups"
                )

    def most_pairs(self, settings: StudySettings) -> int:
        return max(map(len, self._groups.values()))

    def check_settings(
        self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str], settings: StudySettings, contrast: Contrast
    ) -> None:
        for group in groups:
            self._check_some(tokenizer, group, reading_of(tokenizer, settings, contrast, self.longest))

    def _check_some(self, tokenizer: PreTrainedTokenizerBase, group: str, reading: Reading) -> None:
        """Refuse a group in which no row makes a pair."""
        reasons = []
        for row in self._groups[group]:
            try:
                make_pair(tokenizer, row, reading)
                return
            except RowUnusable as fault:
                reasons.append(f"row {row.row}: {fault}")
        raise UserError(f"none of the {len(reasons)} rows of {group!r} in {self.given.name} can be used; {reasons[0]}")

    @property
    def source(self) -> dict[str, str]:
        return {"name": self.given.name, "sha256": self.given.sha256}

    def pairs(self, group: str, request: Request) -> MadePairs:
        tokenizer, settings = request.lm.tokenizer, request.settings
        reading = reading_of(tokenizer, settings, request.contrast, self.longest)
        pairs, faults = make_pairs(tokenizer, self._groups[group], reading)
        # Of rows that could not be read and are of no group here the first one tells.
        alone = group == self.all_groups[0]
        unread = [
            fault for fault in self.given.faults if fault.group == group or (alone and fault.group not in self._groups)
        ]
        faults = sorted([*unread, *faults], key=lambda fault: fault.row)
        warnings = []
        if faults:
            total = len(pairs) + len(faults)
            warnings = [f"{group}: {len(faults)} of {total} rows cannot be used; {faults[0]} (saeattr pairs check)"]
        return MadePairs(pairs, warnings)


def reading_of(
    tokenizer: PreTrainedTokenizerBase, settings: StudySettings, contrast: Contrast, longest: int | None = None
) -> Reading:
    """How a study reads rows."""
    tokens = None if settings.contrast is None else contrast_tokens(tokenizer, settings.contrast)
    return Reading(contrast.metric, settings.unequal, tokens, longest, paired=settings.base == "corrupted")


def _single(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    return len(tokenizer.encode(text, add_special_tokens=False)) == 1


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:8])}, ..."
