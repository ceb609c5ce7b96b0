"""Two halves of the facts: what is chosen on one is tested on the other, both ways round."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.behaviours.pair import Pair, by_group, halves


def crossed(pairs: Sequence[Pair]) -> list[tuple[list[Pair], list[Pair]]]:
    """The facts that choose beside those that test, twice: every fact tests once.

    Every second category goes to the other half, so that facts of one relation never choose for each other; facts of a
    single category are halved so that they share no entity where that can be had. Fewer than two facts give nothing.
    """
    categories = by_group(pairs)
    if len(categories) > 1:
        parts = list(categories.values())
        first, second = ([pair for part in parts[start::2] for pair in part] for start in (0, 1))
    else:
        first, second = halves(pairs) if pairs else ([], [])
    return [(first, second), (second, first)] if first and second else []
