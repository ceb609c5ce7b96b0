"""Prove a group's top features: exact effects against controls, verdicts, cumulative curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from saeattr.progress import counting
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.settings import Positions
from saeattr.tables import AGREEMENT, COMPARED, CURVES, EXACT, VALIDATION, at_site, by_site, features_of, sites_of
from saeattr.validation.controls import CONTROLS, profile_site
from saeattr.validation.curves import cumulative_curves, feature_orders
from saeattr.validation.site import SiteTest, strongest_at, strongest_entries
from saeattr.validation.verdicts import compared_effects, mean_estimates, site_agreement, validation_table

#: Given the exact effects (``tables.EXACT``) of one tested feature and its controls as soon as they are measured.
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
    """

    top: int = 20
    n_controls: int = CONTROLS
    positions: Positions = "all"
    longest_curve: int = 128


@dataclass(frozen=True)
class Estimates:
    """What attribution said of the group that is validated.

    Attributes:
        features: its rows of features.parquet.
        attributions: its rows of attributions.parquet; needed for ``positions="single"`` alone, which needs the pairs
            that they are of, too.
    """

    features: pd.DataFrame
    attributions: pd.DataFrame | None = None


@dataclass(frozen=True)
class Parts:
    """The exact effects that an interrupted validation left, and where new ones go.

    Attributes:
        done: the parts that an earlier run gave to ``on_part``, joined; their features are not measured again.
        on_part: called with each feature's part, so that it can be stored.
    """

    done: pd.DataFrame = field(default_factory=EXACT.empty)
    on_part: OnPart = lambda part: None


@dataclass(frozen=True)
class ValidationTables:
    """What validating one group gave.

    Attributes:
        validation: one row for each tested feature (``validation_table``).
        curves: cumulative curves (``cumulative_curves``); all positions of a feature, whatever was tested.
        compared: attribution beside exact effect for everything patched (``compared_effects``).
        agreement: their correlation, site by site (``site_agreement``).
        exact: the exact effects pair by pair (``tables.EXACT``).
    """

    validation: pd.DataFrame
    curves: pd.DataFrame
    compared: pd.DataFrame
    agreement: pd.DataFrame
    exact: pd.DataFrame


def validate_features(
    task: Task, estimates: Estimates, wanted: ValidationPlan, parts: Parts | None = None
) -> ValidationTables:
    """Measure the exact effects of the group's top features and their controls, and of many features together.

    1. Take the features of the highest ranks; the sites involved are theirs.
    2. Run the pairs again at these sites, without gradients.
    3. Site by site: profile all features, match controls to each tested one, measure the exact effects of both.
    4. Verdicts over all tested features (``validation_table``), agreement with the attributions (``site_agreement``).
    5. Cumulative curves over growing sets of features (``cumulative_curves``).

    Memory holds the captured runs, the edited copies and one SAE (in the curves, those of one layer).

    Args:
        task: its pairs are those the attribution used, or fresh ones of the group; the method has no part in it.
    """
    parts = parts or Parts()
    available = {file.site: file for file in task.saes}
    features = estimates.features
    own = features[[site in available for site in sites_of(features)]].sort_values("rank", kind="stable")
    tested = by_site(features_of(own.head(wanted.top)))
    if not tested:
        return _nothing()
    files = [available[site] for site in sorted(tested)]
    strongest = None
    if wanted.positions == "single":
        assert estimates.attributions is not None
        strongest = strongest_entries(estimates.attributions)
    batches = run_pairs(task, [file.site for file in files])
    measured: list[pd.DataFrame] = []
    profiles, total = {}, sum(map(len, tested.values()))
    for sae in stream_saes(files, task.lm.device):
        one = _site_test(sae, batches, tested[sae.site], wanted, task.pace.copies)
        if strongest is not None:
            one = replace(one, strongest=strongest_at(strongest, sae.site))
        profiles[sae.site] = one.profile
        for feature in tested[sae.site]:
            task.on_step("exact effects", len(measured), total)
            measured.append(_part(one, feature, parts))
    task.on_step("exact effects", total, total)
    exact = pd.concat(measured, ignore_index=True)
    known = own if strongest is None else mean_estimates(strongest, own, len(task.pairs))
    table = validation_table(exact, known, task.pair_ids, task.pace.seed)
    curves = CURVES.empty()
    if wanted.longest_curve:
        orders = feature_orders(own, table, profiles, wanted.longest_curve, task.pace.seed)
        curves = cumulative_curves(batches, files, orders, task.pace, counting(task.on_step, "cumulative curves"))
    compared = compared_effects(exact, known)
    return ValidationTables(table, curves, compared, site_agreement(compared), exact)


def _site_test(
    sae: SparseAutoencoder, batches: Sequence[BatchRuns], tested: Sequence[int], wanted: ValidationPlan, copies: int
) -> SiteTest:
    base = SiteBase.of(sae, batches)
    return SiteTest(base, batches, profile_site(base, batches), tuple(tested), wanted.n_controls, copies)


def _part(one: SiteTest, feature: int, parts: Parts) -> pd.DataFrame:
    """A tested feature's exact effects: those of an earlier run, or measured now."""
    here = at_site(parts.done, one.base.sae.site)
    done = here[here["feature"] == feature]
    if len(done):
        one.remember(done)
        return done
    part = one.measure(feature)
    parts.on_part(part)
    return part


def _nothing() -> ValidationTables:
    """The tables of a group in which no feature is active at any of the sites."""
    return ValidationTables(VALIDATION.empty(), CURVES.empty(), COMPARED.empty(), AGREEMENT.empty(), EXACT.empty())
