"""Any arguments: help, work that may begin, or exit code 2 and one line; never a traceback, never a file by mistake.

Nothing heavy is done: where a model would be opened, or measured, the case ends.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import strategies as st

from saeattr.cli import app, main
from tests.fuzz.cases import fuzz
from tests.fuzz.values import TEXTS


class Begun(BaseException):
    """The arguments are good, and work would begin."""


#: Where work begins: weights are opened, a machine is measured, a page is shown.
WORK = ["saeattr.model.loading.boot", "saeattr.model.memory.boot", "saeattr.study.timing.measure_speed"]
WORK += ["webbrowser.open", "saeattr.runs.rehearsal.rehearse_runs"]
#: Per option what it is meant to be given, by the option's name without hyphens; any other takes all of them.
MEANT = [
    "resid_post.2",
    "resid_post.2,attn_z.1",
    "mlp_out",
    "0,3",
    "all",
    "bundled",
    "cities",
    "facts",
    "capitals",
    "lists",
]
MEANT += [
    "float32",
    "zero",
    "cpu",
    "cuda:99",
    "cuda*999999999",
    "1GiB",
    "end-vs-continue",
    "log-prob",
    "clean=a",
    "short",
]
MEANT += [
    "relp",
    "ig",
    "A",
    "head",
    "z,pattern",
    "item",
    "gemma-2-2b-it",
    "org/name",
    "google/gemma-2-2b",
    "16k",
    "a.html",
]
MEANT += ["header=1,end=2,newline=3,hyphen=4,blank=5", "0.1,0.5", "resid_post.3/7", ".", "runs/x", "a.csv", "p.jsonl"]
NUMBERS = [
    "0",
    "1",
    "3",
    "-1",
    "0.5",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 400,
    "9" * 5000,
    "\u0663",
    "1_0",
    "0x1",
]
VALUES = st.sampled_from(MEANT) | st.sampled_from(NUMBERS) | TEXTS


def commands(group: Any, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        deeper = hasattr(command, "commands")
        found |= commands(command, (*before, name)) if deeper else {(*before, name): command}
    return found


COMMANDS = commands(typer.main.get_command(app))


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    """A command with some of its options and arguments, each with any value, now and then one that it has not."""
    names = draw(st.sampled_from(sorted(COMMANDS)))
    params = COMMANDS[names].params
    options = [param for param in params if param.param_type_name == "option"]
    words: list[str] = []
    for param in params:
        if param.param_type_name == "argument" and draw(st.integers(0, 5)):
            words += draw(st.lists(VALUES, min_size=1, max_size=2 if param.nargs == -1 else 1))
    for param in draw(st.lists(st.sampled_from(options), max_size=5)) if options else ():
        words.append(draw(st.sampled_from([*param.opts, *param.secondary_opts])))
        if not param.is_flag:
            words += [draw(VALUES) for _ in range(param.nargs)]
    if not draw(st.integers(0, 9)):
        words.insert(
            draw(st.integers(0, len(words))), draw(TEXTS | st.sampled_from(["--unknown", "-x", "--", "--out="]))
        )
    return [*names, *words]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*args: Any, **named: Any) -> Any:
        raise Begun

    def unreachable(self: socket.socket, address: Any) -> None:
        raise OSError("no network in tests")

    for place in WORK:
        monkeypatch.setattr(place, begun)
    monkeypatch.setattr(socket.socket, "connect", unreachable)


@fuzz(arguments() | st.lists(TEXTS, max_size=3), times=5)
def test_any_arguments(no_work: None, tmp_path: Path, words: list[str]):
    before = set(os.listdir(tmp_path))
    output, errors = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
        except Begun:
            return
    lines = [line for line in errors.getvalue().split("\n") if line.startswith("error: ")]
    assert code in (0, 2), (words, errors.getvalue())
    if code == 2 and errors.getvalue():
        assert len(lines) == 1, errors.getvalue()
        assert errors.getvalue().endswith(f"{lines[0]}\n")
        assert lines[0].isprintable()
        assert len(lines[0]) <= 2100
        # A refusal leaves nothing behind but the cache's folder.
        assert set(os.listdir(tmp_path)) - before <= {"cache"}
