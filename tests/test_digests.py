"""Digests of large files are remembered while the file is the same, and never trusted beyond that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from saeattr import digests
from saeattr.digests import file_sha256


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were really hashed, in order; every file is large enough to be remembered."""
    real, done = digests.hashed, []
    monkeypatch.setenv("SAEATTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "REMEMBERED_FROM", 1)
    monkeypatch.setattr(digests, "hashed", lambda path: done.append(path) or real(path))
    return done


def written(path: Path, content: bytes, age: float = 60.0) -> Path:
    path.write_bytes(content)
    time = path.stat().st_mtime - age
    os.utime(path, (time, time))
    return path


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path: Path, hashed: list[Path]) -> None:
    path = written(tmp_path / "w.safetensors", b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert [file_sha256(path) for _ in range(3)] == [expected] * 3
    assert len(hashed) == 1
    # As many bytes, another time of change.
    written(path, b"WEIGHTS", 30.0)
    assert file_sha256(path) == hashlib.sha256(b"WEIGHTS").hexdigest()
    assert len(hashed) == 2


def test_a_replaced_file_of_the_same_size_and_time_is_another(tmp_path: Path, hashed: list[Path]) -> None:
    path = written(tmp_path / "w", b"one")
    file_sha256(path)
    state = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, path)
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_link_is_the_file_that_it_points_to(tmp_path: Path, hashed: list[Path]) -> None:
    blob = written(tmp_path / "blob", b"weights")
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(blob)
        assert file_sha256(tmp_path / name) == hashlib.sha256(b"weights").hexdigest()
    assert len(hashed) == 1


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, hashed: list[Path]) -> None:
    path = written(tmp_path / "w", b"weights", age=0.0)
    file_sha256(path)
    file_sha256(path)
    assert len(hashed) == 2


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"%s": 3}', b"\xff"])
def test_a_damaged_memory_is_none(tmp_path: Path, hashed: list[Path], content: bytes) -> None:
    path = written(tmp_path / "w", b"weights")
    memory = tmp_path / "cache" / "digests.json"
    memory.parent.mkdir()
    memory.write_bytes(content.replace(b"%s", str(path).encode()))
    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()
    assert len(hashed) == 1
    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()
    assert len(hashed) == 1


def test_where_nothing_can_be_written_nothing_is_remembered(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAEATTR_CACHE", str(tmp_path / "file" / "cache"))
    path = written(tmp_path / "w", b"weights")
    file_sha256(path)
    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()
    assert len(hashed) == 2


def test_small_files_are_hashed_every_time(tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "REMEMBERED_FROM", 8)
    path = written(tmp_path / "w", b"weights")
    file_sha256(path)
    file_sha256(path)
    assert len(hashed) == 2
    assert not (tmp_path / "cache").exists()
