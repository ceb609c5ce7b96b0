"""In which order features are patched together in the cumulative curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from saeattr.analysis.controls import SiteProfile
from saeattr.analysis.cumulative import Feature
from saeattr.sites import Site

#: Random orders that the random curve is the mean of.
RANDOM_ORDERS = 2


def feature_orders(
    features: pd.DataFrame, tested: pd.DataFrame, profiles: Mapping[Site, SiteProfile], longest: int, seed: int
) -> dict[str, list[list[Feature]]]:
    """The orders whose curves are compared, over the active features of the sites involved.

    attribution: by |mean attribution|. exact: the tested features by |mean exact effect|. activation: by mean
    activation times decoder norm in the clean run. random: several draws among all features that are ever active.

    Args:
        features: the topic's features.parquet, the largest |mean attribution| first.
        tested: validation.parquet.
        profiles: of the sites involved.
        longest: features in an order.
    """
    involved = [key for key in feature_keys(features) if key[0] in profiles]
    by_exact = tested.iloc[np.argsort(-tested["exact_mean"].abs().to_numpy(), kind="stable")]
    active = [(site, int(feature)) for site in sorted(profiles) for feature in np.flatnonzero(profiles[site].frequency)]
    sizes = np.array([profiles[site].activation_norm[feature] for site, feature in active])
    rng = np.random.default_rng(seed)
    return {
        "attribution": [involved[:longest]],
        "exact": [feature_keys(by_exact)[:longest]],
        "activation": [[active[at] for at in np.argsort(-sizes, kind="stable")[:longest]]],
        "random": [[active[at] for at in rng.permutation(len(active))[:longest]] for _ in range(RANDOM_ORDERS)],
    }


def feature_sites(table: pd.DataFrame) -> list[Site]:
    """The site of each row of a table with the columns layer and kind."""
    return [Site(kind, int(layer)) for kind, layer in zip(table["kind"], table["layer"], strict=True)]


def feature_keys(table: pd.DataFrame) -> list[Feature]:
    """(site, feature) of each row of a table with the columns layer, kind and feature."""
    return [(site, int(feature)) for site, feature in zip(feature_sites(table), table["feature"], strict=True)]
