"""Why these sites: in a sentence, and in lines that say what was left out by which limit and how to take it."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from saeattr.runs.memory import megabytes
from saeattr.selection.limits import Limits
from saeattr.settings import flag
from saeattr.tables import SITE, row_site, sites_of

#: More chosen sites than these are not named in a line.
NAMED = 12


def reason(table: pd.DataFrame, limits: Limits) -> str:
    """One sentence: what the chosen sites hold, what limited them, and what the best site left out scores."""
    chosen = table[table["chosen"]].sort_values("score", ascending=False)
    sites = table.drop_duplicates(SITE)
    if len(chosen) == len(sites):
        return f"all {len(sites)} sites are taken."
    names = list(map(str, sites_of(chosen)))
    share = chosen["score"].sum() / sites["score"].sum()
    best, top = chosen.iloc[0], left_out(table).iloc[0].to_dict()
    with_top = len(chosen) + 1, int(chosen["sae_bytes"].sum() + top["bytes"])
    bound = [limits.said(name) for name in limits.exceeded(*with_top)]
    sentence = (
        f"{', '.join(names)} hold {share:.0%} of the score of all {len(sites)} sites"
        + (f", the most that is possible within {' and '.join(bound)}" if bound else "")
        + f"; corrupted activations at {names[0]} move the metric by {best['ablation_effect']:.2f} (summed over roles)"
    )
    return sentence + f", and the best site left out ({row_site(top)}) scores {top['score']:.2f}."


def left_out(table: pd.DataFrame) -> pd.DataFrame:
    """The sites without a chosen SAE, the best first; ``bytes`` is of the smallest of theirs."""
    sites = table.groupby(SITE, sort=False).agg(
        score=("score", "first"), bytes=("sae_bytes", "min"), chosen=("chosen", "any")
    )
    return sites[~sites["chosen"]].sort_values("score", ascending=False, kind="stable").reset_index()


def choice_lines(table: pd.DataFrame, limits: Limits, here_bytes: int | None) -> list[str]:
    """What was chosen, within which limits, what each of them left out, and how to take that.

    Args:
        table: ``tables.LAYER_SCORES``.
        here_bytes: of the chosen SAEs, what was on this machine when they were chosen; None where none is published.
    """
    chosen, left = table[table["chosen"]], left_out(table)
    n_sites, taken = len(chosen) + len(left), int(chosen["sae_bytes"].sum())
    size = f"SAEs of {megabytes(taken)}" + ("" if here_bytes is None else f", {megabytes(here_bytes)} of it was here")
    within = f"; limits: {', '.join(limits.options)}" if limits.options else ""
    if left.empty:
        return [f"sites    all {n_sites} that have an SAE ({size}{within})"]
    names = list(map(str, sites_of(chosen)))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    beyond = Counter(
        name
        for row in left[left["score"] > 0].to_dict("records")
        for name in limits.exceeded(len(chosen) + 1, taken + int(row["bytes"]))
    )
    reasons = [f"{count} beyond {limits.said(name)}" for name, count in beyond.items()]
    unscored = int((left["score"] <= 0).sum())
    reasons += [f"{unscored} without a score"] if unscored else []
    others = int(left["bytes"].sum())
    listed = f"{', '.join(names[:NAMED])}{more}"
    return [
        f"sites    {len(chosen)} of {n_sites}, chosen by the model alone: {listed} ({size}{within})",
        f"left out {len(left)} sites, SAEs of {megabytes(others)}: {', '.join(reasons)}",
        f"         to take them, in another study: {', '.join(_ways(beyond, n_sites, taken + others))}",
    ]


def _ways(beyond: Counter[str], n_sites: int, n_bytes: int) -> list[str]:
    """Options that take what was left out."""
    raised = {"max_sites": str(n_sites), "download": f"{-(-n_bytes // 2**30)}GiB"}
    ways = [f"{flag(name)} {text}" for name, text in raised.items() if name in beyond]
    return [*ways, f"{flag('layers')} all (streams every one)", f"{flag('sites')} for those that you name"]
