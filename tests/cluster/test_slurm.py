"""The sbatch examples are bash, and run: with processes of this machine in place of Slurm's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saeattr.study.results import load_study

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "scripts" / "slurm"
ASKED = ["--topic", "cities", "--topic", "rivers", "--lists", "1", "--max-new-tokens", "20", "--sites", "resid_post.2"]
ASKED += ["--no-validate", "--no-figures", "--device", "cpu"]


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.mark.parametrize("script", sorted(SLURM.glob("*.sh")), ids=lambda path: path.name)
def test_an_sbatch_example_parses(script: Path) -> None:
    found = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    # Slurm reads no directive behind the first command.
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash")
@pytest.mark.parametrize(
    "command",
    [
        ["bash", str(SLURM / "many_nodes.sh"), *ASKED, "--out", "s"],
        [sys.executable, str(SLURM / "jobqueue.py"), "--jobs", "2", "--local", "--", "attribute", *ASKED, "--out", "s"],
    ],
    ids=["many_nodes.sh", "jobqueue.py"],
)
def test_an_example_makes_a_study_with_its_own_workers(command: list[str], tmp_path: Path) -> None:
    done = run(command, tmp_path, LAUNCH="", WITHOUT_SLURM="2")
    assert done.returncode == 0, done.stderr
    assert load_study(tmp_path / "s").groups == ("cities", "rivers")
    assert "loading the model" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "s"] == []


def test_one_node_asks_for_as_many_workers_as_it_has_cards(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    done = run(["bash", str(SLURM / "one_node.sh"), *ASKED], tmp_path, PYTHON=str(python), SLURM_GPUS_ON_NODE="4")
    assert done.stdout.split() == ["-m", "saeattr", "attribute", "--workers", "4", *ASKED]
