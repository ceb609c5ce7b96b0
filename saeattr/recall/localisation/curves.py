"""Localisation: in which layers a fact sits at its entity, and from which on at the final position.

Everything here reads the table of patches (``tables.RECALL_PATCHES``), fact by fact. **Share** is what a patch moves of
the swing, towards the run that it was taken from: noising -(patched - clean) / (clean - corrupted), denoising
(patched - corrupted) / (clean - corrupted); 0 changes nothing, 1 everything, and below 0 it went the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saeattr.behaviours.pair import DECISION
from saeattr.errors import UserError
from saeattr.patching.places import NO_POSITION
from saeattr.recall.facts.check import ENTITY
from saeattr.stats import mean_interval
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_WORST

#: Where the answer is read, and the last token of an entity of several.
FINAL, ENTITY_LAST = "final", "entity-last"
#: What is patched in every layer at both places.
STREAM = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
#: A fact is released where the damage stays under this share of its maximum.
UNDER = 0.2
#: In place of a layer: the damage does not stay under it, or the curves do not cross, before the last layer.
NEVER = -1

FACT = ["category", "pair_id"]
CURVE = ["direction", "component", "place"]
#: Of rows by curve, fact, layer and head: noising comes first.
ORDER = [False, *[True] * 6]


def check_under(under: float) -> None:
    """Refuse what is no share of a maximum.

    Raises:
        UserError: it is not between 0 and 1.
    """
    if not 0 < under < 1:
        raise UserError(f"--under cannot be {under:g}: a fact is released under a share between 0 and 1")


def recall_curves(patches: pd.DataFrame) -> pd.DataFrame:
    """Every patch at the entity, at its last token and at the final position: ``tables.RECALL_CURVES``.

    Args:
        patches: ``tables.RECALL_PATCHES``.
    """
    # A token is the entity's last if none of the same pair lies behind it.
    of_entity = patches[(patches["position"] != NO_POSITION) & (patches["place"] == ENTITY)]
    last = of_entity.groupby(FACT)["position"].transform("max")
    parts = [of_entity[of_entity["position"] == last].assign(place=ENTITY_LAST)]
    by_place = patches[patches["position"] == NO_POSITION]
    for role, place in ((ENTITY, ENTITY), (DECISION, FINAL)):
        parts.append(by_place[by_place["place"] == role].assign(place=place))
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        return RECALL_CURVES.empty()
    gap, noising = found["corrupted"] - found["clean"], found["direction"] == "noising"
    normalised = np.where(noising, found["effect"] / gap, 1 + found["effect"] / gap)
    found = found.assign(normalised=normalised, share=np.where(noising, normalised, 1 - normalised))
    return RECALL_CURVES.frame(found.sort_values([*CURVE, *FACT, "layer", "head"], ascending=ORDER, kind="stable"))


def release_layer(shares: Sequence[float], under: float = UNDER) -> int:
    """The first layer from which a curve stays under a share of its maximum; ``NEVER`` where it ends above.

    Args:
        shares: one for each layer, in their order.
    """
    limit = under * max(shares)
    above = [layer for layer, share in enumerate(shares) if share >= limit]
    first = above[-1] + 1 if above else 0
    return first if first < len(shares) else NEVER


def crossing_layer(falling: Sequence[float], rising: Sequence[float]) -> int:
    """The first layer from which one curve stays above the other; ``NEVER`` where it ends below."""
    below = [layer for layer, (one, other) in enumerate(zip(falling, rising, strict=True)) if other <= one]
    first = below[-1] + 1 if below else 0
    return first if first < len(rising) else NEVER


def releases(curves: pd.DataFrame, under: float = UNDER) -> pd.DataFrame:
    """Where each fact leaves its entity, for the whole span and for its last token: ``tables.RECALL_RELEASE``."""
    stream = curves[curves["component"] == "resid_pre"]
    heads = curves[(curves["component"] == "z") & (curves["place"] == FINAL)]
    by_fact = dict(iter(heads.groupby([*FACT, "direction"])))
    rows = []
    for key, own in stream.groupby([*FACT, "direction"], sort=False):
        by_place = {str(place): part.sort_values("layer") for place, part in own.groupby("place")}
        if FINAL not in by_place:
            continue
        final = by_place.pop(FINAL)["share"].to_numpy()
        for place, part in by_place.items():
            shares, first = part["share"].to_numpy(), part.iloc[0]
            swing = first["clean"] - first["corrupted"]
            rows.append(
                {
                    **dict(zip([*FACT, "direction"], key, strict=True)),
                    "place": place,
                    "ld_clean": first["clean"],
                    "swing": swing,
                    "max_damage": shares.max() * swing,
                    "max_share": shares.max(),
                    "max_layer": int(shares.argmax()),
                    "release_layer": release_layer(shares, under),
                    "under": under,
                    "cross_layer": crossing_layer(shares, final),
                    "final_share": final[-1],
                    **_worst_head(by_fact.get(key, heads.head(0))),
                }
            )
    return RECALL_RELEASE.frame(pd.DataFrame(rows))


def _worst_head(heads: pd.DataFrame) -> dict[str, float]:
    """The head whose z at the final position moves most."""
    if heads.empty:
        return {"worst_head_layer": NEVER, "worst_head": NEVER, "worst_head_share": float("nan")}
    worst = heads.iloc[int(heads["share"].to_numpy().argmax())]
    return {
        "worst_head_layer": int(worst["layer"]),
        "worst_head": int(worst["head"]),
        "worst_head_share": float(worst["share"]),
    }


def worst_counts(curves: pd.DataFrame) -> pd.DataFrame:
    """In how many facts each layer, or head, moves most: ``tables.RECALL_WORST``; of equal ones the first counts."""
    if curves.empty:
        return RECALL_WORST.empty()
    worst = curves.loc[curves.groupby([*CURVE, *FACT], sort=False)["share"].idxmax()]
    counts = worst.groupby([*CURVE, "layer", "head"]).size().rename("n_facts").reset_index()
    order = [*CURVE, "n_facts"]
    return RECALL_WORST.frame(counts.sort_values(order, ascending=[True, True, True, False], kind="stable"))


def mean_curves(curves: pd.DataFrame, by_category: bool = False) -> pd.DataFrame:
    """Mean share over facts of each curve and layer, with its spread and Student's 95 % interval.

    Args:
        curves: ``tables.RECALL_CURVES``.

    Returns:
        category (where told apart), the columns of ``CURVE``, layer, head, share, share_sd (blank for one fact),
        share_low, share_high, effect (mean, logits), n_facts.
    """
    key = [*(["category"] if by_category else []), *CURVE, "layer", "head"]
    rows = []
    for cell, own in curves.groupby(key, sort=False):
        low, high = mean_interval(own["share"].to_numpy()[None])
        numbers = {"share": own["share"].mean(), "share_sd": own["share"].std(ddof=1)}
        ends = {"share_low": low[0], "share_high": high[0], "effect": own["effect"].mean(), "n_facts": len(own)}
        rows.append({**dict(zip(key, cell, strict=True)), **numbers, **ends})
    names = [*key, "share", "share_sd", "share_low", "share_high", "effect", "n_facts"]
    return pd.DataFrame(rows, columns=pd.Index(names))


def damage_correlations(curves: pd.DataFrame) -> pd.DataFrame:
    """Over facts: the largest damage over layers and heads (logits) against the margin, LD after the clean prompt.

    At layer 0 the entity's tokens are all that differs, so the stream's largest damage there is no less than the swing:
    with the margin that is large by itself. Of attention and MLPs nothing is given.

    Returns:
        the columns of ``CURVE``; pearson, spearman (blank under three facts, or where nothing varies); n_facts.
    """
    rows = []
    for curve, own in curves.assign(damage=curves["share"] * (curves["clean"] - curves["corrupted"])).groupby(CURVE):
        facts = own.groupby(FACT).agg(damage=("damage", "max"), margin=("clean", "first"))
        row = dict(zip(CURVE, curve, strict=True)) | {"pearson": np.nan, "spearman": np.nan, "n_facts": len(facts)}
        if len(facts) > 2 and (facts.std() > 0).all():
            row |= {name: facts.corr(name).loc["damage", "margin"] for name in ("pearson", "spearman")}
        rows.append(row)
    return pd.DataFrame(rows, columns=pd.Index([*CURVE, "pearson", "spearman", "n_facts"]))
