"""Where features fire in a study's pairs: tokens with activations, clean beside corrupted, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.tables import FEATURE, PAIR

BINS = 20
#: A feature's page shows so many pairs, at most one of each group while there are groups left.
SHOWN_PAIRS = 6


@dataclass(frozen=True)
class Context:
    """A list as its tokens.

    Attributes:
        start: position of the first token kept (BOS is position 0).
        swaps: the corrupted run's token where it differs, by index into ``tokens``.
    """

    group: str
    pair_id: str
    start: int
    tokens: tuple[str, ...]
    roles: tuple[str, ...]
    swaps: dict[int, str]


@dataclass(frozen=True)
class Firing:
    """A feature's activations in one context, where either is above zero; ``position`` indexes the context's tokens."""

    context: int
    position: tuple[int, ...]
    clean: tuple[float, ...]
    corrupted: tuple[float, ...] | None


@dataclass(frozen=True)
class Activity:
    """How one feature fires.

    Attributes:
        firings: the pairs with the largest activations, the largest first.
        n_tokens, active_clean, active_corrupted: tokens seen, and at how many the feature is active.
        edges, counts_clean, counts_corrupted: histogram of the activations above zero.
        roles: share of the clean run's summed activation by role, the largest first.
    """

    firings: tuple[Firing, ...]
    n_tokens: int
    active_clean: int
    active_corrupted: int | None
    edges: tuple[float, ...]
    counts_clean: tuple[int, ...]
    counts_corrupted: tuple[int, ...] | None
    roles: tuple[tuple[str, float], ...]


def table_activities(
    groups: Iterable[tuple[pd.DataFrame, pd.DataFrame]], chosen: pd.DataFrame, base: str
) -> tuple[list[Context], dict[tuple[int, str, int], Activity]]:
    """Contexts and activities from attributions.parquet alone, so over the positions that can have an effect.

    Args:
        groups: attributions.parquet and pairs.parquet, group by group, to hold little in memory.
        chosen: layer, kind, feature. base: the study's; only the corrupted base tells the corrupted activations.

    Returns:
        the contexts, and the activity of each feature by (layer, kind, feature).
    """
    contexts: list[Context] = []
    parts = []
    for table, pairs in groups:
        index = {}
        for context in _stored_contexts(table, pairs):
            index[context.group, context.pair_id] = len(contexts)
            contexts.append(context)
        own = table.merge(chosen[FEATURE], on=FEATURE)
        at = [index[key] for key in zip(own["group"], own["pair_id"], strict=True)]
        parts.append(own[[*FEATURE, "position", "act_clean", "act_base"]].assign(context=at))
    own = pd.concat(parts, ignore_index=True)
    n_tokens = sum(len(context.tokens) for context in contexts)
    found = {}
    for key, rows in own.groupby(FEATURE):
        start = np.array([contexts[at].start for at in rows["context"]])
        corrupted = rows["act_base"].to_numpy(dtype=float) if base == "corrupted" else None
        where = (rows["context"].to_numpy(), rows["position"].to_numpy() - start)
        found[key] = summarise(*where, rows["act_clean"].to_numpy(dtype=float), corrupted, contexts, n_tokens)
    return contexts, found


def summarise(
    context: NDArray[np.int64],
    position: NDArray[np.int64],
    clean: NDArray[np.float64],
    corrupted: NDArray[np.float64] | None,
    contexts: Sequence[Context],
    n_tokens: int,
) -> Activity:
    """The activity of one feature from its active tokens: context and position of each, and both activations."""
    both = clean if corrupted is None else np.maximum(clean, corrupted)
    most = float(both.max()) if len(both) else 1.0
    edges = np.linspace(0, most or 1.0, BINS + 1)
    roles = np.array([contexts[c].roles[p] for c, p in zip(context, position, strict=True)], dtype=object)
    shares = pd.Series(clean).groupby(roles).sum().sort_values(ascending=False, kind="stable")
    shares = shares[shares > 0] / max(float(shares.sum()), 1e-12)
    firings = []
    for at in _shown(context, both, contexts):
        here = np.flatnonzero((context == at) & (both > 0))
        here = here[np.argsort(position[here])]
        firings.append(
            Firing(
                int(at),
                tuple(map(int, position[here])),
                tuple(map(float, clean[here])),
                None if corrupted is None else tuple(map(float, corrupted[here])),
            )
        )
    return Activity(
        tuple(firings),
        n_tokens,
        int((clean > 0).sum()),
        None if corrupted is None else int((corrupted > 0).sum()),
        tuple(map(float, edges)),
        _counts(clean, edges),
        None if corrupted is None else _counts(corrupted, edges),
        tuple((str(role), float(share)) for role, share in shares.items()),
    )


def keep_used(
    contexts: Sequence[Context], activities: dict[tuple[int, str, int], Activity]
) -> tuple[list[Context], dict[tuple[int, str, int], Activity]]:
    """The contexts that some activity shows, and the activities with the contexts' new numbers."""
    used = sorted({firing.context for activity in activities.values() for firing in activity.firings})
    number = {old: new for new, old in enumerate(used)}
    moved = {
        key: replace(
            activity, firings=tuple(replace(firing, context=number[firing.context]) for firing in activity.firings)
        )
        for key, activity in activities.items()
    }
    return [contexts[at] for at in used], moved


def _stored_contexts(attributions: pd.DataFrame, pairs: pd.DataFrame) -> list[Context]:
    """The tokens of each pair between the first and the last position that the attributions know."""
    spans = attributions.groupby(PAIR, sort=False)["position"].agg(["min", "max"])
    contexts = []
    for row in pairs.to_dict("records"):
        key = (row["group"], row["pair_id"])
        if key not in spans.index:
            continue
        first, last = (int(spans.loc[key, end]) for end in ("min", "max"))  # pyright: ignore[reportArgumentType]
        tokens, other, roles = (
            tuple(map(str, row[name][first : last + 1])) for name in ("clean_tokens", "corrupted_tokens", "roles")
        )
        swaps = {at: after for at, (before, after) in enumerate(zip(tokens, other, strict=False)) if before != after}
        contexts.append(Context(str(key[0]), str(key[1]), first, tokens, roles, swaps))
    return contexts


def _shown(context: NDArray[np.int64], both: NDArray[np.float64], contexts: Sequence[Context]) -> list[int]:
    """The contexts to show: the best of each group first, then the next best."""
    peaks = pd.Series(both).groupby(context).max()
    peaks = peaks[peaks > 0]
    ranks = pd.DataFrame({"peak": peaks, "group": [contexts[at].group for at in peaks.index]})
    ranks = ranks.sort_values("peak", ascending=False, kind="stable")
    ranks["nth"] = ranks.groupby("group").cumcount()
    chosen = ranks.sort_values(["nth", "peak"], ascending=[True, False], kind="stable").head(SHOWN_PAIRS)
    return list(chosen.sort_values("peak", ascending=False, kind="stable").index)


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(map(int, np.histogram(values[values > 0], edges)[0]))
