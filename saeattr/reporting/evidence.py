"""Which pairs ranked a group's features and which tested them, in words: no number is shown without its pairs."""

from __future__ import annotations

from saeattr.reporting.numbers import pairs_text
from saeattr.study.pairs import MakingTestPairs
from saeattr.study.results import Study


def n_ranking(study: Study, group: str) -> int:
    """How many distinct pairs ranked the group's features."""
    return len(study.pairs(group))


def n_testing(study: Study, group: str) -> int:
    """How many distinct pairs test them; 0 without a validation."""
    if study.validation(group).empty:
        return 0
    # Without fresh pairs each half tests what the other ranks, so all of them do.
    return len(study.test_pairs(group)) or n_ranking(study, group)


def evidence_text(study: Study, group: str) -> str:
    """``ranked by 6 distinct pairs, tested on 6 others``."""
    ranking, testing = n_ranking(study, group), n_testing(study, group)
    if not testing:
        return f"ranked by {pairs_text([ranking])}"
    if study.test_pairs(group).empty:
        return f"each half of {pairs_text([ranking])} tested what the other half ranked"
    return f"ranked by {pairs_text([ranking])}, tested on {testing} other{'' if testing == 1 else 's'}"


def untested_text(study: Study, group: str) -> str:
    """Why nothing of a group could be tested, in one line; blank where something was, or where it was not asked for.

    Of a single pair it is said in any case: whatever is measured of it is of that prompt alone.
    """
    if not MakingTestPairs.is_there(study.folder, group) or len(study.test_pairs(group)):
        alone = n_ranking(study, group) == 1 and study.validation(group).empty
        return f"{group}: 1 distinct pair: no interval, no verdict; effects of this prompt only" if alone else ""
    known = pairs_text([n_ranking(study, group)])
    return f"{group}: {known}, and none that was drawn to test on is another: no verdict"


def power_lines(study: Study) -> list[str]:
    """What the tests of each group could show, a line for each that was tested."""
    return [f"{group}: {evidence_text(study, group)}. {said}" for group in study.groups if (said := study.power(group))]


def untested_lines(study: Study) -> list[str]:
    """Why nothing could be tested, a line for each group of which that is so."""
    return [said for group in study.groups if (said := untested_text(study, group))]
