"""What a study folder holds of its stages, in words: for who was interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.pairs import MakingPairs
from saeattr.study.run import STAGES
from saeattr.study.stage import WHOLE

#: Groups that are named; more are counted.
NAMED = 3


def stored_text(study: StudyFolder, groups: Sequence[str]) -> str:
    """``pairs of 5 of 5 groups, attribution of 3 of 5, 7 of 18 sites of rivers``; blank where nothing is stored.

    Args:
        groups: those that were asked for; others of the study count too.
    """
    if not study.record_path.exists():
        return ""
    record = read_record(study)
    every = list(dict.fromkeys([*record["groups"], *groups]))
    counted: list[tuple[str, int]] = []
    for stage in STAGES:
        if stage.of_all or stage.name == "selection":
            if stage.is_there(study, WHOLE):
                counted.append((stage.name, len(every)))
        elif done := sum(stage.is_there(study, group) for group in every):
            counted.append((stage.name, done))
    parts = []
    for done, some in itertools.groupby(counted, lambda one: one[1]):
        parts.append(f"{', '.join(name for name, _ in some)} of {done} of {len(every)} groups")
    return ", ".join([*parts, *_begun(study, every, len(record.get("saes", {})))])


def _begun(study: StudyFolder, groups: Sequence[str], total: int) -> list[str]:
    """How many sites are attributed of groups that are not complete: those alike together."""
    found: dict[int, list[str]] = {}
    for group in groups:
        partial = Attribution.partial(study, group)
        # SHARD-SITE-KEY, and the same with "metric" in place of a site.
        names = {path.name.split("-")[1] for path in partial.glob("[0-9]*-*-*")} - {"metric"}
        if names and MakingPairs.is_there(study, group):
            found.setdefault(len(names), []).append(group)
    return [
        f"{count} of {total} sites of {', '.join(some) if len(some) <= NAMED else f'{len(some)} groups'}"
        for count, some in found.items()
    ]
