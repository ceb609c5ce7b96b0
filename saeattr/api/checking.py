"""Pairs of one's own, before anything is run with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.behaviours.given.behaviour import Given, reading_of
from saeattr.behaviours.given.check import CheckedRows, check_rows
from saeattr.behaviours.given.source import read_source
from saeattr.model.loading import find_model, load_tokenizer, longest_input, read_config
from saeattr.runs.metric import find_metric
from saeattr.settings import make_settings


def check_pairs(
    pairs: Any, *, config: str | Path | None = None, columns: Sequence[str] = (), **settings: Any
) -> CheckedRows:
    """What pairs of your own would become with a model's tokenizer; no weights are loaded, nothing is written.

    Args:
        pairs: as for ``attribute``.
        columns: ``OURS=THEIRS`` for columns of another name.
        settings: ``model``, ``metric``, ``contrast``, ``unequal`` and ``base`` decide what a row becomes.

    Raises:
        UserError: the source cannot be read, or a setting cannot be used.
    """
    given = read_source(pairs, columns)
    asked = make_settings({**settings, "pairs": given.name}, None if config is None else Path(config))
    folder = find_model(asked.model, weights=False)
    tokenizer, behaviour = load_tokenizer(folder), Given(given)
    behaviour.check(tokenizer, behaviour.all_groups)
    if asked.metric not in (None, *behaviour.metrics):
        find_metric(str(asked.metric), tuple(behaviour.metrics))
    contrast = behaviour.contrast(tokenizer, asked)
    return check_rows(tokenizer, given, reading_of(tokenizer, asked, contrast, longest_input(read_config(folder))))
