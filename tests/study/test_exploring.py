"""Stages that open no SAE share a study's folder with those that do, whichever comes first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.api.exploring import explore
from saeattr.progress import quiet
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.prepare import prepare
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables.columns import GROUP_NAME, PAIR_ID
from saeattr.tables.table import Column, Table

LENGTHS = Table(
    "lengths", "one pair", (GROUP_NAME, PAIR_ID, Column("run", "text", "which"), Column("n", "int64", "tokens"))
)
SITES = ["resid_post.3"]


@dataclass(frozen=True)
class Lengths(Stage):
    """Tokens of every pair's prompt in one of its runs."""

    of: str = "clean"

    name: ClassVar[str] = "lengths"
    joined: ClassVar[tuple[Table, ...]] = (LENGTHS,)
    opens_saes: ClassVar[bool] = False
    has_variants: ClassVar[bool] = True

    @property
    def variant(self) -> str:
        return self.of

    def run(self, work: Work) -> Outcome:
        assert not work.task.saes
        rows = [(work.group, pair.pair_id, self.of, len(pair.clean_ids)) for pair in work.task.pairs]
        return Outcome({"lengths": pd.DataFrame(rows, columns=LENGTHS.names)})


@dataclass(frozen=True)
class Together(Stage):
    """Tokens of all groups' clean prompts, counted at once."""

    groups: tuple[str, ...] = ()

    name: ClassVar[str] = "together"
    joined: ClassVar[tuple[Table, ...]] = (LENGTHS,)
    opens_saes: ClassVar[bool] = False
    of_all: ClassVar[bool] = True

    def run(self, work: Work) -> Outcome:
        rows = [(pair.group, pair.pair_id, "all", len(pair.clean_ids)) for pair in work.task.pairs]
        return Outcome({"lengths": pd.DataFrame(rows, columns=LENGTHS.names)})


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    from saeattr.study import run

    monkeypatch.setattr(run, "STAGES", (run.MakingPairs, Lengths, Together, *run.STAGES[1:]))


def lengths(out: Path, *stages: Stage, **settings: Any) -> Study:
    given = {"n_pairs": 3, "device": "cpu", **settings}
    return explore("cities", stages or (Lengths(),), given, out=out, figures=False, on_progress=quiet)


def test_a_study_that_opened_no_sae_is_gone_on_with_by_one_that_does_and_back(tmp_path: Path) -> None:
    out = tmp_path / "study"
    first = lengths(out)
    assert first.groups == ("cities",)
    assert "saes" not in first.record
    assert first.features().empty
    then = saeattr.attribute("cities", lists=3, out=out, sites=SITES, validate_top=0, figures=False, device="cpu")
    assert list(then.record["saes"]) == SITES
    assert len(then.features()) > 0
    assert then.groups == ("cities",)
    before = read_record(StudyFolder(out))
    again = lengths(out, Lengths("corrupted"))
    assert read_record(StudyFolder(out)) == before
    assert set(Lengths.read(again.folder, LENGTHS)["run"]) == {"clean", "corrupted"}


def test_variants_lie_side_by_side_and_each_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = lengths(tmp_path / "study", Lengths(), Lengths("corrupted")).folder
    assert Lengths.folder(study, "cities", "clean").is_dir()
    rows = Lengths.read(study, LENGTHS, "cities")
    assert rows.groupby("run").size().to_dict() == {"clean": 3, "corrupted": 3}
    pd.testing.assert_frame_equal(Lengths.read(study, LENGTHS), rows)
    monkeypatch.setattr(Lengths, "run", lambda *_: pytest.fail("it is done already"))
    lengths(tmp_path / "study", Lengths("corrupted"), Lengths())


def test_a_stage_of_all_groups_works_once_on_all_their_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, given = ("cities", "animals"), {"n_pairs": 3, "device": "cpu"}

    def both(stage: Stage, names: tuple[str, ...] = groups) -> Study:
        return explore(names, [stage], given, out=tmp_path / "study", figures=False, on_progress=quiet)

    study = both(Together(groups))
    assert study.groups == groups
    rows = Together.read(study.folder, LENGTHS)
    assert rows.groupby("group", sort=False).size().to_dict() == {"cities": 3, "animals": 3}
    assert rows["n"].tolist() == [len(ids) for ids in study.pairs()["clean_ids"]]
    assert [path.name for path in (tmp_path / "study" / "together").iterdir()] == ["study"]
    # Of the same groups it is done; of others it is not.
    with monkeypatch.context() as patch:
        patch.setattr(Together, "run", lambda *_: pytest.fail("it is done already"))
        both(Together(groups))
    both(Together(("cities",)), ("cities",))
    assert set(Together.read(study.folder, LENGTHS)["group"]) == {"cities"}


def test_what_needs_no_sae_asks_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saeattr.study import prepare as preparing

    monkeypatch.setattr(preparing, "find_saes", lambda *_, **__: pytest.fail("an SAE was looked for"))
    lengths(tmp_path / "study")


def test_settings_that_both_speak_of_must_agree(tmp_path: Path) -> None:
    lengths(tmp_path / "study")
    with pytest.raises(UserError, match="settings.seed is 0 there and 1 here"):
        saeattr.attribute("cities", lists=3, seed=1, out=tmp_path / "study", sites=SITES, device="cpu")
    with pytest.raises(UserError, match="holds 3 lists of each group and 2 are asked for"):
        lengths(tmp_path / "study", n_pairs=2)


def test_settings_of_saes_are_no_part_of_a_record_without_them() -> None:
    from saeattr.settings import make_settings

    with_saes = prepare(make_settings({"sites": SITES}), weights=False).record["settings"]
    without = prepare(make_settings({}), weights=False, with_saes=False).record["settings"]
    assert set(with_saes) - set(without) == {
        *(
            "saes",
            "sae_width",
            "sae_l0",
            "base",
            "method",
            "ig_steps",
            "check_pairs",
            "keep_from",
            "layers",
            "kinds",
            "sites",
        )
    }
    assert all(without[name] == with_saes[name] for name in without)
