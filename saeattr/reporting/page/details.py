"""Feature pages as plain values for the page's script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeattr.features.activity import Activity, Context
from saeattr.features.detail import FeatureDetail
from saeattr.reporting.figures.style import show_token
from saeattr.tables import address


def context_rows(contexts: Sequence[Context], groups: Sequence[str]) -> list[dict[str, Any]]:
    """group (its number), pair_id, start, tokens, roles, swaps of each context."""
    return [
        {
            "group": groups.index(context.group),
            "pair_id": context.pair_id,
            "start": context.start,
            "tokens": context.tokens,
            "roles": context.roles,
            "swaps": context.swaps,
        }
        for context in contexts
    ]


def activity_values(activity: Activity) -> dict[str, Any]:
    """firings, histogram, and density in words."""
    return {
        "firings": activity.firings,
        "histogram": {
            "edges": activity.edges,
            "clean": activity.counts_clean,
            "corrupted": activity.counts_corrupted,
        },
        "density": density_words(activity),
    }


def detail_values(detail: FeatureDetail, contexts: Sequence[Context]) -> dict[str, Any]:
    """The activity, and what only the model can tell: logits, neighbours, upstream features with where they act."""
    values = {
        **activity_values(detail.activity),
        "top_logits": detail.top_logits,
        "bottom_logits": detail.bottom_logits,
        "neighbours": [(address(detail.site, feature), cosine) for feature, cosine in detail.neighbours],
    }
    if detail.target is None or detail.upstream is None or not detail.upstream.sites:
        return values
    pair, position = detail.target
    context = contexts[pair]
    values["upstream"] = [
        (address(one.site, one.feature), one.effect, _place(context, one.position)) for one in detail.upstream.features
    ]
    values["upstream_sites"] = [(str(site), features, error) for site, features, error in detail.upstream.sites]
    values["upstream_at"] = f"{context.group}, pair {context.pair_id}, position {position}: {_place(context, position)}"
    return values


def _place(context: Context, position: int) -> str:
    """``newline X at 41``."""
    at = position - context.start
    return f"{context.roles[at]} {show_token(context.tokens[at])} at {position}"


def density_words(activity: Activity) -> str:
    """How often the feature is active, and where."""
    of = f"of {activity.n_tokens} tokens"
    words = f"Active at {_share(activity.active_clean, activity.n_tokens)} {of} in the clean run"
    if activity.active_corrupted is not None:
        words += f", {_share(activity.active_corrupted, activity.n_tokens)} in the corrupted run"
    roles = ", ".join(f"{role} {share:.0%}" for role, share in activity.roles[:3] if share >= 0.005)
    return words + (f". Of its activation in the clean run: {roles}." if roles else ".")


def _share(count: int, of: int) -> str:
    return f"{100 * count / max(1, of):.2g} %"
