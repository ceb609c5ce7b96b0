"""Several groups at once: every SAE is opened once for all of them, and each group's tables are those it has alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saeattr
from saeattr.study import site_parts
from saeattr.study.results import Study

GROUPS = ["cities", "rivers", "animals"]
SITES = ["attn_z.1", "resid_post.2", "mlp_out.3"]
ASKED: dict[str, Any] = {"lists": 3, "max_new_tokens": 30, "sites": SITES, "figures": False, "device": "cpu"}


def close(ours: pd.DataFrame, theirs: pd.DataFrame, group: str) -> None:
    """A group's rows; q-values and verdicts answer for all groups of a study."""
    both = [table[table["group"] == group].reset_index(drop=True) for table in (ours, theirs)]
    kept = [one.drop(columns=["q_value", "verdict"], errors="ignore") for one in both]
    pd.testing.assert_frame_equal(*kept, rtol=1e-3, atol=1e-4)


def test_attributing_many_groups_opens_every_sae_once(tmp_path: Path, opened: Counter[str]) -> None:
    study = saeattr.attribute(GROUPS, out=tmp_path / "s", validate_top=0, **ASKED)
    assert opened == dict.fromkeys(SITES, 1)
    assert set(study.features()["group"]) == set(GROUPS)


def test_the_tests_of_many_groups_open_every_sae_once_for_each_kind_of_pairs(
    tmp_path: Path, opened: Counter[str]
) -> None:
    """In the pairs that ranked, and in those that test; curves, which are drawn group by group, are left out."""
    study = saeattr.attribute(GROUPS, out=tmp_path / "s", validate_top=0, **ASKED)
    opened.clear()
    found = saeattr.validate(study, top=6, curves=False, figures=False, device="cpu").validation()
    tested = {f"{kind}.{layer}" for kind, layer in zip(found["kind"], found["layer"], strict=True)}
    assert len(tested) > 1
    assert found["group"].nunique() == 3
    assert opened == dict.fromkeys(tested, 2)


def test_each_group_of_many_has_the_tables_that_it_has_alone(tmp_path: Path) -> None:
    together = saeattr.attribute(GROUPS, out=tmp_path / "together", validate_top=4, **ASKED)
    for group in GROUPS:
        alone = saeattr.attribute(group, out=tmp_path / group, validate_top=4, **ASKED)
        for table in ("features", "attributions", "site_effects", "validation", "curves", "agreement"):
            close(getattr(together, table)(), getattr(alone, table)(), group)


def test_groups_that_are_there_are_left_and_the_others_are_done_together(tmp_path: Path, opened: Counter[str]) -> None:
    first = saeattr.attribute("rivers", out=tmp_path / "s", validate_top=0, **ASKED).features()
    opened.clear()
    study = saeattr.attribute(GROUPS, out=tmp_path / "s", validate_top=0, **ASKED)
    assert opened == dict.fromkeys(SITES, 1)
    pd.testing.assert_frame_equal(study.features("rivers"), first)
    assert study.groups == ("rivers", "cities", "animals")


@pytest.mark.parametrize("stop", ["interrupted", "out of memory"])
def test_what_stopped_among_the_saes_goes_on_behind_those_that_are_done(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """One SAE's work is lost at most; out of memory goes on by itself, with half the batch."""
    monkeypatch.setattr(site_parts, "STORED_AFTER", 0.0)
    whole = saeattr.attribute(GROUPS, out=tmp_path / "whole", validate_top=0, **ASKED)
    opened.clear()
    error = KeyboardInterrupt if stop == "interrupted" else torch.cuda.OutOfMemoryError
    stops = [error]

    def on_progress(subject: str, step: str, done: int, total: int) -> None:
        if (subject, step, done) == ("all groups", "attribution", 2) and stops:
            raise stops.pop()

    def run() -> Study:
        return saeattr.attribute(GROUPS, out=tmp_path / "s", validate_top=0, on_progress=on_progress, **ASKED)

    if stop == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            run()
    study = run()
    # The third was opened ahead, or to be used, when the run stopped.
    assert opened == {SITES[0]: 1, SITES[1]: 1, SITES[2]: 2}
    assert not list((tmp_path / "s").rglob(".*"))
    for group in GROUPS:
        for table in ("features", "attributions", "site_effects"):
            close(getattr(study, table)(), getattr(whole, table)(), group)
