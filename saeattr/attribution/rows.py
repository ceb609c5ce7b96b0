"""Attributions as tables: one row an active feature and position; features with mean, median and its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.attribution.site import SiteAttribution, SiteEffects
from saeattr.behaviours.pair import Pair
from saeattr.runs.batch import BatchRuns, SiteTokens
from saeattr.sites import Site
from saeattr.stats import median_interval
from saeattr.tables import ACTIVE, FEATURES

#: features.parquet keeps so many features of a group, the largest by |mean effect|; attributions.parquet has all.
MAX_FEATURES = 5000


def attribution_rows(
    site: Site,
    pairs: list[Pair],
    tokens: SiteTokens,
    found: SiteAttribution,
    token_text: Callable[[int], str],
) -> pd.DataFrame:
    """The rows of one site and one batch, in (list, position, feature) order."""
    row, position = tokens.row.cpu().numpy(), tokens.position.cpu().numpy()
    texts = [token_text(pairs[r].clean_ids[p]) for r, p in zip(row, position, strict=True)]
    roles = [pairs[r].roles[p] for r, p in zip(row, position, strict=True)]
    entry = found.token.cpu().numpy()
    return pd.DataFrame(
        {
            "group": pairs[0].group,
            "pair_id": np.array([pair.pair_id for pair in pairs], dtype=object)[row[entry]],
            "layer": np.int16(site.layer),
            "kind": site.kind,
            "feature": found.feature.cpu().numpy().astype(np.int32),
            "position": position[entry].astype(np.int32),
            "token": np.array(texts, dtype=object)[entry],
            "role": np.array(roles, dtype=object)[entry],
            "act_clean": found.act_clean.cpu().numpy(),
            "act_base": found.act_base.cpu().numpy(),
            "grad": found.grad.cpu().numpy(),
            "effect": found.effect.cpu().numpy(),
        }
    )


def pair_effects(rows: pd.DataFrame, pair_ids: list[str]) -> pd.DataFrame:
    """Effect of each feature in each pair: the sum over its positions, 0 where it is not active.

    Returns:
        Index feature, one column a pair.
    """
    sums = rows.groupby(["feature", "pair_id"], sort=True)["effect"].sum().unstack(fill_value=0)
    return sums.reindex(columns=pair_ids, fill_value=0.0)


def feature_means(rows: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """Mean and median effect over pairs, with the median's interval, for every feature of one site's rows.

    Args:
        rows: attributions of all pairs of a group.
        times: by pair_id, how often each distinct pair was drawn: its weight in the mean. In the median it counts once.

    Returns:
        The columns of features.parquet but the rank, and those of active.parquet.
    """
    if rows.empty:
        return FEATURES.empty().drop(columns="rank")
    effects = pair_effects(rows, list(times)).astype(np.float64)
    values, weights = effects.to_numpy(), np.array(list(times.values()), dtype=np.float64)
    low, high = median_interval(values)
    table = pd.DataFrame(
        {
            "feature": effects.index.to_numpy(),
            "effect_mean": values @ (weights / weights.sum()),
            "effect_median": np.median(values, axis=1),
            "effect_low": low,
            "effect_high": high,
            "n_pairs": rows.groupby("feature")["pair_id"].nunique().to_numpy(),
            "n_effect": (effects != 0).sum(axis=1).to_numpy(),
            "top_role": _largest_share(rows, "role").to_numpy(),
            "top_token": _largest_share(rows, "token").to_numpy(),
        }
    )
    for column in ("kind", "layer", "group"):
        table.insert(0, column, rows[column].iloc[0])
    return table


def rank_features(sites: list[pd.DataFrame]) -> pd.DataFrame:
    """All sites' features of a group, the largest |mean effect| first (rank 1), cut at ``MAX_FEATURES``."""
    filled = [table for table in sites if not table.empty]
    if not filled:
        return FEATURES.empty()
    table = pd.concat(filled, ignore_index=True)
    order = np.lexsort((table["feature"], table["kind"], table["layer"], -table["effect_mean"].abs()))
    table = table.iloc[order[:MAX_FEATURES]].reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int32)
    return FEATURES.frame(table)


def active_features(sites: list[pd.DataFrame]) -> pd.DataFrame:
    """All sites' features of a group, none left out: in how many pairs each is active, and has an effect."""
    filled = [table for table in sites if not table.empty]
    return ACTIVE.frame(pd.concat(filled, ignore_index=True)) if filled else ACTIVE.empty()


def site_effect_rows(
    site: Site,
    batch: BatchRuns,
    measured: SiteEffects,
    centre: Float[Tensor, " d_in"],
) -> pd.DataFrame:
    """Per pair: the sum of feature effects, the error term's, the exact total effect, and reconstruction quality.

    ``unexplained`` is the fraction of variance about ``centre`` that the reconstruction misses.
    """
    tokens, found = measured.tokens, measured.found

    def by_row(values: Float[Tensor, " tokens"]) -> np.ndarray:
        # Summed on the CPU: MPS has no float64.
        total = torch.zeros(len(batch.pairs), dtype=torch.float64)
        return total.index_add(0, tokens.row.cpu(), values.cpu().double()).numpy()

    n_tokens = by_row(torch.ones_like(found.l0))
    return pd.DataFrame(
        {
            "group": batch.pairs[0].group,
            "pair_id": [pair.pair_id for pair in batch.pairs],
            "layer": np.int16(site.layer),
            "kind": site.kind,
            "features_effect": by_row(found.features_effect),
            "error_effect": by_row(found.error_effect),
            "total_effect": measured.total.cpu().double().numpy(),
            "reconstruction_effect": measured.rebuilt.cpu().double().numpy(),
            "l0": by_row(found.l0) / n_tokens,
            "unexplained": by_row(found.squared_error) / by_row((tokens.clean - centre).square().sum(1)),
        }
    )


def metric_rows(batch: BatchRuns) -> pd.DataFrame:
    """The metric at every decision point, clean and corrupted; of points that make one decision, their sum as one."""
    reads, of_prompt = batch.reads, batch.question.metric.of_prompt
    rows = reads.row.numpy()
    whole = np.array([pair.whole for pair in batch.pairs])
    kept = ~whole[rows] | (reads.point.numpy() == 1)
    n_points = np.where(whole, 1, np.bincount(rows))[rows]
    both = []
    for name, run, values in (
        ("clean", batch.clean, batch.clean_reads),
        ("corrupted", batch.corrupted, batch.corrupted_reads),
    ):
        if run is None or values is None:
            continue
        assert run.metric is not None
        at_points = (values if of_prompt is None else of_prompt(values)).float().cpu().numpy()
        of_pairs = run.metric.float().cpu().numpy()
        both.append(
            pd.DataFrame(
                {
                    "group": batch.pairs[0].group,
                    "pair_id": np.array([pair.pair_id for pair in batch.pairs], dtype=object)[rows[kept]],
                    "point": reads.point.numpy().astype(np.int32)[kept],
                    "n_points": n_points.astype(np.int32)[kept],
                    "run": name,
                    "metric": np.where(whole[rows], of_pairs[rows], at_points)[kept],
                }
            )
        )
    return pd.concat(both, ignore_index=True)


def _largest_share(rows: pd.DataFrame, column: str) -> pd.Series:
    """For each feature, the value of ``column`` that carries the most |effect|."""
    share = rows["effect"].abs().groupby([rows["feature"], rows[column]], sort=True).sum()
    winners = share.groupby(level="feature").idxmax()
    return pd.Series([value for _, value in winners], index=winners.index)
