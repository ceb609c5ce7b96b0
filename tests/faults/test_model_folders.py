"""Damaged and hostile model folders: the numbers of the whole one, or one clear line; nothing of a folder is run.

A few cases of each kind are tried in ``make test``, a quarter of them with SAEATTR_FAULTS=all (``make faults``), and
every one with SAEATTR_FAULTS=each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import model_damage
from tests.faults.chosen import SHARE, some
from tests.faults.damage import Damage
from tests.faults.folders import FAMILIES, whole_model
from tests.faults.opening import open_model
from tests.faults.opponent import BAD, Found, counted, open_limited, told
from tests.faults.reading import SAME, open_both

Cases = Iterator[tuple[str, Damage]]
#: Of each kind of damage: the families it is done to, the cases, and how many of them are tried in ``make test``.
KINDS: dict[str, tuple[tuple[str, ...], Callable[[str, dict[str, Any], dict[str, Any]], Cases], int]] = {
    "weights": (
        FAMILIES if SHARE else ("gemma2", "gpt2"),
        lambda family, config, tokenizer: model_damage.weights_cases(family),
        1,
    ),
    "configuration": (
        ("gemma2", "llama", "gpt2") if SHARE else ("gemma2",),
        lambda family, config, tokenizer: model_damage.config_cases(family, config),
        2,
    ),
    "shards": (("llama",), lambda family, config, tokenizer: model_damage.index_cases(), 2),
    "templates": (("llama",), lambda family, config, tokenizer: model_damage.template_cases(), 2),
    "tokenizer": (("llama",), lambda family, config, tokenizer: model_damage.tokenizer_cases(tokenizer), 2),
    "places": (("gemma2",), lambda family, config, tokenizer: model_damage.place_cases(), 2),
}
#: What a configuration or a tokenizer says is its own word, however odd: there transformers' own numbers count too.
OWN_WORD = ("configuration", "tokenizer")


@pytest.mark.parametrize(("kind", "family"), [(kind, family) for kind in KINDS for family in KINDS[kind][0]])
def test_a_damaged_model_folder_is_refused_in_one_line_or_read_rightly(
    kind: str, family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = tmp_path / "whole" / family
    config = whole_model(family, whole)
    tokenizer = json.loads((whole / "tokenizer.json").read_text(encoding="utf-8"))
    numbers = open_limited(open_model, whole, "").said
    assert "no finite" not in numbers
    found: dict[str, Found] = {}
    cases = list(KINDS[kind][1](family, config, tokenizer))
    for name, damage in some(cases, KINDS[kind][2], f"{kind} {family}", len(cases) // 4):
        folder = tmp_path / "damaged" / family
        shutil.copytree(whole, folder)
        damage(folder)
        found[name] = _became(folder, numbers, own_word=kind in OWN_WORD)
        shutil.rmtree(folder.parent)
    told(request, f"model {kind}", {f"{family}: {name}": one for name, one in found.items()})
    bad = {name: one for name, one in found.items() if one.kind in BAD}
    assert not bad, f"{counted(found.values())}: {bad}"


def _became(folder: Path, numbers: str, own_word: bool) -> Found:
    found = open_limited(open_model, folder, numbers)
    if list(folder.rglob("mark")):
        return Found("wrong", f"its code was run; {found.said}")
    if found.kind != "wrong" or not own_word or "no finite" in found.said:
        return found
    return open_limited(open_both, folder, SAME)
