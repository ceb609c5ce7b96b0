"""Standard output, as wide as tables need it: in a narrower terminal lines go on in the next one."""

from __future__ import annotations

import os

from rich.console import Console

#: Columns that a table has at least, and those where no terminal says how many it has.
NARROWEST, PIPE = 80, 120


def open_console() -> Console:
    """Standard output."""
    console = Console()
    return console if console.width >= NARROWEST else Console(width=NARROWEST)


def study_console() -> Console:
    """Standard output; a file or a pipe is as wide as the tables of a study, unless COLUMNS says otherwise."""
    if not Console().is_terminal and "COLUMNS" not in os.environ:
        return Console(width=PIPE)
    return open_console()
