"""What is measured on the pairs that ranked features: activity, controls, and exact effects beside the estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.progress import counting
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, metric_gap
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site
from saeattr.tables import Feature
from saeattr.validation.controls import SiteProfile, draw_controls, draw_stand_ins, profile_site
from saeattr.validation.parts import Parts
from saeattr.validation.site import SiteTest, strongest_at

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


def measure_ranking(task: Task, wanted: Wanted, entries: pd.DataFrame | None, parts: Parts) -> Ranking:
    """Run the pairs once more at the sites of the tested features and measure there.

    Args:
        task: the pairs that ranked, and the SAEs of these sites.
        entries: ``strongest_entries``, to patch features only there; None patches all positions.
    """
    batches = run_pairs(task, [file.site for file in task.saes])
    exact, profiles, controls = [], {}, {}
    stand_ins: list[dict[Feature, int]] = [{} for _ in range(CONTROL_SETS)]
    on_site = counting(task.on_step, "exact effects where features were ranked")
    for done, sae in enumerate(stream_saes(task.saes, task.lm.device)):
        on_site(done, len(task.saes))
        site, seed = sae.site, task.pace.seed
        base = SiteBase.of(sae, batches)
        profiles[site] = profile_site(base, batches)
        for feature in wanted.tested[site]:
            controls[site, feature] = draw_controls(sae, profiles[site], [feature], wanted.n_controls, seed).tolist()
        together = wanted.together.get(site, ())
        drawn = draw_stand_ins(sae, profiles[site], together, CONTROL_SETS, seed) if together else None
        stand_ins = stand_ins if drawn is None else _with_site(stand_ins, site, together, drawn)
        measure = SiteTest(
            base, batches, "ranking", task.pace.copies, None if entries is None else strongest_at(entries, site)
        )
        exact.append(parts.natural(measure, sorted({*wanted.tested[site], *_sample(profiles[site], site, seed)})))
    on_site(len(task.saes), len(task.saes))
    return Ranking(pd.concat(exact, ignore_index=True), profiles, controls, stand_ins, _median_gap(batches))


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
