"""What the removal of some heads is compared with: other heads, and equally large displacements of the stream."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.recall.movers.heads import Head

#: Controls of a kind, where there are more.
CONTROLS = 200
#: So many sets are listed; of more, some are drawn.
LISTED = 2000


def other_sets(movers: Sequence[Head], avoided: Sequence[Head], shape: Head, seed: int) -> list[tuple[Head, ...]]:
    """Sets of as many other heads, as many of them in each third of the layers as there are movers.

    Every set where there are at most ``CONTROLS``, else so many drawn; none where a third has too few other heads.

    Args:
        avoided: heads that are in no set, the movers among them.
        shape: layers, and heads of each.
        seed: of the draw.
    """
    n_layers, n_heads = shape

    def third(head: Head) -> int:
        return 3 * head[0] // n_layers

    wanted = Counter(third(head) for head in movers)
    heads = [head for head in itertools.product(range(n_layers), range(n_heads)) if head not in set(avoided)]
    by_third = [([head for head in heads if third(head) == part], size) for part, size in sorted(wanted.items())]
    number = math.prod(math.comb(len(own), size) for own, size in by_third)
    rng = np.random.default_rng(seed)
    if number <= LISTED:
        parts = itertools.product(*(itertools.combinations(own, size) for own, size in by_third))
        sets = [tuple(itertools.chain(*part)) for part in parts]
        if len(sets) > CONTROLS:
            sets = [sets[at] for at in sorted(rng.choice(len(sets), CONTROLS, replace=False))]
        return sets
    drawn: dict[tuple[Head, ...], None] = {}
    while len(drawn) < CONTROLS:
        picked = [own[at] for own, size in by_third for at in sorted(rng.choice(len(own), size, replace=False))]
        drawn[tuple(picked)] = None
    return list(drawn)


def random_directions(n_layers: int, width: int, seed: int) -> Float[Tensor, "controls layers width"]:
    """Unit vectors, evenly over all directions: ``CONTROLS`` for each of some layers."""
    drawn = np.random.default_rng(seed).standard_normal((CONTROLS, n_layers, width))
    return torch.from_numpy(drawn / np.linalg.norm(drawn, axis=2, keepdims=True)).float()
