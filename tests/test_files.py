from __future__ import annotations

import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr import UserError
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.files import (
    check_ordinary,
    join_parts,
    read_metadata,
    read_table,
    replacing,
    slug,
    write_part,
    write_table,
    write_text,
)
from saeattr.study.folder import StudyFolder, remove_leftovers
from saeattr.tables import FEATURES

OLD = pd.DataFrame({"feature": [1, 2]})
NEW = pd.DataFrame({"feature": [3, 4, 5]})
#: Arrow has no column for it, so writing it fails.
IMPOSSIBLE = pd.DataFrame({"feature": [1, "two", object()]})


TEXTS = [column.name for column in FEATURES.columns if column.type == "text"]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_table_that_is_interrupted_in_mid_write_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "t.parquet", OLD)

    def half(table: Any, where: Any, **settings: Any) -> None:
        Path(where).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", half)
    for name in ("t.parquet", "new.parquet"):
        with pytest.raises(KeyboardInterrupt):
            write_table(tmp_path / name, NEW)
    assert names(tmp_path) == ["t.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), OLD)


def test_a_text_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "old")

    def interrupted() -> Iterator[str]:
        with replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            yield path.read_text(encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assert list(interrupted()) == ["old"]
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["plan.json"]
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"


KILLED = """
import os, sys
from pathlib import Path
import pandas as pd, pyarrow.parquet as pq
from saeattr.files import write_part, write_table
table = pd.DataFrame({"feature": [3, 4, 5]})
def half(arrow, where, **settings):
    Path(where).write_bytes(b"half")
    os._exit(9)
pq.write_table = half
if sys.argv[2] == "table":
    write_table(Path(sys.argv[1]) / "features.parquet", table)
else:
    write_part(Path(sys.argv[1]) / "attribution" / "rivers", {"features": table})
"""


@pytest.mark.parametrize("what", ["table", "part"])
def test_a_killed_run_leaves_nothing_half_under_its_real_name(tmp_path: Path, what: str) -> None:
    write_table(tmp_path / "features.parquet", OLD)
    write_part(tmp_path / "attribution" / "cities", {"features": OLD})
    before = names(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), what], check=False)
    assert done.returncode == 9
    assert not (tmp_path / "attribution" / "rivers").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "features.parquet"), OLD)
    assert names(tmp_path) != before
    remove_leftovers(StudyFolder(tmp_path))
    assert names(tmp_path) == before


def test_a_groups_tables_appear_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "attribution" / "cities"
    for _ in range(2):
        with pytest.raises(Exception, match="feature"):
            write_part(folder, {"features": NEW, "attributions": IMPOSSIBLE})
        assert not folder.exists()
        assert list(folder.parent.iterdir()) == []
    write_part(folder, {"features": OLD, "attributions": OLD})
    with pytest.raises(Exception, match="feature"):
        write_part(folder, {"features": NEW, "attributions": IMPOSSIBLE})
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "features.parquet"), OLD)
    write_part(folder, {"features": NEW})
    assert names(folder) == ["SHA256SUMS", "features.parquet"]


def test_a_joined_table_is_the_old_one_until_every_part_is_in_it(tmp_path: Path) -> None:
    parts = [tmp_path / "attribution" / name for name in ("cities", "rivers")]
    write_part(parts[0], {"features": NEW})
    write_part(parts[1], {"other": NEW})
    path = tmp_path / "features.parquet"
    write_table(path, OLD)
    before = names(tmp_path)
    with pytest.raises(UserError, match="rivers/features.parquet does not exist"):
        join_parts(path, parts, {})
    pd.testing.assert_frame_equal(pd.read_parquet(path), OLD)
    assert names(tmp_path) == before
    write_part(parts[1], {"features": OLD})
    join_parts(path, parts, {})
    assert pd.read_parquet(path)["feature"].tolist() == [3, 4, 5, 1, 2]


def test_parts_without_rows_are_joined_with_those_that_have_some(tmp_path: Path) -> None:
    parts = [tmp_path / "attribution" / name for name in ("a", "b", "c")]
    without = FEATURES.empty()
    some = pd.DataFrame({name: [1] for name in FEATURES.names}).astype(dict.fromkeys(TEXTS, "str"))
    some = FEATURES.frame(some)
    path = tmp_path / "features.parquet"
    for tables in ((without, some, without), (without, without, without), (some, without, some)):
        for part, table in zip(parts, tables, strict=True):
            write_part(part, {"features": table})
        join_parts(path, parts, {"known": "yes"}, FEATURES)
        assert len(read_table(path, FEATURES)) == sum(map(len, tables))
        assert read_metadata(path)["known"] == "yes"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "is not a readable Parquet file: make it again"),
        (
            lambda path: write_table(path, FEATURES.empty().drop(columns="rank")),
            "has no column 'rank': it is of another",
        ),
        (
            lambda path: write_table(path, FEATURES.empty().astype({"rank": "float64"})),
            "has the column 'rank' as double, and int32 belongs there: it is of another",
        ),
    ],
)
def test_a_file_that_is_not_the_table_is_named_in_one_line(tmp_path: Path, spoil: Any, said: str) -> None:
    part = tmp_path / "attribution" / "cities"
    write_part(part, {"features": FEATURES.empty()})
    path = part / "features.parquet"
    assert read_table(path, FEATURES).empty
    (part / "SHA256SUMS").unlink()
    spoil(path)
    reads = [
        lambda: read_table(path, FEATURES),
        lambda: join_parts(tmp_path / "features.parquet", [part], {}, FEATURES),
    ]
    for read in reads:
        with pytest.raises(UserError) as refusal:
            read()
        assert str(refusal.value).startswith(f"{path} {said}")
        assert "make it again" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "features.parquet").exists()


def test_a_truncated_file_has_no_metadata_to_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert read_metadata(path) == {}
    write_table(path, OLD, {"wanted": "this"})
    assert read_metadata(path)["wanted"] == "this"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="is not a readable Parquet file: make it again"):
        read_metadata(path)


def test_a_file_that_is_not_there_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="t.parquet does not exist: run saeattr attribute into this folder first"):
        read_table(tmp_path / "t.parquet")


def test_some_columns_are_read_where_the_others_are_not_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, FEATURES.empty().drop(columns="rank"))
    assert list(read_table(path, FEATURES, ["feature", "kind"]).columns) == ["feature", "kind"]
    with pytest.raises(UserError, match="has no column 'rank'"):
        read_table(path, FEATURES, ["feature", "rank"])


def test_a_name_in_small_letters_is_its_own_slug_and_any_other_has_a_mark_of_its_own() -> None:
    plain = [topic for topic in TOPICS if topic == topic.lower()]
    assert len(plain) == len(TOPICS) - 1
    assert [slug(topic) for topic in plain] == [topic.replace(" ", "-") for topic in plain]
    assert slug("TV shows").startswith("tv-shows_")


def test_topics_that_look_alike_have_different_slugs() -> None:
    alike = ["TV shows", "tv shows", "tv-shows", "c", "C", "C++", "C#", "con", "", "日本", "中国", "x" * 61, "x" * 62]
    # A topic made to look like another one's slug with its hash.
    alike.append(slug("C++").replace("_", " "))
    assert len({slug(topic) for topic in alike}) == len(alike)


SIMILAR = st.text(alphabet="aAbB -_+é" + string.digits[:2], max_size=12)


@given(st.lists(st.one_of(SIMILAR, st.text(max_size=90), st.sampled_from(TOPICS)), unique=True, max_size=20))
def test_slugs_are_file_names_and_tell_topics_apart(topics: list[str]) -> None:
    slugs = [slug(topic) for topic in topics]
    assert len(set(slugs)) == len(slugs)
    allowed = set(string.ascii_lowercase + string.digits + "-_")
    assert all(0 < len(one) <= 80 and set(one) <= allowed for one in slugs)


def test_a_pipe_anywhere_in_a_folder_is_refused_and_links_to_nothing_are_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "to-nothing").symlink_to("nothing")
    (tmp_path / "a" / "to-itself").symlink_to("to-itself")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    check_ordinary(tmp_path)
    os.mkfifo(tmp_path / "a" / "b" / "pipe")
    with pytest.raises(UserError, match="b/pipe is no ordinary file"):
        check_ordinary(tmp_path)
