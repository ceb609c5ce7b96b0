"""From plain values to report.html. Data goes in as escaped JSON and comes out as text, never as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import numpy as np
from markupsafe import Markup

from saeattr import __version__
from saeattr.features.directions import LOGITS_NOTE
from saeattr.features.upstream import UPSTREAM_NOTE
from saeattr.files import write_text
from saeattr.reporting.page.parts import AFTER, BEFORE, present
from saeattr.reporting.page.rows import verdict_rows

FILES = Path(__file__).parent
SCRIPTS = ("dom.js", "table.js", "feature.js", "main.js")


@dataclass(frozen=True)
class InlineFigure:
    """A picture in the page.

    Attributes:
        section: where it stands: behaviour, features, or one of ``saeattr.reporting.page.parts``.
        caption: below the picture; text: what it shows, for who cannot see it.
        source: a data: URI; width, height: in CSS pixels.
    """

    section: str
    caption: str
    text: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Report:
    """What the page shows, as plain values (``saeattr.reporting.page.rows`` says which keys each row has).

    Attributes:
        evidence: what the tests could show, a line a group. verdicts: name, colour and meaning of each.
        lines: by section what was found, a line each.
        features: may be none: the page then has neither their sections nor those of groups and checks.
    """

    title: str
    question: str
    findings: list[str]
    facts: list[tuple[str, str]]
    notes: list[str]
    groups: list[dict[str, Any]]
    features: list[dict[str, Any]]
    contexts: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    figures: list[InlineFigure]
    table_note: str
    evidence: list[str] = field(default_factory=list)
    verdicts: list[dict[str, str]] = field(default_factory=verdict_rows)
    lines: dict[str, list[str]] = field(default_factory=dict)
    logits_note: str = LOGITS_NOTE
    upstream_note: str = UPSTREAM_NOTE


def write_report(report: Report, path: Path) -> Path:
    """Write the page whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The page's HTML."""
    script = "\n".join((FILES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    css = (FILES / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((FILES / "template.html").read_text(encoding="utf-8"))
    sections = {figure.section for figure in report.figures}
    # The last three are our own files and escaped JSON; all other values are escaped by the template.
    return template.render(
        before=present(BEFORE, sections, report.lines),
        after=present(AFTER, sections, report.lines),
        features=bool(report.features),
        title=report.title,
        version=__version__,
        policy=content_policy(script, css, embed_origins(report)),
        css=Markup(css),
        script=Markup(script),
        data=Markup(embed_json(asdict(report))),
    )


def embed_json(values: Any) -> str:
    r"""JSON that cannot end the script element it stands in: ``<``, ``>`` and ``&`` are written ``\u003c`` and so on.

    Not-a-number and infinity become null; floats keep five significant digits.
    """
    text = json.dumps(_plain(values), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    # Half of a surrogate pair (a token may be part of a character) is no UTF-8.
    return text.encode("utf-8", errors="replace").decode("utf-8")


def content_policy(script: str, css: str, embeds: list[str]) -> str:
    """A policy under which the page cannot fetch, send or run anything but itself.

    ``embeds`` are the origins of dashboards that a reader can open by a click; without any, frames are forbidden.
    """
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(css),
        "img-src": "data:",
        "frame-src": " ".join(embeds) or "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def embed_origins(report: Report) -> list[str]:
    """The https origins of the features' dashboards."""
    urls = (urlsplit(str(row.get("embed_url") or "")) for row in report.features)
    # A host is letters, digits, dots and hyphens, or it could say more in the policy than where to fetch from.
    hosts = {url.netloc for url in urls if url.scheme == "https"}
    return sorted(f"https://{host}" for host in hosts if re.fullmatch(r"[A-Za-z0-9.-]+", host))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(value: Any) -> Any:
    # Most are text and numbers, and asking what a dict might be takes long.
    if type(value) is str or type(value) is int:
        return value
    if type(value) is float:
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value
