"""Texts of one's own in the terminal, a line a feature, shaded where it fires."""

from __future__ import annotations

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from saeattr.features.texts import Look
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.looks import NOTE, FeatureLine, feature_lines
from saeattr.reporting.terminal.console import study_console

#: Around a number behind a token: brackets that texts seldom have.
BEFORE, BEHIND = "\u27e8", "\u27e9"
#: The shade of a share near 0 and of 1, as red, green and blue.
_PALE, _FULL = (226, 236, 245), (1, 95, 160)


def print_look(look: Look, console: Console | None = None) -> None:
    """Print each text once a feature; without colours the activation stands behind each token at which it fires."""
    console = console or study_console()
    plain = console.color_system is None
    for number, text in enumerate(look.texts):
        n_tokens = len(text.ids) - text.start
        named = f" ({show_token(text.name, 60)})" if text.name else ""
        console.print(Text(f"text {number + 1} of {len(look.texts)}{named}: {n_tokens} tokens", style="bold"))
        for line in feature_lines(look, number):
            console.print(Text(f"  {line.address}  ", style="bold") + Text(line.summary, style="not bold"))
            if any(line.activations):
                console.print(_shaded(line, plain), soft_wrap=False)
        console.print()
    if not look.features:
        console.print("no feature fires in these texts", highlight=False)
    console.print(Text(f"{look.model}: {NOTE}", style="dim"))


def _shaded(line: FeatureLine, plain: bool) -> Text:
    """The text as plain characters: whatever stands in it is no markup."""
    shown = Text()
    for token, activation, share in zip(line.tokens, line.activations, line.shares, strict=True):
        shown.append(token, style=_shade(share) if share else None)
        if plain and activation:
            shown.append(f"{BEFORE}{activation:.3g}{BEHIND}")
    return shown


def _shade(share: float) -> Style:
    red, green, blue = (round(low + share * (high - low)) for low, high in zip(_PALE, _FULL, strict=True))
    ink = Color.from_rgb(255, 255, 255) if share > 0.5 else Color.from_rgb(0, 0, 0)
    return Style(color=ink, bgcolor=Color.from_rgb(red, green, blue))
