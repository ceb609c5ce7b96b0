"""Draw figures of a study by name: ``python -m saeattr.report.draw FOLDER`` with names on standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from saeattr.report.figures import draw_named
from saeattr.results import load_study

if __name__ == "__main__":
    draw_named(load_study(Path(sys.argv[1])), set(sys.stdin.read().split("\n")))
