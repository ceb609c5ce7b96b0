"""Workers that cannot do the work are refused before anything is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError
from saeattr.model.loading import LanguageModel

SMALL: dict[str, Any] = {"lists": 2, "sites": ["resid_post.2"], "figures": False}


def refused(out: Path, match: str, **asked: Any) -> None:
    with pytest.raises(UserError, match=match) as refusal:
        saeattr.attribute("cities", out=out, **{**SMALL, **asked})
    assert "\n" not in str(refusal.value)
    assert not out.exists()


def test_workers_are_asked_for_in_one_way(tmp_path: Path) -> None:
    refused(
        tmp_path / "s", "names a cluster that has its workers: leave out --workers", workers=2, scheduler="tcp://a:1"
    )


def test_without_dask_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "distributed" else found(name, *more)
    )
    refused(
        tmp_path / "s", r"--workers needs Dask, which is not installed: pip install 'saeattr\[cluster\]'", workers=2
    )


def test_objects_stay_in_their_process(tmp_path: Path, lm: LanguageModel) -> None:
    passed = {"model": lm.hf, "tokenizer": lm.tokenizer, "saes": "bundled"}
    refused(tmp_path / "s", "objects passed from Python stay in this process: give their names", workers=2, **passed)


def test_a_model_over_several_cards_has_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    refused(tmp_path / "s", r"gives each worker a card, and cuda\*2 takes several", workers=2, device="cuda*2")


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker, which imports the script that started it."""
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object())
    refused(tmp_path / "s", "put its call of saeattr under if __name__ == '__main__'", workers=2)


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saeattr.cluster.crew.ANSWERS_WITHIN", 1)
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 ") as refusal:
        saeattr.attribute("cities", out=tmp_path / "s", scheduler="tcp://127.0.0.1:9", **SMALL)
    assert "\n" not in str(refusal.value)
