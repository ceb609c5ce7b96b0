"""YAML files of settings with anything in them, and any keywords: settings within their limits, or one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from saeattr.settings import StudySettings, make_settings, recorded_settings
from saeattr.settings.fields import ALIASES
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.values import LEAVES, NUMBERS, TEXTS, torn, trees

NAMES = st.sampled_from([*StudySettings.model_fields, *ALIASES])
VALUES = LEAVES | trees() | st.dates() | st.datetimes() | st.binary(max_size=4) | st.lists(NUMBERS | TEXTS, max_size=3)
#: What YAML can say and settings have no use for: tags, aliases that double at each line, merges, odd numbers and days.
BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefghijklmn", "bcdefghijklmno", strict=True)
)
ODD_YAML = [
    *["!!python/object/apply:os.system ['false']", "!!python/name:os.system", "!!binary '@'", "!!timestamp x"],
    *["!!int x", "!!int ''", "!!float x", "!!bool maybe", "!!set [a]", "!!map [a]", "!!omap {a: 1}", "!!pairs 1"],
    *["2020-13-45", "0x" + "f" * 5000, "9" * 5000, "1:" * 3000 + "1", ".nan", "-.inf", "&a [*a]", "*nothing", "|"],
    *["[" * 3000, "{a: " * 3000, "? [a]\n: b", "? {a: b}\n: c", "<<: [1]", "<<: {lists: 3}", "--- 1\n--- 2"],
    *["%YAML 9.9", "!<x> y", "'", '"\\ud800"', "\t", "- - - -", "~", "=", "on", "0o17", "1_0", "\u0663", BOMB],
]
LINES = st.builds("{}: {}".format, NAMES | TEXTS, st.sampled_from(ODD_YAML) | TEXTS)
WRITTEN = st.lists(LINES, max_size=4).map("\n".join)
DUMPED = st.dictionaries(NAMES | TEXTS, VALUES, max_size=4).map(
    lambda fields: yaml.safe_dump(fields, allow_unicode=True) if not _has_surrogates(fields) else "lists: 3"
)


def _has_surrogates(fields: Any) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in repr(fields).encode().decode("unicode-escape", "replace"))


def check(settings: StudySettings) -> None:
    for name in StudySettings.model_fields:
        value = getattr(settings, name)
        numbers = value if isinstance(value, tuple) else (value,)
        assert all(math.isfinite(number) for number in numbers if isinstance(number, (int, float)))
        assert value != ""
    assert settings.temperature == 0 or settings.temperature >= 0.001
    # A study's record holds them, and they come back the same.
    record = {"settings": settings.identity(), "groups": list(settings.group)}
    again = recorded_settings(yaml.safe_load(yaml.safe_dump(record)))
    assert again.identity() == settings.identity()


@fuzz(torn(WRITTEN) | torn(DUMPED) | st.sampled_from(ODD_YAML) | TEXTS, times=4)
def test_any_file_of_settings(tmp_path: Path, text: str):
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    settings = unless_refused(lambda: make_settings({}, path))
    if settings is not None:
        check(settings)


@fuzz(st.binary(max_size=30))
def test_any_bytes(tmp_path: Path, content: bytes):
    (tmp_path / "settings.yaml").write_bytes(content)
    unless_refused(lambda: make_settings({}, tmp_path / "settings.yaml"))


@fuzz(st.dictionaries(NAMES, VALUES, max_size=3), times=3)
def test_any_keywords(fields: dict[str, Any]):
    settings = unless_refused(lambda: make_settings(fields))
    if settings is not None:
        check(settings)
