"""How far the estimates of each site can be trusted: the terminal and the page say the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.sites import Site
from saeattr.stats import ratio_interval
from saeattr.tables import SITE, sites_of


@dataclass(frozen=True)
class SiteCheck:
    """One site's estimates against what was measured.

    Attributes:
        ratio, low, high: sum of estimates (features and error term) / exact effect of patching the whole site, over the
            pairs in which that was measured, with Student's 95 % interval over them; NaN where it is not known.
        n_pairs: how many these are.
        error_share: the error term's part of the sum of estimates, over all pairs.
        l0, unexplained: features a token, and the fraction of variance that the SAE misses; means over all pairs.
    """

    site: Site
    ratio: float
    low: float
    high: float
    n_pairs: int
    error_share: float
    l0: float
    unexplained: float


def site_checks(site_effects: pd.DataFrame) -> list[SiteCheck]:
    """Every site of ``tables.SITE_EFFECTS``, over all of its groups."""
    checks = []
    for _, own in site_effects.groupby(SITE):
        estimate = own["features_effect"] + own["error_effect"]
        measured = own["total_effect"].notna()
        exact = own.loc[measured, "total_effect"].to_numpy(dtype=float)
        ratio, low, high = (np.nan,) * 3
        if len(exact):
            ratio, low, high = ratio_interval(estimate[measured].to_numpy(dtype=float), exact)
        total = float(estimate.sum())
        share = float(own["error_effect"].sum()) / total if total else np.nan
        l0, unexplained = float(own["l0"].mean()), float(own["unexplained"].mean())
        checks.append(SiteCheck(sites_of(own.head(1))[0], ratio, low, high, len(exact), share, l0, unexplained))
    return checks
