"""How a command ends that does not end well: signals, faults, no memory, closed pipes, full disks, odd terminals."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import saeattr
from saeattr.cli import main
from saeattr.reporting.terminal.progress import StageProgress
from saeattr.reporting.terminal.study import print_study
from saeattr.study.results import load_study

SMALL = ["--topic", "cities", "--lists", "2", "--sites", "resid_post.2,mlp_out.2,attn_z.2", "--device", "cpu"]
SMALL += ["--no-validate", "--no-figures"]

#: The command line, which says when a step is so far and then waits.
PAUSING = """
import sys, time
from saeattr.cli import main
from saeattr.reporting.terminal.progress import StageProgress

at, done, told = sys.argv[1], int(sys.argv[2]), StageProgress.__call__

def pause(self, group, stage, now, total):
    told(self, group, stage, now, total)
    if (stage, now) == (at, done):
        print("here", flush=True)
        time.sleep(300)

StageProgress.__call__ = pause
main(sys.argv[3:])
"""


def paused(at: str, done: int, arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PAUSING, at, str(done), *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    return child


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


SIGNALS = [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]


@pytest.mark.parametrize(("number", "word", "code"), SIGNALS)
def test_a_signal_says_what_is_kept_and_the_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, word: str, code: int
) -> None:
    out, arguments = tmp_path / "s", ["attribute", *SMALL, "--out", str(tmp_path / "s")]
    child = paused("attribution", 2, arguments)
    # Meanwhile another command is told who works there, and reading goes on.
    refused, _, error = run(arguments, capsys)
    assert refused == 2
    assert f"process {child.pid}" in error
    assert load_study(out).groups == ()
    child.send_signal(number)
    _, error = child.communicate()
    assert child.returncode == code
    line = error.strip().splitlines()[-1]
    kept = f"{out} keeps pairs of 1 of 1 groups, 2 of 3 sites of cities"
    assert line.startswith(f"{word} in attribution of cities: {kept}")
    assert line.endswith(f"to go on: saeattr {' '.join(arguments)}")
    assert "Traceback" not in error
    assert [path.name for path in out.rglob(".*") if not path.name.startswith(".partial-")] == []
    code, _, _ = run(arguments, capsys)
    assert code == 0
    assert load_study(out).features()["kind"].nunique() == 3


def test_a_signal_while_the_model_is_opened_leaves_nothing(tmp_path: Path) -> None:
    child = paused("loading the model", 0, ["attribute", *SMALL, "--out", str(tmp_path / "s")])
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate()
    assert child.returncode == 143
    assert error.strip().splitlines()[-1] == "terminated in loading the model: nothing is stored"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    few: dict[str, Any] = {"lists": 2, "sites": ["resid_post.2"], "device": "cpu", "validate_top": 0}
    return saeattr.attribute("cities", out=tmp_path_factory.mktemp("done") / "s", figures=False, **few).folder.root


def raising(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_a_fault_is_one_line_and_a_log_in_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["attribute", *SMALL, "--out", str(tmp_path / "s")]
    monkeypatch.setattr("saeattr.study.attribution.attribute_units", raising(KeyError("odd\nlines")))
    code, _, error = run(arguments, capsys)
    line = error.strip().splitlines()[-1]
    assert code == 1
    assert "Traceback" not in error
    assert line.startswith("error: attribution of cities failed with KeyError")
    assert f"{tmp_path / 's'} keeps pairs of 1 of 1 groups" in line
    (log,) = (tmp_path / "s" / "logs").iterdir()
    assert line.endswith(f"the log is {log}")
    text = log.read_text(encoding="utf-8")
    assert f"command: saeattr {' '.join(arguments)}" in text
    assert "Traceback (most recent call last)" in text
    assert re.search(r"^torch: \d", text, re.MULTILINE)
    assert "temperature: 0.8" in text
    # The log is no content that another run would stumble over.
    monkeypatch.undo()
    assert run(arguments, capsys)[0] == 0


def test_in_python_the_exception_itself_is_raised_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeattr.study.attribution.attribute_units", raising(ZeroDivisionError("odd")))
    with pytest.raises(ZeroDivisionError) as raised:
        saeattr.attribute("cities", out=tmp_path / "s", lists=2, sites=["resid_post.2"], device="cpu", figures=False)
    if sys.version_info >= (3, 11):
        during, kept = raised.value.__notes__
        assert during == "saeattr: during attribution of cities"
        assert kept.startswith(f"saeattr: {tmp_path / 's'} keeps pairs of 1 of 1 groups")
    assert not (tmp_path / "s" / "logs").exists()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (MemoryError(), "memory ran out in loading the model: give a smaller --batch-size"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "memory ran out"),
        (OSError(12, "Cannot allocate memory"), "memory ran out"),
        (OSError(28, "No space left on device"), "the disk is full in loading the model: free space"),
        (RuntimeError(""), "failed with RuntimeError (no message)"),
    ],
)
def test_without_a_study_the_log_is_in_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    monkeypatch.setenv("SAEATTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("saeattr.study.hands.load_model", raising(fault))
    code, _, error = run(["attribute", *SMALL, "--out", str(tmp_path / "s")], capsys)
    assert code == 1
    assert said in error.strip().splitlines()[-1]
    assert not (tmp_path / "s").exists()
    assert len(list((tmp_path / "cache" / "logs").iterdir())) == 1


def test_a_log_that_cannot_be_written_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("SAEATTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("saeattr.study.hands.load_model", raising(ZeroDivisionError("odd")))
    code, _, error = run(["attribute", *SMALL, "--out", str(tmp_path / "s")], capsys)
    assert code == 1
    assert "ZeroDivisionError (odd)" in error
    assert error.strip().endswith("no log could be written")


def child(arguments: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **more.pop("env", {})}
    command = [sys.executable, "-m", "saeattr", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, env=environment, check=False, **more)


def test_nobody_who_reads_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    ended = child(["topics"], stdout=write)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_while_printing_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = child(["topics"], stdout=full, env={"SAEATTR_CACHE": str(tmp_path)})
    assert ended.returncode == 1
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("error: the disk is full in saeattr topics")


def test_a_terminal_that_lacks_letters_and_columns_loses_nothing(done: Path) -> None:
    small = ["--topic", "cities", "--lists", "2", "--sites", "resid_post.2", "--device", "cpu", "--no-validate"]
    odd = {"PYTHONIOENCODING": "ascii", "COLUMNS": "20", "LANG": "C"}
    ended = child(["attribute", *small, "--no-figures", "--out", str(done)], stdout=subprocess.PIPE, env=odd)
    assert ended.returncode == 0, ended.stderr
    top = load_study(done).features("cities").sort_values("rank")
    shown = ended.stdout.decode("ascii")
    for row in top.head(5).to_dict("records"):
        assert f"resid_post.2/{row['feature']}" in shown
        assert f"{row['effect_mean']:+.3f}" in shown


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "latin-1"])
@pytest.mark.parametrize("width", [1, 20, 300])
def test_a_study_is_printed_in_any_encoding_at_any_width(done: Path, encoding: str, width: int) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    print_study(load_study(done), 5, Console(file=file, width=width))
    file.seek(0)
    assert len(file.read()) > 200


def test_progress_that_cannot_be_printed_stops_no_work() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    for terminal in (False, True):
        with StageProgress(Console(file=Full(), force_terminal=terminal)) as progress:
            for done in range(3):
                progress("cities", "attribution", done, 2)
