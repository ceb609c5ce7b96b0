"""docs/gemma.md: the first hour with gemma-2-2b-it, with what ``saeattr plan`` says of it.

python scripts/docs/gemma.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from saeattr.model.hub import MODELS
from saeattr.runs.memory import megabytes, parse_bytes
from saeattr.settings import make_settings
from saeattr.study.outlook import Outlook, named_outlook

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gemma.md"
TEXT = (Path(__file__).parent / "gemma.md").read_text(encoding="utf-8")

MODEL = "gemma-2-2b-it"
PLAN = ["plan", "--model", MODEL, "--vram", "15GiB"]
#: A card's memory that a study may use, and the model's dtype there.
CARDS = (("14GiB", "float32"), ("14GiB", "bfloat16"), ("23GiB", "float32"), ("23GiB", "bfloat16"))
COLUMNS = ("settings", "attribution", "exact effects", "generation", "pairs a batch", "SAEs held together")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    found = _outlook("15GiB", "bfloat16")
    sizes = sorted({sae.n_bytes for sae in found.saes})
    marks = {
        "plan": _output(PLAN),
        "cards": "\n".join(_cards()),
        "model": megabytes(found.model.n_bytes),
        "one": f"{megabytes(sizes[0])} to {megabytes(sizes[-1])}",
        "all": megabytes(sum(sae.n_bytes for sae in found.saes)),
        "host": megabytes(_outlook("14GiB", "float32").plan.weights),
        "transfer": MODELS[MODEL].note,
    }
    text = TEXT
    for mark, value in marks.items():
        text = text.replace(f"{{{mark}}}", value)
    return text


def _outlook(vram: str, dtype: str) -> Outlook:
    found = named_outlook(make_settings({"model": MODEL, "vram": vram, "dtype": dtype}, None))
    assert found is not None
    return found


def _output(command: list[str]) -> str:
    """What the command prints on a machine that has nothing of the model, 100 columns wide."""
    with tempfile.TemporaryDirectory() as empty:
        known = {**os.environ, "HF_HUB_CACHE": empty, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "NO_COLOR": "1"}
        done = subprocess.run([sys.executable, "-m", "saeattr", *command], env=known, capture_output=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.decode("utf-8").splitlines())


def _cards() -> list[str]:
    lines = ["| " + " | ".join(COLUMNS) + " |", "| :--- |" + " ---: |" * (len(COLUMNS) - 1)]
    for vram, dtype in CARDS:
        found = _outlook(vram, dtype)
        assert parse_bytes(vram) == found.plan.budget
        peaks = [megabytes(found.plan.stages[name].predicted) for name in ("attribution", "validation", "generation")]
        cells = [f"`--vram {vram} --dtype {dtype}`", *peaks, str(found.plan.batch_size), str(found.held)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
