"""A row of numbers for each list, from any sources of lists, streamed; what could not be read is counted and named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from saeattr.behaviours.lists.topics import REQUEST_WORDS, Length
from saeattr.behaviours.lists.written import RowProblem, WrittenList
from saeattr.corpus.read import ListSource
from saeattr.corpus.reading import Reading, ReadList
from saeattr.errors import UserError
from saeattr.progress import OnCount, quiet
from saeattr.stats import shannon_index
from saeattr.tables import LIST_STATISTICS

#: Problems that are kept by name; all are counted.
NAMED = 20
#: Rows that are dicts at one time; a table of them takes a tenth of their memory.
CHUNK = 1000


@dataclass(frozen=True)
class Counting:
    """What is counted, and what is taken for known where a row does not say it.

    Attributes:
        topics: only these, and the topic of rows that name none where it is just one; all without any.
        length: of the request, where neither the row nor its conversation says it.
    """

    topics: tuple[str, ...] = ()
    length: Length | None = None

    def topic_of(self, written: WrittenList) -> str | None:
        """The topic that a list counts for, blank for none; None where it is not wanted."""
        if written.topic is None:
            return self.topics[0] if len(self.topics) == 1 else "" if not self.topics else None
        known = {topic.casefold(): topic for topic in self.topics}
        return written.topic if not known else known.get(written.topic.casefold())


@dataclass
class Problems:
    """Rows that are no list: all counted, the first of them named."""

    n: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, problem: RowProblem, source: str = "") -> None:
        self.n += 1
        if len(self.named) < NAMED:
            self.named.append(f"{source}: {problem}" if source else str(problem))

    def lines(self, before: str = "") -> list[str]:
        """One line for each that is named, and one for how many more there are."""
        more = [f"{before}{self.n - len(self.named)} more rows"] if self.n > len(self.named) else []
        return [*(f"{before}{name}" for name in self.named), *more]


def list_rows(
    sources: Iterable[ListSource], reading: Reading, counting: Counting, problems: Problems
) -> Iterator[dict[str, Any]]:
    """The row of each list that is wanted, in the order of the sources (``tables.LIST_STATISTICS``).

    Args:
        problems: filled meanwhile.

    Raises:
        UserError: a source cannot be read.
    """
    for source in sources:
        for written in source.rows():
            if isinstance(written, RowProblem):
                problems.add(written, source.name)
                continue
            topic = counting.topic_of(written)
            if topic is None:
                continue
            try:
                found = reading.read(written)
            except UserError as error:
                problems.add(RowProblem(written.row, str(error)), source.name)
                continue
            yield {
                "group": topic,
                "request": request_word(found.length or counting.length),
                "temperature": written.temperature,
                "source": source.name,
                "on_policy": written.on_policy,
                "list_id": written.list_id or written.row,
                **measures(found),
            }


def measures(found: ReadList) -> dict[str, Any]:
    """The numbers of one list."""
    names, sizes = found.items, np.array(found.item_tokens, dtype=float)
    known = bool(len(sizes))
    return {
        "format": found.format or "",
        "ended": found.ended,
        "n_items": len(names),
        "n_tokens": math.nan if found.n_tokens is None else float(found.n_tokens),
        "tokens_per_item": float(sizes.mean()) if known else math.nan,
        "single_token": float((sizes == 1).mean()) if known else math.nan,
        "n_blanks": sum(found.blanks),
        "blank_from_end": [len(names) - at for at, blank in enumerate(found.blanks) if blank][::-1],
        "repeats": len(names) - len(set(names)),
        "shannon": shannon_index(names),
        "item_tokens": list(found.item_tokens),
        "items": list(names),
    }


def count_lists(
    sources: Sequence[ListSource], reading: Reading, counting: Counting | None = None, on_count: OnCount = quiet
) -> tuple[pd.DataFrame, Problems]:
    """Count every list of some sources.

    Args:
        on_count: told how many are counted; how many there are is not known before.

    Returns:
        one row for each list, and what could not be read.

    Raises:
        UserError: a source cannot be read, or none holds a list.
    """
    problems, parts, rows = Problems(), [], []
    done = 0
    for row in list_rows(sources, reading, counting or Counting(), problems):
        rows.append(row)
        done += 1
        if len(rows) == CHUNK:
            parts.append(LIST_STATISTICS.frame(pd.DataFrame(rows)))
            rows = []
            on_count(done, done)
    if rows:
        parts.append(LIST_STATISTICS.frame(pd.DataFrame(rows)))
    if not parts:
        names = ", ".join(source.name for source in sources)
        why = f" ({problems.named[0]})" if problems.named else ""
        raise UserError(f"no list can be counted in {names}{why}")
    on_count(done, done)
    return pd.concat(parts, ignore_index=True), problems


def request_word(length: Length | None) -> str:
    """A request as tables of statistics name it; blank where it is not known."""
    return "" if length is None else REQUEST_WORDS[length]
