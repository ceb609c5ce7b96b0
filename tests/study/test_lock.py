"""One run at a time in a folder: processes that hold it, wait for it, are refused, killed, or read meanwhile."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from saeattr.errors import UserError
from saeattr.study.folder import check_place
from saeattr.study.lock import HOLDER, LOCK, MARKER, locked, read_holder
from saeattr.study.soft_lock import GONE_AFTER, SignedLock

HOLD = """
import sys, time
from pathlib import Path
from saeattr.study.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holding(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until a line is written to it."""
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def let_go(child: subprocess.Popen[str]) -> None:
    child.communicate("\n")
    assert child.returncode == 0


def test_a_second_process_is_told_who_works_there_and_since_when(tmp_path: Path) -> None:
    with holding(tmp_path / "s") as child, pytest.raises(UserError) as refusal, locked(tmp_path / "s"):
        raise AssertionError("two at once")
    message = str(refusal.value)
    assert f"process {child.pid}" in message
    assert f"since {time.strftime('%Y-', time.gmtime())}" in message
    assert "\n" not in message
    assert "--wait" not in message
    with holding(tmp_path / "s"), pytest.raises(UserError, match="add --wait"), locked(tmp_path / "s", wait=False):
        raise AssertionError("two at once")


def test_who_waits_begins_when_the_other_is_done(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    with holding(tmp_path / "s") as child:
        threading.Timer(0.7, let_go, [child]).start()
        with locked(tmp_path / "s", wait=True, on_progress=lambda *step: told.append(step)) as notes:
            assert child.wait() == 0
            assert notes == ()
    assert [step[2:] for step in told] == [(0, 1), (1, 1)]
    assert f"process {child.pid}" in told[0][1]


def test_a_killed_holder_is_taken_over_with_a_note(tmp_path: Path) -> None:
    with holding(tmp_path / "s") as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
        with locked(tmp_path / "s") as notes:
            (note,) = notes
            assert f"process {child.pid}" in note
            assert "did not end by itself" in note
            holder = read_holder(tmp_path / "s")
            assert holder is not None
            assert holder.pid == os.getpid()
    assert list((tmp_path / "s").iterdir()) == []


def test_nothing_of_the_lock_stays_and_an_empty_folder_that_was_made_for_it_goes(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {LOCK, HOLDER}
        # It is no content: a study may begin here.
        check_place(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "kept"]


def test_a_refused_process_leaves_the_folder_to_its_holder(tmp_path: Path) -> None:
    with holding(tmp_path / "s") as child:
        for _ in range(2):
            with pytest.raises(UserError), locked(tmp_path / "s"):
                pass
        assert {path.name for path in (tmp_path / "s").iterdir()} == {LOCK, HOLDER}
        let_go(child)
    assert not (tmp_path / "s").exists()


def test_what_the_holder_calls_may_lock_again_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def try_it() -> None:
        try:
            with locked(tmp_path / "s"):
                pass
        except UserError as error:
            refused.append(error)

    with locked(tmp_path / "s"):
        with locked(tmp_path / "s"), locked(tmp_path / "x" / ".." / "s"):
            pass
        other = threading.Thread(target=try_it)
        other.start()
        other.join()
        assert (tmp_path / "s" / LOCK).exists()
    assert len(refused) == 1


def test_only_one_of_many_is_inside_at_a_time(tmp_path: Path) -> None:
    """The file is removed at each release: nobody may hold one that has no name any more."""
    inside, most, done = 0, 0, []
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locked(tmp_path / "s", wait=True):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.001)
                with guard:
                    inside -= 1
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(done)) == (1, 4)
    assert list((tmp_path / "s").iterdir() if (tmp_path / "s").exists() else ()) == []


def test_a_folder_that_vanishes_under_the_lock_is_no_error(tmp_path: Path) -> None:
    with locked(tmp_path / "s"):
        for path in (tmp_path / "s").iterdir():
            path.unlink()
        (tmp_path / "s").rmdir()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\x00" * 10])
def test_a_damaged_note_of_the_holder_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / HOLDER).write_text(text, encoding="utf-8")
    with locked(tmp_path) as notes:
        assert notes == ()


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


def test_a_file_system_without_locks_gets_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    with locked(tmp_path / "s"):
        assert {path.name for path in (tmp_path / "s").iterdir()} == {MARKER, HOLDER}
        other = SignedLock(tmp_path / "s" / MARKER)
        assert not other.is_locked
        with pytest.raises(TimeoutError):
            other.acquire(timeout=0)
    assert not (tmp_path / "s").exists()


def test_a_marker_without_a_sign_of_life_is_taken_over_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    marker = tmp_path / MARKER
    marker.write_text("1\nanother-host\n", encoding="utf-8")
    who = {"user": "ada", "host": "another-host", "pid": 1, "command": "saeattr", "since": "2020-01-01 00:00:00 UTC"}
    (tmp_path / HOLDER).write_text(json.dumps(who), encoding="utf-8")
    with pytest.raises(UserError, match="ada@another-host"), locked(tmp_path):
        pass
    long_ago = time.time() - GONE_AFTER - 60
    os.utime(marker, (long_ago, long_ago))
    with locked(tmp_path) as notes:
        assert "ada@another-host" in notes[0]
    assert list(tmp_path.iterdir()) == []


def test_a_marker_is_signed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saeattr.study.soft_lock.SIGN_EVERY", 0.05)
    lock = SignedLock(tmp_path / "marker")
    lock.acquire(timeout=0)
    os.utime(tmp_path / "marker", (1, 1))
    deadline = time.monotonic() + 20
    while (tmp_path / "marker").stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "marker").stat().st_mtime > 2
    lock.release()
    assert not (tmp_path / "marker").exists()
