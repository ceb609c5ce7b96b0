"""The profile of ``make fuzz``, and how many cases really ran, printed at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.fuzz.cases import RAN

#: The usual profile has a hundred cases for each ``times`` of a test; this one makes 100,000 in all.
settings.register_profile("fuzz", max_examples=1900)

#: Of all processes of a parallel run.
_TOTAL: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written without being asked lands in a folder of the test's own, and nothing reaches a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["fuzz cases"] = dict(RAN)
    else:
        _TOTAL.update(RAN)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _TOTAL.update(getattr(node, "workeroutput", {}).get("fuzz cases", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _TOTAL:
        terminalreporter.write_line("")
        for name, count in sorted(_TOTAL.items()):
            terminalreporter.write_line(f"fuzz: {count:>7,} cases  {name}")
        terminalreporter.write_line(f"fuzz: {_TOTAL.total():>7,} cases in {len(_TOTAL)} tests")
