"""The stage that counts a study's lists: those that its pairs are made of, and as many long ones beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.lists.behaviour import topic_lists
from saeattr.behaviours.lists.topics import SWAPS
from saeattr.corpus.read import OWN, REVERSED, ListSource
from saeattr.corpus.reading import Reading
from saeattr.corpus.statistics import count_lists
from saeattr.corpus.summary import blank_positions, summarise_lists
from saeattr.errors import UserError
from saeattr.files import slug
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import LIST_BLANKS, LIST_STATISTICS, LIST_SUMMARY, Table


@dataclass(frozen=True)
class Statistics(Stage):
    """Items, tokens, blanks, repeats and diversity of a topic's lists, behind the clean request and the corrupted one.

    The lists behind the corrupted request are as many, of the same seeds, and stay in the study (``reversed_lists/``)
    for other stages. A file of lists has no others beside it.
    """

    name: ClassVar[str] = "statistics"
    joined: ClassVar[tuple[Table, ...]] = (LIST_SUMMARY, LIST_BLANKS)
    kept: ClassVar[tuple[Table, ...]] = (LIST_STATISTICS,)
    opens_saes: ClassVar[bool] = False

    @property
    def kept_in(self) -> tuple[str, ...]:
        return (REVERSED,)

    def run(self, work: Work) -> Outcome:
        check_statistics(work.prepared)
        settings, root = work.prepared.settings, work.study.root
        files = [_file(root, OWN, work.group)]
        if not files[0].exists():
            # Borrowed pairs come without the lists that they were made of.
            return Outcome(warnings=[f"{work.group}: the study has no lists of its own, so none are counted"])
        if settings.lists_from is None:
            topic_lists(work.group, work.request(REVERSED), SWAPS[settings.swap][1])
            files.append(_file(root, REVERSED, work.group))
        reading = Reading.of_tokenizer(work.task.lm.tokenizer)
        parts = [count_lists([ListSource(file.parent.name, (file,))], reading)[0] for file in files]
        lists = pd.concat(parts, ignore_index=True).assign(group=work.group)
        tables = {
            LIST_SUMMARY.name: summarise_lists(lists),
            LIST_BLANKS.name: blank_positions(lists),
            LIST_STATISTICS.name: lists,
        }
        return Outcome(tables)


def check_statistics(prepared: Prepared) -> None:
    """Refuse a study of something else than lists.

    Raises:
        UserError: its behaviour is not lists.
    """
    if prepared.settings.behaviour != "lists":
        raise UserError(f"statistics are of lists, and this study is of {prepared.settings.behaviour}: leave them out")


def _file(root: Path, folder: str, group: str) -> Path:
    return root / folder / f"{slug(group)}.parquet"
