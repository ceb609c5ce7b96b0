"""Prove a group's top features: exact effects against controls, verdicts, cumulative curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from saeattr.attribution.group import AttributionPlan, OnProgress
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteMeans, site_means
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.validation.controls import CONTROLS, SiteProfile, profile_site
from saeattr.validation.curves import (
    CURVE_COLUMNS,
    cumulative_curves,
    feature_keys,
    feature_orders,
    feature_sites,
    features_by_site,
)
from saeattr.validation.site import Positions, SiteTest, strongest_at, strongest_entries
from saeattr.validation.verdicts import (
    EFFECT_COLUMNS,
    VALIDATION_COLUMNS,
    compared_effects,
    mean_estimates,
    site_agreement,
    validation_table,
)

#: Given the exact effects (``EFFECT_COLUMNS``) of one tested feature and its controls as soon as they are measured.
OnPart = Callable[[pd.DataFrame], None]


@dataclass(frozen=True)
class ValidationPlan:
    """What to prove and how.

    Attributes:
        top: features tested in a group, those of the highest ranks over all sites.
        n_controls: control features for each of them.
        positions: patch a feature at all its positions, or in each pair only where its attribution is largest.
        longest_curve: cumulative curves go to so many features, where there are so many (the exact order ends with the
            tested ones); 0 draws no curves.
        copies: edited copies in one forward; it changes speed and memory, not results.
    """

    top: int = 20
    n_controls: int = CONTROLS
    positions: Positions = "all"
    longest_curve: int = 128
    copies: int = 32


@dataclass(frozen=True)
class ValidationTables:
    """What validating one group gave.

    Attributes:
        validation: one row for each tested feature (``validation_table``).
        curves: cumulative curves (``cumulative_curves``); all positions of a feature, whatever was tested.
        compared: attribution beside exact effect for everything patched (``compared_effects``).
        agreement: their correlation, site by site (``site_agreement``).
        exact: the exact effects pair by pair (``EFFECT_COLUMNS``).
    """

    validation: pd.DataFrame
    curves: pd.DataFrame
    compared: pd.DataFrame
    agreement: pd.DataFrame
    exact: pd.DataFrame


def validate_features(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    saes: Sequence[SaeFile],
    features: pd.DataFrame,
    attributions: pd.DataFrame | None,
    plan: AttributionPlan,
    wanted: ValidationPlan,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    done: pd.DataFrame | None = None,
    on_part: OnPart = lambda part: None,
) -> ValidationTables:
    """Measure the exact effects of the group's top features and their controls, and of many features together.

    The sites involved are those of the tested features. Memory holds the captured runs, the edited copies and one SAE
    (in the curves, those of one layer).

    Args:
        pairs: of this group; those the attribution used, or fresh ones.
        saes: of the study's sites.
        features: the group's rows of features.parquet.
        attributions: the group's rows of attributions.parquet; needed for ``positions="single"`` alone, which needs the
            pairs that they are of, too.
        plan: metric, decision, base, pairs in one forward, and seed; the method has no part in it.
        done: the parts that an earlier run gave to ``on_part``, joined; their features are not measured again.
        on_part: called with each feature's part, so that it can be stored.
    """
    available = {file.site: file for file in saes}
    own = features[[site in available for site in feature_sites(features)]].sort_values("rank", kind="stable")
    tested = features_by_site(feature_keys(own.head(wanted.top)))
    if not tested:
        return _nothing()
    files = [available[site] for site in sorted(tested)]
    strongest = None
    if wanted.positions == "single":
        assert attributions is not None
        strongest = strongest_entries(attributions)
    batches = run_batches(lm, pairs, [file.site for file in files], plan, on_progress)
    parts: list[pd.DataFrame] = []
    profiles, total = {}, sum(map(len, tested.values()))
    for sae in stream_saes(files, lm.device):
        one = _site_test(lm, sae, batches, plan, wanted, tested[sae.site], strongest)
        profiles[sae.site] = one.profile
        for feature in tested[sae.site]:
            on_progress("exact effects", len(parts), total)
            parts.append(_part(one, feature, done, on_part))
    on_progress("exact effects", total, total)
    exact = pd.concat(parts, ignore_index=True)
    estimates = own if strongest is None else mean_estimates(strongest, own, len(pairs))
    table = validation_table(exact, estimates, [pair.pair_id for pair in pairs], plan.seed)
    curves = _curves(lm, batches, files, own, table, profiles, plan, wanted, on_progress)
    compared = compared_effects(exact, estimates)
    return ValidationTables(table, curves, compared, site_agreement(compared), exact)


def run_batches(
    lm: LanguageModel, pairs: Sequence[Pair], sites: Sequence[Site], plan: AttributionPlan, on_progress: OnProgress
) -> list[BatchRuns]:
    """The runs of all pairs, without the gradients, which validation has no use for."""
    batches = []
    for start in range(0, len(pairs), plan.batch_size):
        on_progress("forward", start, len(pairs))
        batch = run_batch(lm, pairs[start : start + plan.batch_size], sites, plan.metric, plan.decision)
        batches.append(dataclasses.replace(batch, clean=dataclasses.replace(batch.clean, g={})))
    on_progress("forward", len(pairs), len(pairs))
    return batches


def _site_test(
    lm: LanguageModel,
    sae: SparseAutoencoder,
    batches: Sequence[BatchRuns],
    plan: AttributionPlan,
    wanted: ValidationPlan,
    tested: Sequence[int],
    strongest: pd.DataFrame | None,
) -> SiteTest:
    means = _means(sae, batches, plan)
    profile = profile_site(sae, batches, plan.base, means)
    where = None if strongest is None else strongest_at(strongest, sae)
    return SiteTest(lm, sae, batches, plan, means, profile, tuple(tested), wanted.n_controls, wanted.copies, where)


def _part(one: SiteTest, feature: int, done: pd.DataFrame | None, on_part: OnPart) -> pd.DataFrame:
    """A tested feature's exact effects: those of an earlier run, or measured now."""
    if done is not None:
        site = one.sae.site
        part = done[(done["layer"] == site.layer) & (done["kind"] == site.kind) & (done["feature"] == feature)]
        if len(part):
            one.remember(part)
            return part
    part = one.measure(feature)
    on_part(part)
    return part


def _curves(
    lm: LanguageModel,
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    features: pd.DataFrame,
    table: pd.DataFrame,
    profiles: dict[Site, SiteProfile],
    plan: AttributionPlan,
    wanted: ValidationPlan,
    on_progress: OnProgress,
) -> pd.DataFrame:
    if not wanted.longest_curve:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    orders = feature_orders(features, table, profiles, wanted.longest_curve, plan.seed)
    return cumulative_curves(
        lm,
        batches,
        files,
        orders,
        plan.metric,
        plan.base,
        wanted.copies,
        plan.seed,
        lambda layer, n_layers: on_progress("cumulative curves", layer, n_layers),
    )


def _means(sae: SparseAutoencoder, batches: Sequence[BatchRuns], plan: AttributionPlan) -> SiteMeans | None:
    if plan.base != "mean":
        return None
    return site_means(sae, torch.cat([batch.clean.x[sae.site][batch.usable] for batch in batches]))


def _nothing() -> ValidationTables:
    """The tables of a group in which no feature is active at any of the sites."""
    exact = pd.DataFrame(columns=EFFECT_COLUMNS)
    compared = compared_effects(exact, pd.DataFrame(columns=[*EFFECT_COLUMNS[:4], "effect_mean"]))
    table, curves = (pd.DataFrame(columns=columns) for columns in (VALIDATION_COLUMNS, CURVE_COLUMNS))
    return ValidationTables(table, curves, compared, site_agreement(compared), exact)
