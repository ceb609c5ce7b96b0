"""What every stage has in common, asked of one that does next to nothing, and of those there are."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow.parquet as pq
import pytest

from saeattr import UserError
from saeattr.files import read_metadata, slug, write_part, write_table
from saeattr.study.folder import FORMAT, StudyFolder, write_record
from saeattr.study.run import STAGES
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import GROUP, TABLES, Column, Table

NUMBERS = Table(
    "numbers", "one number", (Column("group", "text", "its group"), Column("number", "int64", "the number"))
)
KEPT = Table("kept", "one more", (Column("number", "int64", "the number"),))
TABLES_HERE = {"numbers": NUMBERS, "kept": KEPT}


@dataclass(frozen=True)
class Counting(Stage):
    """Numbers from 0 on."""

    upto: int = 2

    name: ClassVar[str] = "counting"
    joined: ClassVar[tuple[Table, ...]] = (NUMBERS,)
    kept: ClassVar[tuple[Table, ...]] = (KEPT,)

    def run(self, work: Work) -> Outcome:
        raise AssertionError("not needed here")


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def numbers(stage: Counting, group: str) -> Outcome:
    table = pd.DataFrame({"number": range(stage.upto), "group": group, "other": 0.5})
    return Outcome({"numbers": table, "kept": table}, notes={"why": f"because of {group}"})


def write(study: StudyFolder, group: str, upto: int = 2) -> None:
    stage = Counting(upto)
    stage.write(study, group, numbers(stage, group))


def rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(table.itertuples(index=False, name=None))


def test_a_part_lies_in_its_stages_folder_under_its_groups_slug(study: StudyFolder) -> None:
    assert not Counting.is_there(study, "TV shows")
    write(study, "TV shows")
    assert Counting.is_there(study, "TV shows")
    folder = Counting.folder(study, "TV shows")
    assert folder == study.root / "counting" / slug("TV shows")
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "kept.parquet", "numbers.parquet"]


def test_it_is_done_when_it_was_wanted_in_the_same_way(study: StudyFolder) -> None:
    assert not Counting(2).is_done(study, "cities")
    write(study, "cities")
    assert Counting(2).is_done(study, "cities")
    assert not Counting(3).is_done(study, "cities")
    assert not Counting(2).is_done(study, "rivers")
    write(study, "cities", 3)
    assert Counting(3).is_done(study, "cities")
    assert not Counting(2).is_done(study, "cities")


@pytest.mark.parametrize("name", ["numbers", "kept"])
def test_it_is_not_done_once_one_of_its_tables_is_gone(study: StudyFolder, name: str) -> None:
    write(study, "cities")
    (Counting.folder(study, "cities") / f"{name}.parquet").unlink()
    assert not Counting(2).is_done(study, "cities")


def test_only_the_tables_columns_are_stored_with_the_notes(study: StudyFolder) -> None:
    write(study, "cities")
    path = Counting.folder(study, "cities") / "numbers.parquet"
    assert list(pd.read_parquet(path).columns) == ["group", "number"]
    assert read_metadata(path)["why"] == "because of cities"


def test_nothing_to_keep_leaves_no_part(study: StudyFolder) -> None:
    Counting(2).write(study, "cities", Outcome(warnings=["nothing"]))
    assert not Counting.is_there(study, "cities")
    Counting.join(study, ["cities"])
    assert list(study.root.iterdir()) == []


def test_an_outcome_without_one_of_its_tables_is_not_stored(study: StudyFolder) -> None:
    with pytest.raises(KeyError, match="kept"):
        Counting(2).write(study, "cities", Outcome({"numbers": numbers(Counting(2), "cities").tables["numbers"]}))
    assert not Counting.is_there(study, "cities")


def test_a_crash_while_the_second_table_is_written_leaves_the_former_part(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(study, "cities", 2)
    real = pq.write_table

    def crash(arrow: Any, where: Any, **settings: Any) -> None:
        if "kept" in str(where):
            Path(where).write_bytes(b"half")
            raise KeyboardInterrupt
        real(arrow, where, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", crash)
        for group in ("cities", "rivers"):
            with pytest.raises(KeyboardInterrupt):
                write(study, group, 5)
    assert Counting(2).is_done(study, "cities")
    assert rows(Counting.read(study, NUMBERS, "cities")) == [("cities", 0), ("cities", 1)]
    assert rows(Counting.read(study, KEPT, "cities")) == [(0,), (1,)]
    assert not Counting.is_there(study, "rivers")
    assert [path.name for path in (study.root / "counting").iterdir()] == ["cities"]


def test_groups_are_joined_in_the_order_asked_for_and_kept_tables_are_not(study: StudyFolder) -> None:
    for group, upto in (("cities", 2), ("rivers", 1)):
        write(study, group, upto)
    Counting.join(study, ["rivers", "lakes", "cities"])
    assert rows(Counting.read(study, NUMBERS)) == [("rivers", 0), ("cities", 0), ("cities", 1)]
    assert json.loads(read_metadata(study.table_path("numbers"))["saeattr.groups"]) == ["rivers", "cities"]
    assert "patched from its clean to its base" in read_metadata(study.table_path("numbers"))["saeattr.sign_convention"]
    assert not study.table_path("kept").exists()


def test_what_is_joined_of_the_same_parts_is_not_written_again_whatever_the_files_times(study: StudyFolder) -> None:
    for group in ("cities", "rivers"):
        write(study, group)
    path = study.table_path("numbers")

    def joined_anew(*groups: str) -> bool:
        before = path.stat().st_ino
        Counting.join(study, groups)
        return path.stat().st_ino != before

    Counting.join(study, ["cities"])
    assert not joined_anew("cities")
    assert joined_anew("cities", "rivers")
    assert not joined_anew("cities", "rivers")
    later = path.stat().st_mtime + 10
    os.utime(Counting.folder(study, "rivers") / "numbers.parquet", (later, later))
    assert not joined_anew("cities", "rivers")
    write(study, "rivers", 5)
    assert joined_anew("cities", "rivers")
    assert len(Counting.read(study, NUMBERS)) == 7


def test_reading_gives_one_group_or_all_or_no_rows(study: StudyFolder) -> None:
    assert Counting.read(study, NUMBERS).empty
    assert list(Counting.read(study, NUMBERS, "cities").columns) == NUMBERS.names
    for group in ("cities", "rivers"):
        write(study, group, 1)
    Counting.join(study, ["cities", "rivers"])
    assert rows(Counting.read(study, NUMBERS, "rivers")) == [("rivers", 0)]
    assert len(Counting.read(study, NUMBERS)) == 2
    assert Counting.read(study, NUMBERS, "lakes").empty


def test_a_group_is_read_from_the_joined_table_where_only_that_was_kept(study: StudyFolder) -> None:
    """As in a folder that someone sent with its joined tables alone."""
    parts = [numbers(Counting(2), group).tables["numbers"] for group in ("cities", "rivers")]
    both = pd.concat([part for part in parts if isinstance(part, pd.DataFrame)])
    write_table(study.table_path("numbers"), NUMBERS.frame(both))
    found = Counting.read(study, NUMBERS, "rivers")
    assert rows(found) == [("rivers", 0), ("rivers", 1)]
    assert found.index.tolist() == [0, 1]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def drop_column(path: Path) -> None:
    write_table(path, pd.read_parquet(path).drop(columns="number"), read_metadata(path))


def change_type(path: Path) -> None:
    write_table(path, pd.read_parquet(path).assign(number="many"), read_metadata(path))


SPOILT = [
    (truncate, "is not a readable Parquet file"),
    (drop_column, "has no column 'number'"),
    (change_type, "and int64 belongs there"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_damaged_part_or_joined_table_is_named_in_one_line(study: StudyFolder, spoil: Any, said: str) -> None:
    """Where sums cannot tell, as in folders that never had any."""
    write(study, "cities")
    Counting.join(study, ["cities"])
    (Counting.folder(study, "cities") / "SHA256SUMS").unlink()
    for path, group in (
        (study.table_path("numbers"), None),
        (Counting.folder(study, "cities") / "numbers.parquet", "cities"),
    ):
        spoil(path)
        with pytest.raises(UserError) as refusal:
            Counting.read(study, NUMBERS, group)
        assert str(refusal.value).startswith(str(path))
        assert said in str(refusal.value)
        assert "\n" not in str(refusal.value)
    study.table_path("numbers").unlink()
    with pytest.raises(UserError, match="cities/numbers.parquet"):
        Counting.join(study, ["cities"])
    assert not study.table_path("numbers").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["numbers", "kept"])
@pytest.mark.parametrize("spoil", [truncate, flip, change_type, Path.unlink])
def test_a_damaged_part_is_not_done_and_named_and_made_again_and_joined(
    study: StudyFolder, spoil: Any, name: str
) -> None:
    write(study, "cities")
    path = Counting.folder(study, "cities") / f"{name}.parquet"
    assert Counting(2).damage(study, "cities") == []
    spoil(path)
    assert not Counting(2).is_done(study, "cities")
    why = "it is missing" if spoil is Path.unlink else "its SHA-256 is not the one in SHA256SUMS"
    assert Counting(2).damage(study, "cities") == [f"counting/cities/{name}.parquet is damaged ({why}): done again"]
    with pytest.raises(UserError, match=f"{name}.parquet is damaged"):
        Counting.read(study, TABLES_HERE[name], "cities")
    write(study, "cities")
    assert Counting(2).is_done(study, "cities")
    Counting.join(study, ["cities"])
    assert len(Counting.read(study, NUMBERS)) == 2


def test_a_damaged_joined_table_is_joined_again(study: StudyFolder) -> None:
    """In a study, whose sums lie at its root."""
    write_record(study, {"format": FORMAT, "settings": {}, "model": {"name": "m", "sha256": "x"}, "groups": []})
    path = study.table_path("numbers")
    write(study, "cities", 3)
    Counting.join(study, ["cities"])
    whole = path.read_bytes()
    for spoil in (truncate, flip, Path.unlink):
        spoil(path)
        with pytest.raises(UserError, match="numbers.parquet is damaged"):
            Counting.read(study, NUMBERS)
        Counting.join(study, ["cities"])
        assert path.read_bytes() == whole


def test_a_part_in_another_groups_folder_is_not_taken(study: StudyFolder) -> None:
    for group, upto in (("cities", 2), ("rivers", 2)):
        write(study, group, upto)
    cities, rivers = (Counting.folder(study, group) for group in ("cities", "rivers"))
    cities.rename(study.root / "kept")
    rivers.rename(cities)
    (study.root / "kept").rename(rivers)
    for group in ("cities", "rivers"):
        assert not Counting(2).is_done(study, group)
        assert Counting(2).damage(study, group) == [f"counting/{group} is of another group or study: done again"]
        with pytest.raises(UserError, match="is not what belongs there"):
            Counting.read(study, NUMBERS, group)
    with pytest.raises(UserError, match="is not what belongs there"):
        Counting.join(study, ["cities", "rivers"])


def test_what_is_made_of_pairs_is_done_again_once_they_are_others(study: StudyFolder) -> None:
    pairs = study.root / "pairs" / "cities"
    table = pd.DataFrame({"token": [1]})
    write_part(pairs, {"pairs": table})
    write(study, "cities")
    assert Counting(2).is_done(study, "cities")
    write_part(pairs, {"pairs": table})
    assert Counting(2).is_done(study, "cities")
    write_part(pairs, {"pairs": table + 1})
    assert not Counting(2).is_done(study, "cities")


def test_a_full_disk_is_said_in_one_line(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\): free space") as refusal:
        write(study, "cities")
    assert "\n" not in str(refusal.value)
    assert not Counting.is_there(study, "cities")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_states_tables_of_the_schema_and_what_decides_its_numbers(stage: type[Stage]) -> None:
    assert all(TABLES[table.name] is table for table in (*stage.joined, *stage.kept))
    assert stage.joined
    usual = stage()
    # Several values are a list in JSON; what is long may be told by its SHA-256.
    stated, fields = json.loads(usual.wanted()), json.loads(json.dumps(dataclasses.asdict(usual)))
    assert stated.keys() == fields.keys()
    assert all(re.fullmatch("[0-9a-f]{64}", str(stated[name])) or stated[name] == fields[name] for name in fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        usual.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_no_two_stages_share_a_folder_or_a_table() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    tables = [table.name for stage in STAGES for table in (*stage.joined, *stage.kept)]
    assert len(set(tables)) == len(tables)
    joined = [table for stage in STAGES for table in stage.joined if not stage.of_all and table.name != "layer_scores"]
    assert all(GROUP in table.names for table in joined)
