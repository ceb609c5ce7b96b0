"""A conversation as a tokenizer's chat template writes it; templates of others are rendered in another process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from transformers import PreTrainedTokenizerBase

from saeattr import bundle
from saeattr.errors import UserError

#: Seconds after which a rendering is stopped; a usual one takes less than a thousandth.
LIMIT = 20.0
#: Characters that a template may have; the longest published ones have 30,000.
LONGEST = 500_000

#: One conversation as Gemma 2 and 3 were tuned on it: every turn between markers, the model's role named ``model``.
GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def written_chat(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], answer: bool) -> str:
    """The text of a conversation, as ``tokenizer.apply_chat_template`` gives it.

    Args:
        turns: ``role`` and ``content`` of each.
        answer: up to where the model's answer begins.

    Raises:
        UserError: the template is damaged, refuses these turns, leaves out what the user says, or does not end.
    """
    chat = [dict(turn) for turn in turns]
    template = template_of(tokenizer)
    if template in _own_templates():
        return str(tokenizer.apply_chat_template(chat, add_generation_prompt=answer, tokenize=False))
    given = {**tokenizer.special_tokens_map, "messages": chat, "tools": None, "documents": None}
    text = render(template, {**given, "add_generation_prompt": answer})
    asked = [turn["content"].split() for turn in chat if turn["role"] == "user"]
    if asked and asked[-1] and not any(word in text for word in asked[-1]):
        raise UserError(
            f"the chat template leaves out what the user says ({' '.join(asked[-1])[:40]!r}): it is damaged"
        )
    return text


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template that ``tokenizer.apply_chat_template`` would take.

    Raises:
        UserError: it is no text, or several are there and none is the default.
    """
    templates: Any = tokenizer.chat_template
    template = templates.get("default") if isinstance(templates, dict) else templates
    if not isinstance(template, str):
        what = (
            f"names {', '.join(map(str, templates))[:80]}" if isinstance(templates, dict) else f"is {templates!r:.80}"
        )
        raise UserError(f"the tokenizer's chat template {what}: it must be one text (of several, that named default)")
    if len(template) > LONGEST:
        raise UserError(f"the tokenizer's chat template has {len(template):,} characters: {LONGEST:,} are read at most")
    return template


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a template that may be hostile, in a child process with a limit of time and memory.

    Raises:
        UserError: it raises, writes too much, takes too long or too much memory.
    """
    with _lock:
        child = _child()
        said = child.ask({"template": template, "variables": dict(variables)})
    if "error" in said:
        raise UserError(f"the chat template refuses these turns ({said['error'][:300]})")
    return said["text"]


@dataclass(frozen=True)
class Child:
    """The process that renders, and the process that started it: a fork of this one needs its own."""

    process: subprocess.Popen[str]
    parent: int

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Its answer; where it gives none it is stopped, and the next request meets another."""
        too_long = threading.Event()

        def stop() -> None:
            too_long.set()
            self.process.kill()

        timer = threading.Timer(LIMIT, stop)
        timer.start()
        line = ""
        try:
            # It has ended where a pipe is broken.
            with contextlib.suppress(OSError):
                _pipe(self.process.stdin).write(json.dumps(request) + "\n")
                _pipe(self.process.stdin).flush()
                line = _pipe(self.process.stdout).readline()
        finally:
            timer.cancel()
            if not line.endswith("\n"):
                self.stop()
        if line.endswith("\n"):
            return json.loads(line)
        return {"error": f"it does not end within {LIMIT:.0f} s" if too_long.is_set() else "it ends the process"}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()


_lock = threading.Lock()
_started: list[Child] = []


def _child() -> Child:
    """The one that runs, or a new one."""
    for child in _started:
        if child.parent == os.getpid() and child.process.poll() is None:
            return child
    _started.clear()
    program = Path(__file__).with_name("template_child.py")
    found = [importlib.util.find_spec(name) for name in ("jinja2", "markupsafe")]
    folders = [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin]
    # Isolated, and without what an environment starts up with: the program needs these two packages alone.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(program), *dict.fromkeys(folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="ascii",
    )
    _started.append(Child(process, os.getpid()))
    return _started[0]


@atexit.register
def _stop() -> None:
    for child in _started:
        if child.parent == os.getpid():
            child.stop()
    _started.clear()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@functools.cache
def _own_templates() -> frozenset[str]:
    """Those that come with this package, which are known to end."""
    bundled = bundle.MODEL_FOLDER / "chat_template.jinja"
    return frozenset({GEMMA_CHAT, bundled.read_text(encoding="utf-8")})
