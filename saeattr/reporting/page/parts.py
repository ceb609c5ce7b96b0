"""The page's sections that not every study has, in the order in which a study's stages follow each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A section with figures.

    Attributes:
        name: what its figures call it, and its anchor.
        intro: how to read it, in a sentence or two.
        lines: what was found, a line each.
    """

    name: str
    title: str
    intro: str
    lines: tuple[str, ...] = ()


#: Before the features, and after them.
BEFORE = (
    Part("lists", "Lists", "What the sampled lists are like; lists that were asked for as long ones stand beside."),
    Part(
        "entropy",
        "Entropy",
        "Entropy of the next-token distribution, in nats, where an item may end: as the lists were written, and with "
        "the other word in the request.",
    ),
    Part(
        "lens",
        "Logit lens",
        "What the residual stream would say after each layer: the final norm and the unembedding of two sides of "
        "tokens put to it.",
    ),
    Part(
        "patching",
        "Patching",
        "A component's activation of one prompt put into the run of the other. Normalised: 0 is the clean run, 1 the "
        "corrupted one.",
    ),
    Part(
        "recall",
        "Factual recall",
        "Where the model holds facts, what moves them to the final position, and what its sources claim of that. "
        "Swing: the metric after the clean prompt minus after the corrupted one, which differ in the entity alone.",
    ),
    Part("selection", "Layers", "What the sites were chosen by, before any SAE was opened."),
)
AFTER = (
    Part(
        "generation",
        "Generation",
        "Lists written while a site's first features are held at their base value; controls move it as far along "
        "other features.",
    ),
    Part("overlap", "Overlap", "Which features recur in the top sets of several groups, against chance."),
)


def present(parts: Sequence[Part], sections: Collection[str], lines: Mapping[str, Sequence[str]]) -> list[Part]:
    """The sections that have a figure or something to say."""
    told = [dataclasses.replace(part, lines=tuple(lines.get(part.name, ()))) for part in parts]
    return [part for part in told if part.lines or part.name in sections]
