"""Processes that share a study's work give the bytes of one process, whichever of them is killed on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError
from saeattr.cluster import crew, hands
from saeattr.digests import file_sha256
from saeattr.study.results import Study

ROOT = Path(__file__).parents[2]
GROUPS = ("cities", "rivers", "animals")
ASKED: dict[str, Any] = {
    **{"lists": 2, "max_new_tokens": 20, "sites": ["resid_post.2", "mlp_out.4"], "validate_top": 2, "curves": False},
    **{"figures": False, "device": "cpu"},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Of every process: another number gives other bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        # The workers import what this process does, wherever it was started.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """By one process."""
    return saeattr.attribute(GROUPS, out=tmp_path_factory.mktemp("alone") / "s", **ASKED)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running cluster: a scheduler and two workers, each with a command of its own."""
    folder = tmp_path_factory.mktemp("cluster")
    file = str(folder / "scheduler.json")
    alike = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m"]
    own = ["--host", "127.0.0.1", "--scheduler-file", file]
    worker = [*own, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--no-nanny"]
    commands = [
        [*python, "distributed.cli.dask_scheduler", *own, "--port", "0", "--dashboard-address", "127.0.0.1:0"],
        *[[*python, "distributed.cli.dask_worker", *worker]] * 2,
    ]
    processes = [subprocess.Popen(command, **alike) for command in commands]
    try:
        yield address_in(Path(file))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def address_in(file: Path) -> str:
    import json
    import time

    for _ in range(600):
        if file.exists() and file.read_text():
            return json.loads(file.read_text())["address"]
        time.sleep(0.1)
    raise AssertionError("the scheduler did not start")


def tables(study: Study) -> dict[str, str]:
    """The checksum of every table of a study, those of single groups and the lists too."""
    root = study.folder.root
    return {str(path.relative_to(root)): file_sha256(path) for path in root.rglob("*.parquet")}


def hidden(study: Study) -> list[Path]:
    return list(study.folder.root.rglob(".*"))


def test_workers_of_this_machine_give_the_bytes_of_one_process_though_each_is_killed_once(
    alone: Study, tmp_path: Path
) -> None:
    """The first when it attributes; the second when the first exact effects of a group are stored."""
    out, pids, killed, told = tmp_path / "s", [], [], []
    environment = dict(os.environ)

    def on_progress(subject: str, step: str, done: int, total: int) -> None:
        told.append(f"{subject}: {step}")
        named = re.fullmatch(r"worker (\d+) on .*", subject)
        if named and int(named[1]) not in pids:
            pids.append(int(named[1]))
        exact = list(out.glob("validation/.partial-*/exact-*.parquet"))
        if (not killed and step == "attribution") or (len(killed) == 1 and exact):
            killed.append(pids[len(killed)])
            os.kill(killed[-1], signal.SIGKILL)

    study = saeattr.attribute(GROUPS, out=out, workers=2, on_progress=on_progress, **ASKED)
    assert len(killed) == 2
    assert len(pids) > 2
    # One that had nothing to do when it was killed may not be missed.
    assert len([line for line in told if "was lost, and what it did is done again" in line]) in (1, 2)
    assert tables(study) == tables(alone)
    assert study.record == alone.record
    assert set(study.warnings) <= set(alone.warnings)
    assert hidden(study) == []
    assert any(line.startswith("workers: dashboard at http://127.0.0.1:") for line in told)
    assert dict(os.environ) == environment
    # Nothing is left to do, and no worker is started for it.
    told.clear()
    saeattr.attribute(GROUPS, out=out, workers=2, on_progress=on_progress, **ASKED)
    assert not [line for line in told if line.startswith("worker")]


def test_a_running_cluster_gives_the_bytes_of_one_process(alone: Study, tmp_path: Path, scheduler: str) -> None:
    study = saeattr.attribute(GROUPS, out=tmp_path / "s", scheduler=scheduler, **ASKED)
    assert tables(study) == tables(alone)
    assert study.warnings == alone.warnings
    assert hidden(study) == []


def test_layers_are_chosen_by_a_worker_and_stages_without_saes_are_handed_out_too(
    tmp_path: Path, scheduler: str
) -> None:
    asked: dict[str, Any] = {"lists": 2, "max_new_tokens": 20, "max_sites": 2, "kinds": ["mlp_out"], "device": "cpu"}

    def run(name: str, **more: Any) -> Study:
        out = tmp_path / name
        chosen = saeattr.select(["cities", "rivers"], out=out, **asked, **more)
        assert len(chosen.chosen) == 2
        saeattr.entropy(["cities", "rivers"], out=out, lists=2, max_new_tokens=20, device="cpu", figures=False, **more)
        return saeattr.attribute(["cities", "rivers"], out=out, validate_top=0, figures=False, **asked, **more)

    assert tables(run("workers", scheduler=scheduler)) == tables(run("alone"))


def test_what_a_user_can_mend_is_one_line_though_a_worker_found_it(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hands.Place

    def other(*args: Any, **fields: Any) -> Any:
        return real(*args, **{**fields, "versions": {"torch": "0.1"}})

    monkeypatch.setattr(hands, "Place", other)
    with pytest.raises(UserError, match=r"worker \d+ on .* has torch .*, and the process that hands out") as refusal:
        saeattr.attribute("cities", out=tmp_path / "s", scheduler=scheduler, **ASKED)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "s" / "pairs").exists()


def test_an_interrupted_run_stops_its_pieces_and_the_next_one_goes_on(
    alone: Study, tmp_path: Path, scheduler: str
) -> None:
    out = tmp_path / "s"

    def stop(subject: str, step: str, done: int, total: int) -> None:
        if step == "attribution":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saeattr.attribute(GROUPS, out=out, scheduler=scheduler, on_progress=stop, **ASKED)
    assert sorted(path.name for path in (out / "pairs").iterdir()) == sorted(GROUPS)
    study = saeattr.attribute(GROUPS, out=out, scheduler=scheduler, **ASKED)
    assert tables(study) == tables(alone)


def test_threads_are_those_that_are_named_or_a_share_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [crew.threads_each(number) for number in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert crew.threads_each(2) == 3


def test_every_card_has_a_worker_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert crew.local_devices("cpu") == ("cpu",)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert crew.local_devices("auto") == crew.local_devices("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert crew.local_devices("cuda:1") == ("cuda:1",)
