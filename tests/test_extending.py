"""docs/extending.md is followed literally: its changes are made to a copy of the package, and its tests are run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = re.compile(
    r"<!-- (new file|in) (\S+)(?: (before the line|after the line|replace): (.+?))? -->\n```python\n(.*?)```", re.S
)


def follow(text: str, copy: Path) -> list[str]:
    """Make the changes of all recipes; the new test files."""
    tests = []
    for verb, name, place, line, code in STEP.findall(text):
        path = copy / name
        if verb == "new file":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            tests += [name] if name.startswith("tests/") else []
            continue
        before = path.read_text()
        assert line in before, f"docs/extending.md looks for {line!r} in {name}, which has no such line"
        if place == "replace":
            path.write_text(before.replace(line, code.rstrip("\n"), 1))
            continue
        at = before.rfind("\n", 0, before.index(line)) + 1
        at = at if place == "before the line" else before.index("\n", at) + 1
        path.write_text(before[:at] + code + before[at:])
    return tests


def test_every_recipe_works_when_it_is_followed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "saeattr", tmp_path / "saeattr", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    tests = follow((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), tmp_path)
    assert len(tests) == 4
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
