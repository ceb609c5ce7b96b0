"""One figure of a study: its files, what it is drawn from, and where it stands in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

#: With more groups than this, the figures of single groups are not in the report: it would grow too large.
GROUPS_IN_FULL = 2


@dataclass(frozen=True)
class StudyFigure:
    """One figure of a study.

    Attributes:
        name: of its files, without the suffix.
        sources: the files that it is drawn from; when one is newer, it is drawn again.
        draw: makes it; None where there is nothing to show.
        section: where it stands in the report: behaviour, features, or one of ``reporting.page.parts``; blank: nowhere.
        caption: below it there.
        group: the group that it is about, empty where it is about all.
    """

    name: str
    sources: tuple[Path, ...]
    draw: Callable[[], Figure | None]
    section: str = ""
    caption: str = ""
    group: str = ""
