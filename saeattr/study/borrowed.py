"""Pairs of another study in place of new ones, so that two models are asked about the very same tokens.

What a model writes (lists) is its own: another model, or a later checkpoint, would write other lists. ``pairs_of``
names the study whose stored pairs are taken, those that rank and those that test, with all that they were made with.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.table import pairs_from_rows
from saeattr.errors import UserError
from saeattr.files import read_table, slug
from saeattr.settings import SETTINGS, StudySettings, flag, recorded_settings
from saeattr.study.folder import StudyFolder, read_record
from saeattr.tables import PAIRS, TEST_PAIRS, Table

#: What the pairs of a study were made with: their settings, and the contrast that their decision points mark.
TAKEN_OVER = (
    *(name for name, known in SETTINGS.items() if known.part == "pairs" and known.identifies and name != "pairs_of"),
    "metric",
    "contrast",
)


def with_borrowed(settings: StudySettings) -> StudySettings:
    """Settings whose pairs are those of the study that ``pairs_of`` names; as they are where it names none.

    Raises:
        UserError: the folder holds no study, has none of the wanted groups, or nothing to test on; or a setting says
            otherwise than the pairs were made.
    """
    if settings.pairs_of is None:
        return settings
    source = _source(settings.pairs_of)
    record = read_record(source)
    known = recorded_settings(record)
    for name in TAKEN_OVER:
        if name in settings.model_fields_set and getattr(settings, name) != getattr(known, name):
            raise UserError(
                f"--pairs-of takes the pairs of {source.root} as they are, made with {flag(name)} "
                f"{getattr(known, name)}: leave out {flag(name)}"
            )
    behaviour = find_behaviour(known.behaviour)
    groups = behaviour.groups(settings.group) if settings.group else tuple(record["groups"])
    for group in groups:
        if group not in record["groups"]:
            raise UserError(
                f"{source.root} has no pairs of the group {group!r}: it has {', '.join(record['groups']) or 'none'}"
            )
        if settings.validate_top and behaviour.draws and not _path(source, group, TEST_PAIRS).exists():
            raise UserError(
                f"{source.root} has no pairs of {group!r} to test on: run saeattr validate {source.root} first, or add "
                "--no-validate"
            )
    taken = {name: getattr(known, name) for name in TAKEN_OVER}
    return settings.model_copy(update={**taken, "group": groups})


def borrowed_pairs(folder: str, group: str, table: Table, tokenizer: PreTrainedTokenizerBase) -> list[Pair]:
    """The stored pairs of a group, those that rank (``PAIRS``) or those that test (``TEST_PAIRS``).

    Raises:
        UserError: they are missing, or their tokens are other texts to this tokenizer.
    """
    rows = read_table(_path(_source(folder), group, table), table)
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


def _source(folder: str) -> StudyFolder:
    return StudyFolder(Path(folder).expanduser())


def _path(source: StudyFolder, group: str, table: Table) -> Path:
    """Where a stage keeps the group's own part; stages of pairs have the names of their tables."""
    assert table in (PAIRS, TEST_PAIRS)
    return source.root / table.name / slug(group) / f"{table.name}.parquet"
