"""docs/recall-emergence.md, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.emergence.read import checkpoints
from benchmarks.sections import markdown
from saeattr.files import write_text

HEAD = """# When recall emerges

    python scripts/build_bundled.py --checkpoints runs/emergence
    python scripts/benchmark.py emergence --checkpoints runs/emergence

This page was written by the second command."""


def write_page(rows: pd.DataFrame, path: Path) -> None:
    table = checkpoints(rows)
    write_text(path, "\n\n".join([HEAD, markdown(table)]) + "\n")
