"""More lists into the same study end with the tables that as many at once would have given, whatever stops between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import saeattr
from saeattr import UserError
from saeattr.study import growing
from saeattr.study.results import Study, load_study
from tests.study.test_resuming import leftovers, stop_at, tables

SMALL: dict[str, Any] = {
    **{"max_new_tokens": 20, "sites": ["resid_post.2"], "validate_top": 2, "curves": False},
    **{"figures": False, "device": "cpu"},
}
TOPICS = ["cities", "rivers"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two lists of each topic."""
    return saeattr.attribute(TOPICS, lists=2, out=tmp_path_factory.mktemp("small") / "s", **SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Five at once."""
    return saeattr.attribute(TOPICS, lists=5, out=tmp_path_factory.mktemp("large") / "s", **SMALL)


@pytest.fixture
def copy(small: Study, tmp_path: Path) -> Path:
    shutil.copytree(small.folder.root, tmp_path / "copy")
    return tmp_path / "copy"


def settings_and_groups(root: Path) -> tuple[Any, ...]:
    record = yaml.safe_load((root / "study.yaml").read_text())
    return record["settings"], record["groups"], record["metric_label"], record.get("growing")


def test_more_lists_of_one_topic_give_every_topic_the_tables_of_as_many_at_once(
    small: Study, large: Study, copy: Path
) -> None:
    grown = saeattr.attribute("rivers", lists=5, out=copy, **SMALL)
    assert grown.groups == ("cities", "rivers")
    assert tables(copy) == tables(large.folder.root)
    assert settings_and_groups(copy) == settings_and_groups(large.folder.root)
    assert any("held 2 lists of each group and grows to 5" in line for line in grown.warnings)
    assert leftovers(copy) == []


def test_the_lists_that_were_there_are_kept_and_not_sampled_again(small: Study, copy: Path) -> None:
    counted: dict[str, int] = {}

    def count(group: str, stage: str, done: int, total: int) -> None:
        if stage == "sampling lists":
            counted[group] = total

    saeattr.attribute(lists=5, out=copy, on_progress=count, **SMALL)
    assert counted == {"cities": 3, "rivers": 3}
    for folder in ("lists", "test_lists"):
        for topic in TOPICS:
            before, after = (pd.read_parquet(root / folder / f"{topic}.parquet") for root in (small.folder.root, copy))
            pd.testing.assert_frame_equal(after.head(2), before)


def test_a_second_call_after_growing_has_nothing_to_do(copy: Path) -> None:
    saeattr.attribute("cities", lists=3, out=copy, **SMALL)
    steps: set[str] = set()
    again = saeattr.attribute(TOPICS, lists=3, out=copy, on_progress=lambda group, stage, *_: steps.add(stage), **SMALL)
    assert steps == {"already done"}
    assert not any("grows" in line for line in again.warnings)


def test_fewer_lists_than_there_are_are_refused_in_a_line_and_nothing_changes(copy: Path) -> None:
    before = tables(copy)
    with pytest.raises(UserError, match=r"holds 2 lists of each group and 1 are asked for: give --lists 2 or more, or"):
        saeattr.attribute("rivers", lists=1, out=copy, **SMALL)
    assert tables(copy) == before


def test_more_lists_and_another_setting_are_another_study(copy: Path) -> None:
    before = tables(copy)
    with pytest.raises(UserError, match=r"settings\.base is 'corrupted' there and 'zero' here"):
        saeattr.attribute("rivers", lists=5, base="zero", out=copy, **SMALL)
    assert tables(copy) == before


def test_stopped_before_the_record_is_written_it_is_the_small_study_with_work_to_do(
    small: Study, large: Study, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(growing, "write_record", stop)
        with pytest.raises(KeyboardInterrupt):
            saeattr.attribute("rivers", lists=5, out=copy, **SMALL)
    assert load_study(copy).features().empty
    saeattr.attribute(TOPICS, lists=2, out=copy, **SMALL)
    assert tables(copy) == tables(small.folder.root)
    saeattr.attribute("rivers", lists=5, out=copy, **SMALL)
    assert tables(copy) == tables(large.folder.root)


@pytest.mark.parametrize(("stage", "group"), [("sampling lists", "cities"), ("attribution", "all groups")])
def test_stopped_while_it_grows_it_goes_on_with_all_topics_whichever_is_asked_for(
    large: Study, copy: Path, stage: str, group: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        saeattr.attribute("cities", lists=5, out=copy, on_progress=stop_at(stage, 1, group), **SMALL)
    with pytest.raises(UserError, match="holds 5 lists"):
        saeattr.attribute("cities", lists=2, out=copy, **SMALL)
    saeattr.attribute("rivers", lists=5, out=copy, **SMALL)
    assert tables(copy) == tables(large.folder.root)


def test_what_other_commands_made_of_fewer_lists_is_gone_and_named(copy: Path) -> None:
    saeattr.entropy(TOPICS, lists=2, out=copy, **{key: SMALL[key] for key in ("max_new_tokens", "figures", "device")})
    assert not load_study(copy).entropy().empty
    grown = saeattr.attribute("cities", lists=3, out=copy, **SMALL)
    assert grown.entropy().empty
    assert "what was made of 2 lists is gone, and its own command makes it again: entropy" in grown.warnings
