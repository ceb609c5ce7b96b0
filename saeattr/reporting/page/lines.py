"""What each part of a study found, in lines: those that its own command prints."""

from __future__ import annotations

from saeattr.reporting.readings import entropy_lines, lens_labels, lens_lines, named_rows, run_words
from saeattr.study.results import Study

#: With more groups than this, lines are of all groups together.
GROUPS_IN_FULL = 3


def part_lines(study: Study) -> dict[str, list[str]]:
    """Lines by the name of the page's part; a part that the study has not is not there."""
    found = {"entropy": _entropy(study), "lens": _lens(study)}
    return {name: lines for name, lines in found.items() if lines}


def _entropy(study: Study) -> list[str]:
    rows, onsets, words = study.entropy(), study.entropy_onset(), run_words(study)
    named = named_rows(rows, study, GROUPS_IN_FULL)
    return [line for name, own in named if len(own) for line in entropy_lines(own, onsets, name, words)]


def _lens(study: Study) -> list[str]:
    rows, labels = study.logit_lens(), lens_labels(study)
    named = named_rows(rows, study, GROUPS_IN_FULL)
    return [line for name, own in named if len(own) for line in lens_lines(own, labels, name)]
