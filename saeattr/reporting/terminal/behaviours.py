"""Behaviours in the terminal: what each asks, an example, what others found, its metrics and groups."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from saeattr.behaviours.behaviour import Behaviour

WIDTH = 100


def behaviour_lines(behaviour: Behaviour) -> list[str]:
    """A behaviour in a few lines of plain text."""
    lines = [f"{behaviour.name}: {behaviour.help}"]
    if behaviour.example:
        lines += example_lines(behaviour.example)
    if behaviour.literature:
        lines += _wrapped(f"found: {behaviour.literature}")
    for at, (metric, help) in enumerate(behaviour.metrics.items()):
        lines.append(f"  --metric {metric}: {help}{'' if at else ' [default]'}")
    groups = ", ".join(behaviour.groups(("all",)))
    return [*lines, *_wrapped(f"--group: {groups} [default: {', '.join(behaviour.default_groups)}]")]


def example_lines(row: Mapping[str, Any]) -> list[str]:
    """Both prompts of a row, each with what the model should go on with."""
    sides = (("clean", "answer"), ("corrupted", "wrong"))
    return [line for side, then in sides for line in _wrapped(f"{side}: {row[side]!r} -> {_texts(row[then])}")]


def _texts(texts: str | Sequence[str]) -> str:
    """One text, or several: the first two and the last where there are many."""
    shown = [repr(text) for text in ([texts] if isinstance(texts, str) else texts)]
    return ", ".join(shown if len(shown) <= 4 else [*shown[:2], "...", shown[-1]])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
