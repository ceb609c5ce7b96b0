"""Attributions as tables: one row an active feature and position; features with mean, median and its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.attribution.site import SiteAttribution, SiteEffects
from saeattr.behaviours.pair import Pair
from saeattr.runs.batch import BatchRuns, SiteTokens
from saeattr.sites import Site
from saeattr.stats import median_interval
from saeattr.tables import ACTIVE, FEATURES, GROUP_SITE

#: features.parquet keeps so many features of a group, the largest by |mean effect|; attributions.parquet has all.
MAX_FEATURES = 5000
#: (feature, pair) cells of effects that are held at a time: 32 MB.
MATRIX_CELLS = 2**22
#: Columns of pair_effects that features are summarised from.
SUMMARISED = ("feature", "pair_id", "effect")


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


def pair_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Effect of each feature in each pair where it is active, summed over positions (``tables.PAIR_EFFECTS``)."""
    keys = [*GROUP_SITE, "feature", "pair_id"]
    return rows.groupby(keys, sort=True)["effect"].sum().reset_index()


def carriers(rows: pd.DataFrame) -> pd.DataFrame:
    """How much |effect| of each feature its roles and its tokens carry (``tables.CARRIERS``)."""
    size = rows["effect"].abs().astype(np.float64)
    parts = []
    for what in ("role", "token"):
        sums = size.groupby([rows[key] for key in (*GROUP_SITE, "feature", what)], sort=True).sum()
        parts.append(sums.rename("size").reset_index().rename(columns={what: "value"}).assign(what=what))
    return pd.concat(parts, ignore_index=True)


def feature_means(rows: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """``summarise_features`` of one site's rows of attributions.parquet, all pairs of a group."""
    return summarise_features(pair_effects(rows), carriers(rows), times)


def summarise_features(effects: pd.DataFrame, carried: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """Mean and median effect over pairs, with the median's interval, for every feature of one site.

    Args:
        effects: as ``pair_effects`` returns it, or its columns ``SUMMARISED``; a pair in which a feature is not active
            counts as 0.
        carried: as ``carriers`` returns it.
        times: by pair_id, how often each distinct pair was drawn: its weight in the mean. In the median it counts once.

    Returns:
        The columns of features.parquet but the rank, and those of active.parquet.
    """
    if effects.empty:
        return FEATURES.empty().drop(columns="rank")
    ids = np.unique(effects["feature"].to_numpy())
    # A block of features at a time, so that a matrix of all pairs stays small however many they are.
    size = max(1, MATRIX_CELLS // len(times))
    blocks = [_summarise_block(effects, ids[at : at + size], times) for at in range(0, len(ids), size)]
    table = pd.concat(blocks, ignore_index=True)
    for what in ("role", "token"):
        own = carried[carried["what"] == what].sort_values(["feature", "value"], kind="stable")
        largest = own.loc[own.groupby("feature")["size"].idxmax()].set_index("feature")["value"]
        table[f"top_{what}"] = largest.loc[table["feature"]].to_numpy()
    for column in reversed(GROUP_SITE):
        table.insert(0, column, carried[column].iloc[0])
    return table


def _summarise_block(effects: pd.DataFrame, ids: NDArray[np.int64], times: Mapping[str, int]) -> pd.DataFrame:
    """``summarise_features`` of a few features, without what carries them."""
    own = effects[effects["feature"].isin(ids)]
    column = {pair_id: nth for nth, pair_id in enumerate(times)}
    cells = np.zeros((len(ids), len(times)))
    row = np.searchsorted(ids, own["feature"].to_numpy())
    cells[row, own["pair_id"].map(column).to_numpy()] = own["effect"].to_numpy(dtype=np.float64)
    weights = np.array(list(times.values()), dtype=np.float64)
    low, high = median_interval(cells)
    return pd.DataFrame(
        {
            "feature": ids,
            "effect_mean": cells @ (weights / weights.sum()),
            "effect_median": np.median(cells, axis=1),
            "effect_low": low,
            "effect_high": high,
            "n_pairs": np.bincount(row, minlength=len(ids)),
            "n_effect": (cells != 0).sum(axis=1),
        }
    )


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
