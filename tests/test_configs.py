"""The settings files in configs/: each is valid, and says what the model's name alone would give."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeattr.model.hub import MODELS
from saeattr.settings import StudySettings, make_settings
from saeattr.study.prepare import resolve

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_every_named_model_that_writes_lists_has_one() -> None:
    assert {path.stem for path in CONFIGS} == {"bundled", *MODELS} - {"gpt2"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_gives_what_the_name_alone_gives(path: Path) -> None:
    written = make_settings({}, path)
    assert written.model == path.stem
    by_name = resolve(StudySettings(model=path.stem, device="cpu"))
    assert resolve(written.model_copy(update={"device": "cpu"})).identity() == by_name.identity()
