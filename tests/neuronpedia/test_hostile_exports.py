"""Exports and cached answers that are pipes, loops, bombs or torn: the rest is read, the memory stays small."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from saeattr.neuronpedia.answers import LONGEST_EXPLANATION, MOST_EXPLANATIONS, FeatureAnswer
from saeattr.neuronpedia.bounded import LARGEST, MOST_INFLATED
from saeattr.neuronpedia.client import Client, NoAnswer, cached_path, write_cached
from saeattr.neuronpedia.exports import Exports
from saeattr.neuronpedia.links import FILE, read_links
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import spend_request
from saeattr.study.folder import StudyFolder
from tests.neuronpedia.test_exports import BELOW

ROW = {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": "5", "description": "good"}
GOOD = json.dumps(ROW).encode() + b"\n"
MARK = b'{"index": "5", '


def bomb(path: Path, size: int, filler: bytes = b" " * 2**20) -> None:
    """A gzip file of a thousandth of ``size``."""
    with gzip.open(path, "wb") as file:
        for _ in range(size // len(filler)):
            file.write(filler)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "a loop of links": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "gone"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "one line that inflates to 256 MB": lambda path: bomb(path, 2**28),
    "blank lines that inflate to more than is read": lambda path: bomb(path, 2**24, b"\n" * 2**20),
    "a cut member": lambda path: path.write_bytes(gzip.compress(GOOD * 1000)[:-20]),
    "a member with a wrong sum": lambda path: path.write_bytes(gzip.compress(GOOD)[:-8] + bytes(8)),
    "no gzip": lambda path: path.write_bytes(b"\x1f\x8bnot"),
    "a broken line": lambda path: path.write_bytes(gzip.compress(GOOD + MARK + b"broken\n" + GOOD)),
    "a line of many levels": lambda path: path.write_bytes(gzip.compress(MARK + b'"a": ' + b"[" * 10**5 + b"\n")),
    "a number without end": lambda path: path.write_bytes(gzip.compress(MARK + b'"a": ' + b"9" * 10**5 + b"}\n")),
    "bytes that are no text": lambda path: path.write_bytes(gzip.compress(MARK + b"\xff\xfe\n")),
}


@pytest.mark.parametrize("kind", ["features", "explanations", "activations"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_named_and_the_others_are_read(
    how: str, kind: str, tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("saeattr.neuronpedia.bounded.FREELY", 2**20)
    for name in ("features", "explanations", "activations"):
        (tmp_path / BELOW / name).mkdir(parents=True)
    DAMAGE[how](tmp_path / BELOW / kind / "batch-0.jsonl.gz")
    (tmp_path / BELOW / "explanations" / "batch-1.jsonl").write_bytes(GOOD)
    tracemalloc.start()
    found, gap = Exports(tmp_path).answers([(source, 5), (source, 6)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LARGEST
    assert isinstance(found, FeatureAnswer)
    assert found.label == "good"
    assert isinstance(gap, NoAnswer)
    assert f"{kind}/batch-0.jsonl.gz cannot be read" in gap.note


def test_folders_may_be_loops_and_pipes(tmp_path: Path, source: Source):
    folder = tmp_path / BELOW
    folder.mkdir(parents=True)
    (folder / "features").symlink_to(folder / "features")
    os.mkfifo(folder / "explanations")
    (folder / "activations").symlink_to(folder)
    os.mkfifo(folder / "source.jsonl")
    (found,) = Exports(tmp_path).answers([(source, 5)])
    assert isinstance(found, NoAnswer)


def test_rows_that_are_much_the_same_are_no_bomb():
    rows = b"".join(json.dumps({**ROW, "index": str(index), "values": [0.0] * 128}).encode() for index in range(500))
    assert len(gzip.compress(rows)) * MOST_INFLATED > 2 * len(rows)


def test_an_explanation_of_fifty_megabytes_is_left_out_and_one_of_ten_is_cut(tmp_path: Path, source: Source):
    folder = tmp_path / BELOW / "explanations"
    folder.mkdir(parents=True)
    with (folder / "batch-0.jsonl").open("w") as file:
        for size in (10, 50):
            file.write(json.dumps({**ROW, "index": str(size), "description": "x" * size * 10**6}) + "\n")
    cut, left_out = Exports(tmp_path).answers([(source, 10), (source, 50)])
    assert isinstance(cut, FeatureAnswer)
    assert cut.label == "x" * LONGEST_EXPLANATION
    assert isinstance(left_out, NoAnswer)


def test_of_countless_explanations_the_first_are_kept(tmp_path: Path, source: Source):
    folder = tmp_path / BELOW / "explanations"
    folder.mkdir(parents=True)
    (folder / "batch-0.jsonl").write_bytes(GOOD * 10_000)
    (found,) = Exports(tmp_path).answers([(source, 5)])
    assert isinstance(found, FeatureAnswer)
    assert len(found.explanations) == MOST_EXPLANATIONS


@pytest.mark.parametrize("how", [name for name in DAMAGE if "link" not in name])
def test_a_damaged_cache_is_an_empty_one(how: str, tmp_path: Path, source: Source):
    path = cached_path(tmp_path, source.model, source.source, "5")
    path.parent.mkdir(parents=True)
    DAMAGE[how](path)
    client = Client(tmp_path, None)
    assert client.cached(source, 5) is None
    if not path.is_dir():
        # What is there is replaced, not written into.
        write_cached(tmp_path, source.model, source.source, "5", FeatureAnswer(source.model, source.source, "5"))
        assert client.cached(source, 5) is not None


def test_a_count_of_requests_that_is_a_pipe_starts_anew(tmp_path: Path):
    os.mkfifo(tmp_path / "requests.json")
    assert spend_request(tmp_path / "requests.json", 0.0) == 0
    assert (tmp_path / "requests.json").is_file()


def test_the_labels_of_a_study_are_lines_without_orders_to_a_terminal(tmp_path: Path):
    row = {"kind": "resid_post", "layer": 1, "feature": 2, "label": "\x1b]0;title\x07\u202eend\nof a list\ud800"}
    value = {"features": [row], "notes": ["\x1b[2Jnote"], "sites": {}}
    (tmp_path / FILE).write_text(json.dumps(value), encoding="utf-8")
    links = read_links(StudyFolder(tmp_path))
    assert links.labels["resid_post.1/2"]["label"] == "]0;title end of a list"
    assert links.notes == ("[2Jnote",)
