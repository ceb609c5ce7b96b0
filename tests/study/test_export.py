"""The same numbers through a file of pairs as through the behaviour that the pairs come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saeattr
from saeattr import UserError
from saeattr.study.results import Study

SETTINGS: dict[str, Any] = {
    **{"sites": ["resid_post.2", "mlp_out.3"], "device": "cpu"},
    **{"figures": False, "validate_top": 0},
}


def both(tmp_path: Path, **own: Any) -> tuple[Study, Study]:
    """A behaviour's study, and one of its pairs exported and read back."""
    built_in = saeattr.attribute(**own, out=tmp_path / "own", **SETTINGS)
    found = built_in.export_pairs(tmp_path / "pairs.jsonl")
    assert found.rows
    assert not found.faults
    return built_in, saeattr.attribute(pairs=tmp_path / "pairs.jsonl", out=tmp_path / "file", **SETTINGS)


def check_same(built_in: Study, read: Study) -> None:
    for name in ("attributions", "features"):
        one, other = (getattr(study, name)() for study in (built_in, read))
        assert list(one.columns) == list(other.columns)
        assert len(one) == len(other) > 100
        for column in one.columns:
            # Roles are the behaviour's own words.
            if column in ("role", "top_role"):
                continue
            if one[column].dtype.kind == "f":
                np.testing.assert_allclose(one[column], other[column], atol=1e-6, rtol=0, err_msg=column)
            else:
                assert list(one[column]) == list(other[column]), column


def test_facts_through_a_file_give_the_same_numbers_bit_by_bit(tmp_path: Path) -> None:
    built_in, read = both(tmp_path, behaviour="facts", group="capitals")
    check_same(built_in, read)
    assert (built_in.attributions()["effect"] == read.attributions()["effect"]).all()
    assert read.record["source"] == "pairs.jsonl"


def test_lists_through_a_file_give_the_same_numbers(tmp_path: Path) -> None:
    # At a low temperature some lists are drawn twice, and weigh as much in the file.
    built_in, read = both(tmp_path, group="cities", n_pairs=8, temperature=0.1, seed=3)
    assert built_in.pairs()["times"].max() > 1
    assert list(read.pairs()["times"]) == list(built_in.pairs()["times"])
    check_same(built_in, read)


def test_a_file_of_another_kind_is_not_written(tmp_path: Path) -> None:
    study = saeattr.attribute(behaviour="facts", group="planets", out=tmp_path / "own", **SETTINGS)
    with pytest.raises(UserError, match=r"pairs.csv cannot be written: pairs are exported as JSON lines"):
        study.export_pairs(tmp_path / "pairs.csv")
