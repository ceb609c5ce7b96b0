"""What removing movers did beside its controls, over facts: a table, and what the sources say judged by it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.movers.heads import TOP
from saeattr.stats import share_interval
from saeattr.tables import RECALL_REMOVED

PART = "movers"
PAPER = "arXiv 2403.19521, mover heads"
WANTED = "mover heads, break condition"
#: Of equally large controls, so many must hurt less.
HURT_LESS = 0.95
FACT = ["group", "pair_id"]


def summarise_removal(removal: pd.DataFrame) -> pd.DataFrame:
    """Each removal, and each kind of its controls: ``tables.RECALL_REMOVED``.

    A control is compared with the movers over the facts that have it: halves that chose other movers have other ones.

    Args:
        removal: ``tables.RECALL_REMOVAL``.
    """
    rows = []
    for (chosen, name), own in removal.groupby(["chosen", "removal"], sort=False):
        own = own.assign(gap=own["corrupted"] - own["clean"])
        own["damage"] = own["change"] / own["gap"]
        movers = own[own["control"] == ""]
        halves = " | ".join(movers["movers"].unique())
        about = {"chosen": chosen, "removal": name, "movers": halves, "n_facts": len(movers)}
        whole = {"damage": movers["change"].sum() / movers["gap"].sum(), "relative_size": 1.0, "n_controls": 0}
        rows.append({**about, "control": "", **whole})
        for control, drawn in own[own["control"] != ""].groupby("control", sort=False):
            beside = drawn.merge(movers[[*FACT, "change", "size", "damage"]], on=FACT, suffixes=("", "_movers"))
            rows.append({**about, "control": control, **_beside(beside)})
    return RECALL_REMOVED.frame(pd.DataFrame(rows))


def _beside(drawn: pd.DataFrame) -> dict[str, float]:
    """Controls of a kind, each row with the movers' own removal in the same fact."""
    sums = drawn.groupby("draw")[["change", "change_movers", "gap"]].sum()
    means, movers = sums["change"] / sums["gap"], sums["change_movers"] / sums["gap"]
    less = int((means < movers).sum())
    low, high = share_interval(less, len(sums))
    by_fact = (drawn["damage"] < drawn["damage_movers"]).groupby([drawn[name] for name in FACT]).mean()
    worse = int((by_fact >= HURT_LESS).sum())
    ends = share_interval(worse, len(by_fact))
    return {
        "n_controls": len(sums),
        "damage": means.mean(),
        "damage_high": float(np.quantile(means, 0.95)),
        "relative_size": drawn["size"].mean() / drawn["size_movers"].mean(),
        "hurt_less": less / len(sums),
        "hurt_less_low": low,
        "hurt_less_high": high,
        "facts": worse / len(by_fact),
        "facts_low": ends[0],
        "facts_high": ends[1],
    }


def mover_claims(removed: pd.DataFrame, heads: pd.DataFrame, removal: pd.DataFrame) -> list[Claim]:
    """What is said of mover heads, judged by facts that did not choose them.

    Args:
        removed: ``tables.RECALL_REMOVED``; heads: ``tables.RECALL_HEADS``; removal: ``tables.RECALL_REMOVAL``.
    """
    claims = []
    for name, words in (("mean", "put to its mean over others"), ("corrupted", "put to the corrupted run's")):
        own = removed[(removed["chosen"] == "first") & (removed["removal"] == name)].set_index("control")
        if "random" not in own.index:
            continue
        random = own.loc["random"]
        statement = (
            f"one head moves the entity: its output {words}, facts suffer more than by 95 % of equal random moves"
        )
        claims.append(
            Claim(
                PART,
                f"first-{name}-random",
                statement,
                WANTED,
                f"share of {random['n_controls']} random directions that hurt less, in the mean over facts",
                float(random["hurt_less"]),
                float(random["hurt_less_low"]),
                float(random["hurt_less_high"]),
                "above",
                HURT_LESS,
                int(random["n_controls"]),
            )
        )
        claims += _by_fact(own, name, words)
    return [*claims, *_copying(heads, removal)]


def _by_fact(own: pd.DataFrame, name: str, words: str) -> list[Claim]:
    """The same fact by fact, against the directions that other heads write in."""
    if "directions" not in own.index:
        return []
    row = own.loc["directions"]
    return [
        Claim(
            PART,
            f"first-{name}-directions",
            f"that head {words}, most facts suffer more than by 95 % of equal moves along other heads' outputs",
            WANTED,
            f"share of facts that at least 95 % of {row['n_controls']} other heads' directions hurt less",
            float(row["facts"]),
            float(row["facts_low"]),
            float(row["facts_high"]),
            "above",
            0.5,
            int(row["n_facts"]),
        )
    ]


def _copying(heads: pd.DataFrame, removal: pd.DataFrame) -> list[Claim]:
    """Whether the head that was chosen on the other facts writes the entity's own token."""
    if removal.empty:
        return []
    first = removal[(removal["chosen"] == "first") & (removal["control"] == "")]
    chosen = first[[*FACT, "movers"]].drop_duplicates()
    named = heads.assign(movers=heads["layer"].astype(str) + "." + heads["head"].astype(str))
    ranks = named.merge(chosen, on=[*FACT, "movers"])["entity_rank"]
    copied = int((ranks <= TOP).sum())
    low, high = share_interval(copied, len(ranks))
    return [
        Claim(
            PART,
            "first-copies",
            "a mover writes the entity: in most facts its token is among the ten that it raises most",
            PAPER,
            f"share of facts whose entity is among the {TOP} tokens that the head raises most",
            copied / len(ranks),
            low,
            high,
            "above",
            0.5,
            len(ranks),
        )
    ]
