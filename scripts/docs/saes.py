"""docs/saes.md: which published SAEs can be used, counted in sae-lens' directory.

python scripts/docs/saes.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from saeattr.saes.catalogue import READ_BY_LENS, published_saes, refused_saes, sae_directory

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "saes.md"

#: What was listed before sae-lens read the formats that nothing here reads, by the same count of the same directory.
BEFORE = 8389

FAMILIES = {
    "gemma_scope_2": "Gemma Scope 2",
    "gemma_scope": "Gemma Scope",
    "sae_lens": "sae-lens' own format",
    "llama_scope": "Llama Scope",
    "dictionary_learning": "dictionary_learning",
    "qwen_scope": "Qwen Scope (top-k)",
    "llama_scope_r1": "Llama Scope for R1",
    "hook_z": "GPT-2's attention (hook_z)",
    "goodfire": "goodfire",
    "deepseek_r1": "DeepSeek R1 by qresearch",
}

TEXT = (Path(__file__).parent / "saes.md").read_text(encoding="utf-8")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    directory = sae_directory()
    found = Counter(sae.format for name in directory for sae in published_saes(name))
    reasons = Counter(reason for name in directory for reason in refused_saes(name).values())
    after = sum(found.values())
    families = [
        (FAMILIES[form], "sae-lens" if form in READ_BY_LENS else "saeattr", n) for form, n in found.most_common()
    ]
    marks = {
        "total": f"{after + sum(reasons.values()):,}",
        "releases": str(len(directory)),
        "after": f"{after:,}",
        "before": f"{BEFORE:,}",
        "families": "\n".join(_table(("family", "read by", "SAEs"), families)),
        "reasons": "\n".join(_table(("why", "entries"), reasons.most_common())),
    }
    text = TEXT
    for mark, value in marks.items():
        text = text.replace(f"{{{mark}}}", value)
    return text


def _table(names: Iterable[str], rows: Iterable[tuple[str | int, ...]]) -> list[str]:
    names = list(names)
    lines = ["| " + " | ".join(names) + " |", "| :--- |" + " :--- |" * (len(names) - 2) + " ---: |"]
    for row in rows:
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) + " |")
    return lines


if __name__ == "__main__":
    main()
