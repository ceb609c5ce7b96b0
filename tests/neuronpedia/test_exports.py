"""Bulk exports in a folder, in the shape that Neuronpedia's own exporter writes."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.answers import EXAMPLES, FeatureAnswer
from saeattr.neuronpedia.client import NoAnswer
from saeattr.neuronpedia.exports import HELD_EXAMPLES, Exports
from saeattr.neuronpedia.source import Source
from tests.neuronpedia.fake_site import FOLDER_ID, REPO_ID, feature_answer

BELOW = "gemma-2-2b/20-gemmascope-res-16k"


def write_batch(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_export(root: Path, *features: int) -> Path:
    """Features and explanations sorted by index as a text, activations apart, as in the public data sets."""
    folder = root / BELOW
    answers = [feature_answer(feature, f"label {feature}") for feature in sorted(features, key=str)]
    for number, answer in enumerate(answers):
        plain = {name: value for name, value in answer.items() if name not in ("source", "activations", "explanations")}
        write_batch(folder / f"features/batch-{number}.jsonl.gz", [plain])
        write_batch(folder / f"explanations/batch-{number}.jsonl.gz", answer["explanations"])
        write_batch(folder / f"activations/batch-{number}.jsonl.gz", answer["activations"])
    about = {"id": "20-gemmascope-res-16k", "modelId": "gemma-2-2b", "hfRepoId": REPO_ID, "hfFolderId": FOLDER_ID}
    (folder / "source.jsonl").write_text(json.dumps(about) + "\n", encoding="utf-8")
    return folder


def only(found: list[FeatureAnswer | NoAnswer]) -> FeatureAnswer:
    assert len(found) == 1
    assert isinstance(found[0], FeatureAnswer)
    return found[0]


def test_an_export_says_what_the_site_says(tmp_path: Path, source: Source):
    from saeattr.neuronpedia.answers import parse_feature

    write_export(tmp_path, 7, 100, 16383)
    for feature in (7, 100, 16383):
        asked = parse_feature(feature_answer(feature, f"label {feature}"), source.model, source.source, str(feature))
        assert only(Exports(tmp_path).answers([(source, feature)])) == asked
        assert asked.is_about(source)


@pytest.mark.parametrize("below", [".", "gemma-2-2b", BELOW])
def test_the_folder_may_be_of_all_models_one_or_one_source(below: str, tmp_path: Path, source: Source):
    write_export(tmp_path / "v1", 7)
    for root in (tmp_path, tmp_path / "v1" / below):
        assert only(Exports(root).answers([(source, 7)])).label == "label 7"


def test_answers_come_in_the_order_asked_and_gaps_are_told(tmp_path: Path, source: Source):
    write_export(tmp_path, 1, 2, 11)
    other = replace(source, source="19-gemmascope-res-16k")
    found = Exports(tmp_path).answers([(source, 11), (other, 1), (source, 3), (source, 1)])
    assert [one.label if isinstance(one, FeatureAnswer) else one.note for one in found] == [
        "label 11",
        f"{tmp_path} holds no export of gemma-2-2b/19-gemmascope-res-16k",
        "the export of gemma-2-2b/20-gemmascope-res-16k does not have it",
        "label 1",
    ]
    # An export may be a part of what there is: that a feature is not in it does not mean that the site lacks it.
    assert not any(one.missing for one in found if isinstance(one, NoAnswer))


def test_explanations_alone_are_enough_and_without_source_prove_nothing(tmp_path: Path, source: Source):
    rows = [{"modelId": "gemma-2-2b", "layer": source.source, "index": "5", "description": "ends of lists"}]
    write_batch(tmp_path / BELOW / "explanations/batch-0.jsonl.gz", rows)
    answer = only(Exports(tmp_path).answers([(source, 5)]))
    assert answer.label == "ends of lists"
    assert not answer.is_about(source)


@pytest.mark.parametrize("index", ["5", 5])
def test_bad_lines_and_files_do_not_stop_the_others(index: str | int, tmp_path: Path, source: Source):
    good = {"modelId": "gemma-2-2b", "layer": source.source, "index": index, "description": "good"}
    bad = [{"index": "5"}, ["5", "5"], {**good, "description": None}, {**good, "layer": "other"}, "5"]
    folder = tmp_path / BELOW / "explanations"
    write_batch(folder / "batch-0.jsonl.gz", [*bad, good])
    (folder / "batch-1.jsonl.gz").write_bytes(b"no gzip")
    (folder / "batch-2.jsonl.gz").write_bytes(gzip.compress(b'{"index": "5", broken\n')[:-9])
    (tmp_path / BELOW / "source.jsonl").write_text("[1]\nnot json", encoding="utf-8")
    found = Exports(tmp_path).answers([(source, 5), (source, 6)])
    assert isinstance(found[0], FeatureAnswer)
    assert [one.text for one in found[0].explanations] == ["good"]
    assert isinstance(found[1], NoAnswer)
    assert "explanations/batch-1.jsonl.gz, explanations/batch-2.jsonl.gz cannot be read" in found[1].note


def test_of_many_activations_the_largest_are_kept(tmp_path: Path, source: Source):
    key = {"modelId": "gemma-2-2b", "layer": source.source, "index": "5"}
    count = 2 * HELD_EXAMPLES + 3
    rows = [{**key, "tokens": ["a"], "values": [value]} for value in range(count)]
    write_batch(tmp_path / BELOW / "activations/batch-0.jsonl.gz", rows)
    answer = only(Exports(tmp_path).answers([(source, 5)]))
    assert [example.peak for example in answer.examples] == list(range(count - 1, count - 1 - EXAMPLES, -1))


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no folder of exports"):
        Exports(tmp_path / "gone")
