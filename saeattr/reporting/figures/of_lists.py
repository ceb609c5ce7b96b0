"""The figures of lists: of a study, and of statistics by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from saeattr.corpus.exceptions import exceptions
from saeattr.reporting.figures import lists
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.reporting.figures.style import save_figure
from saeattr.study.results import Study
from saeattr.study.statistics import Statistics
from saeattr.tables import LIST_BLANKS, LIST_STATISTICS, LIST_SUMMARY

SECTION = "lists"
ITEMS = (
    "The study's own lists, and as many behind the other request. Of a list that was cut off at the token limit the "
    "complete items count."
)
BLANKS = "A blank between the name and the line break, in lists that ended. Grey: no list has so many items."
TOKENS = (
    "An exception differs from the other topics' lists beyond chance (5 % false discovery rate), by more than three of "
    "their robust standard deviations and by more than 10 percentage points; docs/list-statistics.md."
)


def figures(study: Study) -> Iterator[StudyFigure]:
    """The figures of a study's lists."""
    folder = study.folder
    if not any(Statistics.is_there(folder, group) for group in study.groups):
        return
    summary, blanks = (folder.table_path(table.name) for table in (LIST_SUMMARY, LIST_BLANKS))
    yield StudyFigure("lists-items", (summary,), partial(items_by_topic, study), SECTION, ITEMS)
    yield StudyFigure("lists-blanks", (blanks,), partial(blanks_by_position, study), SECTION, BLANKS)
    yield StudyFigure("lists-tokens", (summary,), partial(one_token_items, study), SECTION, TOKENS)


def items_by_topic(study: Study) -> Figure | None:
    """Items of a list by topic, behind both requests."""
    return lists.items_by_topic(_one_source(Statistics.read(study.folder, LIST_SUMMARY)))


def blanks_by_position(study: Study) -> Figure | None:
    """Where blanks stand, counted from the end."""
    return lists.blanks_by_position(_one_source(Statistics.read(study.folder, LIST_BLANKS)))


def one_token_items(study: Study) -> Figure | None:
    """Share of names of one token, by topic."""
    there = [group for group in study.groups if Statistics.is_there(study.folder, group)]
    rows = [Statistics.read(study.folder, LIST_STATISTICS, group) for group in there]
    unlike = exceptions(pd.concat(rows, ignore_index=True))
    return lists.one_token_items(_one_source(Statistics.read(study.folder, LIST_SUMMARY)), _one_source(unlike))


def draw_statistics(summary: pd.DataFrame, blanks: pd.DataFrame, unlike: pd.DataFrame, folder: Path) -> None:
    """Write the figures of statistics by themselves: those that have something to show.

    Raises:
        UserError: the folder cannot be written.
    """
    drawn = {
        "lists-items": lists.items_by_topic(summary),
        "lists-blanks": lists.blanks_by_position(blanks),
        "lists-temperatures": lists.blanks_by_temperature(summary, blanks),
        "lists-tokens": lists.one_token_items(summary, unlike),
    }
    for name, figure in drawn.items():
        if figure is not None:
            save_figure(figure, folder, name)


def _one_source(table: pd.DataFrame) -> pd.DataFrame:
    """A study's lists are told apart by their request; the folder that they lie in says nothing more."""
    return table.assign(source="study")
