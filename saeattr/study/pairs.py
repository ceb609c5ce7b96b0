"""The first stages: the behaviour's pairs, stored as what all other stages read, and fresh ones to test on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, MadePairs
from saeattr.behaviours.given.behaviour import Given
from saeattr.behaviours.given.source import GivenRows, read_source
from saeattr.behaviours.pair import Pair, distinct_pairs
from saeattr.behaviours.table import pairs_from_rows, pairs_to_rows
from saeattr.errors import UserError
from saeattr.files import check_whole, is_stored, read_metadata, read_table, write_text
from saeattr.settings import StudySettings
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import PAIRS, TEST_PAIRS, Table

_LABEL = "saeattr.contrast_label"

#: Where what pairs are made of is kept.
LISTS_FOLDER, TEST_LISTS_FOLDER = "lists", "test_lists"

#: Pairs that test are drawn with the study's seed and so much more, around the end of what a seed may be.
TEST_SEED = 1_000_003


def fresh_seed(settings: StudySettings) -> int:
    """Of whatever is drawn to test on what the study's own seed gave."""
    return (settings.seed + TEST_SEED) % 2**31


@dataclass(frozen=True)
class MakingPairs(Stage):
    """A group's pairs, as the behaviour makes them, each distinct one once."""

    name: ClassVar[str] = "pairs"
    joined: ClassVar[tuple[Table, ...]] = (PAIRS,)
    opens_saes: ClassVar[bool] = False
    made_from: ClassVar[tuple[str, ...]] = ()

    @property
    def kept_in(self) -> tuple[str, ...]:
        return (LISTS_FOLDER,)

    def run(self, work: Work) -> Outcome:
        made = _made(work, work.prepared.settings, LISTS_FOLDER, PAIRS)
        distinct, told = distinct_pairs(made.pairs), list(made.warnings)
        work.task.on_step(f"distinct {work.prepared.behaviour.unit}s", len(distinct), len(distinct))
        if len(distinct) < len(made.pairs):
            told.append(
                f"{work.group}: {count(len(distinct), work)} among {len(made.pairs)}: the same tokens are one pair"
            )
        notes = {_LABEL: made.label} if made.label else {}
        return Outcome({"pairs": pairs_to_rows(distinct, work.task.lm.tokenizer)}, told, notes)


@dataclass(frozen=True)
class MakingTestPairs(Stage):
    """Pairs of a group drawn with another seed: they test what its other pairs ranked.

    Attributes:
        n_pairs: how many are drawn.
    """

    n_pairs: int = 10

    name: ClassVar[str] = "test_pairs"
    joined: ClassVar[tuple[Table, ...]] = (TEST_PAIRS,)

    @property
    def kept_in(self) -> tuple[str, ...]:
        return (TEST_LISTS_FOLDER,)

    def run(self, work: Work) -> Outcome:
        settings = work.prepared.settings
        other = {"seed": fresh_seed(settings), "n_pairs": self.n_pairs}
        made = _made(work, settings.model_copy(update=other), TEST_LISTS_FOLDER, TEST_PAIRS)
        fresh = distinct_pairs(made.pairs, work.task.pairs)
        work.task.on_step(f"fresh {work.prepared.behaviour.unit}s to test on", len(fresh), len(fresh))
        told = []
        if not fresh:
            known = count(len(work.task.pairs), work)
            told = [f"{work.group}: {known}, and every one drawn to test on repeats what ranked: nothing can be tested"]
        return Outcome({"test_pairs": pairs_to_rows(fresh, work.task.lm.tokenizer)}, told)


def count(number: int, work: Work) -> str:
    """``1 distinct list``."""
    return f"{number} distinct {work.prepared.behaviour.unit}{'' if number == 1 else 's'}"


def _made(work: Work, settings: StudySettings, kept_in: str, table: Table) -> MadePairs:
    """What the behaviour makes, or what another study has; what pairs are made of stays in a folder of the study."""
    if settings.pairs_of is not None:
        return MadePairs(borrowed_pairs(settings.pairs_of, work.group, table, work.task.lm.tokenizer))
    return work.prepared.behaviour.pairs(work.group, work.request(kept_in, settings))


def borrowed_pairs(folder: str, group: str, table: Table, tokenizer: PreTrainedTokenizerBase) -> list[Pair]:
    """The stored pairs of a group, those that rank (``PAIRS``) or those that test (``TEST_PAIRS``).

    Raises:
        UserError: they are missing, or their tokens are other texts to this tokenizer.
    """
    source = StudyFolder(Path(folder).expanduser())
    stage = MakingPairs if table is PAIRS else MakingTestPairs
    rows = read_table(stage.stored_path(source, table, group), table)
    pairs = pairs_from_rows(rows)
    texts = {
        int(token): str(text)
        for ids, tokens in zip(rows["clean_ids"], rows["clean_tokens"], strict=True)
        for token, text in zip(ids, tokens, strict=True)
    }
    for token, text in texts.items():
        found = str(tokenizer.decode([token])) if token < len(tokenizer) else "nothing"
        if found != text:
            raise UserError(
                f"the pairs of {folder} are of another tokenizer: token {token} is {text!r} there and {found!r} here, "
                "so the same pairs cannot be used"
            )
    return pairs


def store_given(study: StudyFolder, behaviour: Behaviour) -> None:
    """Keep a user's own rows with the study: the file may be gone when it is opened again.

    Raises:
        UserError: the folder cannot be written.
    """
    if isinstance(behaviour, Given) and not is_stored(study.given_path):
        write_text(study.given_path, behaviour.given.to_text())


def stored_given(study: StudyFolder) -> GivenRows | None:
    """The user's own rows of a study; None where its pairs come from elsewhere.

    Raises:
        UserError: they cannot be read.
    """
    if not is_stored(study.given_path):
        return None
    check_whole(study.given_path)
    return dataclasses.replace(read_source(study.given_path), name=read_record(study)["source"])


def contrast_label(study: StudyFolder, groups: Sequence[str], otherwise: str) -> str:
    """What the pairs of some groups contrast: as their making found it, else ``otherwise``."""
    found = (read_metadata(MakingPairs.path(study, group, PAIRS)).get(_LABEL) for group in groups)
    return " or ".join(dict.fromkeys(label or otherwise for label in found)) or otherwise


def stored_pairs(study: StudyFolder, groups: Sequence[str]) -> list[Pair]:
    """The pairs of some groups, in order.

    Raises:
        UserError: the table is damaged.
    """
    return [pair for group in groups for pair in pairs_from_rows(MakingPairs.read(study, PAIRS, group))]


def stored_test_pairs(study: StudyFolder, group: str) -> list[Pair] | None:
    """The fresh pairs of a group; None where it has none because its source is fixed.

    Raises:
        UserError: the table is damaged.
    """
    if not MakingTestPairs.is_there(study, group):
        return None
    return pairs_from_rows(MakingTestPairs.read(study, TEST_PAIRS, group))
