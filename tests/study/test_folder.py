"""No study goes on as another one, and what a folder is not is said in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import saeattr
from saeattr import UserError, bundle
from saeattr.digests import file_sha256
from saeattr.study.folder import FORMAT, StudyFolder, open_study, read_record, write_record
from saeattr.study.results import load_study

SMALL: dict[str, Any] = {"lists": 2, "sites": ["resid_post.2"], "figures": False, "device": "cpu", "validate_top": 0}


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
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


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
    study = StudyFolder(own / "s")
    record = read_record(study)
    fewer = {name: value for name, value in record["settings"].items() if name not in ("decision", "base")}
    write_record(study, {**record, "settings": fewer})
    try:
        message = refusal(own)
    finally:
        write_record(study, record)
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
    before = load_study(own / "s").features()
    attribute_own(own, batch_size=1, vram="4GiB", max_sites=3)
    pd.testing.assert_frame_equal(load_study(own / "s").features(), before)


RECORD: dict[str, Any] = {"format": FORMAT, "settings": {"lists": 3}, "groups": [], "versions": {"torch": "1"}}


def test_a_folder_is_made_with_its_record_and_opened_again(tmp_path: Path) -> None:
    study = open_study(tmp_path / "a" / "b", RECORD)
    assert read_record(study) == RECORD
    # Groups are added and libraries updated in the life of a study.
    later = {**RECORD, "groups": ["cities"], "versions": {"torch": "2"}}
    assert open_study(tmp_path / "a" / "b", later) == study
    assert read_record(study) == RECORD


def test_a_study_with_another_setting_is_refused_and_the_setting_named(tmp_path: Path) -> None:
    open_study(tmp_path / "s", RECORD)
    with pytest.raises(UserError, match=r"settings.lists is 3 there and 4 here\): give the same settings.*--out"):
        open_study(tmp_path / "s", {**RECORD, "settings": {"lists": 4}})


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_there_and_no_study_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s" if what == "file" else tmp_path / "s" / "thesis.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists and is not a study folder: give another folder with --out"):
        open_study(tmp_path / "s", RECORD)
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_folder_without_a_record_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a study folder: it has no study.yaml"):
        load_study(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "just words", "format: 99\ngroups: []\n", "", "\x00"])
def test_a_record_that_is_none_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="study.yaml") as refusal:
        read_record(StudyFolder(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_study_of_the_first_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Its tables are named by topics and lists, and would be read as empty ones."""
    old = {"format": 1, "settings": {"lists": 3, "metric": "end-vs-continue"}, "topics": ["cities"]}
    write_record(StudyFolder(tmp_path), old)
    calls: list[Any] = [
        lambda: load_study(tmp_path),
        lambda: saeattr.attribute("cities", out=tmp_path, **SMALL),
        lambda: saeattr.validate(tmp_path, figures=False, device="cpu"),
        lambda: saeattr.report(tmp_path, model=False),
        lambda: saeattr.overlap([tmp_path]),
    ]
    for call in calls:
        with pytest.raises(UserError) as refusal:
            call()
        assert str(refusal.value) == (
            f"{tmp_path / 'study.yaml'} is of format 1, which an earlier version wrote, and this one reads format "
            f"{FORMAT}: make the study again with another --out"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SHA256SUMS", "study.yaml"]
