"""What is measured on the pairs that ranked features: activity, controls, and exact effects beside the estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, metric_gap
from saeattr.runs.kept import RunStore, at_site
from saeattr.runs.task import Task
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import Feature
from saeattr.validation.controls import SiteProfile, draw_controls, draw_stand_ins, profile_site
from saeattr.validation.parts import Parts
from saeattr.validation.site import SiteTest, strongest_at
from saeattr.validation.waiting import files_of, forget_keys_values, waiting_runs

#: Features of each site that are patched by themselves whatever was said of them, beside the tested ones.
NATURAL = 20
#: Sets of controls for features that are patched together.
CONTROL_SETS = 2


@dataclass(frozen=True)
class Wanted:
    """What is to be tested at which site.

    Attributes:
        tested: one by one. together: in growing sets, over all sites.
        n_controls: for each tested feature.
    """

    tested: Mapping[Site, Sequence[int]]
    together: Mapping[Site, Sequence[int]]
    n_controls: int


@dataclass(frozen=True)
class Ranking:
    """What the pairs that ranked say; it decides what is measured on the others, and no verdict.

    Attributes:
        exact: exact effects (``tables.EXACT``) of the tested features and a random sample of each site's active ones.
        profiles: how the sites' features fire.
        controls: of each tested feature.
        stand_ins: for features that are patched together, another one for each; ``CONTROL_SETS`` times, or none where a
            site has too few.
        gap: median over pairs of corrupted minus clean metric; NaN without corrupted prompts.
    """

    exact: pd.DataFrame
    profiles: Mapping[Site, SiteProfile]
    controls: Mapping[Feature, Sequence[int]]
    stand_ins: Sequence[Mapping[Feature, int]]
    gap: float


@dataclass(frozen=True)
class RankedPairs:
    """A group's pairs that ranked, and what is to be measured on them.

    Attributes:
        task: these pairs, and the SAEs of the sites of the tested features.
        entries: ``strongest_entries``, to patch features only there; None patches all positions.
    """

    task: Task
    wanted: Wanted
    entries: pd.DataFrame | None
    parts: Parts


def measure_rankings(groups: Sequence[RankedPairs], store: RunStore) -> list[Ranking]:
    """Run each group's pairs once more at the sites of its tested features and measure there; SAEs are opened once."""
    if not groups:
        return []
    runs = [waiting_runs(group.task, store) for group in groups]
    found: list[list[_AtSite]] = [[] for _ in groups]
    for sae in stream_saes(files_of([group.task for group in groups]), groups[0].task.lm.device):
        for group, batches, own in zip(groups, runs, found, strict=True):
            if sae.site in group.wanted.tested:
                group.task.on_step("exact effects where features were ranked", len(own), len(group.task.saes))
                own.append(_measure_site(group, sae, [at_site(batch, sae.site) for batch in batches]))
                forget_keys_values(batches, len(groups))
    rankings = []
    for group, batches, own in zip(groups, runs, found, strict=True):
        group.task.on_step("exact effects where features were ranked", len(own), len(own))
        rankings.append(_ranking(own, _median_gap(batches)))
    return rankings


@dataclass(frozen=True)
class _AtSite:
    """``Ranking`` of one site; ``stand_ins`` None where the site has too few features."""

    exact: pd.DataFrame
    site: Site
    profile: SiteProfile
    controls: Mapping[Feature, Sequence[int]]
    together: Sequence[int]
    stand_ins: Sequence[Sequence[int]] | None


def _measure_site(group: RankedPairs, sae: SparseAutoencoder, batches: Sequence[BatchRuns]) -> _AtSite:
    wanted, seed, site = group.wanted, group.task.pace.seed, sae.site
    base = SiteBase.of(sae, batches)
    profile = profile_site(base, batches)
    controls = {
        (site, feature): draw_controls(sae, profile, [feature], wanted.n_controls, seed).tolist()
        for feature in wanted.tested[site]
    }
    together = wanted.together.get(site, ())
    drawn = draw_stand_ins(sae, profile, together, CONTROL_SETS, seed) if together else None
    strongest = None if group.entries is None else strongest_at(group.entries, site)
    measure = SiteTest(base, batches, "ranking", group.task.pace.copies, strongest)
    exact = group.parts.natural(measure, sorted({*wanted.tested[site], *_sample(profile, site, seed)}))
    return _AtSite(exact, site, profile, controls, together, drawn)


def _ranking(sites: Sequence[_AtSite], gap: float) -> Ranking:
    stand_ins: list[dict[Feature, int]] = [{} for _ in range(CONTROL_SETS)]
    for one in sites:
        if one.stand_ins is not None:
            stand_ins = _with_site(stand_ins, one.site, one.together, one.stand_ins)
    controls = {feature: drawn for one in sites for feature, drawn in one.controls.items()}
    profiles = {one.site: one.profile for one in sites}
    return Ranking(pd.concat([one.exact for one in sites], ignore_index=True), profiles, controls, stand_ins, gap)


def _with_site(
    known: Sequence[Mapping[Feature, int]], site: Site, features: Sequence[int], drawn: Sequence[Sequence[int]]
) -> list[dict[Feature, int]]:
    """The sets of stand-ins with those of one more site; none where this site or one before had too few."""
    return [
        {**own, **{(site, feature): other for feature, other in zip(features, others, strict=True)}}
        for own, others in zip(known, drawn, strict=False)
    ]


def _sample(profile: SiteProfile, site: Site, seed: int) -> list[int]:
    """Active features of a site at random; what is tested has no say in it."""
    source = np.random.default_rng([seed, *map(ord, f"natural {site}")])
    return source.permutation(profile.active)[:NATURAL].tolist()


def _median_gap(batches: Sequence[BatchRuns]) -> float:
    return float(metric_gap(batches).cpu().double().median())
