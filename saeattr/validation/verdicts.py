"""From the exact effects of tested features and their controls, pair by pair, to one row a feature with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.sites import Site
from saeattr.stats import bootstrap_interval
from saeattr.tables import AGREEMENT, COMPARED, FEATURE, GROUP_FEATURE, GROUP_SITE, SITE, VALIDATION

#: A site whose attributions correlate less than this with the exact effects is warned of.
POOR_CORRELATION = 0.8
#: No correlation is stated for fewer features.
FEWEST_FEATURES = 3
#: An effect below this part of a site's largest is rounding: it has no sign and no rank.
NO_EFFECT = 1e-4


def validation_table(exact: pd.DataFrame, features: pd.DataFrame, pair_ids: Sequence[str], seed: int) -> pd.DataFrame:
    """One row for each tested feature of one group, in the order of the attribution's ranks.

    Args:
        exact: ``tables.EXACT``.
        features: the group's features.parquet, or ``mean_estimates``.
        seed: of bootstrap and sign flips.

    Returns:
        ``tables.VALIDATION``. exact_*: mean over pairs with a 95 % bootstrap interval; control_*: the same of the mean
        over the controls (NaN without any). p_value: sign flips of the differences between the two; q_value over all
        rows. See ``verdicts`` for the verdict.
    """
    keys = FEATURE
    estimates = features.set_index(keys)["effect_mean"]
    rows, mine, control = [], [], []
    for (layer, kind, feature), own in exact.groupby(keys, sort=False):
        effects = own.pivot(index="patched", columns="pair_id", values="exact").reindex(columns=list(pair_ids))
        others = effects.drop(index=feature).to_numpy(dtype=float)
        mine.append(effects.loc[feature].to_numpy(dtype=float))
        control.append(others.mean(axis=0) if len(others) else np.full(len(pair_ids), np.nan))
        rows.append((layer, kind, feature, float(estimates.loc[(layer, kind, feature)]), len(others)))
    table = pd.DataFrame(rows, columns=[*keys, "effect_mean", "n_controls"])
    table.insert(0, "group", exact["group"].iloc[0])
    for name, values in (("exact", np.stack(mine)), ("control", np.stack(control))):
        low, high = bootstrap_interval(values, seed)
        table = table.assign(**{f"{name}_mean": values.mean(axis=1), f"{name}_low": low, f"{name}_high": high})
    table["p_value"] = sign_flip_p(np.stack(mine) - np.nan_to_num(np.stack(control)), seed)
    table = judge(table)
    order = np.argsort(-table["effect_mean"].abs().to_numpy(), kind="stable")
    return VALIDATION.frame(table.iloc[order])


def mean_estimates(entries: pd.DataFrame, features: pd.DataFrame, n_pairs: int) -> pd.DataFrame:
    """Estimates for the single position of each pair: mean effect over pairs, 0 where a feature has no entry.

    Args:
        entries: layer, kind, feature, pair_id, effect: one row a feature and list.
        features: the group's features.parquet.

    Returns:
        ``features`` with that mean as effect_mean.
    """
    keys = FEATURE
    sums = entries.groupby(keys, as_index=False).agg(total=("effect", "sum"))
    found = features.drop(columns="effect_mean").merge(sums, on=keys)
    return found.assign(effect_mean=found["total"].astype(float) / n_pairs).drop(columns="total")


def compared_effects(exact: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Attribution beside exact effect, both as means over pairs, for every feature that was patched.

    Controls count too: with the tested features alone the comparison would see the largest attributions only. A
    control that features.parquet has no row for (it keeps the largest) is left out.

    Returns:
        group, layer, kind, feature, effect_mean, exact_mean, tested.
    """
    keys = GROUP_FEATURE
    patched = exact.assign(tested=exact["patched"] == exact["feature"], feature=exact["patched"])
    # A control of several features has the same effects each time.
    patched = patched.groupby([*keys, "pair_id"], sort=True, as_index=False).agg(
        exact=("exact", "first"), tested=("tested", "any")
    )
    means = patched.groupby(keys, as_index=False).agg(exact_mean=("exact", "mean"), tested=("tested", "any"))
    return COMPARED.frame(means.merge(features[[*keys, "effect_mean"]], on=keys))


def site_agreement(compared: pd.DataFrame) -> pd.DataFrame:
    """How well attribution predicted the exact effects, site by site.

    Args:
        compared: as ``compared_effects`` returns it.

    Returns:
        ``tables.AGREEMENT``; correlations are NaN for fewer than three features or without any spread. same_sign is
        the share of features whose two effects have the same sign, or are both none (``NO_EFFECT``); poor: pearson is
        below ``POOR_CORRELATION``.
    """
    rows = []
    for (group, layer, kind), own in compared.groupby(GROUP_SITE):
        estimate, exact = (_without_rounding(own[name]) for name in ("effect_mean", "exact_mean"))
        enough = len(own) >= FEWEST_FEATURES and np.ptp(estimate) > 0 and np.ptp(exact) > 0
        pearson = estimate.corr(exact) if enough else np.nan
        rows.append(
            {
                "group": group,
                "layer": layer,
                "kind": kind,
                "n_features": len(own),
                "pearson": pearson,
                "spearman": estimate.rank().corr(exact.rank()) if enough else np.nan,
                "same_sign": float((np.sign(estimate) == np.sign(exact)).mean()),
                "poor": bool(pearson < POOR_CORRELATION),
            }
        )
    return AGREEMENT.frame(pd.DataFrame(rows))


def _without_rounding(effects: pd.Series) -> pd.Series:
    size = effects.abs()
    return effects.where(size > NO_EFFECT * size.max(), 0.0)


def agreement_warnings(agreement: pd.DataFrame) -> list[str]:
    """The sites whose attributions are poor, one line each, of all groups together."""
    n_groups = agreement["group"].nunique()
    warnings = []
    for (layer, kind), own in agreement[agreement["poor"].astype(bool)].groupby(SITE):
        low, high = own["pearson"].min(), own["pearson"].max()
        where = own["group"].iloc[0] if len(own) == 1 else f"{len(own)} of {n_groups} groups"
        correlation = f"{low:.2f}" if len(own) == 1 else f"{low:.2f} to {high:.2f}"
        warnings.append(
            f"{where}: at {Site(kind, layer)} attribution predicts exact effects poorly (correlation over features "
            f"{correlation}): trust the exact effects there; another --method may do better"
        )
    return warnings


def few_pairs_warnings(n_pairs: int) -> list[str]:
    """A line if no verdict can be reached with so few lists."""
    if n_pairs >= FEWEST_PAIRS:
        return []
    return [
        f"{n_pairs} pairs are too few for a verdict (no p-value can reach 0.05): use {FEWEST_PAIRS} or more "
        f"(--lists {FEWEST_PAIRS})"
    ]


Verdict = Literal["causal", "weak", "not causal", "opposite sign"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

#: A feature with q above this is not causal.
LEVEL = 0.05
#: Up to so many pairs every combination of signs is looked at; above, this many are drawn.
ALL_SIGNS_PAIRS = 14
DRAWS = 10_000
#: With fewer pairs no p-value can reach ``LEVEL``: the smallest is 2 / 2^lists.
FEWEST_PAIRS = 6


def sign_flip_p(differences: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Two-sided p-values that the mean over pairs is this far from 0, if each pair's sign were a coin's.

    Args:
        differences: [rows, pairs].
        seed: of the drawn signs, above ``ALL_SIGNS_PAIRS`` lists.

    Returns:
        [rows]: the share of sign combinations whose |mean| is at least the observed one. Exact up to
        ``ALL_SIGNS_PAIRS`` pairs (the smallest possible is 2 / 2^pairs); else (1 + hits) / (1 + ``DRAWS``). A row
        of zeros has 1.
    """
    n_pairs = differences.shape[1]
    exact = n_pairs <= ALL_SIGNS_PAIRS
    if exact:
        # Turning every sign changes no |mean|: one sign may stay as it is.
        bits = np.arange(2 ** (n_pairs - 1))[:, None] >> np.arange(n_pairs)[None]
        signs = 1.0 - 2.0 * (bits & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, n_pairs))
    observed = np.abs(differences.sum(axis=1))
    # Equal sums added in another order differ in the last bits.
    slack = 1e-10 * np.abs(differences).sum(axis=1)
    hits = np.array(
        [(np.abs(signs @ row) >= seen).sum() for row, seen in zip(differences, observed - slack, strict=True)]
    )
    return hits / len(signs) if exact else (1 + hits) / (1 + len(signs))


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values: the false discovery rate at which each test is just rejected (Benjamini and Hochberg 1995)."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return q


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with q_value (over all its rows) and verdict; see ``verdict`` for what the verdicts mean.

    It may hold one group or several: q-values answer for what is tested together.

    Args:
        table: p_value, effect_mean (attribution), exact_mean, exact_low, exact_high, control_low, control_high.
    """
    judged = table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float)))
    return judged.assign(verdict=[verdict(row) for row in judged.to_dict("records")])


def verdict(row: dict[str, float]) -> Verdict:
    """The verdict on one feature.

    A feature is significant if q <= 0.05 and the 95 % interval of its exact effect excludes 0. Then it is

    - ``opposite sign`` if its exact effect has another sign than its attribution;
    - ``causal`` if moreover the end of its interval that is nearer to 0 is farther from 0 than either end of the
      interval of its controls' mean effect: it does more than matched features do, in whichever direction;
    - ``weak`` if it does not clear its controls in this way, or has none.

    All others are ``not causal``.
    """
    excludes_zero = row["exact_low"] > 0 or row["exact_high"] < 0
    if not (row["q_value"] <= LEVEL and excludes_zero):
        return "not causal"
    if np.sign(row["exact_mean"]) != np.sign(row["effect_mean"]):
        return "opposite sign"
    nearer = min(abs(row["exact_low"]), abs(row["exact_high"]))
    # A comparison with NaN (no controls) is false.
    return "causal" if nearer > max(abs(row["control_low"]), abs(row["control_high"])) else "weak"
