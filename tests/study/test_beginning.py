"""A refusal leaves a folder as it was; a record that stands for no work binds nobody."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import saeattr
from saeattr import UserError, bundle
from saeattr.files import SUMS, remove_stored
from saeattr.study.bare import holds_work
from saeattr.study.folder import StudyFolder, read_record, write_record
from saeattr.study.results import load_study

FEW: dict[str, Any] = {"lists": 2, "device": "cpu", "figures": False}
ATTRIBUTED: dict[str, Any] = {**FEW, "sites": ["resid_post.2"], "validate_top": 0}


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refuse(*_: Any, **__: Any) -> None:
    raise UserError("the weights have NaN")


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [refuse, interrupt])
@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        (saeattr.attribute, ATTRIBUTED),
        (saeattr.run_study, ATTRIBUTED),
        (saeattr.select, {"lists": 2, "device": "cpu"}),
        (saeattr.entropy, FEW),
    ],
)
def test_a_model_that_cannot_be_opened_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Any, settings: dict[str, Any], stop: Any
) -> None:
    monkeypatch.setattr("saeattr.study.hands.load_model", stop)
    with pytest.raises((UserError, KeyboardInterrupt)):
        operation("cities", out=tmp_path / "runs" / "s", **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saeattr.attribute("cities", out=tmp_path_factory.mktemp("done") / "s", **ATTRIBUTED).folder.root


@pytest.mark.parametrize("more", [{"lists": 4}, {"group": "rivers"}, {"method": "ig"}, {"seed": 3}])
def test_a_refusal_leaves_a_study_as_it_was(
    tmp_path: Path, done: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    shutil.copytree(done, tmp_path / "s")
    before = content(tmp_path / "s")
    monkeypatch.setattr("saeattr.study.hands.load_model", refuse)
    with pytest.raises(UserError):
        saeattr.attribute(out=tmp_path / "s", **{**ATTRIBUTED, "group": "cities", **more})
    assert content(tmp_path / "s") == before


def test_lists_of_no_use_stay_to_be_seen_and_bind_nobody(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair about cities can be used"):
        saeattr.attribute("cities", out=tmp_path / "s", max_new_tokens=1, **ATTRIBUTED)
    assert (tmp_path / "s" / "lists" / "cities.parquet").is_file()
    assert not holds_work(StudyFolder(tmp_path / "s"))
    study = saeattr.attribute("cities", out=tmp_path / "s", **ATTRIBUTED)
    assert len(study.lists()[0]["token_ids"]) > 1
    assert study.record["settings"]["max_new_tokens"] == 200


def test_a_record_that_was_left_alone_yields_to_other_settings(tmp_path: Path, done: Path) -> None:
    record = read_record(StudyFolder(done))
    (tmp_path / "s").mkdir()
    write_record(StudyFolder(tmp_path / "s"), {**record, "settings": {**record["settings"], "seed": 5}, "groups": []})
    (tmp_path / "s" / "mine.txt").write_text("mine", encoding="utf-8")
    study = saeattr.attribute("cities", out=tmp_path / "s", **ATTRIBUTED)
    assert study.record["settings"]["seed"] == 0
    assert (tmp_path / "s" / "mine.txt").exists()


def test_lists_that_were_sampled_bind_the_record(tmp_path: Path, done: Path) -> None:
    shutil.copytree(done, tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        if path.name not in ("lists", "study.yaml", SUMS):
            remove_stored(path)
    before = content(tmp_path / "s")
    with pytest.raises(UserError, match="settings.seed is 0 there and 3 here"):
        saeattr.attribute("cities", out=tmp_path / "s", seed=3, **ATTRIBUTED)
    assert content(tmp_path / "s") == before


def test_an_sae_may_be_mended_before_anything_was_computed_with_it(tmp_path: Path) -> None:
    source = bundle.SAES_FOLDER / "resid_post.2"
    shutil.copytree(source, tmp_path / "saes" / "resid_post.2")
    asked: dict[str, Any] = {**ATTRIBUTED, "saes": str(tmp_path / "saes")}
    study = saeattr.attribute("cities", out=tmp_path / "s", **asked)
    before = study.record["saes"]
    path = tmp_path / "saes" / "resid_post.2" / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "b_dec": tensors["b_dec"] * 1.01}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="saes.resid_post.2 is"):
        saeattr.attribute("cities", out=tmp_path / "s", **asked)
    shutil.rmtree(tmp_path / "s" / "attribution")
    again = saeattr.attribute("cities", out=tmp_path / "s", **asked)
    assert again.record["saes"] != before
    assert len(load_study(tmp_path / "s").features()) > 0


def test_a_blank_folder_is_refused() -> None:
    with pytest.raises(UserError, match="--out is blank"):
        saeattr.attribute("cities", out="", **ATTRIBUTED)
