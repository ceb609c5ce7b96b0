"""How verdicts are shown, in one place for terminal, figures and page: names in order, colours, and plain words.

The colours are of the colour-blind palette of all figures (``style.PALETTE``), and each verdict has a marker of its own
besides, so that none is told by its colour alone. Causal is the strongest, the opposite sign alarms, what falls short
is quiet, and what could not be asked is grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from saeattr.validation.evidence import FEWEST_PAIRS
from saeattr.validation.verdicts import VERDICTS, Verdict


@dataclass(frozen=True)
class Look:
    """How one verdict is shown.

    Attributes:
        colour: in figures and on the page. marker: in figures; hollow: drawn without a filling.
        style: in the terminal.
        meaning: what it says, in words that need no statistics.
    """

    colour: str
    marker: str
    hollow: bool
    style: str
    meaning: str


LOOKS: dict[Verdict, Look] = {
    "causal": Look(
        "#0173b2",
        "o",
        False,
        "bold cyan",
        "Patching the feature changes the metric in pairs that had no part in choosing it, by more than the smallest "
        "effect of interest, in the direction that was estimated, and by more than nearly all moves of the same length "
        "along other features do.",
    ),
    "opposite sign": Look(
        "#d55e00",
        "s",
        False,
        "bold red",
        "As strong and as sure as a causal one, but the metric moves the other way than was estimated: trust the "
        "measured effect, and mistrust the estimates of its site.",
    ),
    "within controls": Look(
        "#ca9161",
        "^",
        False,
        "yellow",
        "Patching it has an effect, but so have too many moves of the same length, at the same tokens, along other "
        "features: it shows that the site matters, not that this feature does.",
    ),
    "small": Look(
        "#56b4e9",
        "v",
        False,
        "blue",
        "It has an effect that may be smaller than the smallest of interest, a share of the gap between clean and "
        "corrupted metric.",
    ),
    "not shown": Look(
        "#737373",
        "o",
        True,
        "dim",
        "The pairs do not settle that it has an effect: its interval holds 0, or over all that the study tests such an "
        "effect can be chance. A real effect can end here when pairs are few.",
    ),
    "too few pairs": Look(
        "#999999",
        "x",
        False,
        "dim",
        f"Fewer than {FEWEST_PAIRS} distinct pairs tested it: no interval reaches 95 %, so nothing is said.",
    ),
    "too few controls": Look(
        "#999999",
        "+",
        False,
        "dim",
        "It has an effect, but the site has too few other active features to compare it with.",
    ),
}


def count_verdicts(verdicts: Iterable[str]) -> str:
    """``5 causal, 3 within controls``: how many there are of each, the strongest first; blank without any."""
    given = list(verdicts)
    counts = ((name, given.count(name)) for name in VERDICTS)
    return ", ".join(f"{count} {name}" for name, count in counts if count)
