"""How sites, features and tokens are written in figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEWLINE_SIGN, TAB_SIGN, BLANK_SIGN = "\u23ce", "\u21e5", "\u2423"


def feature_address(kind: str, layer: int, feature: int) -> str:
    """``resid_post.20/16323``."""
    return f"{kind}.{layer}/{feature}"


def show_token(token: str, longest: int = 18) -> str:
    """A token with its white space made visible, shortened, and without characters that a terminal would obey."""
    shown = token.replace("\n", NEWLINE_SIGN).replace("\t", TAB_SIGN)
    stripped = shown.strip(" ")
    shown = stripped if stripped else BLANK_SIGN * len(shown)
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in shown)
    return shown if len(shown) <= longest else shown[: longest - 1] + "\u2026"


def label_texts(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The labels of those features that have one, as figures and tables write them.

    Args:
        labels: from a feature's address to its label and whether it is doubtful (``read_links(study.folder).labels``).
    """
    return {
        address: f"(doubtful) {known['label']}" if known.get("doubtful") else str(known["label"])
        for address, known in labels.items()
        if known.get("label")
    }


def figure_text(text: str) -> str:
    """Text for matplotlib, which would read what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")
