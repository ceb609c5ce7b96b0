"""Neuronpedia's bulk exports in a folder: ``MODEL/SOURCE/{features,activations,explanations}/batch-N.jsonl.gz``."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saeattr.errors import UserError, one_line
from saeattr.neuronpedia.answers import (
    MOST_EXPLANATIONS,
    Example,
    Explanation,
    FeatureAnswer,
    NeuronpediaError,
    feature_key,
    largest_examples,
    name_or_none,
    parse_example,
    parse_explanation,
    parse_feature,
)
from saeattr.neuronpedia.bounded import lines_of, read_json
from saeattr.neuronpedia.client import NoAnswer, Wanted
from saeattr.neuronpedia.source import Source, index_text

#: Of one feature so many examples are held before all but the largest are let go.
HELD_EXAMPLES = 200


@dataclass(frozen=True)
class Exports:
    """A folder of exports, as copied from ``neuronpedia-datasets/v1`` or from one model or source below it.

    Raises:
        UserError: there is no such folder.
    """

    root: Path

    def __post_init__(self) -> None:
        # A path too long for the system is no folder; pathlib raises at it.
        if not os.path.isdir(self.root):
            raise UserError(f"there is no folder of exports {str(self.root)!r}: it holds MODEL/SOURCE/explanations/...")

    def answers(
        self, wanted: Sequence[Wanted], on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[FeatureAnswer | NoAnswer]:
        """One answer for each wanted feature, in order; each batch of a source is read once, line by line."""
        by_source: dict[Source, set[str]] = defaultdict(set)
        for source, feature in wanted:
            by_source[source].add(index_text(feature))
        found: dict[tuple[Source, str], FeatureAnswer] = {}
        gaps: dict[Source, str] = {}
        for done, (source, indices) in enumerate(by_source.items()):
            on_progress(done, len(by_source))
            folder = self._folder(source)
            if folder is None:
                gaps[source] = f"{self.root} holds no export of {source.model}/{source.source}"
                continue
            damaged: list[str] = []
            found |= {(source, index): one for index, one in _read_source(folder, source, indices, damaged).items()}
            gaps[source] = f"the export of {source.model}/{source.source} does not have it"
            if damaged:
                gaps[source] += f" ({', '.join(damaged[:3])} cannot be read, or not as a whole: get it again)"
        on_progress(len(by_source), len(by_source))
        return [found.get((source, index_text(feature))) or NoAnswer(gaps[source]) for source, feature in wanted]

    def _folder(self, source: Source) -> Path | None:
        """Where a source's exports lie; the ids come from sae-lens' directory and are plain names."""
        below = (f"v1/{source.model}/{source.source}", f"{source.model}/{source.source}", source.source)
        places = [self.root / path for path in below]
        if self.root.resolve().name == source.source:
            places.append(self.root)
        return next((place for place in places if place.is_dir()), None)


def _read_source(folder: Path, source: Source, indices: set[str], damaged: list[str]) -> dict[str, FeatureAnswer]:
    """What a source's exports say of the features ``indices``; names of files that cannot be read go to ``damaged``."""
    keys = {(source.model, source.source, index) for index in indices}
    about = _about(folder, source)
    found: dict[str, FeatureAnswer] = {}
    for row in _rows(folder / "features", keys, damaged):
        try:
            answer = parse_feature({**row, "source": about}, source.model, source.source, row["index"])
        except NeuronpediaError:
            continue
        found.setdefault(answer.index, answer)
    explanations: dict[str, list[Explanation]] = defaultdict(list)
    for row in _rows(folder / "explanations", keys, damaged):
        explanation = parse_explanation(row)
        if explanation is not None and len(explanations[row["index"]]) < MOST_EXPLANATIONS:
            explanations[row["index"]].append(explanation)
    examples: dict[str, list[Example]] = defaultdict(list)
    for row in _rows(folder / "activations", keys, damaged):
        example = parse_example(row)
        if example is None:
            continue
        held = examples[row["index"]]
        held.append(example)
        if len(held) >= HELD_EXAMPLES:
            held[:] = largest_examples(held)
    for index in (*explanations, *examples):
        found.setdefault(
            index, FeatureAnswer(source.model, source.source, index, about["hfRepoId"], about["hfFolderId"])
        )
    return {
        index: replace(
            answer,
            explanations=tuple(explanations[index]),
            examples=largest_examples(examples[index]),
        )
        for index, answer in found.items()
    }


def _about(folder: Path, source: Source) -> dict[str, str | None]:
    """The weights that ``source.jsonl`` names; without it nothing proves which they are."""
    try:
        rows = [read_json(line) for line in lines_of(folder / "source.jsonl") if line.strip()]
    except (OSError, ValueError):
        rows = []
    for row in rows:
        if isinstance(row, dict) and (row.get("modelId"), row.get("id")) == (source.model, source.source):
            return {name: name_or_none(row.get(name)) for name in ("hfRepoId", "hfFolderId")}
    return {"hfRepoId": None, "hfFolderId": None}


def _rows(folder: Path, keys: Collection[tuple[str, str, str]], damaged: list[str]) -> Iterator[dict[str, Any]]:
    """The rows about ``keys`` in every batch of a folder, with the index as a string; a broken line is passed over."""
    # The index as it stands in a line, so that the other lines (with long vectors) are not parsed.
    marks = [mark.encode() for _, _, index in keys for mark in (f'"{index}"', f": {index},", f":{index},")]
    for path in sorted(folder.glob("batch-*.jsonl*")):
        whole = True
        try:
            for line in lines_of(path):
                if not any(mark in line for mark in marks):
                    continue
                try:
                    value = read_json(line)
                except ValueError:
                    whole = False
                    continue
                key = feature_key(value)
                if key is not None and key in keys:
                    yield {**value, "index": key[2]}
        except (OSError, EOFError, zlib.error):
            whole = False
        if not whole:
            damaged.append(one_line(f"{folder.name}/{path.name}"))
