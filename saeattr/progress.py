"""How long work tells how far it is: three calls, from the widest to the narrowest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

#: Told what is worked on (a group of pairs, or a command), the step, how much of it is done and how much there is.
OnProgress = Callable[[str, str, int, int], None]
#: Told the step, how much of it is done and how much there is.
OnStep = Callable[[str, int, int], None]
#: Told how much is done and how much there is.
OnCount = Callable[[int, int], None]


def quiet(*_: Any) -> None:
    """Tell nobody."""


def about(on_progress: OnProgress, subject: str) -> OnStep:
    """The steps of one subject."""
    return functools.partial(on_progress, subject)


def counting(on_step: OnStep, step: str) -> OnCount:
    """The counts of one step."""
    return functools.partial(on_step, step)
