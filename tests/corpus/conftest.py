"""Made-up lists, counted by hand, in the shapes in which lists are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saeattr.corpus.marks import Marks
from saeattr.corpus.reading import Reading
from saeattr.model.loading import LanguageModel

MARKS = "header=11/40/12,end=13,newline=12/14,hyphen=15,blank=16/17,bos=2,eos=1,short=18,long=19"
#: Token ids as in ``MARKS``; names are told apart by their number.
IDS = {"\n": 12, "\n\n": 14, "-": 15, " ": 16, "  ": 17, "<end>": 13, "<eos>": 1}


def conversation(answer: str, length: str = "short") -> list[int]:
    """Token ids of a request and an answer; in ``answer`` words, marks and blanks stand between ``|``."""
    asked = {"short": [18], "long": [19], "": []}[length]
    prompt = [2, 11, 41, 12, 50, *asked, 51, 13, 12, 11, 40, 12]
    return [*prompt, *(IDS.get(piece) or 1000 + sum(map(ord, piece)) for piece in answer.split("|"))]


@pytest.fixture(scope="session")
def by_marks() -> Reading:
    return Reading.of_marks(Marks(MARKS))


@pytest.fixture(scope="session")
def bundled(lm: LanguageModel) -> Reading:
    return Reading.of_tokenizer(lm.tokenizer)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_json(value: Any, name: str = "lists.json") -> Path:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write_json
