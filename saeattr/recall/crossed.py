"""Two halves of the facts: what is chosen on one is tested on the other, both ways round."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from saeattr.behaviours.pair import Pair, by_group, halves

#: How often a part was chosen first, and at all: columns, and what ``chosen`` says there.
COUNTED = {"first": "first", "chosen": "all"}


def times_chosen(tested: pd.DataFrame, column: str, names: pd.Series, chosen: str) -> pd.Series:
    """In how many halves each of some names was chosen.

    Args:
        tested: with ``half``, ``chosen`` (first or all) and, in ``column``, the chosen names with blanks between.
    """
    halves = tested.loc[tested["chosen"] == chosen, ["half", column]].drop_duplicates()[column]
    return names.map(halves.str.split().explode().value_counts()).fillna(0)


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
