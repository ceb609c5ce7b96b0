"""Ablation while generating for a group: at each site its top features, controls matched to them, and steering."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch

from saeattr.attribution.group import AttributionPlan
from saeattr.behaviours.pair import Pair
from saeattr.generation.ablation import Sampling, control_sets, generate_conditions, mean_difference
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import Base, site_means
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.validation.controls import profile_site

#: Features ablated together at a site, and sets of as many controls.
TOP_FEATURES, CONTROL_SETS = 5, 3


def generate_group(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    files: Sequence[SaeFile],
    features: pd.DataFrame,
    plan: AttributionPlan,
    sampling: Sampling,
    *,
    n_lists: int = 10,
    n_features: int = TOP_FEATURES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Generate under ablation of each site's top features, one site after the other.

    Args:
        pairs: of one group; means, controls and the steering direction come from them.
        features: the group's rows of features.parquet; a site's features are its first ``n_features`` by |mean effect|.
        n_lists: lists for each condition.
        on_progress: told how many sites are done, and how many there are.

    Returns:
        the rows of ``generate_conditions`` for every site that has features; empty if none has.

    Raises:
        UserError: as ``generate_conditions``.
    """
    sites = [file.site for file in files]
    batches = [
        run_batch(lm, pairs[start : start + plan.batch_size], sites, plan.metric, plan.decision)
        for start in range(0, len(pairs), plan.batch_size)
    ]
    tables = []
    for done, sae in enumerate(stream_saes(files, lm.device)):
        on_progress(done, len(files))
        own = features[(features["layer"] == sae.site.layer) & (features["kind"] == sae.site.kind)]
        top = own.sort_values("rank")["feature"].head(n_features).astype(int).tolist()
        if top:
            tables.append(compare_site(lm, batches, sae, top, plan.base, sampling, n_lists=n_lists, seed=plan.seed))
    on_progress(len(files), len(files))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def compare_site(
    lm: LanguageModel,
    batches: Sequence[BatchRuns],
    sae: SparseAutoencoder,
    features: Sequence[int],
    base: Base,
    sampling: Sampling,
    *,
    n_lists: int,
    seed: int = 0,
    n_sets: int = CONTROL_SETS,
    steer: bool = True,
) -> pd.DataFrame:
    """``generate_conditions`` with means, controls and steering direction taken from a group's runs."""
    means = None
    if base == "mean":
        means = site_means(sae, torch.cat([batch.clean.x[sae.site][batch.usable] for batch in batches]))
    controls = control_sets(profile_site(sae, batches, base, means), features, n_sets)
    return generate_conditions(
        lm,
        batches[0].pairs[0].group,
        sae,
        features,
        controls,
        n_lists,
        base,
        seed,
        means=means,
        steering=mean_difference(batches, sae.site) if steer else None,
        sampling=sampling,
    )
