"""A study keeps the rows it was made of: it goes on, is validated and opened again without their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError

SETTINGS: dict[str, Any] = {"sites": ["resid_post.2"], "device": "cpu", "figures": False}
ROWS = [
    {
        **{"clean": f"The capital of {one} is", "corrupted": f"The capital of {other} is"},
        **{"answer": f" {right}", "wrong": f" {wrong}", "note": f"{one}\u2028\x85", "region": region},
    }
    for one, right, other, wrong, region in [
        ("France", "Paris", "Peru", "Lima", "Europe"),
        ("Norway", "Oslo", "Cuba", "Havana", "Europe"),
        ("Egypt", "Cairo", "Kenya", "Nairobi", "Africa"),
    ]
]
BAD = {"clean": "The capital of Peru is", "answer": None, "region": "Africa"}


def test_a_study_of_rows_is_completed_validated_and_opened_without_their_source(tmp_path: Path) -> None:
    file, out = tmp_path / "rows.csv", tmp_path / "study"
    pd.DataFrame([ROWS[0], BAD, *ROWS[1:]]).to_csv(file, index=False)
    columns = ["group=region"]
    study = saeattr.attribute("Europe", pairs=file, columns=columns, out=out, validate_top=0, **SETTINGS)
    assert study.groups == ("Europe",)
    # The row that cannot be used is of the other group.
    assert not [line for line in study.warnings if "cannot be used" in line]
    # The same rows as objects are the same study, to which a group is added.
    rows = [ROWS[0], BAD, *ROWS[1:]]
    study = saeattr.attribute("Africa", pairs=rows, columns=columns, out=out, validate_top=0, **SETTINGS)
    assert study.groups == ("Europe", "Africa")
    (told,) = [line for line in study.warnings if "cannot be used" in line]
    assert told.startswith("Africa: 1 of 2 rows cannot be used; row 2: there is no answer: ")
    file.unlink()
    study = saeattr.validate(out, top=2, curves=False, controls=19, figures=False, device="cpu")
    assert set(study.validation()["group"]) == {"Europe"}
    kept = saeattr.load_study(out).given()
    assert list(kept["note"]) == [row["note"] for row in ROWS]
    joined = study.pairs().merge(kept, on=["group", "pair_id"], suffixes=("", "_given"))
    assert len(joined) == 3


def test_other_rows_are_another_study(tmp_path: Path) -> None:
    out = tmp_path / "study"
    saeattr.attribute(pairs=ROWS, out=out, validate_top=0, **SETTINGS)
    with pytest.raises(UserError, match="holds a study with other settings"):
        saeattr.attribute(pairs=ROWS[:2], out=out, validate_top=0, **SETTINGS)


def test_rows_with_and_without_a_corrupted_prompt_run_together_where_none_is_needed(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "corrupted": None}]
    study = saeattr.attribute(pairs=rows, base="zero", out=tmp_path / "zero", validate_top=0, **SETTINGS)
    assert set(study.attributions()["pair_id"]) == {"00001", "00002"}
    study = saeattr.attribute(pairs=rows, out=tmp_path / "corrupted", validate_top=0, **SETTINGS)
    assert set(study.attributions()["pair_id"]) == {"00001"}
    assert any("row 2: there is no corrupted prompt" in line for line in study.warnings)
