"""Which share of facts is answered otherwise when steered, and what of the sources' statements that bears out.

Everything here reads ``tables.STEERED``. **Flipped** is LD < 0: the corrupted answer's logit is above the clean one's.
**first** is stricter: the corrupted answer is the likeliest of all tokens. A move that only destroys what the model
knew can flip a fact too, but hardly makes one given token the first of all: the claims are about first.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.recall.claims import Claim, Side
from saeattr.recall.steering.moves import ACTIVATION, ALL, ENTITY, FEATURES, FINAL, OTHER, RANDOM, SAME
from saeattr.recall.steering.worlds import FALSE, WORLD
from saeattr.stats import share_interval
from saeattr.tables import RECALL_STEERING, RECALL_WORLDS

#: What is steered alike: a cell of the table of shares.
CELL = ["layer", "kind", "place", "towards", "n_features", "strength"]
FACT = ["group", "pair_id"]
#: What is asked alike behind a statement.
ASKED = ["about", "layer", "kind", "place", "towards", "strength"]
#: Another fact's features, and other features' directions.
CONTROLS = (SAME, OTHER, RANDOM)
#: Stated before anything was measured: most facts, hardly any, nearly all.
MOST, HARDLY, NEARLY = 0.5, 0.1, 0.8
#: The strength and the number of features that claims are about.
STRENGTH, FEW = 1.0, 5

LINDSEY, MENG = "Lindsey et al. 2025", "Meng et al. 2022"
WORLDS_SOURCE = "fictional worlds"


def flip_shares(steered: pd.DataFrame) -> pd.DataFrame:
    """Share of facts that flip, site by site and way by way: ``tables.RECALL_STEERING``.

    Args:
        steered: ``tables.STEERED``; facts that the model does not know (clean LD of 0 or less) are left out.
    """
    rows = []
    for cell, own in _known(steered).groupby(CELL, sort=True):
        n, shares = len(own), {}
        for name, hit in (("flipped", own["ld"] < 0), ("first", own["rank_corrupt"] == 1)):
            low, high = share_interval(int(hit.sum()), n)
            shares |= {name: hit.mean(), f"{name}_low": low, f"{name}_high": high}
        rows.append(
            {
                **dict(zip(CELL, cell, strict=True)),
                "n_facts": n,
                **shares,
                "kept": (own["rank_clean"] == 1).mean(),
                "share": ((own["clean"] - own["ld"]) / (own["clean"] - own["corrupted"])).mean(),
                "length": own["length"].mean(),
                "cosine": own["cosine"].mean(),
                "n_moved": own["n_moved"].where(own["n_moved"] >= 0).mean(),
            }
        )
    return RECALL_STEERING.frame(pd.DataFrame(rows))


def steering_claims(part: str, steered: pd.DataFrame) -> list[Claim]:
    """What is said of steering, of resid_post at strength 1; nothing without such a site.

    The layer that claims about the best one are of is chosen by every second fact and tested on the others.
    """
    own = _known(steered)
    own = own[(own["kind"] == "resid_post") & (own["strength"] == STRENGTH)]
    layers = sorted(own["layer"].unique())
    if not layers:
        return []
    middle, testing = layers[len(layers) // 2], _second_half(own)
    best = _best_layer(own[~testing])
    tested, at_entity = own[testing & (own["layer"] == best)], "all features set at the entity"
    first = "share of facts whose corrupted answer becomes the first of all tokens"
    found = [
        _share(
            (part, "entity-flips"),
            ("Setting an entity's features to another's gives the other's answer", LINDSEY),
            f"{first}, {at_entity} in the layer that half of the facts chose ({best})",
            _first(tested, ENTITY, FEATURES),
            ("above", MOST),
        ),
        _share(
            (part, "entity-middle"),
            ("The entity decides the answer still in the middle layers", MENG),
            f"{first}, {at_entity} in layer {middle}, the middle one of those steered",
            _first(own[own["layer"] == middle], ENTITY, FEATURES),
            ("above", MOST),
        ),
        _share(
            (part, "controls"),
            ("A move as long in another direction does not give that answer", "control"),
            f"{first} under any of the controls, at the final position in layer {middle}",
            _any_control(own[own["layer"] == middle], FINAL),
            ("below", HARDLY),
        ),
    ]
    swapped = own[(own["layer"] == middle)]
    whole, every = (_first(swapped, FINAL, towards) for towards in (ACTIVATION, FEATURES))
    few = _first(swapped, FINAL, FEATURES, FEW)
    where = f"at the final position in layer {middle}"
    found += [
        _share(
            (part, "features-carry"),
            ("The features carry the fact, and not the error term", LINDSEY),
            f"of the facts that the whole activation gives the other answer, the share that all features do, {where}",
            every[whole],
            ("above", NEARLY),
        ),
        _share(
            (part, "few-features"),
            (f"{FEW} features are enough", LINDSEY),
            f"of the facts that all features give the other answer, the share that the {FEW} largest do, {where}",
            few[every],
            ("above", MOST),
        ),
    ]
    return found


def world_shares(worlds: pd.DataFrame) -> pd.DataFrame:
    """Share of facts that take the corrupted answer behind a statement: ``tables.RECALL_WORLDS``."""
    rows = []
    for cell, own in worlds.groupby(ASKED, sort=True):
        hit = own["rank_corrupt"] == 1
        low, high = share_interval(int(hit.sum()), len(own))
        told = {"n_facts": len(own), "first": hit.mean(), "first_low": low, "first_high": high}
        told |= {"kept": (own["rank_clean"] == 1).mean(), "ld": own["ld"].mean()}
        rows.append({**dict(zip(ASKED, cell, strict=True)), **told})
    return RECALL_WORLDS.frame(pd.DataFrame(rows))


def world_claims(part: str, worlds: pd.DataFrame) -> list[Claim]:
    """Whether a context makes a world, and whether its mean change of features moves facts that had no part in it."""
    layers = sorted(worlds.loc[worlds["layer"] >= 0, "layer"].unique())
    if not layers:
        return []
    middle, own = layers[len(layers) // 2], worlds[worlds["about"] == "own"]
    moved = own[(own["towards"] == WORLD) & (own["layer"] == middle)]
    moved = moved[(moved["place"] == FINAL) & (moved["strength"] == STRENGTH)]
    first = "share of facts whose corrupted answer is the first of all tokens"
    return [
        _share(
            (part, "world-believed"),
            ("A statement of another answer before the question is believed", WORLDS_SOURCE),
            f"{first} behind the false statement of the fact itself",
            own.loc[own["towards"] == FALSE, "rank_corrupt"] == 1,
            ("above", MOST),
        ),
        _share(
            (part, "world-moves"),
            ("Features that change between worlds move facts that did not show them", WORLDS_SOURCE),
            f"{first} behind the true statement, moved by the mean of the other half at the end, in layer {middle}",
            moved["rank_corrupt"] == 1,
            ("above", MOST),
        ),
    ]


def _known(steered: pd.DataFrame) -> pd.DataFrame:
    return steered[(steered["clean"] > 0) & (steered["corrupted"] < steered["clean"])]


def _second_half(own: pd.DataFrame) -> pd.Series:
    """Whether a row is of every second fact, in the order of groups and names."""
    number = own.groupby(FACT).ngroup()
    return number % 2 == 1


def _best_layer(ranking: pd.DataFrame) -> int:
    """The layer in which all features at the entity make most corrupted answers the first; of equal ones the lowest."""
    chosen = ranking[(ranking["place"] == ENTITY) & (ranking["towards"] == FEATURES) & (ranking["n_features"] == ALL)]
    return int((chosen["rank_corrupt"] == 1).groupby(chosen["layer"]).mean().idxmax())


def _first(own: pd.DataFrame, place: str, towards: str, n_features: int = ALL) -> pd.Series:
    """Fact by fact, whether the corrupted answer is the first of all tokens; of one layer."""
    way = own[(own["place"] == place) & (own["towards"] == towards) & (own["n_features"] == n_features)]
    return (way.set_index(FACT)["rank_corrupt"] == 1).sort_index()


def _any_control(own: pd.DataFrame, place: str) -> pd.Series:
    """Fact by fact, whether any of its controls makes the corrupted answer the first; of one layer."""
    way = own[(own["place"] == place) & own["towards"].isin(CONTROLS)]
    return (way["rank_corrupt"] == 1).groupby([way[name] for name in FACT]).any()


def _share(
    name: tuple[str, str],
    said: tuple[str, str],
    measure: str,
    hits: pd.Series,
    limit: tuple[Side, float],
) -> Claim:
    """A claim on a share of facts, with the binomial interval."""
    hit = np.asarray(hits, dtype=bool)
    low, high = share_interval(int(hit.sum()), len(hit))
    value = float(hit.mean()) if len(hit) else float("nan")
    return Claim(*name, *said, measure, value, low, high, *limit, len(hit))
