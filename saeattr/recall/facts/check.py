"""Which rows of a battery a model can be asked: both prompts align, the entity is found, each answer is one token.

The entity's tokens are those that hold one of its characters: a span with a last token. Where the prompts differ in
more than ``entity_token`` says ("Tower" of "Eiffel Tower" against "Brandenburg Gate"), the entity is all that differs,
in whole words, if that is one piece.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.make import Reading, make_pair
from saeattr.behaviours.given.prompts import PromptTokens, answer_tokens, read_prompt, span_positions
from saeattr.behaviours.given.rows import PairRow, RowFault, RowUnusable
from saeattr.behaviours.given.source import GivenRows
from saeattr.behaviours.pair import Pair
from saeattr.recall.facts.battery import FactRow, places_of

#: The role of the entity's tokens in a pair.
ENTITY = "entity"
#: Before a prompt in a user's turn, where the battery does not say what.
INSTRUCTION = "Complete the sentence with one word.\n"

Span = tuple[int, int]


@dataclass(frozen=True)
class AlignedFact:
    """A row that can be asked.

    Attributes:
        given: the same as a row of ``--pairs``.
        pair: as every stage takes it; roles are bos, common, entity, after and last.
        positions: of the entity's tokens, the same in both prompts.
    """

    row: FactRow
    given: PairRow
    pair: Pair
    positions: tuple[int, ...]

    @property
    def entity(self) -> str:
        """The text whose tokens ``positions`` are."""
        span = self.given.spans[ENTITY]
        assert not isinstance(span, str)
        return self.given.clean[slice(*span)]


def align_facts(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[FactRow], longest: int | None = None, chat: bool = False
) -> tuple[list[AlignedFact], list[RowFault]]:
    """The rows that can be asked, and why the others cannot.

    Args:
        longest: tokens that the model can read; None for any number.
        chat: each prompt is a user's turn, put into the tokenizer's chat template.
    """
    facts, faults = [], []
    for row in rows:
        try:
            facts.append(align_fact(tokenizer, row, longest, chat))
        except RowUnusable as fault:
            faults.append(RowFault(row.row, row.pair_id, fault.reason, fault.mend, row.category))
    return facts, faults


def align_fact(
    tokenizer: PreTrainedTokenizerBase, row: FactRow, longest: int | None = None, chat: bool = False
) -> AlignedFact:
    """One row as a pair; arguments as for ``align_facts``.

    Raises:
        RowUnusable: it makes none.
    """
    asked = in_chat(row) if chat else row
    named = find_entity(asked.clean_prompt, row.entity)
    if row.clean_prompt == row.corrupt_prompt:
        raise RowUnusable("both prompts are the same", "ask the corrupted one about another entity")
    span = _widened(asked, named)
    given = PairRow(
        row=row.row,
        clean=asked.clean_prompt,
        corrupted=asked.corrupt_prompt,
        answer=(row.clean_target,),
        wrong=(row.corrupt_target,),
        group=row.category,
        id=row.pair_id,
        spans={ENTITY: span},
        chat=chat,
        start=row.start if chat else "",
    )
    clean, corrupted = (read_prompt(tokenizer, given, text) for text in (asked.clean_prompt, asked.corrupt_prompt))
    if len(clean.ids) != len(corrupted.ids):
        raise RowUnusable(
            f"the clean prompt has {len(clean.ids)} tokens and the corrupted one {len(corrupted.ids)}",
            "take another entity of as many tokens",
        )
    prompts = {"clean": clean, "corrupt": corrupted}
    answer, wrong = _targets_in_chat(tokenizer, row, prompts) if chat else _check_targets(tokenizer, row, prompts)
    given = given.model_copy(update={"answer": (answer,), "wrong": (wrong,)})
    found = span_positions(tokenizer, clean, {ENTITY: span, "named": named})
    positions = found[ENTITY]
    _check_change(clean.ids, corrupted.ids, positions, found["named"])
    pair = make_pair(tokenizer, given, Reading(longest=longest))
    return AlignedFact(row, given, pair, positions)


def find_entity(prompt: str, entity: str) -> Span:
    """The [start, end) characters of an entity that stands in the clean prompt once.

    Raises:
        RowUnusable: it is not there, or more than once.
    """
    places = places_of(prompt, entity)
    if len(places) != 1:
        times = "not" if not places else f"{len(places)} times"
        mend = "name it as the prompt writes it" if not places else "ask in words that name it once"
        raise RowUnusable(f"the entity {entity!r} is {times} in the clean prompt", mend)
    return places[0]


def _widened(row: FactRow, named: Span) -> Span:
    """All that differs between the prompts, in whole words, with the entity; the entity where nothing else does."""
    clean, corrupted = row.clean_prompt, row.corrupt_prompt
    shorter = min(len(clean), len(corrupted))
    start = next((at for at in range(shorter) if clean[at] != corrupted[at]), shorter)
    alike = next((at for at in range(shorter - start) if clean[-1 - at] != corrupted[-1 - at]), shorter - start)
    end = max(len(clean) - alike, start)
    if named[0] <= start and end <= named[1]:
        return named
    while start > 0 and _joins(clean, start):
        start -= 1
    while end < len(clean) and _joins(clean, end):
        end += 1
    return min(start, named[0]), max(end, named[1])


def _joins(text: str, at: int) -> bool:
    """Whether the characters before and at a place belong to one word."""
    return bool(re.match(r"\w\w", text[at - 1 : at + 1]))


def in_chat(row: FactRow) -> FactRow:
    """A row with each of its prompts as a user's turn, behind the row's instruction or the usual one."""
    instruction = INSTRUCTION if row.instruction is None else row.instruction
    # Templates strip the turns, so that the places of characters would be others.
    clean, corrupted = (f"{instruction}{prompt}".strip() for prompt in (row.clean_prompt, row.corrupt_prompt))
    return dataclasses.replace(row, clean_prompt=clean, corrupt_prompt=corrupted)


def _targets_in_chat(
    tokenizer: PreTrainedTokenizerBase, row: FactRow, prompts: Mapping[str, PromptTokens]
) -> tuple[str, str]:
    """Both answers as they begin an answer's turn: without their blanks if that makes tokens of them, else with these.

    Where the row says how the turn begins, the answers follow as they are written.

    Raises:
        RowUnusable: neither way gives two single tokens.
    """
    if row.start:
        return _check_targets(tokenizer, row, prompts)
    bare = dataclasses.replace(row, clean_target=row.clean_target.lstrip(), corrupt_target=row.corrupt_target.lstrip())
    try:
        return _check_targets(tokenizer, bare, prompts)
    except RowUnusable as fault:
        try:
            return _check_targets(tokenizer, row, prompts)
        except RowUnusable:
            raise fault from None


def _check_targets(
    tokenizer: PreTrainedTokenizerBase, row: FactRow, prompts: Mapping[str, PromptTokens]
) -> tuple[str, str]:
    """Both answers, which are one token behind both prompts, and not the same one.

    Raises:
        RowUnusable: they are not.
    """
    ids = {}
    for name, target in (("clean", row.clean_target), ("corrupt", row.corrupt_target)):
        for prompt in prompts.values():
            try:
                ids[name] = answer_tokens(tokenizer, prompt, target)
            except RowUnusable as fault:
                raise RowUnusable(f"{name}_target: {fault.reason}", fault.mend) from fault
            if len(ids[name]) != 1:
                raise RowUnusable(
                    f"{name}_target {target!r} is {len(ids[name])} tokens, and must be one",
                    "take an answer that is one token"
                    if target[:1].isspace()
                    else f"write it with its leading space ({' ' + target!r}), or take another one",
                )
    if ids["clean"] == ids["corrupt"]:
        raise RowUnusable(f"both answers are {row.clean_target!r}", "take an entity with another answer")
    return row.clean_target, row.corrupt_target


def _check_change(
    clean: Sequence[int], corrupted: Sequence[int], positions: Sequence[int], named: Sequence[int]
) -> None:
    """The prompts differ in the entity and nowhere else, and it ends before the answer is read."""
    changed = [at for at, (one, other) in enumerate(zip(clean, corrupted, strict=True)) if one != other]
    if not set(changed) & set(named):
        raise RowUnusable("the entity is the same in both prompts", "name what differs between them as entity_token")
    if set(changed) - set(positions) or set(positions) - {*changed, *named}:
        raise RowUnusable(
            "the prompts differ in more than the entity",
            "let them differ in one piece, and name it as entity_token",
        )
    if positions[-1] == len(clean) - 1:
        raise RowUnusable("the entity is the last token, where the answer is read", "let a word follow the entity")


def given_rows(facts: Sequence[AlignedFact], name: str) -> GivenRows:
    """The facts as rows of ``--pairs``: categories are groups, the entity is a span, and its tokens' role.

    Written as text (``GivenRows.to_text``) they are a file of pairs.
    """
    return GivenRows(name, tuple(fact.given for fact in facts))


def aligned_facts(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that name their entity, and whose prompts align one to one."""
    return [
        pair for pair in pairs if pair.corrupted_ids is not None and pair.partners is None and entity_positions(pair)
    ]


def entity_positions(pair: Pair) -> tuple[int, ...]:
    """Where the entity stands in both prompts of a pair of facts; the last of these has read all of it."""
    return tuple(at for at, role in enumerate(pair.roles) if role == ENTITY)
