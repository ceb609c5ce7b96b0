"""Texts of one's own as one small page: no script, no network, every text escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from saeattr import __version__
from saeattr.features.texts import Look
from saeattr.files import write_text
from saeattr.reporting.looks import NOTE, FeatureLine, feature_lines
from saeattr.reporting.page.write import FILES, content_policy

#: Shades of the style sheet, from the palest to the fullest.
SHADES = 10


def write_look(look: Look, path: Path) -> Path:
    """Write the page whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_text(path, render_look(look))
    return path


def render_look(look: Look) -> str:
    """The page's HTML."""
    css = (FILES / "look.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((FILES / "look.html").read_text(encoding="utf-8"))
    lines = [[_values(line) for line in feature_lines(look, number)] for number in range(len(look.texts))]
    page = template.render(
        title=f"saeattr: features of {look.model}",
        version=__version__,
        # The style sheet is our own file; all other values are escaped by the template.
        css=Markup(css),
        policy=content_policy("", css, []),
        note=NOTE,
        texts=[
            {"number": number + 1, "name": look.texts[number].name, "lines": own} for number, own in enumerate(lines)
        ],
    )
    # Half of a surrogate pair is no UTF-8.
    return page.encode("utf-8", errors="replace").decode("utf-8")


def _values(line: FeatureLine) -> dict[str, Any]:
    tokens = [
        {"text": token, "shade": shade(share), "title": f"{activation:.3g}" if activation else ""}
        for token, activation, share in zip(line.tokens, line.activations, line.shares, strict=True)
    ]
    return {"address": line.address, "summary": line.summary, "tokens": tokens, "fires": any(line.activations)}


def shade(share: float) -> int:
    """The style sheet's class of a share of the largest activation: 0 where the feature does not fire."""
    return min(SHADES, 1 + int(share * SHADES)) if share else 0
