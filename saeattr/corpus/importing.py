"""Lists from elsewhere put behind a model's own requests and stored as one table, list by list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from saeattr.behaviours.lists.decisions import Tally
from saeattr.behaviours.lists.placing import Placing
from saeattr.behaviours.lists.sampling import SampledList
from saeattr.behaviours.lists.table import ARROW, lists_to_arrow
from saeattr.behaviours.lists.topics import Length, asked_length
from saeattr.behaviours.lists.written import RowProblem, WrittenList, wanted_topics
from saeattr.corpus.read import ListSource
from saeattr.corpus.statistics import Counting, Problems
from saeattr.errors import UserError
from saeattr.files import replacing

#: Lists in memory at one time.
CHUNK = 256


@dataclass
class Imported:
    """What was read: the lists of each topic in a line, and what could not be used."""

    topics: dict[str, Tally] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)


def import_lists(
    source: ListSource, named: Sequence[str], placing: Placing, out: Path, request: Length | None = None
) -> Imported:
    """Read the lists of a source as a model will, and write them as one table (``tables.LISTS``).

    The source is read twice: for its topics, then for its lists.

    Args:
        named: the topics that are wanted, or what the lists are of where they do not say.
        request: behind which lists are put that do not show what was asked; without it, one for a short list.

    Raises:
        UserError: the source cannot be read, a topic is missing, no list can be used, or the disk is full.
    """
    found = Imported()
    own = dict.fromkeys(one.topic for one in source.rows() if isinstance(one, WrittenList) and one.topic)
    counting = Counting(_wanted(source, list(own), named), request)
    with replacing(out) as temporary, pq.ParquetWriter(temporary, ARROW, compression="zstd") as writer:
        chunk: list[SampledList] = []
        for placed in _placed(source, counting, bool(own), placing, found):
            chunk.append(placed)
            if len(chunk) == CHUNK:
                writer.write_table(lists_to_arrow(chunk))
                chunk = []
        if chunk:
            writer.write_table(lists_to_arrow(chunk))
        if not found.topics:
            why = f" ({found.problems.named[0]})" if found.problems.named else ""
            raise UserError(f"no list of {source.name} can be used{why}")
    return found


def _wanted(source: ListSource, own: Sequence[str], named: Sequence[str]) -> tuple[str, ...]:
    """The topics that are wanted, of a source that holds any list.

    Raises:
        UserError: it holds none, none of a topic, or names no topic and not exactly one is named.
    """
    if not own:
        rows = source.rows()
        first = next(rows, None)
        if not isinstance(first, WrittenList) and not any(isinstance(one, WrittenList) for one in rows):
            raise UserError(f"{source.name} holds no list" + ("" if first is None else f" ({first})"))
    return wanted_topics(own, named, source.name)


def _placed(
    source: ListSource, counting: Counting, has_topics: bool, placing: Placing, found: Imported
) -> Iterator[SampledList]:
    """The lists that can be used, each told to ``found``."""
    for written in source.rows():
        if isinstance(written, RowProblem):
            found.problems.add(written)
            continue
        if has_topics and written.topic is None:
            found.problems.add(RowProblem(written.row, "names no topic, and others do"))
            continue
        topic = counting.topic_of(written)
        if topic is None:
            continue
        tally = found.topics.get(topic, Tally())
        try:
            length = written.length or _asked(written, placing) or counting.length or "short"
            placed = placing.place(written, topic, length, tally.n_lists)
        except UserError as error:
            found.problems.add(RowProblem(written.row, str(error)))
            continue
        tally.add(placed.parsed)
        found.topics[topic] = tally
        yield placed


def _asked(written: WrittenList, placing: Placing) -> Length | None:
    """What the conversation that a list is part of asks for."""
    start = placing.markers.turns.answer_start(written.token_ids)
    if start and all(0 <= token < len(placing.tokenizer) for token in written.token_ids[:start]):
        return asked_length(placing.decode(written.token_ids[:start]))
    before, header, _ = written.text.rpartition(placing.decode(placing.markers.turns.header))
    return asked_length(before) if header else None
