"""The study folder on disk: files whole or not at all, and no study that goes on as another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from saeattr.files import join_parts, replacing, write_part, write_table, write_text
from safetensors.torch import load_file, save_file

import saeattr
from saeattr import UserError, bundle
from saeattr.study.folder import StudyFolder, remove_leftovers

OLD = pd.DataFrame({"feature": [1, 2]})
NEW = pd.DataFrame({"feature": [3, 4, 5]})
#: Arrow has no column for it, so writing it fails.
IMPOSSIBLE = pd.DataFrame({"feature": [1, "two", object()]})

SMALL: dict[str, Any] = {"lists": 2, "sites": ["resid_post.2"], "figures": False, "device": "cpu", "validate_top": 0}


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
    write_part(Path(sys.argv[1]) / "groups" / "rivers", {"features": table})
"""


@pytest.mark.parametrize("what", ["table", "part"])
def test_a_killed_run_leaves_nothing_half_under_its_real_name(tmp_path: Path, what: str) -> None:
    write_table(tmp_path / "features.parquet", OLD)
    write_part(tmp_path / "groups" / "cities", {"features": OLD})
    before = names(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), what], check=False)
    assert done.returncode == 9
    assert not (tmp_path / "groups" / "rivers").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "features.parquet"), OLD)
    assert names(tmp_path) != before
    remove_leftovers(StudyFolder(tmp_path))
    assert names(tmp_path) == before


def test_a_groups_tables_appear_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "groups" / "cities"
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
    assert names(folder) == ["features.parquet"]


def test_a_joined_table_is_the_old_one_until_every_part_is_in_it(tmp_path: Path) -> None:
    parts = [tmp_path / "groups" / name for name in ("cities", "rivers")]
    write_part(parts[0], {"features": NEW})
    write_part(parts[1], {"other": NEW})
    path = tmp_path / "features.parquet"
    write_table(path, OLD)
    before = names(tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        join_parts(path, parts, {})
    pd.testing.assert_frame_equal(pd.read_parquet(path), OLD)
    assert names(tmp_path) == before
    write_part(parts[1], {"features": OLD})
    join_parts(path, parts, {})
    assert pd.read_parquet(path)["feature"].tolist() == [3, 4, 5, 1, 2]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in ``s`` of a model and an SAE in folders beside it."""
    root = tmp_path_factory.mktemp("own")
    shutil.copytree(bundle.MODEL_FOLDER, root / "model")
    shutil.copytree(bundle.SAES_FOLDER / "resid_post.2", root / "saes" / "resid_post.2")
    attribute_own(root)
    return root


def attribute_own(root: Path, **settings: Any) -> None:
    arguments = {**SMALL, "model": str(root / "model"), "saes": str(root / "saes"), **settings}
    saeattr.attribute("cities", out=root / "s", **arguments)


def checksums(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): bundle.file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def refusal(root: Path, **settings: Any) -> str:
    """The one line of a refusal that leaves the study as it is."""
    before = checksums(root / "s")
    with pytest.raises(UserError) as refused:
        attribute_own(root, **settings)
    assert checksums(root / "s") == before
    message = str(refused.value)
    assert "\n" not in message
    assert "another folder with --out" in message
    return message


def test_settings_that_an_older_record_does_not_have_are_refused(own: Path) -> None:
    path = own / "s" / "study.yaml"
    text = path.read_text(encoding="utf-8")
    record = yaml.safe_load(text)
    del record["settings"]["decision"], record["settings"]["base"]
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    try:
        message = refusal(own)
    finally:
        path.write_text(text, encoding="utf-8")
    assert "settings.decision is None there and 'last' here" in message
    assert "settings.base is None there and 'corrupted' here" in message


@pytest.mark.parametrize(
    ("file", "tensor", "named"),
    [
        ("model/model.safetensors", "model.norm.weight", "model.sha256 is "),
        ("saes/resid_post.2/sae_weights.safetensors", "b_dec", "saes.resid_post.2 is "),
    ],
)
def test_other_weights_are_refused_and_named(own: Path, file: str, tensor: str, named: str) -> None:
    path = own / file
    old = path.read_bytes()
    tensors = load_file(path)
    save_file({**tensors, tensor: tensors[tensor] * 1.01}, path, metadata={"format": "pt"})
    try:
        message = refusal(own)
    finally:
        path.write_bytes(old)
    assert named in message
    assert message.count(" there and ") == 1


def test_settings_that_change_no_number_are_not_refused(own: Path) -> None:
    attribute_own(own, batch_size=1, vram="4GiB", max_sites=3)
