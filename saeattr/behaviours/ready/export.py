"""Rows of a ready behaviour as a file of pairs, which can be edited and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.ready import READY
from saeattr.behaviours.ready.ready import ReadyBehaviour, ReadyRows
from saeattr.errors import UserError
from saeattr.files import write_text

SUFFIX = ".jsonl"


def find_ready(name: str) -> ReadyBehaviour:
    """The ready behaviour of that name.

    Raises:
        UserError: there is none, or its pairs are not made of templates.
    """
    behaviour = find_behaviour(name)
    if not isinstance(behaviour, ReadyBehaviour):
        raise UserError(f"the pairs of {name} are not drawn from templates: choose one of {', '.join(READY)}")
    return behaviour


def draw_rows(
    behaviour: ReadyBehaviour, names: Sequence[str], tokenizer: PreTrainedTokenizerBase, n: int, seed: int
) -> ReadyRows:
    """``n`` rows of each group that is named (without any, of the default ones), and all that is said of them, once.

    These are the rows that a study with the same ``n_pairs`` and seed attributes.

    Raises:
        UserError: a group is unknown, or the tokenizer lacks its words.
    """
    groups = behaviour.groups(names or behaviour.default_groups)
    made = [behaviour.rows(group, tokenizer, n, seed) for group in groups]
    notes = dict.fromkeys(note for one in made for note in one.notes)
    return ReadyRows([row for one in made for row in one.rows], list(notes))


def write_rows(rows: ReadyRows, path: Path) -> None:
    """Write JSON lines, whole or not at all.

    Raises:
        UserError: the name ends otherwise, or the file is there already: it may have been edited.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"--out cannot be {str(path)!r}: the rows are JSON lines, so let the name end in {SUFFIX}")
    if path.exists():
        raise UserError(f"{path} is there already, and may have been edited: give another --out, or delete it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.rows))
