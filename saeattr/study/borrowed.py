"""Pairs of another study in place of new ones, so that two models are asked about the very same tokens.

What a model writes (lists) is its own: another model, or a later checkpoint, would write other lists. ``pairs_of``
names the study whose stored pairs are taken, those that rank and those that test, with all that they were made with.
"""

from __future__ import annotations

from pathlib import Path

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.given.behaviour import Given
from saeattr.behaviours.given.source import GivenRows
from saeattr.errors import UserError
from saeattr.settings import SETTINGS, StudySettings, flag, recorded_settings
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.pairs import MakingTestPairs, stored_given

#: What the pairs of a study were made with: their settings, and the contrast that their decision points mark.
TAKEN_OVER = (
    *(name for name, known in SETTINGS.items() if known.part == "pairs" and known.identifies and name != "pairs_of"),
    "metric",
    "contrast",
)


def with_borrowed(settings: StudySettings) -> tuple[StudySettings, GivenRows | None]:
    """Settings whose pairs are those of the study that ``pairs_of`` names, and its user's own rows if it has any.

    Raises:
        UserError: the folder holds no study, has none of the wanted groups, or nothing to test on; or a setting says
            otherwise than the pairs were made.
    """
    source = StudyFolder(Path(settings.pairs_of or "").expanduser())
    record = read_record(source)
    known = recorded_settings(record)
    if settings.pairs is not None:
        raise UserError("--pairs-of takes the pairs of another study, and --pairs names your own: give one of them")
    for name in TAKEN_OVER:
        if name in settings.model_fields_set and getattr(settings, name) != getattr(known, name):
            raise UserError(
                f"--pairs-of takes the pairs of {source.root} as they are, made with {flag(name)} "
                f"{getattr(known, name)}: leave out {flag(name)}"
            )
    rows = stored_given(source)
    behaviour = find_behaviour(known.behaviour) if rows is None else Given(rows)
    groups = behaviour.groups(settings.group) if settings.group else tuple(record["groups"])
    for group in groups:
        if group not in record["groups"]:
            raise UserError(
                f"{source.root} has no pairs of the group {group!r}: it has {', '.join(record['groups']) or 'none'}"
            )
        if settings.validate_top and behaviour.draws_pairs(known) and not MakingTestPairs.is_there(source, group):
            raise UserError(
                f"{source.root} has no pairs of {group!r} to test on: run saeattr validate {source.root} first, or add "
                "--no-validate"
            )
    taken = {name: getattr(known, name) for name in TAKEN_OVER}
    return settings.model_copy(update={**taken, "group": groups}), rows
