"""The stages of a study together: validating later, generating, and not doing anything twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr.study.results import Study

SMALL = {"lists": 3, "figures": False, "device": "cpu"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("stages") / "s"
    return saeattr.attribute("cities", out=out, sites=["resid_post.4"], validate_top=0, **SMALL)


def test_validating_later_gives_what_attribute_gives_at_once(plain: Study, tmp_path: Path) -> None:
    assert plain.validation().empty
    at_once = saeattr.attribute("cities", out=tmp_path / "s", sites=["resid_post.4"], validate_top=3, **SMALL)
    later = saeattr.validate(plain, top=3, figures=False, device="cpu")
    pd.testing.assert_frame_equal(later.validation(), at_once.validation())
    pd.testing.assert_frame_equal(later.curves("cities"), at_once.curves("cities"))
    assert len(later.validation("cities")) == 3


def test_what_is_validated_is_not_validated_again_and_more_features_are(
    plain: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    saeattr.validate(plain, top=2, curves=False, figures=False, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr("saeattr.study.hands.load_model", None)
        assert len(saeattr.validate(plain, top=2, curves=False, figures=False, device="cpu").validation()) == 2
    assert len(saeattr.validate(plain, top=4, curves=False, figures=False, device="cpu").validation()) == 4


def test_lists_are_generated_without_the_top_features(plain: Study) -> None:
    study = saeattr.validate(
        plain, top=2, curves=False, generate=True, generate_features=2, figures=False, device="cpu"
    )
    table = study.generation("cities")
    assert set(table["condition"]) == {"nothing", "features", "controls", "steering"}
    assert set(table["measure"]) == {"items", "tokens", "repeated", "shannon", "ended"}
    pd.testing.assert_frame_equal(study.generation(), table)
