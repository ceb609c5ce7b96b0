"""The README's Python runs, and its commands are ones that the command line has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import typer
import yaml

from saeattr.cli import app
from saeattr.settings import StudySettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_notebook_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert isinstance(names["top"], pd.DataFrame)
    assert len(names["top"]) == 10
    assert (tmp_path / "runs" / "notebook" / "mine.png").is_file()


def test_every_command_in_the_readme_parses() -> None:
    commands = re.findall(r"^    python -m saeattr (.+?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
    assert len(commands) >= 8
    group = typer.main.get_command(app)
    for line in commands:
        name, *arguments = shlex.split(line)
        command = group.commands[name]  # pyright: ignore[reportAttributeAccessIssue]
        context = command.make_context(name, arguments)
        assert context.command is command


def test_every_local_link_of_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_written_out_settings_are_the_defaults() -> None:
    fields = yaml.safe_load((ROOT / "configs" / "bundled.yaml").read_text(encoding="utf-8"))
    assert StudySettings.model_validate(fields) == StudySettings()
