"""A feature's picture: the texts token by token, shaded where it fires; of pairs the clean above the corrupted one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saeattr.features.texts import Look, ReadText
from saeattr.reporting.figures.style import (
    CLEAN,
    CORRUPTED,
    figure_text,
    house_style,
    new_figure,
    show_token,
)
from saeattr.tables import Feature, address, at_site

#: Letters in a line, the room for its name, inches of a letter and of a line, and points of the font.
LETTERS, NAME, LETTER, LINE, FONT = 118, 17, 0.066, 0.2, 7.5
#: A token is shortened to so many letters.
LONGEST = 40
#: Above a token at which the model decides.
DECIDES = "\u25be"
#: Roles that the title names.
MOST_ROLES = 4


@dataclass(frozen=True)
class Block:
    """Texts that stand one above the other: the prompts of an aligned pair, or one text.

    Attributes:
        numbers: which of the look's texts.
        lines: for each line the positions in it, of all texts alike.
    """

    numbers: tuple[int, ...]
    lines: tuple[range, ...]


def feature_picture(look: Look, feature: Feature | None = None, label: str = "") -> Figure:
    """Where a feature fires, every token but BOS; the shade is its activation, on one scale for all texts.

    Args:
        feature: one of the look's; None where there is only one.
        label: its words on Neuronpedia.
    """
    chosen = look.features[0] if feature is None else feature
    rows = at_site(look.table, chosen[0])
    rows = rows[rows["feature"] == chosen[1]]
    activations = [np.zeros(len(text.ids)) for text in look.texts]
    for row in rows.to_dict("records"):
        activations[row["text"]][row["position"]] = row["activation"]
    largest = max(float(own.max()) for own in activations)
    blocks = list(_blocks(look.texts))
    n_lines = sum(len(block.lines) * len(block.numbers) + 0.6 * len(block.lines) + 0.3 for block in blocks)
    title = _title(look, chosen, label, activations)
    with house_style():
        width = LETTER * (LETTERS + NAME) + 0.9
        lines = [part for line in title for part in textwrap.wrap(line, int(width * 13.5))]
        figure = new_figure(width, 0.5 + 0.17 * len(lines) + LINE * n_lines)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(-NAME, LETTERS)
        axes.set_ylim(n_lines, -0.4)
        at = 0.0
        for block in blocks:
            at = _draw_block(axes, look.texts, block, activations, at, largest) + 0.3
        scale = ScalarMappable(Normalize(0, largest or 1.0), shades())
        bar = figure.colorbar(scale, ax=axes, shrink=min(1.0, 8 / max(n_lines, 1)), aspect=14, pad=0.01)
        bar.set_label("activation")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        figure.suptitle(figure_text("\n".join(lines)), x=0.01, ha="left", fontsize=9.5)
    return figure


def shades() -> Colormap:
    """White where a feature does not fire, blue where it fires most."""
    return LinearSegmentedColormap.from_list("white to blue", ["#ffffff", "#bcd9ee", "#5aa2d6", "#015fa0"])


def shown(token: str) -> str:
    """A token as it is written: white space and control characters visible, a blank before a word kept."""
    plain = show_token(token, LONGEST)
    return f" {plain}" if token.startswith(" ") and token.strip(" ") else plain


def _blocks(texts: Sequence[ReadText]) -> Iterator[Block]:
    """The texts in order, aligned pairs together."""
    number = 0
    while number < len(texts):
        together = [number]
        if _is_pair(texts, number):
            together.append(number + 1)
        starts = range(texts[number].start, len(texts[number].ids))
        widths = [max(len(shown(texts[one].tokens[at])) for one in together) for at in starts]
        yield Block(tuple(together), tuple(_wrapped(widths, texts[number].start)))
        number += len(together)


def _is_pair(texts: Sequence[ReadText], number: int) -> bool:
    """Whether a text is a clean prompt and the next one its corrupted, token below token."""
    first, second = texts[number].of, texts[number + 1].of if number + 1 < len(texts) else None
    if first is None or second is None or not first.aligned:
        return False
    same = (first.group, first.pair_id) == (second.group, second.pair_id)
    return same and (first.run, second.run) == ("clean", "corrupted")


def _wrapped(widths: Sequence[int], start: int) -> Iterator[range]:
    """Positions line by line, as many tokens in each as fit."""
    begins, room = [0], 0
    for at, width in enumerate(widths):
        if at > begins[-1] and room + width > LETTERS:
            begins.append(at)
            room = 0
        room += width
    for begin, end in pairwise([*begins, len(widths)]):
        yield range(start + begin, start + end)


def _draw_block(
    axes: Axes,
    texts: Sequence[ReadText],
    block: Block,
    activations: Sequence[np.ndarray],
    top: float,
    largest: float,
) -> float:
    """Draw a block from ``top`` on; where it ends."""
    both = [texts[number] for number in block.numbers]
    for nth, positions in enumerate(block.lines):
        if nth == 0:
            for row, text in enumerate(both):
                _name(axes, text, block.numbers[row], top + row)
        left = 0.0
        for at in positions:
            pieces = [shown(text.tokens[at]) for text in both]
            wide = max(map(len, pieces))
            differs = len({text.ids[at] for text in both}) > 1
            for row, (piece, text, number) in enumerate(zip(pieces, both, block.numbers, strict=True)):
                share = activations[number][at] / largest if largest else 0.0
                _draw_token(axes, (left, top + row), wide, piece, share, differs)
                if text.of is not None and at in text.of.points and row == 0:
                    axes.text(left + wide / 2, top - 0.02, DECIDES, ha="center", va="bottom", fontsize=7)
            left += wide
        top += len(both) + 0.6
    return top


def _draw_token(axes: Axes, at: tuple[float, float], wide: int, piece: str, share: float, differs: bool) -> None:
    if share:
        axes.add_patch(Rectangle(at, wide, 0.92, facecolor=shades()(share), edgecolor="0.75", linewidth=0.3))
    ink = "white" if share > 0.62 else "black"
    weight = "bold" if differs else "normal"
    look = {"family": "DejaVu Sans Mono", "fontsize": FONT, "weight": weight, "color": ink, "va": "center_baseline"}
    # Each letter has its own place, so that a font's own widths do not matter.
    axes.text(at[0] + len(piece) / 2, at[1] + 0.47, figure_text(piece), ha="center", **look)


def _name(axes: Axes, text: ReadText, number: int, at: float) -> None:
    """Whose line it is, at its left."""
    if text.of is None:
        name, colour = f"text {number + 1}", "black"
    elif text.of.run == "clean":
        name, colour = f"{show_token(text.of.group, 10)} {show_token(text.of.pair_id, 6)} clean", CLEAN
    else:
        name, colour = "corrupted", CORRUPTED
    axes.text(-0.8, at + 0.47, figure_text(name), ha="right", va="center_baseline", fontsize=FONT, color=colour)


def _title(look: Look, feature: Feature, label: str, activations: Sequence[np.ndarray]) -> list[str]:
    """The feature, then where it fires: of pairs by role and run, else at how many tokens."""
    largest = max(float(own.max()) for own in activations)
    first = address(*feature) + (f"  {show_token(label, 100)}" if label else "")
    n_firing, n_tokens = sum(int((own > 0).sum()) for own in activations), 0
    for text in look.texts:
        n_tokens += len(text.ids) - text.start
    if not n_firing:
        return [first, f"does not fire at any of {n_tokens} tokens (BOS left out)"]
    lines = [first, f"fires at {n_firing} of {n_tokens} tokens (BOS left out), largest {largest:.3g}; {look.model}"]
    if any(text.of is not None for text in look.texts):
        lines[1] += f"; {DECIDES} the model decides here; bold: the prompts differ"
        lines += [f"{run}: {words}" for run, words in firing_by_role(look, activations).items()]
    return lines


def firing_by_role(look: Look, activations: Sequence[np.ndarray]) -> Mapping[str, str]:
    """For clean and corrupted prompts, in how many of the pairs it fires at a token of each role."""
    found: dict[str, str] = {}
    for run in ("clean", "corrupted"):
        own = [nth for nth, text in enumerate(look.texts) if text.of is not None and text.of.run == run]
        if not own:
            continue
        counts: dict[str, int] = {}
        for nth in own:
            of = look.texts[nth].of
            assert of is not None
            roles = {of.roles[at] for at in np.flatnonzero(activations[nth] > 0)}
            for role in roles:
                counts[role or "no partner"] = counts.get(role or "no partner", 0) + 1
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        words = [f"at {role} in {count}" for role, count in ranked[:MOST_ROLES]]
        more = f" and {len(ranked) - MOST_ROLES} more roles" if len(ranked) > MOST_ROLES else ""
        found[run] = f"fires {', '.join(words)}{more} of {len(own)} prompts" if ranked else "does not fire"
    return found
